"""The processes of one run: started pinned, ended by their own ids, whatever happens to the bench."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.machine import ROOT

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Child:
    """A process and the file that takes its output."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.log = log
        self._process = process

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def tail(self, characters: int = 2000) -> str:
        return self.log.read_text(errors="replace")[-characters:].strip()

    def ask_to_end(self) -> None:
        if self.alive:
            self._process.send_signal(signal.SIGTERM)

    def end(self, patience: float = 5.0) -> None:
        """SIGTERM, then SIGKILL for one that does not follow in ``patience`` seconds."""
        self.ask_to_end()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Children:
    """All of them. A context manager: leaving it ends those that still run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all: list[Child] = []

    def start(self, name: str, command: Sequence[str], core: int, *, cwd: Path = ROOT) -> Child:
        log = self.folder / f"{name}-{len(self._all)}.log"

        def settle() -> None:
            os.sched_setaffinity(0, {core})
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # even if the bench itself is killed

        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=_environment(os.environ, self.folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the bench alone, which then ends its children in order
                preexec_fn=settle,  # noqa: PLW1509 - the bench has one thread
            )
        child = Child(name, process, log)
        self._all.append(child)
        return child

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._all:
            child.ask_to_end()
        for child in self._all:
            child.end()


def _environment(own: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Ours without what would configure the gateway or send its requests through a proxy.

    Bytecode is kept, as an installation keeps it, in a folder of the run: so that no start compiles but the first.
    """
    unwanted = ("SEALGATE_", "OPENAI_", "ANTHROPIC_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "PYTHONDONTWRITE")
    found = {name: value for name, value in own.items() if not name.upper().startswith(unwanted)}
    return {**found, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
