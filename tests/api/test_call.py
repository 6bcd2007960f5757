"""One request's body and answer: rows C9 and A7, and what an answer is made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.gateway import CHAT, Running, Serve, Threaded, provider

from sealgate.api.call import Call, ClientGoneError, Message
from sealgate.config import Server
from sealgate.errors import Problem
from sealgate.testing import ScriptedUpstream, http_request

LIMIT = 4096


@pytest.fixture(scope="module")
def running(gateway: Threaded) -> Running:
    return gateway.running


def call(*messages: Message, headers: list[tuple[bytes, bytes]] | None = None) -> tuple[Call, list[Message]]:
    """A call whose caller sends these, and what is sent to it."""
    waiting, sent = list(messages), []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    return Call({"headers": headers or [], "method": "POST", "type": "http"}, receive, send), sent


def piece(body: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.anyio
async def test_a_body_is_read_in_as_many_pieces_as_it_comes() -> None:
    assert await call(piece(b"whole", False))[0].body(10) == b"whole"
    assert await call(piece(b"in "), piece(b""), piece(b"pieces", False))[0].body(10) == b"in pieces"
    assert await call({"type": "http.request"})[0].body(10) == b""


@pytest.mark.anyio
@pytest.mark.parametrize("messages", [[piece(b"x" * 11, False)], [piece(b"x" * 6)] * 2, [piece(b"x" * 11)]])
async def test_row_c9_reading_stops_at_the_limit(messages: list[Message]) -> None:
    with pytest.raises(Problem, match="request_too_large"):
        await call(*messages)[0].body(10)
    assert await call(piece(b"x" * 10, False))[0].body(10) == b"x" * 10


@pytest.mark.anyio
async def test_row_c9_a_length_that_is_too_large_is_not_read_at_all() -> None:
    with pytest.raises(Problem, match="request_too_large"):
        await call(headers=[(b"content-length", b"11")])[0].body(10)


@pytest.mark.anyio
@pytest.mark.parametrize("messages", [[], [piece(b"half")]])
async def test_row_a7_a_caller_that_leaves_before_its_end_has_said_nothing(messages: list[Message]) -> None:
    with pytest.raises(ClientGoneError):
        await call(*messages, {"type": "http.disconnect"})[0].body(100)


@pytest.mark.anyio
async def test_a_whole_answer_has_its_length() -> None:
    one, sent = call(headers=[(b"x-request-id", b"mine")])
    await one.json({"a": "\u00e9"}, 201)
    head, body = sent
    assert (head["status"], one.status, body) == (201, 201, {"type": "http.response.body", "body": b'{"a":"\xc3\xa9"}'})
    assert (b"content-length", b"10") in head["headers"]
    assert (b"x-request-id", b"mine") in head["headers"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("code", "closes"), [("request_too_large", True), ("request_timeout", True), ("invalid_json", False)]
)
async def test_where_a_body_was_not_read_the_connection_ends(code: str, closes: bool) -> None:
    one, sent = call()
    await one.problem(Problem(code))
    assert ((b"connection", b"close") in sent[0]["headers"]) is closes
    assert one.code == code


Sender = Callable[[bytes, dict[str, str]], bytes]


def sized(body: bytes, headers: dict[str, str]) -> bytes:
    return http_request("POST", CHAT, headers, body)


def chunked(body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"POST {CHAT} HTTP/1.1", "host: h", "transfer-encoding: chunked", *lines, "", ""])
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    return head.encode() + b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


@pytest.mark.anyio
@pytest.mark.parametrize("send", [sized, chunked])
async def test_row_c9_the_limit_on_a_body_holds_however_its_length_is_said(serve: Serve, send: Sender) -> None:
    small = Server(port=0, discover=False, max_body_bytes=LIMIT)
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}, server=small) as running:
        headers = running.headers | {"content-type": "application/json"}
        for size, status in ((LIMIT, 200), (LIMIT + 1, 413), (100 * LIMIT, 413)):
            async with running.client() as client:
                await client.send(send(_ask_of(size, running), headers))
                response = await client.response()
                await response.read()
                assert response.status == status, size
                if status == 413:
                    assert response.json["error"]["code"] == "request_too_large"
                    assert str(LIMIT) in response.json["error"]["message"]
                    assert response.headers["connection"] == "close"
                    assert await client.wait_end() in ("fin", "rst")
        assert len(upstream.requests) == 1


def _ask_of(size: int, running: Running) -> bytes:
    empty = len(json.dumps(running.ask("")).encode())
    return json.dumps(running.ask("x" * (size - empty))).encode()


@pytest.mark.anyio
async def test_row_c9_a_length_beyond_the_limit_is_refused_before_the_body_comes(running: Running) -> None:
    headers = running.headers | {"content-type": "application/json", "content-length": str(33 * 1024 * 1024)}
    async with running.client() as client:
        await client.send(http_request("POST", CHAT, headers))
        assert (await client.response()).status == 413


@pytest.mark.anyio
async def test_row_c8_a_megabyte_is_an_ordinary_body(running: Running) -> None:
    assert (await running.chat("word " * 200_000)).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize("send", [sized, chunked])
async def test_row_a7_half_a_body_calls_no_provider(serve: Serve, send: Sender) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": provider(upstream)}) as running:
        raw = send(_ask_of(2000, running), running.headers | {"content-type": "application/json"})
        async with running.client() as client:
            await client.send(raw[:-600])
            client.half_close()
            assert await client.wait_end() in ("fin", "rst")
            assert not client.buffer.startswith(b"HTTP/1.1 2")
        assert (await running.chat()).status == 200
        assert len(upstream.requests) == 1
        assert len(await running.rows(1)) == 1


def test_a_header_is_the_first_of_its_name() -> None:
    headers = [(b"a", b"1"), (b"b", b"2"), (b"b", b"3")]
    found: Any = call(headers=headers)[0]
    assert (found.header(b"b"), found.header(b"c")) == (b"2", None)
