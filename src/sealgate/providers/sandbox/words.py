"""The sandbox's vocabulary: plain, harmless words, and filler sentences made of them."""

from __future__ import annotations

from sealgate.providers.sandbox.chance import Chance

_WHO = (
    "A gardener", "The harbour master", "An old clockmaker", "The night baker", "A young surveyor", "The librarian",
    "A patient ferryman", "The lighthouse keeper", "A travelling tuner", "The glassblower", "An apprentice",
    "The postmistress", "A quiet engineer", "The beekeeper", "A bridge painter", "The map seller",
)  # fmt: skip
_DOES = (
    "counts", "mends", "draws", "carries", "paints", "weighs", "polishes", "remembers", "sorts", "repairs", "measures",
    "lends", "copies", "gathers", "describes", "watches",
)  # fmt: skip
_HOW_MANY = (
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "twenty",
)  # fmt: skip
_WHAT = (
    "lanterns", "blue kettles", "river stones", "letters", "copper bells", "wooden boats", "pears", "small keys",
    "clouds", "paper birds", "bicycles", "chairs", "silver spoons", "maps", "apple trees", "windows",
)  # fmt: skip
_WHERE = (
    "near the mill", "behind the station", "before the rain", "on the long bridge", "in the early light",
    "beside the canal", "under the arches", "at the market", "after supper", "along the coast", "in the old town",
    "by the north gate", "without hurry", "on a Tuesday", "across the square", "at the edge of the wood",
)  # fmt: skip

WORDS = tuple(sorted({word.lower() for line in (*_DOES, *_HOW_MANY, *_WHAT, *_WHERE) for word in line.split()}))
"""A small vocabulary, for placeholder values and for tokens that were "also possible"."""


def sentence(chance: Chance) -> str:
    """One filler sentence: plain, harmless, about nothing."""
    bits = chance.bits()
    return (
        f"{_WHO[bits & 15]} {_DOES[bits >> 4 & 15]} {_HOW_MANY[bits >> 8 & 15]} "
        f"{_WHAT[bits >> 12 & 15]} {_WHERE[bits >> 16 & 15]}."
    )
