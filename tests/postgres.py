"""A real PostgreSQL server for the tests, from the ``pgserver`` wheel, on a Unix socket in a temporary folder.

The binaries are started here rather than through that package: it keeps servers alive between runs, creates a system
user where it runs as root, and opens the permissions of every folder on the way. PostgreSQL refuses to be root, so a
root test run starts it as ``nobody``, which costs a copy of the binaries where nobody may not reach them.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

FAST = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=60"]
"""Durability is the server's own business and tested by its authors; here it only costs time."""


class PostgresServer:
    """A running server. ``create()`` gives the URL of a new, empty database."""

    def __init__(self, folder: Path, binaries: Path, user: int | None) -> None:
        self._folder = folder
        self._binaries = binaries
        self._user = user
        self._databases = 0
        self._run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        self.start()

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def create(self) -> str:
        import psycopg

        self._databases += 1
        name = f"test_{os.getpid()}_{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def start(self) -> None:
        settings = [part for setting in (*FAST, "listen_addresses=") for part in ("-c", setting)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", "data", "-k", str(self._folder), *settings],
                cwd=self._folder,
                user=self._user,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self._wait()

    def stop(self) -> None:
        """End every session at once, as an administrator's restart does."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)

    def _wait(self) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end and self._process.poll() is None:
            if "ready" in self._status():
                return
            time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL did not start: {(self._folder / 'log').read_text()}")

    def _status(self) -> str:
        try:
            return (self._folder / "data/postmaster.pid").read_text()
        except OSError:
            return ""

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._binaries / program, *arguments], cwd=self._folder, user=self._user, check=True, capture_output=True
        )


def _reachable(folder: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def _binaries(folder: Path, user: int | None) -> Path:
    found = importlib.util.find_spec("pgserver")
    if found is None or found.origin is None:
        pytest.skip("the pgserver wheel is not installed")
    install = Path(found.origin).with_name("pginstall")
    if user is not None and not _reachable(install / "bin"):
        install = Path(shutil.copytree(install, folder / "pginstall"))
    return install / "bin"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server, started with the first test that asks for it."""
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None
    # Not pytest's own folder: the path of a socket may have 107 bytes only, and nobody must reach it.
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as name:
        folder = Path(name)
        if user is not None:
            os.chown(folder, user, -1)
        server = PostgresServer(folder, _binaries(folder, user), user)
        try:
            yield server
        finally:
            server.stop()
