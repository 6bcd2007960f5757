"""`Storage`: what the rooms above hold, and `open_storage`, which makes one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, Table, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from sealgate.errors import ConfigError, StorageError
from sealgate.storage.backend import READERS, Backend, reason
from sealgate.storage.direct import Direct
from sealgate.storage.insert import Insert, Row
from sealgate.storage.migrate import migrate
from sealgate.storage.postgresql import PostgresBackend
from sealgate.storage.sqlite import SqliteBackend
from sealgate.storage.writer import ACT, Job, Writer, touch

T = TypeVar("T")
Appended: TypeAlias = "Row | Callable[[], Appended]"
"""A row, or what makes it: a step, and another one where that gives none yet. Of several rows, steps go in turns."""
NewRow: TypeAlias = tuple[Table, Appended]

SWEEP_SECONDS = 0.25
FRESH_SECONDS = 1.0
"""A commit this recent shows well enough that the database can be written."""


def open_storage(url: str, *, busy_seconds: float = 5.0) -> Storage:
    """Open ``sqlite:///FILE`` or ``postgresql://…``: find or create it, migrate it, start the writer. Blocks.

    ``busy_seconds`` is how long a write waits for a lock another process holds. Raises `ConfigError`.
    """
    backend = _backend(url, busy_seconds)
    migrate(backend)
    return Storage(backend, busy_seconds)


class Storage:
    """Durable writes through one thread, reads through a few. Methods are safe from any event loop or thread."""

    def __init__(self, backend: Backend, busy_seconds: float) -> None:
        self.name = backend.name
        self._backend = backend
        self._patience = busy_seconds + 1
        self._inserts: dict[Table, Insert] = {}
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sealgate-reader")
        self._writer = Writer(backend)
        self._waiting: dict[asyncio.AbstractEventLoop, list[tuple[float, asyncio.Future[Any]]]] = {}
        """Who waits for a row no longer than until then. A loop that is here has a timer that sweeps its own."""
        self._closed = False

    @property
    def failing(self) -> bool:
        """Whether the last commit failed: what is begun now could not be recorded.

        The writer finds out by itself, soon, when commits work again.
        """
        return self._writer.failing is not None

    @property
    def ruined(self) -> str | None:
        """Why nothing will be written any more: the disk failed to keep what it had taken. The process should end."""
        return self._writer.ruined

    @property
    def pending(self) -> int:
        """Jobs that wait for the writer."""
        return self._writer.pending

    @property
    def commits(self) -> int:
        """Transactions committed by the writer since the start."""
        return self._writer.commits

    @property
    def lost_appends(self) -> int:
        """Rows that could not be written and that nobody waited for: of `append_nowait`, and of callers who left."""
        return self._writer.lost

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` in a reader thread, in a transaction that can only read, and return its result.

        Raises what ``fn`` raises, database errors as `StorageError`.
        """
        if self._closed:
            raise StorageError("the storage is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn)

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Run ``fn`` in the writer thread and return its result after the commit.

        It has a savepoint of its own: what it raises undoes only its own work and is raised here, database errors as
        `StorageError`. It must not commit or roll back the connection, and must be quick: all writes wait for it.
        """
        return await self.submit(fn)

    def submit(
        self,
        fn: Callable[[Connection], T],
        until: float | None = None,
        *,
        beside: Sequence[NewRow] = (),
    ) -> asyncio.Future[T]:
        """Queue ``fn`` for the writer now; the future is that of `write`. ``until`` and ``beside`` as for `append`.

        Raises `StorageError` where the storage is closed. ``fn`` runs even where nobody waits for the future.
        """
        return self._queue(Job(None, fn, asyncio.get_running_loop().create_future()), until, beside)

    def submit_direct(
        self, fn: Callable[[Direct], T], until: float | None = None, *, beside: Sequence[NewRow] = ()
    ) -> asyncio.Future[T]:
        """`submit` for what happens on each request: ``fn`` gets the driver, and SQLAlchemy costs it nothing."""
        return self._queue(Job(ACT, fn, asyncio.get_running_loop().create_future()), until, beside)

    def submit_idle(self, fn: Callable[[Direct], T]) -> asyncio.Future[T]:
        """`submit_direct` for what needs no commit of its own: ``fn`` runs with whatever comes next, or at `hurry`."""
        job = Job(ACT, fn, asyncio.get_running_loop().create_future())
        self._writer.put_idle(job)
        assert job.future is not None
        return job.future

    def hurry(self) -> None:
        """Do what was submitted idly now."""
        self._writer.hurry()

    async def append(
        self,
        table: Table,
        row: Appended,
        until: float | None = None,
        *,
        beside: Sequence[NewRow] = (),
    ) -> None:
        """Insert one row and return after its commit. Raises `StorageError`.

        Columns not named are NULL; no column has a default in the database. A column there is not is a `ValueError`. A
        row whose waiter was cancelled, or waited until ``until`` (by the event loop's clock, give or take
        `SWEEP_SECONDS`), is written all the same. A row that is costly to work out may be a function, or several steps:
        the writer calls them before it begins. The rows ``beside`` it are in the same transaction, never in a later
        one; where the database refuses one of those, it is lost as with `append_nowait`, and the row itself is not.
        """
        insert = self._inserts.get(table) or self._insert(table)
        work = row if callable(row) else insert.values(row)
        await self._queue(Job(insert, work, asyncio.get_running_loop().create_future()), until, beside)

    def _queue(self, job: Job, until: float | None, beside: Sequence[NewRow]) -> asyncio.Future[Any]:
        assert job.future is not None
        self._writer.put((*(self._job(*each) for each in beside), job) if beside else job)
        if until is not None:
            loop = job.future.get_loop()
            if loop not in self._waiting:
                self._waiting[loop] = []
                loop.call_later(SWEEP_SECONDS, self._sweep, loop)
            self._waiting[loop].append((until, job.future))
        return job.future

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let go of those who have waited for too long: one timer for all, since hardly ever one has."""
        now = loop.time()
        waiting = [each for each in self._waiting.pop(loop) if not each[1].done()]
        for until, future in waiting:
            if now >= until:
                future.set_exception(StorageError("the row was not written in time"))
        if waiting:
            self._waiting[loop] = waiting
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def append_nowait(self, table: Table, row: Appended) -> None:
        """Insert one row later, for a caller that cannot wait. A failure is logged and counted in `lost_appends`."""
        job = self._job(table, row)
        try:
            self._writer.put(job)
        except StorageError as error:
            self._writer.lose(error)

    async def check(self) -> None:
        """Raise `StorageError` where the database cannot be written now. Free while commits succeed or fail."""
        if self._closed:
            raise StorageError("the storage is closed")
        if (why := self._writer.failing) is not None:
            raise StorageError(f"the last write failed: {why}")
        wrote_at = self._writer.wrote_at
        if wrote_at is not None and time.monotonic() - wrote_at < FRESH_SECONDS:
            return
        try:
            await asyncio.wait_for(self.write(touch), self._patience)
        except TimeoutError as error:
            raise StorageError(f"the database has not taken a write for {self._patience:g} seconds") from error

    async def aclose(self) -> None:
        """Write what is queued, then stop the threads and close the connections. A second call does nothing."""
        await asyncio.get_running_loop().run_in_executor(None, self.close)

    def close(self) -> None:
        """`aclose` from synchronous code; blocks."""
        self._closed = True
        self._writer.close()
        self._readers.shutdown()
        self._backend.reader.dispose()
        self._backend.writer.dispose()

    def _job(self, table: Table, row: Appended) -> Job:
        """A row that nobody waits for."""
        insert = self._inserts.get(table) or self._insert(table)
        return Job(insert, row if callable(row) else insert.values(row), None)

    def _insert(self, table: Table) -> Insert:
        insert = self._inserts[table] = Insert(table, self._backend.writer.dialect)
        return insert

    def _read(self, fn: Callable[[Connection], T]) -> T:
        try:
            with self._backend.reader.connect() as connection, connection.begin():
                return fn(connection)
        except SQLAlchemyError as error:
            raise StorageError(reason(error)) from error


def _backend(url: str, busy_seconds: float) -> Backend:
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite":
        return SqliteBackend(_path(rest), busy_seconds)
    if separator and scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        try:
            parsed = make_url(f"postgresql://{rest}")
        except (ArgumentError, ValueError) as error:
            # Without the text of the URL, which may hold a password.
            raise ConfigError("storage.url is not a valid postgresql:// address.") from error
        return PostgresBackend(parsed, busy_seconds)
    raise ConfigError("storage.url must begin with sqlite:/// or postgresql://.")


def _path(rest: str) -> Path:
    name = rest.removeprefix("/")
    if not rest.startswith("/") or not name or name == ":memory:" or "?" in name or "\0" in name:
        raise ConfigError(
            "storage.url must be sqlite:///FILE, or sqlite:////FOLDER/FILE from the root. "
            "A database in memory or options after '?' are not supported."
        )
    return Path(name)
