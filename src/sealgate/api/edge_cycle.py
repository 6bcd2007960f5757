"""One request and its response, as the application sees them: ASGI's ``receive`` and ``send`` over a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

import structlog

from sealgate.telemetry import logs

if TYPE_CHECKING:
    from sealgate.api.edge import EdgeProtocol
    from sealgate.api.edge_head import Head

Message = MutableMapping[str, Any]
App = Callable[[Any, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

UNREAD_BYTES = 64 * 1024
"""More body than this that the application has not asked for stops the reading."""

DISCARD_BYTES = 64 * 1024
"""A body with no more than this to come is read to its end after an early answer, so that the connection lives on."""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


_STATUS_LINE = {status: f"HTTP/1.1 {status} {_phrase(status)}\r\n".encode() for status in range(200, 600)}

_NO_BODY = frozenset({204, 304})
_FRAMING = frozenset({b"content-length", b"connection", b"transfer-encoding"})
_CR, _LF = b"\r\n"


class Connection:
    """What the application may know about the caller: ``scope["extensions"]["sealgate.connection"]``.

    A request's task is cancelled in two cases, and this tells them apart. ``lost``: nobody is there to answer, and
    ``lost_how`` says whether the caller left or stopped reading. ``shutting_down``: the caller is still there, and
    the application has two seconds to end its response.
    """

    __slots__ = ("lost", "lost_how", "shutting_down")

    def __init__(self) -> None:
        self.lost = False
        self.lost_how: Literal["client_disconnected", "client_stalled"] = "client_disconnected"
        self.shutting_down = False


class Cycle:
    """Made when a request's head is complete; ``task`` runs the application on it.

    ``body_left`` is how many bytes of body are still to come (None: chunked, unknown); ``version_10`` whether the
    caller speaks HTTP/1.0, to whom neither chunks nor ``100 Continue`` may be sent.
    """

    __slots__ = (
        "_chunked",
        "_event",
        "_handed_over",
        "_head",
        "_length",
        "_pieces",
        "began",
        "body_left",
        "carrier",
        "continue_due",
        "disconnected",
        "flow",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "task",
        "told",
        "transport",
        "unread",
        "version_10",
    )

    def __init__(self, carrier: EdgeProtocol, scope: dict[str, Any], head: Head) -> None:
        self.carrier = carrier
        self.transport = carrier.transport
        self.flow = carrier.flow
        self.scope = scope
        self.keep_alive = True
        self.version_10 = head.target.old
        self.body_left = head.length
        self.continue_due = head.continue_due
        self.more_body = head.length != 0
        self.unread = 0
        self.disconnected = False
        self.began = False
        self.told = False
        self.response_started = False
        self.response_complete = False
        self.task: asyncio.Task[None] | None = None
        self._pieces: list[bytes] = []
        self._handed_over = False
        self._head = b""
        self._event: asyncio.Event | None = None
        self._length: int | None = None
        self._chunked = False

    @property
    def ends_by_close(self) -> bool:
        """Whether only the end of the connection ends the body, so that a cut would look like the end."""
        return self.response_started and not self._chunked and self._length is None

    def add_body(self, data: bytes) -> None:
        if self.body_left is not None:
            self.body_left -= len(data)
        if not self.response_complete:
            self._pieces.append(data)
            self.unread += len(data)
            self.wake()

    def end_body(self) -> None:
        self.more_body = False
        self.continue_due = False
        self.wake()

    def wake(self) -> None:
        """Let a waiting ``receive`` look again."""
        if self._event is not None:
            self._event.set()

    def disconnect(self) -> None:
        self.disconnected = True
        self.wake()

    async def run(self, app: App) -> None:
        """The task: the application, and an honest end where it fails."""
        self.began = True
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._cut("gateway_shutting_down" if self.carrier.connection.shutting_down else "internal_error")
        except Exception as error:
            structlog.get_logger().error("application_failed", error=type(error).__name__, trace=logs.where(error))
            self._cut("internal_error")
        else:
            if not self.response_complete and not self.disconnected:
                structlog.get_logger().error("application_failed", error="it returned before its response was complete")
            self._cut("internal_error")
        finally:
            assert self.task is not None
            self.carrier.tasks.discard(self.task)

    def _cut(self, code: str) -> None:
        if not self.response_complete and not self.disconnected:
            self.carrier.failed(code)

    async def receive(self) -> Message:
        if self.continue_due:
            self.continue_due = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.carrier.want_body(after_continue=True)
        while not self.disconnected and not self.response_complete:
            if self._pieces or not (self.more_body or self._handed_over):
                return self._take()
            if self.more_body:
                self.carrier.want_body(after_continue=False)
            if self._event is None:
                self._event = asyncio.Event()
            self._event.clear()
            await self._event.wait()
        self.told = True
        return {"type": "http.disconnect"}

    def _take(self) -> Message:
        pieces, self._pieces, self.unread = self._pieces, [], 0
        self._handed_over = not self.more_body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        """ASGI's: the head waits for the first piece of the body, and both are one write."""
        if self._chunked and self.response_started and not (self.flow.write_paused or self.disconnected):
            body = message.get("body")  # an event of a stream: the one case that comes by the hundred
            if body and message.get("more_body"):
                self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
                return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if self._head or self.response_started:
            if kind != "http.response.body" or self.response_complete:
                raise RuntimeError(f"unexpected ASGI message {kind!r}")
            self._body(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r} before the response has started")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Names are in lower case, as ASGI has them."""
        length: int | None = None
        closing = b"close"
        lines: list[bytes] = []
        for pair in headers:
            name, value = pair
            if name in _FRAMING:
                if name == b"content-length":
                    length = int(value)
                else:
                    if name == b"connection" and b"close" in value.lower():
                        self.keep_alive, closing = False, value
                    continue
            lines.append(b": ".join(pair))
        bodiless = status in _NO_BODY or self.scope["method"] == "HEAD"
        self._chunked = length is None and not bodiless and not self.version_10
        if self._chunked:
            lines.append(b"transfer-encoding: chunked")
        if self.more_body and not self._worth_discarding():
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: " + closing)
        said = b"".join(lines)
        # A line end in there would make a header, or a response, of its author's choice.
        if _CR in said or _LF in said:
            raise RuntimeError("a response header holds a line end")
        lines += (b"", b"")
        self._length = 0 if bodiless else length
        self.continue_due = False
        self._head = _STATUS_LINE[status] + self.carrier.default_lines() + b"\r\n".join(lines)

    def _worth_discarding(self) -> bool:
        return not self.continue_due and self.body_left is not None and self.body_left <= DISCARD_BYTES

    def _body(self, body: bytes, more: bool) -> None:
        if self._chunked:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body) if more else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            elif not more:
                body = b"0\r\n\r\n"
        elif self._length is not None:
            body = self._counted(body, more)
        if self._head:
            body, self._head = self._head + body, b""
            self.response_started = True
        if body:
            self.transport.write(body)
        if not more:
            self.response_complete = True
            self._chunked = False
            self._pieces.clear()
            self.wake()
            self.carrier.answered()

    def _counted(self, body: bytes, more: bool) -> bytes:
        """``body``, checked against Content-Length; nothing where the response may have none."""
        assert self._length is not None
        if self.scope["method"] == "HEAD":
            return b""
        self._length -= len(body)
        if self._length < 0 or (self._length and not more):
            raise RuntimeError("the response body is not as long as its Content-Length says")
        return body
