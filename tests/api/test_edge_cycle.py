"""What the application sends and what of it reaches the caller: the ASGI side of a request."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.api.edge_server import HOST, Served, get, post

from sealgate.api.edge import EdgeLimits
from sealgate.api.edge_cycle import Cycle
from sealgate.api.edge_head import HeadReader


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def edge(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served(EdgeLimits(linger_seconds=0.3), loop=request.param) as served:
        yield served


@pytest.mark.parametrize("path", ["/raise", "/return", "/inject", "/raise-between", "/short"])
def test_i12_a_failure_before_the_answer_is_an_honest_500(edge: Served, path: str) -> None:
    with edge.caller() as caller:
        caller.send(get(path))
        answer = caller.answer()

        assert (answer.status, answer.code) == (500, "internal_error")
        assert answer.headers["x-should-retry"] == "false"
        assert b"secret" not in answer.body
        assert b"Traceback" not in answer.body
        assert caller.ended() == "fin"


def test_i12_a_failure_within_the_answer_leaves_it_visibly_incomplete(edge: Served) -> None:
    answer = edge.ask(get("/raise-late"))

    assert answer.status == 200
    assert not answer.whole


def test_i12_an_incomplete_answer_that_only_the_close_would_end_is_reset(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(get("/raise-late", version=b"HTTP/1.0"))

        assert caller.ended() == "rst"


@pytest.mark.anyio
async def test_the_head_and_the_first_piece_of_the_body_are_one_write() -> None:
    written: list[bytes] = []
    carrier: Any = SimpleNamespace(
        transport=SimpleNamespace(write=written.append),
        flow=SimpleNamespace(write_paused=False),
        default_lines=lambda: b"",
        answered=lambda: None,
    )
    head = HeadReader(EdgeLimits(), None).read(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    cycle = Cycle(carrier, {"method": "GET"}, head)

    await cycle.send({"type": "http.response.start", "status": 200, "headers": []})
    assert written == []
    for piece in (b"one", b"two"):
        await cycle.send({"type": "http.response.body", "body": piece, "more_body": True})
    await cycle.send({"type": "http.response.body", "body": b""})

    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    assert written == [head + b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"]


def test_an_answer_without_a_length_is_chunked(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(get("/stream"))
        head = caller.until(b"\r\n\r\n")

        assert b"transfer-encoding: chunked\r\n" in head
        assert caller.until(b"\n\n\r\n") == b"9\r\ndata: x\n\n\r\n"


def test_no_chunks_are_sent_to_http_1_0(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(get("/stream", version=b"HTTP/1.0"))
        head = caller.until(b"\r\n\r\n")

        assert b"transfer-encoding" not in head
        assert b"connection: close\r\n" in head
        assert caller.until(b"\n\n") == b"data: x\n\n"


def test_head_has_the_headers_of_get_and_no_body(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(get("/echo").replace(b"GET", b"HEAD"))
        answer = caller.answer("HEAD")
        assert int(answer.headers["content-length"]) > 0
        caller.send(get("/echo/next"))

        assert caller.answer().json["path"] == "/echo/next"


def test_204_has_no_body_and_keeps_the_connection(edge: Served) -> None:
    with edge.caller() as caller:
        for _ in range(2):
            caller.send(get("/nothing"))
            status, headers = caller.head()

            assert status == 204
            assert "transfer-encoding" not in headers


def test_every_answer_is_dated_once(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(get("/echo"))

        assert caller.until(b"\r\n\r\n").count(b"date: ") == 1


def test_the_server_does_not_name_itself(edge: Served) -> None:
    assert "server" not in edge.ask(get("/echo")).headers


def test_a_body_that_came_with_its_head_is_one_message(edge: Served) -> None:
    edge.ask(post("/echo/one", b"hello"))

    assert edge.app.bodies[-1] == b"hello"


def test_a_request_without_a_body_gets_one_empty_message_and_then_waits(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(b"POST /hang/empty HTTP/1.1\r\n" + HOST + b"\r\n")
        assert edge.saw("/hang/empty", "began")

    assert edge.saw("/hang/empty", "cancelled", "client_disconnected")


def test_after_the_answer_receive_says_that_the_request_is_over(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(get("/watch/open"))
        assert caller.answer().body == b"ok"

        assert edge.saw("/watch/open", "http.disconnect")


def test_nothing_can_be_sent_after_the_end(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(get("/too-much"))
        assert caller.answer().body == b"whole"
        assert edge.saw("/too-much", "unexpected ASGI message 'http.response.body'")
        caller.send(get("/echo/next"))

        assert caller.answer().json["path"] == "/echo/next"
