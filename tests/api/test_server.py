"""Starting, draining, ending: rows I1 and I2, and what an operator sees of a taken port or a failed start."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from tests.api.edge_server import PATIENCE, Application, Served, get, post, until

from sealgate.api.edge import EdgeLimits, server_config
from sealgate.api.server import EdgeServer, serve
from sealgate.errors import ConfigError

LIMITS = EdgeLimits(linger_seconds=0.2)


def refuses(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(PATIENCE)
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_an_idle_server_ends_at_once_and_lets_the_application_end() -> None:
    with Served(LIMITS, drain_seconds=60) as served, served.caller() as idle:
        idle.send(get("/echo"))
        idle.answer()
        since = time.monotonic()
        served.stop()
        served.join()

        assert time.monotonic() - since < PATIENCE / 2
        assert idle.ended() == "fin"
        assert served.heard == ["drain"]
        assert served.app.lifespan == ["startup", "shutdown"]


def test_i1_a_drain_refuses_new_connections_and_finishes_running_requests() -> None:
    with Served(LIMITS, drain_seconds=60) as served, served.caller() as caller:
        caller.send(get("/gate/drain") + get("/echo/behind"))
        assert served.saw("/gate/drain", "began")
        served.stop()
        assert until(lambda: refuses(served.port))
        assert served.heard == ["drain"]
        assert served.app.lifespan == ["startup"]
        served.app.gate.set()
        answer = caller.answer()

        assert answer.json["path"] == "/gate/drain"
        assert answer.headers["connection"] == "close"
        assert caller.ended() == "fin"
        served.join()
        assert ("/gate/drain", "ended") in served.app.journal
        assert ("/echo/behind", "began") not in served.app.journal
        assert served.app.lifespan == ["startup", "shutdown"]


def test_i1_a_request_that_is_still_arriving_is_served() -> None:
    with Served(LIMITS, drain_seconds=60) as served, served.caller() as caller:
        whole = post("/echo/arriving", b"hello")
        caller.send(whole[:20])
        assert until(lambda: served.open_connections() == 1)
        time.sleep(0.02)
        served.stop()
        assert until(lambda: refuses(served.port))
        caller.send(whole[20:])

        assert caller.answer().headers["connection"] == "close"
        served.join()


def test_i1_after_the_drain_streams_may_say_why_they_end() -> None:
    with Served(LIMITS, drain_seconds=0.05) as served, served.caller() as caller:
        caller.send(get("/stream/long"))
        assert served.saw("/stream/long", "began")
        served.stop()
        answer = caller.answer()

        assert answer.whole
        assert answer.body.endswith(b"data: shutting down\n\n")
        served.join()
        assert ("/stream/long", "cancelled", "shutting_down") in served.app.journal
        assert served.app.lifespan == ["startup", "shutdown"]


def test_i1_after_the_drain_a_request_without_an_answer_gets_503() -> None:
    with Served(LIMITS, drain_seconds=0.05) as served, served.caller() as caller:
        caller.send(get("/hang/drain"))
        assert served.saw("/hang/drain", "began")
        served.stop()
        answer = caller.answer()

        assert (answer.status, answer.code) == (503, "gateway_shutting_down")
        assert answer.headers["retry-after"] == "1"
        assert caller.ended() == "fin"


def test_a_caller_that_leaves_during_the_drain_has_left() -> None:
    with Served(LIMITS, drain_seconds=60) as served:
        with served.caller() as caller:
            caller.send(get("/hang/leaves"))
            assert served.saw("/hang/leaves", "began")
            served.stop()
        assert served.saw("/hang/leaves", "cancelled", "client_disconnected")
        served.join()


def test_i2_a_second_signal_ends_the_drain_but_not_the_application_s_end() -> None:
    with Served(LIMITS, drain_seconds=60) as served, served.caller() as caller:
        caller.send(get("/hang/hurried"))
        assert served.saw("/hang/hurried", "began")
        served.stop()
        served.stop()
        since = time.monotonic()
        served.join()

        assert time.monotonic() - since < PATIENCE / 2
        assert ("/hang/hurried", "cancelled", "shutting_down") in served.app.journal
        assert served.app.lifespan == ["startup", "shutdown"]
        assert served.heard == ["drain"]


def test_i2_a_second_signal_bounds_the_application_s_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealgate.api.server.LAST_WORDS", 0.1)
    application = Application()
    application.shutdown_seconds = 60
    with Served(LIMITS, application=application) as served:
        served.stop()
        served.stop()
        since = time.monotonic()
        served.join()

        assert time.monotonic() - since < PATIENCE / 2
        assert application.lifespan == ["startup"]


def test_a_reader_that_is_slow_gets_the_end_of_its_answer_during_the_drain() -> None:
    with Served(LIMITS, drain_seconds=60) as served, served.caller() as caller:
        caller.send(get("/big?5000000"))
        caller.head()
        served.stop()
        assert until(lambda: refuses(served.port))

        assert len(caller.buffer) + len(caller.rest()) >= 5_000_000
        served.join()


def test_crowded_connections_do_not_hold_the_end_up() -> None:
    limits = replace(LIMITS, max_connections=1, linger_seconds=60)
    with Served(limits, drain_seconds=60) as served, served.caller() as one, served.caller() as two:
        one.send(get("/echo"))
        one.answer()
        two.send(get("/echo"))
        assert two.answer().code == "overloaded"
        served.stop()

        served.join()


@pytest.mark.anyio
async def test_a_taken_port_is_an_error_that_names_the_address() -> None:
    application = Application()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(OSError, match=rf"^\[Errno \d+\] cannot listen on 127\.0\.0\.1:{port}: address already"):
            await serve(server_config(application, "127.0.0.1", port, LIMITS))
    assert application.lifespan == []


@pytest.mark.anyio
async def test_a_name_that_does_not_resolve_is_an_error_that_names_it() -> None:
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.host\.invalid:3000"):
        await serve(server_config(Application(), "no.such.host.invalid", 3000, LIMITS))


@pytest.mark.anyio
async def test_what_the_application_s_start_raises_is_raised() -> None:
    application = Application()
    application.startup_error = ConfigError("no good")

    with pytest.raises(ConfigError, match="no good"):
        await serve(server_config(application, "127.0.0.1", 0, LIMITS))


@pytest.mark.anyio
async def test_an_application_without_a_lifespan_is_an_error() -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        return

    with pytest.raises(RuntimeError, match=r"lifespan\.startup"):
        await serve(server_config(application, "127.0.0.1", 0, LIMITS))


@pytest.mark.anyio
async def test_a_start_that_is_told_to_stop_ends_without_listening() -> None:
    started = asyncio.Event()

    async def application(scope: object, receive: object, send: object) -> None:
        started.set()
        await asyncio.Event().wait()

    server = EdgeServer(server_config(application, "127.0.0.1", 0, LIMITS))
    running = asyncio.ensure_future(server.serve())
    await started.wait()
    server.stop()

    await asyncio.wait_for(running, PATIENCE)
    assert server.addresses == []


PROGRAM = """
import asyncio
from sealgate.api.edge import EdgeLimits, server_config
from sealgate.api.server import Hooks, run
from tests.api.edge_server import Application

def say(*words):
    print(*words, flush=True)

application = Application()
run(
    server_config(application, "127.0.0.1", 0, EdgeLimits()),
    drain_seconds=60,
    hooks=Hooks(lambda found: say("port", found[0][1]), lambda: say("drain"), lambda: say("reload")),
)
say(*application.lifespan)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reload_drain_and_end_the_process_with_0(number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = int(process.stdout.readline().split()[1])
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(get("/hang"))
            process.send_signal(signal.SIGHUP)
            assert process.stdout.readline() == "reload\n"
            process.send_signal(number)
            assert process.stdout.readline() == "drain\n"
            process.send_signal(number)
            said, complained = process.communicate(timeout=PATIENCE)

        assert said == "startup shutdown\n"
        assert complained == ""
        assert process.returncode == 0
