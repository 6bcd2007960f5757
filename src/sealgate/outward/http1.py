"""The hot upstream client: HTTP/1.1 on llhttp's parser and asyncio protocols, one pool per origin, nothing in between.

What one connection does is in `connection`; here are the pools, and the one retry there is.
"""

from __future__ import annotations

import asyncio
import ssl

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Limits, Request
from sealgate.outward.connection import Connection, Exchange
from sealgate.outward.dial import LookUp, dial, look_up, verifying_context
from sealgate.outward.head import HeadLimits, Origin, Target, encode_head, parse_url
from sealgate.outward.pool import Pool, PoolLimits

_MAX_URLS = 1024
"""URLs whose parsed form is remembered."""


class Http1Client:
    """A `Client` of the seam with one pool per origin, bound to the loop it is first used in."""

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        max_connections: int = 1000,
        max_idle: int = 256,
        keepalive_seconds: float = 60.0,
        pool_wait: float = 5.0,
        max_head_bytes: int = 64 * 1024,
        max_headers: int = 200,
        look_up: LookUp = look_up,
    ) -> None:
        """``max_connections`` and ``max_idle`` count per origin; ``pool_wait`` is the seconds a request may queue.

        An unused connection is closed after ``keepalive_seconds``, which should be below what the upstreams keep.
        ``look_up`` says which addresses an origin has; what it raises beside ``OSError`` leaves `send` as it is.
        Raises `ValueError` for an ``ssl_context`` that does not verify.
        """
        self._context = verifying_context(ssl_context)
        self._pool_limits = PoolLimits(max_connections, max_idle, keepalive_seconds, pool_wait)
        self._head_limits = HeadLimits(max_head_bytes, max_headers)
        self._pools: dict[Origin, Pool[Connection]] = {}
        self._routes: dict[str, tuple[Target, Pool[Connection]]] = {}
        self._live: set[Connection] = set()
        self._look_up = look_up
        self._closed = False

    async def send(self, request: Request, limits: Limits) -> Exchange:
        """See `Client.send`. Await it in the task that owns the answer: one that is lost in between is not closed."""
        target, pool = self._routes.get(request.url) or self._route(request.url)
        head = encode_head(request, target)
        connection = pool.warm() or await pool.place() or await self._open(target.origin, pool, limits)
        try:
            return await connection.exchange(head, request.body, limits.silence, limits.until)
        except UpstreamError as error:
            if error.failure is not Failure.RESET or not connection.stale or self._closed:
                raise
        # The kept connection was closed before it saw the request (RFC 9112 section 9.3.1): once more on a new one.
        pool.extra()
        connection = await self._open(target.origin, pool, limits)
        return await connection.exchange(head, request.body, limits.silence, limits.until)

    async def aclose(self) -> None:
        """Abort every connection and wait until the loop let go of them. Open answers fail with RESET."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()
        for connection in tuple(self._live):
            connection.fail(Failure.RESET, "the client was closed")
        if lost := [connection.lost for connection in self._live]:
            await asyncio.wait(lost, timeout=1.0)

    def _route(self, url: str) -> tuple[Target, Pool[Connection]]:
        target = parse_url(url)
        if len(self._routes) >= _MAX_URLS:
            self._routes.clear()
        pool = self._pools.get(target.origin)
        if pool is None:
            pool = self._pools[target.origin] = Pool(self._pool_limits, asyncio.get_running_loop())
        self._routes[url] = target, pool
        return target, pool

    async def _open(self, origin: Origin, pool: Pool[Connection], limits: Limits) -> Connection:
        """Fill a place of the pool with a new connection; the place is given back if that fails."""
        connection = Connection(pool, self._head_limits)
        seconds = min(limits.connect, limits.until - asyncio.get_running_loop().time())
        try:
            self._refuse_if_closed()
            await dial(origin, lambda: connection, self._context, seconds, self._look_up)
            self._refuse_if_closed()
        except BaseException:
            connection.close()
            raise
        self._live.add(connection)
        connection.lost.add_done_callback(lambda _: self._live.discard(connection))
        return connection

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise UpstreamError(Failure.UNREACHABLE, "the client is closed")
