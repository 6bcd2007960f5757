"""Steps and the helpers that write them."""

import asyncio
import threading

import pytest

from sealgate.testing import (
    LAST_CHUNK,
    Chunk,
    Fin,
    Hang,
    RawClient,
    Received,
    Rst,
    ScriptedUpstream,
    Send,
    Sleep,
    WaitFor,
    chunk,
    delayed,
    head,
    json_answer,
    sse,
    wire,
)
from sealgate.testing import run as run_jumping

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("made", "bytes_"),
    [
        (head(200, {"a": "b"}), b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n"),
        (head(503, length=7), b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 7\r\n\r\n"),
        (head(529, close_delimited=True), b"HTTP/1.1 529 Unknown\r\nconnection: close\r\n\r\n"),
        (head(100, chunked=False), b"HTTP/1.1 100 Continue\r\n\r\n"),
        (chunk("é"), b"2\r\n\xc3\xa9\r\n"),
        (chunk(b"x" * 255), b"ff\r\n" + b"x" * 255 + b"\r\n"),
    ],
)
def test_heads_and_chunks_are_written_as_http_wants_them(made: Send | Chunk, bytes_: bytes):
    assert made.wire == bytes_


@pytest.mark.parametrize(
    ("event", "bytes_"),
    [
        (sse({"a": "é"}), 'data: {"a":"é"}\n\n'.encode()),
        (sse("[DONE]"), b"data: [DONE]\n\n"),
        (sse("one\ntwo", event="e"), b"event: e\ndata: one\ndata: two\n\n"),
        (sse("x", newline="\r\n"), b"data: x\r\n\r\n"),
        (sse("x", newline="\r"), b"data: x\r\r"),
    ],
)
def test_events_are_written_as_the_standard_wants_them(event: bytes, bytes_: bytes):
    assert event == bytes_


def test_wire_gives_all_bytes_of_a_script_or_of_a_function_of_the_request():
    script = [head(length=4), Sleep(9), Send(b"ab"), Send(b"cd"), Fin()]
    assert wire(script).endswith(b"\r\n\r\nabcd")
    assert wire(lambda received: json_answer(received.path)).endswith(b'"/v1/chat/completions"')
    assert wire(lambda received: [Send(received.body)], Received.sample(path="/p", n=3)).endswith(b'"n": 3}')


async def test_a_script_sends_its_bytes_exactly(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue([Send(b"HTTP/1.1 200 fine\r\nX-Odd:  y\r\n\r\n"), Send(b"\x00\xff"), Fin()])
    await client.get("/")
    response = await client.response()
    assert response.head.raw == b"HTTP/1.1 200 fine\r\nX-Odd:  y\r\n\r\n"
    assert await response.read() == b"\x00\xff"
    assert (response.ended, response.complete) == ("fin", True)


async def test_rst_is_a_reset_and_fin_is_not(upstream: ScriptedUpstream):
    for step, ending in [(Rst(), "rst"), (Fin(), "fin")]:
        upstream.enqueue([head(length=10), Send(b"half"), step])
        async with RawClient(upstream.host, upstream.port) as client:
            await client.get("/")
            response = await client.response()
            assert await response.read() == b"half"
            assert (response.ended, response.complete) == (ending, False)


def test_sleep_takes_its_time_and_delayed_puts_it_before_the_first_byte():
    async def scene() -> list[float]:
        loop = asyncio.get_running_loop()
        async with ScriptedUpstream() as upstream, RawClient(upstream.host, upstream.port, timeout=100) as client:
            upstream.enqueue(delayed(30, [head(), chunk("a"), Sleep(20), chunk("b"), LAST_CHUNK]))
            started = loop.time()
            await client.get("/")
            response = await client.response()
            await response.read()
            return [response.head.at - started, *(piece.at - started for piece in response.pieces)]

    assert run_jumping(scene()) == [30, 30, 50]


async def test_wait_for_holds_the_script_until_the_event(upstream: ScriptedUpstream, client: RawClient):
    go = asyncio.Event()
    upstream.enqueue([head(), chunk("before"), WaitFor(go), chunk("after"), LAST_CHUNK])
    await client.get("/")
    response = await client.response()
    assert (await response.next_piece()).data == b"before"
    assert not upstream.requests[0].answered_at
    go.set()
    assert await response.read() == b"beforeafter"


async def test_wait_for_takes_an_event_of_another_thread(upstream: ScriptedUpstream, client: RawClient):
    go = threading.Event()
    upstream.enqueue([WaitFor(go), *json_answer("gone")])
    await client.get("/")
    await upstream.wait_for_requests(1)
    timer = threading.Timer(0.01, go.set)
    timer.start()
    assert await (await client.response()).read() == b'"gone"'
    timer.join()


async def test_hang_lasts_until_the_peer_leaves(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue([Hang()])
    await client.get("/")
    await upstream.wait_for_requests(1)
    client.fin()
    left = await upstream.wait_peer_left(0)
    assert left.peer_left_how == "fin"
    assert left.abandoned
