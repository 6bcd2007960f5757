"""The upstream's request reader: strict, incremental, and indifferent to how the bytes were cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.testing import Received, http_request
from sealgate.testing.received import MalformedRequest, RawRequest, RequestReader

SIZED = http_request("POST", "/v1/chat/completions?x=1", {"X-Two": "a"}, b'{"model":"m"}')
CHUNKED = (
    b"POST /c HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;ext=1\r\nhello\r\n6\r\n\r\nhi\r\n\r\n0\r\ntrailer: x\r\n\r\n"
)
BARE = b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n"


def read(data: bytes) -> list[RawRequest]:
    return RequestReader().feed(data)


def test_a_sized_request_is_taken_apart():
    (request,) = read(SIZED)
    assert request.method == "POST"
    assert request.target == "/v1/chat/completions?x=1"
    assert request.headers == {"host": "127.0.0.1", "x-two": "a", "content-length": "13"}
    assert request.body == b'{"model":"m"}'
    assert request.head + request.body == SIZED


def test_a_chunked_body_is_joined_and_its_trailers_dropped():
    (request,) = read(CHUNKED)
    assert request.body == b"hello\r\nhi\r\n"


def test_pipelined_requests_come_out_in_order():
    assert [request.target for request in read(CHUNKED + BARE + SIZED)] == [
        "/c",
        "/v1/models",
        "/v1/chat/completions?x=1",
    ]


@given(st.lists(st.integers(1, len(SIZED + CHUNKED + BARE)), max_size=12))
def test_pieces_of_any_size_give_the_same_requests(cuts: list[int]):
    data = SIZED + CHUNKED + BARE
    reader, found, start = RequestReader(), [], 0
    for end in [*sorted(cuts), len(data)]:
        found += reader.feed(data[start:end])
        start = end
    assert found == read(data)


def test_every_single_byte_alone_gives_the_same_requests():
    reader = RequestReader()
    found = [request for byte in CHUNKED + SIZED for request in reader.feed(bytes([byte]))]
    assert found == read(CHUNKED + SIZED)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET /\r\n\r\n", "request line"),
        (b"GET / HTTP/2\r\n\r\n", "request line"),
        (b"GET  / HTTP/1.1\r\n\r\n", "request line"),
        (b"\x16\x03\x01 / HTTP/1.1\r\n\r\n", "request line"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", "header"),
        (b"GET / HTTP/1.1\r\na: 1\r\n folded\r\n\r\n", "header"),
        (b"GET / HTTP/1.1\r\nname : 1\r\n\r\n", "header"),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "both"),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", "Content-Length"),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "Content-Length"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n", "Transfer-Encoding"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "chunk size"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n", "longer"),
        (b"GET / HTTP/1.1\r\na: " + b"x" * (1 << 20), "longer than 1 MiB"),
    ],
)
def test_what_is_not_http_is_refused_with_its_reason(data: bytes, why: str):
    with pytest.raises(MalformedRequest, match=why):
        read(data)


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [("1.1", "", True), ("1.1", "close", False), ("1.0", "", False), ("1.0", "Keep-Alive", True)],
)
def test_the_clients_wish_to_keep_the_connection_is_read(version: str, connection: str, keeps: bool):
    (request,) = read(f"GET / HTTP/{version}\r\nconnection: {connection}\r\n\r\n".encode())
    assert request.keeps_alive is keeps


def test_a_request_knows_what_its_body_asks_for():
    asked = Received.sample(stream=True, model="m", stream_options={"include_usage": True})
    assert (asked.model, asked.streams, asked.includes_usage) == ("m", True, True)
    plain = Received.sample(stream=False)
    assert (plain.model, plain.streams, plain.includes_usage) == ("test-model", False, False)


@pytest.mark.parametrize("json", [None, [], "x", {"model": 5, "stream": "true", "stream_options": []}])
def test_a_body_of_the_wrong_shape_asks_for_nothing(json: object):
    received = Received("POST", "/", {}, b"", json, 0.0)
    assert (received.model, received.streams, received.includes_usage) == (None, False, False)


def test_every_request_has_a_watermark_of_its_own():
    marks = {Received.sample().watermark for _ in range(1000)}
    assert len(marks) == 1000
    assert {len(mark) for mark in marks} == {15}
