"""Values written for JSON Schemas, judged by the ``jsonschema`` package."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.hints import Hints, read_hints
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.check import Checker
from sealgate.providers.sandbox.schema.formats import FORMATS
from sealgate.providers.sandbox.schema.shape import Schemas
from sealgate.providers.sandbox.schema.write import Writer

Json = Any


def write(schema: Json, seed: int = 0, hints: Hints = Hints()) -> Json:  # noqa: B008
    return Writer(Schemas(schema), Chance(seed), hints).document()


def judge(schema: Json, value: Json) -> None:
    """Fail unless the value satisfies the schema, formats included."""
    kind = jsonschema.Draft202012Validator
    kind(schema, format_checker=kind.FORMAT_CHECKER).validate(value)


SATISFIABLE: dict[str, Json] = {
    "true": True,
    "empty": {},
    "a typical object": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "a required property that is not declared": {"type": "object", "required": ["a", "b"]},
    "type lists": {"type": ["string", "null"], "minLength": 3},
    "only one of the types can be": {"type": ["string", "integer"], "minLength": 5, "maxLength": 3},
    "no type, and numbers cannot be": {"minimum": 5, "maximum": 3},
    "enum of mixed values": {"enum": [1, "a", None, [1], {"k": 1}]},
    "enum narrowed by type": {"enum": [1, "a", None], "type": "string"},
    "const": {"const": {"deep": [1, 2]}},
    "integer bounds": {"type": "integer", "minimum": 5, "exclusiveMaximum": 7},
    "a narrow open range": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
    "a single number": {"type": "number", "minimum": 0.1, "maximum": 0.1},
    "negative numbers": {"type": "integer", "maximum": -1000},
    "a large minimum": {"type": "integer", "minimum": 10**30},
    "multiples": {"type": "integer", "multipleOf": 7, "minimum": 100, "maximum": 106},
    "decimal multiples": {"type": "number", "multipleOf": 0.01, "minimum": 19.9, "maximum": 20},
    "two multiples": {"allOf": [{"multipleOf": 4}, {"multipleOf": 6}], "type": "integer", "minimum": 1},
    "string lengths": {"type": "string", "minLength": 12, "maxLength": 12},
    "an empty string": {"type": "string", "maxLength": 0},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-\\d{3,5}$"},
    "pattern and length": {"type": "string", "pattern": "^a+b*$", "minLength": 20, "maxLength": 21},
    "two patterns": {"allOf": [{"pattern": "^ab"}, {"pattern": "yz$"}], "type": "string", "minLength": 9},
    "an unanchored pattern that is too short": {"type": "string", "pattern": "z$", "minLength": 8},
    "items": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
    "unique items of a small set": {
        "type": "array",
        "items": {"enum": [1, 2, 3, 4]},
        "uniqueItems": True,
        "minItems": 4,
    },
    "unique booleans": {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 2},
    "unique objects": {
        "type": "array",
        "items": {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "maxProperties": 1},
        "uniqueItems": True,
        "minItems": 2,
    },
    "prefix items": {"prefixItems": [{"const": 1}, {"type": "string"}], "items": False, "type": "array", "minItems": 2},
    "contains": {"type": "array", "contains": {"const": 7}, "items": {"type": "integer"}, "minItems": 3},
    "contains a number of times": {
        "type": "array",
        "contains": {"type": "integer", "minimum": 90},
        "minContains": 2,
        "maxContains": 2,
        "items": {"type": "integer"},
        "minItems": 5,
    },
    "contains something twice different": {
        "type": "array",
        "allOf": [{"contains": {"const": "a"}}, {"contains": {"const": "b"}}],
        "maxItems": 2,
    },
    "pattern properties": {
        "type": "object",
        "patternProperties": {"^x-": {"type": "integer"}},
        "additionalProperties": False,
        "minProperties": 3,
    },
    "property names": {"type": "object", "propertyNames": {"pattern": "^[a-z]{3}$"}, "minProperties": 3},
    "too many properties to declare": {"type": "object", "minProperties": 12, "properties": {"a": {"type": "null"}}},
    "few properties": {"type": "object", "properties": {c: {} for c in "abcd"}, "maxProperties": 2, "required": ["d"]},
    "a map": {"type": "object", "additionalProperties": {"type": "integer"}},
    "dependent required": {"type": "object", "required": ["a"], "dependentRequired": {"a": ["b"], "b": ["c"]}},
    "dependent schemas": {
        "type": "object",
        "required": ["a"],
        "dependentSchemas": {"a": {"$ref": "#/$defs/more"}},
        "$defs": {"more": {"properties": {"c": {"const": 4}}, "required": ["c"]}},
    },
    "unevaluated properties": {
        "type": "object",
        "allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {}}}],
        "unevaluatedProperties": False,
        "minProperties": 2,
    },
    "any of required": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
        "additionalProperties": False,
    },
    "one of with a discriminator": {
        "oneOf": [
            {"type": "object", "properties": {"k": {"const": k}, k: {"type": "integer"}}, "required": ["k", k]}
            for k in "pqr"
        ]
    },
    "one of overlapping": {"type": "integer", "oneOf": [{"multipleOf": 2}, {"multipleOf": 3}]},
    "one of integer and number": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    "one branch of many": {
        "type": "object",
        "properties": {"k": {"const": "k39"}},
        "required": ["k"],
        "oneOf": [{"properties": {"k": {"const": f"k{i}"}}} for i in range(40)],
    },
    "all of with references": {
        "$defs": {"id": {"type": "integer", "minimum": 1}, "named": {"properties": {"name": {"type": "string"}}}},
        "allOf": [{"$ref": "#/$defs/named"}, {"properties": {"id": {"$ref": "#/$defs/id"}}, "required": ["id"]}],
        "required": ["name"],
        "type": "object",
    },
    "not a type": {"not": {"type": ["string", "object", "array"]}},
    "not a value": {"type": "boolean", "not": {"const": True}},
    "not a property": {"type": "object", "properties": {"a": {}, "b": {}}, "not": {"required": ["a"]}},
    "not a pattern": {"type": "string", "not": {"pattern": "[a-m]"}, "pattern": "^[a-z]{2}$"},
    "if then": {
        "type": "object",
        "properties": {"k": {"enum": ["a", "b"]}, "x": {"type": "integer"}, "y": {"type": "integer"}},
        "required": ["k"],
        "if": {"properties": {"k": {"const": "a"}}},
        "then": {"required": ["x"]},
        "else": {"required": ["y"]},
    },
    "a tree": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                "required": ["children"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    "a recursive binary tree": {
        "type": "object",
        "properties": {
            "left": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
            "right": {"anyOf": [{"type": "null"}, {"$ref": "#"}]},
        },
        "required": ["left", "right"],
    },
    "mutual recursion": {
        "$defs": {
            "a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/b"}}, "required": ["b"]},
            "b": {"oneOf": [{"$ref": "#/$defs/a"}, {"type": "integer"}]},
        },
        "$ref": "#/$defs/a",
    },
    "an anchor": {"$defs": {"x": {"$anchor": "here", "type": "integer"}}, "$ref": "#here"},
    "a reference with escapes": {"$defs": {"a/b~c d": {"type": "null"}}, "$ref": "#/$defs/a~1b~0c%20d"},
    "a root id": {"$id": "https://example.com/s", "$ref": "https://example.com/s#/$defs/n", "$defs": {"n": {}}},
    "nullable is only a note": {"type": "string", "nullable": True},
    "unknown keywords": {"type": "integer", "x-note": "hi", "title": "T", "examples": ["not an integer"]},
    "deep nesting": {
        "type": "object",
        "properties": {
            "a": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {"b": {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 1}}},
                    "required": ["b"],
                },
            }
        },
        "required": ["a"],
    },
}


@pytest.mark.parametrize("name", SATISFIABLE)
def test_a_value_satisfies_its_schema_for_every_seed(name: str) -> None:
    """Whatever the seed, the value is valid."""
    schema = SATISFIABLE[name]
    for seed in range(12):
        judge(schema, write(schema, seed))


OLDER: dict[str, Json] = {
    "definitions and a list of items": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"n": {"type": "integer"}},
        "type": "array",
        "items": [{"$ref": "#/definitions/n"}, {"type": "string"}],
        "additionalItems": False,
        "minItems": 2,
    },
    "dependencies": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "required": ["a"],
        "dependencies": {"a": ["b"], "b": {"properties": {"b": {"type": "integer"}}}},
    },
    "boolean exclusive bounds": {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "type": "integer",
        "minimum": 3,
        "maximum": 5,
        "exclusiveMinimum": True,
        "exclusiveMaximum": True,
    },
}


@pytest.mark.parametrize("name", OLDER)
def test_older_spellings_are_honoured(name: str) -> None:
    """Drafts 4 to 7 are satisfied too, as their own validators see it."""
    schema = OLDER[name]
    for seed in range(6):
        jsonschema.validators.validator_for(schema)(schema).validate(write(schema, seed))


IMPOSSIBLE: dict[str, Json] = {
    "false": False,
    "empty range": {"type": "integer", "minimum": 3, "maximum": 2},
    "no integer between": {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 2},
    "two types": {"allOf": [{"type": "string"}, {"type": "integer"}]},
    "a const of another type": {"const": "a", "type": "integer"},
    "required but forbidden": {"type": "object", "required": ["a"], "additionalProperties": False},
    "endless recursion": {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
    "a reference to itself": {"$ref": "#"},
    "a reference to nothing": {"$ref": "#/$defs/x"},
    "a reference elsewhere": {"$ref": "https://example.com/other.json"},
    "look-ahead": {"type": "string", "pattern": "^(?=a)b"},
    "not a pattern": {"type": "string", "pattern": "("},
    "more unique items than values": {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 3},
    "contradicting itself": {"type": "object", "not": {}},
    "absurd length": {"type": "string", "minLength": 10**9},
    "absurdly many items": {"type": "array", "minItems": 10**9},
    "absurdly many properties": {"type": "object", "minProperties": 10**9},
    "not a schema": [],
    "an unknown type": {"type": "float"},
    "properties that are a list": {"properties": []},
    "draft 3 required": {"type": "object", "properties": {"a": {"required": True}}},
    "unevaluated items": {"type": "array", "unevaluatedItems": False},
    "a dynamic reference": {"$dynamicRef": "#x"},
    "an inner id": {"properties": {"a": {"$id": "b", "type": "integer"}}},
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_satisfied_is_refused(name: str) -> None:
    """Unsatisfiable, malformed and unsupported schemas raise `UnsupportedError`, nothing else."""
    with pytest.raises(UnsupportedError):
        write(IMPOSSIBLE[name])


def test_equal_chance_gives_equal_values_and_other_chance_others() -> None:
    """Values are a function of the schema and the seed."""
    schema = SATISFIABLE["a typical object"]
    assert write(schema, 5) == write(schema, 5)
    assert len({str(write(schema, seed)) for seed in range(8)}) > 4


def test_names_of_properties_give_plausible_values() -> None:
    """An age is an age, an e-mail address is one, a city asked for is the one in the user's words."""
    names = ("name", "age", "email", "homeCity", "birth_date", "price", "latitude", "url")
    kinds = {"age": "integer", "price": "number", "latitude": "number"}
    schema = {
        "type": "object",
        "properties": {name: {"type": kinds.get(name, "string")} for name in names},
        "required": list(names),
    }
    value = write(schema, 3, read_hints("What is the weather in Porto Alegre today?"))
    assert 18 <= value["age"] <= 80
    assert re.fullmatch(r"\w+@example\.com", value["email"])
    assert value["homeCity"] == "Porto Alegre"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", value["birth_date"])
    assert 1 <= value["price"] <= 100
    assert -60 <= value["latitude"] <= 60
    assert value["url"].startswith("https://example.com/")
    assert len(value["name"].split()) == 2


def test_a_query_is_the_users_own_words() -> None:
    """A search tool gets what the user asked for."""
    schema = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
    assert write(schema, 0, read_hints("find me a bicycle"))["query"] == "find me a bicycle"


def test_hints_never_break_a_schema() -> None:
    """The user's words are used only where they fit."""
    schema = {"type": "object", "properties": {"query": {"type": "string", "maxLength": 5}}, "required": ["query"]}
    judge(schema, write(schema, 0, read_hints("a rather long question about everything")))


def test_recursion_leaves_by_the_shortest_way() -> None:
    """A recursive schema gives a value of moderate size."""
    for seed in range(20):
        assert len(str(write(SATISFIABLE["a recursive binary tree"], seed))) < 2_000


def test_nesting_deeper_than_usual_is_written_when_required() -> None:
    """Sixty levels of required properties are sixty levels of objects."""
    schema: Json = {"type": "integer"}
    for _ in range(60):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    value = write(schema)
    for _ in range(60):
        value = value["a"]
    assert isinstance(value, int)


# Random schemas: whatever is written must be valid, and most of what can be satisfied must be written.

_names = st.sampled_from(["a", "b", "name", "age", "x-1", "kind"])
_scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["", "a", "bb", "ccc"]))
_patterns = st.sampled_from(["^a", "b$", "^[a-z]{2,4}$", "\\d+", "^x-", "(ab|cd)+", "^$", "[^a]"])
_formats = st.sampled_from([*FORMATS, "unknown"])
_types = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


_integers = _optional(minimum=st.integers(-50, 50), maximum=st.integers(0, 90), multipleOf=st.integers(1, 9))
_numbers = _optional(
    minimum=st.floats(-50, 50),
    exclusiveMinimum=st.integers(-9, 9),
    maximum=st.integers(10, 90),
    exclusiveMaximum=st.floats(10, 90),
    multipleOf=st.sampled_from([0.1, 0.25, 0.01, 3, 1.5]),
)
_strings = _optional(minLength=st.integers(0, 9), maxLength=st.integers(4, 30), pattern=_patterns)
_leaves = st.one_of(
    st.just({}),
    _types.map(lambda name: {"type": name}),
    st.lists(_types, min_size=1, max_size=3, unique=True).map(lambda names: {"type": names}),
    st.lists(_scalars, min_size=1, max_size=4).map(lambda values: {"enum": values}),
    _scalars.map(lambda value: {"const": value}),
    _integers.map(lambda more: {"type": "integer", **more}),
    _numbers.map(lambda more: {"type": "number", **more}),
    _strings.map(lambda more: {"type": "string", **more}),
    _formats.map(lambda name: {"type": "string", "format": name}),
    st.just({"$ref": "#/$defs/tree"}),
)


def _larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = _optional(
        properties=st.dictionaries(_names, inner, max_size=4),
        required=st.lists(_names, max_size=3, unique=True),
        additionalProperties=st.one_of(st.booleans(), inner),
        patternProperties=st.dictionaries(_patterns, inner, max_size=2),
        propertyNames=st.one_of(_strings, st.just(True)),
        minProperties=st.integers(0, 4),
        maxProperties=st.integers(2, 6),
        dependentRequired=st.dictionaries(_names, st.lists(_names, max_size=2, unique=True), max_size=2),
        dependentSchemas=st.dictionaries(_names, inner, max_size=1),
        unevaluatedProperties=st.booleans(),
    ).map(lambda more: {"type": "object", **more})
    arrays = _optional(
        items=st.one_of(inner, st.booleans()),
        prefixItems=st.lists(inner, min_size=1, max_size=3),
        minItems=st.integers(0, 4),
        maxItems=st.integers(2, 6),
        uniqueItems=st.booleans(),
        contains=inner,
        minContains=st.integers(0, 2),
        maxContains=st.integers(2, 3),
    ).map(lambda more: {"type": "array", **more})
    lists = st.lists(inner, min_size=1, max_size=3)
    joined = st.tuples(inner, _optional(anyOf=lists, oneOf=lists, allOf=lists)).map(lambda pair: {**pair[0], **pair[1]})
    negated = st.tuples(inner, inner).map(lambda pair: {**pair[0], "not": pair[1]})
    conditional = st.tuples(inner, inner, inner, inner).map(
        lambda four: {**four[0], "if": four[1], "then": four[2], "else": four[3]}
    )
    return st.one_of(objects, objects, arrays, joined, negated, conditional)


_TREE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}},
    "required": ["value", "next"],
    "additionalProperties": False,
}
_schemas = st.recursive(_leaves, _larger, max_leaves=8).map(lambda schema: {**schema, "$defs": {"tree": _TREE}})
_slow = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_slow
@given(_schemas, st.integers(0, 3))
@example({"type": "array", "uniqueItems": True, "minItems": 2, "items": {"const": 1}}, 0)
def test_whatever_is_written_is_valid(schema: Json, seed: int) -> None:
    """For any schema: a valid value, or `UnsupportedError`."""
    try:
        value = write(schema, seed)
    except UnsupportedError:
        return
    judge(schema, value)


_values = st.recursive(
    st.one_of(_scalars, st.floats(-50, 50), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_names, inner, max_size=4)),
    max_leaves=6,
)


@_slow
@given(_schemas, _values)
def test_the_checker_agrees_with_the_judge(schema: Json, value: Json) -> None:
    """Our checker says of any value what ``jsonschema`` says, where no decimal multiple is involved."""
    try:
        ours = Checker(Schemas(schema), Budget()).ok(schema, value)
    except UnsupportedError:
        return
    if "multipleOf" in str(schema) or "format" in str(schema):
        return
    assert ours == jsonschema.Draft202012Validator(schema).is_valid(value)


@_slow
@given(_schemas, _values)
def test_what_a_simple_value_satisfies_is_seldom_refused(schema: Json, value: Json) -> None:
    """Where some small value is valid, one is found; only ``not``, ``if`` and the like may be beyond the writer."""
    beyond = ("not", "if", "oneOf", "pattern", "unevaluated", "dependent", "contains", "multipleOf", "allOf", "format")
    if any(word in str(schema) for word in beyond) or not jsonschema.Draft202012Validator(schema).is_valid(value):
        return
    write(schema)
