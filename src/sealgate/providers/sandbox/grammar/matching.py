"""Matches texts against regular expressions in bounded time: every (part, place) is worked out once.

Ends come in the order in which Python's engine would try them, so the first is the match that it would take.
"""

from __future__ import annotations

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.grammar.nodes import Alt, AnyNode, Chars, Edge, Group, Rep, Seq, Text
from sealgate.providers.sandbox.refused import UnsupportedError

Ends = tuple[int, ...]


class Matcher:
    """Matches within one text. ``ends`` may be asked for any part at any place."""

    def __init__(self, text: str, budget: Budget) -> None:
        self.text = text
        self.budget = budget
        self._known: dict[tuple[int, int, int], Ends] = {}

    def ends(self, node: AnyNode, at: int) -> Ends:
        """Where matches of the node that begin at ``at`` end, preferred ones first. Raises `UnsupportedError`."""
        if isinstance(node, Chars):
            self.budget.spend(1)
            return (at + 1,) if at < len(self.text) and node.accepts(self.text[at]) else ()
        key = (id(node), at, -1)
        known = self._known.get(key)
        if known is None:
            self.budget.spend(1)
            try:
                known = self._known[key] = self._find(node, at)
            except RecursionError:
                raise UnsupportedError("the pattern is too deep for this text") from None
        return known

    def _find(self, node: AnyNode, at: int) -> Ends:
        if isinstance(node, Seq):
            places: Ends = (at,)
            for item in node.items:
                places = _once(end for place in places for end in self.ends(item, place))
            return places
        if isinstance(node, Alt):
            return _once(end for option in node.options for end in self.ends(option, at))
        if isinstance(node, Rep):
            return self._run(node, node.item, at) if isinstance(node.item, Chars) else self._repeat(node, at, 0)
        if isinstance(node, Group):
            return self.ends(node.item, at)
        if isinstance(node, Text):
            return (at + len(node.text),) if self.text.startswith(node.text, at) else ()
        if isinstance(node, Edge):
            return (at,) if self._edge(node.kind, at) else ()
        raise UnsupportedError("the pattern has a part that cannot be matched here")

    def _run(self, node: Rep, item: Chars, at: int) -> Ends:
        """A repeated character, without recursion: most repeats are of this kind."""
        limit = len(self.text) if node.high is None else min(len(self.text), at + node.high)
        end = at
        while end < limit and item.accepts(self.text[end]):
            end += 1
        self.budget.spend(end - at)
        if end - at < node.low:
            return ()
        found = range(at + node.low, end + 1)
        return tuple(found) if node.lazy else tuple(reversed(found))

    def _repeat(self, node: Rep, at: int, count: int) -> Ends:
        count = min(count, node.low) if node.high is None else count
        key = (id(node), at, count)
        known = self._known.get(key)
        if known is not None:
            return known
        self.budget.spend(1)
        found: list[int] = []
        if node.high is None or count < node.high:
            for end in self.ends(node.item, at):
                if end > at or count < node.low:
                    found += self._repeat(node, end, count + 1)
        if count >= node.low:
            found.insert(0 if node.lazy else len(found), at)
        self._known[key] = ends = _once(found)
        return ends

    def _edge(self, kind: str, at: int) -> bool:
        text, size = self.text, len(self.text)
        if kind == "start":
            return at == 0
        if kind == "last":
            return at == size
        if kind == "end":
            return at == size or (at == size - 1 and text[at] == "\n")
        if kind == "line_start":
            return at == 0 or text[at - 1] == "\n"
        if kind == "line_end":
            return at == size or text[at] == "\n"
        before = at > 0 and _word(text[at - 1])
        after = at < size and _word(text[at])
        return (before != after) == (kind == "word")


def _word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _once(places: object) -> Ends:
    return tuple(dict.fromkeys(places))  # type: ignore[call-overload]
