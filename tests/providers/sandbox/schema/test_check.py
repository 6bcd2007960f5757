"""The checker where the judge and we must not simply agree: decimal multiples, equality, work."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.check import Checker, is_multiple, same
from sealgate.providers.sandbox.schema.shape import Schemas


def ok(schema: Any, value: Any, units: int = 200_000) -> bool:
    return Checker(Schemas(schema), Budget(units)).ok(schema, value)


def test_json_values_are_equal_as_json_has_it() -> None:
    """``1`` is ``1.0``, ``true`` is not ``1``, objects have no order."""
    assert same(1, 1.0)
    assert not same(True, 1)
    assert not same(0, False)
    assert same({"a": [1, {"b": None}], "c": 2}, {"c": 2.0, "a": [1, {"b": None}]})
    assert not same([1], [1, 2])
    assert not same("1", 1)


@pytest.mark.parametrize(
    ("value", "step", "yes"),
    [(9, 3, True), (10, 3, False), (0.5, 0.01, True), (0.3, 0.1, False), (19.99, 0.01, False), (1e308, 1e-308, False)],
)
def test_a_multiple_is_one_in_decimal_and_in_binary(value: float, step: float, yes: bool) -> None:
    """Values on which validators disagree count as wrong, so that what is written satisfies all of them."""
    assert is_multiple(value, step) is yes


TRICKY: list[tuple[Any, Any]] = [
    ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, {"a": 1}),
    ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, {"b": 1}),
    ({"anyOf": [{"properties": {"a": {"type": "null"}}}, {}], "unevaluatedProperties": False}, {"a": 1}),
    ({"if": {"properties": {"a": {"const": 1}}, "required": ["a"]}, "unevaluatedProperties": False}, {"a": 1}),
    ({"if": {"properties": {"a": {"const": 1}}, "required": ["a"]}, "unevaluatedProperties": False}, {"a": 2}),
    ({"dependentSchemas": {"a": {"properties": {"b": {}}}}, "unevaluatedProperties": {"type": "null"}}, {"b": 1}),
    ({"allOf": [{"unevaluatedProperties": True}], "unevaluatedProperties": False}, {"z": 1}),
    ({"$defs": {"x": {"additionalProperties": {}}}, "$ref": "#/$defs/x", "unevaluatedProperties": False}, {"z": 1}),
    ({"patternProperties": {"^a": {}}, "additionalProperties": False}, {"ab": 1, "b": 1}),
    ({"contains": {"const": 1}, "minContains": 0}, []),
    ({"contains": {"const": 1}, "maxContains": 1}, [1, 1]),
    ({"uniqueItems": True}, [1, True, {"a": 1}, {"a": 1.0}]),
    ({"uniqueItems": True}, [0, False, [], {}, ""]),
    ({"type": "integer"}, 2.0),
    ({"type": "number"}, True),
    ({"minLength": 2}, "\U0001f600"),
    ({"enum": [1]}, True),
]


@pytest.mark.parametrize(("schema", "value"), TRICKY)
def test_tricky_cases_are_judged_as_by_others(schema: Any, value: Any) -> None:
    """What other implementations commonly get wrong."""
    assert ok(schema, value) is jsonschema.Draft202012Validator(schema).is_valid(value)


def test_checking_ends_however_much_there_is_to_check() -> None:
    """Branches that double at each level stop at the budget, and so does a reference that comes back to itself."""
    doubling: Any = {"type": "integer"}
    for _ in range(40):
        doubling = {"oneOf": [doubling, {"allOf": [doubling]}]}
    with pytest.raises(UnsupportedError):
        ok(doubling, "no")
    with pytest.raises((UnsupportedError, RecursionError)):
        ok({"$ref": "#"}, 1)


def test_a_hostile_pattern_ends() -> None:
    """A pattern on which backtracking takes for ever is matched in bounded work."""
    assert not ok({"pattern": "^(a+)+$"}, "a" * 60 + "b")


@pytest.mark.parametrize("value", [5, [5], [{}], None, "x"])
def test_properties_by_pattern_that_are_no_object_are_no_schema(value: Any) -> None:
    """Whoever sent it is told so; it is no fault of ours."""
    with pytest.raises(UnsupportedError, match="patternProperties must be an object"):
        Schemas({"patternProperties": value})
