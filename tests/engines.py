"""SQLite's engines of one process share what SQLAlchemy works out once: what a statement is in SQLite's words.

A gateway works that out at its start, and a test starts a gateway of its own. Shared is the dialect and the cache of
compiled statements, nothing that has to do with a file. Gateways in a process of their own do it all themselves, as in
production.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Engine
from sqlalchemy.pool import StaticPool

from sealgate.storage import sqlite, store


def share(patch: pytest.MonkeyPatch) -> None:
    """Let every storage on SQLite that is opened from now on share."""
    first = sqlalchemy.create_engine("sqlite+pysqlite://", poolclass=StaticPool, query_cache_size=5000)
    with first.connect():
        pass  # now the dialect knows which SQLite this is
    first.dispose()

    def create_engine(*arguments: Any, **options: Any) -> Engine:
        engine = sqlalchemy.create_engine(*arguments, **options)
        engine.dialect = engine.pool._dialect = first.dialect
        engine._compiled_cache = first._compiled_cache
        return engine

    patch.setattr(sqlite, "create_engine", create_engine)
    patch.setattr(store, "Insert", cache(store.Insert))
