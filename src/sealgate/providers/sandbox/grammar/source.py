"""A grammar in the language it came in: GBNF where ``::=`` stands in it, Lark otherwise, as vLLM tells them apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.gbnf import read_gbnf
from sealgate.providers.sandbox.grammar.lark_writing import LarkGrammar
from sealgate.providers.sandbox.refused import UnsupportedError

Write = Callable[[Chance], str]


@lru_cache(maxsize=64)
def grammar_writer(source: str) -> Write:
    """What writes texts of the grammar, kept for the next request. Raises `UnsupportedError`, now or then."""
    return gbnf_writer(source) if "::=" in source else lark_writer(source)


def gbnf_writer(source: str) -> Write:
    """The same for a grammar that is GBNF by declaration."""
    grammar = read_gbnf(source)
    return lambda chance: "".join(token.text for token in grammar.derive(chance))


def lark_writer(source: str) -> Write:
    """The same for a grammar that is Lark by declaration."""
    if not source.strip():
        raise UnsupportedError("the grammar is empty")
    return LarkGrammar(source).write
