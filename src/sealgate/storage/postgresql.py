"""PostgreSQL through psycopg 3: one connection that writes and a small pool that reads."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from sealgate.errors import ConfigError
from sealgate.storage.backend import MIGRATION_SECONDS, READERS, reason

LOCK = 0x5EA1_6A7E
"""The advisory lock of a migrating process."""

CONNECTION = {
    "application_name": "sealgate",
    # A host that vanished without a word is noticed within half a minute instead of two hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""libpq parameters; those in the operator's URL win."""


class PostgresBackend:
    """The database behind ``url``. Raises `ConfigError` where the driver is missing."""

    begin: str | None = None

    def __init__(self, url: URL, busy_seconds: float) -> None:
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise ConfigError("PostgreSQL needs the extra: pip install 'sealgate[postgres]'.") from error
        self.name = f"the PostgreSQL database {url.database} at {url.host or url.query.get('host', 'localhost')}"
        self._url = url.set(drivername="postgresql+psycopg")
        self._busy = busy_seconds
        self.writer = self._engine(poolclass=NullPool)
        self.reader = self._engine(
            poolclass=QueuePool,
            pool_size=READERS,
            max_overflow=0,
            pool_pre_ping=True,
            execution_options={"postgresql_readonly": True},
        )

    def stale(self, driver_connection: Any) -> bool:
        # The server never speaks first, except to say that it ends the session: readable means gone.
        if driver_connection.closed:
            return True
        poll = select.poll()
        poll.register(driver_connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def ruined(self, _error: BaseException) -> bool:
        return False  # it is the server that syncs, and ends itself where that fails

    @contextmanager
    def exclusive(self) -> Iterator[Connection]:
        try:
            with self.writer.connect() as connection, connection.begin():
                self._refuse_unfit(connection)
                patience = max(self._busy, MIGRATION_SECONDS)
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(patience * 1000)}")
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
                yield connection
        except DBAPIError as error:
            raise ConfigError(f"{self.name} cannot be used: {reason(error)}") from error

    def _refuse_unfit(self, connection: Connection) -> None:
        if connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on":
            raise ConfigError(f"{self.name} is read-only. Name the primary server, not a standby.")
        if (encoding := connection.exec_driver_sql("SHOW server_encoding").scalar()) != "UTF8":
            raise ConfigError(f"{self.name} has the encoding {encoding}; UTF8 is needed.")

    def _engine(self, **options: Any) -> Engine:
        defaults = {**CONNECTION, "connect_timeout": max(2, round(self._busy))}
        arguments = {name: value for name, value in defaults.items() if name not in self._url.query}
        engine = create_engine(self._url, connect_args=arguments, **options)
        event.listen(engine, "connect", self._set_up)
        return engine

    def _set_up(self, driver_connection: Any, _record: object) -> None:
        driver_connection.execute(f"SET lock_timeout = {int(self._busy * 1000)}")
        driver_connection.commit()
