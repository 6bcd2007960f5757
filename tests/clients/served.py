"""A gateway as its users have it: ``sealgate serve`` in a process of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 40.0
"""Seconds after which a gateway that should listen does not."""


@dataclass
class Served:
    """Where it listens, and a key for it."""

    url: str
    key: str
    folder: Path
    process: subprocess.Popen[bytes]


@contextmanager
def served(folder: Path, *arguments: str, prefix: Sequence[str] = (), **environ: str) -> Iterator[Served]:
    """Start it, wait until it is ready, give the key of a first start or a new one, and stop it as an operator would.

    ``prefix`` is a command that runs the gateway in its place, as in ``sh -c 'ulimit -n 64; exec "$@"' sh``. A test may
    have ended the process itself.
    """
    # Providers of whoever runs the tests are not the tests' business.
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    program = [sys.executable, "-m", "sealgate"]
    with (folder / "out.txt").open("wb") as out, (folder / "err.txt").open("wb") as err:
        process = subprocess.Popen(
            [*prefix, *program, "serve", "--port", "0", *arguments],
            cwd=folder,
            stdout=out,
            stderr=err,
            env=clean | environ,
        )
        try:
            said = _wait_until_listening(process, folder)
            port = re.search(r"^  API +https?://\S+:(\d+)/v1$", said, re.MULTILINE)
            assert port is not None, said
            first = re.search(r"sk-sealgate-[\w-]{43}", said)
            key = first[0] if first else new_key([*program, "keys", "create"], folder, clean | environ)
            yield Served(f"http://127.0.0.1:{port[1]}", key, folder, process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def new_key(command: list[str], folder: Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        [*command, "--name", "test", "--json"], cwd=folder, check=True, capture_output=True, env=environ
    )
    return str(json.loads(done.stdout)["key"])


def _wait_until_listening(process: subprocess.Popen[bytes], folder: Path) -> str:
    """What it prints in one piece when it listens. The port is its own choice: a free one that is looked for before
    may be somebody else's by then."""
    end = time.monotonic() + PATIENCE
    while "Sealgate is listening." not in (said := (folder / "out.txt").read_text()) or not said.endswith("\n"):
        if process.poll() is not None:
            raise AssertionError((folder / "err.txt").read_text())
        assert time.monotonic() < end, "the gateway did not become ready"
        time.sleep(0.02)
    return said
