"""The pieces that regular expressions and grammars are made of here; immutable, compared by value.

``Chars`` is one character, ``Back`` repeats what a group matched, ``Edge`` is a place between characters, ``Ref``
names a rule of a grammar, ``Leaf`` and ``Terminal`` are what a lexer cuts off as one token.
"""

from __future__ import annotations

import string
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sealgate.providers.sandbox.grammar.regex import Pattern

WIDE = 60
"""A class that takes more than this many of the 95 printable ASCII characters is written in small letters."""

_CATEGORIES: dict[str, Callable[[str], bool]] = {
    "digit": str.isdecimal,
    "space": str.isspace,
    "word": lambda char: char.isalnum() or char == "_",
    "any": bool,
    "line": lambda char: char != "\n",
}


@dataclass(frozen=True)
class Chars:
    """One character of a set: inclusive ranges of code points, categories (``(name, negated)``), or all others."""

    ranges: tuple[tuple[int, int], ...] = ()
    categories: tuple[tuple[str, bool], ...] = ()
    negated: bool = False
    ignore_case: bool = False
    ascii_only: bool = False

    def accepts(self, char: str) -> bool:
        """Whether the set holds this character."""
        if self.ignore_case:
            return (
                any(self._holds(form) for form in {char, char.lower(), char.upper()} if len(form) == 1) != self.negated
            )
        return self._holds(char) != self.negated

    def _holds(self, char: str) -> bool:
        code = ord(char)
        starts, ends = self._merged
        place = bisect_right(starts, code) - 1
        return (place >= 0 and code <= ends[place]) or any(
            (_CATEGORIES[name](char) and not (self.ascii_only and code > 127 and name not in ("any", "line")))
            != negated
            for name, negated in self.categories
        )

    @cached_property
    def _merged(self) -> tuple[list[int], list[int]]:
        """Starts and ends of the ranges, sorted and without overlaps, so that a long set costs no more than a short."""
        starts: list[int] = []
        ends: list[int] = []
        for low, high in sorted(self.ranges):
            if ends and low <= ends[-1] + 1:
                ends[-1] = max(ends[-1], high)
            else:
                starts.append(low)
                ends.append(high)
        return starts, ends

    @cached_property
    def samples(self) -> str:
        """Characters to write for this set, the plainest first choice; empty where there is none."""
        if self.ignore_case and not self.negated:
            return replace(self, ignore_case=False).samples
        printable = [char for char in _PRINTABLE if self.accepts(char)]
        if len(printable) > WIDE:
            return "".join(char for char in string.ascii_lowercase if self.accepts(char)) or "".join(printable)
        if printable:
            return "".join(printable)
        if self.accepts(" "):
            return " "
        return "".join(char for char in (*"\n\t\r\f\v", *self._edges(), *"éßя中€") if self.accepts(char))

    def _edges(self) -> list[str]:
        """The first characters of each range that a JSON string can hold."""
        codes = (code for low, high in self.ranges for code in range(low, min(high, low + 15) + 1))
        return [chr(code) for code in codes if not 0xD800 <= code <= 0xDFFF]


_PRINTABLE = string.ascii_letters + string.digits + string.punctuation


@dataclass(frozen=True)
class Seq:
    """One after the other."""

    items: tuple[AnyNode, ...]


@dataclass(frozen=True)
class Alt:
    """One of several."""

    options: tuple[AnyNode, ...]


@dataclass(frozen=True)
class Rep:
    """``low`` to ``high`` times (None: no limit)."""

    item: AnyNode
    low: int
    high: int | None
    lazy: bool = False


@dataclass(frozen=True)
class Group:
    """A numbered group of a regular expression."""

    number: int
    item: AnyNode


@dataclass(frozen=True)
class Back:
    """What the group of this number matched, again."""

    number: int


@dataclass(frozen=True)
class Edge:
    """A place: ``start``, ``end``, ``line_start``, ``line_end``, ``last`` (``\\Z``), ``word``, ``not_word``."""

    kind: str


@dataclass(frozen=True)
class Text:
    """A fixed text."""

    text: str


@dataclass(frozen=True)
class Ref:
    """A rule of a grammar, by name; ``arguments`` where the rule is a template."""

    name: str
    arguments: tuple[AnyNode, ...] = ()


@dataclass(frozen=True)
class Leaf:
    """A terminal: what a lexer cuts off as one token. ``fixed`` is set where it is one plain string."""

    name: str
    pattern: Pattern = field(compare=False)
    fixed: str | None = None
    priority: int = 0


@dataclass(frozen=True)
class Terminal:
    """A terminal as the source of a regular expression, before it is compiled; ``fixed`` as in `Leaf`."""

    source: str
    fixed: str | None = None


AnyNode = Chars | Seq | Alt | Rep | Group | Back | Edge | Text | Ref | Leaf | Terminal
EMPTY = Seq(())
