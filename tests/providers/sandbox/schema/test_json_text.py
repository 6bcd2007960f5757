"""JSON texts for schemas, and the blanks between their tokens."""

from __future__ import annotations

import json

import pytest

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.hints import Hints
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.json_text import json_writer

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "array", "items": {"const": "x y"}, "minItems": 2, "maxItems": 2}, "b": {"const": {}}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


def text(whitespace: str | None) -> str:
    return json_writer(SCHEMA, whitespace=whitespace)(Chance(0), Hints())


def test_without_a_pattern_there_are_no_blanks() -> None:
    """Nor where the pattern allows none."""
    assert text(None) == '{"a":["x y","x y"],"b":{}}'
    assert text("[ \\n]?") == text(None)


def test_a_whitespace_pattern_is_honoured_between_tokens() -> None:
    """Not inside strings."""
    assert text(" ") == '{ "a" : [ "x y" , "x y" ] , "b" : { } }'
    assert json.loads(text("\\n{2}")) == json.loads(text(None))
    assert text("\\n{2}").startswith('{\n\n"a"')


def test_a_pattern_that_is_not_whitespace_is_refused() -> None:
    """It would not be JSON."""
    with pytest.raises(UnsupportedError):
        text("x+")


def test_further_schemas_hold_too() -> None:
    """Arguments of a tool are an object, whatever its schema says."""
    write = json_writer({"properties": {"a": {"type": "integer"}}}, also=({"type": "object"},))
    assert all(isinstance(json.loads(write(Chance(seed), Hints())), dict) for seed in range(20))
