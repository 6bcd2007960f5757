"""Writes texts from regular expressions: by construction, with a wish for the length, places checked afterwards."""

from __future__ import annotations

from string import ascii_lowercase

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.nodes import Alt, AnyNode, Back, Chars, Edge, Group, Rep, Seq, Text
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.words import WORDS

MAX_LENGTH = 10_000
"""The longest text written, in characters."""
MAX_WORK = 4 * MAX_LENGTH
"""Parts visited for one text; repeats of nothing end here."""


class DeadEndError(Exception):
    """This way leads to no text; another may."""


class Writer:
    """Writes one text. ``spare`` is how many characters more than the shortest match are wished for.

    ``eager`` spends the whole wish at the first place that can take it, which reaches a given length surely; else
    chance spreads it.
    """

    def __init__(self, chance: Chance, spare: int, *, eager: bool) -> None:
        self.chance = chance
        self.spare = spare
        self.eager = eager
        self.work = 0
        self.groups: dict[int, str] = {}

    def text(self, node: AnyNode) -> str:
        """A text for the node. Raises `DeadEndError`, or `UnsupportedError` when it grows too long."""
        self.work += 1
        self.chance.budget.spend(1)
        if self.work > MAX_WORK:
            raise UnsupportedError(f"the text would be longer than {MAX_LENGTH} characters")
        if isinstance(node, Chars):
            return self._char(node)
        if isinstance(node, Seq):
            return "".join([self.text(item) for item in node.items])
        if isinstance(node, Alt):
            return self._one_of(node)
        if isinstance(node, Rep):
            return self._repeat(node)
        if isinstance(node, Group):
            self.groups[node.number] = text = self.text(node.item)
            return text
        if isinstance(node, Back):
            if node.number not in self.groups:
                raise DeadEndError
            return self.groups[node.number]
        if isinstance(node, Text):
            return node.text
        if isinstance(node, Edge):
            return ""
        raise TypeError(node)

    def _char(self, node: Chars) -> str:
        if not node.samples:
            raise DeadEndError
        return self.chance.pick(node.samples)

    def _letters(self, length: int) -> str:
        """Letters that look like words, where any letters will do."""
        self.chance.budget.spend(1 + length // 4)
        made = ""
        while len(made) < length:
            made += self.chance.pick(WORDS)
        return made[:length]

    def _one_of(self, node: Alt) -> str:
        self.chance.budget.spend(len(node.options) // 8)
        option = self.chance.pick(node.options)
        shortest = min(widths(each)[0] for each in node.options)
        self.spare = max(0, self.spare - (widths(option)[0] - shortest))
        return self.text(option)

    def _repeat(self, node: Rep) -> str:
        each = max(1, widths(node.item)[0])
        most = self.spare // each
        if node.high is not None:
            most = min(most, node.high - node.low)
        extra = most if self.eager else self.chance.below(most + 1)
        self.spare -= extra * each
        if isinstance(node.item, Chars) and node.item.samples == ascii_lowercase:
            return self._letters(node.low + extra)
        return "".join([self.text(node.item) for _ in range(node.low + extra)])


def widths(node: AnyNode) -> tuple[int, int | None]:
    """The shortest and the longest text of a node, worked out once; a back-reference is nothing to anything."""
    known: tuple[int, int | None] | None = node.__dict__.get("_widths")
    if known is None:
        known = _measured(node)
        object.__setattr__(node, "_widths", known)
    return known


def _measured(node: AnyNode) -> tuple[int, int | None]:
    if isinstance(node, Chars):
        return 1, 1
    if isinstance(node, Text):
        return len(node.text), len(node.text)
    if isinstance(node, Seq):
        pairs = [widths(item) for item in node.items]
        return sum(low for low, _ in pairs), _total([high for _, high in pairs])
    if isinstance(node, Alt):
        pairs = [widths(option) for option in node.options]
        highs = [high for _, high in pairs]
        return min(low for low, _ in pairs), None if None in highs else max(high for high in highs if high is not None)
    if isinstance(node, Group):
        return widths(node.item)
    if isinstance(node, Rep):
        low, high = widths(node.item)
        longest = 0 if high == 0 else None if high is None or node.high is None else high * node.high
        return low * node.low, longest
    return 0, 0 if isinstance(node, Edge) else None


def _total(highs: list[int | None]) -> int | None:
    return None if None in highs else sum(high for high in highs if high is not None)
