"""Texts for Lark grammars: derived from the rules, laid out so that Lark's lexer cuts them back into the same tokens.

Lark's default parser takes, at each place, the longest match of each terminal that may stand there; its other lexers
take the first of all terminals. A text is preferred that is right for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.lark_syntax import Definition, LarkSource, read_lark
from sealgate.providers.sandbox.grammar.nodes import Alt, AnyNode, Leaf, Ref, Rep, Seq, Terminal
from sealgate.providers.sandbox.grammar.regex import Pattern, compiled
from sealgate.providers.sandbox.grammar.rules import Grammar, Token
from sealgate.providers.sandbox.grammar.writing import widths
from sealgate.providers.sandbox.refused import UnsupportedError

TRIES = 24
MOST_RULES = 2_000
MOST_INSTANCES = 500

_BLANKS = (" ", "\n", "\t")
_OPENING = "([{.<@#$"
_CLOSING = ")]},;.>"


class LarkGrammar:
    """A Lark grammar, ready to write texts of it. The start is ``start``, or else the first rule."""

    def __init__(self, source: str) -> None:
        """Raises `UnsupportedError`."""
        found = read_lark(source)
        if not found.rules:
            raise UnsupportedError("the grammar has no rules")
        builder = _Builder(found)
        start = "start" if "start" in found.rules else next(iter(found.rules))
        if found.rules[start].params:
            raise UnsupportedError("the grammar's first rule is a template")
        rules = builder.rules(start)
        self.leaves = list(builder.leaves.values())
        self.ignored = [compiled(builder.source(body)) for body in found.ignored]
        self.grammar = Grammar(rules, start)
        blank = next((each for each in _BLANKS if any(one.fullmatch(each, Budget()) for one in self.ignored)), "")
        self.gaps = ("", blank) if blank else ("",)

    def write(self, chance: Chance) -> str:
        """A text that the grammar's parser accepts. Raises `UnsupportedError`."""
        second_best = None
        for _ in range(TRIES):
            tokens = self.grammar.derive(chance)
            for pieces in _layouts(tokens, self.gaps):
                cut = self._cut(pieces, chance.budget)
                if cut == "surely":
                    return "".join(token.text for token in pieces)
                if cut == "likely" and second_best is None:
                    second_best = "".join(token.text for token in pieces)
        if second_best is None:
            raise UnsupportedError("no text was found that the grammar's own lexer would cut into its tokens")
        return second_best

    def _cut(self, pieces: Sequence[Token], budget: Budget) -> str:
        """How a lexer would cut the text: ``surely`` as derived, ``likely`` so, or ``wrong``."""
        text = "".join(token.text for token in pieces)
        verdict, at = "surely", 0
        for token in pieces:
            end = at + len(token.text)
            if token.leaf is None:
                if not any(pattern.match(text, at, budget) == end for pattern in self.ignored):
                    return "wrong"
            elif token.leaf.fixed is None and token.leaf.pattern.match(text, at, budget) != end:
                return "wrong"
            elif verdict == "surely" and not self._alone(token.leaf, text, at, end, budget):
                verdict = "likely"
            at = end
        return verdict

    def _alone(self, leaf: Leaf, text: str, at: int, end: int, budget: Budget) -> bool:
        """Whether no other terminal would take this place from the one that was meant."""
        budget.spend(len(self.leaves) // 4)
        for other in self.leaves:
            if other == leaf:
                continue
            if other.fixed is not None:
                if (
                    text.startswith(other.fixed, at)
                    and len(other.fixed) >= end - at
                    and other.priority >= leaf.priority
                ):
                    return False
                continue
            reach = other.pattern.match(text, at, budget)
            if reach is None or reach < end or other.priority < leaf.priority:
                continue
            if reach > end or (leaf.fixed is None and other.priority > leaf.priority):
                return False
            if leaf.fixed is None and leaf.priority == other.priority:
                return False
        return all((pattern.match(text, at, budget) or 0) < end for pattern in self.ignored)


def _layouts(tokens: list[Token], gaps: tuple[str, ...]) -> list[list[Token]]:
    """The tokens without gaps, with natural gaps, and with a gap everywhere."""
    if len(gaps) == 1 or len(tokens) < 2:
        return [tokens]
    gap = Token(gaps[1])
    natural, full = [tokens[0]], [tokens[0]]
    for before, token in pairwise(tokens):
        full += [gap, token]
        tight = before.text[-1] in _OPENING or token.text[0] in _CLOSING
        natural += [token] if tight else [gap, token]
    return [natural, tokens, full]


class _Builder:
    """Turns what was read into rules of nodes; each terminal becomes one `Leaf`, each used template a rule."""

    def __init__(self, found: LarkSource) -> None:
        self.found = found
        self.leaves: dict[tuple[str, str], Leaf] = {}
        self._made: dict[str, AnyNode] = {}
        self._instances: dict[tuple[str, tuple[AnyNode, ...]], int] = {}
        self._waiting: list[tuple[str, Definition, dict[str, AnyNode]]] = []
        self._open: list[str] = []

    def rules(self, start: str) -> dict[str, AnyNode]:
        """All rules that the start needs."""
        self._waiting.append((start, self.found.rules[start], {}))
        while self._waiting:
            name, definition, given = self._waiting.pop()
            if name in self._made:
                continue
            if len(self._made) > MOST_RULES:
                raise UnsupportedError("the grammar has too many rules")
            self._made[name] = self._node(definition.body, given)
        return self._made

    def _node(self, node: AnyNode, given: dict[str, AnyNode]) -> AnyNode:
        """The node with terminals compiled, parameters filled in and templates named."""
        if isinstance(node, Terminal):
            return self._leaf(node.source, node, 0)
        if isinstance(node, Seq):
            return Seq(tuple(self._node(item, given) for item in node.items))
        if isinstance(node, Alt):
            return Alt(tuple(self._node(option, given) for option in node.options))
        if isinstance(node, Rep):
            return Rep(self._node(node.item, given), node.low, node.high)
        if isinstance(node, Leaf):
            return node
        assert isinstance(node, Ref)
        return self._named(node, given)

    def _named(self, node: Ref, given: dict[str, AnyNode]) -> AnyNode:
        if node.name in given:
            return given[node.name]
        if node.name in self.found.tokens:
            definition = self.found.tokens[node.name]
            body = definition.body
            known = body if isinstance(body, Terminal) else Terminal(self.source(node))
            return self._leaf(node.name, known, definition.priority)
        rule = self.found.rules.get(node.name)
        if rule is None or len(rule.params) != len(node.arguments):
            raise UnsupportedError(f"the grammar uses {node.name!r}, which is not defined so")
        arguments = tuple(self._node(each, given) for each in node.arguments)
        name = node.name
        if arguments:
            number = self._instances.setdefault((node.name, arguments), len(self._instances))
            if number > MOST_INSTANCES:
                raise UnsupportedError("the grammar's templates have too many uses")
            name = f"{node.name}#{number}"
        if name not in self._made:
            self._waiting.append((name, rule, dict(zip(rule.params, arguments, strict=True))))
        return Ref(name)

    def _leaf(self, name: str, terminal: Terminal, priority: int) -> Leaf:
        key = (name, terminal.source)
        if key not in self.leaves:
            pattern = compiled(terminal.source)
            if terminal.fixed == "" or pattern.high == 0:
                raise UnsupportedError(f"the grammar's terminal {name} is empty")
            self.leaves[key] = Leaf(name, pattern, terminal.fixed, priority)
        return self.leaves[key]

    def source(self, node: AnyNode) -> str:
        """A terminal's definition as one regular expression; Lark puts longer alternatives first, and so do we."""
        if isinstance(node, Terminal):
            return node.source
        if isinstance(node, Seq):
            return "".join(self.source(item) for item in node.items)
        if isinstance(node, Alt):
            return "(?:" + "|".join(sorted((self.source(each) for each in node.options), key=_lark_order)) + ")"
        if isinstance(node, Rep):
            return f"(?:{self.source(node.item)}){_times(node)}"
        if isinstance(node, Ref):
            return self._token_source(node)
        raise UnsupportedError("a terminal of the grammar has a part that is not a terminal")

    def _token_source(self, node: Ref) -> str:
        definition = self.found.tokens.get(node.name)
        if definition is None:
            raise UnsupportedError(f"a terminal of the grammar uses {node.name!r}, which is not a terminal")
        if node.name in self._open:
            raise UnsupportedError(f"the grammar's terminal {node.name} uses itself")
        self._open.append(node.name)
        made = f"(?:{self.source(definition.body)})"
        self._open.pop()
        if len(made) > 20_000:
            raise UnsupportedError(f"the grammar's terminal {node.name} is too long")
        return made


def _times(node: Rep) -> str:
    plain = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((node.low, node.high))
    return plain or f"{{{node.low},{'' if node.high is None else node.high}}}"


def _lark_order(source: str) -> tuple[int, int, int]:
    low, high = widths(Pattern(source).node)
    return (-(1 << 32 if high is None else high), -low, -len(source))
