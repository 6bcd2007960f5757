"""Lark's grammar language, read by our own small parser into rules and terminals.

Source: https://lark-parser.readthedocs.io/en/stable/grammar.html . Lark's own loader is not used on a caller's
grammar: it multiplies out optional parts (``a? b? c? …`` doubles with each), reads files for ``%import``, and its
patterns for strings and regular expressions backtrack without bound. From the package come only the terminals of
``common``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from sealgate.providers.sandbox.grammar.nodes import Alt, AnyNode, Ref, Rep, Seq, Terminal
from sealgate.providers.sandbox.refused import UnsupportedError

LONGEST = 50_000

_PIECES = re.compile(
    r"""(?P<space>\s+|//[^\n]*|\#[^\n]*)
      | (?P<text>"(?:[^"\\\n]|\\.)*"i?)
      | (?P<regex>/(?![/*])(?:[^/\\\n]|\\.)+/[imslux]*)
      | (?P<rule>!?[_?]?[a-z][_a-z0-9]*|\?![a-z_][_a-z0-9]*)
      | (?P<token>_?[A-Z][_A-Z0-9]*)
      | (?P<word>%[a-z]+)
      | (?P<number>[+-]?\d{1,6})
      | (?P<sign>->|\.\.|[:|()\[\]{}*+?~,.])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))")
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", '"': '"', "\\": "\\"}

_LAZY_STRING = r".*?(?<!\\)(\\\\)*?"
_STRING_INSIDE = r"[^\"\\\n]*"
"""Lark writes the inside of a string with a look-behind; this is the part of the same language without escapes."""


class Definition(NamedTuple):
    """What stands behind a name."""

    body: AnyNode
    params: tuple[str, ...] = ()
    priority: int = 0


@dataclass
class LarkSource:
    """Everything a grammar says. Names of rules are small, names of terminals capital."""

    rules: dict[str, Definition] = field(default_factory=dict)
    tokens: dict[str, Definition] = field(default_factory=dict)
    ignored: list[AnyNode] = field(default_factory=list)


class _Piece(NamedTuple):
    kind: str
    text: str
    line: int


_END = _Piece("end", "", 0)


def read_lark(source: str) -> LarkSource:
    """What the grammar says. Raises `UnsupportedError`."""
    if len(source) > LONGEST:
        raise UnsupportedError(f"the grammar is longer than {LONGEST} characters")
    return _Reader(list(_pieces(source))).document()


def _pieces(source: str) -> Iterator[_Piece]:
    at, line = 0, 1
    while at < len(source):
        match = _PIECES.match(source, at)
        if match is None:
            raise UnsupportedError(f"line {line} of the grammar cannot be read at {source[at : at + 20]!r}")
        if match.lastgroup != "space":
            yield _Piece(match.lastgroup or "", match[0], line)
        line += match[0].count("\n")
        at = match.end()


class _Reader:
    """A rule ends where the next one begins, so line ends need not be told apart."""

    def __init__(self, pieces: list[_Piece]) -> None:
        self.pieces = pieces
        self.at = 0
        self.found = LarkSource()

    def peek(self, ahead: int = 0) -> _Piece:
        return self.pieces[self.at + ahead] if self.at + ahead < len(self.pieces) else _END

    def take(self, text: str | None = None) -> _Piece:
        piece = self.peek()
        if text is not None and piece.text != text:
            raise UnsupportedError(f"line {piece.line} of the grammar has {piece.text!r} where {text!r} is expected")
        self.at += 1
        return piece

    def accept(self, text: str) -> bool:
        if self.peek().text == text and self.peek().kind == "sign":
            self.at += 1
            return True
        return False

    def document(self) -> LarkSource:
        while self.peek() is not _END:
            piece = self.peek()
            if piece.kind == "word":
                self.directive(self.take())
            elif self._head():
                self.definition()
            else:
                raise UnsupportedError(f"line {piece.line} of the grammar does not begin a rule: {piece.text!r}")
        return self.found

    def definition(self) -> None:
        name = self.take()
        params = self.names("}") if self.accept("{") else ()
        priority = int(self.take().text) if self.accept(".") else 0
        self.take(":")
        body = self.alternatives()
        where = self.found.tokens if name.kind == "token" else self.found.rules
        where[name.text.lstrip("!?")] = Definition(body, params, priority)

    def extended(self) -> None:
        """``%extend name: more`` adds alternatives to a definition."""
        name = self.peek().text.lstrip("!?")
        where = self.found.tokens if self.peek().kind == "token" else self.found.rules
        before = where.get(name)
        self.definition()
        if before is not None:
            where[name] = before._replace(body=Alt((before.body, where[name].body)))

    def names(self, closing: str) -> tuple[str, ...]:
        found = [self.take().text]
        while self.accept(","):
            found.append(self.take().text)
        self.take(closing)
        return tuple(found)

    def directive(self, word: _Piece) -> None:
        if word.text == "%ignore":
            self.found.ignored.append(self.alternatives())
        elif word.text == "%import":
            self.imported(word)
        elif word.text == "%override":
            self.definition()
        elif word.text == "%extend":
            self.extended()
        else:
            raise UnsupportedError(f"the grammar uses {word.text}, which the sandbox cannot honour")

    def imported(self, word: _Piece) -> None:
        """``%import common.NAME -> NAME`` or ``%import common (NAME, NAME)``; nothing but ``common``."""
        if self.take().text != "common":
            raise UnsupportedError(f"line {word.line} of the grammar imports from elsewhere than 'common'")
        if self.accept("("):
            pairs = [(name, name) for name in self.names(")")]
        else:
            self.take(".")
            name = self.take().text
            pairs = [(name, self.take().text if self.accept("->") else name)]
        for name, alias in pairs:
            self.found.tokens[alias] = Definition(common_terminal(name))

    def alternatives(self) -> AnyNode:
        options = [self.sequence()]
        while self.accept("|"):
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Alt(tuple(options))

    def sequence(self) -> AnyNode:
        items: list[AnyNode] = []
        while self._more():
            items.append(self.repeated(self.atom()))
        if self.accept("->"):
            self.take()
        return items[0] if len(items) == 1 else Seq(tuple(items))

    def _more(self) -> bool:
        piece = self.peek()
        if piece.kind in ("rule", "token"):
            return not self._head()
        return piece.kind in ("text", "regex") or (piece.kind == "sign" and piece.text in ("(", "["))

    def _head(self) -> bool:
        """Whether a definition begins here: a name, perhaps ``{parameters}`` or ``.priority``, then a colon."""
        if self.peek().kind not in ("rule", "token"):
            return False
        ahead = 1
        if self.peek(ahead).text == "{":
            while self.peek(ahead) is not _END and self.peek(ahead).text != "}":
                ahead += 1
            ahead += 1
        if self.peek(ahead).text == "." and self.peek(ahead + 1).kind == "number":
            ahead += 2
        return self.peek(ahead).kind == "sign" and self.peek(ahead).text == ":"

    def atom(self) -> AnyNode:
        piece = self.take()
        if piece.text == "(" and piece.kind == "sign":
            inner = self.alternatives()
            self.take(")")
            return inner
        if piece.text == "[" and piece.kind == "sign":
            inner = self.alternatives()
            self.take("]")
            return Rep(inner, 0, 1)
        if piece.kind == "regex":
            return _regex(piece.text)
        if piece.kind == "text":
            return self.range_from(piece) if self.accept("..") else _literal(piece.text)
        if self.accept("{"):
            arguments = [self.atom()]
            while self.accept(","):
                arguments.append(self.atom())
            self.take("}")
            return Ref(piece.text, tuple(arguments))
        return Ref(piece.text.lstrip("!?"))

    def range_from(self, first: _Piece) -> Terminal:
        low, high = (_unescaped(piece.text.strip('"')) for piece in (first, self.take()))
        if len(low) != 1 or len(high) != 1 or low > high:
            raise UnsupportedError(
                f"line {first.line} of the grammar has a range that is not from one letter to another"
            )
        return Terminal(f"[{re.escape(low)}-{re.escape(high)}]")

    def repeated(self, item: AnyNode) -> AnyNode:
        piece = self.peek()
        if piece.kind != "sign":
            return item
        if piece.text in ("*", "+", "?"):
            self.take()
            return Rep(item, int(piece.text == "+"), 1 if piece.text == "?" else None)
        if piece.text == "~":
            self.take()
            low = self._count()
            high = self._count() if self.accept("..") else low
            if high < low:
                raise UnsupportedError(f"line {piece.line} of the grammar has an empty repetition")
            return Rep(item, low, high)
        return item

    def _count(self) -> int:
        piece = self.take()
        if piece.kind != "number" or not piece.text.isdecimal():
            raise UnsupportedError(f"line {piece.line} of the grammar has {piece.text!r} where a number is expected")
        return int(piece.text)


def _literal(text: str) -> Terminal:
    fixed = _unescaped(text.removesuffix("i")[1:-1])
    return Terminal(f"(?i:{re.escape(fixed)})") if text.endswith("i") else Terminal(re.escape(fixed), fixed)


def _regex(text: str) -> Terminal:
    source, _, flags = text[1:].rpartition("/")
    source = source.replace("\\/", "/").replace(_LAZY_STRING, _STRING_INSIDE)
    if set(flags) & set("lu"):
        raise UnsupportedError("the grammar has a regular expression with a flag other than i, m, s and x")
    return Terminal(f"(?{flags}:{source})" if flags else f"(?:{source})")


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_char, text)


def _char(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code is None:
        return _PLAIN.get(match[4], match[0])
    number = int(code, 16)
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        raise UnsupportedError(f"the grammar has an escape for no character: {match[0]}")
    return chr(number)


@lru_cache(maxsize=64)
def common_terminal(name: str) -> Terminal:
    """A terminal of Lark's ``common`` library. Raises `UnsupportedError` for a name that is not there."""
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,40}", name):
        raise UnsupportedError(f"the grammar imports common.{name}, which does not exist")
    from lark import Lark  # here, because most processes never need it and it takes a while to load
    from lark.exceptions import LarkError

    try:
        terminal = Lark(f"start: {name}\n%import common.{name}", parser="lalr").get_terminal(name)
    except LarkError:
        raise UnsupportedError(f"the grammar imports common.{name}, which does not exist") from None
    return Terminal(str(terminal.pattern.to_regexp()).replace(_LAZY_STRING, _STRING_INSIDE))
