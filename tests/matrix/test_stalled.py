"""Callers who stop reading: bounded memory, others undisturbed, cut in the end (rows G5 and D7, promise P7)."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from pathlib import Path

import pytest
from tests.gateway import Serve
from tests.matrix.crowd import ask, deaf_callers, gateway, request, say, ticking, until
from tests.punctual import Lateness

from sealgate.api import pulse
from sealgate.api.edge_connection import EdgeConnection
from sealgate.testing import Behaviour, Received, ScriptedUpstream, answer
from sealgate.testing.script import Script, resolve

pytestmark = pytest.mark.anyio

MB = 1_000_000
KILOBYTE = "x" * 1000
FIFTY_MB = ticking(50_000, 0, KILOBYTE)


def deaf_get_much(other: Behaviour) -> Behaviour:
    """Fifty megabytes for those who will not read them, and this for the others."""

    def script(received: Received) -> Script:
        deaf = received.json["messages"][0]["content"] == "deaf"
        return resolve(FIFTY_MB if deaf else other, received)

    return script


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_p7_two_hundred_readers_that_stop_cost_little_and_are_cut(tmp_path: Path) -> None:
    """Each has asked for 50 MB and reads nothing; meanwhile another caller's stream comes whole and in time.

    What was said so far is kept for the receipt, beside what waits in the buffers.
    """
    async with gateway(
        tmp_path, deaf_get_much(ticking(100, 0.05)), timeouts="write_stall = 8", server="max_connections = 1000"
    ) as at:
        await ask(at, at.key, stream=True)
        before = at.resident
        with deaf_callers(at, 200):
            assert await until(lambda: len(at.upstream.requests) == 201)
            await asyncio.sleep(2)
            lateness = Lateness()
            reply = await ask(at, at.other, stream=True)
            late = lateness.end()
            grown = at.resident - before
            gaps = [later - sooner for sooner, later in zip(reply.arrivals, reply.arrivals[1:], strict=False)]
            say(f"200 readers that stopped: {grown / MB:.1f} MB; gaps of 50 ms: most {max(gaps):.3f}")
            assert grown < 64 * MB
            assert reply.body.count(b'"content":"tick') == 100
            assert reply.body.endswith(b"data: [DONE]\n\n")
            assert max(gaps) < 2 + 4 * late, "processors may be busy with something else"
            await until(lambda: at.rows("code")["client_stalled"] == 200, 60)
            assert at.rows("code") == Counter({"client_stalled": 200, None: 2})
        assert at.rows("outcome") == Counter({"client_disconnected": 200, "ok": 2})
        assert at.metric("sealgate_edge_refusals_total", code="client_stalled") == 200
        left = [await at.upstream.wait_peer_left(number) for number in range(1, 201)]
        assert len(left) == 200, "no provider goes on for nobody"


async def test_d7_when_memory_runs_out_the_reader_with_most_in_wait_is_cut_first(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two callers have stopped reading, one of a stream and one of a whole answer of four megabytes."""
    short, paused = False, 0
    cut, pause = EdgeConnection.cut, EdgeConnection.pause_writing

    def cut_one(connection: EdgeConnection) -> None:
        nonlocal short
        short = False
        cut(connection)

    def pause_one(connection: EdgeConnection) -> None:
        nonlocal paused
        paused += 1
        pause(connection)

    monkeypatch.setattr(EdgeConnection, "cut", cut_one)
    monkeypatch.setattr(EdgeConnection, "pause_writing", pause_one)
    monkeypatch.setattr("sealgate.api.server.CUT_SECONDS", 0.01)
    monkeypatch.setattr(pulse.memory, "allowed", lambda: 100 * MB)
    # A tenth of a megabyte too much, until somebody is cut: one of them is enough.
    monkeypatch.setattr(pulse.memory, "resident", lambda: int((0.921 if short else 0.5) * 100 * MB))
    monkeypatch.setattr(pulse, "MEMORY_BEATS", 1)
    async with ScriptedUpstream(default=FIFTY_MB) as upstream, serve({"acme": upstream}) as running:
        upstream.enqueue(answer("x" * (4 * MB)))
        whole, stream = socket.socket(), socket.socket()
        with whole, stream:
            for sock, streams in ((whole, False), (stream, True)):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await asyncio.to_thread(sock.connect, (running.host, running.port))
                sock.sendall(request(running.key, stream=streams))
                assert await until(lambda streams=streams: paused > streams)
            short = True
            counted = b'sealgate_edge_refusals_total{code="client_stalled"} 1.0'
            async with asyncio.timeout(20):
                while counted not in (await running.get("/metrics")).body:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)
            assert await _end_of(whole) == "rst"
            assert [row.status for row in await running.rows(1)] == [200], "the stream goes on"
            assert counted in (await running.get("/metrics")).body


async def _end_of(sock: socket.socket) -> str:
    def read() -> str:
        sock.settimeout(5)
        try:
            while sock.recv(65536):
                pass
        except ConnectionResetError:
            return "rst"
        return "fin"

    return await asyncio.to_thread(read)
