"""The prescribed form of an answer on the Messages API: natively as ``output_config.format``, else by a forced tool.

`form` says what a request wants, from the caller's own fields; the request's writer and the answer's reader both ask
it, so that what one puts around a value the other takes off again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from sealgate.providers.base import Adjustment, Change, Json
from sealgate.providers.capabilities import schema_in

ANSWER_TOOL = "sealgate_answer"
"""The tool whose arguments are the answer, where a form is prescribed by a tool."""
ANY_OBJECT = {"type": "object"}
IN_WORDS = "Answer with one JSON object and nothing else: no other text, no code fence."
HELD = "answer"
"""The property that holds a value which is no object."""

_encode = msgspec.json.Encoder().encode

_BOUNDS = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems"}
    | {"uniqueItems", "minProperties", "maxProperties"}
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_BEYOND = frozenset(
    {"patternProperties", "propertyNames", "not", "if", "dependentSchemas", "dependentRequired", "prefixItems"}
    | {"contains", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef"}
)
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "allOf", "oneOf")
_DEFINITIONS = ("$defs", "definitions")


class Form(NamedTuple):
    """The form an answer must have. ``held`` says that the value stands in the property `HELD` of an object."""

    schema: Json
    held: bool = False
    plain: bool = False
    """Whether the caller gets the value's text itself, not JSON."""


def form(fields: Json) -> Form | None:
    """What the caller's fields prescribe, or None."""
    if (choice := fields.get("guided_choice")) is not None:
        return Form(_holder({"type": "string", "enum": choice}), held=True, plain=True)
    if (guided := fields.get("guided_json")) is not None:
        return _of(schema_in(guided) or {})
    wanted = fields.get("response_format")
    if wanted is None or wanted["type"] == "text":
        return None
    if wanted["type"] == "json_object":
        return Form(ANY_OBJECT)
    return _of(wanted["json_schema"].get("schema") or {})


def _of(schema: Json) -> Form:
    if schema.get("type") == "object" or "properties" in schema:
        return Form({"type": "object", **schema})
    if not schema:
        return Form(ANY_OBJECT)
    return Form(_holder(schema), held=True)


def _holder(schema: Json) -> Json:
    """An object around a value; definitions stay at the root, where references look for them."""
    inner = {name: value for name, value in schema.items() if name not in (*_DEFINITIONS, "$schema")}
    kept = {name: schema[name] for name in _DEFINITIONS if name in schema}
    properties = {"type": "object", "properties": {HELD: inner}, "required": [HELD], "additionalProperties": False}
    return {**properties, **kept}


def as_choice() -> Change:
    """``guided_choice`` as a schema with an enum; the reader takes the text out again."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:
        schema = _holder({"type": "string", "enum": body.pop(name)})
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "guided_choice", "schema": schema}}
        yield Adjustment(name, "emulated", "sent as response_format, a schema with an enum")
        if "response_format" in given:
            yield Adjustment("response_format", "dropped", f"{name} says more")

    return Change("emulated", "a schema with an enum", apply, gives="guided_choice", needs="json_schema")


def must_call(fields: Json) -> bool:
    """Whether one of the caller's tools must be called, so that there is no text to prescribe."""
    choice = fields.get("tool_choice")
    if not fields.get("tools") or choice is None:
        return False
    if isinstance(choice, dict):
        return (choice.get("allowed_tools") or {}).get("mode") != "auto"
    return bool(choice == "required")


def cites(fields: Json) -> bool:
    """Whether citations are asked for, with which no form of the provider's own goes together."""
    contents = (message.get("content") for message in fields["messages"])
    parts = (part for content in contents if isinstance(content, list) for part in content)
    return any(isinstance(asked := part.get("citations"), dict) and asked.get("enabled") for part in parts)


def in_words(wanted: Form) -> str:
    """An order to the model, where nothing else prescribes the form."""
    order = IN_WORDS
    if wanted.schema != ANY_OBJECT:
        order += f" It must satisfy this JSON Schema: {_encode(wanted.schema).decode()}"
    return order


# What the provider can hold an answer to


def holds(fields: Json, *, formats: bool, forces: bool) -> bool:
    """Whether what these fields prescribe needs no check.

    ``formats`` is whether the model has a form for answers, ``forces`` whether it can be made to call a tool, whose
    arguments are an object then, but not surely one that satisfies a schema.
    """
    wanted = form(fields)
    if wanted is None or must_call(fields):
        return True
    if wanted.plain:
        return False
    if wanted.schema == ANY_OBJECT:
        return forces
    closed = native(wanted.schema) if formats and not cites(fields) else None
    return closed is not None and not closed[1]


def native(schema: Json) -> tuple[Json, list[str]] | None:
    """The schema as the provider takes it, and the bounds that are only told to the model; None where it cannot.

    Objects are closed where the schema leaves that open: every answer to the closed schema satisfies the open one.
    """
    if _recursive(schema):
        return None
    told: list[str] = []
    try:
        return _closed(schema, told), told
    except _BeyondError:
        return None


class _BeyondError(Exception):
    """The schema says something that the provider refuses."""


def _closed(node: Any, told: list[str]) -> Any:
    if not isinstance(node, dict):
        return node
    if not _BEYOND.isdisjoint(node):
        raise _BeyondError
    found: Json = {}
    bounds: list[str] = []
    for name, value in node.items():
        if _is_bound(name, value):
            bounds.append(f"{name} {value}")
        elif name in _MAPS and isinstance(value, dict):
            found[name] = {key: _closed(inner, told) for key, inner in value.items()}
        elif name in _LISTS and isinstance(value, list):
            found["anyOf" if name == "oneOf" else name] = [_closed(inner, told) for inner in value]
            if name == "oneOf":
                bounds.append("exactly one of these")
        elif name == "items":
            found[name] = _closed(value, told)
        elif name != "$schema":
            found[name] = value
    if "object" in _types(node) or "properties" in node:
        if node.get("additionalProperties", not node.get("properties")) is not False:
            raise _BeyondError  # an object with names of its own: closed, it could only be empty
        found["additionalProperties"] = False
    if bounds:
        told += bounds
        found["description"] = f"{node.get('description') or ''} ({', '.join(bounds)})".lstrip()
    return found


def _is_bound(name: str, value: Any) -> bool:
    if name == "format":
        return not isinstance(value, str) or value not in _FORMATS
    return name in _BOUNDS or (name == "minItems" and value not in (0, 1))


def _types(node: Json) -> Iterable[Any]:
    kind = node.get("type")
    return kind if isinstance(kind, list) else (kind,)


def _recursive(schema: Json) -> bool:
    """Whether a definition leads back to itself, or a reference to anything but a definition."""
    definitions = {where: inner for where in _DEFINITIONS if isinstance(inner := schema.get(where), dict)}
    graph = {f"#/{where}/{name}": set(_references(inner))
             for where, inners in definitions.items() for name, inner in inners.items()}  # fmt: skip
    roots = set(_references({name: value for name, value in schema.items() if name not in _DEFINITIONS}))
    if not (roots | {name for names in graph.values() for name in names}) <= graph.keys():
        return True
    while graph:
        leaves = [name for name, names in graph.items() if not names & graph.keys()]
        if not leaves:
            return True
        for name in leaves:
            del graph[name]
    return False


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(found := node.get("$ref"), str):
            yield found
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
