"""The raw client: every way to send, to leave and to read."""

import asyncio

import pytest

from sealgate.testing import (
    LAST_CHUNK,
    Fin,
    RawClient,
    Rst,
    ScriptedUpstream,
    Send,
    Sleep,
    chunk,
    head,
    http_request,
    refusing,
    run,
    sse,
)

pytestmark = pytest.mark.anyio


def test_a_request_is_written_with_host_and_length():
    assert http_request("GET", "/x") == b"GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    assert http_request("POST", "/x", {"a": "b"}, b"hi", host="h") == (
        b"POST /x HTTP/1.1\r\nhost: h\r\na: b\r\ncontent-length: 2\r\n\r\nhi"
    )
    assert http_request("POST", "/x", {"content-length": "9"}, b"hi").endswith(b"content-length: 9\r\n\r\nhi")


async def test_a_chunked_body_comes_in_its_chunks_with_their_frames(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue([head(), Send(b"3;x=y\r\nabc\r\n"), chunk("de"), Send(b"0\r\ntrailer: t\r\n\r\n")])
    await client.get("/")
    response = await client.response()
    assert await response.read() == b"abcde"
    assert [piece.data for piece in response.pieces] == [b"abc", b"de"]
    assert [piece.frame for piece in response.pieces] == [b"3;x=y\r\nabc\r\n", b"2\r\nde\r\n"]
    assert (response.ended, response.complete) == ("last-chunk", True)
    assert await response.next_piece() is None


@pytest.mark.parametrize(
    ("sent", "body", "ended", "complete"),
    [
        ([head(length=3), Send(b"abc")], b"abc", "length", True),
        ([head(length=0)], b"", "length", True),
        ([head(204, chunked=False)], b"", "no-body", True),
        ([head(length=3), Send(b"ab"), Fin()], b"ab", "fin", False),
        ([head(length=3), Send(b"ab"), Rst()], b"ab", "rst", False),
        ([head(close_delimited=True), Send(b"ab"), Fin()], b"ab", "fin", True),
        ([head(close_delimited=True), Send(b"ab"), Rst()], b"ab", "rst", False),
        ([head(), chunk("ab"), Fin()], b"ab", "fin", False),
        ([head(), chunk("ab"), Send(b"5\r\nhal"), Fin()], b"abhal", "fin", False),
        ([head(), chunk("ab"), Send(b"0\r\n"), Fin()], b"ab", "fin", False),
        ([head(), chunk("ab"), Send(b"zz\r\n")], b"ab", "bad-chunk", False),
        ([head(), Send(b"2\r\nabc\r\n")], b"ab", "bad-chunk", False),
    ],
)
async def test_the_end_of_a_body_is_told_and_judged(
    upstream: ScriptedUpstream, client: RawClient, sent: list, body: bytes, ended: str, complete: bool
):
    upstream.enqueue(sent)
    await client.get("/")
    response = await client.response()
    assert (await response.read(), response.ended, response.complete) == (body, ended, complete)


async def test_a_head_request_has_no_body_whatever_its_length(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue([head(length=30)])
    await client.send(http_request("HEAD", "/"))
    assert (await client.response(method="HEAD")).complete


async def test_two_answers_on_one_connection_are_kept_apart(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue(
        [Send(b"".join(step.wire for step in [head(length=1), Send(b"a"), head(), chunk("b"), LAST_CHUNK]))]
    )
    await client.get("/")
    assert await (await client.response()).read() == b"a"
    assert await (await client.response()).read() == b"b"


async def test_no_answer_and_no_http_are_errors_that_say_so(upstream: ScriptedUpstream):
    for script, error, text in [
        ([Fin()], ConnectionResetError, r"\(fin\) before a head; it sent b''"),
        ([Send(b"HTTP/1.1 20"), Rst()], ConnectionResetError, r"\(rst\) before a head; it sent b'HTTP/1.1 20'"),
        ([Send(b"hello\r\n\r\n")], ValueError, "not an HTTP/1 head"),
    ]:
        upstream.enqueue(script)
        async with RawClient(upstream.host, upstream.port) as client:
            await client.get("/")
            with pytest.raises(error, match=text):
                await client.response()


def test_events_chunks_and_comments_have_the_time_they_came():
    async def scene() -> tuple[list[float], list[float], list[tuple[str, float]]]:
        async with ScriptedUpstream() as upstream, RawClient(upstream.host, upstream.port) as client:
            half = sse("second")
            comment = chunk(": ping\n\n")
            upstream.enqueue(
                [head(), chunk(sse("first")), Sleep(3), comment, chunk(half[:5]), Sleep(4), chunk(half[5:]), LAST_CHUNK]
            )
            await client.get("/")
            response = await client.response()
            start = response.head.at
            events = [event.at - start async for event in response.events()]
            pieces = [piece.at - start for piece in response.pieces]
            return events, pieces, [(comment.text, comment.at - start) for comment in response.comments]

    assert run(scene()) == ([0, 7], [0, 3, 3, 7], [("ping", 3)])


def test_trickling_sends_some_bytes_at_a_time():
    async def scene() -> tuple[float, bytes]:
        async with ScriptedUpstream() as upstream, RawClient(upstream.host, upstream.port) as client:
            started = asyncio.get_running_loop().time()
            await client.trickle(http_request("POST", "/chat/completions", {}, b"{}"), size=10, every=2)
            (received,) = await upstream.wait_for_requests(1)
            return received.received_at - started, received.head + received.body

    elapsed, sent = run(scene())
    assert sent == http_request("POST", "/chat/completions", {}, b"{}")
    assert elapsed == (len(sent) - 1) // 10 * 2


async def test_it_leaves_in_three_ways(upstream: ScriptedUpstream):
    upstream.default = [Sleep(3600)]
    for how, seen in [("fin", "fin"), ("half_close", "fin"), ("rst", "rst")]:
        async with RawClient(upstream.host, upstream.port) as client:
            await client.post("/chat/completions", {})
            await upstream.wait_for_requests(1)
            getattr(client, how)()
            assert (await upstream.wait_peer_left(-1)).peer_left_how == seen
        upstream.requests.clear()


async def test_a_small_receive_buffer_is_small():
    async with ScriptedUpstream() as upstream, RawClient(upstream.host, upstream.port, receive_buffer=1024) as client:
        upstream.enqueue([Send(bytes(1 << 20))])
        await client.get("/")
        await client.fill()
        assert len(client.buffer) < 8192


async def test_waits_are_bounded(upstream: ScriptedUpstream):
    async with RawClient(upstream.host, upstream.port, timeout=0.01) as client:
        with pytest.raises(TimeoutError):
            await client.response()


async def test_a_refused_connection_is_an_error_and_leaves_no_socket_open():
    with refusing() as base_url:
        port = int(base_url.split(":")[2].split("/")[0])
        with pytest.raises(ConnectionRefusedError):
            await RawClient("127.0.0.1", port).__aenter__()
