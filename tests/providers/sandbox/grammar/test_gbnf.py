"""GBNF grammars: texts that a small recogniser of the test's own accepts, and what is refused."""

from __future__ import annotations

import json
import re

import pytest

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.gbnf import read_gbnf
from sealgate.providers.sandbox.grammar.nodes import Alt, AnyNode, Chars, Ref, Rep, Seq, Text
from sealgate.providers.sandbox.grammar.rules import Grammar
from sealgate.providers.sandbox.grammar.source import gbnf_writer
from sealgate.providers.sandbox.refused import UnsupportedError

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws     ::= | " " | "\n" [ \t]{0,20}   # blanks
"""
ARITHMETIC = r"""
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"""
CHESS = r"""
root ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle ::= "O-O" "-O"?
"""
MANY_LINES = """root ::=
    "a"
  | "b" second
second ::= "c"
"""


def written(source: str, seeds: int = 40) -> list[str]:
    write = gbnf_writer(source)
    return [write(Chance(seed)) for seed in range(seeds)]


def ends(grammar: Grammar, node: AnyNode, text: str, at: int) -> set[int]:
    """Every place where a text of the node that begins at ``at`` ends; for grammars without left recursion."""
    if isinstance(node, Text):
        return {at + len(node.text)} if text.startswith(node.text, at) else set()
    if isinstance(node, Chars):
        return {at + 1} if at < len(text) and node.accepts(text[at]) else set()
    if isinstance(node, Seq):
        places = {at}
        for item in node.items:
            places = {end for place in places for end in ends(grammar, item, text, place)}
        return places
    if isinstance(node, Alt):
        return {end for option in node.options for end in ends(grammar, option, text, at)}
    if isinstance(node, Ref):
        return ends(grammar, grammar.rules[node.name], text, at)
    assert isinstance(node, Rep)
    found, places, count = ({at} if node.low == 0 else set()), {at}, 0
    while places and (node.high is None or count < node.high):
        count += 1
        places = {end for place in places for end in ends(grammar, node.item, text, place)} - found
        if count >= node.low:
            found |= places
    return found


@pytest.mark.parametrize("source", [JSON, ARITHMETIC, CHESS, MANY_LINES])
def test_what_is_written_is_of_the_grammar(source: str) -> None:
    """A recogniser that shares nothing with the writer but the rules read accepts every text in full."""
    grammar = read_gbnf(source)
    for text in written(source):
        assert len(text) in ends(grammar, grammar.rules[grammar.start], text, 0)


def test_a_json_grammar_gives_json() -> None:
    """Texts of llama.cpp's JSON grammar are objects for Python's reader."""
    assert all(isinstance(json.loads(text), dict) for text in written(JSON))
    assert len(set(written(JSON))) > 10


def test_an_arithmetic_grammar_gives_equations() -> None:
    """Judged by a regular expression, as far as one can."""
    assert all(re.fullmatch(r"(?:[\sa-z0-9_+*/()-]+=[\sa-z0-9_+*/()-]+\n)+", text) for text in written(ARITHMETIC))


KNOWN = {
    'root ::= "yes" | "no"': {"yes", "no"},
    'root ::= "a"? "b"{2} [c]{0,1}': {"bb", "abb", "bbc", "abbc"},
    'root ::= "\\x41\\u00e9\\U0001f600\\n\\t\\"\\\\"': {'Aé😀\n\t"\\'},
    "root ::= [\\x41-\\x42] [^\\x00-\\x60\\x62-\\U0010FFFF] [\\]]": {"Aa]", "Ba]"},
    "root ::= [-a] [a-]": {"--", "-a", "a-", "aa"},
    'main ::= x\nx ::= ("1" | ("2"))': {"1", "2"},
    'root ::= ""': {""},
    'root ::= | "a"': {"", "a"},
    'a-b ::= "x"\nroot ::= a-b a-b': {"xx"},
    'root ::= "a" # comment "b"\n': {"a"},
}


@pytest.mark.parametrize("source", KNOWN)
def test_small_grammars_give_exactly_their_texts(source: str) -> None:
    """All of them, and no other."""
    assert set(written(source, 60)) == KNOWN[source]


def test_recursion_on_either_side_comes_to_an_end() -> None:
    """Left, right and middle recursion."""
    for source in ('root ::= root "a" | "b"', 'root ::= "a" root | "b"', 'root ::= "(" root ")" root | ""'):
        assert all(len(text) < 500 for text in written(source))


REFUSED = {
    "nothing": "",
    "no rule": "hello world",
    "not defined": "root ::= x",
    "endless": 'root ::= "a" root',
    "another notation": 'root = "a";',
    "look-ahead": 'root ::= (?="a") "a"',
    "not closed": 'root ::= ("a"',
    "an open string": 'root ::= "a',
    "an empty repetition": 'root ::= "a"{3,2}',
    "no character": 'root ::= "\\ud800"',
    "an empty class": "root ::= [^\\x00-\\U0010FFFF]",
    "too long": "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(30)) + '\nr30 ::= "x"',
    "too long a source": "#" * 60_000,
    "too deep": "root ::= " + "(" * 5000 + '"a"' + ")" * 5000,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_or_ended_is_refused(name: str) -> None:
    """`UnsupportedError`; nesting too deep for Python is caught one floor above."""
    with pytest.raises((UnsupportedError, RecursionError)):
        written(REFUSED[name], 3)
