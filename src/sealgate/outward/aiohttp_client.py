"""The upstream seam on aiohttp: used where an HTTP proxy is configured, and as the judge of our own client.

aiohttp connects, tunnels and frames. Limits, failure classes and the one retry are kept here, so that both
implementations answer alike; what aiohttp does otherwise is listed in the contract suite, each with its reason.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from io import BytesIO
from types import SimpleNamespace

import aiohttp
from aiohttp.http import HttpProcessingError
from aiohttp.tracing import Trace
from msgspec.structs import replace
from yarl import URL

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Limits, Request
from sealgate.outward.dial import verifying_context
from sealgate.outward.head import BadHead, HeadLimits, Origin, check_field, check_method, judge_head, parse_url

_AUTOMATIC = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")

_WHOLE_LIMIT = 1 << 20
"""Bytes above which aiohttp wants a body to write in parts."""


class _Connector(aiohttp.TCPConnector):
    """Never gives out a kept connection on which something has come: aiohttp would take it for the next answer."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.connector.Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()


class _Attempt:
    """What the tracing hooks see of one attempt; its deadline is for connecting first, then for the head."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.sent = self.reused = False
        self.scope = asyncio.timeout(min(limits.connect, limits.until - _now()))


class AiohttpResponse:
    """A `Response` of the seam."""

    def __init__(
        self, inner: aiohttp.ClientResponse, headers: dict[str, str], limits: Limits, leave: Callable[[], None]
    ) -> None:
        self.status = inner.status
        self.headers: Mapping[str, str] = headers
        self._inner = inner
        self._protocol = inner.connection.protocol if inner.connection is not None else None
        self._silence = limits.silence
        self._until = limits.until
        self._scope: asyncio.Timeout | None = None
        self._closed = False
        self._leave: Callable[[], None] | None = leave

    async def read(self) -> bytes:
        if self._closed:
            raise UpstreamError(Failure.RESET, "closed before its end was read")
        try:
            data = await self._next()
        except (TimeoutError, aiohttp.ClientError, OSError, RuntimeError) as error:
            failure = self._broken(error)
            self.close()
            raise UpstreamError(failure, "the answer broke off") from error
        except BaseException:
            self.close()
            raise
        if not data:
            self._end()
        return data

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(min(self._silence, self._until - _now())) as self._scope:
                return await self._inner.content.readany()
        finally:
            self._scope = None

    def _broken(self, error: Exception) -> Failure:
        # The payload's own error only says that it is short; why is kept by the protocol. After a broken chunk there
        # is not even an error: the reader waits until the silence ends.
        cause = self._protocol.exception() if self._protocol is not None else None
        if isinstance(cause, HttpProcessingError):
            return Failure.BAD_RESPONSE
        if self._closed or isinstance(cause, OSError):
            return Failure.RESET
        if isinstance(error, TimeoutError):
            return Failure.TIMEOUT if _now() >= self._until else Failure.STALLED
        return Failure.TRUNCATED if isinstance(error, aiohttp.ClientPayloadError) else Failure.RESET

    def set_silence(self, seconds: float) -> None:
        self._silence = seconds
        self._wake_in(seconds)

    def close(self) -> None:
        if self._leave is not None:
            self._closed = True
            self._inner.close()
            self._wake_in(0)
            self._end()

    def _wake_in(self, seconds: float) -> None:
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time() + seconds)

    def _end(self) -> None:
        if self._leave is not None:
            self._leave()
            self._leave = None


class AiohttpClient:
    """A `Client` of the seam; bound to the loop that first sends with it."""

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        max_connections: int = 1000,
        keepalive_seconds: float = 60.0,
        pool_wait: float = 5.0,
        max_head_bytes: int = 64 * 1024,
        max_headers: int = 200,
    ) -> None:
        """``proxy`` is the URL of an HTTP proxy, with its user and password. The rest is as in `Http1Client`."""
        self._context = verifying_context(ssl_context)
        self._proxy = proxy
        self._max_connections = max_connections
        self._keepalive = keepalive_seconds
        self._pool_wait = pool_wait
        self._limits = HeadLimits(max_head_bytes, max_headers)
        self._places: dict[Origin, asyncio.Semaphore] = {}
        self._kept: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    async def send(self, request: Request, limits: Limits) -> AiohttpResponse:
        origin = parse_url(request.url).origin
        headers = {name: value for name, value in request.headers.items() if check_field(name, value)}
        if not any(name.lower() == "accept-encoding" for name in headers):
            headers["accept-encoding"] = "identity"
        request = replace(request, method=check_method(request.method), headers=headers)
        places = self._places.setdefault(origin, asyncio.Semaphore(self._max_connections))
        await self._enter(places)
        try:
            inner = await self._send_twice(request, limits, origin)
            return self._wrap(inner, limits, places.release)
        except BaseException:
            places.release()
            raise

    async def aclose(self) -> None:
        for session in (self._kept, self._fresh):
            if session is not None:
                await session.close()
        await asyncio.sleep(0)  # transports end in the next turn of the loop

    async def _enter(self, places: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self._pool_wait):
                await places.acquire()
        except TimeoutError as error:
            raise UpstreamError(Failure.POOL, "no connection came free in time") from error

    async def _send_twice(self, request: Request, limits: Limits, origin: Origin) -> aiohttp.ClientResponse:
        if self._kept is None or self._fresh is None:
            self._kept, self._fresh = self._session(keep=True), self._session(keep=False)
        attempt = _Attempt(limits)
        try:
            return await self._attempt(self._kept, request, attempt, origin)
        except UpstreamError as error:
            if error.failure is not Failure.RESET or not attempt.reused:
                raise
        return await self._attempt(self._fresh, request, _Attempt(limits), origin)

    async def _attempt(
        self, session: aiohttp.ClientSession, request: Request, attempt: _Attempt, origin: Origin
    ) -> aiohttp.ClientResponse:
        try:
            async with attempt.scope:
                return await session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=request.headers,
                    data=BytesIO(request.body) if len(request.body) > _WHOLE_LIMIT else request.body or None,
                    allow_redirects=False,
                    proxy=self._proxy,
                    trace_request_ctx=attempt,
                )
        except TimeoutError as error:
            failure = Failure.TIMEOUT if attempt.sent else Failure.CONNECT_TIMEOUT
            raise UpstreamError(failure, "no answer in time") from error
        except aiohttp.ClientSSLError as error:
            raise UpstreamError(Failure.TLS, "certificate or handshake not accepted") from error
        except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError) as error:
            raise UpstreamError(_connect_failure(error, origin), "no connection") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise UpstreamError(Failure.BAD_RESPONSE, "not valid HTTP") from error

    def _wrap(self, inner: aiohttp.ClientResponse, limits: Limits, leave: Callable[[], None]) -> AiohttpResponse:
        version = inner.version
        try:
            dotted = f"{version.major}.{version.minor}" if version else ""
            head = judge_head(inner.status, dotted, 0, inner.raw_headers, self._limits)
        except BadHead as error:
            inner.close()
            raise UpstreamError(Failure.BAD_RESPONSE, f"not valid HTTP: {error}") from error
        return AiohttpResponse(inner, head.headers, limits, leave)

    def _session(self, *, keep: bool) -> aiohttp.ClientSession:
        seconds = self._keepalive if keep else None
        return aiohttp.ClientSession(
            connector=_Connector(limit=0, ssl=self._context, force_close=not keep, keepalive_timeout=seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_AUTOMATIC,
            max_line_size=self._limits.max_bytes,
            max_field_size=self._limits.max_bytes,
            max_headers=self._limits.max_headers,
            trace_configs=[_hooks()],
            middlewares=(_once,),
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep a lost connection from aiohttp, which would send a GET once more, whatever the connection."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise UpstreamError(Failure.RESET, "the provider closed the connection without an answer") from error


def _hooks() -> aiohttp.TraceConfig:
    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.reused = True

    async def sent(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        attempt: _Attempt = context.trace_request_ctx
        attempt.sent = True
        attempt.scope.reschedule(min(_now() + attempt.limits.silence, attempt.limits.until))

    hooks = aiohttp.TraceConfig()
    hooks.on_connection_reuseconn.append(reused)
    hooks.on_request_headers_sent.append(sent)
    return hooks


def _connect_failure(error: Exception, origin: Origin) -> Failure:
    """A connection that was made and broke in the handshake says so only by the kind of its operating system error."""
    cause = getattr(error, "os_error", None)
    if isinstance(cause, TimeoutError):
        return Failure.CONNECT_TIMEOUT
    broke = isinstance(cause, ConnectionResetError | ConnectionAbortedError | BrokenPipeError | EOFError)
    return Failure.TLS if broke and origin.scheme == "https" else Failure.UNREACHABLE
