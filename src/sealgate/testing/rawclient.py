"""An HTTP client that may do anything: raw sockets, no library, every byte and every pause by hand.

::

    async with RawClient("127.0.0.1", port) as client:
        await client.post("/v1/chat/completions", {"model": "m", "messages": [...], "stream": True})
        response = await client.response()
        async for event in response.events():
            print(event.at, event.data)
        assert response.complete

It reads only when it is asked to: a client that stops reading is one that does nothing, and a small
``receive_buffer`` makes the server feel it soon. Times are seconds of the event loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import msgspec

from sealgate.testing.connection import LINGER_ZERO
from sealgate.testing.events import Comment, Event, EventReader
from sealgate.testing.received import chunk_size, parse_headers

Ending: TypeAlias = Literal["no-body", "length", "last-chunk", "bad-chunk", "fin", "rst"]
"""How a body ended: there was none; by its length; by its last chunk; in broken framing; by the connection's end."""


def http_request(
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    host: str = "127.0.0.1",
) -> bytes:
    """The bytes of a request, with Host, and with Content-Length if there is a body or the method is POST."""
    all_headers = {"host": host, **(headers or {})}
    if body or method == "POST":
        all_headers.setdefault("content-length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in all_headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Piece(NamedTuple):
    """A part of a body: one chunk of a chunked body, else what one read brought.

    ``frame`` is the same as it stood on the wire: a chunk with its size line and line ends.
    """

    data: bytes
    at: float
    frame: bytes


class Head(NamedTuple):
    """A response head. ``raw`` is its exact bytes; ``headers`` has names in lower case, values joined by ``", "``."""

    status: int
    reason: str
    headers: dict[str, str]
    raw: bytes
    at: float


class RawClient:
    """One TCP connection, used as the test likes. Works with asyncio's own loops, `JumpingClock` among them.

    ``receive_buffer`` is SO_RCVBUF in bytes (the kernel has a minimum of about 2 KiB). ``timeout`` is the longest
    any single wait may take, in seconds, before it raises `TimeoutError`.
    """

    def __init__(self, host: str, port: int, *, receive_buffer: int | None = None, timeout: float = 10.0) -> None:
        self.host, self.port, self.timeout = host, port, timeout
        self.buffer = bytearray()
        """Bytes read and not yet taken."""
        self.ended: Literal["fin", "rst"] | None = None
        """How the server ended the connection, once a read has met its end."""
        self.interim: list[Head] = []
        """The 1xx heads skipped so far."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:  # before connecting: the window is agreed on in the handshake
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(self.timeout):
                await self._loop.sock_connect(self._socket, (self.host, self.port))
        except BaseException:
            self._socket.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    # Sending

    async def send(self, data: bytes) -> None:
        """Send these bytes as they are. Raises `ConnectionError` when the server is gone."""
        async with asyncio.timeout(self.timeout):
            await self._loop.sock_sendall(self._socket, data)

    async def trickle(self, data: bytes, *, size: int = 1, every: float = 0.01) -> None:
        """Send ``size`` bytes at a time with ``every`` seconds between."""
        for start in range(0, len(data), size):
            if start:
                await asyncio.sleep(every)
            await self.send(data[start : start + size])

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> None:
        """Send a GET."""
        await self.send(http_request("GET", path, headers, host=f"{self.host}:{self.port}"))

    async def post(self, path: str, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send a POST of a JSON value; of bytes as they are."""
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        all_headers = {"content-type": "application/json", **(headers or {})}
        await self.send(http_request("POST", path, all_headers, body, host=f"{self.host}:{self.port}"))

    # Leaving

    def half_close(self) -> None:
        """Send FIN and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def fin(self) -> None:
        """Leave in order.

        The kernel makes a RST of it if bytes have come that were never read; to be sure of a FIN, read first or use
        `half_close`.
        """
        self._socket.close()

    def rst(self) -> None:
        """Break the connection."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self._socket.close()

    # Reading

    async def fill(self) -> bool:
        """Read once into `buffer`; False at the end of the connection, and `ended` says which."""
        if self.ended is not None:
            return False
        try:
            async with asyncio.timeout(self.timeout):
                data = await self._loop.sock_recv(self._socket, 65536)
        except ConnectionError:
            self.ended = "rst"
            return False
        if not data:
            self.ended = "fin"
            return False
        self.buffer += data
        return True

    async def wait_end(self) -> Literal["fin", "rst"]:
        """Read and keep everything until the server ends the connection."""
        while await self.fill():
            pass
        assert self.ended is not None
        return self.ended

    async def take_until(self, mark: bytes) -> bytes | None:
        """The bytes up to and with ``mark``; None if the connection ends before it."""
        while (found := self.buffer.find(mark)) < 0:
            if not await self.fill():
                return None
        return self.take(found + len(mark))

    def take(self, count: int) -> bytes:
        """Up to ``count`` bytes that have been read."""
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    async def response(self, *, method: str = "POST") -> RawResponse:
        """Read the next head, 1xx skipped; the body is read through the answer.

        Raises `ConnectionResetError` where the server ended the connection instead, `ValueError` where it sent
        something else than HTTP.
        """
        while (head := await self._head()).status < 200 and head.status != 101:
            self.interim.append(head)
        return RawResponse(self, head, bodiless=method == "HEAD")

    async def _head(self) -> Head:
        raw = await self.take_until(b"\r\n\r\n")
        if raw is None:
            came = bytes(self.buffer[:80])
            raise ConnectionResetError(f"the connection ended ({self.ended}) before a head; it sent {came!r}")
        line, *lines = raw[:-4].split(b"\r\n")
        version, _, rest = line.partition(b" ")
        status, _, reason = rest.partition(b" ")
        headers = parse_headers(lines)
        if not version.startswith(b"HTTP/1.") or not status.isdigit() or headers is None:
            raise ValueError(f"not an HTTP/1 head: {raw[:200]!r}")
        return Head(int(status), reason.decode("latin-1"), headers, raw, self._loop.time())


class RawResponse:
    """A response whose body is read piece by piece, event by event, or at once."""

    def __init__(self, client: RawClient, head: Head, *, bodiless: bool = False) -> None:
        self.head = head
        self.status, self.headers = head.status, head.headers
        self.pieces: list[Piece] = []
        """The pieces read so far. A chunk that the connection's end cut off is kept as far as it came."""
        self.ended: Ending | None = None
        """How the body ended, once it has."""
        self._client = client
        self._reader = EventReader()
        self._events: deque[Event] = deque()
        length = head.headers.get("content-length")
        self._chunked = "chunked" in head.headers.get("transfer-encoding", "").lower()
        self._missing = int(length) if length is not None and not self._chunked else None
        if bodiless or head.status in (204, 304) or head.status < 200:
            self.ended = "no-body"
        elif self._missing == 0:
            self.ended = "length"

    @property
    def body(self) -> bytes:
        """What has been read of the body."""
        return b"".join(piece.data for piece in self.pieces)

    @property
    def json(self) -> Any:
        """The body read so far as JSON. Raises `ValueError`."""
        return msgspec.json.decode(self.body)

    @property
    def comments(self) -> list[Comment]:
        """The comments read so far by `next_event`."""
        return self._reader.comments

    @property
    def complete(self) -> bool:
        """Whether the body has ended as HTTP says a body ends.

        A body with neither length nor chunks ends with the connection's FIN, so there a FIN is a proper end.
        """
        if self.ended == "fin":
            return self._missing is None and not self._chunked
        return self.ended in ("no-body", "length", "last-chunk")

    async def read(self) -> bytes:
        """The whole body, or as much as there was: look at `complete`."""
        while await self.next_piece() is not None:
            pass
        return self.body

    async def next_piece(self) -> Piece | None:
        """The next piece as it comes; None at the end, and `ended` says which."""
        if self.ended is not None:
            return None
        piece = await (self._next_chunk() if self._chunked else self._next_read())
        if piece is not None:
            self.pieces.append(piece)
        return piece

    async def next_event(self) -> Event | None:
        """The next server-sent event; None at the body's end."""
        while not self._events:
            piece = await self.next_piece()
            if piece is None:
                return None
            self._events.extend(self._reader.feed(piece.data, piece.at))
        return self._events.popleft()

    async def events(self) -> AsyncIterator[Event]:
        """The events still to come, to the body's end."""
        while (event := await self.next_event()) is not None:
            yield event

    async def _next_read(self) -> Piece | None:
        client = self._client
        if not client.buffer and not await client.fill():
            self.ended = client.ended
            return None
        data = client.take(len(client.buffer) if self._missing is None else self._missing)
        if self._missing is not None:
            self._missing -= len(data)
            if not self._missing:
                self.ended = "length"
        return self._piece(data, data)

    async def _next_chunk(self) -> Piece | None:
        line = await self._client.take_until(b"\r\n")
        if line is None:
            return self._cut_off(b"", b"")
        size = chunk_size(line[:-2])
        if size is None:
            self.ended = "bad-chunk"
            return None
        if size == 0:
            await self._last_chunk()
            return None
        while len(self._client.buffer) < size + 2:
            if not await self._client.fill():
                return self._cut_off(line, self._client.take(size))
        data, end = self._client.take(size), self._client.take(2)
        if end != b"\r\n":
            self.ended = "bad-chunk"
        return self._piece(data, line + data + end)

    async def _last_chunk(self) -> None:
        """Read the trailers up to their blank line."""
        while (line := await self._client.take_until(b"\r\n")) != b"\r\n":
            if line is None:
                self.ended = self._client.ended
                return
        self.ended = "last-chunk"

    def _cut_off(self, line: bytes, data: bytes) -> Piece | None:
        self.ended = self._client.ended
        return self._piece(data, line + data) if data else None

    def _piece(self, data: bytes, frame: bytes) -> Piece:
        return Piece(data, asyncio.get_running_loop().time(), frame)
