"""GBNF, the grammar format of llama.cpp, which vLLM and SGLang take as EBNF: ``root ::= "yes" | "no"``.

Source: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md . A rule ends where the next
``name ::=`` begins, so alternatives may stand on lines of their own, as XGrammar allows.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sealgate.providers.sandbox.grammar.nodes import Alt, AnyNode, Chars, Ref, Rep, Seq, Text
from sealgate.providers.sandbox.grammar.rules import Grammar
from sealgate.providers.sandbox.refused import UnsupportedError

LONGEST = 50_000

_PIECES = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<text>"(?:[^"\\\n]|\\.)*")
      | (?P<set>\[(?:[^\]\\\n]|\\.)*\])
      | (?P<name>[A-Za-z_][A-Za-z0-9_-]*)
      | (?P<is>::=)
      | (?P<times>\{\s*\d{1,6}\s*(?:,\s*(?:\d{1,6})?\s*)?\})
      | (?P<sign>[()|*+?.])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r"}
_SIGN = r"(\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)|[^\\])"
_SET_ITEM = re.compile(f"{_SIGN}(?:-{_SIGN})?", re.DOTALL)


class _Piece(NamedTuple):
    kind: str
    text: str


_END = _Piece("end", "")


def read_gbnf(source: str) -> Grammar:
    """The grammar, with ``root`` as its start (or its first rule). Raises `UnsupportedError`."""
    if len(source) > LONGEST:
        raise UnsupportedError(f"the grammar is longer than {LONGEST} characters")
    reader = _Reader(_pieces(source))
    rules = reader.rules()
    return Grammar(rules, "root" if "root" in rules else next(iter(rules)))


def _pieces(source: str) -> list[_Piece]:
    found, at = [], 0
    while at < len(source):
        match = _PIECES.match(source, at)
        if match is None:
            line = source.count("\n", 0, at) + 1
            raise UnsupportedError(f"line {line} of the grammar cannot be read at {source[at : at + 20]!r}")
        if match.lastgroup != "space":
            found.append(_Piece(match.lastgroup or "", match[0]))
        at = match.end()
    return found


class _Reader:
    def __init__(self, pieces: list[_Piece]) -> None:
        self.pieces = pieces
        self.at = 0

    def peek(self, ahead: int = 0) -> _Piece:
        return self.pieces[self.at + ahead] if self.at + ahead < len(self.pieces) else _END

    def take(self) -> _Piece:
        piece = self.peek()
        self.at += 1
        return piece

    def rules(self) -> dict[str, AnyNode]:
        rules: dict[str, AnyNode] = {}
        while self.peek() is not _END:
            name, sign = self.take(), self.take()
            if name.kind != "name" or sign.kind != "is":
                raise UnsupportedError(f"a rule of the grammar must begin with 'name ::=', not {name.text!r}")
            rules[name.text] = self.alternatives()
        if not rules:
            raise UnsupportedError("the grammar has no rules")
        return rules

    def alternatives(self) -> AnyNode:
        options = [self.sequence()]
        while self.peek() == ("sign", "|"):
            self.take()
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Alt(tuple(options))

    def sequence(self) -> AnyNode:
        items: list[AnyNode] = []
        while self._more():
            items.append(self._repeated(self.item()))
        return items[0] if len(items) == 1 else Seq(tuple(items))

    def _more(self) -> bool:
        piece = self.peek()
        if piece.kind == "name":
            return self.peek(1).kind != "is"
        return piece.kind in ("text", "set") or piece.text in ("(", ".")

    def item(self) -> AnyNode:
        piece = self.take()
        if piece.kind == "text":
            return Text(_unescaped(piece.text[1:-1]))
        if piece.kind == "set":
            return _set(piece.text[1:-1])
        if piece.kind == "name":
            return Ref(piece.text)
        if piece.text == ".":
            return Chars(categories=(("any", False),))
        inner = self.alternatives()
        if self.take().text != ")":
            raise UnsupportedError("a parenthesis of the grammar is not closed")
        return inner

    def _repeated(self, item: AnyNode) -> AnyNode:
        while True:
            piece = self.peek()
            if piece.kind == "times":
                low, high = _counts(piece.text)
                item = Rep(item, low, high)
            elif piece.kind == "sign" and piece.text in "*+?":
                item = Rep(item, int(piece.text == "+"), 1 if piece.text == "?" else None)
            else:
                return item
            self.take()


def _counts(text: str) -> tuple[int, int | None]:
    low, comma, high = text[1:-1].partition(",")
    if not comma:
        return int(low), int(low)
    top = int(high) if high.strip() else None
    if top is not None and top < int(low):
        raise UnsupportedError(f"the repetition {text} of the grammar is empty")
    return int(low), top


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_char, text)


def _char(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code is None:
        return _PLAIN.get(match[4], match[4])
    number = int(code, 16)
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        raise UnsupportedError(f"the grammar has an escape for no character: {match[0]}")
    return chr(number)


def _set(text: str) -> Chars:
    negated = text.startswith("^")
    ranges = []
    for low, high in _SET_ITEM.findall(text, int(negated)):
        first = ord(_unescaped(low))
        ranges.append((first, ord(_unescaped(high)) if high else first))
    return Chars(tuple(ranges), negated=negated)
