"""One HTTP/1.1 connection to an upstream and the answers that come over it, one after the other (RFC 9112).

The parser is llhttp; this protocol feeds it, wakes the reader, keeps the silence and decides whether the connection
may be used again. One protocol object and one parser live as long as their connection; an answer adds one `Exchange`
object and one future per wait. There is no task and no copy of a lone piece on the warm path.

Ownership is the whole of the cancel story. A connection taken from the pool belongs to exactly one exchange. It goes
back in one place only (`Connection._finish`): the answer was read to its end and the parser stands at a clean start.
Every other way out is `Connection.close`, which aborts the transport and gives the place back.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import cast

import msgspec
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.head import BadHead, HeadLimits, judge_head
from sealgate.outward.pool import Pool

_HIGH_WATER = 64 * 1024
"""Unread body bytes above which the socket is not read any more."""

_MAX_INTERIM = 8
"""1xx heads skipped before one answer."""

_COPY_LIMIT = 16 * 1024
"""Request bodies below this are joined with their head; larger ones are handed over beside it."""


class Exchange(msgspec.Struct, eq=False):
    """One answer (`Response` of the seam). It holds its connection until the body was read or it is closed."""

    connection: Connection | None
    silence: float
    until: float
    status: int = 0
    headers: Mapping[str, str] = {}
    pieces: list[bytes] = []
    error: tuple[Failure, str] | None = None
    """How the answer broke; never the exception, whose traceback would hold this object in a circle."""

    async def read(self) -> bytes:
        """What waits, joined, or else the next piece; ``b""`` at the end. Cancelling it closes the connection."""
        pieces = self.pieces
        while not pieces and (connection := self.connection) is not None:
            waiter = connection.waiter(self)
            try:
                data = await waiter
            except BaseException:
                connection.abandoned(self, waiter)
                raise
            if data is not None:
                return data
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            if (connection := self.connection) is not None:
                connection.drained()
            return data
        if self.error is not None:
            raise UpstreamError(*self.error)
        return b""

    def set_silence(self, seconds: float) -> None:
        self.silence = seconds
        if self.connection is not None:
            self.connection.hurry()

    def close(self) -> None:
        if (connection := self.connection) is not None:
            self.pieces.clear()
            self.error = (Failure.RESET, "closed before its end was read")
            connection.close()


class Connection(asyncio.Protocol):
    """One socket, for the life of it."""

    def __init__(self, pool: Pool[Connection], limits: HeadLimits) -> None:
        self.alive = True
        self.idle_since = 0.0
        self.stale = False  # nothing came yet on a connection that had served before: losing it says nothing
        self._pool = pool
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._waiter: asyncio.Future[bytes | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = 0.0
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._served = self._ended = self._paused = False
        self._fields: list[tuple[bytes, bytes]] = []
        self._parser = HttpResponseParser(self)

    # What an exchange asks for.

    async def exchange(self, head: bytes, body: bytes, silence: float, until: float = math.inf) -> Exchange:
        """Send one request and wait for the head of its answer."""
        self.stale, self._served = self._served, True
        transport = self._transport
        if transport is None or not self.alive:
            raise UpstreamError(Failure.RESET, "the connection broke before it was used")
        self._exchange = exchange = Exchange(self, silence, until)
        self._pieces = exchange.pieces
        self._ended = self._framed = False
        self._keep = True
        self._reason = self._interim = self._stray = self._unread = 0
        if len(body) < _COPY_LIMIT:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        waiter = self.waiter(exchange)
        try:
            await waiter
        except BaseException:
            self.abandoned(exchange, waiter)
            raise
        if exchange.status == 0 and exchange.error is not None:
            raise UpstreamError(*exchange.error)
        return exchange

    def waiter(self, exchange: Exchange) -> asyncio.Future[bytes | None]:
        """Await it: the next piece as soon as it is there, None where something else happened to ``exchange``.

        That takes at most ``exchange.silence`` seconds. Whoever is cancelled in it says so to `abandoned`.
        """
        if self._waiter is not None:
            raise RuntimeError("an answer has one reader")
        self._watch(exchange)
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def abandoned(self, exchange: Exchange, waiter: asyncio.Future[bytes | None]) -> None:
        if waiter.done() and not waiter.cancelled() and (data := waiter.result()) is not None:
            exchange.pieces.insert(0, data)  # given, but never taken
        # Not if the answer ended meanwhile: the connection may serve somebody else by now.
        if self._exchange is exchange:
            self._waiter = None
            self.fail(Failure.RESET, "cancelled")

    def hurry(self) -> None:
        if self._waiter is not None and (exchange := self._exchange) is not None:
            self._watch(exchange)

    def drained(self) -> None:
        """The reader took all there was."""
        self._unread = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        if self._ended:
            self._finish()

    # The silence timer stays armed across waits: it is moved when it rings too early, or a wait is shorter than it.

    def _watch(self, exchange: Exchange) -> None:
        deadline = self._loop.time() + exchange.silence
        if deadline > exchange.until:
            deadline = exchange.until
        self._deadline = deadline
        if self._timer is None or self._timer_at > deadline:
            self._arm(deadline)

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._ring)
        self._timer_at = when

    def _ring(self) -> None:
        self._timer = None
        if self._waiter is None or self._exchange is None:
            return
        if self._loop.time() < self._deadline - 0.001:
            self._arm(self._deadline)
        else:
            stalled = self._exchange.status and self._deadline < self._exchange.until
            self.fail(Failure.STALLED if stalled else Failure.TIMEOUT, "the provider was silent for too long")

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        if not self.alive:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._exchange is None or self._ended:
            # Nobody asked for it: kept, it would become the answer to the next request.
            self.close()
            return
        self.stale = False
        self._stray += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._ended:
                self.fail(Failure.BAD_RESPONSE, f"not valid HTTP: {error.__context__ or error}")
                return
            self._keep = False
        if self._ended:
            if not self._pieces:
                self._finish()
        elif self._stray > self._limits.max_bytes:
            # Heads, chunk lines and trailers without end: the parser would collect them without limit.
            self.fail(Failure.BAD_RESPONSE, "the head or a chunk line is too long")

    def _pause(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        self._lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
        self.lost.set_result(None)

    def _lost(self, exc: Exception | None) -> None:
        exchange = self._exchange
        if exc is not None:
            self.fail(Failure.RESET, "the connection broke")
        elif exchange is None or exchange.status == 0:
            self.fail(Failure.RESET, "the provider closed the connection without an answer")
        elif self._framed:
            self.fail(Failure.TRUNCATED, "the answer ended before its own length")
        else:
            self._ended = True  # RFC 9112 section 6.3 rule 8: an answer without a length ends with its connection
            self.close()

    # What the parser says.

    def on_message_begin(self) -> None:
        if self._ended:
            raise BadHead("more than one answer")
        self._fields.clear()

    def on_status(self, reason: bytes) -> None:
        self._reason += len(reason)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        head = judge_head(status, version, self._reason, self._fields, self._limits)
        if status < 200:
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise BadHead("too many interim answers")
            return
        self._framed, self._keep = head.framed, head.reusable
        assert self._exchange is not None
        self._exchange.headers = head.headers
        self._exchange.status = status
        self._wake()

    def on_body(self, data: bytes) -> None:
        self._stray = 0
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            self._waiter = None
            waiter.set_result(data)
            return
        self._pieces.append(data)
        self._unread += len(data)
        if self._unread > _HIGH_WATER:
            self._pause()

    def on_message_complete(self) -> None:
        assert self._exchange is not None
        if self._exchange.status:
            self._ended = True
            self._keep = self._keep and self._parser.should_keep_alive()
            self._wake()

    # How an exchange ends.

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _finish(self) -> None:
        """The answer was read to its end: back to the pool, if nothing speaks against it."""
        exchange, transport = self._exchange, self._transport
        if exchange is None or transport is None:
            return
        if self._keep and transport.get_write_buffer_size() == 0 and not transport.is_closing():
            exchange.connection = None
            self._exchange = None
            self._pool.keep(self)
        else:
            self.close()

    def fail(self, failure: Failure, text: str) -> None:
        """Close; an answer that had not ended fails so after its last piece was read."""
        if self._exchange is not None and not self._ended:
            self._exchange.error = (failure, text)
        self.close()

    def close(self) -> None:
        """Abort the transport and give the place back. What was received stays readable."""
        if self._exchange is not None:
            self._exchange.connection = None
            self._exchange = None
            self._wake()
        if self.alive:
            self.alive = False
            if self._timer is not None:
                self._timer.cancel()
            if self._transport is not None:
                self._transport.abort()
            del self._parser  # it holds our bound methods: a cycle
            self._pool.free(self)
