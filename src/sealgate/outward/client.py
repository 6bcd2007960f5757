"""The seam through which every upstream request goes: send one, read its head and its body in pieces, close it now.

A `Client` never retries, never follows a redirect, never decodes and never buffers a body. What went wrong is an
`UpstreamError` whose failure class says where: connecting, waiting, or in the middle of a body.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import msgspec


class Fixed(dict[str, str]):
    """Headers that are the same for many requests: a client may check and write them once. Must not be changed."""

    __slots__ = ("lines",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers)
        self.lines = ""
        """As they go on the wire; set by the client that has checked them."""


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, complete: the headers are exactly those to send besides Host and Content-Length."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Limits(msgspec.Struct, frozen=True):
    """How long an attempt may take.

    ``connect`` and ``silence`` are seconds: to connect (TLS included), and between two signs of life from the
    upstream. ``until`` is the moment, by the event loop's clock, at which the answer must have been read to its end.
    """

    connect: float = 5.0
    silence: float = 180.0
    until: float = math.inf


class Response(Protocol):
    """A head that has arrived and a body that is still coming."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; a name sent twice keeps its first value."""

    async def read(self) -> bytes:
        """The next piece of the body as it arrived, ``b""`` at its proper end.

        Raises `UpstreamError` with RESET (connection broke), TRUNCATED (ended short of its own length), STALLED
        (nothing came for ``silence`` seconds), TIMEOUT (``until`` has come) or BAD_RESPONSE (broken framing).
        """

    def set_silence(self, seconds: float) -> None:
        """Change the longest wait between two pieces from now on."""

    def close(self) -> None:
        """Stop now. A body read to its end gives the connection back; any other state closes it. Never waits."""


class Client(Protocol):
    """Something that can carry a request to an upstream."""

    async def send(self, request: Request, limits: Limits) -> Response:
        """Send and wait for the head (1xx skipped).

        Raises `UpstreamError` with UNREACHABLE, CONNECT_TIMEOUT, TLS, POOL, TIMEOUT (no head in time), RESET or
        BAD_RESPONSE. When the waiting task is cancelled the connection is closed at once.
        """

    async def aclose(self) -> None:
        """Close every connection."""
