"""One peer of a scripted upstream: its requests are read as they come, and answered one after the other."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import Literal, Protocol, cast

from sealgate.testing.received import MalformedRequest, RawRequest, Received, RequestReader, parse_json
from sealgate.testing.script import Script, json_answer, wire

LINGER_ZERO = struct.pack("ii", 1, 0)
"""SO_LINGER on with 0 seconds: closing sends RST instead of FIN."""


class Host(Protocol):
    """What a connection needs of the upstream it belongs to."""

    def opened(self, connection: Connection) -> int:
        """Register; the answer is the connection's number."""

    def closed(self, connection: Connection) -> None:
        """Forget it."""

    def received(self, request: Received) -> None:
        """Log a request."""

    def script_for(self, request: Received) -> Script:
        """What to do with it."""

    def changed(self) -> None:
        """Something in the log is new."""

    def failed(self, error: Exception) -> None:
        """A script or a handler raised."""

    def refused(self, reason: str) -> None:
        """Bytes came that are not HTTP."""


class Connection(asyncio.Protocol):
    """Reads requests, plays their scripts in order, notices when the peer leaves.

    Reading never stops while a script plays: that is how a FIN or a RST is seen during a pause.
    """

    task: asyncio.Task[None]

    def __init__(self, host: Host, idle: float | None) -> None:
        self._host = host
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader()
        self._waiting: deque[tuple[Received, RawRequest]] = deque()
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._log: list[Received] = []
        self._ended = False
        self._transport: asyncio.Transport

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are not of that class
        # "Written" shall mean: the kernel has it. A limit of 0 would make asyncio's TLS wait for ever.
        transport.set_write_buffer_limits(high=1 if transport.get_extra_info("ssl_object") else 0)
        self._transport = transport
        self.number = self._host.opened(self)
        self.task = self._loop.create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        try:
            requests = self._reader.feed(data)
        except MalformedRequest as malformed:
            self._host.refused(str(malformed))
            self._leave_bad_request(str(malformed))
            return
        for request in requests:
            self._take(request)
        if self._reader.awaits_continue:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def eof_received(self) -> bool:
        self._peer_left("fin")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._peer_left("rst")
        self._writable.set()
        self.task.cancel()
        self._host.closed(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # What the steps of a script call

    async def write(self, data: bytes) -> None:
        self._transport.write(data)
        # One turn of the loop even when the kernel took it all: an endless script must not starve the others.
        await asyncio.sleep(0)
        await self._writable.wait()

    def fin(self) -> None:
        self._ended = True
        self._transport.close()

    def rst(self) -> None:
        self._ended = True
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self._transport.abort()

    def drop(self) -> None:
        """Let go of the peer at once, because the upstream is closing."""
        self._transport.abort()

    # Requests

    def _take(self, request: RawRequest) -> None:
        received = Received(
            request.method,
            request.target,
            request.headers,
            request.body,
            parse_json(request.body),
            self._loop.time(),
            self.number,
            len(self._log) + 1,
            request.head,
        )
        self._log.append(received)
        self._waiting.append((received, request))
        self._arrived.set()
        self._host.received(received)

    async def _serve(self) -> None:
        try:
            while await self._next_arrives():
                received, request = self._waiting.popleft()
                if not await self._play(self._host.script_for(received)):
                    break
                received.answered_at = self._loop.time()
                self._host.changed()
                if self._ended or not request.keeps_alive:
                    break
        except Exception as error:  # a handler's or a script's own mistake must reach the test that wrote it
            self._host.failed(error)
        finally:
            self._transport.close()

    async def _next_arrives(self) -> bool:
        """Wait for a request; False if none came in the time a connection may idle."""
        if not self._waiting:
            self._arrived.clear()
            try:
                async with asyncio.timeout(self._idle):
                    await self._arrived.wait()
            except TimeoutError:
                return False
        return True

    async def _play(self, script: Script) -> bool:
        """Play to the end of the script, or of the connection; False if it was the peer that ended that."""
        for step in script:
            await step.play(self)
            if self._ended:
                return True
            if self._transport.is_closing():  # a write has found the peer gone; connection_lost comes next
                return False
        return True

    def _leave_bad_request(self, reason: str) -> None:
        body = {"error": {"message": reason, "type": "invalid_request_error", "param": None, "code": "invalid_http"}}
        self._transport.write(wire(json_answer(body, 400, {"connection": "close"})))
        self._transport.close()

    def _peer_left(self, how: Literal["fin", "rst"]) -> None:
        now = self._loop.time()
        unanswered = [request for request in self._log if request.answered_at is None]
        for request in {*unanswered, *self._log[-1:]}:
            if request.peer_left_at is None:
                request.peer_left_at, request.peer_left_how = now, how
        self.task.cancel()
        self._host.changed()
