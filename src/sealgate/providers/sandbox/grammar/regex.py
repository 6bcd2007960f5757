"""Python regular expressions, read by Python's own parser: `Pattern` writes texts that match and matches texts.

Matching never runs Python's backtracking engine: a pattern comes from a request, and a hostile one would hold the
server for ever. What cannot be written by construction is refused: look-around, possessive and atomic parts,
conditions, back-references to a group that has not matched.
"""

from __future__ import annotations

import re
import re._constants as sre  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import warnings
from functools import lru_cache
from typing import Any

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.matching import Matcher
from sealgate.providers.sandbox.grammar.nodes import Alt, AnyNode, Back, Chars, Edge, Group, Rep, Seq
from sealgate.providers.sandbox.grammar.writing import MAX_LENGTH, DeadEndError, Writer, widths
from sealgate.providers.sandbox.refused import UnsupportedError

LONGEST_PATTERN = 20_000
TRIES = 40

_EDGES = {
    sre.AT_BEGINNING: "start",
    sre.AT_BEGINNING_STRING: "start",
    sre.AT_END: "end",
    sre.AT_END_STRING: "last",
    sre.AT_BOUNDARY: "word",
    sre.AT_NON_BOUNDARY: "not_word",
}
_CATEGORY = {
    sre.CATEGORY_DIGIT: ("digit", False),
    sre.CATEGORY_NOT_DIGIT: ("digit", True),
    sre.CATEGORY_SPACE: ("space", False),
    sre.CATEGORY_NOT_SPACE: ("space", True),
    sre.CATEGORY_WORD: ("word", False),
    sre.CATEGORY_NOT_WORD: ("word", True),
}
_REFUSED = {
    sre.ASSERT: "look-around",
    sre.ASSERT_NOT: "look-around",
    sre.GROUPREF_EXISTS: "a condition",
    sre.ATOMIC_GROUP: "an atomic group",
    sre.POSSESSIVE_REPEAT: "a possessive repeat",
}


class Pattern:
    """One regular expression. ``low`` and ``high`` are the shortest and longest match (``high`` None: no limit)."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.node = _read(source)
        self.low, self.high = widths(self.node)
        if self.low > MAX_LENGTH:
            raise UnsupportedError(f"the pattern needs more than {MAX_LENGTH} characters")
        self._back = _holds(self.node, Back)
        if self._back and _inner_edges(self.node):
            raise UnsupportedError("a pattern with back-references may have '^' and '$' only at its ends")

    def write(self, chance: Chance, low: int = 0, high: int | None = None) -> str:
        """A text that matches in full, ``low`` to ``high`` characters long. Raises `UnsupportedError`."""
        if (self.high is not None and self.high < low) or (high is not None and self.low > high):
            raise UnsupportedError("no text of that length matches the pattern")
        for attempt in range(TRIES):
            try:
                text = self._once(chance, low, high, attempt)
            except DeadEndError:
                continue
            if (
                low <= len(text)
                and (high is None or len(text) <= high)
                and (self._back or self.fullmatch(text, chance.budget))
            ):
                return text
        raise UnsupportedError("no text was found that matches the pattern")

    def _once(self, chance: Chance, low: int, high: int | None, attempt: int) -> str:
        """Longer wishes for later tries; the last tries take the length to be reached as early as they can."""
        room = MAX_LENGTH if high is None else high
        eager = attempt >= TRIES // 2
        spare = max(0, low - self.low) if eager else max(0, low - self.low) + chance.below(8 + attempt)
        return Writer(chance, min(spare, max(0, room - self.low)), eager=eager).text(self.node)

    def fullmatch(self, text: str, budget: Budget) -> bool:
        """Whether the whole text matches. Raises `UnsupportedError` where that takes too much work to find out."""
        return len(text) in Matcher(text, budget).ends(self.node, 0)

    def search(self, text: str, budget: Budget) -> bool:
        """Whether any part of the text matches, as JSON Schema's ``pattern`` means it."""
        matcher = Matcher(text, budget)
        return any(matcher.ends(self.node, at) for at in range(len(text) + 1))

    def match(self, text: str, at: int, budget: Budget) -> int | None:
        """Where the match that Python would prefer at this place ends, None where there is none."""
        ends = Matcher(text, budget).ends(self.node, at)
        return ends[0] if ends else None


@lru_cache(maxsize=256)
def compiled(source: str) -> Pattern:
    """The pattern, kept for the next request. Raises `UnsupportedError`."""
    return Pattern(source)


def _read(source: str) -> AnyNode:
    if len(source) > LONGEST_PATTERN:
        raise UnsupportedError(f"the pattern is longer than {LONGEST_PATTERN} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python plans to change in patterns is not the caller's concern
            tree = parser.parse(source)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise UnsupportedError(f"the pattern is not a regular expression: {error}") from None
    try:
        return _Reader(tree.state.flags).sequence(tree)
    except RecursionError:
        raise UnsupportedError("the pattern is nested too deep") from None


class _Reader:
    """Turns the parser's tree into our nodes, with the flags that hold at each place."""

    def __init__(self, flags: int) -> None:
        self.flags = flags

    def sequence(self, tree: Any) -> AnyNode:
        items = tuple(self.node(op, value) for op, value in tree)
        return items[0] if len(items) == 1 else Seq(items)

    def node(self, op: Any, value: Any) -> AnyNode:
        if op in _REFUSED:
            raise UnsupportedError(f"the pattern has {_REFUSED[op]}")
        if op is sre.LITERAL:
            return self.chars(ranges=((value, value),))
        if op is sre.NOT_LITERAL:
            return self.chars(ranges=((value, value),), negated=True)
        if op is sre.ANY:
            return Chars(categories=(("any" if self.flags & re.DOTALL else "line", False),))
        if op is sre.IN:
            return self.set_of(value)
        if op is sre.BRANCH:
            return Alt(tuple(self.sequence(branch) for branch in value[1]))
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            low, high, item = value
            limit = None if high is sre.MAXREPEAT else int(high)
            return Rep(self.sequence(item), int(low), limit, lazy=op is sre.MIN_REPEAT)
        if op is sre.SUBPATTERN:
            return self.group(*value)
        if op is sre.GROUPREF:
            return Back(value)
        if op is sre.AT and value in _EDGES:
            return self.edge(_EDGES[value])
        raise UnsupportedError("the pattern has a part that the sandbox cannot write")

    def group(self, number: int | None, add: int, remove: int, item: Any) -> AnyNode:
        inner = _Reader((self.flags | add) & ~remove).sequence(item)
        return inner if number is None else Group(number, inner)

    def edge(self, kind: str) -> Edge:
        if self.flags & re.MULTILINE and kind in ("start", "end"):
            return Edge("line_" + kind)
        return Edge(kind)

    def set_of(self, items: Any) -> Chars:
        ranges: list[tuple[int, int]] = []
        categories: list[tuple[str, bool]] = []
        negated = False
        for op, value in items:
            if op is sre.NEGATE:
                negated = True
            elif op is sre.LITERAL:
                ranges.append((value, value))
            elif op is sre.RANGE:
                ranges.append((value[0], value[1]))
            else:
                categories.append(_CATEGORY[value])
        return self.chars(tuple(ranges), tuple(categories), negated=negated)

    def chars(
        self,
        ranges: tuple[tuple[int, int], ...] = (),
        categories: tuple[tuple[str, bool], ...] = (),
        *,
        negated: bool = False,
    ) -> Chars:
        flags = self.flags
        return Chars(ranges, categories, negated, bool(flags & re.IGNORECASE), bool(flags & re.ASCII))


def _holds(node: AnyNode, kind: type) -> bool:
    """Whether a node of this kind is somewhere in the tree."""
    return isinstance(node, kind) or any(_holds(child, kind) for child in children(node))


def children(node: AnyNode) -> tuple[AnyNode, ...]:
    """The nodes directly below this one."""
    if isinstance(node, Seq):
        return node.items
    if isinstance(node, Alt):
        return node.options
    if isinstance(node, Rep | Group):
        return (node.item,)
    return ()


def _inner_edges(node: AnyNode) -> bool:
    """Whether there is an edge besides one ``^`` at the beginning and one ``$`` or ``\\Z`` at the end."""
    items = node.items if isinstance(node, Seq) else (node,)
    if items and items[0] == Edge("start"):
        items = items[1:]
    if items and items[-1] in (Edge("end"), Edge("last")):
        items = items[:-1]
    return any(_holds(item, Edge) for item in items)
