"""Writes objects for what several schemas ask together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.grammar.writing import DeadEndError
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.check import own_schemas
from sealgate.providers.sandbox.schema.shape import Schema
from sealgate.providers.sandbox.schema.strings import write_string
from sealgate.providers.sandbox.words import WORDS

if TYPE_CHECKING:
    from sealgate.providers.sandbox.schema.write import Writer

MOST_PROPERTIES = 1_000
NAME_TRIES = 60

_STRING: dict[str, Any] = {"type": "string"}


def write_object(writer: Writer, schemas: Sequence[dict[str, Any]], room: int) -> dict[str, Any]:
    """An object for all schemas: the required properties, some of the optional ones. Raises `DeadEndError`."""
    low = max(int(schema.get("minProperties", 0)) for schema in schemas)
    high = min((int(schema["maxProperties"]) for schema in schemas if "maxProperties" in schema), default=None)
    if low > MOST_PROPERTIES:
        raise UnsupportedError(f"an object of more than {MOST_PROPERTIES} properties")
    required = _required(schemas)
    if (high is not None and len(required) > high) or (required and room < 1):
        raise DeadEndError
    declared = list(dict.fromkeys(key for schema in schemas for key in schema.get("properties", ())))
    chosen = _chosen(writer, schemas, declared, required, room, high)
    made: dict[str, Any] = {}
    for key in chosen:
        try:
            made[key] = writer.value(property_schemas(schemas, key, writer.budget), room - 1, key)
        except DeadEndError:
            if key in required:
                raise
    want = max(low, 0 if made or declared or room < 2 else _few(writer, high))
    _more(writer, schemas, declared, made, room, want)
    if len(made) < low or (high is not None and len(made) > high):
        raise DeadEndError
    return made


def _required(schemas: Sequence[dict[str, Any]]) -> list[str]:
    """The names that must be there, with those that these names bring along."""
    names = dict.fromkeys(name for schema in schemas for name in schema.get("required", ()))
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        for schema in schemas:
            brought = [*schema.get("dependentRequired", {}).get(name, ())]
            older = schema.get("dependencies", {}).get(name, ())
            brought += older if isinstance(older, list) else ()
            waiting += [each for each in brought if each not in names]
            names.update(dict.fromkeys(brought))
    return list(names)


def depending(schemas: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Schemas that hold because of a required property (``dependentSchemas`` and its older spelling)."""
    words = [word for word in ("dependentSchemas", "dependencies") if any(word in schema for schema in schemas)]
    required = _required(schemas) if words else ()
    return [
        each
        for word in words
        for schema in schemas
        for name, each in schema.get(word, {}).items()
        if name in required and isinstance(each, dict)
    ]


def _chosen(
    writer: Writer,
    schemas: Sequence[dict[str, Any]],
    declared: list[str],
    required: list[str],
    room: int,
    high: int | None,
) -> list[str]:
    """Required names and a part of the optional ones, in the order in which they are declared."""
    spare = len(declared) if high is None else high - len(required)
    often = 0.75 if room > 2 else 0.4
    taken = set(required)
    for key in declared:
        if key not in taken and spare > 0 and _welcome(writer, schemas, key, room) and writer.chance.likely(often):
            taken.add(key)
            spare -= 1
    known = set(declared)
    return [*(key for key in declared if key in taken), *(key for key in required if key not in known)]


def _welcome(writer: Writer, schemas: Sequence[dict[str, Any]], key: str, room: int) -> bool:
    """Whether an optional property may be there, and brings nothing along."""
    if room < 1 or not writer.fits(property_schemas(schemas, key, writer.budget), room - 1):
        return False
    for schema in schemas:
        if any(key in schema.get(word, ()) for word in ("dependentRequired", "dependentSchemas", "dependencies")):
            return False
        excluded = schema.get("not")
        if isinstance(excluded, dict) and key in excluded.get("required", ()):
            return False
    return True


def _few(writer: Writer, high: int | None) -> int:
    """How many entries an object gets that declares none: a map is more telling with something in it."""
    return min(1 + writer.chance.below(2), 2 if high is None else high)


def _more(
    writer: Writer,
    schemas: Sequence[dict[str, Any]],
    declared: list[str],
    made: dict[str, Any],
    room: int,
    want: int,
) -> None:
    """Add properties until there are ``want``: declared ones left out, then names of our own."""
    if len(made) >= want or room < 1:
        return
    for key in (*declared, *_names(writer, schemas, made)):
        if key in made:
            continue
        wanted = property_schemas(schemas, key, writer.budget)
        if not writer.fits(wanted, room - 1) or not _named_well(writer, schemas, key):
            continue
        try:
            made[key] = writer.value(wanted, room - 1, key)
        except DeadEndError:
            continue
        if len(made) >= want:
            return


def _names(writer: Writer, schemas: Sequence[dict[str, Any]], made: dict[str, Any]) -> Iterator[str]:
    """Names for properties that nobody declared: by ``propertyNames``, by ``patternProperties``, or plain words."""
    chance = writer.chance
    rules = [schema["propertyNames"] for schema in schemas if "propertyNames" in schema]
    patterns = [pattern for schema in schemas for pattern in schema.get("patternProperties", ())]
    for attempt in range(NAME_TRIES + 2 * max((int(schema.get("minProperties", 0)) for schema in schemas), default=0)):
        try:
            if rules:
                yield writer.value([*rules, _STRING], 0, "key", list(made))
            if patterns:
                key = write_string([{"pattern": chance.pick(patterns)}], chance, "key", writer.hints, lambda _: True)
                yield from (key, key + chance.pick(WORDS))
        except DeadEndError:
            pass
        yield chance.pick(WORDS) if attempt < NAME_TRIES // 2 else f"{chance.pick(WORDS)}_{attempt}"


def _named_well(writer: Writer, schemas: Sequence[dict[str, Any]], key: str) -> bool:
    return all(writer.checker.ok(schema["propertyNames"], key) for schema in schemas if "propertyNames" in schema)


def property_schemas(schemas: Sequence[dict[str, Any]], key: str, budget: Budget) -> list[Schema]:
    """What all schemas together say about a property."""
    found: list[Schema] = []
    closed = False
    for schema in schemas:
        own = own_schemas(schema, key, budget)
        found += own
        if not own:
            rest = schema.get("additionalProperties", True)
            if rest is not True:
                found.append(rest)
        closed = closed or schema.get("unevaluatedProperties", True) is False
    if closed and not found:
        found.append(False)
    return found
