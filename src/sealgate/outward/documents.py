"""Small documents at addresses that the operator wrote: asked for once, read under caps, believed over TLS only.

No redirect is followed, no credential is sent and nothing is decoded. Every way to fail is one `DocumentError`.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from sealgate.errors import UpstreamError
from sealgate.formats.addresses import secure_url
from sealgate.outward.client import Limits, Request, Response
from sealgate.outward.dial import verifying_context
from sealgate.outward.http1 import Http1Client

T = TypeVar("T")

MAX_BYTES = 256 * 1024
SECONDS = 5.0

_MAX_AGE = re.compile(r'(?:^|[\s,])max-age="?(\d{1,9})"?(?:$|[\s,])', re.IGNORECASE)
_HEADERS = {"accept": "application/json", "user-agent": "sealgate"}


class DocumentError(Exception):
    """A document did not come; the text says why, for the operator."""


class Document(NamedTuple):
    """What came, and for how many seconds it may be kept (RFC 9111, section 5.2.2.1); None where that was not said."""

    data: bytes
    max_age: int | None


class Answered(NamedTuple):
    """What came back: the status, and the body."""

    status: int
    data: bytes


class Documents:
    """Fetches documents. Nothing stays open between two of them, so it need not be closed."""

    def __init__(
        self, *, ssl_context: ssl.SSLContext | None = None, seconds: float = SECONDS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._context = ssl_context
        self._seconds = seconds
        self._max_bytes = max_bytes

    async def get(self, url: str) -> Document:
        """The document at ``url``, which is https, or http on this machine. Raises `DocumentError`."""
        return await self._exchange(Request("GET", url, _HEADERS, b""), self._read)

    async def post(self, url: str, body: bytes) -> Answered:
        """Send a text there, and return the answer whatever its status. Raises `DocumentError`."""
        headers = {"content-type": "text/plain; charset=utf-8", "user-agent": "sealgate"}
        return await self._exchange(Request("POST", url, headers, body), self._answered)

    async def _exchange(self, request: Request, read: Callable[[Response], Awaitable[T]]) -> T:
        url = request.url
        try:
            secure_url(url)
            async with asyncio.timeout(self._seconds):
                client = Http1Client(ssl_context=await self._trust(), max_idle=0)
                try:
                    until = asyncio.get_running_loop().time() + self._seconds
                    response = await client.send(request, Limits(until=until))
                    try:
                        return await read(response)
                    finally:
                        response.close()
                finally:
                    await client.aclose()
        except TimeoutError:
            raise DocumentError(f"{url} did not answer in {self._seconds:g} s") from None
        except UpstreamError as error:
            raise DocumentError(f"{url} cannot be read: {error}") from None
        except ValueError as error:
            raise DocumentError(f"{url} cannot be used: {error}") from None

    async def _trust(self) -> ssl.SSLContext:
        """The system's authorities. Reading them takes long, so it is done once, beside the event loop."""
        if self._context is None:
            self._context = await asyncio.to_thread(verifying_context, None)
        return self._context

    async def _read(self, response: Response) -> Document:
        if response.status != 200:
            raise ValueError(f"it was answered with status {response.status}")
        data = await self._body(response)
        found = _MAX_AGE.search(response.headers.get("cache-control", ""))
        return Document(data, int(found[1]) if found else None)

    async def _answered(self, response: Response) -> Answered:
        return Answered(response.status, await self._body(response))

    async def _body(self, response: Response) -> bytes:
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise ValueError("it came compressed, which was not asked for")
        pieces, size = [], 0
        while piece := await response.read():
            size += len(piece)
            if size > self._max_bytes:
                raise ValueError(f"it is larger than {self._max_bytes >> 10} KiB")
            pieces.append(piece)
        return b"".join(pieces)
