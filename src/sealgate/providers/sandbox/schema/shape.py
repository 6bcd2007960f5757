"""Whether a JSON Schema is one, before anything acts on it, and what its references point to.

Keywords follow draft 2020-12 (https://json-schema.org/draft/2020-12), with the older spellings that are still sent:
``definitions``, ``dependencies``, ``items`` as a list with ``additionalItems``, boolean ``exclusiveMinimum``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from sealgate.providers.sandbox.grammar.regex import compiled
from sealgate.providers.sandbox.refused import UnsupportedError

Schema = bool | dict[str, Any]

TYPES = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
MAX_SCHEMAS = 20_000
MAX_DEPTH = 150
MAX_PATTERNS = 200

_ONE = frozenset(
    {"additionalProperties", "propertyNames", "not", "if", "then", "else", "contains", "additionalItems"}
    | {"unevaluatedProperties"}
)
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_REFUSED = frozenset({"unevaluatedItems", "$dynamicRef", "$recursiveRef"})


def _is_count(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and value >= 0 and value == int(value)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float)


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_type(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return _is_strings(names) and bool(names) and TYPES.issuperset(names)


_COUNTS = (
    *("minLength", "maxLength", "minItems", "maxItems"),
    *("minProperties", "maxProperties", "minContains", "maxContains"),
)
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (_is_type, "a JSON type or a list of them"),
    "enum": (lambda value: isinstance(value, list) and bool(value), "a list with at least one value"),
    "required": (_is_strings, "a list of strings"),
    "pattern": (_is_string, "a string"),
    "patternProperties": (lambda value: isinstance(value, dict), "an object"),
    "format": (_is_string, "a string"),
    "$ref": (_is_string, "a string"),
    "$anchor": (_is_string, "a string"),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "exclusiveMinimum": (lambda value: isinstance(value, bool) or _is_number(value), "a number"),
    "exclusiveMaximum": (lambda value: isinstance(value, bool) or _is_number(value), "a number"),
    "dependentRequired": (lambda value: isinstance(value, dict) and all(map(_is_strings, value.values())), "lists"),
    **dict.fromkeys(("minimum", "maximum"), (_is_number, "a number")),
    **dict.fromkeys(_COUNTS, (_is_count, "a whole number of at least 0")),
}


class Schemas:
    """A schema that has been read. ``root`` is the whole; ``resolve`` follows references within it."""

    def __init__(self, root: Any) -> None:
        """Raises `UnsupportedError` naming the place and the keyword that cannot be used."""
        self.root: Schema = root
        self._anchors: dict[str, Schema] = {}
        self._seen: set[int] = set()
        self._patterns: set[str] = set()
        self._base = root.get("$id", "") if isinstance(root, dict) and isinstance(root.get("$id"), str) else ""
        self._walk(root, "#")

    def resolve(self, reference: str) -> Schema:
        """The schema a ``$ref`` of this document points to. Raises `UnsupportedError`."""
        if self._base:
            reference = reference.removeprefix(self._base) or "#"
        if reference in self._anchors:
            return self._anchors[reference]
        if reference != "#" and not reference.startswith("#/"):
            raise UnsupportedError(f"the reference {reference!r} leads out of the schema")
        found: Any = self.root
        for step in reference.split("/")[1:]:
            found = _step(found, unquote(step).replace("~1", "/").replace("~0", "~"), reference)
        if id(found) not in self._seen:
            self._walk(found, reference)
        target: Schema = found
        self._anchors[reference] = target
        return target

    def _walk(self, schema: Any, path: str) -> None:
        """Check every schema below this one, without recursion."""
        waiting: list[tuple[Any, str, int]] = [(schema, path, 0)]
        while waiting:
            each, where, depth = waiting.pop()
            if isinstance(each, bool) or id(each) in self._seen:
                continue
            if not isinstance(each, dict):
                raise UnsupportedError(f"{where} is not a schema: it must be an object, true or false")
            if depth > MAX_DEPTH or len(self._seen) > MAX_SCHEMAS:
                raise UnsupportedError("the schema is too large")
            self._seen.add(id(each))
            if depth and isinstance(each.get("$id"), str):
                raise UnsupportedError(f"{where} has an '$id' of its own, which the sandbox does not follow")
            self._rules(each, where)
            waiting.extend((child, place, depth + 1) for child, place in below(each, where))

    def _rules(self, schema: dict[str, Any], where: str) -> None:
        for keyword, value in schema.items():
            if keyword in _REFUSED:
                raise UnsupportedError(f"{where} uses '{keyword}', which the sandbox cannot honour")
            rule = _RULES.get(keyword)
            if rule is not None and not rule[0](value):
                raise UnsupportedError(f"{where}/{keyword} must be {rule[1]}")
        for pattern in (*([schema["pattern"]] if "pattern" in schema else ()), *schema.get("patternProperties", ())):
            self._patterns.add(pattern)
            if len(self._patterns) > MAX_PATTERNS:
                raise UnsupportedError(f"the schema has more than {MAX_PATTERNS} patterns")
            compiled(pattern)
        if "$anchor" in schema:
            self._anchors["#" + schema["$anchor"]] = schema


def below(schema: dict[str, Any], where: str) -> Iterator[tuple[Any, str]]:
    """The schemas directly inside one, with their places. Raises `UnsupportedError` for a wrong container."""
    for keyword, value in schema.items():
        place = f"{where}/{keyword}"
        if keyword in _ONE or (keyword == "items" and not isinstance(value, list)):
            yield value, place
        elif keyword in _LISTS or keyword == "items":
            if not isinstance(value, list) or (not value and keyword != "items"):
                raise UnsupportedError(f"{place} must be a list of schemas")
            yield from ((item, f"{place}/{index}") for index, item in enumerate(value))
        elif keyword in _MAPS or keyword == "dependencies":
            if not isinstance(value, dict):
                raise UnsupportedError(f"{place} must be an object of schemas")
            for name, item in value.items():
                if keyword != "dependencies" or not _is_strings(item):
                    yield item, f"{place}/{name}"


def _step(found: Any, step: str, reference: str) -> Any:
    if isinstance(found, dict) and step in found:
        return found[step]
    if isinstance(found, list) and step.isdecimal() and int(step) < len(found):
        return found[int(step)]
    raise UnsupportedError(f"the reference {reference!r} points to nothing")
