"""One peer: keep-alive, pipelining, back pressure, and above all how its leaving is noticed."""

import asyncio
from typing import Any

import pytest

from sealgate.testing import (
    LAST_CHUNK,
    Behaviour,
    Hang,
    RawClient,
    Script,
    ScriptedUpstream,
    Send,
    Sleep,
    WaitFor,
    answer,
    chunk,
    endless,
    head,
    http_request,
    json_answer,
    run,
)

pytestmark = pytest.mark.anyio

ASK = http_request("POST", "/v1/chat/completions", {}, b'{"model":"m"}')


async def bodies(client: RawClient, count: int) -> list[Any]:
    found = []
    for _ in range(count):
        response = await client.response()
        await response.read()
        assert response.complete
        found.append(response.json)
    return found


async def test_pipelined_requests_are_answered_in_order(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue(*([Sleep(0.001), *json_answer(number)] for number in range(5)))
    await client.send(ASK * 5)
    assert await bodies(client, 5) == [0, 1, 2, 3, 4]
    assert upstream.accepted == 1


async def test_a_trickled_chunked_request_is_read(upstream: ScriptedUpstream, client: RawClient):
    request = b"POST /chat/completions HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n"
    await client.trickle(request, size=9, every=0)
    await client.response()
    assert (upstream.requests[0].body, upstream.requests[0].json) == (b"{}\n", {})


async def test_a_client_that_asks_first_is_told_to_continue(upstream: ScriptedUpstream, client: RawClient):
    await client.send(b"POST /chat/completions HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert await client.take_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"{}")
    assert (await client.response()).status == 200


async def test_the_connection_is_closed_when_the_client_says_so(upstream: ScriptedUpstream, client: RawClient):
    await client.send(http_request("GET", "/v1/models", {"connection": "close"}))
    await bodies(client, 1)
    assert await client.wait_end() == "fin"


async def test_what_is_not_http_gets_400_and_is_remembered(upstream: ScriptedUpstream, client: RawClient):
    await client.send(b"\x16\x03\x01\x02\x00\r\n\r\n")
    response = await client.response()
    await response.read()
    assert (response.status, response.json["error"]["code"]) == (400, "invalid_http")
    assert await client.wait_end() == "fin"
    assert "bad request line" in upstream.malformed[0]
    assert upstream.requests == []


def test_an_idle_connection_is_closed_after_its_time_and_not_before():
    async def scene() -> tuple[str, float]:
        async with ScriptedUpstream(close_after_idle=5) as upstream, RawClient(upstream.host, upstream.port) as client:
            loop = asyncio.get_running_loop()
            upstream.enqueue(answer("slow", delay=20))
            client.timeout = 100
            await client.send(ASK)
            await bodies(client, 1)
            answered = loop.time()
            return await client.wait_end(), loop.time() - answered

    assert run(scene()) == ("fin", 5)


@pytest.mark.parametrize("how", ["fin", "rst", "half_close"])
@pytest.mark.parametrize(
    "script",
    [
        [Hang()],
        [Sleep(3600)],
        [head(), chunk("begun"), Sleep(3600)],
        lambda _: [WaitFor(asyncio.Event())],
        endless(),
    ],
    ids=["hang", "sleep", "mid-stream", "wait", "endless"],
)
async def test_leaving_is_noticed_at_once_whatever_the_script_does(
    upstream: ScriptedUpstream, client: RawClient, how: str, script: Behaviour
):
    upstream.enqueue(script)
    await client.post("/v1/chat/completions", {"stream": True})
    await upstream.wait_for_requests(1)
    await asyncio.sleep(0.005)
    left_at = asyncio.get_running_loop().time()
    getattr(client, how)()
    received = await upstream.wait_peer_left(0)
    assert received.peer_left_at is not None
    assert received.peer_left_at - left_at < 0.5
    assert received.abandoned
    if how == "rst":
        assert received.peer_left_how == "rst"
    elif isinstance(script, list) and len(script) == 1:  # unread bytes would turn the FIN of a close into a RST
        assert received.peer_left_how == "fin"


async def test_a_client_that_leaves_after_its_answer_has_abandoned_nothing(
    upstream: ScriptedUpstream, client: RawClient
):
    await client.send(ASK * 2)
    await bodies(client, 2)
    client.fin()
    last = await upstream.wait_peer_left(1)
    assert (last.peer_left_how, last.abandoned) == ("fin", False)
    assert last.answered_at is not None
    assert upstream.requests[0].peer_left_at is None


async def test_every_unanswered_pipelined_request_is_marked(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue(answer(), [Hang()])
    await client.send(ASK * 3)
    await bodies(client, 1)
    client.half_close()
    await upstream.wait_peer_left(2)
    assert [request.abandoned for request in upstream.requests] == [False, True, True]


async def test_a_peer_is_not_said_to_have_left_when_the_upstream_ended_it(
    upstream: ScriptedUpstream, client: RawClient
):
    from sealgate.testing import Rst

    upstream.enqueue([Rst()])
    await client.send(ASK)
    assert await client.wait_end() == "rst"
    await asyncio.sleep(0)
    assert upstream.requests[0].peer_left_at is None


async def test_a_reader_that_stops_holds_the_script_back(upstream: ScriptedUpstream):
    written = 0

    def counting() -> Script:
        nonlocal written
        yield head()
        for _ in range(1000):
            yield chunk(bytes(65536))
            written += 65536
        yield LAST_CHUNK

    upstream.enqueue(counting())
    async with RawClient(upstream.host, upstream.port, receive_buffer=4096) as client:
        await client.send(ASK)
        await client.response()
        before = -1
        while before != written:
            before = written
            await asyncio.sleep(0.02)
        assert 0 < written < 16 << 20


async def test_raw_bytes_arrive_as_they_were_written(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue([Send(b"not http at all\n\n"), Hang()])
    await client.send(ASK)
    await client.fill()
    assert client.buffer == b"not http at all\n\n"
