"""Both engines for the contract suite, and a child process for the tests that kill one."""

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, Table, create_engine, func, select
from sqlalchemy.pool import NullPool
from tests.postgres import PostgresServer

from sealgate.storage import Storage, open_storage
from sealgate.storage.tables import ledger, metadata

ROOT = Path(__file__).parents[2]
NO_MOUNT = 77


class Outside:
    """A second program at the same database: looks at what is committed, and can hold a lock."""

    def __init__(self, url: str) -> None:
        self.engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)

    def count(self, table: Table = ledger) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(table)).scalar_one())

    def ids(self) -> set[str]:
        with self.engine.connect() as connection:
            return set(connection.execute(select(ledger.c.id)).scalars())

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def lock(self) -> Connection:
        """Keep every writer of the ledger out until the connection is closed."""
        connection = self.engine.connect()
        sqlite = self.engine.dialect.name == "sqlite"
        connection.exec_driver_sql("BEGIN IMMEDIATE" if sqlite else "LOCK TABLE ledger, meta IN EXCLUSIVE MODE")
        return connection


class Gate:
    """Holds the writer inside a function, so that what is queued meanwhile becomes one batch."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _connection: Connection) -> None:
        self.entered.set()
        assert self.opened.wait(10)


async def hold(storage: Storage, gate: Gate) -> "asyncio.Task[None]":
    """Return when the writer is inside the gate; the task ends when the gate is opened."""
    task = asyncio.create_task(storage.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    return task


@pytest.fixture(scope="session")
def database(postgres: PostgresServer) -> str:
    """One PostgreSQL database for many tests: making one each time would take most of their time."""
    return postgres.create()


def empty(url: str) -> None:
    """Take out what a test left in the shared database, extra tables too."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        there = {name for (name,) in found}
        for name in there - metadata.tables.keys() - {"alembic_version"}:
            connection.execute(f"DROP TABLE {name}")
        for table in reversed(metadata.sorted_tables):
            if table.name in there:
                connection.execute(f"DELETE FROM {table.name}")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each engine without a row."""
    if request.param == "sqlite":
        (folder := tmp_path / "data").mkdir()
        return f"sqlite:///{shutil.copy(request.getfixturevalue('sqlite_template'), folder / 'sealgate.db')}"
    shared: str = request.getfixturevalue("database")
    empty(shared)
    return shared


@pytest.fixture
def storage(url: str) -> Iterator[Storage]:
    """An open storage that gives up on a lock soon."""
    storage = open_storage(url, busy_seconds=0.1)
    yield storage
    storage.close()


@pytest.fixture
def outside(url: str, storage: Storage) -> Iterator[Outside]:
    outside = Outside(url)
    yield outside
    outside.engine.dispose()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python children: a program text, its arguments, and a command to put in front of the interpreter.

    Those still alive at the end are killed.
    """
    children: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str, within: Sequence[str] = ()) -> subprocess.Popen[str]:
        command = [*within, sys.executable, "-W", "error", "-c", program, *arguments]
        pipe = subprocess.PIPE
        child = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate()


def mounted(command: str, folder: Path) -> list[str]:
    """For ``within``: a user and mount namespace where ``command`` was run with ``folder`` as its ``$1``.

    Ends with the status `NO_MOUNT` where this system does not allow that.
    """
    probe = f'unshare -rm true 2>/dev/null || exit {NO_MOUNT}; exec unshare -rm "$@"'
    script = f'{{ {command}; }} 2>/dev/null || exit {NO_MOUNT}; shift; exec "$@"'
    return ["sh", "-c", probe, "sh", "sh", "-c", script, "sh", str(folder)]
