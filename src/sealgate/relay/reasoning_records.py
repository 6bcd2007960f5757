"""The rows of kept reasoning: the only SQL of `sealgate.relay.recall`.

Each function runs in one of the storage's threads, in a transaction that `Storage.read` or `Storage.write` opened.
Times are Unix microseconds.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, tuple_

from sealgate.storage.tables import reasoning_state

_FIND = (
    select(reasoning_state.c.name, reasoning_state.c.begun_at, reasoning_state.c.sealed)
    .where(
        reasoning_state.c.name.in_(bindparam("names", expanding=True)), reasoning_state.c.begun_at > bindparam("since")
    )
    .order_by(reasoning_state.c.made_at)
)
_OLD = reasoning_state.c.begun_at <= bindparam("until")
_ANY_OLD = select(reasoning_state.c.begun_at).where(_OLD).limit(1)
_KEY = (reasoning_state.c.name, reasoning_state.c.made_at)
_DELETE = delete(reasoning_state).where(tuple_(*_KEY).in_(select(*_KEY).where(_OLD).limit(bindparam("most"))))


def row(name: bytes, made_at: int, begun_at: int, sealed: bytes) -> dict[str, Any]:
    """For ``storage.append(reasoning_state, row(...))``."""
    return {"name": name, "made_at": made_at, "begun_at": begun_at, "sealed": sealed}


def find(connection: Connection, names: Collection[bytes], since: int) -> dict[bytes, tuple[int, bytes]]:
    """When it began, and the sealed content, by name; the latest where there are several."""
    found = connection.execute(_FIND, {"names": list(names), "since": since})
    return {name: (begun_at, sealed) for name, begun_at, sealed in found}


def any_old(connection: Connection, until: int) -> bool:
    return connection.execute(_ANY_OLD, {"until": until}).first() is not None


def delete_old(connection: Connection, until: int, most: int) -> int:
    """Delete up to ``most`` rows that began at ``until`` or before; returns how many."""
    return connection.execute(_DELETE, {"until": until, "most": most}).rowcount
