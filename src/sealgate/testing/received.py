"""What a scripted upstream saw: one `Received` for each request, and the reader that takes requests out of bytes.

The reader is strict (RFC 9112): what it refuses, a real provider's front door might refuse too, or read differently
from the next proxy. It takes `Content-Length` and chunked bodies, keep-alive and pipelined requests, in pieces of
any size.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

HEAD_LIMIT = 1 << 20
"""Longest request head read, in bytes."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class MalformedRequest(ValueError):  # noqa: N818 - it names what came, not what went wrong here
    """Bytes that are not an HTTP/1 request; the text says why."""


class RawRequest(NamedTuple):
    """One request as it stood on the wire. ``head`` is its head's exact bytes, blank line included."""

    method: str
    target: str
    version: str
    headers: dict[str, str]
    head: bytes
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants the connection kept (RFC 9112 section 9.3)."""
        wishes = {wish.strip().lower() for wish in self.headers.get("connection", "").split(",")}
        return "close" not in wishes if self.version == "HTTP/1.1" else "keep-alive" in wishes


@dataclass(eq=False)
class Received:
    """One request that reached a scripted upstream, and what became of it.

    All times are seconds of the upstream's event loop, which is the monotonic clock unless the loop is a
    `JumpingClock`.
    """

    method: str
    path: str
    """The request target as sent, query included."""
    headers: Mapping[str, str]
    """Names in lower case; a name sent twice has its values joined by ``", "`` (see ``head`` for the truth)."""
    body: bytes
    json: Any
    """The body as JSON; None if it is not JSON."""
    received_at: float
    """When the last byte of the request had arrived."""
    connection: int = 1
    """Number of the TCP connection, counted from 1 in the order they were accepted."""
    nth_on_connection: int = 1
    """1 for the first request of its connection, 2 for the next."""
    head: bytes = b""
    """The head's exact bytes."""
    watermark: str = field(default_factory=lambda: f"wm-{secrets.token_hex(6)}")
    """Unique to this request; every ready-made answer carries it in ``id`` and ``x-request-id``."""
    answered_at: float | None = None
    """When the script's last step had been played; None if it never came to that."""
    peer_left_at: float | None = None
    """When the peer ended the connection while this request was unanswered, or was the connection's last."""
    peer_left_how: Literal["fin", "rst"] | None = None
    """How it left: an orderly end (FIN) or a reset."""

    @property
    def model(self) -> str | None:
        """The model named in the body, if one is."""
        name = self.json.get("model") if isinstance(self.json, dict) else None
        return name if isinstance(name, str) else None

    @property
    def streams(self) -> bool:
        """Whether the body asks for a stream (``"stream": true``)."""
        return isinstance(self.json, dict) and self.json.get("stream") is True

    @property
    def includes_usage(self) -> bool:
        """Whether the body asks for the usage chunk (``stream_options.include_usage``)."""
        options = self.json.get("stream_options") if isinstance(self.json, dict) else None
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def abandoned(self) -> bool:
        """True if the peer left before the script had been played to its end."""
        return self.peer_left_at is not None and self.answered_at is None

    @classmethod
    def sample(cls, *, stream: bool = True, path: str = "/v1/chat/completions", **body: Any) -> Received:
        """A request that never was sent, to see what a script would answer.

        >>> from sealgate.testing import answer, wire
        >>> b"[DONE]" in wire(answer("Hi"), Received.sample(stream=True))
        True
        """
        sent = {"model": "test-model", "messages": [{"role": "user", "content": "Hello"}], "stream": stream, **body}
        return cls("POST", path, {}, json.dumps(sent).encode(), sent, 0.0)


def parse_json(body: bytes) -> Any:
    """The JSON value of a body, or None."""
    try:
        return json.loads(body)
    except ValueError:
        return None


class RequestReader:
    """Takes whole requests out of bytes that come in pieces; does no I/O.

    After a `MalformedRequest` the reader is spent: what follows on that connection cannot be trusted.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: RawRequest | None = None
        self._body = bytearray()
        self._missing = 0
        self._chunked = False

    @property
    def awaits_continue(self) -> bool:
        """Whether a head has come that asks for a ``100 Continue`` before it sends its body."""
        head = self._head
        return head is not None and head.headers.get("expect", "").lower() == "100-continue" and not self._buffer

    def feed(self, data: bytes) -> list[RawRequest]:
        """The requests completed by ``data``, in order. Raises `MalformedRequest`."""
        self._buffer += data
        found = []
        while (request := self._next()) is not None:
            found.append(request)
        return found

    def _next(self) -> RawRequest | None:
        if self._head is None:
            self._head = self._read_head()
        if self._head is None or not (self._read_chunks() if self._chunked else self._read_sized()):
            return None
        request = self._head._replace(body=bytes(self._body))
        self._head = None
        self._body.clear()
        return request

    def _read_head(self) -> RawRequest | None:
        while self._buffer.startswith(b"\r\n"):  # RFC 9112 section 2.2: skip empty lines before a request
            del self._buffer[:2]
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_LIMIT:
                raise MalformedRequest("the head is longer than 1 MiB")
            return None
        raw = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        request = parse_head(raw)
        self._frame(request.headers)
        return request

    def _frame(self, headers: Mapping[str, str]) -> None:
        coding, length = headers.get("transfer-encoding"), headers.get("content-length")
        if coding is not None and length is not None:
            raise MalformedRequest("Content-Length and Transfer-Encoding were both sent")
        if coding is not None and coding.lower() != "chunked":
            raise MalformedRequest(f"unknown Transfer-Encoding {coding!r}")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise MalformedRequest(f"Content-Length {length!r} is not one number")
        self._chunked = coding is not None
        self._missing = int(length or 0)

    def _read_sized(self) -> bool:
        if len(self._buffer) < self._missing:
            return False
        self._body += self._buffer[: self._missing]
        del self._buffer[: self._missing]
        return True

    def _read_chunks(self) -> bool:
        """Move whole chunks into the body; True once the last one and its trailers have come."""
        while (end := self._buffer.find(b"\r\n")) >= 0:
            size = chunk_size(bytes(self._buffer[:end]))
            if size is None:
                raise MalformedRequest("bad chunk size")
            if size == 0:
                return self._read_trailers(end)
            after = end + 2 + size
            if len(self._buffer) < after + 2:
                return False
            if self._buffer[after : after + 2] != b"\r\n":
                raise MalformedRequest("a chunk is longer than its size")
            self._body += self._buffer[end + 2 : after]
            del self._buffer[: after + 2]
        return False

    def _read_trailers(self, start: int) -> bool:
        end = self._buffer.find(b"\r\n\r\n", start)
        if end < 0:
            return False
        del self._buffer[: end + 4]
        return True


def parse_head(raw: bytes) -> RawRequest:
    """A request head's bytes, taken apart. Raises `MalformedRequest`."""
    line, *lines = raw[:-4].split(b"\r\n")
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[0].isalpha() or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise MalformedRequest(f"bad request line {line[:80]!r}")
    headers = parse_headers(lines)
    if headers is None:
        raise MalformedRequest("a header line is malformed")
    method, target, version = (part.decode("latin-1") for part in parts)
    return RawRequest(method, target, version, headers, raw, b"")


def parse_headers(lines: list[bytes]) -> dict[str, str] | None:
    """Header lines as a mapping of lower-case names, or None if one of them is not ``name: value``."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name):
            return None
        key, text = name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def chunk_size(line: bytes) -> int | None:
    """The size a chunk's first line gives, extensions ignored; None if it gives none (RFC 9112 section 7.1)."""
    digits = line.partition(b";")[0].rstrip(b" \t")
    return int(digits, 16) if re.fullmatch(rb"[0-9A-Fa-f]{1,15}", digits) else None
