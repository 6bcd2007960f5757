"""The rules that need no socket."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.api.edge_rules import ChunkFraming, EdgeLimits, RefusedError, head_code, parser_code, refusal

LIMITS = EdgeLimits(request_line_bytes=20, header_bytes=50, header_count=3)

chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
extensions = st.sampled_from([b"", b";a", b";a=b", b';a="b;c"'])
trailers = st.lists(st.sampled_from([b"A: b\r\n", b"X-Long: " + b"y" * 50 + b"\r\n"]), max_size=3)


@given(chunks=chunks, extension=extensions, trailers=trailers, after=st.binary(max_size=10), data=st.data())
def test_the_end_of_a_chunked_body_is_found_however_it_is_cut(
    chunks: list[bytes], extension: bytes, trailers: list[bytes], after: bytes, data: st.DataObject
) -> None:
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    body += b"0" + extension + b"\r\n" + b"".join(trailers) + b"\r\n"
    whole = body + after
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    framing, at = ChunkFraming(256), 0

    for end in [*cuts, len(whole)]:
        found = framing.feed(whole[at:end])
        if found >= 0:
            assert at + found == len(body)
            return
        at = end
    pytest.fail("the end was not found")


@pytest.mark.parametrize("line", [b"\r\n", b"g\r\n", b"5\n", b" 5\r\n", b"5 \r\n", b"0x5\r\n", b"-5\r\n", b"1" * 17])
def test_a_line_that_is_no_chunk_size_is_refused(line: bytes) -> None:
    with pytest.raises(RefusedError):
        ChunkFraming(0).feed(line + b"\n")


@pytest.mark.parametrize(("length", "good"), [(256, True), (257, False)])
@pytest.mark.parametrize("size", [1, 1000])
def test_an_extension_has_at_most_the_bytes_it_may_have(length: int, good: bool, size: int) -> None:
    framing = ChunkFraming(256)
    body = b"5;" + b"x" * length + b"\r\nhello\r\n0\r\n\r\n"

    def feed() -> int:
        return max(framing.feed(body[at : at + size]) for at in range(0, len(body), size))

    if good:
        assert feed() >= 0
    else:
        with pytest.raises(RefusedError):
            feed()


def test_tiny_chunks_may_not_be_many() -> None:
    with pytest.raises(RefusedError, match="invalid_http"):
        ChunkFraming(256).feed(b"1\r\nx\r\n" * 20_000)


def test_chunks_of_a_decent_size_may_be_many() -> None:
    assert ChunkFraming(256).feed((b"c8\r\n" + b"x" * 200 + b"\r\n") * 20_000) == -1


def test_trailers_have_a_bound_of_their_own() -> None:
    framing = ChunkFraming(256)
    assert framing.feed(b"0\r\n" + b"A: bcdefg\r\n" * 300) == -1

    with pytest.raises(RefusedError, match="headers_too_large"):
        framing.feed(b"A: bcdefg\r\n" * 100)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET / HTTP/1.1", None),
        (b"GET /12345 HTTP/1.1\r\n", None),
        (b"GET /123456 HTTP/1.1\r\n", None),
        (b"GET /1234567 HTTP/1.1\r\n", "uri_too_long"),
        (b"GET /1234567890 HTTP/1.1", "uri_too_long"),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 41 + b"\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 47, None),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 48, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3 + b"\r\n", None),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 4 + b"\r\n", "headers_too_large"),
    ],
)
def test_a_head_is_measured_whole_or_in_part(head: bytes, code: str | None) -> None:
    assert head_code(head, LIMITS) == code


@pytest.mark.parametrize(
    ("text", "in_body", "code"),
    [
        ("Content-Length can't be present with Transfer-Encoding", False, "ambiguous_length"),
        ("Duplicate Content-Length", False, "invalid_http"),
        ("Invalid `Transfer-Encoding` header value", False, "invalid_http"),
        ("Invalid header token", False, "invalid_header"),
        ("Invalid header token", True, "invalid_http"),
        ("Invalid method encountered", False, "invalid_http"),
        ("something new", False, "invalid_http"),
    ],
)
def test_what_the_parser_says_becomes_a_public_code(text: str, in_body: bool, code: str) -> None:
    assert parser_code(text, in_body) == code


def test_a_refusal_is_a_whole_response_with_an_id_of_its_own() -> None:
    first, second = refusal("overloaded", b"date: now\r\n"), refusal("overloaded", b"date: now\r\n")
    head, _, body = first.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ") for line in lines[1:])

    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    assert headers["connection"] == "close"
    assert headers["retry-after"] == "1"
    assert headers["date"] == "now"
    assert int(headers["content-length"]) == len(body)
    assert json.loads(body)["error"]["code"] == "overloaded"
    assert first != second


def test_no_deadline_is_nearer_than_a_tick() -> None:
    limits = EdgeLimits()

    assert limits.tick <= min(
        limits.header_seconds,
        limits.body_seconds,
        limits.body_grace_seconds,
        limits.idle_seconds,
        limits.write_stall_seconds,
    )
