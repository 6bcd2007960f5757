"""Row I8: a process that runs out of file descriptors, whole, on both event loops, without a gateway in it."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sealgate.api import listeners

ROOT = Path(__file__).parents[2]

PROGRAM = textwrap.dedent(
    """
    import asyncio, resource, sys
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    from tests.api.edge_server import LOOPS, Application
    from sealgate.api.edge import EdgeLimits, server_config
    from sealgate.api.server import EdgeServer, Hooks

    def listening(addresses):
        print(addresses[0][1], flush=True)

    config = server_config(Application(), "127.0.0.1", 0, EdgeLimits())
    with asyncio.Runner(loop_factory=LOOPS[sys.argv[1]]) as runner:
        runner.run(EdgeServer(config, drain_seconds=0, hooks=Hooks(on_listening=listening)).serve())
    """
)
ASK = b"GET /echo HTTP/1.1\r\nHost: gate.example\r\n\r\n"


@contextmanager
def server(loop: str) -> Iterator[tuple[int, int]]:
    """Port and process id of a server that may open 64 files."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, loop], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def answered(caller: socket.socket, seconds: float) -> bool:
    """Whether there is an answer to a request; it must be one of ours."""
    caller.settimeout(seconds)
    try:
        found = caller.recv(4096)
    except TimeoutError:
        return False
    assert found.startswith(b"HTTP/1.1 200 "), found
    return True


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_i8_without_descriptors_accepting_pauses_costs_nothing_and_goes_on(loop: str) -> None:
    with server(loop) as (port, pid), ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(60)]
        for caller in callers:
            caller.sendall(ASK.replace(b"/echo", b"/hang"))  # nobody's connection comes free by itself
        time.sleep(0.3)
        opened = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        assert opened <= 64 - 4, "some are left for the rest of the house"
        begun = cpu_seconds(pid)
        time.sleep(0.5)
        assert cpu_seconds(pid) - begun < 0.1
        late = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        late.sendall(ASK)
        assert not answered(late, 0.1), "it waits in the kernel's queue, and is not reset"
        for caller in callers:
            caller.close()
        assert answered(late, 3)
        again = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        again.sendall(ASK)
        assert answered(again, 3)


def test_i8_connections_that_are_only_kept_make_room_for_those_that_wait() -> None:
    """A hundred callers that keep their connections are all served by a process that has 64 descriptors."""
    with server("uvloop") as (port, _), ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(100)]
        for caller in callers:
            caller.sendall(ASK)
        assert all(answered(caller, 5) for caller in callers)


def test_the_soft_limit_is_raised_to_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: asked.append(both))
    listeners.raise_limit()
    assert asked == [(4096, 4096)]


def test_a_limit_that_is_high_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (listeners.MOST_WANTED, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: pytest.fail("it was set"))
    listeners.raise_limit()
