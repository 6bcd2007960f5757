"""The prescribed form of an answer: what a request wants, and what the provider can hold an answer to."""

from __future__ import annotations

from typing import Any

import pytest

from sealgate.providers.anthropic_form import Form, form, native

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
HELD = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"],
        "additionalProperties": False}  # fmt: skip


def schema_format(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Form({"type": "object"})),
        (schema_format(CITY), Form(CITY)),
        (schema_format({"properties": {"a": {}}}), Form({"type": "object", "properties": {"a": {}}})),
        (schema_format({}), Form({"type": "object"})),
        (schema_format({"type": "integer"}), Form(HELD, held=True)),
        ({"guided_json": CITY}, Form(CITY)),
        ({"guided_json": '{"type": "integer"}', "response_format": {"type": "json_object"}}, Form(HELD, held=True)),
        (
            schema_format({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}),
            Form({**HELD, "properties": {"answer": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}, True),
        ),
    ],
)  # fmt: skip
def test_what_is_prescribed_is_an_object_or_held_by_one(fields: dict[str, Any], wanted: Form | None) -> None:
    assert form(fields) == wanted


def test_a_choice_is_a_held_enum_whose_text_alone_is_wanted() -> None:
    found = form({"guided_choice": ["yes", "no"]})
    assert found is not None
    assert (found.held, found.plain) == (True, True)
    assert found.schema["properties"] == {"answer": {"type": "string", "enum": ["yes", "no"]}}


@pytest.mark.parametrize(
    ("schema", "wanted", "told"),
    [
        (CITY, {**CITY, "additionalProperties": False}, []),
        ({**CITY, "additionalProperties": False, "$schema": "x"}, {**CITY, "additionalProperties": False}, []),
        (
            {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "description": "Number."}}},
            {"type": "object", "properties": {"n": {"type": "integer", "description": "Number. (minimum 1)"}},
             "additionalProperties": False},
            ["minimum 1"],
        ),
        (
            {"type": "array", "minItems": 3, "items": {"oneOf": [{"type": "string", "format": "regex"}, {}]}},
            {"type": "array", "description": "(minItems 3)",
             "items": {"anyOf": [{"type": "string", "description": "(format regex)"}, {}],
                       "description": "(exactly one of these)"}},
            ["format regex", "exactly one of these", "minItems 3"],
        ),
        ({"type": "array", "minItems": 1, "items": {"type": "string", "format": "date"}},
         {"type": "array", "minItems": 1, "items": {"type": "string", "format": "date"}}, []),
        ({"$ref": "#/$defs/a", "$defs": {"a": CITY}},
         {"$ref": "#/$defs/a", "$defs": {"a": {**CITY, "additionalProperties": False}}}, []),
    ],
)  # fmt: skip
def test_objects_are_closed_and_bounds_are_told(schema: Any, wanted: Any, told: list[str]) -> None:
    assert native(schema) == (wanted, told)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {**CITY, "additionalProperties": True},
        {**CITY, "properties": {"free": {"type": ["object", "null"]}}},
        {"type": "object", "properties": {"a": {}}, "patternProperties": {"^x": {}}},
        {"not": {"type": "string"}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"items": {"$ref": "#/$defs/a"}}}},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"$ref": "https://example.com/schema.json"},
    ],
)
def test_what_the_provider_refuses_is_not_asked_of_it(schema: Any) -> None:
    assert native(schema) is None


def test_what_is_no_schema_is_left_to_the_provider() -> None:
    strange = {"type": "string", "format": [], "description": 5, "$defs": [], "properties": []}
    found = native({"type": "array", "items": strange})
    assert found is None or found[0]["items"]["type"] == "string"
    assert native({"type": "string", "format": [], "description": 5}) == (
        {"type": "string", "description": "5 (format [])"}, ["format []"],
    )  # fmt: skip
