"""`sealgate serve` as a process that can be started, signalled and killed at any moment, its ledger from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0
"""Seconds after which something that should have happened has not."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
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


def writer_of(fifo: Path, process: subprocess.Popen[bytes]) -> int:
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
