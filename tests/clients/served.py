"""A gateway as its users have it: ``sealgate serve`` in a process of its own, in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
    port = _free_port()
    # Providers of whoever runs the tests are not the tests' business.
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    program = [sys.executable, "-m", "sealgate"]
    with (folder / "out.txt").open("wb") as out, (folder / "err.txt").open("wb") as err:
        process = subprocess.Popen(
            [*prefix, *program, "serve", "--port", str(port), *arguments],
            cwd=folder,
            stdout=out,
            stderr=err,
            env=clean | environ,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(url, process, folder)
            first = re.search(r"sk-sealgate-[\w-]{43}", (folder / "out.txt").read_text())
            key = first[0] if first else new_key([*program, "keys", "create"], folder, clean | environ)
            yield Served(url, key, folder, process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=20)


def new_key(command: list[str], folder: Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        [*command, "--name", "test", "--json"], cwd=folder, check=True, capture_output=True, env=environ
    )
    return str(json.loads(done.stdout)["key"])


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(400):
        if process.poll() is not None:
            raise AssertionError((folder / "err.txt").read_text())
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the gateway did not become ready")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
