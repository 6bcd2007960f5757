"""Writes a value that satisfies a JSON Schema.

The schemas that hold at one place are kept as a list that must be satisfied together. References and ``allOf`` add to
it, ``anyOf`` and ``oneOf`` add one of their branches; a value is then made from what all ask. What cannot be built in
(``not``, ``oneOf``'s other branches, ``if``) is tried, checked and tried again. The finished value is always checked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.writing import DeadEndError
from sealgate.providers.sandbox.hints import Hints
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.check import Checker, same
from sealgate.providers.sandbox.schema.lists import write_list
from sealgate.providers.sandbox.schema.numbers import write_number
from sealgate.providers.sandbox.schema.objects import depending, write_object
from sealgate.providers.sandbox.schema.reach import Reach
from sealgate.providers.sandbox.schema.shape import TYPES, Schema, Schemas
from sealgate.providers.sandbox.schema.strings import write_string

LEVELS = 4
"""Levels of nesting used where the schema does not need more."""
TRIES = 40
DOCUMENT_TRIES = 8

Json = Any
All = Sequence[Schema]
"""Schemas that must hold together."""

_RISKY = frozenset(
    {"not", "oneOf", "if", "contains", "dependentSchemas", "dependencies", "unevaluatedProperties", "propertyNames"}
)
_OWN_KEYWORDS: dict[str, frozenset[str]] = {
    "object": frozenset(
        {"properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties"}
        | {"maxProperties", "dependentRequired", "dependentSchemas", "dependencies"}
    ),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "string": frozenset({"pattern", "format", "minLength", "maxLength"}),
}
_PREFERENCE = ("object", "array", "string", "number", "integer", "boolean", "null")


class Writer:
    """Writes values for the schemas of one document."""

    def __init__(self, schemas: Schemas, chance: Chance, hints: Hints) -> None:
        self.schemas = schemas
        self.chance = chance
        self.hints = hints
        self.budget = chance.budget
        self.checker = Checker(schemas, self.budget)
        self.reach = Reach(schemas, self.budget)
        self._dead: set[tuple[int, ...]] = set()

    def document(self, also: tuple[Schema, ...] = ()) -> Json:
        """A value for the root schema (and for ``also``). Raises `UnsupportedError`."""
        wanted = (self.schemas.root, *also)
        try:
            room = max(LEVELS, *(self.reach.need(schema) for schema in wanted))
            for _ in range(DOCUMENT_TRIES):
                try:
                    value = self.value(wanted, room, "")
                except DeadEndError:
                    continue
                if self.holds(wanted, value):
                    return value
        except (RecursionError, OverflowError):
            raise UnsupportedError("the schema is nested too deep or has numbers too large") from None
        raise UnsupportedError("no value was found that satisfies the schema")

    def holds(self, wanted: All, value: Json) -> bool:
        """Whether the value satisfies all schemas."""
        return all(self.checker.ok(schema, value) for schema in wanted)

    def fits(self, wanted: All, room: int) -> bool:
        """Whether a value of at most so many levels seems possible."""
        return all(self.reach.fits(schema, room) for schema in wanted)

    def value(self, wanted: All, room: int, name: str, avoid: Sequence[Json] = ()) -> Json:
        """A value at one place, for the property ``name``, different from ``avoid``. Raises `DeadEndError`."""
        key = (room, *map(id, wanted))
        if room < 0 or key in self._dead:
            raise DeadEndError
        tries, attempt = 1, 0
        while attempt < tries:
            self.budget.spend(20)
            plain, choices, risky = self._gather(wanted, room, attempt)
            if plain is not None:
                try:
                    value = self._made(plain, room, name, avoid, attempt)
                    if not risky or self.holds(wanted, value):
                        return value
                except DeadEndError:
                    pass
            if choices or risky:
                tries = max(TRIES, 2 * choices)
            attempt += 1
        if not avoid:
            self._dead.add(key)  # what was tried so often in vain is not tried again in the same place
        raise DeadEndError

    def _gather(self, wanted: All, room: int, attempt: int) -> tuple[list[dict[str, Any]] | None, int, bool]:
        """All single schemas that hold here; how many ways there were to choose; whether the result must be checked.

        None instead of the list where the choice made cannot be satisfied.
        """
        waiting = deque(wanted)
        plain: list[dict[str, Any]] = []
        seen: set[int] = set()
        choices, branched, risky, dead = 0, False, False, False
        while waiting or (waiting := deque(each for each in depending(plain) if id(each) not in seen)):
            schema = waiting.popleft()
            self.budget.spend(1)
            if isinstance(schema, bool):
                dead = dead or not schema
                continue
            if id(schema) in seen:
                continue
            seen.add(id(schema))
            plain.append(schema)
            dead = dead or schema.get("not") in (True, {})
            risky = risky or not _RISKY.isdisjoint(schema)
            choices += not isinstance(schema.get("type"), str)  # another type may do where one does not
            if "$ref" in schema:
                waiting.append(self.schemas.resolve(schema["$ref"]))
            waiting += schema.get("allOf", ())
            for word in ("anyOf", "oneOf"):
                if word in schema:
                    added = self._branch(schema[word], room, None if branched else attempt)
                    branched = True
                    choices += len(schema[word])
                    self.budget.spend(len(schema[word]))
                    dead = dead or not added
                    waiting += added
                    if word == "oneOf" and added:
                        plain += [{"not": each} for each in schema["oneOf"] if each is not added[0]]
            if "if" in schema:
                taken = attempt % 2 == 0
                waiting += [schema["if"], schema.get("then", True)] if taken else [schema.get("else", True)]
        return (None if dead else plain or [{}]), choices, risky

    def _branch(self, options: list[Schema], room: int, attempt: int | None) -> list[Schema]:
        """One of the branches that fit: each in turn where this is the only choice, else by chance."""
        fitting = [option for option in options if self.reach.fits(option, room)]
        if not fitting:
            return []
        telling = [option for option in fitting if option != {"type": "null"}]
        if not attempt and telling and self.chance.likely(0.85):
            fitting = telling
        if attempt is None or (attempt == 0 and room > 1):
            return [self.chance.pick(fitting)]
        return [fitting[attempt % len(fitting)]]

    def _made(self, plain: list[dict[str, Any]], room: int, name: str, avoid: Sequence[Json], attempt: int) -> Json:
        """A value from single schemas. Raises `DeadEndError`."""
        given = next((schema for schema in plain if "const" in schema or "enum" in schema), None)
        if given is not None:
            options = [given["const"]] if "const" in given else given["enum"]
            return self._one_of(plain, options, avoid)
        types = self._types(plain, room)
        kind = types[attempt % len(types)] if attempt else self._first_type(types)
        if kind == "null":
            return self._one_of(plain, (None,), avoid)
        if kind == "boolean":
            return self._one_of(plain, (True, False), avoid)
        if kind == "object":
            return write_object(self, plain, room)
        if kind == "array":
            return write_list(self, plain, room, name)

        def fits(value: Json) -> bool:
            return not any(same(value, each) for each in avoid) and self._allowed(plain, value)

        if kind == "string":
            return write_string(plain, self.chance, name, self.hints, fits)
        fractional = "integer" not in types
        return write_number(plain, self.chance, name, whole=kind == "integer", fractional=fractional, fits=fits)

    def _first_type(self, types: list[str]) -> str:
        """The most telling type, and now and then another: an optional value is sometimes null."""
        return types[0] if len(types) == 1 or self.chance.likely(0.85) else self.chance.pick(types)

    def _one_of(self, plain: list[dict[str, Any]], options: Sequence[Json], avoid: Sequence[Json]) -> Json:
        start = self.chance.below(len(options))
        for turn in range(len(options)):
            each = options[(start + turn) % len(options)]
            if self.holds(plain, each) and not any(same(each, one) for one in avoid):
                return each
        raise DeadEndError

    def _allowed(self, plain: list[dict[str, Any]], value: Json) -> bool:
        """Whether ``not`` lets a scalar pass; everything else about it was built in."""
        return not any("not" in schema and self.checker.ok(schema["not"], value) for schema in plain)

    def _types(self, plain: list[dict[str, Any]], room: int) -> list[str]:
        """The types that all schemas allow, the most telling first. Raises `DeadEndError`."""
        allowed = set(TYPES)
        for schema in plain:
            if "type" in schema:
                names = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
                allowed &= names | {"integer"} if "number" in names else names
            excluded = schema.get("not")
            if (
                isinstance(excluded, dict)
                and excluded.keys() <= {"type", "title", "description"}
                and "type" in excluded
            ):
                names = {excluded["type"]} if isinstance(excluded["type"], str) else set(excluded["type"])
                allowed -= names | {"integer"} if "number" in names else names
        if not allowed:
            raise DeadEndError
        return self._by_keywords(plain, allowed, room)

    def _by_keywords(self, plain: list[dict[str, Any]], allowed: set[str], room: int) -> list[str]:
        """Types in order: those the keywords speak of first; plain ones first where room is short."""
        spoken = {kind for kind, own in _OWN_KEYWORDS.items() for schema in plain if not own.isdisjoint(schema)}
        order = sorted(allowed, key=lambda kind: (kind not in spoken, _PREFERENCE.index(kind)))
        if not spoken and allowed == TYPES:
            order = ["string", *(kind for kind in order if kind != "string")]
        if room < 1:
            order.sort(key=lambda kind: kind in ("object", "array"))
        return order
