"""The pure half of HTTP/1.1 upstream: request heads written, answer heads judged.

Everything that reaches a request head passes here, so nothing a caller, a provider row or a configuration says can
add a header line, change the framing or name another host (RFC 9112 sections 3 and 6, RFC 9110 section 5).
A `ValueError` is a programming error: callers check what people send before they build a request. A `BadHead` is the
upstream's error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from sealgate.outward.client import Fixed, Request

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
"""HEAD and CONNECT are missing on purpose: their answers are framed otherwise, and nobody needs them here."""

_OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade"}
    | {"te", "trailer", "expect"}
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE = re.compile(r"[!-~]+")
_PORTS = {"http": 80, "https": 443}
_VERSIONS = ("1.1", "1.0")


class Origin(NamedTuple):
    """Where connections go and what they may be reused for. ``host`` is a name or an address without brackets."""

    scheme: str
    host: str
    port: int


class Target(NamedTuple):
    """One URL taken apart: ``authority`` is the Host header, ``path`` the request target with its query."""

    origin: Origin
    authority: str
    path: str


def parse_url(url: str) -> Target:
    """Take an absolute http or https URL apart; `ValueError` for anything unusual, such as user names or fragments."""
    if not _VISIBLE.fullmatch(url):
        raise ValueError("an upstream URL holds printable ASCII without spaces")
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in _PORTS or not host or "%" in host:
        raise ValueError("an upstream URL is http or https with a host")
    if "@" in parts.netloc or "#" in url or "\\" in url:
        raise ValueError("an upstream URL has no user name, fragment or backslash")
    usual = _PORTS[parts.scheme]
    port = usual if parts.port is None else parts.port
    authority = f"[{host}]" if ":" in host else host
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(Origin(parts.scheme, host, port), authority if port == usual else f"{authority}:{port}", path)


@lru_cache(maxsize=1024)
def _field_name(name: str) -> str:
    """The lower-case form of a header name that a caller may set."""
    lower = name.lower()
    if not _TOKEN.fullmatch(name) or lower in _OURS:
        raise ValueError(f"the header {name!r} may not be set")
    return lower


def check_field(name: str, value: str) -> str:
    """Check one header line; gives the name in lower case. The value is never quoted: it may be a secret."""
    lower = _field_name(name)
    # Within ASCII, printable means 0x20 to 0x7e: no CR, LF, NUL or tab.
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"the value of header {name!r} is not printable ASCII")
    return lower


def check_method(method: str) -> str:
    if method not in _METHODS:
        raise ValueError(f"the method {method!r} is not used upstream")
    return method


def encode_head(request: Request, target: Target) -> bytes:
    """The request line and all headers, as they go on the wire."""
    method, headers, body = request.method, request.headers, request.body
    if method != "POST":
        check_method(method)
    if type(headers) is Fixed:
        if not headers.lines:
            headers.lines = _lines(headers)
        lines = headers.lines
    else:
        lines = _lines(headers)
    length = f"content-length: {len(body)}\r\n" if body or method != "GET" else ""
    return f"{method} {target.path} HTTP/1.1\r\nhost: {target.authority}\r\n{lines}{length}\r\n".encode("ascii")


def _lines(headers: Mapping[str, str]) -> str:
    plain = True
    lines = ""
    for name, value in headers.items():
        if check_field(name, value) == "accept-encoding":
            plain = False
        lines += f"{name}: {value}\r\n"
    return lines + "accept-encoding: identity\r\n" if plain else lines


class BadHead(Exception):  # noqa: N818 - it reads as what it is, and never leaves the room
    """The head of an answer cannot be trusted; the text says why."""


class HeadLimits(NamedTuple):
    """How large the head of an answer may be. The bytes also bound a chunk line and a trailer section."""

    max_bytes: int = 64 * 1024
    max_headers: int = 200


class Head(msgspec.Struct, frozen=True):
    """An answer's head: headers by lower-case name (the first of each; see `Several`), whether the body has a length
    of its own, whether a second answer may follow on the connection as far as the head says."""

    headers: dict[str, str]
    framed: bool
    reusable: bool


class Several(str):
    """The first of several lines of one name: most headers have one. ``joined`` is all of them (RFC 9110 5.3)."""

    __slots__ = ("joined",)
    joined: str

    def __new__(cls, first: str, more: str) -> Several:
        found = super().__new__(cls, first)
        found.joined = f"{joined(first)}, {more}"
        return found


def joined(value: str) -> str:
    """All that came under a header's name."""
    return value.joined if isinstance(value, Several) else value


_KNOWN: dict[bytes, str] = {}


def _learn(name: bytes) -> str:
    """Lower-case text of a header name, remembered: the same few come with every answer."""
    if len(_KNOWN) >= 1024:
        _KNOWN.clear()
    key = _KNOWN[name] = name.decode("latin-1").lower()
    return key


def judge_head(
    status: int, version: str, reason: int, fields: Sequence[tuple[bytes, bytes]], limits: HeadLimits
) -> Head:
    """Read a complete head; ``reason`` is the length of its reason phrase.

    The parser has refused what is not HTTP, folded lines, bare CR or LF, NUL, both lengths and repeated lengths.
    """
    size = reason
    headers: dict[str, str] = {}
    for name, value in fields:
        size += len(name) + len(value)
        key = _KNOWN.get(name) or _learn(name)
        if key not in headers:
            headers[key] = value.decode("latin-1").rstrip(" \t")
        elif key == "transfer-encoding":
            raise BadHead("two Transfer-Encodings")
        else:
            headers[key] = Several(headers[key], value.decode("latin-1").rstrip(" \t"))
    if size > limits.max_bytes or len(fields) > limits.max_headers:
        raise BadHead("the head is too large")
    coding = headers.get("transfer-encoding")
    if not 100 <= status <= 599 or status == 101 or version not in _VERSIONS:
        raise BadHead("unknown version or status")
    if status < 200 and (coding is not None or headers.get("content-length", "0") != "0"):
        # RFC 9110 sections 8.6 and 15.2: it has none. The parser would read one, and give it for the answer's.
        raise BadHead("an interim answer with a body")
    if coding is None:
        return Head(headers, "content-length" in headers, True)
    if coding.lower() != "chunked":
        raise BadHead("unknown Transfer-Encoding")
    # RFC 9112 section 6.1: chunks in an HTTP/1.0 answer are suspect, so nothing may follow them.
    return Head(headers, True, version == "1.1")
