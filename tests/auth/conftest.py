"""A migrated database of either engine for each test, a storage that can be broken, and clocks that tests turn."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection
from tests.postgres import PostgresServer

from sealgate.auth.keys import KeyStore
from sealgate.errors import StorageError
from sealgate.storage import Storage, open_storage
from sealgate.storage.tables import metadata

T = TypeVar("T")
PEPPER = b"a pepper for tests, of 32 or more characters"


@dataclass
class Clock:
    """Seconds that pass only when a test says so; called like `time.time` and `time.monotonic`."""

    now: float = 1_900_000_000.25

    def __call__(self) -> float:
        return self.now

    @property
    def microseconds(self) -> int:
        return int(self.now * 1_000_000)


class BreakableStorage:
    """A storage that fails while ``broken`` and never answers while ``stalled``; lets a test act amid a read."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.broken = False
        self.stalled = False
        self.reads = 0
        self.after_read: Callable[[], Any] | None = None

    async def read(self, fn: Callable[[Connection], T]) -> T:
        self.reads += 1
        if self.broken:
            raise StorageError("the database is gone")
        if self.stalled:
            await asyncio.Event().wait()
        result = await self.storage.read(fn)
        if self.after_read is not None:
            act, self.after_read = self.after_read, None
            await act()
        return result

    async def write(self, fn: Callable[[Connection], T]) -> T:
        if self.broken:
            raise StorageError("the database is gone")
        return await self.storage.write(fn)


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresServer) -> str:
    """The address of a database with all tables."""
    url = postgres.create()
    open_storage(url).close()
    return url


def emptied(url: str) -> str:
    """The same database without a row; much faster than another one."""
    import psycopg

    with psycopg.connect(url) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(f"DELETE FROM {table.name}")
    return url


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'sealgate.db')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty database, once for each engine."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_url")
    return emptied(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def storage(sqlite_url: str) -> AsyncIterator[Storage]:
    opened = open_storage(sqlite_url)
    yield opened
    await opened.aclose()


@pytest.fixture
async def any_storage(any_url: str) -> AsyncIterator[Storage]:
    opened = open_storage(any_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def breakable(storage: Storage) -> BreakableStorage:
    return BreakableStorage(storage)


@pytest.fixture
def clock() -> Clock:
    """The time of day."""
    return Clock()


@pytest.fixture
def ticks() -> Clock:
    """The monotonic clock."""
    return Clock(1000.0)


@pytest.fixture
async def store(breakable: BreakableStorage, clock: Clock, ticks: Clock) -> AsyncIterator[KeyStore]:
    """A started store that polls by itself every 10 ms, on SQLite."""
    made = KeyStore(breakable, PEPPER, clock=clock, monotonic=ticks, poll_seconds=0.01)
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
def seconds() -> Callable[[], float]:
    return time.perf_counter
