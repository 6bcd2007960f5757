"""Whether a database could be used, found out without changing its schema: for looking before a start."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from sealgate.errors import ConfigError
from sealgate.storage.backend import Backend, reason
from sealgate.storage.migrate import HEAD, version
from sealgate.storage.store import _backend, _path
from sealgate.storage.writer import touch

PATIENCE = 2.0
"""Seconds to wait for a lock of another process."""


def missing_file(url: str) -> Path | None:
    """The SQLite file that a start would make, where there is none yet. Raises `ConfigError`."""
    if not url.startswith("sqlite://"):
        return None
    path = _path(url.removeprefix("sqlite://"))
    return None if path.exists() else path


def try_database(url: str) -> str:
    """Write to the database, and say which it is and what a start would do with it. Blocks. Raises `ConfigError`."""
    backend = _backend(url, PATIENCE)
    try:
        return f"{backend.name} {_try(backend)}"
    finally:
        backend.reader.dispose()
        backend.writer.dispose()


def _try(backend: Backend) -> str:
    try:
        with backend.writer.connect() as connection, connection.begin():
            connection.exec_driver_sql(backend.begin or f"SET LOCAL lock_timeout = {int(PATIENCE * 1000)}")
            found = version(connection)
            if found == HEAD:
                touch(connection)
                return "can be written"
    except SQLAlchemyError as error:
        raise ConfigError(f"{backend.name} cannot be written: {reason(error)}") from error
    if found is None:
        return "can be opened; it is empty, and the first start makes its tables"
    return f"can be opened; it has the schema {found}, and this version's is {HEAD}: a start migrates it if it is older"
