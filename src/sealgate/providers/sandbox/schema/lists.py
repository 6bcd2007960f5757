"""Writes arrays for what several schemas ask together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sealgate.providers.sandbox.grammar.writing import DeadEndError
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.check import prefix_and_rest, same
from sealgate.providers.sandbox.schema.shape import Schema

if TYPE_CHECKING:
    from sealgate.providers.sandbox.schema.write import Writer

MOST_ITEMS = 1_000
TRIES = 12


def write_list(writer: Writer, schemas: Sequence[dict[str, Any]], room: int, name: str) -> list[Any]:
    """An array for all schemas. Raises `DeadEndError`, or `UnsupportedError` for one of absurd length."""
    wanted = [
        [schema["contains"], int(schema.get("minContains", 1)), schema.get("maxContains")]
        for schema in schemas
        if "contains" in schema
    ]
    low = max([int(schema.get("minItems", 0)) for schema in schemas])
    low = max([low, *(least for _, least, _ in wanted)])
    high = min((int(schema["maxItems"]) for schema in schemas if "maxItems" in schema), default=None)
    if low > MOST_ITEMS:
        raise UnsupportedError(f"an array of more than {MOST_ITEMS} items")
    if high is not None and low > high:
        raise DeadEndError
    unique = any(schema.get("uniqueItems") for schema in schemas)
    length = _length(writer, schemas, room, low, high)
    made: list[Any] = []
    for at in range(length):
        item = _item(writer, item_schemas(schemas, at), room, name, made if unique else (), wanted, length - at)
        if item is _NONE:
            if at < low:
                raise DeadEndError
            break
        made.append(item)
    if any(least > 0 for _, least, _ in wanted):
        raise DeadEndError
    return made


_NONE = object()


def _length(writer: Writer, schemas: Sequence[dict[str, Any]], room: int, low: int, high: int | None) -> int:
    """How many items: what is needed, one to three where there is room for them."""
    if room < 1:
        if low:
            raise DeadEndError
        return 0
    declared = max(len(prefix_and_rest(schema)[0]) for schema in schemas)
    length = max(low, declared, 1 + writer.chance.below(3 if room > 2 else 2))
    length = length if high is None else min(length, high)
    for at in range(length):
        # An item that is forbidden, or that only fits with more levels than are left, ends the list.
        if at >= low and not writer.fits(item_schemas(schemas, at), room - 1):
            return at
    return length


def _item(
    writer: Writer,
    schemas: list[Schema],
    room: int,
    name: str,
    avoid: Sequence[Any],
    wanted: list[list[Any]],
    left: int,
) -> Any:
    """One item, a wanted one where some are still missing; ``_NONE`` where there is none."""
    missing = next((want for want in wanted if want[1] > 0), None)
    if missing is not None:
        try:
            item = _fresh(writer, [*schemas, missing[0]], room, name, avoid)
        except DeadEndError:
            item = _NONE
        if item is not _NONE:
            _count(writer, wanted, item)
            return item
        if sum(want[1] for want in wanted) >= left:
            return _NONE
    for _ in range(TRIES):
        try:
            item = _fresh(writer, schemas, room, name, avoid)
        except DeadEndError:
            return _NONE
        full = any(want[2] is not None and want[2] <= 0 and writer.checker.ok(want[0], item) for want in wanted)
        if not full:
            _count(writer, wanted, item)
            return item
    return _NONE


def _fresh(writer: Writer, schemas: list[Schema], room: int, name: str, avoid: Sequence[Any]) -> Any:
    """An item that equals none of those to avoid. Raises `DeadEndError`."""
    singular = name[:-1] if name.endswith("s") else name
    for _ in range(TRIES):
        item = writer.value(schemas, room - 1, singular, avoid)
        if not any(same(item, other) for other in avoid):
            return item
    raise DeadEndError


def _count(writer: Writer, wanted: list[list[Any]], item: Any) -> None:
    for want in wanted:
        if writer.checker.ok(want[0], item):
            want[1] -= 1
            if want[2] is not None:
                want[2] -= 1


def item_schemas(schemas: Sequence[dict[str, Any]], at: int) -> list[Schema]:
    """What all schemas together say about the item at an index."""
    found: list[Schema] = []
    for schema in schemas:
        first, rest = prefix_and_rest(schema)
        each = first[at] if at < len(first) else rest
        if each is not True:
            found.append(each)
    return found
