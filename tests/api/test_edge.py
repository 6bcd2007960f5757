"""What is read from the wire: rows A4-A16, A18 and the shapes by which requests are smuggled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.api.edge_server import HOST, PATIENCE, Answer, Application, Caller, Served, Wire, get, post, until
from uvicorn.server import ServerState

from sealgate.api.edge import EdgeLimits, server_config
from sealgate.api.edge_connection import LINGER

CHUNKED = b"Transfer-Encoding: chunked"


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def edge(request: pytest.FixtureRequest) -> Iterator[Served]:
    with Served(EdgeLimits(linger_seconds=0.5), loop=request.param) as served:
        yield served


def refused(edge: Served, *pieces: bytes) -> tuple[int, str]:
    """Send, and see that the answer is an error of the edge, that the connection ends, and that no task is left."""
    began = edge.requests()
    with edge.caller() as caller:
        caller.send(*pieces)
        answer = caller.answer()
        assert caller.ended() == "fin"
    assert edge.requests() == began, "the application has seen it"
    return answer.status, answer.code


def chunked(body: bytes) -> bytes:
    return post("/echo", body, CHUNKED, length=False)


def test_a_get_is_understood(edge: Served) -> None:
    said = edge.ask(get("/echo/a%2Fb%20c?q=%20&r", b"X-One: 1", b"X-Two:  2\t ")).json

    assert said["method"] == "GET"
    assert said["path"] == "/echo/a/b c"
    assert said["raw_path"] == "/echo/a%2Fb%20c"
    assert said["query"] == "q=%20&r"
    assert said["headers"] == [["host", "gate.example"], ["x-one", "1"], ["x-two", "2"]]
    assert said["scheme"] == "http"
    assert said["client"][0] == "127.0.0.1"


@pytest.mark.parametrize("cut", [1, 3, 10, 17, 18, 40, 62, 63, 64, 65, 66, 70])
def test_a_request_may_be_cut_anywhere(edge: Served, cut: int) -> None:
    whole = post("/echo", b"hello, gate")

    said = edge.ask(whole[:cut], whole[cut:]).json

    assert (said["method"], said["body"]) == ("POST", "hello, gate")


def test_a_request_may_come_byte_by_byte(edge: Served) -> None:
    whole = chunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n")
    with edge.caller() as caller:
        for at in range(len(whole)):
            caller.socket.sendall(whole[at : at + 1])

        assert caller.answer().json["body"] == "abcde"


def test_a_large_body_arrives_whole(edge: Served) -> None:
    body = bytes(range(256)) * 8192

    edge.ask(post("/echo", body))

    assert edge.app.bodies[-1] == body


def test_a_connection_serves_one_request_after_another(edge: Served) -> None:
    with edge.caller() as caller:
        for number in range(3):
            caller.send(get(f"/echo/{number}"))

            assert caller.answer().json["path"] == f"/echo/{number}"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((b"Content-Length: 3", CHUNKED), id="length-first"),
        pytest.param((CHUNKED, b"Content-Length: 3"), id="chunked-first"),
        pytest.param((b"Content-Length: 0", CHUNKED), id="length-zero"),
        pytest.param((b"transfer-ENCODING:chunked", b"CONTENT-length:3"), id="odd-case"),
    ],
)
def test_a4_two_ways_to_say_the_length_are_refused(edge: Served, lines: tuple[bytes, ...]) -> None:
    assert refused(edge, post("/echo", b"0\r\n\r\n", *lines, length=False)) == (400, "ambiguous_length")


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 3", b"Content-Length: 4"),
        (b"Content-Length: 3", b"Content-Length: 3"),
        (b"Content-Length: 3, 3",),
        (b"Content-Length: -3",),
        (b"Content-Length: +3",),
        (b"Content-Length: 0x3",),
        (b"Content-Length: 3 3",),
        (b"Content-Length: 1_0",),
        (b"Content-Length:",),
        (b"Content-Length: 99999999999999999999999",),
        (b"Transfer-Encoding: gzip",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked, gzip",),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding: identity",),
        (b"Transfer-Encoding:",),
        (CHUNKED, CHUNKED),
        (b"Transfer-Encoding: gzip", CHUNKED),
    ],
    ids=lambda lines: b"|".join(lines).decode(),
)
def test_a5_a_length_that_is_not_one_number_is_refused(edge: Served, lines: tuple[bytes, ...]) -> None:
    assert refused(edge, post("/echo", b"0\r\n\r\n", *lines, length=False)) == (400, "invalid_http")


@pytest.mark.parametrize("before", [b"\x0b", b"\x00"], ids=["vt", "nul"])
def test_a5_a_control_character_does_not_hide_the_coding(edge: Served, before: bytes) -> None:
    lines = (b"Transfer-Encoding:" + before + b"chunked",)

    assert refused(edge, post("/echo", b"0\r\n\r\n", *lines, length=False)) == (400, "invalid_header")


def test_a5_a_length_with_white_space_around_it_is_a_length(edge: Served) -> None:
    assert edge.ask(post("/echo", b"abc", b"Content-Length:  3 \t", length=False)).json["body"] == "abc"


BAD_CHUNKS = {
    "size-not-hex": b"zz\r\nhello\r\n0\r\n\r\n",
    "size-negative": b"-5\r\nhello\r\n0\r\n\r\n",
    "size-0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size-too-long": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "size-empty": b"\r\nhello\r\n0\r\n\r\n",
    "space-after-size": b"5 \r\nhello\r\n0\r\n\r\n",
    "bare-lf": b"5\nhello\r\n0\r\n\r\n",
    "bare-cr": b"5\rhello\r\n0\r\n\r\n",
    "terminator-missing": b"5\r\nhello0\r\n\r\n",
    "terminator-wrong": b"5\r\nhelloXX0\r\n\r\n",
    "terminator-lf": b"5\r\nhello\n0\r\n\r\n",
    "extension-unclosed-quote": b'5;a="b\r\nhello\r\n0\r\n\r\n',
    "extension-lf": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "extension-long": b"5;a=" + b"b" * 255 + b"\r\nhello\r\n0\r\n\r\n",
    "last-chunk-lf": b"5\r\nhello\r\n0\n\n",
    "trailer-lf": b"5\r\nhello\r\n0\r\n\n",
    "trailer-folded": b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
}


@pytest.mark.parametrize("cut", [0, 5], ids=["whole", "cut"])
@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_a6_broken_chunks_are_refused_and_the_application_sees_a_disconnect(edge: Served, name: str, cut: int) -> None:
    path = f"/echo/{name}/{cut}"
    whole = post(path, BAD_CHUNKS[name], CHUNKED, length=False)
    with edge.caller() as caller:
        caller.send(*([whole[:-cut], whole[-cut:]] if cut else [whole]))
        answer = caller.answer()

        assert (answer.status, answer.code) == (400, "invalid_http")
        assert caller.ended() == "fin"
    assert edge.saw(path, "disconnect")


def test_a6_an_extension_of_256_bytes_is_let_through(edge: Served) -> None:
    body = b"5;a=" + b"b" * 254 + b"\r\nhello\r\n0\r\n\r\n"

    assert edge.ask(chunked(body)).json["body"] == "hello"


def test_a6_an_extension_that_never_ends_is_cut_off_while_it_comes(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(chunked(b"5;a="), b"b" * 300)

        assert caller.answer().code == "invalid_http"


def test_a6_a_flood_of_tiny_chunks_is_refused(edge: Served) -> None:
    assert edge.ask(chunked(b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n")).code == "invalid_http"


def test_trailers_are_dropped(edge: Served) -> None:
    said = edge.ask(chunked(b"5\r\nhello\r\n0\r\nAuthorization: Bearer x\r\nHost: other\r\n\r\n")).json

    assert said["body"] == "hello"
    assert [name for name, _ in said["headers"]] == ["host", "transfer-encoding"]


def test_trailers_are_bounded(edge: Served) -> None:
    assert edge.ask(chunked(b"0\r\n" + b"A: b\r\n" * 800)).code == "headers_too_large"


def test_a7_half_a_body_and_a_fin_is_a_caller_that_left(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(post("/hang/a7", b"0123456789")[:-4])
        assert edge.saw("/hang/a7", "began")
        caller.half_close()

        assert edge.saw("/hang/a7", "cancelled", "client_disconnected")
        assert caller.ended() in ("fin", "rst")


@pytest.mark.parametrize(
    "host",
    [
        b"",
        HOST + HOST,
        HOST + b"hOSt: other.example\r\n",
        b"Host:\r\n",
        b"Host:   \r\n",
        b"Host: a/b\r\n",
        b"Host: a/pub?\r\n",
        b"Host: a?b\r\n",
        b"Host: a#b\r\n",
        b"Host: user@a\r\n",
        b"Host: a\\b\r\n",
        b"Host: a b\r\n",
        b"Host: a,b\r\n",
        b"Host: a%2fb\r\n",
        b"Host: a:\r\n",
        b"Host: a:x\r\n",
        b"Host: a:70000\r\n",
        b"Host: a:80:80\r\n",
        b"Host: :80\r\n",
        b"Host: [::1\r\n",
        b"Host: [zz]\r\n",
        b"Host: http://a\r\n",
        b"Host: \xc3\xa4\r\n",
    ],
    ids=repr,
)
def test_a8_there_is_exactly_one_good_host(edge: Served, host: bytes) -> None:
    assert refused(edge, get("/echo", host=host)) == (400, "invalid_host")


@pytest.mark.parametrize(
    "host", [b"a", b"A.Example:65535", b"127.0.0.1:3000", b"[::1]:3000", b"[::1]", b"my_service", b"a.example."]
)
def test_a8_good_hosts_are_good(edge: Served, host: bytes) -> None:
    assert edge.ask(get("/echo", host=b"Host: " + host + b"\r\n")).status == 200


def test_a8_a_control_character_in_the_host_is_refused(edge: Served) -> None:
    assert refused(edge, get("/echo", host=b"Host: a\x01b\r\n")) == (400, "invalid_header")


def test_a9_other_hosts_are_misdirected() -> None:
    served_names = frozenset({"gate.example", "other.example:8443"})
    with Served(EdgeLimits(linger_seconds=0.2), hosts=served_names) as edge:

        def ask(name: bytes) -> Answer:
            return edge.ask(get("/echo", host=b"Host: " + name + b"\r\n"))

        for name in (b"gate.example", b"GATE.example.:123", b"gate.example", b"other.example:8443"):
            assert ask(name).status == 200
        for name in (b"evil.example", b"gate.example.evil", b"other.example", b"other.example:1"):
            answer = ask(name)
            assert (answer.status, answer.code) == (421, "misdirected_request")
        assert ask(b"gate.example/x").code == "invalid_host"
        assert edge.ask(get("/echo", host=b"", version=b"HTTP/1.0")).code == "invalid_host"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET http://evil/adm HTTP/1.1", (400, "invalid_http")),
        (b"GET https://gate.example/ HTTP/1.1", (400, "invalid_http")),
        (b"CONNECT gate.example:443 HTTP/1.1", (405, "method_not_allowed")),
        (b"TRACE / HTTP/1.1", (405, "method_not_allowed")),
        (b"GET * HTTP/1.1", (400, "invalid_http")),
        (b"GET echo HTTP/1.1", (400, "invalid_http")),
        (b"GET /echo#top HTTP/1.1", (400, "invalid_http")),
        (b"GET /\xc3\xa4 HTTP/1.1", (400, "invalid_http")),
        (b"GET /\x00 HTTP/1.1", (400, "invalid_http")),
        (b"GET /a b HTTP/1.1", (400, "invalid_http")),
        (b"GET  / HTTP/1.1", (400, "invalid_http")),
        (b"GET / HTTP/1.1 ", (400, "invalid_http")),
        (b"GET\t/ HTTP/1.1", (400, "invalid_http")),
        (b" GET / HTTP/1.1", (400, "invalid_http")),
        (b"get / HTTP/1.1", (400, "invalid_http")),
        (b"NONSENSE / HTTP/1.1", (400, "invalid_http")),
        (b"GET / http/1.1", (400, "invalid_http")),
        (b"GET / HTTP/1.2", (400, "invalid_http")),
        (b"GET / HTTP/2.0", (400, "invalid_http")),
        (b"GET / HTTP/0.9", (400, "invalid_http")),
        (b"GET /", (400, "invalid_http")),
        (b"PRI * HTTP/2.0", (400, "invalid_http")),
        (b"GET / RTSP/1.0", (400, "invalid_http")),
        (b"SOURCE / ICE/1.0", (400, "invalid_http")),
        (b"\x16\x03\x01\x02\x00\x01\x00", (400, "invalid_http")),
    ],
    ids=repr,
)
def test_a10_request_lines_that_are_not_for_us_are_refused(
    edge: Served, line: bytes, expected: tuple[int, str]
) -> None:
    assert refused(edge, line + b"\r\n" + HOST + b"\r\n") == expected


def test_a10_a_refused_method_says_which_are_allowed(edge: Served) -> None:
    assert "POST" in edge.ask(b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n").headers["allow"]


@pytest.mark.parametrize("path", ["//evil/x", "/a/../b", "/%2e%2e", "/;x", "/A", "/a.", "/%zz", "/%00", "/a//b"])
def test_a14_the_raw_path_is_handed_on_as_it_was_sent(edge: Served, path: str) -> None:
    assert edge.ask(get(path)).json["raw_path"] == path


def test_a_question_to_the_whole_server_is_a_request(edge: Served) -> None:
    assert edge.ask(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n").json["raw_path"] == "*"


@pytest.mark.parametrize(
    "line",
    [
        b"X: a\x00b",
        b"X: a\rb",
        b"X: a\nb: c",
        b"X: a\r\n folded",
        b"X: a\r\n\tfolded",
        b" X: a",
        b"X : a",
        b"X\x00: a",
        b"X(: a",
        b": a",
        b"no colon",
        b"X: \x7f",
        b"X: a\n",
        b"Content-Length : 3",
    ],
    ids=repr,
)
def test_a11_a_header_that_is_not_one_is_refused(edge: Served, line: bytes) -> None:
    assert refused(edge, get("/echo", line)) == (400, "invalid_header")


def test_bare_line_feeds_are_refused_before_the_head_is_complete(edge: Served) -> None:
    assert refused(edge, b"GET / HTTP/1.1\nHost: a\n\n") == (400, "invalid_http")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(get("/" + "a" * 8200), (414, "uri_too_long"), id="line"),
        pytest.param(b"GET /" + b"a" * 9000, (414, "uri_too_long"), id="line-unfinished"),
        pytest.param(b"GET /" + b"a" * 100_000, (414, "uri_too_long"), id="line-much-too-long"),
        pytest.param(get("/", b"X: " + b"a" * 33_000), (431, "headers_too_large"), id="header"),
        pytest.param(get("/", b"X: " + b"a" * 33_000)[:-5], (431, "headers_too_large"), id="header-unfinished"),
        pytest.param(get("/", *[b"X: a"] * 100), (431, "headers_too_large"), id="101-headers"),
        pytest.param(get("/", *[b"X: a"] * 102)[:-2], (431, "headers_too_large"), id="headers-unfinished"),
        pytest.param(get("/", *[b"x_y: a"] * 100), (431, "headers_too_large"), id="dropped-headers-count"),
        pytest.param(get("/", *[b"X: a"] * 5000), (431, "headers_too_large"), id="5000-headers"),
    ],
)
def test_a12_a_head_is_bounded(edge: Served, head: bytes, expected: tuple[int, str]) -> None:
    assert refused(edge, head) == expected


@pytest.mark.parametrize("first", [20, 9_000])
def test_a12_a_head_is_bounded_while_it_comes_in_pieces(edge: Served, first: int) -> None:
    head = get("/", *[b"X: " + b"a" * 100] * 400)
    pieces = [head[:first], *(head[at : at + 7000] for at in range(first, len(head), 7000))]

    assert refused(edge, *pieces[:7]) == (431, "headers_too_large")


def test_a12_what_is_just_small_enough_is_served(edge: Served) -> None:
    line = get("/" + "a" * (8192 - len("GET / HTTP/1.1")))
    full = get("/echo", *[b"X-%02d: " % n + b"a" * 300 for n in range(99)])

    assert edge.ask(line).status == 200
    assert len(edge.ask(full).json["headers"]) == 100


def test_a13_a_header_with_an_underscore_is_dropped(edge: Served) -> None:
    lines = (b"X_Tresor_Nonce: evil", b"X-Tresor-Nonce: good", b"Content_Length: 5", b"Transfer_Encoding: chunked")

    headers = edge.ask(get("/echo", *lines)).json["headers"]

    assert headers == [["host", "gate.example"], ["x-tresor-nonce", "good"]]


def test_a13_twice_the_same_header_is_for_the_application_to_judge(edge: Served) -> None:
    headers = edge.ask(get("/echo", b"X-Tresor-Nonce: a", b"x-tresor-nonce: b")).json["headers"]

    assert headers[1:] == [["x-tresor-nonce", "a"], ["x-tresor-nonce", "b"]]


@pytest.mark.parametrize("host", [b"", HOST], ids=["without-host", "with-host"])
def test_a15_http_1_0_is_served_and_closed(edge: Served, host: bytes) -> None:
    with edge.caller() as caller:
        caller.send(get("/echo", b"Connection: keep-alive", host=host, version=b"HTTP/1.0"))
        answer = caller.answer()

        assert answer.json["http_version"] == "1.0"
        assert answer.headers["connection"] == "close"
        assert caller.ended() == "fin"


def test_a15_http_1_0_with_chunks_is_refused(edge: Served) -> None:
    request = chunked(b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")

    assert refused(edge, request) == (400, "invalid_http")


def test_a15_connection_close_is_honoured(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(get("/echo", b"Connection: close"))

        assert caller.answer().headers["connection"] == "close"
        assert caller.ended() == "fin"


def test_a15_pipelined_requests_are_answered_in_order(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(
            b"".join([get("/echo/1"), post("/echo/2", b"two"), chunked(b"1\r\nx\r\n0\r\n\r\n"), get("/echo/4")])
        )
        answers = [caller.answer().json for _ in range(4)]

        assert [said["path"] for said in answers] == ["/echo/1", "/echo/2", "/echo", "/echo/4"]
        assert [said["body"] for said in answers] == ["", "two", "x", ""]


def test_a15_a_pipelined_request_waits_for_its_turn(edge: Served) -> None:
    edge.app.gate.clear()
    with edge.caller() as caller:
        caller.send(get("/gate/first"), get("/echo/second"), get("/echo/third")[:20])
        assert edge.saw("/gate/first", "began")
        assert ("/echo/second", "began") not in edge.app.journal
        edge.app.gate.set()
        caller.send(get("/echo/third")[20:])

        assert [caller.answer().json["path"] for _ in range(3)] == ["/gate/first", "/echo/second", "/echo/third"]


def test_a15_what_is_pipelined_is_bounded_and_still_served(edge: Served) -> None:
    edge.app.gate.clear()
    body = b"x" * 600_000
    with edge.caller(seconds=5) as caller:
        caller.send(get("/gate/large"))
        assert edge.saw("/gate/large", "began")
        caller.socket.sendall(post("/echo/waits", body)[:300_000])
        edge.app.gate.set()
        assert caller.answer().json["path"] == "/gate/large"
        caller.socket.sendall(post("/echo/waits", body)[300_000:])

        assert len(caller.answer().json["body"]) == len(body)


def test_an_error_in_a_pipelined_request_is_answered_in_its_turn(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(get("/echo/good") + get("/echo", b"X : y"))

        assert caller.answer().json["path"] == "/echo/good"
        assert caller.answer().code == "invalid_header"
        assert caller.ended() == "fin"


def test_nothing_after_connection_close_is_served(edge: Served) -> None:
    began = edge.requests()
    with edge.caller() as caller:
        caller.send(get("/echo/last", b"Connection: close") + get("/echo/never"))

        assert caller.answer().json["path"] == "/echo/last"
        assert caller.ended() == "fin"
    assert edge.requests() == began + 1


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (b"GET /echo/smuggled HTTP/1.1\r\nHost: a\r\n\r\n", None),
        (b"0\r\n\r\nGET /echo/smuggled HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ],
)
def test_a_request_inside_a_body_stays_a_body(edge: Served, body: bytes, seen: None) -> None:
    began = edge.requests()

    assert edge.ask(post("/echo", body)).json["body"] == body.decode()
    assert edge.requests() == began + 1


def test_a_body_where_none_is_announced_is_the_next_request(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(get("/echo") + b"id=1\r\n\r\n")

        assert caller.answer().status == 200
        assert caller.answer().code == "invalid_http"


def test_empty_lines_before_a_request_are_skipped(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(b"\r\n\r\n", b"\r", b"\n" + get("/echo/1"))
        assert caller.answer().json["path"] == "/echo/1"
        caller.send(b"\r\n" + get("/echo/2"))

        assert caller.answer().json["path"] == "/echo/2"


EXPECT = b"Expect: 100-continue"


def test_a16_the_caller_is_told_to_go_on_when_the_body_is_asked_for(edge: Served) -> None:
    edge.app.gate.clear()
    with edge.caller() as caller:
        caller.send(post("/gate/continue", b"hello", EXPECT)[:-5])
        assert edge.saw("/gate/continue", "began")
        caller.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            caller.read()
        caller.socket.settimeout(PATIENCE)
        edge.app.gate.set()

        assert caller.head()[0] == 100
        caller.send(b"hello")
        assert caller.answer().json["body"] == "hello"


def test_a16_a_refusal_is_said_without_100_and_the_connection_ends(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(post("/early", b"hello", EXPECT)[:-5])
        answer = caller.answer()

        assert answer.status == 401
        assert answer.headers["connection"] == "close"
        assert caller.ended() == "fin"


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(get("/echo", EXPECT), id="no-body"),
        pytest.param(post("/echo", b"hello", EXPECT).replace(b"HTTP/1.1", b"HTTP/1.0"), id="http-1.0"),
        pytest.param(post("/echo", b"hello", b"Expect: magic"), id="other-expectation"),
    ],
)
def test_a16_no_100_where_it_is_not_due(edge: Served, request_bytes: bytes) -> None:
    assert edge.ask(request_bytes).status == 200


@pytest.mark.parametrize(
    "lines",
    [
        (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
    ],
    ids=["websocket", "h2c"],
)
def test_a18_an_upgrade_is_answered_like_any_request(edge: Served, lines: tuple[bytes, ...]) -> None:
    with edge.caller() as caller:
        caller.send(get("/echo/1", *lines))
        assert caller.answer().json["path"] == "/echo/1"
        caller.send(post("/echo/2", b"hello", *lines))
        assert caller.answer().json["body"] == "hello"
        caller.send(post("/echo/3", b"2\r\nhe\r\n", CHUNKED, *lines, length=False), b"3\r\nllo\r\n0\r\n\r\n")
        assert caller.answer().json["body"] == "hello"
        caller.send(get("/echo/4"))

        assert caller.answer().json["path"] == "/echo/4"


def test_a18_an_upgrade_that_also_says_close_is_closed(edge: Served) -> None:
    with edge.caller() as caller:
        caller.send(post("/echo", b"hello", b"Upgrade: h2c", b"Connection: close, Upgrade"))

        assert caller.answer().headers["connection"] == "close"
        assert caller.ended() == "fin"


def test_a21_forwarded_headers_do_not_change_the_peer(edge: Served) -> None:
    lines = (b"X-Forwarded-For: 8.8.8.8", b"X-Forwarded-Proto: https", b"Forwarded: for=8.8.8.8", b"X-Real-IP: 8.8.8.8")

    said = edge.ask(get("/echo", *lines)).json

    assert (said["client"][0], said["scheme"]) == ("127.0.0.1", "http")


def test_no_task_is_left_over(edge: Served) -> None:
    edge.ask(get("/echo"))

    assert until(lambda: edge.running_tasks() == 0)


def test_the_protocol_works_in_uvicorn_s_own_server() -> None:
    application = Application()
    server = uvicorn.Server(server_config(application, "127.0.0.1", 0, EdgeLimits()))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert until(lambda: server.started)
        caller = Caller(server.servers[0].sockets[0].getsockname()[1])
        caller.send(get("/echo"))
        assert caller.answer().status == 200
        caller.send(get("/echo", b"X : y"))
        assert caller.answer().code == "invalid_header"
        caller.close()
    finally:
        server.should_exit = True
        thread.join()

    assert application.lifespan == ["startup", "shutdown"]


# However it is cut

GOOD = [
    get("/1"),
    get("/2", b"Connection: close"),
    post("/3", b"hello"),
    post("/4", b"GET / HTTP/1.1\r\n\r\n"),
    post("/5", b"3\r\nabc\r\n0\r\n\r\n", CHUNKED, length=False),
    post("/6", b"1;a=b\r\nx\r\n0\r\nA: b\r\n\r\n", CHUNKED, b"Upgrade: h2c", b"Connection: upgrade", length=False),
    post("/7", b"abc", b"Upgrade: websocket", b"Connection: upgrade"),
    get("/8", host=b"", version=b"HTTP/1.0"),
    b"\r\n",
]


async def understood(pieces: list[bytes]) -> tuple[list[tuple[str, bytes, bytes]], list[str], bool]:
    """The whole requests that reached the application, the refusals, and whether the connection was ended."""
    seen: list[tuple[str, bytes, bytes]] = []
    refusals: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        seen.append((scope["method"], scope["raw_path"], body))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    config = server_config(application, "", 0, EdgeLimits(), on_refusal=lambda code, peer: refusals.append(code))
    config.load()
    state, wire = ServerState(), Wire()
    protocol: Any = config.http_protocol_class(config=config, server_state=state, app_state={})
    protocol.connection_made(wire)
    for piece in pieces:
        protocol.data_received(piece)
        for _ in range(40):
            await asyncio.sleep(0)
    ended = wire.closing or protocol._state >= LINGER
    protocol.connection_lost(None)
    await asyncio.sleep(0)
    return seen, refusals, ended


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_understood_does_not_depend_on_how_it_is_cut(data: st.DataObject) -> None:
    """Good requests in a row, with perhaps one byte changed, put in or taken out."""
    whole = bytearray(b"".join(data.draw(st.lists(st.sampled_from(GOOD), min_size=1, max_size=4))))
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, len(whole) - 1))
        put = data.draw(
            st.sampled_from([b"", b"\r", b"\n", b" ", b"\t", b":", b";", b"0", b"1", b"\x00", b"\xff", b"_", b"x"])
        )
        whole[at : at + data.draw(st.integers(0, 1))] = put
    cuts = sorted({0, len(whole), *data.draw(st.lists(st.integers(0, len(whole)), max_size=8))})
    pieces = [bytes(whole[start:end]) for start, end in pairwise(cuts)]

    with asyncio.Runner() as runner:
        at_once = runner.run(understood([bytes(whole)]))
        in_pieces = runner.run(understood(pieces))

    assert in_pieces == at_once
