"""A grammar of rules, and the derivation of a text from it: by chance, but never far from the shortest way."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.nodes import Alt, AnyNode, Chars, Leaf, Ref, Rep, Seq, Text
from sealgate.providers.sandbox.grammar.writing import MAX_LENGTH, MAX_WORK
from sealgate.providers.sandbox.refused import UnsupportedError

ENOUGH = 160
"""Characters after which a derivation takes only the shortest ways."""
SPARE = 6
"""Levels of rules a derivation may go deeper than the shortest one."""
DEEPEST = 100


class Token(NamedTuple):
    """A piece of a derived text: of a terminal where the grammar has a lexer, else on its own."""

    text: str
    leaf: Leaf | None = None


class Grammar:
    """Rules by name. ``start`` is the rule to begin with."""

    def __init__(self, rules: dict[str, AnyNode], start: str) -> None:
        """Raises `UnsupportedError` for a rule that is not defined, or that never comes to an end."""
        self.rules = rules
        self.start = start
        for name, rule in rules.items():
            for reference in references(rule):
                if reference not in rules:
                    raise UnsupportedError(f"the grammar's rule {name!r} uses {reference!r}, which is not defined")
        if start not in rules:
            raise UnsupportedError(f"the grammar has no rule {start!r}")
        self._depths: dict[str, float] = dict.fromkeys(rules, math.inf)
        self._known: dict[int, float] = {}
        self._measure()
        if self._depths[start] == math.inf:
            raise UnsupportedError("the grammar has no text of finite size")

    def _measure(self) -> None:
        """Levels of rules that each rule needs at least; rounds back and forth, until one changes nothing."""
        names = list(self.rules)
        for _ in range(DEEPEST):
            names.reverse()
            changed = False
            for name in names:
                found = self._depth(self.rules[name])
                changed = changed or found != self._depths[name]
                self._depths[name] = found
            if not changed:
                return

    def depth(self, node: AnyNode) -> float:
        """How many levels of rules a node needs at least, worked out once."""
        known = self._known.get(id(node))
        if known is None:
            known = self._known[id(node)] = self._depth(node)
        return known

    def _depth(self, node: AnyNode) -> float:
        if isinstance(node, Ref):
            return 1 + self._depths[node.name]
        if isinstance(node, Seq):
            return max((self._depth(item) for item in node.items), default=0)
        if isinstance(node, Alt):
            return min(self._depth(option) for option in node.options)
        if isinstance(node, Rep):
            return self._depth(node.item) if node.low else 0
        return 0

    def derive(self, chance: Chance) -> list[Token]:
        """One text of the grammar, in pieces. Raises `UnsupportedError` where it would be too long."""
        derivation = _Derivation(self, chance)
        derivation.add(self.rules[self.start], self._depths[self.start] + SPARE)
        return derivation.tokens


class _Derivation:
    def __init__(self, grammar: Grammar, chance: Chance) -> None:
        self.grammar = grammar
        self.chance = chance
        self.tokens: list[Token] = []
        self.size = 0
        self.work = 0

    def add(self, node: AnyNode, room: float) -> None:
        """Append a text for the node, with at most ``room`` levels of rules below."""
        self.work += 1
        self.chance.budget.spend(4)
        if self.size > MAX_LENGTH or self.work > MAX_WORK:
            raise UnsupportedError(f"the grammar's shortest text is longer than {MAX_LENGTH} characters")
        if isinstance(node, Text):
            self._put(Token(node.text))
        elif isinstance(node, Leaf):
            self._put(Token(node.pattern.write(self.chance) if node.fixed is None else node.fixed, node))
        elif isinstance(node, Chars):
            if not node.samples:
                raise UnsupportedError("a character class of the grammar is empty")
            self._put(Token(self.chance.pick(node.samples)))
        elif isinstance(node, Seq):
            for item in node.items:
                self.add(item, room)
        elif isinstance(node, Alt):
            self.add(self._choose(node, room), room)
        elif isinstance(node, Rep):
            for _ in range(self._times(node, room)):
                self.add(node.item, room)
        elif isinstance(node, Ref):
            self.add(self.grammar.rules[node.name], room - 1)
        else:
            raise TypeError(node)

    def _put(self, token: Token) -> None:
        if token.text:
            self.tokens.append(token)
            self.size += len(token.text)

    def _choose(self, node: Alt, room: float) -> AnyNode:
        self.chance.budget.spend(len(node.options) // 4)
        depths = [self.grammar.depth(option) for option in node.options]
        least = min(depths)
        room = least if self.size > ENOUGH else max(room, least)
        return self.chance.pick([option for option, depth in zip(node.options, depths, strict=True) if depth <= room])

    def _times(self, node: Rep, room: float) -> int:
        if self.size > ENOUGH or self.grammar.depth(node.item) > room:
            return node.low
        extra = self.chance.below(_usual(node.item))
        return node.low + (extra if node.high is None else min(extra, node.high - node.low))


def _usual(item: AnyNode) -> int:
    """One more than the repetitions that look natural: letters make words, but blanks are best alone."""
    if isinstance(item, Chars):
        return 2 if item.samples.isspace() else 6
    return 3


def references(node: AnyNode) -> Iterator[str]:
    """Names of the rules a node uses directly."""
    if isinstance(node, Ref):
        yield node.name
    elif isinstance(node, Seq):
        for item in node.items:
            yield from references(item)
    elif isinstance(node, Alt):
        for option in node.options:
            yield from references(option)
    elif isinstance(node, Rep):
        yield from references(node.item)
