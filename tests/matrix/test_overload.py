"""Too much at once: rows D6, G9 and I9, and the promise that a flood is its author's problem (P10)."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.gateway import CHAT, Serve, read_reply
from tests.matrix.crowd import Gateway, Reply, after, ask, caller, gateway, request, say, ticking, until
from tests.punctual import Lateness

from sealgate.api import pulse
from sealgate.config import Server, load
from sealgate.relay.load import GROWN
from sealgate.telemetry import logs
from sealgate.telemetry.registry import METRICS
from sealgate.testing import ScriptedUpstream, answer, delayed, silent

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


SMALL = Server(port=0, discover=False, max_in_flight=1)


async def test_d6_more_than_the_bound_is_refused_at_once_and_health_never_is(serve: Serve) -> None:
    free = asyncio.Event()
    async with (
        ScriptedUpstream(default=after(free, answer("Hi"))) as upstream,
        serve({"acme": upstream}, server=SMALL) as running,
    ):
        first = asyncio.create_task(running.chat())
        await upstream.wait_for_requests(1)
        refused = await running.chat()
        assert (refused.status, refused.code) == (503, "overloaded")
        assert refused.headers["retry-after"] in ("1", "2", "3")
        assert "x-should-retry" not in refused.headers
        assert (await running.get("/health")).status == 200
        assert (await running.get("/health/ready")).status == 200
        metrics = (await running.get("/metrics")).body.decode()
        assert 'sealgate_requests_shed_total{reason="in_flight"} 1.0' in metrics
        assert (await running.get("/v1/models")).status == 200
        assert (await running.post(CHAT, running.ask(), {"authorization": "Bearer no"})).status == 401
        free.set()
        assert (await first).status == 200
        assert (await running.chat()).status == 200
        assert len(await running.rows(2)) == 2, "what is refused leaves no row: nothing was begun"
    assert running.hall.load.in_flight == 0


async def test_a_refused_request_s_body_is_not_read_for_it(serve: Serve) -> None:
    """The refusal is there before the body is; a small one may follow on the same connection."""
    async with (
        ScriptedUpstream(default=silent()) as upstream,
        serve({"acme": upstream}, server=SMALL) as running,
        running.client() as busy,
        running.client() as late,
    ):
        await running.begin(busy)
        await upstream.wait_for_requests(1)
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {running.key}\r\ncontent-length: 1000\r\n\r\n"
        await late.send(head.encode())
        assert (await read_reply(await late.response())).code == "overloaded"


async def test_every_way_to_end_gives_the_place_back(serve: Serve) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}, server=SMALL) as running:
        for body in ({"messages": 1}, running.ask(model="unknown"), running.ask(), running.ask(stream=True)):
            await running.post(CHAT, body)
            assert running.hall.load.in_flight == 0
        upstream.enqueue(silent())
        async with running.client() as client:
            await running.begin(client)
            await upstream.wait_for_requests(3)
            assert running.hall.load.in_flight == 1
        async with asyncio.timeout(20):
            while running.hall.load.in_flight:  # noqa: ASYNC110 - the caller has left, nobody tells
                await asyncio.sleep(0.005)
        assert (await running.chat()).status == 200


async def test_d6_short_memory_sheds_and_says_so(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse.memory, "allowed", lambda: 1000)  # the heart goes on beating, and finds the same
    monkeypatch.setattr(pulse.memory, "resident", lambda: 900)
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        load = running.hall.load
        for _ in range(8):
            load.enter("flood")
        load.beat(0, 0.9)
        replies = [await running.chat() for _ in range(3)]
        assert Counter(reply.status for reply in replies) == {200: 3}, "who holds nothing is below his share"
        for _ in range(4):
            load.enter("default")
        assert (await running.chat()).code == "overloaded", "now he holds half of what there is room for"
        assert load.refused["memory"] == 1


async def test_a_reload_changes_the_bound_and_a_request_keeps_its_place(serve: Serve) -> None:
    async with ScriptedUpstream(default=silent()) as upstream, serve({"acme": upstream}) as running:
        settings = running.hall.settings
        async with running.client() as busy:
            await running.begin(busy)
            await upstream.wait_for_requests(1)
            await running.gateway.reload(lambda: replace(settings, server=replace(settings.server, max_in_flight=1)))
            assert (await running.chat()).code == "overloaded"


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_p8_a_thousand_slow_senders_do_not_slow_the_others_down(tmp_path: Path) -> None:
    """They send a head a byte at a time, and are closed after the time that a head may take."""
    async with gateway(tmp_path, answer("Hi"), timeouts="header = 6") as at:

        async def usual() -> tuple[float, float]:
            """What a request takes, in the middle, and how much the processor has to do for the gateway meanwhile."""
            begun, at_work = time.monotonic(), at.cpu_seconds
            async with caller(at) as mine:
                seconds = statistics.median([(await mine.ask(request(at.other))).seconds for _ in range(300)])
            allowed = 0.1 * (time.monotonic() - begun)  # for a thousand bytes in each second
            return seconds, max(0.0, at.cpu_seconds - at_work - allowed)

        await usual()
        before = await usual()
        slow = []
        try:
            for _ in range(1000):
                reader, writer = await asyncio.open_connection("127.0.0.1", at.port)
                writer.write(b"P")
                slow.append((reader, writer))
            begun = time.monotonic()
            trickling = [asyncio.create_task(_trickle([writer for _, writer in slow], b"OST /v1/chat/completions"))]
            during = await usual()
            ends = await asyncio.wait_for(asyncio.gather(*(_said(reader) for reader, _ in slow)), 40)
            took = time.monotonic() - begun
            trickling[0].cancel()
        finally:
            for _, writer in slow:
                writer.transport.abort()
        say(f"median {before[0] * 1e3:.2f} ms alone, {during[0] * 1e3:.2f} ms beside; all closed after {took:.1f} s")
        assert took < 6 + 12, "half of a head at this pace"
        assert set(ends) == {b""}, "closed without a word: there was no request line"
        afterwards = await usual()
        base = [max(both) for both in zip(before, afterwards, strict=True)]
        assert during[0] < 2 * base[0] + 0.03, "where somebody else uses the processors too, all take longer"
        assert during[1] < 2 * base[1] + 0.1
        assert at.metric("sealgate_edge_refusals_total", code="request_timeout") == 1000


async def _said(reader: asyncio.StreamReader) -> bytes:
    """All that comes before the connection is closed, which may cross a byte that is still sent."""
    said = b""
    try:
        while piece := await reader.read(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


async def _trickle(writers: list[asyncio.StreamWriter], text: bytes) -> None:
    for byte in text:
        await asyncio.sleep(1)
        for writer in writers:
            if not writer.transport.is_closing():
                writer.write(bytes((byte,)))


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_p10_a_flood_leaves_the_other_customer_95_percent_and_refusals_are_fast_and_cheap(tmp_path: Path) -> None:
    """One customer with 150 callers against room for 40; another one with five, who do not notice."""
    async with gateway(tmp_path, delayed(0.2, answer("Hi")), server="max_in_flight = 40") as at:
        for _ in range(5):
            late = at.metric("sealgate_requests_shed_total", reason="event_loop")
            end = time.monotonic() + 5
            flood, quiet = await asyncio.gather(_keep_asking(at, at.key, 150, end), _keep_asking(at, at.other, 5, end))
            if at.metric("sealgate_requests_shed_total", reason="event_loop") == late:
                break  # else the machine gave the gateway no time, and whoever came was turned away for that
        refused = [seconds for status, seconds in flood if status == 503]
        statuses = Counter(status for status, _ in flood)
        say(
            f"flood {statuses}, quiet {Counter(s for s, _ in quiet)}, refusal {statistics.median(refused) * 1e3:.1f} ms"
        )
        assert set(statuses) == {200, 503}
        assert statuses[503] > 100
        assert sum(status == 200 for status, _ in quiet) / len(quiet) >= 0.95, Counter(s for s, _ in quiet)
        assert len(quiet) > 20
        served = statistics.median(seconds for status, seconds in flood if status == 200)
        assert statistics.median(refused) < served / 4, "the test's own callers share the time"
        assert at.metric("sealgate_requests_shed_total", reason="in_flight") >= statuses[503]


async def _keep_asking(at: Gateway, key: str, callers: int, end: float) -> list[tuple[int, float]]:
    """Status and seconds of each answer; who is refused comes back after 0.2 s instead of the seconds he is asked."""
    found: list[tuple[int, float]] = []

    async def one() -> None:
        async with caller(at) as mine:
            while time.monotonic() < end:
                reply = await mine.ask(request(key))
                found.append((reply.status, reply.seconds))
                await asyncio.sleep(0.2 if reply.status == 503 else 0)

    await asyncio.gather(*(one() for _ in range(callers)))
    return found


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_d6_what_is_refused_costs_a_small_part_of_what_is_served(tmp_path: Path) -> None:
    async with gateway(tmp_path, delayed(0, answer("Hi")), server="max_in_flight = 8") as at:

        async def cost(count: int, wanted: int) -> float:
            async def one() -> None:
                async with caller(at) as mine:
                    for _ in range(count // 8):
                        assert (await mine.ask(what)).status == wanted

            what, begun = request(at.key, content="word " * 400), at.cpu_seconds
            await asyncio.gather(*(one() for _ in range(8)))
            return (at.cpu_seconds - begun) / count

        await cost(200, 200)
        served = await cost(1200, 200)
        free = asyncio.Event()
        at.upstream.default = after(free, answer("Hi"))
        held = [asyncio.create_task(ask(at, at.key)) for _ in range(8)]
        assert await until(lambda: len(at.upstream.requests) == 1408)
        refused = await cost(2400, 503)
        free.set()
        assert {reply.status for reply in await asyncio.gather(*held)} == {200}
        say(f"served {served * 1e6:.0f} µs, refused {refused * 1e6:.0f} µs")
        assert refused < served / 2


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_g9_a_thousand_connections_in_a_second_are_answered_and_streams_go_on(tmp_path: Path) -> None:
    async with gateway(tmp_path, ticking(100, 0.05)) as at:
        streams = [asyncio.create_task(ask(at, at.other, stream=True)) for _ in range(20)]
        assert await until(lambda: len(at.upstream.requests) == 20)
        lateness = Lateness()
        await asyncio.sleep(0.5)
        at.upstream.default = delayed(0.1, answer("Hi"))
        begun = time.monotonic()

        async def storm(number: int) -> Reply:
            await asyncio.sleep(begun + number / 1000 - time.monotonic())
            return await ask(at, at.key)

        replies = await asyncio.gather(*(storm(number) for number in range(1000)))
        took = time.monotonic() - begun
        statuses = Counter(reply.status for reply in replies)
        assert set(statuses) <= {200, 503}
        assert statuses[200] > 100
        assert all("retry-after" in reply.headers for reply in replies if reply.status == 503)
        gaps = []
        for reply in await asyncio.gather(*streams):
            assert reply.status == 200
            assert reply.body.endswith(b"data: [DONE]\n\n")
            assert reply.body.count(b'"content":"tick') == 100
            gaps += [later - sooner for sooner, later in zip(reply.arrivals, reply.arrivals[1:], strict=False)]
        say(f"storm {statuses} in {took:.1f} s; gaps of 50 ms: most {max(gaps):.3f}")
        assert max(gaps) < 2 + 4 * lateness.end(), "the crowd and the provider share the machine"


@pytest.mark.long
@pytest.mark.timeout(120)
def test_i9_a_blocked_loop_is_reported_sheds_what_has_piled_up_and_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop of a whole gateway is held up for real; a crowd comes meanwhile."""
    out = io.BytesIO()
    monkeypatch.setattr(logs, "configure", partial(logs.configure, out=out))
    serve.heeds_lag = True
    threads = threading.active_count()
    # The room stays small until the crowd is there, however long that takes, and nobody leaves it before.
    monkeypatch.setattr("sealgate.relay.load.GROWN", 1.0)
    with serve.in_thread({"acme": delayed(1, answer("Hi"))}) as at:
        at.loop.call_soon_threadsafe(holds_the_loop_up, 4)
        time.sleep(0.1)
        callers = [socket.create_connection((at.host, at.port)) for _ in range(60)]
        for each in callers:
            each.sendall(request(at.key))
        statuses = Counter(each.recv(65536)[9:12] for each in callers)
        for each in callers:
            each.close()
        assert set(statuses) == {b"200", b"503"}
        assert statuses[b"503"] >= 10
        assert at.hall.load.refused["event_loop"] == statuses[b"503"]
        monkeypatch.setattr("sealgate.relay.load.GROWN", GROWN)
        end = time.monotonic() + 20
        while at.hall.load.room < 1000 and time.monotonic() < end:
            time.sleep(0.05)
        assert at.run(at.running.chat()).status == 200
        assert at.hall.load.room == 1000
        assert threading.active_count() < threads + 20
    lines = {line["event"]: line for line in map(json.loads, out.getvalue().splitlines())}
    assert lines["event_loop_blocked"]["trace"].endswith("holds_the_loop_up")
    assert 2 <= lines["event_loop_blocked"]["seconds"] < 4
    assert lines["event_loop_goes_on"]["seconds"] > 2


def holds_the_loop_up(seconds: float) -> None:
    time.sleep(seconds)


GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "load.md"


def blocks(kind: str) -> list[str]:
    """The code blocks of the guide in that language."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_guide_names_metrics_and_settings_that_exist(tmp_path: Path) -> None:
    named = set(re.findall(r"^\| `(sealgate_\w+)` \|", GUIDE.read_text(), re.MULTILINE))
    assert len(named) == 5
    assert named <= {metric.name for metric in METRICS}
    [settings] = blocks("toml")
    (tmp_path / "sealgate.toml").write_text(settings)
    assert load(str(tmp_path / "sealgate.toml")).server.max_in_flight == Server().max_in_flight


@pytest.mark.long
def test_the_guide_s_example_waits_until_there_is_room(serve: Serve) -> None:
    """The only place is taken when the official SDK asks first, and free when it comes again."""
    [program] = blocks("python")
    with serve.in_thread({"acme": answer("Hi")}, server=SMALL) as at:
        at.loop.call_soon_threadsafe(at.hall.load.enter, "default")
        environ = {**os.environ, "OPENAI_BASE_URL": at.base_url, "OPENAI_API_KEY": at.key}
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environ)
        end = time.monotonic() + 50
        while not at.hall.load.refused["in_flight"] and time.monotonic() < end:
            time.sleep(0.02)
        at.loop.call_soon_threadsafe(at.hall.load.leave, "default")
        said, _ = child.communicate(timeout=50)
    assert at.hall.load.refused["in_flight"] >= 1
    assert said == "Hi\n"
