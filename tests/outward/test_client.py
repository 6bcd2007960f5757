"""The contract of the upstream seam, the same for every implementation, against a raw TCP upstream."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.punctual import punctually

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Client, Limits, Request, Response
from sealgate.outward.http1 import Http1Client

pytestmark = pytest.mark.anyio

LIMITS = Limits(connect=20.0, silence=20.0)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
Serve = Callable[..., Awaitable[Any]]
Make = Callable[..., Client]


def sized(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return OK + b"Content-Length: %d\r\n" % len(body) + lines + b"\r\n" + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def always(answer: bytes) -> Callable[[Any], Awaitable[None]]:
    """Answers each request on a kept connection with the same bytes."""

    async def script(peer: Any) -> None:
        while True:
            await peer.request()
            await peer.send(answer)

    return script


def once(*pieces: bytes, end: str = "fin") -> Callable[[Any], Awaitable[None]]:
    """Reads a request, sends the pieces, then ends: ``fin``, ``reset``, or ``wait`` for the client to go."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(*pieces)
        if end == "wait":
            await peer.left()
        elif end == "reset":
            await asyncio.sleep(0.02)  # a reset overtakes what is still on the way
            peer.reset()

    return script


async def body_of(response: Response) -> bytes:
    parts = []
    while part := await response.read():
        parts.append(part)
    response.close()
    return b"".join(parts)


async def fetch(client: Client, request: Request, limits: Limits = LIMITS) -> tuple[int, bytes]:
    response = await client.send(request, limits)
    try:
        return response.status, await body_of(response)
    finally:
        response.close()


async def failure_of(work: Awaitable[Any]) -> Failure:
    with pytest.raises(UpstreamError) as caught:
        await work
    return caught.value.failure


async def read_failure(client: Client, request: Request, limits: Limits = LIMITS) -> Failure:
    """The failure of a body whose head was good."""
    response = await client.send(request, limits)
    assert response.status == 200
    return await failure_of(body_of(response))


def shown(raw: bytes) -> str:
    return repr(raw[:40])


# The request on the wire.


async def test_sends_exactly_the_given_headers_and_those_of_the_framing(client: Client, serve: Serve) -> None:
    """Besides the headers given there are Host, Content-Length and Accept-Encoding: identity, and nothing else."""
    seen = []

    async def script(peer: Any) -> None:
        seen.append(await peer.request())
        await peer.send(sized(b"ok"))

    server = await serve(script)
    headers = {"Authorization": "Bearer k", "content-type": "application/json"}
    assert await fetch(client, server.request(b'{"x":1}', headers, "/v1/a%20b?q=%2F&r=1")) == (200, b"ok")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    assert line == b"POST /v1/a%20b?q=%2F&r=1 HTTP/1.1"
    assert sorted(field.lower() for field in fields) == [
        b"accept-encoding: identity",
        b"authorization: bearer k",
        b"content-length: 7",
        b"content-type: application/json",
        b"host: 127.0.0.1:%d" % server.port,
    ]
    assert body == b'{"x":1}'


async def test_a_given_accept_encoding_is_sent_as_it_is(client: Client, serve: Serve) -> None:
    """The caller's own Accept-Encoding replaces ours."""
    seen = []

    async def script(peer: Any) -> None:
        seen.append((await peer.request()).lower())
        await peer.send(sized(b""))

    server = await serve(script)
    await fetch(client, server.request(headers={"Accept-Encoding": "gzip"}))
    assert seen[0].count(b"accept-encoding: gzip\r\n") == 1
    assert b"identity" not in seen[0]


async def test_get_without_a_body(client: Client, serve: Serve) -> None:
    """A GET goes out without a body and without chunks."""
    seen = []

    async def script(peer: Any) -> None:
        seen.append((await peer.request()).lower())
        await peer.send(sized(b"list"))

    server = await serve(script)
    assert await fetch(client, Request("GET", server.url("/models"), {}, b"")) == (200, b"list")
    assert seen[0].startswith(b"get /models http/1.1\r\n")
    assert b"transfer-encoding" not in seen[0]


async def test_a_large_body_arrives_whole(client: Client, serve: Serve) -> None:
    """A 2 MB prompt arrives byte for byte."""
    seen = []

    async def script(peer: Any) -> None:
        seen.append((await peer.request()).partition(b"\r\n\r\n")[2])
        await peer.send(sized(b"ok"))

    server = await serve(script)
    prompt = bytes(range(256)) * 8192
    assert await fetch(client, server.request(prompt)) == (200, b"ok")
    assert seen == [prompt]


@pytest.mark.parametrize(
    "headers",
    [
        {"x": "a\r\nb: c"},
        {"x": "a\nb"},
        {"x": "a\0"},
        {"x": "caf\u00e9"},
        {"x\r\ny": "a"},
        {"x y": "a"},
        {"": "a"},
        {"Host": "evil.example"},
        {"Content-Length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "upgrade"},
    ],
)
async def test_a_header_that_could_add_a_line_is_a_programming_error(
    client: Client, serve: Serve, headers: dict[str, str]
) -> None:
    """CR, LF, NUL, other than ASCII, and the names the client itself sets are refused before connecting."""
    server = await serve(always(sized(b"")))
    with pytest.raises(ValueError, match="header"):
        await client.send(server.request(headers=headers), LIMITS)
    assert server.peers == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "http:///x",
        "http://user:pw@127.0.0.1/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\r\nx: y",
        "http://127.0.0.1/#f",
        "/relative",
    ],
)
async def test_an_unusual_url_is_a_programming_error(client: Client, url: str) -> None:
    """Only plain http and https URLs are sent to."""
    with pytest.raises(ValueError, match="URL"):
        await client.send(Request("POST", url, {}, b""), LIMITS)


async def test_a_method_that_is_framed_otherwise_is_a_programming_error(client: Client) -> None:
    """HEAD and CONNECT have no place here."""
    for method in ("HEAD", "CONNECT", "get", "GET x"):
        with pytest.raises(ValueError, match="method"):
            await client.send(Request(method, "http://127.0.0.1:1/", {}, b""), LIMITS)


# Heads and bodies.


async def test_headers_are_lower_case_and_keep_their_first_value(client: Client, serve: Serve) -> None:
    """A name sent twice keeps its first value; names are lower case; values lose the space around them."""
    server = await serve(always(sized(b"x", b"X-Id:  one \t", b"x-ID: two", b"Retry-After: 3")))
    response = await client.send(server.request(), LIMITS)
    assert response.status == 200
    assert response.headers["x-id"] == "one"
    assert response.headers["retry-after"] == "3"
    assert response.headers["content-length"] == "1"
    assert await body_of(response) == b"x"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (sized(b"hello"), (200, b"hello")),
        (sized(b""), (200, b"")),
        (CHUNKED + chunk(b"he") + chunk(b"llo") + b"0\r\n\r\n", (200, b"hello")),
        (CHUNKED + b"0\r\n\r\n", (200, b"")),
        (CHUNKED + b"5;name=value\r\nhello\r\n0\r\nTrailer-Field: x\r\n\r\n", (200, b"hello")),
        (OK + b"\r\nuntil the end", (200, b"until the end")),
        (b"HTTP/1.0 200 OK\r\n\r\nold", (200, b"old")),
        (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", (200, b"x")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", (304, b"")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"x"), (200, b"x")),
        (b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 Wait\r\n\r\n" + sized(b"x"), (200, b"x")),
        (b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n", (302, b"")),
        (b"HTTP/1.1 529 Overloaded\r\nContent-Length: 2\r\n\r\n{}", (529, b"{}")),
        (sized(gzip.compress(b"packed", mtime=0), b"Content-Encoding: gzip"), (200, gzip.compress(b"packed", mtime=0))),
        (sized(b"x", b"Upgrade: h2c", b"Connection: Upgrade, Keep-Alive"), (200, b"x")),
    ],
)
async def test_every_framing_is_read_to_its_end(
    client: Client, serve: Serve, answer: bytes, expected: tuple[int, bytes]
) -> None:
    """Length, chunks, end of connection, none at all; 1xx skipped, trailers dropped, redirects and gzip untouched."""
    server = await serve(once(answer))
    assert await fetch(client, server.request()) == expected
    assert len(server.peers) == 1


async def test_no_cookie_comes_back(client: Client, serve: Serve) -> None:
    """Set-Cookie is not remembered."""
    seen = []

    async def script(peer: Any) -> None:
        while True:
            seen.append((await peer.request()).lower())
            await peer.send(sized(b"", b"Set-Cookie: a=b; Path=/"))

    server = await serve(script)
    await fetch(client, server.request())
    await fetch(client, server.request())
    assert len(seen) == 2
    assert b"cookie" not in seen[1]


async def test_proxies_of_the_environment_are_ignored(
    client: Client, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY changes nothing."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server = await serve(always(sized(b"direct")))
    assert await fetch(client, server.request()) == (200, b"direct")


@pytest.mark.parametrize(
    "head", [CHUNKED, OK + b"\r\n", OK + b"Content-Length: 12\r\n\r\n"], ids=["chunked", "close", "length"]
)
async def test_no_piece_waits_for_the_next(client: Client, serve: Serve, head: bytes) -> None:
    """The head arrives before any body, and each piece before the upstream sends the one after it."""
    go = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(head)
        for number in range(4):
            await go.wait()
            go.clear()
            piece = b"p-%d" % number
            await peer.send(chunk(piece) if head is CHUNKED else piece)
        await go.wait()
        await peer.send(b"0\r\n\r\n" if head is CHUNKED else b"")

    server = await serve(script)
    response = await client.send(server.request(), LIMITS)
    for number in range(4):
        go.set()
        assert await response.read() == b"p-%d" % number
    go.set()
    assert await response.read() == b""


async def test_a_reader_that_stops_stops_the_sender(client: Client, serve: Serve) -> None:
    """Of a 50 MB body only what the kernel and one small buffer hold leaves the upstream while nobody reads."""
    sent = 0

    async def script(peer: Any) -> None:
        nonlocal sent
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        peer.writer.transport.set_write_buffer_limits(0)
        await peer.request()
        block = bytes(65536)
        await peer.send(OK + b"Content-Length: %d\r\n\r\n" % (800 * len(block)))
        for _ in range(800):
            await peer.send(block)
            sent += len(block)

    server = await serve(script)
    response = await client.send(server.request(), LIMITS)
    before = -1
    while before != sent:
        before = sent
        await asyncio.sleep(0.04)
    assert 0 < sent < 12_000_000
    received = 0
    while part := await response.read():
        received += len(part)
        assert len(part) < 2_000_000
    assert received == 800 * 65536


@given(
    body=st.binary(max_size=300), sizes=st.lists(st.integers(1, 60), max_size=12), cuts=st.lists(st.integers(0, 500))
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@example(body=b"data: x\n\n", sizes=[1], cuts=[1, 2, 3])
async def test_any_split_gives_the_same_body(
    client: Client, serve: Serve, body: bytes, sizes: list[int], cuts: list[int]
) -> None:
    """Wherever chunks and packets are cut, the body is exact."""
    parts, rest = [], body
    for size in sizes:
        parts.append(rest[:size])
        rest = rest[size:]
    raw = CHUNKED + b"".join(chunk(part) for part in [*parts, rest] if part) + b"0\r\n\r\n"
    edges = [0, *sorted(cut % len(raw) for cut in cuts), len(raw)]
    server = await serve(once(*[raw[a:b] for a, b in itertools.pairwise(edges)], end="wait"))
    assert await fetch(client, server.request()) == (200, body)


# Connections are kept when that is safe.


async def test_a_finished_answer_gives_its_connection_back(client: Client, serve: Serve) -> None:
    """Requests one after the other share one connection, whatever framing the answers have."""

    async def script(peer: Any) -> None:
        for answer in (
            sized(b"a"),
            CHUNKED + chunk(b"b") + b"0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            sized(b""),
        ):
            await peer.request()
            await peer.send(answer)
        await peer.left()

    server = await serve(script)
    assert [await fetch(client, server.request()) for _ in range(4)] == [
        (200, b"a"),
        (200, b"b"),
        (204, b""),
        (200, b""),
    ]
    assert len(server.peers) == 1


async def test_requests_at_one_time_get_a_connection_each(client: Client, serve: Serve) -> None:
    """Answers of concurrent requests do not mix."""

    async def script(peer: Any) -> None:
        while True:
            request = await peer.request()
            await asyncio.sleep(0.001 * (peer.index % 3))
            await peer.send(CHUNKED + chunk(request.rpartition(b"\r\n")[2]) + b"0\r\n\r\n")

    server = await serve(script)
    for _ in range(3):
        bodies = [b"body %d" % number for number in range(20)]
        answers = await asyncio.gather(*(fetch(client, server.request(body)) for body in bodies))
        assert [body for _, body in answers] == bodies
    assert len(server.peers) == 20


@pytest.mark.parametrize(
    "answer",
    [
        sized(b"x", b"Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        pytest.param(sized(b"x") + b"y", marks=pytest.mark.aiohttp_differs("one broken byte spoils a whole answer")),
        sized(b"x") + sized(b"poison"),
        pytest.param(sized(b"x") + b"HTTP/1.1 2", marks=pytest.mark.aiohttp_differs("it keeps the connection")),
        b"HTTP/1.1 204 No Content\r\n\r\n" + sized(b"poison"),
    ],
    ids=["close", "old", "byte", "second", "begun", "nobody"],
)
async def test_a_connection_that_may_not_be_used_again_is_closed(client: Client, serve: Serve, answer: bytes) -> None:
    """The peer forbids it, or sent more than the answer: the next request opens another connection."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.left()

    server = await serve(script)
    first = await fetch(client, server.request())
    assert await fetch(client, server.request(), Limits(20, 2)) == first
    assert first[1] in (b"x", b"")
    assert len(server.peers) == 2


async def test_data_on_an_idle_connection_closes_it(client: Client, serve: Serve) -> None:
    """An answer that nobody asked for never becomes the answer to the next request."""
    go, sent = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(sized(b"good"))
        if peer.index == 0:
            await go.wait()
            await peer.send(sized(b"poison"))
            sent.set()
        await peer.left()

    server = await serve(script)
    assert await fetch(client, server.request()) == (200, b"good")
    go.set()
    await sent.wait()
    await asyncio.sleep(0.02)
    assert await fetch(client, server.request()) == (200, b"good")
    assert len(server.peers) == 2


async def test_an_idle_connection_the_peer_closed_is_dropped(client: Client, serve: Serve) -> None:
    """The upstream's own keep-alive limit costs nobody a request."""
    server = await serve(once(sized(b"x")))
    for _ in range(3):
        assert await fetch(client, server.request()) == (200, b"x")
        await asyncio.sleep(0.01)
    assert len(server.peers) == 3


async def test_a_kept_connection_expires(make: Make, serve: Serve) -> None:
    """After keepalive_seconds the connection is closed by us, without a request."""
    client = make(keepalive_seconds=0.03)
    left = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(sized(b"x"))
        await peer.left()
        left.set()

    server = await serve(script)
    await fetch(client, server.request())
    await asyncio.wait_for(left.wait(), 20)


async def test_an_answer_before_the_request_was_read_is_used_once(client: Client, serve: Serve) -> None:
    """A 413 in the middle of an upload is the answer, and what is left of the upload goes nowhere."""

    async def script(peer: Any) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0.05)

    server = await serve(script)
    assert (await fetch(client, server.request(bytes(30_000_000))))[0] == 413


# Cold connections.


@pytest.mark.parametrize("end", ["fin", "reset"])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_cold_connection_is_retried_once_and_unseen(
    client: Client, serve: Serve, end: str, method: str
) -> None:
    """A kept connection that dies without a byte was cold: the request goes out again on a new one."""

    async def script(peer: Any) -> None:
        await peer.request()
        if peer.index == 0:
            await peer.send(sized(b"first"))
            await peer.request()
            peer.reset() if end == "reset" else peer.fin()
        else:
            await peer.send(sized(b"second"))
            await peer.left()

    server = await serve(script)
    request = replace(server.request(), method=method)
    assert await fetch(client, request) == (200, b"first")
    assert await fetch(client, request) == (200, b"second")
    assert len(server.peers) == 2


async def test_the_retry_goes_to_a_new_connection(client: Client, serve: Serve) -> None:
    """With several cold connections in the pool the second attempt does not meet another of them."""

    async def script(peer: Any) -> None:
        await peer.request()
        if peer.index < 4:
            await asyncio.sleep(0.01)
            await peer.send(sized(b"warm"))
            await peer.request()
            peer.reset()
        else:
            await peer.send(sized(b"new"))
            await peer.left()

    server = await serve(script)
    await asyncio.gather(*(fetch(client, server.request()) for _ in range(4)))
    assert await fetch(client, server.request()) == (200, b"new")
    assert len(server.peers) == 5


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_a_fresh_connection_is_never_retried(client: Client, serve: Serve, method: str, end: str) -> None:
    """A new connection that dies before the head is a failure of the upstream."""
    server = await serve(once(end=end))
    assert await failure_of(client.send(replace(server.request(), method=method), LIMITS)) is Failure.RESET
    assert len(server.peers) == 1


async def test_there_is_only_one_retry(client: Client, serve: Serve) -> None:
    """The new connection dying too is a failure."""

    async def script(peer: Any) -> None:
        await peer.request()
        if peer.index == 0:
            await peer.send(sized(b"first"))
            await peer.request()
        peer.reset()

    server = await serve(script)
    await fetch(client, server.request())
    assert await failure_of(client.send(server.request(), LIMITS)) is Failure.RESET
    assert len(server.peers) == 2


@pytest.mark.aiohttp_differs("it cannot tell a connection lost within the head from one lost before any byte")
async def test_a_kept_connection_that_began_to_answer_is_not_retried(client: Client, serve: Serve) -> None:
    """One byte of an answer proves that the request was read."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(sized(b"first"))
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nConte")

    server = await serve(script)
    await fetch(client, server.request())
    assert await failure_of(client.send(server.request(), LIMITS)) is Failure.RESET
    assert len(server.peers) == 1


async def test_silence_on_a_kept_connection_is_not_retried(client: Client, serve: Serve) -> None:
    """A request that was taken and not answered in time is not sent twice."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(sized(b"first"))
        await peer.left()

    server = await serve(script)
    await fetch(client, server.request())
    assert await failure_of(client.send(server.request(), Limits(20, 0.03))) is Failure.TIMEOUT
    assert len(server.peers) == 1


# Limits in time and number.


async def test_a_head_that_does_not_come_is_a_timeout(client: Client, serve: Serve) -> None:
    """No head within the silence limit, and the connection is closed."""
    left = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.left()
        left.set()

    server = await serve(script)
    start = time.monotonic()
    assert await failure_of(client.send(server.request(), Limits(20, 0.05))) is Failure.TIMEOUT
    assert 0.045 < time.monotonic() - start < 10
    await asyncio.wait_for(left.wait(), 20)


async def test_a_head_in_drops_is_a_timeout(client: Client, serve: Serve) -> None:
    """Bytes of an unfinished head do not buy time."""

    async def script(peer: Any) -> None:
        await peer.request()
        for byte in sized(b"x"):
            await peer.send(bytes([byte]))
            await asyncio.sleep(0.01)

    server = await serve(script)
    assert await failure_of(client.send(server.request(), Limits(20, 0.06))) is Failure.TIMEOUT


async def test_a_gap_in_the_body_is_a_stall(client: Client, serve: Serve) -> None:
    """What came before the gap is read; the wait after it ends with STALLED, and the connection is closed."""
    left = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"one"))
        await peer.left()
        left.set()

    server = await serve(script)
    response = await client.send(server.request(), Limits(20, 0.05))
    assert await response.read() == b"one"
    assert await failure_of(response.read()) is Failure.STALLED
    await asyncio.wait_for(left.wait(), 20)


async def test_each_piece_starts_the_silence_anew(client: Client, serve: Serve) -> None:
    """A slow but living stream may last longer than the limit."""

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(8):
            await asyncio.sleep(0.04)
            await peer.send(chunk(b"x"))
        await peer.send(b"0\r\n\r\n")

    async def scene() -> None:
        server = await serve(script)
        assert await fetch(client, server.request(), Limits(20, 0.25)) == (200, b"x" * 8)

    await punctually(scene, 0.1)


async def test_the_silence_can_be_changed_between_reads(client: Client, serve: Serve) -> None:
    """A shorter limit holds from the next wait on, a longer one too."""
    server = await serve(once(CHUNKED + chunk(b"one"), end="wait"))
    response = await client.send(server.request(), Limits(20, 30))
    assert await response.read() == b"one"
    response.set_silence(0.03)
    start = time.monotonic()
    assert await failure_of(response.read()) is Failure.STALLED
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(("first", "second", "outcome"), [(30, 0.03, Failure.STALLED), (0.1, 5, None)])
async def test_the_silence_can_be_changed_during_a_read(
    client: Client, serve: Serve, first: float, second: float, outcome: Failure | None
) -> None:
    """`set_silence` while somebody waits moves the running deadline, both ways."""
    go = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await go.wait()
        await peer.send(chunk(b"late") + b"0\r\n\r\n")

    async def scene() -> None:
        go.clear()
        response = await client.send(server.request(), Limits(20, first))
        loop.call_later(0.01, response.set_silence, second)
        if outcome is None:
            loop.call_later(0.13, go.set)
            assert await body_of(response) == b"late"
        else:
            assert await failure_of(response.read()) is outcome

    server = await serve(script)
    loop = asyncio.get_running_loop()
    await punctually(scene, 0.05)


async def test_nothing_listening_is_unreachable(client: Client) -> None:
    """A refused connection says so at once."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
        assert await failure_of(client.send(Request("POST", url, {}, b""), LIMITS)) is Failure.UNREACHABLE


async def test_a_name_without_address_is_unreachable(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed look-up says so at once."""

    async def nowhere(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nowhere)
    request = Request("POST", "http://nowhere.example/", {}, b"")
    assert await failure_of(client.send(request, LIMITS)) is Failure.UNREACHABLE


class FullBacklog:
    """A listening socket whose queue is full, so that further connects hang."""

    def __enter__(self) -> str:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self.listener.getsockname())
            self.fillers.append(filler)
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/"

    def __exit__(self, *_: object) -> None:
        for sock in (self.listener, *self.fillers):
            sock.close()


async def test_a_connect_that_hangs_is_a_connect_timeout(client: Client) -> None:
    """SYNs nobody answers end after the connect limit."""
    with FullBacklog() as url:
        start = time.monotonic()
        failure = await failure_of(client.send(Request("POST", url, {}, b""), Limits(0.08, 5)))
        assert failure is Failure.CONNECT_TIMEOUT
        assert 0.07 < time.monotonic() - start < 4


async def test_a_handshake_that_hangs_is_a_connect_timeout(make: Make, serve: Serve) -> None:
    """The connect limit includes TLS; the upstream sees the connection closed."""
    left = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.left()
        left.set()

    server = await serve(script)
    request = Request("POST", f"https://127.0.0.1:{server.port}/", {}, b"")
    assert await failure_of(make().send(request, Limits(0.05, 5))) is Failure.CONNECT_TIMEOUT
    await asyncio.wait_for(left.wait(), 20)


async def test_a_full_pool_is_waited_for_and_then_given_up(make: Make, serve: Serve) -> None:
    """Past max_connections a request queues pool_wait seconds, then fails with POOL."""
    client = make(max_connections=1, pool_wait=0.05)
    server = await serve(once(CHUNKED, end="wait"))
    response = await client.send(server.request(), LIMITS)
    assert await failure_of(client.send(server.request(), LIMITS)) is Failure.POOL
    response.close()
    later = await client.send(server.request(), LIMITS)
    assert later.status == 200
    later.close()


async def test_a_place_in_the_queue_is_served_in_order(make: Make, serve: Serve) -> None:
    """With one place, waiting requests get it one after the other, over one connection."""
    client = make(max_connections=1, pool_wait=20)
    server = await serve(always(CHUNKED + chunk(b"x") + b"0\r\n\r\n"))
    done: list[int] = []

    async def ask(number: int) -> None:
        await fetch(client, server.request())
        done.append(number)

    await asyncio.gather(*(ask(number) for number in range(10)))
    assert done == list(range(10))
    assert len(server.peers) == 1


async def test_a_cancelled_queuer_loses_nothing(make: Make, serve: Serve) -> None:
    """Who leaves the queue, even in the moment of being served, does not take the place along."""
    client = make(max_connections=1, pool_wait=20)
    server = await serve(always(sized(b"x")))
    for delay in range(8):
        first = await client.send(server.request(), LIMITS)
        queued = [asyncio.create_task(fetch(client, server.request())) for _ in range(3)]
        await asyncio.sleep(0)
        await body_of(first)
        for _ in range(delay):
            await asyncio.sleep(0)
        queued[0].cancel()
        assert await queued[1] == await queued[2] == (200, b"x")
        await asyncio.gather(queued[0], return_exceptions=True)
    assert await fetch(client, server.request()) == (200, b"x")


# Cancelled and closed.


async def test_cancel_before_the_head_closes_at_once(client: Client, serve: Serve) -> None:
    """The upstream sees the connection closed well within a second of the cancel."""
    asked, left = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        asked.set()
        await peer.left()
        left.set()

    server = await serve(script)
    task = asyncio.create_task(fetch(client, server.request()))
    await asyncio.wait_for(asked.wait(), 20)
    task.cancel()
    await asyncio.wait_for(left.wait(), 20)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancel_in_the_middle_of_a_body_closes_at_once(client: Client, serve: Serve) -> None:
    """The same while a piece of the body is awaited."""
    began, left = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"one"))
        await peer.left()
        left.set()

    async def ask() -> None:
        response = await client.send(server.request(), LIMITS)
        assert await response.read() == b"one"
        began.set()
        await response.read()

    server = await serve(script)
    task = asyncio.create_task(ask())
    await asyncio.wait_for(began.wait(), 20)
    await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.wait_for(left.wait(), 20)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancel_in_the_handshake_closes_at_once(make: Make, serve: Serve) -> None:
    """The same while TLS is being set up."""
    began, left = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.reader.read(1)
        began.set()
        await peer.left()
        left.set()

    server = await serve(script)
    request = Request("POST", f"https://127.0.0.1:{server.port}/", {}, b"")
    task = asyncio.create_task(make().send(request, LIMITS))
    await asyncio.wait_for(began.wait(), 20)
    task.cancel()
    await asyncio.wait_for(left.wait(), 20)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_hundred_cancels_while_connecting_leave_the_pool_whole(make: Make) -> None:
    """Cancelled connects give their place back: the next request gets one and is not turned away by the pool."""
    client = make(max_connections=2, pool_wait=20)
    with FullBacklog() as url:
        for _ in range(100):
            task = asyncio.create_task(client.send(Request("POST", url, {}, b""), LIMITS))
            await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await failure_of(client.send(Request("POST", url, {}, b""), Limits(0.03, 1))) is Failure.CONNECT_TIMEOUT


async def test_a_hundred_cancels_at_any_moment_leave_the_pool_whole(make: Make, serve: Serve) -> None:
    """Cancelled before connecting, before the head, in the body or as it ends: two places still serve two requests."""
    client = make(max_connections=2, pool_wait=20)

    async def script(peer: Any) -> None:
        while True:
            await peer.request()
            await peer.send(CHUNKED, chunk(b"x"), chunk(b"y"), b"0\r\n\r\n")

    server = await serve(script)
    for turn in range(100):
        task = asyncio.create_task(fetch(client, server.request()))
        for _ in range(turn % 25):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    answers = await asyncio.gather(*(fetch(client, server.request()) for _ in range(6)))
    assert answers == [(200, b"xy")] * 6


async def test_close_before_the_end_closes_the_connection(client: Client, serve: Serve) -> None:
    """`close` in the middle of a body closes; what is read afterwards is an error, never a short body."""
    left = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"one"))
        await peer.left()
        left.set()

    server = await serve(script)
    response = await client.send(server.request(), LIMITS)
    response.close()
    response.close()
    await asyncio.wait_for(left.wait(), 20)
    assert await failure_of(response.read()) is Failure.RESET


async def test_close_after_the_end_keeps_the_connection(client: Client, serve: Serve) -> None:
    """Closing an old answer again does not disturb the next request on its connection."""
    server = await serve(always(sized(b"x")))
    old = await client.send(server.request(), LIMITS)
    assert await body_of(old) == b"x"
    response = await client.send(server.request(), LIMITS)
    old.close()
    assert await old.read() == b""
    assert await body_of(response) == b"x"
    assert len(server.peers) == 1


async def test_close_while_somebody_reads_wakes_the_reader(client: Client, serve: Serve) -> None:
    """A reader that waits hears of the close as an error."""
    server = await serve(once(CHUNKED, end="wait"))
    response = await client.send(server.request(), LIMITS)
    asyncio.get_running_loop().call_later(0.01, response.close)
    assert await failure_of(response.read()) is Failure.RESET


async def test_aclose_closes_everything(make: Make, serve: Serve) -> None:
    """Idle connections and answers on the way are closed; their readers get an error."""
    gone = 0

    async def script(peer: Any) -> None:
        nonlocal gone
        request = await peer.request()
        await peer.send(CHUNKED if b"/open" in request else sized(b"x"))
        await peer.left()
        gone += 1

    client = make()
    server = await serve(script)
    second = await client.send(server.request(path="/open"), LIMITS)
    await fetch(client, server.request())
    await client.aclose()
    assert await failure_of(second.read()) in (Failure.RESET, Failure.TRUNCATED)
    async with asyncio.timeout(20):
        while gone < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
    assert gone == 2


# Broken answers.

LAX = "aiohttp's parser is lax outside of its development mode"


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 000 OK\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 777 OK\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        OK + b"Content-Length: -3\r\n\r\nabc",
        OK + b"Content-Length: +3\r\n\r\nabc",
        OK + b"Content-Length: 3, 4\r\n\r\nabc",
        OK + b"Content-Length: 99999999999999999999\r\n\r\nabc",
        OK + b"Transfer-Encoding: gzip\r\n\r\nabc",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\nabc",
        OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
        OK + b"X : a\r\nContent-Length: 0\r\n\r\n",
        OK + b": a\r\nContent-Length: 0\r\n\r\n",
        OK + b"no colon\r\nContent-Length: 0\r\n\r\n",
        OK + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
        pytest.param(OK + b"X: a\r\n folded\r\nContent-Length: 0\r\n\r\n", marks=pytest.mark.aiohttp_differs(LAX)),
        pytest.param(OK + b"X: a\nY: b\r\nContent-Length: 0\r\n\r\n", marks=pytest.mark.aiohttp_differs(LAX)),
        pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", marks=pytest.mark.aiohttp_differs(LAX)),
        OK + b"X: " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
        OK + b"X" * 70_000 + b": a\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 " + b"a" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
        OK + b"".join(b"X-%d: a\r\n" % number for number in range(250)) + b"Content-Length: 0\r\n\r\n",
        OK + b"Set-Cookie: a\r\n" * 10_000 + b"Content-Length: 0\r\n\r\n",
        OK + (b"X: " + b"a" * 1000 + b"\r\n") * 100 + b"Content-Length: 9\r\n\r\n",
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\n" * 20 + sized(b"x"),
            marks=pytest.mark.aiohttp_differs("it skips any number of 1xx heads"),
        ),
    ],
    ids=shown,
)
async def test_a_head_that_cannot_be_trusted_is_refused(client: Client, serve: Serve, answer: bytes) -> None:
    """Not HTTP, ambiguous framing, injected or folded lines, too large or too many: BAD_RESPONSE, and closed."""
    left = asyncio.Event()

    async def script(peer: Any) -> None:
        await once(answer, end="wait")(peer)
        left.set()

    server = await serve(script)
    assert await failure_of(fetch(client, server.request())) is Failure.BAD_RESPONSE
    await asyncio.wait_for(left.wait(), 20)


async def test_an_endless_head_is_refused(client: Client, serve: Serve) -> None:
    """A header line that never ends is cut off at the limit, long before the upstream stops."""
    sent = 0

    async def script(peer: Any) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(OK + b"X: ")
        for _ in range(2000):
            await peer.send(b"a" * 10_000)
            sent += 10_000

    server = await serve(script)
    assert await failure_of(client.send(server.request(), LIMITS)) is Failure.BAD_RESPONSE
    await asyncio.sleep(0.02)
    assert sent < 20_000_000


BROKEN_CHUNKS = [
    b"zz\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabcdef\r\n0\r\n\r\n",
    b"3\r\nabc\r\n-1\r\n\r\n",
    b"fffffffffffffffff\r\nabc",
    b"3\nabc\n0\n\n",
    b"3\r\nabc\r\n0\r\nbad trailer\r\n\r\n",
    pytest.param(b"3\r\nabc\r\n0;" + b"x" * 400_000, marks=pytest.mark.aiohttp_differs("chunk lines have no bound")),
    b"3\r\nabc\r\n0\r\nX: " + b"x" * 400_000,
]


def noticing(client: Client, silence: float) -> Limits:
    """Limits that do not come into play, but for aiohttp, which says only after so much silence what was wrong."""
    return LIMITS if isinstance(client, Http1Client) else Limits(20, silence)


@pytest.mark.parametrize("rest", BROKEN_CHUNKS, ids=shown)
async def test_broken_chunks_are_refused(client: Client, serve: Serve, rest: bytes) -> None:
    """Bad sizes, missing ends, bare line feeds and endless lines: BAD_RESPONSE, after a head that was good.

    aiohttp's parser does not wake the reader then, so there it is only said when the silence limit is over.
    """
    go = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await go.wait()
        await peer.send(rest)
        await peer.left()

    async def scene() -> None:
        go.clear()
        response = await client.send(server.request(), noticing(client, 0.15))
        go.set()
        assert await failure_of(body_of(response)) is Failure.BAD_RESPONSE

    server = await serve(script)
    await punctually(scene, 0.05)


@pytest.mark.parametrize("rest", BROKEN_CHUNKS[:6], ids=shown)
async def test_broken_chunks_right_behind_the_head_are_refused(client: Client, serve: Serve, rest: bytes) -> None:
    """The same in one packet with the head, whether `send` or `read` says it."""
    server = await serve(once(CHUNKED + rest, end="wait"))
    assert await failure_of(fetch(client, server.request(), noticing(client, 1))) is Failure.BAD_RESPONSE


@pytest.mark.parametrize(
    ("pieces", "end", "failure"),
    [
        ((OK + b"Content-Length: 10\r\n\r\n", b"abc"), "fin", Failure.TRUNCATED),
        ((CHUNKED, b"5\r\nab"), "fin", Failure.TRUNCATED),
        ((CHUNKED, chunk(b"abc")), "fin", Failure.TRUNCATED),
        ((CHUNKED, chunk(b"abc") + b"0\r\n"), "fin", Failure.TRUNCATED),
        ((OK + b"Content-Length: 10\r\n\r\n", b"abc"), "reset", Failure.RESET),
        ((CHUNKED, chunk(b"abc")), "reset", Failure.RESET),
        pytest.param(
            *((OK + b"\r\n", b"abc"), "reset", Failure.RESET),
            marks=pytest.mark.aiohttp_differs("a body without a length ends well even by a reset"),
        ),
    ],
)
async def test_a_body_that_breaks_off_is_an_error(
    client: Client, serve: Serve, pieces: tuple[bytes, ...], end: str, failure: Failure
) -> None:
    """Short of its own length: TRUNCATED; broken: RESET. What had come is never taken for the whole."""
    server = await serve(once(*pieces, end=end))
    assert await read_failure(client, server.request()) is failure


FRAMED = [
    sized(b"0123456789abcdef"),
    CHUNKED + chunk(b"0123456") + chunk(b"789abcdef") + b"0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + CHUNKED + chunk(b"0123456789abcdef") + b"0\r\nT: x\r\n\r\n",
]


@pytest.mark.parametrize("raw", FRAMED, ids=["length", "chunks", "hints"])
async def test_a_cut_at_any_byte_is_an_error_never_a_short_body(client: Client, serve: Serve, raw: bytes) -> None:
    """Cut after each byte in turn: an `UpstreamError` each time, until all bytes are there."""
    cut = 0

    async def script(peer: Any) -> None:
        await peer.request()
        if cut:
            await peer.send(raw[:cut])

    server = await serve(script)
    for length in range(len(raw)):
        cut = length
        assert await failure_of(fetch(client, server.request())) in (Failure.RESET, Failure.TRUNCATED)
    cut = len(raw)
    assert await fetch(client, server.request()) == (200, b"0123456789abcdef")


@given(
    raw=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=100).map(lambda tail: OK + tail),
        st.binary(max_size=100).map(lambda tail: CHUNKED + tail),
        st.tuples(st.sampled_from(FRAMED), st.integers(0, 200), st.binary(max_size=4)).map(
            lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + 1 :]
        ),
    ),
    end=st.sampled_from(["fin", "fin", "fin", "reset"]),
)
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
async def test_whatever_comes_the_only_exception_is_ours(client: Client, serve: Serve, raw: bytes, end: str) -> None:
    """Random and mutated answers give an answer or an `UpstreamError`, and never a hang."""
    server = await serve(once(raw, end=end))
    failure = None
    try:
        async with asyncio.timeout(15):
            await fetch(client, server.request(), noticing(client, 1))
    except UpstreamError as error:
        failure = error.failure
    assert failure in (None, Failure.RESET, Failure.TRUNCATED, Failure.BAD_RESPONSE)


# TLS and addresses.


async def test_tls_is_verified_and_the_name_is_sent(make: Make, serve: Serve, certificates: Any) -> None:
    """With the right authority the answer comes, and the server saw the host name in the handshake."""
    names: list[str | None] = []
    context = certificates.server(certificates.localhost)
    context.sni_callback = lambda _sock, name, _context: names.append(name)
    server = await serve(always(sized(b"secret")), host="localhost", context=context)
    client = make(ssl_context=certificates.trusting())
    for _ in range(2):
        assert await fetch(client, server.request()) == (200, b"secret")
    assert names == ["localhost"]
    assert len(server.peers) == 1


async def test_tls_to_an_address(make: Make, serve: Serve, certificates: Any) -> None:
    """An address is verified against the certificate too, and is not sent as a name."""
    names: list[str | None] = []
    context = certificates.server(certificates.localhost)
    context.sni_callback = lambda _sock, name, _context: names.append(name)
    server = await serve(always(sized(b"x")), context=context)
    assert await fetch(make(ssl_context=certificates.trusting()), server.request()) == (200, b"x")
    assert names == [None]


@pytest.mark.parametrize("fault", ["unknown authority", "wrong name", "expired"])
async def test_a_certificate_that_does_not_fit_is_refused(
    make: Make, serve: Serve, certificates: Any, fault: str
) -> None:
    """Unknown authority, wrong name, out of date: TLS, and no request is sent."""
    which = {"wrong name": certificates.other, "expired": certificates.expired}.get(fault, certificates.localhost)
    seen: list[bytes] = []

    async def script(peer: Any) -> None:
        seen.append(await peer.request())

    server = await serve(script, host="localhost", context=certificates.server(which))
    client = make() if fault == "unknown authority" else make(ssl_context=certificates.trusting())
    assert await failure_of(client.send(server.request(), LIMITS)) is Failure.TLS
    assert seen == []


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Plain\r\n\r\n", b""], ids=["plain", "closed"])
async def test_a_broken_handshake_is_a_tls_failure(make: Make, serve: Serve, answer: bytes) -> None:
    """A server that speaks something else, or closes, during the handshake."""

    async def script(peer: Any) -> None:
        await peer.reader.read(1)
        if answer:
            await peer.send(answer)

    server = await serve(script)
    request = Request("POST", f"https://127.0.0.1:{server.port}/", {}, b"")
    assert await failure_of(make().send(request, LIMITS)) is Failure.TLS


async def test_a_client_certificate_is_shown(make: Make, serve: Serve, certificates: Any) -> None:
    """A context that carries a certificate opens servers that ask for one; without it they fail."""
    asking = certificates.server(certificates.localhost)
    asking.verify_mode = ssl.CERT_REQUIRED
    asking.load_verify_locations(certificates.authority)
    server = await serve(always(sized(b"known")), host="localhost", context=asking)
    carrying = certificates.trusting()
    carrying.load_cert_chain(certificates.person)
    assert await fetch(make(ssl_context=carrying), server.request()) == (200, b"known")
    # TLS 1.3 lets the client finish before the server has looked, so the refusal may come as a lost connection.
    failure = await failure_of(make(ssl_context=certificates.trusting()).send(server.request(), LIMITS))
    assert failure in (Failure.TLS, Failure.RESET)


async def test_a_context_that_does_not_verify_is_refused(make: Make) -> None:
    """There is no way to switch verification off."""
    for context in (ssl._create_unverified_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)):
        context.check_hostname = False
        with pytest.raises(ValueError, match="verified"):
            make(ssl_context=context)


async def test_tls_streams_and_cancels_like_plain(make: Make, serve: Serve, certificates: Any) -> None:
    """Back pressure, pieces as they come and a close in the middle hold over TLS too."""
    left = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.request()
        await peer.send(CHUNKED + chunk(b"one"), *[chunk(bytes(100_000))] * 20, b"0\r\n\r\n")
        await peer.request()
        await peer.send(CHUNKED + chunk(b"one"))
        await peer.left()
        left.set()

    server = await serve(script, host="localhost", context=certificates.server(certificates.localhost))
    client = make(ssl_context=certificates.trusting())
    response = await client.send(server.request(), LIMITS)
    await asyncio.sleep(0.02)
    assert len(await body_of(response)) == 2_000_003
    broken = await client.send(server.request(), LIMITS)
    assert await broken.read() == b"one"
    broken.close()
    await asyncio.wait_for(left.wait(), 20)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="there is no ::1 here")
async def test_ipv6(client: Client, serve: Serve) -> None:
    """An IPv6 address in the URL works, with brackets in Host."""
    seen = []

    async def script(peer: Any) -> None:
        seen.append((await peer.request()).lower())
        await peer.send(sized(b"six"))

    server = await serve(script, host="::1", bind="::1")
    assert await fetch(client, server.request()) == (200, b"six")
    assert b"host: [::1]:%d\r\n" % server.port in seen[0]


@pytest.mark.skipif(not has_ipv6(), reason="there is no ::1 here")
@pytest.mark.parametrize("bind", ["127.0.0.1", "::1"])
async def test_a_name_with_two_addresses_reaches_the_one_that_listens(
    client: Client, serve: Serve, bind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with an IPv6 and an IPv4 address works whichever of them listens."""
    server = await serve(always(sized(b"found")), host="both.example", bind=bind)

    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    async def both(host: Any, *rest: Any, **options: Any) -> Any:
        if host != "both.example":
            return await look_up(host, *rest, **options)
        pairs = [(socket.AF_INET6, ("::1", server.port, 0, 0)), (socket.AF_INET, ("127.0.0.1", server.port))]
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address) for family, address in pairs]

    monkeypatch.setattr(loop, "getaddrinfo", both)
    assert await fetch(client, server.request()) == (200, b"found")
