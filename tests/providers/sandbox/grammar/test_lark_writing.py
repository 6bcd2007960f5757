"""Lark grammars: every text is parsed by Lark itself, with its default parser and, where it can, with LALR."""

from __future__ import annotations

import contextlib

import pytest
from lark import Lark
from lark.exceptions import LarkError

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.lark_writing import LarkGrammar
from sealgate.providers.sandbox.refused import UnsupportedError

JSON = r"""
?start: value
?value: object | array | string | SIGNED_NUMBER -> number | "true" -> true | "false" -> false | "null" -> null
array  : "[" [value ("," value)*] "]"
object : "{" [pair ("," pair)*] "}"
pair   : string ":" value
string : ESCAPED_STRING
%import common.ESCAPED_STRING
%import common.SIGNED_NUMBER
%import common.WS
%ignore WS
"""
CALCULATOR = r"""
?start: sum | NAME "=" sum -> assign_var
?sum: product | sum "+" product -> add | sum "-" product -> sub
?product: atom | product "*" atom -> mul | product "/" atom -> div
?atom: NUMBER -> number | "-" atom -> neg | NAME -> var | "(" sum ")"
%import common.CNAME -> NAME
%import common.NUMBER
%import common.WS_INLINE
%ignore WS_INLINE
"""
SQL = r"""
start: select_statement
select_statement: "SELECT" column "from"i table "where" condition
column: "col_1" | "col_2"
table: "table_1" | "table_2"
condition: column "=" number
number: "1" | "2"
%ignore " "
"""
NO_BLANKS = """
start: "SELECT " column " from " table
column: ("col_1 " | "col_2 ")
table: "t1" | "t2"
"""
TEMPLATES = r"""
start: _sep{item, ","} ";"
_sep{x, y}: x (y x)*
item: WORD~2..3
WORD.2: /[a-z]{2,4}/ | "x".."z"
%import common (WS, DIGIT)
%ignore WS
"""
KEYWORDS = r"""
start: stmt+
stmt: "if" NAME "then" NAME ["else" NAME] ";"   // a comment
NAME: /[a-z]+/
%ignore /[ \n]+/
COMMENT: "//" /[^\n]*/
%ignore COMMENT
"""
LINES = r"""
start: line+
line: KEY "=" VALUE _NL
KEY: /[a-z]+/
VALUE: /[0-9]+/
_NL: "\n"
"""
EXTENDED = r"""
start: greeting name
!greeting: "hello" | "hi"
name: FIRST LAST?
FIRST: UPPER LOWER+
LAST: " " UPPER "."
UPPER: "A".."Z"
LOWER: "a".."z"
%extend greeting: "ahoy"
%ignore /,? /
"""
PYTHONIC = r"""
start: (_NL | call)*
call: NAME "(" [arg ("," arg)*] ")" _NL
arg: [NAME "="] (STRING | INT | NAME)
STRING: /"[^"\n]*"/ | /'[^'\n]*'/
_NL: /(\r?\n[\t ]*)+/
%import common.CNAME -> NAME
%import common.INT
%import common.WS_INLINE
%ignore WS_INLINE
"""
ARROW = 'start: a -> first | b\n  | "c"+ -> third\na: "x"\nb: "y"~3\n'
ALL = [JSON, CALCULATOR, SQL, NO_BLANKS, TEMPLATES, KEYWORDS, LINES, EXTENDED, PYTHONIC, ARROW]


def judges(source: str) -> list[Lark]:
    found = [Lark(source, parser="earley")]
    with contextlib.suppress(LarkError):  # not every grammar is LALR(1)
        found.append(Lark(source, parser="lalr"))
    return found


@pytest.mark.parametrize("source", ALL)
def test_lark_parses_what_is_written(source: str) -> None:
    """By both of Lark's parsers, for many seeds."""
    grammar = LarkGrammar(source)
    parsers = judges(source)
    texts = [grammar.write(Chance(seed)) for seed in range(25)]
    for text in texts:
        for parser in parsers:
            parser.parse(text)
    assert len(set(texts)) > 1


def test_optional_parts_are_not_multiplied_out() -> None:
    """Forty optional parts would be a million million rules for Lark's own loader."""
    source = "start: " + " ".join(f'"a{number};"?' for number in range(40))
    assert LarkGrammar(source).write(Chance(0)).startswith("a")


def test_the_rule_start_is_the_start_or_else_the_first() -> None:
    """As vLLM has it."""
    assert LarkGrammar('x: "1"\nstart: "2"').write(Chance(0)) == "2"
    assert LarkGrammar('x: "1"\ny: "2"').write(Chance(0)) == "1"


def test_a_keyword_is_not_taken_for_a_name() -> None:
    """Where ``if`` is a keyword no name is ``if``, and the words stand apart."""
    source = 'start: "if" NAME\nNAME: /i[fg]/\n%ignore " "'
    assert {LarkGrammar(source).write(Chance(seed)) for seed in range(10)} == {"if ig"}


REFUSED = {
    "nothing": "",
    "not defined": "start: foo",
    "a terminal not defined": "start: FOO",
    "endless": 'start: "a" start',
    "a longest match that swallows the next": "start: A B\nA: /a+/\nB: /ab/",
    "an import from elsewhere": "%import os.path\nstart: path",
    "an import from a file": "%import .local.X\nstart: X",
    "an import that does not exist": "%import common.NOPE\nstart: NOPE",
    "a terminal of itself": "start: A\nA: B\nB: A",
    "look-ahead": "start: A\nA: /(?=a)b/",
    "a declared terminal": "%declare X\nstart: X",
    "a template as start": "foo{x}: x",
    "a template without arguments": 'start: foo\nfoo{x}: x "a"',
    "an empty terminal": 'start: ""',
    "an unclosed regular expression": "start: /" + "\\\\" * 2_000,
    "an unclosed string": 'start: "' + "\\" * 4_001,
    "a template that never ends": 'start: f{"a"}\nf{x}: f{g{x}} | "b"\ng{x}: x x',
    "terminals that double": "\n".join(f"A{i}: A{i + 1} A{i + 1}" for i in range(30)) + '\nA30: "x"\nstart: A0',
    "too long": 'start: "a"' + " " * 60_000,
    "a wrong range": 'start: "a".."bc"',
    "an empty repetition": 'start: "a"~3..2',
    "not a number": 'start: "a"~x',
    "no colon": "start",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_honoured_is_refused(name: str) -> None:
    """`UnsupportedError`, quickly, and no file is read."""
    with pytest.raises(UnsupportedError):
        LarkGrammar(REFUSED[name]).write(Chance(0))
