"""The rules of the edge that need no socket: limits, sizes, chunk framing, and what a refusal looks like.

Sources: RFC 9112 (message syntax), RFC 9110 (Host, Expect), and rows A1-A21 of the fault matrix.
"""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from sealgate.api import problems
from sealgate.errors import Problem

TRAILER_BYTES = 4096
"""Trailer fields of a chunked request are read and dropped; more than this is refused."""

FREE_CHUNKS = 4096
CHUNK_BYTES = 64
"""A chunk costs about as much as a kilobyte of body, so past the first `FREE_CHUNKS` they must average this size."""

ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """How much a connection may take: times in seconds, sizes in bytes.

    ``body_seconds`` bounds the whole body; after ``body_grace_seconds`` it must also have come at
    ``bytes_per_second`` on average, and a caller must read at that pace too, looked at every ``write_stall_seconds``
    while output waits. ``pipelined_bytes`` is what is kept of requests that were sent before the
    running one is answered. ``linger_seconds`` is how long input is still read and dropped after a refusal: closing at
    once would reset the connection, and the caller would lose the answer that says why. ``unsent_bytes`` is what may
    wait in the system beyond what is on its way (TCP_NOTSENT_LOWAT): more would only be kept for those who do not read.
    """

    header_seconds: float = 10
    body_seconds: float = 60
    body_grace_seconds: float = 10
    bytes_per_second: int = 1024
    idle_seconds: float = 75
    write_stall_seconds: float = 60
    linger_seconds: float = 5
    handshake_seconds: float = 5
    request_line_bytes: int = 8 * 1024
    header_bytes: int = 32 * 1024
    header_count: int = 100
    chunk_extension_bytes: int = 256
    pipelined_bytes: int = 64 * 1024
    write_buffer_bytes: int = 32 * 1024
    send_buffer_bytes: int = 128 * 1024
    unsent_bytes: int = 16 * 1024
    max_connections: int = 4096

    @property
    def tick(self) -> float:
        """The longest time a timer may sleep: no deadline is ever set nearer than this, but for the lingering."""
        body = min(self.body_seconds, self.body_grace_seconds)
        return min(self.header_seconds, body, self.write_stall_seconds, self.idle_seconds)


class RefusedError(Exception):
    """The request breaks a rule; ``code`` names the row of `sealgate.errors.CODES` that says which."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


def parser_code(text: str, in_body: bool) -> str:
    """The public code for a sentence of the parser (llhttp's ``reason``)."""
    if "present with" in text:
        return "ambiguous_length"
    if in_body or "Content-Length" in text or "Transfer-Encoding" in text:
        return "invalid_http"
    return "invalid_header" if "header" in text else "invalid_http"


def head_code(head: bytes | bytearray, limits: EdgeLimits) -> str | None:
    """The code a head, whole or in part, is refused with because of its size, or None (row A12)."""
    line = head.find(b"\r\n", 0, limits.request_line_bytes + 2)
    if line < 0:
        return "uri_too_long" if len(head) > limits.request_line_bytes else None
    # Two of the line ends are the request line's and the empty line's.
    if len(head) - line - 2 > limits.header_bytes or head.count(b"\r\n", line + 2) > limits.header_count + 1:
        return "headers_too_large"
    return None


_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;([^\r\n]*))?\r\n")


class ChunkFraming:
    """Follows a chunked body (RFC 9112 section 7.1) beside the parser.

    The parser judges the syntax and delivers the bytes. This only finds where the message ends, so that the next
    one is not read before its turn, and bounds what the parser does not count: extensions, trailers, tiny chunks.
    """

    __slots__ = ("_chunks", "_extension", "_line", "_seen", "_skip", "_trailer")

    def __init__(self, extension_bytes: int) -> None:
        self._extension = extension_bytes
        self._line = b""
        self._skip = 0
        self._seen = 0
        self._chunks = 0
        self._trailer: int | None = None

    def feed(self, data: bytes) -> int:
        """The offset in ``data`` just after the message, or -1 while it goes on. Raises `RefusedError`."""
        at, size = 0, len(data)
        self._seen += size
        while at < size:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1
            self._line += data[at : end or size]
            if len(self._line) > self._longest():
                raise RefusedError("invalid_http" if self._trailer is None else "headers_too_large")
            if not end:
                return -1
            at, line, self._line = end, self._line, b""
            if self._trailer is not None and self._ends(line):
                return at
            if self._trailer is None:
                self._begin(line)
        return -1

    def _longest(self) -> int:
        if self._trailer is None:
            return len("0123456789abcdef;\r\n") + self._extension
        return TRAILER_BYTES - self._trailer

    def _begin(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None or len(match[2] or b"") > self._extension:
            raise RefusedError("invalid_http")
        self._chunks += 1
        if self._chunks > FREE_CHUNKS + self._seen // CHUNK_BYTES:
            raise RefusedError("invalid_http")
        length = int(match[1], 16)
        if length:
            self._skip = length + 2
        else:
            self._trailer = 0

    def _ends(self, line: bytes) -> bool:
        assert self._trailer is not None
        self._trailer += len(line)
        return line == b"\r\n"


@functools.cache
def _refusal(code: str) -> tuple[bytes, bytes]:
    """Status line, and the rest from the error's own headers on, without the request id."""
    problem = Problem(code)
    body = problems.envelope(problem)
    lines = problems.headers(problem, body)
    if problem.status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append((b"allow", ALLOWED_METHODS))
    lines.append((b"connection", b"close"))
    status = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()
    return status, render(lines) + b"\r\n" + body


def refusal(code: str, defaults: bytes) -> bytes:
    """A whole response that says ``code`` in the error envelope and ends the connection.

    ``defaults`` are rendered header lines that every response carries. The request id is new: the edge answers before
    the application has seen the request.
    """
    status, rest = _refusal(code)
    return b"%bx-request-id: %b\r\n%b%b" % (status, uuid.uuid4().hex.encode(), defaults, rest)


def render(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header lines as they go on the wire."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])
