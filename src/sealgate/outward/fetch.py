"""Fetching what a caller names by URL, without being sent where the caller could not go (server-side request forgery).

A name is looked up once for each connection, by us; every address it has must be allowed, and the connection is made to
one of these addresses, so that a second answer of its name server changes nothing. TLS and ``Host`` carry the name, and
the certificate must be good for it. Redirects are followed by hand, each as carefully as the first URL. No cookie,
credential or referrer is sent, nothing is decoded, and nothing of what happens here is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urljoin

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Limits, Request, Response
from sealgate.outward.dial import AddressInfo, LookUp, verifying_context
from sealgate.outward.guard import FetchError, MayBeAsked, plain, public, written
from sealgate.outward.head import Origin
from sealgate.outward.http1 import Http1Client

MAX_REDIRECTS = 3
MAX_LOOK_UPS = 32
"""Names looked up at once. Their servers are the callers' choice, and may take long."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK = 200
_TOO_SLOW = "It did not come in time."
_NOT_PUBLIC = "Its host has no address, or one that is not public."
"""One sentence for both: a caller must not learn which names exist inside."""
_SAID = {
    Failure.TIMEOUT: _TOO_SLOW,
    Failure.STALLED: _TOO_SLOW,
    Failure.CONNECT_TIMEOUT: _TOO_SLOW,
    Failure.TLS: "The certificate of its host was not accepted.",
    Failure.BAD_RESPONSE: "The answer of its host could not be understood.",
    Failure.TRUNCATED: "It ended before its own length.",
}


class Fetched(NamedTuple):
    """A document and the type it came as: lower case, without parameters, empty where there was none."""

    content_type: str
    data: bytes


class Allowance:
    """How many bytes may still come; several fetches may share it."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    def take(self, count: int) -> None:
        """Raises `FetchError` where that is too much."""
        self._left -= count
        if self._left < 0:
            raise FetchError(f"More than {self._size >> 20} MiB in all would have to be fetched.")


class Resolver:
    """Looks names up in threads of its own.

    They hold up neither the names of providers, which the event loop looks up in its few threads, nor the end of the
    process.
    """

    def __init__(self, most: int = MAX_LOOK_UPS) -> None:
        self._free = asyncio.Semaphore(most)

    async def __call__(self, origin: Origin) -> Sequence[AddressInfo]:
        """Raises `OSError` or `UnicodeError` for a name that has no address or is none."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[AddressInfo]] = loop.create_future()
        threading.Thread(target=self._run, args=(origin, loop, found), name="look-up", daemon=True).start()
        return await found

    def _run(
        self, origin: Origin, loop: asyncio.AbstractEventLoop, found: asyncio.Future[Sequence[AddressInfo]]
    ) -> None:
        addresses: Sequence[AddressInfo] = ()
        error: Exception | None = None
        try:
            addresses = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except Exception as raised:
            error = raised.with_traceback(None)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(self._done, found, addresses, error)

    def _done(
        self, found: asyncio.Future[Sequence[AddressInfo]], addresses: Sequence[AddressInfo], error: Exception | None
    ) -> None:
        self._free.release()
        if found.done():
            return
        if error is not None:
            found.set_exception(error)
        else:
            found.set_result(addresses)


class Fetcher:
    """Fetches documents. Nothing stays open between two of them, so it need not be closed."""

    def __init__(
        self,
        *,
        look_up: LookUp | None = None,
        may_be_asked: MayBeAsked = public,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._look_up = look_up
        self._may_be_asked = may_be_asked
        self._context = ssl_context

    async def fetch(self, url: str, accept: str, until: float, allowance: Allowance) -> Fetched:
        """The document at ``url``, redirects followed, before ``until`` by the event loop's clock.

        Raises `FetchError`. When cancelled, the connection is closed at once.
        """
        try:
            async with asyncio.timeout_at(until):
                client = Http1Client(ssl_context=await self._trust(), max_idle=0, look_up=self._guarded)
                try:
                    return await _follow(client, url, accept, Limits(until=until), allowance)
                finally:
                    await client.aclose()
        except TimeoutError:
            raise FetchError(_TOO_SLOW) from None
        except UpstreamError as error:
            raise FetchError(_SAID.get(error.failure, "Its host could not be reached, or broke off.")) from None

    async def _trust(self) -> ssl.SSLContext:
        """The system's authorities. Reading them takes long, so it is done once, beside the event loop."""
        if self._context is None:
            self._context = await asyncio.to_thread(verifying_context, None)
        return self._context

    async def _guarded(self, origin: Origin) -> Sequence[AddressInfo]:
        """The addresses of an origin, if every one of them may be asked."""
        if self._look_up is None:
            self._look_up = Resolver()
        try:
            found = await self._look_up(origin)
        except (OSError, UnicodeError):
            raise FetchError(_NOT_PUBLIC) from None
        if not found or not all(self._allows(each) for each in found):
            raise FetchError(_NOT_PUBLIC)
        return found

    def _allows(self, info: AddressInfo) -> bool:
        try:
            return self._may_be_asked(ipaddress.ip_address(info[4][0]))
        except ValueError:
            return False


async def _follow(client: Http1Client, url: str, accept: str, limits: Limits, allowance: Allowance) -> Fetched:
    headers = {"accept": accept, "user-agent": "sealgate"}
    for _ in range(1 + MAX_REDIRECTS):
        here = written(plain(url))
        response = await client.send(Request("GET", here, headers, b""), limits)
        try:
            if response.status not in _REDIRECTS:
                return await _read(response, allowance)
            url = _target_of(response, here)
        finally:
            response.close()
    raise FetchError(f"It is redirected more than {MAX_REDIRECTS} times.")


def _target_of(response: Response, here: str) -> str:
    """Where a redirect leads. Bytes beyond ASCII in it are UTF-8, as browsers read them."""
    location = response.headers.get("location", "").encode("latin-1").decode(errors="replace")
    try:
        return urljoin(here, location)
    except ValueError:
        raise FetchError("It is redirected to something that is no URL.") from None


async def _read(response: Response, allowance: Allowance) -> Fetched:
    headers = response.headers
    if response.status != _OK:
        raise FetchError(f"Its host answered with status {response.status}.")
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise FetchError("It came compressed, which was not asked for.")
    pieces: list[bytes] = []
    while piece := await response.read():
        allowance.take(len(piece))
        pieces.append(piece)
    return Fetched(headers.get("content-type", "").partition(";")[0].strip().lower(), b"".join(pieces))
