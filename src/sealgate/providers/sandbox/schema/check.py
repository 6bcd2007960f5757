"""Checks a value against a JSON Schema (draft 2020-12 and the older spellings that `shape` names).

Formats are asserted. The checker says yes or no; where it cannot know in reasonable time it raises `UnsupportedError`.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.grammar.regex import compiled
from sealgate.providers.sandbox.schema import formats
from sealgate.providers.sandbox.schema.shape import Schema, Schemas


def same(one: Any, other: Any) -> bool:
    """Equality of JSON values: ``1`` is ``1.0`` and ``true`` is not ``1``."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def type_names(value: Any) -> tuple[str, ...]:
    """The JSON types a value has; a whole number has two."""
    if isinstance(value, bool):
        return ("boolean",)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return ("integer", "number")
    return _TYPE_OF[type(value)]


_TYPE_OF: dict[type, tuple[str, ...]] = {
    type(None): ("null",),
    float: ("number",),
    str: ("string",),
    list: ("array",),
    dict: ("object",),
}


def is_multiple(value: float, step: float) -> bool:
    """Whether ``value`` is a multiple of ``step`` both in decimal and in binary floating point.

    The two disagree (0.3 and 0.1); a value for which both say yes satisfies every validator.
    """
    if not isinstance(step, float) and not isinstance(value, float):
        return value % step == 0
    quotient = value / step
    if quotient in (float("inf"), float("-inf")) or quotient != int(quotient):
        return False
    return (Fraction(repr(value)) / Fraction(repr(step))).denominator == 1


class Checker:
    """Checks values against the schemas of one document."""

    def __init__(self, schemas: Schemas, budget: Budget) -> None:
        self.schemas = schemas
        self.budget = budget

    def ok(self, schema: Schema, value: Any) -> bool:
        """Whether the value satisfies the schema. Raises `UnsupportedError`."""
        if isinstance(schema, bool):
            return schema
        self.budget.spend(2)
        for keyword in schema:
            test = _TESTS.get(keyword)
            if test is not None and not test(self, schema, value):
                return False
        return True

    def evaluated(self, schema: Schema, value: dict[str, Any]) -> set[str]:
        """The properties that a schema's own keywords have looked at (2020-12 core, section 11)."""
        if isinstance(schema, bool):
            return set()
        if "additionalProperties" in schema:
            return set(value)
        names = {name for name in value if own_schemas(schema, name, self.budget)}
        inner: list[Schema] = list(schema.get("allOf", ()))
        inner += [each for word in ("anyOf", "oneOf") for each in schema.get(word, ()) if self.ok(each, value)]
        inner += [each for name, each in schema.get("dependentSchemas", {}).items() if name in value]
        if "$ref" in schema:
            inner.append(self.schemas.resolve(schema["$ref"]))
        if "if" in schema:
            held = self.ok(schema["if"], value)
            inner += [schema["if"], schema.get("then", True)] if held else [schema.get("else", True)]
        for each in inner:
            names |= set(value) if _closed(each) else self.evaluated(each, value)
        return names


def _closed(schema: Schema) -> bool:
    return isinstance(schema, dict) and "unevaluatedProperties" in schema


def own_schemas(schema: dict[str, Any], name: str, budget: Budget) -> list[Schema]:
    """What ``properties`` and ``patternProperties`` of one schema say about a property."""
    found = [schema["properties"][name]] if name in schema.get("properties", ()) else []
    for pattern, each in schema.get("patternProperties", {}).items():
        if compiled(pattern).search(name, budget):
            found.append(each)
    return found


def prefix_and_rest(schema: dict[str, Any]) -> tuple[list[Schema], Schema]:
    """Schemas of the first items, and of all others, in either spelling."""
    items = schema.get("items", True)
    if isinstance(items, list):
        return items, schema.get("additionalItems", True)
    return schema.get("prefixItems", []), items


_Test = Callable[[Checker, dict[str, Any], Any], bool]


def _type(_: Checker, schema: dict[str, Any], value: Any) -> bool:
    wanted = schema["type"]
    names = type_names(value)
    return wanted in names if isinstance(wanted, str) else any(name in names for name in wanted)


def _enum(checker: Checker, schema: dict[str, Any], value: Any) -> bool:
    checker.budget.spend(len(schema["enum"]) // 4)
    return any(same(each, value) for each in schema["enum"])


def _const(_: Checker, schema: dict[str, Any], value: Any) -> bool:
    return same(schema["const"], value)


def _ref(checker: Checker, schema: dict[str, Any], value: Any) -> bool:
    return checker.ok(checker.schemas.resolve(schema["$ref"]), value)


def _all_of(checker: Checker, schema: dict[str, Any], value: Any) -> bool:
    return all(checker.ok(each, value) for each in schema["allOf"])


def _any_of(checker: Checker, schema: dict[str, Any], value: Any) -> bool:
    return any(checker.ok(each, value) for each in schema["anyOf"])


def _one_of(checker: Checker, schema: dict[str, Any], value: Any) -> bool:
    return sum(checker.ok(each, value) for each in schema["oneOf"]) == 1


def _not(checker: Checker, schema: dict[str, Any], value: Any) -> bool:
    return not checker.ok(schema["not"], value)


def _if(checker: Checker, schema: dict[str, Any], value: Any) -> bool:
    return checker.ok(schema.get("then" if checker.ok(schema["if"], value) else "else", True), value)


def _number(test: Callable[[dict[str, Any], float], bool]) -> _Test:
    def check(_: Checker, schema: dict[str, Any], value: Any) -> bool:
        return isinstance(value, bool) or not isinstance(value, int | float) or test(schema, value)

    return check


def _minimum(schema: dict[str, Any], value: float) -> bool:
    return bool(value > schema["minimum"] if schema.get("exclusiveMinimum") is True else value >= schema["minimum"])


def _maximum(schema: dict[str, Any], value: float) -> bool:
    return bool(value < schema["maximum"] if schema.get("exclusiveMaximum") is True else value <= schema["maximum"])


def _above(schema: dict[str, Any], value: float) -> bool:
    bound = schema["exclusiveMinimum"]
    return isinstance(bound, bool) or value > bound


def _below(schema: dict[str, Any], value: float) -> bool:
    bound = schema["exclusiveMaximum"]
    return isinstance(bound, bool) or value < bound


def _string(test: Callable[[dict[str, Any], str], bool]) -> _Test:
    return lambda _, schema, value: not isinstance(value, str) or test(schema, value)


def _array(test: Callable[[Checker, dict[str, Any], list[Any]], bool]) -> _Test:
    return lambda checker, schema, value: not isinstance(value, list) or test(checker, schema, value)


def _object(test: Callable[[Checker, dict[str, Any], dict[str, Any]], bool]) -> _Test:
    return lambda checker, schema, value: not isinstance(value, dict) or test(checker, schema, value)


def _items(checker: Checker, schema: dict[str, Any], value: list[Any]) -> bool:
    first, rest = prefix_and_rest(schema)
    return all(checker.ok(first[at] if at < len(first) else rest, item) for at, item in enumerate(value))


def _unique(checker: Checker, schema: dict[str, Any], value: list[Any]) -> bool:
    if not schema["uniqueItems"]:
        return True
    checker.budget.spend(len(value) ** 2 // 8)
    return not any(same(one, other) for at, one in enumerate(value) for other in value[:at])


def _contains(checker: Checker, schema: dict[str, Any], value: list[Any]) -> bool:
    held = sum(checker.ok(schema["contains"], item) for item in value)
    return bool(schema.get("minContains", 1) <= held <= schema.get("maxContains", len(value)))


def _properties(checker: Checker, schema: dict[str, Any], value: dict[str, Any]) -> bool:
    return all(checker.ok(each, value[name]) for name, each in schema["properties"].items() if name in value)


def _patterns(checker: Checker, schema: dict[str, Any], value: dict[str, Any]) -> bool:
    return all(
        checker.ok(each, item)
        for pattern, each in schema["patternProperties"].items()
        for name, item in value.items()
        if compiled(pattern).search(name, checker.budget)
    )


def _additional(checker: Checker, schema: dict[str, Any], value: dict[str, Any]) -> bool:
    rest = schema["additionalProperties"]
    return all(checker.ok(rest, item) for name, item in value.items() if not own_schemas(schema, name, checker.budget))


def _unevaluated(checker: Checker, schema: dict[str, Any], value: dict[str, Any]) -> bool:
    known = checker.evaluated(schema, value)
    return all(checker.ok(schema["unevaluatedProperties"], item) for name, item in value.items() if name not in known)


def _names(checker: Checker, schema: dict[str, Any], value: dict[str, Any]) -> bool:
    return all(checker.ok(schema["propertyNames"], name) for name in value)


def _required(_: Checker, schema: dict[str, Any], value: dict[str, Any]) -> bool:
    return all(name in value for name in schema["required"])


def _dependent_required(_: Checker, schema: dict[str, Any], value: dict[str, Any]) -> bool:
    return all(
        all(each in value for each in names) for name, names in schema["dependentRequired"].items() if name in value
    )


def _dependent_schemas(checker: Checker, schema: dict[str, Any], value: dict[str, Any]) -> bool:
    return all(checker.ok(each, value) for name, each in schema["dependentSchemas"].items() if name in value)


def _dependencies(checker: Checker, schema: dict[str, Any], value: dict[str, Any]) -> bool:
    return all(
        all(each in value for each in wanted) if isinstance(wanted, list) else checker.ok(wanted, value)
        for name, wanted in schema["dependencies"].items()
        if name in value
    )


_TESTS: dict[str, _Test] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "$ref": _ref,
    "allOf": _all_of,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "not": _not,
    "if": _if,
    "minimum": _number(_minimum),
    "maximum": _number(_maximum),
    "exclusiveMinimum": _number(_above),
    "exclusiveMaximum": _number(_below),
    "multipleOf": _number(lambda schema, value: is_multiple(value, schema["multipleOf"])),
    "minLength": _string(lambda schema, value: len(value) >= schema["minLength"]),
    "maxLength": _string(lambda schema, value: len(value) <= schema["maxLength"]),
    "pattern": lambda checker, schema, value: (
        not isinstance(value, str) or compiled(schema["pattern"]).search(value, checker.budget)
    ),
    "format": _string(lambda schema, value: formats.holds(schema["format"], value)),
    "prefixItems": _array(_items),
    "items": _array(_items),
    "minItems": _array(lambda _, schema, value: len(value) >= schema["minItems"]),
    "maxItems": _array(lambda _, schema, value: len(value) <= schema["maxItems"]),
    "uniqueItems": _array(_unique),
    "contains": _array(_contains),
    "properties": _object(_properties),
    "patternProperties": _object(_patterns),
    "additionalProperties": _object(_additional),
    "unevaluatedProperties": _object(_unevaluated),
    "propertyNames": _object(_names),
    "required": _object(_required),
    "minProperties": _object(lambda _, schema, value: len(value) >= schema["minProperties"]),
    "maxProperties": _object(lambda _, schema, value: len(value) <= schema["maxProperties"]),
    "dependentRequired": _object(_dependent_required),
    "dependentSchemas": _object(_dependent_schemas),
    "dependencies": _object(_dependencies),
}
