"""How deep a value of a schema must at least be, so that recursive schemas are left by their shortest way out."""

from __future__ import annotations

from typing import Any

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.check import own_schemas, prefix_and_rest
from sealgate.providers.sandbox.schema.shape import Schema, Schemas

DEEPEST = 100
"""Levels of nesting that are tried."""

_SCALARS = frozenset({"null", "boolean", "integer", "number", "string"})


class Reach:
    """Answers whether a schema can be satisfied by a value of at most so many levels.

    An estimate: it looks at each schema alone, not at what several ask together.
    """

    def __init__(self, schemas: Schemas, budget: Budget) -> None:
        self.schemas = schemas
        self.budget = budget
        self._known: dict[tuple[int, int], bool] = {}
        self._open: set[tuple[int, int]] = set()
        self._loops = 0

    def need(self, schema: Schema) -> int:
        """The fewest levels that suffice: 0 for a plain value. Raises `UnsupportedError`."""
        for room in range(DEEPEST):
            if self.fits(schema, room):
                return room
        raise UnsupportedError("no value of finite size satisfies the schema")

    def fits(self, schema: Schema, room: int) -> bool:
        """Whether a value with at most ``room`` levels below it may satisfy the schema."""
        if isinstance(schema, bool) or room < 0:
            return schema is True and room >= 0
        key = (id(schema), room)
        if key in self._known:
            return self._known[key]
        if key in self._open:
            self._loops += 1  # a reference that comes back to itself adds nothing; not an answer to keep
            return False
        self.budget.spend(4)
        self._open.add(key)
        loops = self._loops
        found = self._look(schema, room)
        self._open.discard(key)
        if found or loops == self._loops:
            self._known[key] = found
        return found

    def _look(self, schema: dict[str, Any], room: int) -> bool:
        if "$ref" in schema and not self.fits(self.schemas.resolve(schema["$ref"]), room):
            return False
        if not all(self.fits(each, room) for each in schema.get("allOf", ())):
            return False
        for word in ("anyOf", "oneOf"):
            if word in schema and not any(self.fits(each, room) for each in schema[word]):
                return False
        return "enum" in schema or "const" in schema or self._types_fit(schema, room)

    def _types_fit(self, schema: dict[str, Any], room: int) -> bool:
        wanted = schema.get("type")
        if wanted is None:
            return True
        types = [wanted] if isinstance(wanted, str) else wanted
        if not _SCALARS.isdisjoint(types):
            return True
        if "object" in types and self._object_fits(schema, room):
            return True
        return "array" in types and self._array_fits(schema, room)

    def _object_fits(self, schema: dict[str, Any], room: int) -> bool:
        for name in schema.get("required", ()):
            children = own_schemas(schema, name, self.budget) or [schema.get("additionalProperties", True)]
            if not all(self.fits(child, room - 1) for child in children):
                return False
        return True

    def _array_fits(self, schema: dict[str, Any], room: int) -> bool:
        first, rest = prefix_and_rest(schema)
        least = int(schema.get("minItems", 0))
        children = [*first[:least], *([rest] if least > len(first) else [])]
        if "contains" in schema and schema.get("minContains", 1):
            children.append(schema["contains"])
        return all(self.fits(child, room - 1) for child in children)
