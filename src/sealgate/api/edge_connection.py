"""The life of one connection: its states, its deadlines, how it is refused, closed, cut, and drained.

States::

    IDLE ──first byte──▶ HEAD ──empty line──▶ BODY ──last byte──▶ ANSWER ──response complete──▶ IDLE
    CROWDED (over the limit)      any refusal ──▶ LINGER ──▶ CLOSING

`IDLE` and `HEAD` are mostly skipped: a head that arrives in one piece goes straight on. What is read in each state is
the business of `sealgate.api.edge`.

Time costs next to nothing here: a deadline is a number, and one timer per connection looks at it when it happens to
fire, then sleeps again. It never sleeps longer than the shortest limit, so setting a deadline never moves it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import enum
import math
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sealgate.api.edge_cycle import Connection, Cycle
from sealgate.api.edge_head import HeadReader
from sealgate.api.edge_peers import Peers
from sealgate.api.edge_rules import EdgeLimits, refusal, render

NEVER = math.inf
OVERFLOW = 256
"""Connections over the limit that may wait for their 503 at once; further ones are reset."""

CLOCK_STEP = 0.001
"""The loop's timers count whole milliseconds and may be this much early."""

_RESET = struct.pack("ii", 1, 0)

OnRefusal = Callable[[str, tuple[str, int] | None], None]


class State(enum.IntEnum):
    IDLE = 0
    HEAD = 1
    BODY = 2
    ANSWER = 3
    CROWDED = 4
    LINGER = 5
    CLOSING = 6


IDLE, HEAD, BODY, ANSWER, CROWDED, LINGER, CLOSING = State


def _unheard(code: str, peer: tuple[str, int] | None) -> None: ...


@dataclass(slots=True)
class Shared:
    """What the connections of one server have in common."""

    limits: EdgeLimits
    heads: HeadReader
    peers: Peers
    on_refusal: OnRefusal = _unheard
    overflow: set[EdgeConnection] = field(default_factory=set)
    defaults: list[tuple[bytes, bytes]] = field(default_factory=list)
    default_lines: bytes = b""


class EdgeConnection(HttpToolsProtocol):
    """One connection, without the reading. ``shared`` is set on a subclass for each server."""

    shared: ClassVar[Shared]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits = self.shared.limits
        self.connection = Connection()
        self._proxied = False
        self._state: State = IDLE
        self._active: Cycle | None = None
        self._head = bytearray()
        self._held = bytearray()
        self._fresh = True
        self._draining = False
        self._context: contextvars.Context | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = NEVER
        self._stall_at = NEVER
        self._stall_size = 0
        self._body_since = 0.0
        self._body_seen = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._context = contextvars.copy_context()
        self._proxied = self.shared.peers.trusts(self.client)
        transport.set_write_buffer_limits(high=self.limits.write_buffer_bytes)
        _tune(transport, self.limits)
        seconds = self.limits.header_seconds
        if len(self.connections) > self.limits.max_connections:
            self.connections.discard(self)
            if len(self.shared.overflow) >= OVERFLOW:
                self._count("overloaded")
                self._abort()
                return
            self.shared.overflow.add(self)
            self._state = CROWDED
            seconds = min(seconds, self.limits.linger_seconds)
        self._due_soon(seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = CLOSING
        self._deadline = self._stall_at = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.shared.overflow.discard(self)
        self._held.clear()
        # The system gives a caller who takes nothing as long as we do (`_tune`), and mostly its clock began sooner.
        stalled = isinstance(exc, TimeoutError) and self._active is not None and self._active.response_started
        if stalled:
            self._count("client_stalled")
        self._lose("client_stalled" if stalled else "client_disconnected")
        self._active = None
        super().connection_lost(exc)

    def eof_received(self) -> None:
        if self._active is not None and not self._active.response_complete:
            self._lose("client_disconnected")
            self._abort()

    def shutdown(self) -> None:
        """The server drains: end when the running request is answered, or now where there is none."""
        self._draining = True
        cycle = self._active
        if cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False
        elif self._state in (IDLE, BODY):
            self._close()

    @property
    def busy(self) -> bool:
        """Whether a request is being received or answered, or bytes wait to be written."""
        return self._state in (HEAD, BODY, ANSWER) or self.transport.get_write_buffer_size() > 0

    def end_now(self) -> None:
        """The drain is over: tell the running request, which may still end its response."""
        self.connection.shutting_down = True
        self._held.clear()
        cycle = self._active
        if cycle is None or cycle.response_complete:
            self._close()
        else:
            cycle.keep_alive = False
            self._cancel(cycle)

    @property
    def resting(self) -> bool:
        """Whether it is only kept open, after an answer and before the next request."""
        return self._state == IDLE and not self._fresh

    def stalled(self, seconds: float) -> int:
        """Bytes that wait for a caller who has not read for so long; else 0."""
        since = self._stall_at - self.limits.write_stall_seconds
        return self.transport.get_write_buffer_size() if self.loop.time() - since >= seconds else 0

    def cut(self) -> None:
        """Give up a caller who does not read."""
        self._count("client_stalled")
        self._stall_at = NEVER
        self._lose("client_stalled")
        self._abort()

    def _lose(self, how: Literal["client_disconnected", "client_stalled"], *, cancel: bool = True) -> None:
        """Nobody is there for the running request: let it know, and cancel it unless ``receive`` has told it."""
        cycle = self._active
        if cycle is None or cycle.response_complete:
            return
        if not self.connection.lost:
            self.connection.lost, self.connection.lost_how = True, how
        cycle.disconnect()
        self.flow.resume_writing()
        if cancel:
            self._active = None
            if not cycle.told:
                self._cancel(cycle)

    def _cancel(self, cycle: Cycle) -> None:
        assert cycle.task is not None
        cycle.task.cancel()
        if not cycle.began:  # a task that never ran has no end to take it off the list
            self.tasks.discard(cycle.task)
            if not cycle.disconnected:
                self.failed("gateway_shutting_down")

    def _close(self) -> None:
        """Close when everything written is on its way; a caller that does not take it is cut."""
        self._state = CLOSING
        self._deadline = NEVER
        if not self.transport.is_closing():  # asyncio's TLS transport is of no use any more after a second close
            self.transport.close()
        if self._stall_at == NEVER and self.transport.get_write_buffer_size() > 0:
            self._watch_output()

    def _abort(self) -> None:
        """Reset the connection: no output is kept for the caller, and what he has got does not look complete."""
        self._state = CLOSING
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _cut_short(self, cycle: Cycle) -> None:
        """End a response that is not complete so that it cannot be taken for complete."""
        if cycle.ends_by_close:
            self._abort()
        else:
            self._close()

    def _idle(self) -> None:
        self._state = IDLE
        self._active = None
        self._due(self.limits.idle_seconds)

    def _linger(self) -> None:
        """Nothing more to say: end our side, and drop what still comes until the caller ends his or the time is up."""
        self._state = LINGER
        self._held.clear()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._due_soon(self.limits.linger_seconds)

    # Time

    def _due(self, seconds: float) -> None:
        """Set the deadline. The timer is left as it is: no deadline is nearer than it sleeps."""
        now = self.loop.time()
        self._deadline = now + seconds
        if self._timer is None:
            self._arm(now)

    def _due_soon(self, seconds: float) -> None:
        """Set a deadline that may be nearer than the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due(seconds)

    def _arm(self, now: float) -> None:
        when = min(self._deadline, self._stall_at)
        if when < NEVER:
            self._timer = self.loop.call_at(min(when, now + self.limits.tick), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self.loop.time() + CLOCK_STEP
        if self._stall_at <= now:
            self._judge_reader()
        elif self._deadline <= now:
            self._deadline = NEVER
            self._expired(now)
        if self._timer is None:
            self._arm(now)

    def _expired(self, now: float) -> None:
        if self._state == BODY:
            self._judge_pace(now)
        elif self._state == HEAD and b"\r\n" in self._head:
            self._refuse("request_timeout")
        else:
            if self._state == HEAD or (self._state == IDLE and self._fresh):
                self._count("request_timeout")
            self._close()

    def _judge_pace(self, now: float) -> None:
        """Is the body still in time? Sets the moment at which it will not be, if nothing more comes."""
        cycle, limits = self._active, self.limits
        if cycle is not None and (cycle.continue_due or self.flow.read_paused):
            self._start_body_clock()  # it is the application that keeps the caller waiting
            return
        taken = now - self._body_since
        good_until = max(limits.body_grace_seconds, self._body_seen / limits.bytes_per_second)
        if taken < min(good_until, limits.body_seconds):
            self._deadline = self._body_since + min(good_until, limits.body_seconds)
        else:
            self._refuse("request_timeout")

    def _start_body_clock(self) -> None:
        self._body_since = self.loop.time()
        self._body_seen = 0
        self._due(min(self.limits.body_grace_seconds, self.limits.body_seconds))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_output()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall_at = NEVER

    def _watch_output(self) -> None:
        now = self.loop.time()
        self._stall_at = now + self.limits.write_stall_seconds
        self._stall_size = self.transport.get_write_buffer_size()
        if self._timer is None:
            self._arm(now)

    def _judge_reader(self) -> None:
        """Output has waited for a while: has the caller read any of it at a decent pace?"""
        limits = self.limits
        taken = self._stall_size - self.transport.get_write_buffer_size()
        if taken >= limits.bytes_per_second * limits.write_stall_seconds:
            self._watch_output()
        else:
            self.cut()

    # What goes out

    def default_lines(self) -> bytes:
        """The header lines that every response carries, rendered once for each new list: once a second."""
        shared, defaults = self.shared, self.server_state.default_headers
        if shared.defaults is not defaults:
            shared.defaults, shared.default_lines = defaults, render(defaults)
        return shared.default_lines

    def want_body(self, after_continue: bool) -> None:
        self.flow.resume_reading()
        if after_continue and self._state == BODY:
            self._start_body_clock()

    def answered(self) -> None:
        """The application's response is complete."""
        self.server_state.total_requests += 1
        cycle = self._active
        if cycle is None or self._state > ANSWER:
            return
        self.flow.resume_reading()
        if not cycle.keep_alive:
            if self._state == BODY or self._held:
                self._linger()
            else:
                self._close()
        elif self._state == ANSWER:
            if self._held:
                self.loop.call_soon(self.advance_held, context=self._context)
            else:
                self._idle()

    def failed(self, code: str) -> None:
        """The application ended without completing its response."""
        cycle = self._active
        assert cycle is not None
        if not cycle.response_started:
            cycle.response_complete = True
            self.transport.write(refusal(code, self.default_lines()))
            self._linger()
        else:
            self._cut_short(cycle)

    def _refuse(self, code: str) -> None:
        """Answer in the application's place. Where it is at work on the request, it is told that the caller is gone."""
        cycle = self._active
        self._count(code)
        if cycle is not None and not cycle.response_complete:
            self._lose("client_disconnected", cancel=False)
            if cycle.response_started:
                self._cut_short(cycle)
                return
        elif self._state == BODY:  # the rest of a body after its answer
            self._close()
            return
        self.transport.write(refusal(code, self.default_lines()))
        self._linger()

    def _count(self, code: str) -> None:
        self.shared.on_refusal(code, self.client)

    def advance_held(self) -> None:
        """Turn to what the caller sent before its turn."""
        raise NotImplementedError


_PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_TCP_OPTIONS = tuple((getattr(socket, name), value) for name, value in _PROBES.items() if hasattr(socket, name))
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)


def _tune(transport: asyncio.Transport, limits: EdgeLimits) -> None:
    """Bound what the kernel keeps for a caller that does not read, and notice one that has vanished (G5, G6).

    The loop itself sets TCP_NODELAY.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # the peer may be gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer_bytes)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _TCP_OPTIONS:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        if _NOTSENT_LOWAT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, limits.unsent_bytes)
        if _USER_TIMEOUT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, int(limits.write_stall_seconds * 1000))
