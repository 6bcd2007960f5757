"""Which language a grammar is in."""

from __future__ import annotations

import pytest

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.source import grammar_writer, lark_writer
from sealgate.providers.sandbox.refused import UnsupportedError


def test_gbnf_and_lark_are_told_apart() -> None:
    """By the sign ``::=``."""
    assert grammar_writer('root ::= "a"')(Chance(0)) == "a"
    assert grammar_writer('start: "b"')(Chance(0)) == "b"


def test_an_empty_grammar_is_refused() -> None:
    """There is nothing to write."""
    with pytest.raises(UnsupportedError):
        lark_writer(" \n")
