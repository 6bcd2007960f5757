"""Request heads that cannot be bent, answer heads that are judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.outward import head
from sealgate.outward.client import Request
from sealgate.outward.head import (
    BadHead,
    HeadLimits,
    Origin,
    Target,
    check_field,
    encode_head,
    joined,
    judge_head,
    parse_url,
)

LIMITS = HeadLimits()


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a.example", Target(Origin("http", "a.example", 80), "a.example", "/")),
        ("https://A.example/v1?q=1", Target(Origin("https", "a.example", 443), "a.example", "/v1?q=1")),
        ("https://a.example:443/", Target(Origin("https", "a.example", 443), "a.example", "/")),
        ("http://a.example:443/", Target(Origin("http", "a.example", 443), "a.example:443", "/")),
        ("http://[::1]:8080/x%20y", Target(Origin("http", "::1", 8080), "[::1]:8080", "/x%20y")),
        ("https://[2001:db8::1]/", Target(Origin("https", "2001:db8::1", 443), "[2001:db8::1]", "/")),
        ("http://a.example?x", Target(Origin("http", "a.example", 80), "a.example", "/?x")),
        ("http://a.example//b/../c", Target(Origin("http", "a.example", 80), "a.example", "//b/../c")),
    ],
)
def test_a_url_is_taken_apart_and_its_path_left_alone(url: str, target: Target) -> None:
    """Scheme, host and port name the origin; the usual port is not in Host; the path is not normalised."""
    assert parse_url(url) == target


@pytest.mark.parametrize(
    "url",
    [
        *("", "a.example/x", "//a.example", "ftp://a.example", "http://", "http:///x", "http://a b.example"),
        *(
            "http://u@a.example",
            "http://u:p@a.example",
            "http://@a.example",
            "http://a.example#f",
            "http://a.example/\\x",
        ),
        *("http://a.example/\r\nx", "http://a.example/\tx", "http://a.example:99999/", "http://a.example:x/"),
        *("http://caf\u00e9.example/", "http://[fe80::1%25eth0]/", "http://[::1/", "http://a%2eexample/"),
    ],
)
def test_anything_unusual_in_a_url_is_refused(url: str) -> None:
    """User names, fragments, backslashes, zones, spaces, other schemes and ports out of range."""
    with pytest.raises(ValueError, match=r".+"):
        parse_url(url)


def test_the_head_is_exactly_these_bytes() -> None:
    """Method, path and host, the given headers as written, then ours."""
    request = Request("POST", "https://a.example/v1", {"Authorization": "Bearer k", "x-a": "1"}, b"{}")
    assert encode_head(request, parse_url(request.url)) == (
        b"POST /v1 HTTP/1.1\r\nhost: a.example\r\nAuthorization: Bearer k\r\nx-a: 1\r\n"
        b"accept-encoding: identity\r\ncontent-length: 2\r\n\r\n"
    )


@pytest.mark.parametrize(("method", "length"), [("GET", b""), ("POST", b"content-length: 0\r\n")])
def test_an_empty_body_has_a_length_unless_none_is_expected(method: str, length: bytes) -> None:
    """A POST says 0; a GET says nothing."""
    request = Request(method, "http://a.example/", {"accept-encoding": "gzip"}, b"")
    expected = f"{method} / HTTP/1.1\r\nhost: a.example\r\naccept-encoding: gzip\r\n".encode() + length + b"\r\n"
    assert encode_head(request, parse_url(request.url)) == expected


@given(name=st.text(max_size=12), value=st.text(max_size=30))
def test_no_name_or_value_can_add_a_line(name: str, value: str) -> None:
    """Whatever text is given, the head holds just the lines it should, or a ValueError comes."""
    request = Request("POST", "http://a.example/", {name: value}, b"")
    try:
        raw = encode_head(request, parse_url(request.url))
    except ValueError:
        return
    lines = raw.split(b"\r\n")
    assert len(lines) == (6 if name.lower() == "accept-encoding" else 7)
    assert f"{name}: {value}".encode() in lines
    assert b"\n" not in b"".join(lines)


def test_a_refused_value_is_not_quoted() -> None:
    """The value may be a credential."""
    with pytest.raises(ValueError, match="authorization") as caught:
        check_field("authorization", "Bearer s3cret\n")
    assert "s3cret" not in str(caught.value)


def test_headers_are_lower_case_first_value_wins() -> None:
    """Names in lower case, the first of two values, no space around."""
    judged = judge_head(200, "1.1", 2, [(b"X-A", b"1 "), (b"x-a", b"2"), (b"Content-Length", b"3")], LIMITS)
    assert judged.headers == {"x-a": "1", "content-length": "3"}
    assert (joined(judged.headers["x-a"]), joined(judged.headers["content-length"])) == ("1, 2", "3")
    assert judged.framed
    assert judged.reusable


@pytest.mark.parametrize(
    ("version", "fields", "framed", "reusable"),
    [
        ("1.1", [], False, True),
        ("1.1", [(b"Transfer-Encoding", b"Chunked")], True, True),
        ("1.0", [(b"Transfer-Encoding", b"chunked")], True, False),
        ("1.0", [(b"Content-Length", b"1")], True, True),
    ],
)
def test_framing(version: str, fields: list[tuple[bytes, bytes]], framed: bool, reusable: bool) -> None:
    """What has a length of its own, and what may be followed by another answer."""
    judged = judge_head(200, version, 0, fields, LIMITS)
    assert (judged.framed, judged.reusable) == (framed, reusable)


@pytest.mark.parametrize(
    ("status", "version", "fields"),
    [
        (99, "1.1", []),
        (101, "1.1", []),
        (103, "1.1", [(b"content-length", b"5")]),
        (100, "1.1", [(b"transfer-encoding", b"chunked")]),
        (600, "1.1", []),
        (200, "2.0", []),
        (200, "0.9", []),
        (200, "1.1", [(b"transfer-encoding", b"gzip")]),
        (200, "1.1", [(b"transfer-encoding", b"chunked, identity")]),
        (200, "1.1", [(b"Transfer-Encoding", b"chunked"), (b"transfer-encoding", b"chunked")]),
        (200, "1.1", [(b"x", b"y" * 70_000)]),
        (200, "1.1", [(b"x", b"y")] * 201),
    ],
)
def test_a_head_that_cannot_be_trusted_is_refused(status: int, version: str, fields: list[tuple[bytes, bytes]]) -> None:
    """Strange statuses, versions and codings, and heads beyond their limits."""
    with pytest.raises(BadHead):
        judge_head(status, version, 0, fields, LIMITS)


def test_the_reason_phrase_counts() -> None:
    """A head is not small because its length is in the status line."""
    with pytest.raises(BadHead):
        judge_head(200, "1.1", 70_000, [], LIMITS)


def test_remembered_names_are_bounded() -> None:
    """An upstream that invents names does not fill the memory."""
    for number in range(3000):
        judge_head(200, "1.1", 0, [(b"x-%d" % number, b"")], LIMITS)
    assert len(head._KNOWN) <= 1024
