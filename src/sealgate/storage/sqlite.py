"""SQLite: one file in WAL mode with ``synchronous=FULL``, one connection that writes and a few that read.

WAL with FULL syncs the log at every commit, so what was committed survives a power cut; readers never wait for the
writer (https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool, QueuePool

from sealgate.errors import ConfigError
from sealgate.storage.backend import MIGRATION_SECONDS, READERS, of_driver

OLDEST = (3, 35, 0)
"""The first SQLite with RETURNING."""

CHECKED_BYTES = 32 * 1024 * 1024
"""A file up to this size is checked page by page at the start; of a larger one only the header and the schema."""

WAL_BYTES = 64 * 1024 * 1024
"""The write-ahead log is cut back to this after a long reader let it grow."""

_NOTHING: dict[None, None] = {None: None}


class SqliteBackend:
    """The file at ``path``: found or created, checked, and in WAL mode. Raises `ConfigError`."""

    begin: str | None = "BEGIN IMMEDIATE"

    def __init__(self, path: Path, busy_seconds: float) -> None:
        _know_plain_values()
        self.name = f"the SQLite file {path}"
        self._path = path
        self._busy = busy_seconds
        self._prepare()
        self.writer = create_engine("sqlite+pysqlite://", creator=self._connect_writer, poolclass=NullPool)
        self.reader = self._reading_engine()

    def stale(self, _driver_connection: Any) -> bool:
        return False

    def ruined(self, error: BaseException) -> bool:
        # Linux forgets pages that it could not write: the next sync would succeed, and what lay between is gone.
        return _name(of_driver(error)) in ("SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC")

    @contextmanager
    def exclusive(self) -> Iterator[Connection]:
        with self._explained(), self.writer.connect() as connection:
            patience = max(self._busy, MIGRATION_SECONDS)
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(patience * 1000)}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    def _reading_engine(self) -> Engine:
        engine = create_engine(
            "sqlite+pysqlite://",
            creator=self._connect_reader,
            poolclass=QueuePool,
            pool_size=READERS,
            max_overflow=0,
        )
        # The driver opens no transaction for us; with BEGIN all statements of a read see one state.
        # It is said to the driver itself: SQLAlchemy would make a result of it, at each read.
        event.listen(engine, "begin", lambda connection: connection.connection.driver_connection.execute("BEGIN"))
        return engine

    def _connect(self, mode: str) -> sqlite3.Connection:
        # mode=rw: a file that has vanished is an error, never silently a new and empty database.
        # isolation_level=None: we say BEGIN ourselves. Threads: SQLAlchemy hands a connection to one at a time.
        return sqlite3.connect(
            f"file:{quote(str(self._path.absolute()))}?mode={mode}",
            uri=True,
            timeout=self._busy,
            isolation_level=None,
            check_same_thread=False,
        )

    def _connect_writer(self) -> sqlite3.Connection:
        connection = self._connect("rw")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        connection = self._connect("rw")
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _prepare(self) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            raise ConfigError(f"SQLite {sqlite3.sqlite_version} is too old; 3.35 or newer is needed.")
        with self._explained():
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._path.exists() and self._path.stat().st_size:
                self._patiently(self._check)
            else:
                self._create()
            self._patiently(self._switch_to_wal)

    def _create(self) -> None:
        log = self._path.with_name(self._path.name + "-wal")
        if log.exists() and log.stat().st_size:
            # SQLite would delete the log, and with it rows that were acknowledged.
            raise ConfigError(
                f"{self._path} is missing or empty, but its log {log.name} is not. Nothing was touched. "
                "Put the database file back, or move the log away to begin with an empty database."
            )
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))

    def _check(self) -> None:
        # Read-only, so that a damaged file and its log stay as they are, byte for byte.
        with closing(self._connect("ro")) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if self._path.stat().st_size <= CHECKED_BYTES:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise self._damaged(verdict.splitlines()[-1])

    def _switch_to_wal(self) -> None:
        with closing(self._connect("rw")) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise ConfigError(f"{self._path} lies on a file system that SQLite's write-ahead log does not work on.")

    def _patiently(self, step: Callable[[], None]) -> None:
        """Run a step again while another process holds the file: here SQLite does not always wait by itself."""
        end = time.monotonic() + self._busy
        while True:
            try:
                return step()
            except sqlite3.OperationalError as error:
                if not _name(error).startswith("SQLITE_BUSY") or time.monotonic() > end:
                    raise
            time.sleep(0.01)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what went wrong with the file in the operator's words."""
        try:
            yield
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be created: {error.strerror}.") from error
        except sqlite3.Error as error:
            raise self._explain(error) from error
        except Exception as error:
            if isinstance(cause := getattr(error, "orig", None), sqlite3.Error):
                raise self._explain(cause) from error
            raise

    def _explain(self, error: sqlite3.Error) -> ConfigError:
        name = _name(error)
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return self._damaged(str(error))
        if name.startswith("SQLITE_BUSY"):
            return ConfigError(f"{self._path} is locked by another process.")
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return ConfigError(f"{self._path} cannot be written: {error}. The folder must be writable too.")
        return ConfigError(f"{self._path} cannot be used: {error}.")

    def _damaged(self, detail: str) -> ConfigError:
        return ConfigError(
            f"{self._path} is damaged or not a SQLite database ({detail}). It was left untouched. "
            "Restore it from a backup, or move it away to begin with an empty database."
        )


def _know_plain_values() -> None:
    """NULL and booleans go to the database as they are.

    Of values that are no text or number the driver asks each single one whether it has another form, and hears of that
    by an exception: for a ledger's row, which is half empty, that cost as much as all the rest of the insert.
    """
    sqlite3.register_adapter(type(None), _NOTHING.get)
    sqlite3.register_adapter(bool, int)


def _name(error: BaseException) -> str:
    return str(getattr(error, "sqlite_errorname", ""))
