"""`sealgate serve` as a process that can be started, signalled and killed at any moment, its ledger from outside."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PATIENCE = 50.0
"""Seconds after which something that should have happened has not."""


def free_port() -> int:
    """A port for several listeners, one after the other.

    It is below those that the system gives to whoever asks for any, so that in between no server of another test gets
    it, and with it the requests of these callers.
    """
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", secrets.randbelow(10_000) + 20_000))
            return int(probe.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """This process's, without the providers of whoever runs the tests."""
    ours = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return {**ours, **more}


def launch(
    folder: Path, *arguments: str, environ: Mapping[str, str] | None = None, log: str = "err.txt"
) -> subprocess.Popen[bytes]:
    """Start `sealgate serve` in that folder; what it says goes to ``out.txt`` and ``log`` there."""
    with (folder / "out.txt").open("ab") as out, (folder / log).open("ab") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "sealgate", "serve", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment(**(environ or {})),
        )


NURSERY = """
import os, signal, sys
import uvicorn, uvloop
import sealgate.app, sealgate.cli, sealgate.storage.migrate
from sealgate.__main__ import main

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, name in enumerate((os.devnull, "out.txt", "err.txt")):
            os.dup2(os.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT), number)
        sys.argv = ["sealgate", "serve", *line.split()]
        main()
    finally:
        os._exit(1)
"""


class Child:
    """A process that is no child of ours, with the names of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """None while it lives."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return -1
        return None

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float) -> None:
        until(lambda: self.poll() is not None, timeout, every=0.001)


@contextmanager
def nursery(folder: Path) -> Iterator[Callable[..., Child]]:
    """Gives a function that starts `sealgate serve` like `launch`, forked where all imports have been made already."""
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    commands, pids = process.stdin, process.stdout

    def start(_: Path, *arguments: str) -> Child:
        commands.write(" ".join(arguments) + "\n")
        commands.flush()
        return Child(int(pids.readline()))

    with process:
        yield start
        commands.close()


@contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """However the block is left, the process is gone."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE)


def until(holds: Callable[[], T], seconds: float = PATIENCE, every: float = 0.01) -> T:
    """The first true value of ``holds``."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(every)
    return found


def refuses(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as sock:
        sock.settimeout(2)
        return sock.connect_ex(("127.0.0.1", port)) != 0


def writer_of(fifo: Path, process: subprocess.Popen[bytes] | Child) -> int:
    """The writing end of a FIFO, once that process has come to read it."""

    def opened() -> list[int]:
        assert process.poll() is None, f"the process has ended: {process.returncode}"
        try:
            return [os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)]
        except OSError:
            return []

    return until(opened)[0]


def rows(database: Path) -> list[dict[str, Any]]:
    """The ledger, in the order it was written."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM ledger ORDER BY rowid")]


def said(folder: Path, event: str, log: str = "err.txt") -> list[dict[str, Any]]:
    """The log's lines about that event."""
    lines = [json.loads(line) for line in (folder / log).read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def hang_up(process: subprocess.Popen[bytes]) -> None:
    """SIGHUP, which must not end it."""
    process.send_signal(signal.SIGHUP)
    time.sleep(0.03)
    assert process.poll() is None, "SIGHUP has ended the process"
