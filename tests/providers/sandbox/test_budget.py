"""Hostile requests end: whatever a schema, a pattern or a grammar asks for, the work is bounded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.refused import UnsupportedError

SECONDS = 5
"""CPU time one request may take here; far more than it does, far less than unbounded work would."""


def test_a_budget_is_spent_once() -> None:
    """The unit after the last is refused, and so is every one after it."""
    budget = Budget(10)
    budget.spend(10)
    for _ in range(2):
        with pytest.raises(UnsupportedError):
            budget.spend(1)


def doubling(depth: int) -> Any:
    schema: Any = {"type": "integer"}
    for _ in range(depth):
        schema = {"oneOf": [schema, {"allOf": [schema]}]}
    return schema


def nested(opening: str, closing: str, times: int, core: str = '"a"') -> str:
    return "root ::= " + opening * times + core + closing * times


HOSTILE: dict[str, Callable[[], dict[str, Any]]] = {
    "an enum of many values": lambda: {"guided_json": {"enum": [f"v{i}" for i in range(60_000)], "not": {"const": 1}}},
    "an enum of which no value fits": lambda: {"guided_json": {"enum": list(range(30_000)), "type": "string"}},
    "a list of enums": lambda: {
        "guided_json": {"type": "array", "minItems": 500, "items": {"enum": [f"v{i}" for i in range(9_000)]}}
    },
    "very many branches": lambda: {"guided_json": {"oneOf": [{"const": i, "type": "string"} for i in range(9_000)]}},
    "very many properties": lambda: {
        "guided_json": {
            "type": "object",
            "properties": {f"p{i}": {"type": "integer"} for i in range(9_000)},
            "required": [f"p{i}" for i in range(9_000)],
        }
    },
    "very many patterns": lambda: {
        "guided_json": {"type": "object", "patternProperties": {f"^{i}(a|b)*$": {} for i in range(9_000)}}
    },
    "branches that double": lambda: {"guided_json": doubling(10)},
    "very many unique items": lambda: {
        "guided_json": {"type": "array", "items": {"type": "boolean"}, "minItems": 900, "uniqueItems": True}
    },
    "nested lists of nested lists": lambda: {
        "guided_json": {
            "type": "array",
            "minItems": 99,
            "items": {"type": "array", "minItems": 99, "items": {"type": "array", "minItems": 99}},
        }
    },
    "a deep schema": lambda: {"guided_json": {"allOf": [{"not": {"not": doubling(7)}}] * 300}},
    "a pattern with a long set": lambda: {"guided_regex": "[" + "".join(map(chr, range(0x4E00, 0x8000, 2))) + "]{900}"},
    "a pattern with very many alternatives": lambda: {
        "guided_regex": "(" + "|".join(f"a{i}" for i in range(2_500)) + "){900}"
    },
    "a pattern of patterns": lambda: {"guided_regex": "(((((a|b)*)*)*)*)*c" * 40},
    "a pattern nested too deep": lambda: {"guided_regex": "(" * 9_000 + ")" * 9_000},
    "a grammar of many rules": lambda: {
        "guided_grammar": "\n".join(f"r{i} ::= r{i + 1}" for i in range(2_000)) + '\nr2000 ::= "x"'
    },
    "a grammar that doubles": lambda: {
        "guided_grammar": "\n".join(f"r{i} ::= r{i + 1} r{i + 1}" for i in range(60)) + '\nr60 ::= "x"'
    },
    "a grammar with very many alternatives": lambda: {
        "guided_grammar": "root ::= a{900}\na ::= " + " | ".join(f'"{i}"' for i in range(4_000))
    },
    "a grammar nested too deep": lambda: {"guided_grammar": nested("(", ")", 20_000)},
    "a Lark grammar with very many terminals": lambda: {
        "guided_grammar": "start: x~400\nx: " + "|".join(f"T{i}" for i in range(900)) + "\n"
        + "\n".join(f"T{i}: /a*b{{{i % 9}}}c/" for i in range(900))
    },
    "a Lark grammar of optional parts": lambda: {"guided_grammar": "start: " + '"a"? "b"? ' * 2_000},
    "a tool with a hostile schema": lambda: {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": doubling(10)}}]
    },
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_request_is_answered_or_refused_in_bounded_work(chat: Any, name: str) -> None:
    """200 or 400, in a moment, also for several choices."""
    fields = HOSTILE[name]()
    before = time.process_time()
    answer = await chat(n=8, **fields)
    assert time.process_time() - before < SECONDS
    assert answer.status in (200, 400)
    if answer.status == 400:
        assert answer.error["code"] == "unsupported_schema"
