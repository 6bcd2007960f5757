"""A counter per topic, bumped in the same transaction as a change, so that caches on every replica can notice it."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from sealgate.storage.tables import revisions

_BUMP = text(
    "INSERT INTO revisions (name, value) VALUES (:name, 1) "
    "ON CONFLICT (name) DO UPDATE SET value = revisions.value + 1 RETURNING value"
)


def bump(connection: Connection, name: str) -> int:
    """Count one change of the topic ``name`` and return its new revision."""
    return int(connection.execute(_BUMP, {"name": name}).scalar_one())


def revision(connection: Connection, name: str) -> int:
    """The topic's revision, 0 where nothing was ever changed."""
    value = connection.execute(select(revisions.c.value).where(revisions.c.name == name)).scalar()
    return int(value or 0)
