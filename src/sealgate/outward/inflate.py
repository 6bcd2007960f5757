"""Compressed answers that nobody asked for, decoded under caps (row E16).

Requests say ``accept-encoding: identity``, and some upstreams compress all the same. What a few bytes may become is
limited: a decoder gives at most `SLICE` bytes at once, and what it gave in all is held against what came in.
"""

from __future__ import annotations

import zlib

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Response

CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
SLICE = 64 * 1024
MAX_SIZE = 64 * 1024 * 1024
MAX_RATIO = 200
"""Bytes out for each byte in. Streams of small, equal events come to about 40; a bomb of zeros to 1000."""
FREE = 1024 * 1024
"""So many bytes may come out whatever the ratio: they are too few to harm."""

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def inflated(response: Response, coding: str) -> Response:
    """The answer with its body decoded. Raises `UpstreamError` with BAD_RESPONSE for a coding that is not known."""
    name = coding.strip().lower()
    if name in ("", "identity"):
        return response
    if name not in CODINGS:
        raise UpstreamError(Failure.BAD_RESPONSE, f"the answer is compressed with {name[:40]}")
    return Inflated(response)


class Inflated:
    """A `Response` whose body is decoded as it is read."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._inflate = _Inflate()

    async def read(self) -> bytes:
        """See `Response`. Raises BAD_RESPONSE too, for a body that cannot be decoded, or is a bomb."""
        decoder = self._inflate
        while True:
            if piece := decoder.give():
                return piece
            packed = await self._response.read()
            if not packed:
                decoder.end()
                return b""
            decoder.take(packed)

    def set_silence(self, seconds: float) -> None:
        self._response.set_silence(seconds)

    def close(self) -> None:
        self._response.close()


class _Inflate:
    """The pure half: takes packed pieces, gives slices."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._packed = b""
        self._came = self._gave = 0
        self._full = False
        """Whether the last slice was as large as slices are: the decoder may hold more without any more input."""

    def take(self, packed: bytes) -> None:
        self._packed += packed
        self._came += len(packed)

    def give(self) -> bytes:
        """The next bytes, at most `SLICE`; none where more packed ones are needed."""
        while self._packed or self._full:
            if self._decoder.eof:
                # A body may be several packed ones after another (RFC 1952, section 2.2).
                self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
            if piece := self._slice():
                self._gave += len(piece)
                if self._gave > min(MAX_SIZE, max(FREE, self._came * MAX_RATIO)):
                    raise UpstreamError(Failure.BAD_RESPONSE, "the answer is compressed beyond measure")
                return piece
        return b""

    def end(self) -> None:
        """Raises `UpstreamError` where the packed body stopped short."""
        if self._came and not self._decoder.eof:
            raise UpstreamError(Failure.TRUNCATED, "the compressed body ended short")

    def _slice(self) -> bytes:
        decoder = self._decoder
        try:
            piece = decoder.decompress(self._packed, SLICE)
        except zlib.error:
            raise UpstreamError(Failure.BAD_RESPONSE, "the compressed body cannot be decoded") from None
        self._packed = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        self._full = len(piece) == SLICE and not decoder.eof
        return piece
