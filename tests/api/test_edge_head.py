"""A head, read and judged without a socket."""

from __future__ import annotations

import pytest

from sealgate.api.edge_head import KNOWN_LINES, HeadReader, host_code
from sealgate.api.edge_rules import EdgeLimits, RefusedError

LINE = b"POST /v1/x%20y?z HTTP/1.1\r\n"


@pytest.fixture
def reader() -> HeadReader:
    return HeadReader(EdgeLimits(), None)


def test_a_head_is_read_into_its_parts(reader: HeadReader) -> None:
    head = reader.read(LINE + b"Host: a\r\nX-A:  b c \r\nContent-Length: 7\r\n\r\n")

    assert (head.target.method, head.target.path, head.target.raw_path) == ("POST", "/v1/x y", b"/v1/x%20y")
    assert (head.target.query, head.target.old, head.length) == (b"z", False, 7)
    assert head.headers == [(b"host", b"a"), (b"x-a", b"b c"), (b"content-length", b"7")]


def test_a_head_says_the_same_when_it_is_remembered(reader: HeadReader) -> None:
    raw = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nAccept: b\r\nX_Y: c\r\nX-Stainless-Lang: d\r\nContent-Length: 7\r\n\r\n"

    first, second = reader.read(raw), reader.read(raw)

    assert first.headers == second.headers
    assert (b"x_y", b"c") not in second.headers
    assert second.target is first.target
    assert (first.length, second.length) == (7, 7)


def test_of_a_header_sent_twice_both_are_passed_on_and_the_first_is_noted(reader: HeadReader) -> None:
    head = reader.read(b"GET / HTTP/1.1\r\nhost: x\r\nx-a: one\r\nx-a: two\r\n\r\n")

    assert head.headers == [(b"host", b"x"), (b"x-a", b"one"), (b"x-a", b"two")]
    assert head.noted == {b"host": b"x", b"x-a": b"one"}


def test_nothing_that_may_be_secret_is_remembered(reader: HeadReader) -> None:
    lines = b"Authorization: Bearer s3cret\r\nX-Api-Key: s3cret\r\nCookie: s3cret\r\n"
    reader.read(b"GET /v1/x?key=s3cret HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")

    assert b"s3cret" not in repr((reader._lines, reader._targets)).encode()


def test_what_is_remembered_is_bounded(reader: HeadReader) -> None:
    for number in range(KNOWN_LINES * 2 + 10):
        reader.read(b"GET /%d HTTP/1.1\r\nHost: a%d\r\n\r\n" % (number, number))

    assert len(reader._lines) <= KNOWN_LINES
    assert len(reader._targets) <= KNOWN_LINES


def test_a_host_is_judged_however_often_it_comes() -> None:
    reader = HeadReader(EdgeLimits(), frozenset({"good"}))
    for _ in range(2):
        with pytest.raises(RefusedError, match="misdirected_request"):
            reader.read(LINE + b"Host: bad\r\n\r\n")
        assert reader.read(LINE + b"Host: good\r\n\r\n").headers == [(b"host", b"good")]


@pytest.mark.parametrize(
    ("lines", "length"),
    [(b"", 0), (b"Content-Length: 0\r\n", 0), (b"Content-Length: 5\r\n", 5), (b"Transfer-Encoding: Chunked\r\n", None)],
)
def test_the_length_of_the_body_is_read(reader: HeadReader, lines: bytes, length: int | None) -> None:
    assert reader.read(LINE + b"Host: a\r\n" + lines + b"\r\n").length == length


@pytest.mark.parametrize(
    ("lines", "due"),
    [
        (b"Expect: 100-Continue\r\nContent-Length: 5\r\n", True),
        (b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", True),
        (b"Expect: 100-continue\r\n", False),
        (b"Expect: 200-ok\r\nContent-Length: 5\r\n", False),
        (b"Content-Length: 5\r\n", False),
    ],
)
def test_whether_the_caller_waits_for_100_continue(reader: HeadReader, lines: bytes, due: bool) -> None:
    assert reader.read(LINE + b"Host: a\r\n" + lines + b"\r\n").continue_due is due


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"a", None),
        (b"A.B:1", None),
        (b"[::1]:1", None),
        (b"", "invalid_host"),
        (b"a:", "invalid_host"),
        (b"a:65536", "invalid_host"),
        (b"a/b", "invalid_host"),
        (b"x" * 256, "invalid_host"),
    ],
)
def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(value: bytes, code: str | None) -> None:
    assert host_code(value, None) == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"a.example", None),
        (b"A.EXAMPLE", None),
        (b"a.example.", None),
        (b"a.example:99", None),
        (b"b.example:1", None),
        (b"b.example", "misdirected_request"),
        (b"b.example:2", "misdirected_request"),
        (b"xa.example", "misdirected_request"),
        (b"[::1]:3000", None),
    ],
)
def test_a_host_is_on_the_list_by_name_or_with_its_port(value: bytes, code: str | None) -> None:
    assert host_code(value, frozenset({"a.example", "b.example:1", "[::1]"})) == code
