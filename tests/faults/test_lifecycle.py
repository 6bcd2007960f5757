"""The life of the process under load: start, reload, drain, hurried end (rows I1, I2, I4, I5, I6, I10)."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.clients.served import Served, served
from tests.faults.program import ending, free_port, hang_up, launch, refuses, rows, said, until, writer_of
from tests.gateway import CHAT, Reply, read_reply
from tests.punctual import Lateness

from sealgate.relay.load import FEWEST
from sealgate.testing import (
    RawClient,
    RawResponse,
    Received,
    ScriptedUpstream,
    Step,
    WaitFor,
    answer,
    http_request,
    silent,
)

pytestmark = pytest.mark.anyio

STREAMS = 50
DRAIN = 4
"""Seconds: those that are brisk end well within them, also where there is little time for each."""

SANDBOX = """
[server]
discover = false
[storage]
data_dir = "data"
[timeouts]
drain = {drain}
[providers.sandbox]
kind = "sandbox"
region = "local"
[models.brisk]
routes = [{{ provider = "sandbox", model = "slow-100" }}]
[models.slow]
routes = [{{ provider = "sandbox", model = "slow-1" }}]
"""

ACME = """
[server]
discover = false
[storage]
data_dir = "data"
[timeouts]
{timeouts}
[providers.acme]
kind = "openai"
base_url = "{url}"
api_key = "path::acme.key"
[models.{model}]
routes = [{{ provider = "acme", model = "test-model" }}]
"""


def port_of(gateway: Served) -> int:
    return int(gateway.url.rpartition(":")[2])


def client_of(gateway: Served) -> RawClient:
    return RawClient("127.0.0.1", port_of(gateway), timeout=40)


async def begin(client: RawClient, key: str, **fields: Any) -> RawResponse:
    """Ask, and wait for the head of the answer."""
    body = {"messages": [{"role": "user", "content": "Hello"}], **fields}
    await client.post(CHAT, body, {"authorization": f"Bearer {key}"})
    return await client.response()


async def ask(gateway: Served, **fields: Any) -> Reply:
    async with client_of(gateway) as client:
        return await read_reply(await begin(client, gateway.key, **fields))


@asynccontextmanager
async def streaming(gateway: Served, models: list[str]) -> AsyncIterator[list[RawResponse]]:
    """A stream from each of these models, all of which have begun."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(gateway)) for _ in models]
        asked = zip(clients, models, strict=True)
        responses = await asyncio.gather(*(begin(each, gateway.key, model=name, stream=True) for each, name in asked))
        assert all([await response.next_event() for response in responses])
        yield responses


async def test_i1_fifty_streams_drain_some_finish_and_the_others_end_honestly(tmp_path: Path) -> None:
    """SIGTERM: readiness false and nobody new at once, streams to the limit, then an error event; exit code 0."""
    (tmp_path / "sealgate.toml").write_text(SANDBOX.format(drain=DRAIN))
    with served(tmp_path) as gateway:
        models = ["brisk", "slow"] * (STREAMS // 2)
        probe = http_request("GET", "/health/ready")
        async with client_of(gateway) as late, AsyncExitStack() as stack:
            await late.send(probe[:-2])  # it has arrived where those have their answers that ask after it
            responses = await stack.enter_async_context(streaming(gateway, models))
            since = time.monotonic()
            gateway.process.send_signal(signal.SIGTERM)
            until(lambda: refuses(port_of(gateway)), every=0.002)
            assert time.monotonic() - since < DRAIN
            await late.send(probe[-2:])
            ready = await read_reply(await late.response())
            replies = await asyncio.gather(*(read_reply(response) for response in responses))
        code = gateway.process.wait(30)
        took = time.monotonic() - since

    assert (ready.status, ready.json["reasons"]) == (503, ["draining"])
    for name, reply in zip(models, replies, strict=True):
        assert reply.complete
        assert (reply.done, reply.code) == ((True, None) if name == "brisk" else (False, "gateway_shutting_down"))
    assert code == 0
    assert DRAIN <= took < DRAIN + 20, "a slow one would go on for minutes"
    found = rows(tmp_path / "data" / "sealgate.db")
    assert len({row["id"] for row in found}) == STREAMS
    assert Counter((row["model"], row["outcome"], row["code"]) for row in found) == {
        ("brisk", "ok", None): STREAMS // 2,
        ("slow", "truncated", "gateway_shutting_down"): STREAMS // 2,
    }


async def test_i2_a_second_signal_ends_fifty_streams_at_once_and_every_row_is_there(tmp_path: Path) -> None:
    (tmp_path / "sealgate.toml").write_text(SANDBOX.format(drain=60))
    with served(tmp_path) as gateway:
        async with streaming(gateway, ["slow"] * STREAMS) as responses:
            gateway.process.send_signal(signal.SIGTERM)
            until(lambda: refuses(port_of(gateway)), every=0.002)
            since = time.monotonic()
            gateway.process.send_signal(signal.SIGINT)
            replies = await asyncio.gather(*(read_reply(response) for response in responses))
        code = gateway.process.wait(30)
        took = time.monotonic() - since

    assert (code, took < 20) == (0, True), f"{code} after {took:.2f} s of a drain of sixty"
    assert {(reply.code, reply.done) for reply in replies} == {("gateway_shutting_down", False)}
    found = rows(tmp_path / "data" / "sealgate.db")
    assert Counter((row["outcome"], row["code"]) for row in found) == {("truncated", "gateway_shutting_down"): STREAMS}


@pytest.mark.long
async def test_i2_a_database_that_takes_no_rows_does_not_hold_the_hurried_end_up(tmp_path: Path) -> None:
    """At most two seconds are left for what must be written; then the process ends without it."""
    (tmp_path / "sealgate.toml").write_text(SANDBOX.format(drain=60))
    with served(tmp_path) as gateway:
        async with streaming(gateway, ["slow"] * 3) as responses:
            with closing(sqlite3.connect(tmp_path / "data" / "sealgate.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                gateway.process.send_signal(signal.SIGTERM)
                until(lambda: refuses(port_of(gateway)), every=0.002)
                since = time.monotonic()
                gateway.process.send_signal(signal.SIGTERM)
                replies = await asyncio.gather(*(read_reply(response) for response in responses))
                code = gateway.process.wait(30)
                took = time.monotonic() - since

    assert (code, took < 20) == (1, True), f"{code} after {took:.2f} s"
    assert not any(reply.done for reply in replies)
    assert said(tmp_path, "shutdown_cut")


GATE = """
import os, sys

class Gate:
    # The first import of the command line waits until the test lets it go on.
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            sys.meta_path.remove(self)
            with open(os.environ["GATE"]) as gate:
                gate.read()

sys.meta_path.insert(0, Gate())
"""


def gated(folder: Path) -> tuple[Path, dict[str, str]]:
    """A FIFO that holds a start at its imports, and the environment for it."""
    (folder / "sitecustomize.py").write_text(GATE)
    os.mkfifo(folder / "gate")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return folder / "gate", {"PYTHONPATH": path, "GATE": str(folder / "gate")}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_start_that_is_told_to_end_ends_at_once_and_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """With exit code 0 and without a traceback, however early."""
    gate, environ = gated(tmp_path)
    with ending(launch(tmp_path, environ=environ)) as process:
        held = writer_of(gate, process)
        process.send_signal(number)
        assert process.wait(30) == 0
        os.close(held)
    assert (tmp_path / "err.txt").read_text() == ""
    assert not (tmp_path / ".sealgate").exists(), "nothing was begun"


def test_a_hangup_during_the_start_does_not_end_it_and_is_remembered(tmp_path: Path) -> None:
    """It is held by a FIFO at its imports, and by another in place of its configuration."""
    gate, environ = gated(tmp_path)
    config, port = tmp_path / "config.toml", free_port()
    os.mkfifo(config)
    with ending(launch(tmp_path, "--config", str(config), "--port", str(port), environ=environ)) as process:
        held = writer_of(gate, process)
        hang_up(process)
        os.close(held)

        held = writer_of(config, process)
        hang_up(process)
        os.write(held, SANDBOX.format(drain=1).replace("models.slow", "models.first").encode())
        config.unlink()
        config.write_text(SANDBOX.format(drain=1).replace("models.slow", "models.second"))
        os.close(held)
        until(lambda: said(tmp_path, "reloaded"))
        key = re.search(r"sk-sealgate-[\w-]{43}", (tmp_path / "out.txt").read_text())
        assert key is not None
        gateway = Served(f"http://127.0.0.1:{port}", key[0], tmp_path, process)
        assert asyncio.run(ask(gateway, model="first")).code == "model_not_found"
        assert asyncio.run(ask(gateway, model="second", max_tokens=1)).status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


async def test_i4_i5_i6_a_reload_changes_routes_and_keys_and_what_runs_keeps_its_own(tmp_path: Path) -> None:
    """A stream over a route that is taken away, with a key that is rotated, finishes as it began.

    A bad file in between changes nothing, and the log says what is wrong with it.
    """
    go = asyncio.Event()

    def held(received: Received) -> Iterator[Step]:
        for number, step in enumerate(answer()(received)):
            if number == 3 and len(upstream.requests) == 1:
                yield WaitFor(go)
            yield step

    async with ScriptedUpstream(default=held) as upstream:
        file, key = tmp_path / "sealgate.toml", tmp_path / "acme.key"
        file.write_text(ACME.format(url=upstream.base_url, model="old", timeouts=""))
        key.write_text("key-of-monday")
        with served(tmp_path) as gateway:
            async with streaming(gateway, ["old"]) as [response]:
                file.write_text("[models.old\n")
                hang_up(gateway.process)
                [line] = until(lambda: said(tmp_path, "reload_refused"))
                assert "sealgate.toml is not valid TOML" in line["error"]
                assert (await ask(gateway, model="old")).status == 200

                file.write_text(ACME.format(url=upstream.base_url, model="new", timeouts=""))
                key.write_text("key-of-tuesday")
                gateway.process.send_signal(signal.SIGHUP)
                async with asyncio.timeout(40):
                    while (await ask(gateway, model="new")).status != 200:  # noqa: ASYNC110 - nobody tells of it
                        await asyncio.sleep(0.02)
                assert (await ask(gateway, model="old")).code == "model_not_found"
                go.set()
                assert (await read_reply(response)).done
    sent = [received.headers["authorization"] for received in upstream.requests]
    assert sent == ["Bearer key-of-monday", "Bearer key-of-monday", "Bearer key-of-tuesday"]
    outcomes = Counter((row["model"], row["outcome"]) for row in rows(tmp_path / "data" / "sealgate.db"))
    assert (outcomes["old", "ok"], outcomes["new", "ok"]) == (2, 1)


def _spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@contextmanager
def starved(seconds: float, loops: int = 6) -> Iterator[None]:
    """More processes than processors compute without a pause, for that long."""
    spawn = multiprocessing.get_context("fork")
    spinners = [spawn.Process(target=_spin, args=(seconds,), daemon=True) for _ in range(loops)]
    for spinner in spinners:
        spinner.start()
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.terminate()
            spinner.join()


async def timed(gateway: Served, **fields: Any) -> tuple[str | None, float]:
    """The code of the answer and the seconds it took."""
    since = time.monotonic()
    reply = await ask(gateway, **fields)
    return reply.code, time.monotonic() - since


@pytest.mark.long
async def test_i10_deadlines_are_kept_while_the_processors_are_busy(tmp_path: Path) -> None:
    """A whole answer's limit and a stream's limit on silence, both two seconds, are kept to one second.

    No more are asked at once than there is room for however late the gateway's loop is.
    """
    async with ScriptedUpstream(default=silent()) as upstream:
        (tmp_path / "sealgate.toml").write_text(
            ACME.format(url=upstream.base_url, model="m", timeouts="total = 2\ngap = 2\nfirst_content = 2")
        )
        (tmp_path / "acme.key").write_text("key-of-monday")
        with served(tmp_path) as gateway:
            with starved(12):
                lateness, measured = Lateness(), []
                for _ in range(3):
                    measured += await asyncio.gather(
                        *(timed(gateway, model="m", stream=stream) for stream in [False, True] * (FEWEST // 2))
                    )
            measured.append(await timed(gateway, model="m"))
            late = lateness.end()
    assert {code for code, _ in measured} == {"upstream_timeout"}
    # Both processes are held up: this one is as late as the other, and the answers wait for one another.
    assert all(2 - 0.1 <= seconds <= 2 + 1 + 4 * late for _, seconds in measured), (late, measured)
    assert len(rows(tmp_path / "data" / "sealgate.db")) == 3 * FEWEST + 1
