"""The listening sockets, which stop accepting while file descriptors are short (row I8).

What accepts is a copy of the socket: closing the copy leaves the original open, so the kernel goes on queueing
callers, and nothing wakes the event loop for them. Left alone, the loops deal with `EMFILE` in their own ways: uvloop
accepts and closes, which resets callers, and both leave nothing for connections to providers. (Without uvloop, as on
Windows, a caller whose connection is being accepted when the pause begins is reset.)
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import structlog

try:
    import resource
except ImportError:  # not on every system
    resource = None  # type: ignore[assignment]

SPARE = 16
"""Descriptors kept for what is neither a caller nor a provider: the database, look-ups of names."""
MOST_WANTED = 65_536
UNLIMITED = 1 << 30


def raise_limit() -> None:
    """Take as many descriptors as the process may have without asking: the soft limit is for programs that `select`."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_WANTED if hard == resource.RLIM_INFINITY else min(hard, MOST_WANTED)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Listeners:
    """``connect`` makes the protocol of a connection, ``connections`` says how many there are."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        connect: Callable[[], asyncio.Protocol],
        connections: Callable[[], int],
        *,
        backlog: int,
        **options: Any,
    ) -> None:
        self.paused = False
        self._sockets = list(sockets)
        self._connect = connect
        self._connections = connections
        self._backlog = backlog
        self._options = options
        self._servers: list[asyncio.Server] = []
        self._opening: asyncio.Task[None] | None = None
        limit = UNLIMITED if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = (UNLIMITED if limit < 0 else limit) - SPARE
        self._base = _lowest_free(self._sockets[0]) or 0

    async def open(self) -> None:
        """Accept. Raises OSError."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            copy = sock.dup()
            try:
                # asyncio accepts as many as its backlog at once, before anybody could say stop.
                self._servers.append(await loop.create_server(self._accepted, sock=copy, backlog=1, **self._options))
                sock.listen(self._backlog)
            except OSError:
                copy.close()
                raise

    def close(self) -> None:
        """Accept no more, for good: callers that wait are turned away by the kernel."""
        if self._opening is not None:
            self._opening.cancel()
        self._stop()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def look(self) -> None:
        """Accept again, if descriptors have come free."""
        if self.paused and self._sockets and self._opening is None and not self._short():
            self._opening = asyncio.ensure_future(self._open_again())

    def _accepted(self) -> asyncio.Protocol:
        if not self.paused and self._short():
            self.paused = True
            asyncio.get_running_loop().call_soon(self._stop)  # now would cost this caller his connection
            structlog.get_logger().warning("accepting_paused", reason="file descriptors are short")
        return self._connect()

    def _stop(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()

    def _short(self) -> bool:
        """Whether there are too few for another caller and, for each one who is here, a connection to a provider."""
        if self._base + 2 * self._connections() >= self._most:
            return True
        lowest = _lowest_free(self._sockets[0])
        return lowest is None or lowest >= self._most

    async def _open_again(self) -> None:
        try:
            await self.open()
        except OSError:
            self._stop()  # they are gone again; the next look may have more luck
        else:
            self.paused = False
        finally:
            self._opening = None


def _lowest_free(sock: socket.socket) -> int | None:
    """The lowest descriptor that is free, which is about how many are open; None where there is none."""
    try:
        number = os.dup(sock.fileno())
    except OSError:
        return None
    os.close(number)
    return number
