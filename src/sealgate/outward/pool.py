"""The connections of one origin: kept ones last-in first-out, a limit, and a queue in front of the limit.

A *place* is the right to hold one connection. Places are counted, never connections, so that a connection which is
still being made, or was promised to somebody in the queue, has its place too and can lose it exactly once.
"""

from __future__ import annotations

import asyncio
from typing import Generic, NamedTuple, Protocol, TypeVar

from sealgate.errors import Failure, UpstreamError


class Poolable(Protocol):
    """A connection as the pool sees it. ``close`` must end in `Pool.free` if the connection was still alive."""

    alive: bool
    idle_since: float

    def close(self) -> None: ...


class PoolLimits(NamedTuple):
    """Per origin: places, connections kept unused, seconds they are kept, seconds a request may queue for a place."""

    size: int = 1000
    max_idle: int = 256
    keep_seconds: float = 60.0
    wait_seconds: float = 5.0


C = TypeVar("C", bound=Poolable)


class Pool(Generic[C]):
    def __init__(self, limits: PoolLimits, loop: asyncio.AbstractEventLoop) -> None:
        self.places = 0
        self._limits = limits
        self._loop = loop
        self._idle: list[C] = []
        self._queue: dict[asyncio.Future[C | None], None] = {}  # in order of arrival
        self._sweeper: asyncio.TimerHandle | None = None

    def warm(self) -> C | None:
        """The connection used last, with its place, if there is one that may still be used."""
        while self._idle:
            connection = self._idle.pop()
            if self._loop.time() - connection.idle_since < self._limits.keep_seconds:
                return connection
            connection.close()
        return None

    async def place(self) -> C | None:
        """A place for a new connection (None), or a kept one that came free meanwhile.

        Raises `UpstreamError` with POOL when neither came free in time. When cancelled, what was promised moves on.
        """
        if self.places < self._limits.size:
            self.places += 1
            return None
        promise: asyncio.Future[C | None] = self._loop.create_future()
        self._queue[promise] = None
        timer = self._loop.call_later(self._limits.wait_seconds, _refuse, promise)
        try:
            return await promise
        except asyncio.CancelledError:
            if promise.done() and not promise.cancelled() and promise.exception() is None:
                self._pass_on(promise.result())
            raise
        finally:
            timer.cancel()
            self._queue.pop(promise, None)

    def extra(self) -> None:
        """One place more for the replacement of a connection that was lost while in use; it does not queue."""
        self.places += 1

    def keep(self, connection: C) -> None:
        """Take a connection back: to the first in the queue, else kept for later."""
        if self._queue and self._promise(connection):
            return
        if len(self._idle) >= self._limits.max_idle:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._limits.keep_seconds, self._sweep)

    def free(self, connection: C | None = None) -> None:
        """Give a place back, that of a closed ``connection`` or of one that was never made."""
        if connection is not None and connection in self._idle:
            self._idle.remove(connection)
        self.places -= 1
        if self.places < self._limits.size and self._promise(None):
            self.places += 1

    def close(self) -> None:
        """Turn away the queue and close what is kept."""
        for promise in self._queue:
            _refuse(promise)
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self._idle):
            connection.close()

    def _promise(self, connection: C | None) -> bool:
        while self._queue:
            promise = next(iter(self._queue))
            del self._queue[promise]
            if not promise.done():
                promise.set_result(connection)
                return True
        return False

    def _pass_on(self, promised: C | None) -> None:
        if promised is None:
            self.free()
        elif promised.alive:
            self.keep(promised)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._loop.time()
        # Oldest first; the tail is what `warm` takes.
        for connection in tuple(self._idle):
            if now - connection.idle_since >= self._limits.keep_seconds:
                connection.close()
        if self._idle:
            due = self._idle[0].idle_since + self._limits.keep_seconds
            self._sweeper = self._loop.call_at(due, self._sweep)


def _refuse(promise: asyncio.Future[C | None]) -> None:
    if not promise.done():
        promise.set_exception(UpstreamError(Failure.POOL, "no connection came free in time"))
