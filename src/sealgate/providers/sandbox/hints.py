"""What a user's message offers for the values that are made up: names of places and people, and its gist."""

from __future__ import annotations

import re
from typing import NamedTuple

from sealgate.providers.sandbox.prose import gist

_READ = 2_000
_NAMED = re.compile(
    r"\b(?:in|at|for|to|from|near|of|and|about|between)\s(?:the\s)?([A-Z][\w'-]{1,40}(?:\s[A-Z][\w'-]{1,40}){0,3})"
)


class Hints(NamedTuple):
    """``text`` is the gist of the user's message; ``names`` are the capitalised names found in it, in order."""

    text: str = ""
    names: tuple[str, ...] = ()

    def turned(self, by: int) -> Hints:
        """The same with another name first, for the second of two tool calls."""
        by %= len(self.names) or 1
        return Hints(self.text, self.names[by:] + self.names[:by])


def read_hints(text: str) -> Hints:
    """The hints in a user's message."""
    names = dict.fromkeys(found[1] for found in _NAMED.finditer(text, 0, _READ))
    return Hints(gist(text, 80), tuple(names))
