"""A body that is read when all of it is there: its pieces, kept under a cap. What it says is for the wire to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.base import NO_HEADERS, Json

MAX_ANSWER = 64 * 1024 * 1024
HEAVY = 1024 * 1024
"""Bytes of a body that is read, or made, in a thread of its own: that takes as long as many requests do."""
_MARK = b"\xef\xbb\xbf"
"""A byte order mark, which some servers put before a document."""

_decode = msgspec.json.Decoder().decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def decoded(body: bytes) -> Any:
    """A JSON document as it is decoded anyway. Of a heavy one the lists' items one by one: between two of them other
    threads have their turn. Raises `msgspec.DecodeError`."""
    if len(body) <= HEAVY or not body.lstrip().startswith(b"{"):
        return _decode(body)
    return {
        name: [_decode(each) for each in _items(value)] if bytes(memoryview(value)[:1]) == b"[" else _decode(value)
        for name, value in _members(body).items()
    }


class WholeBody:
    """The first half of a reader of one document; the second, ``end``, reads ``body``."""

    done = False
    headers: Mapping[str, str] = NO_HEADERS
    """Of the answer; where a provider says there what it counted."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterable[Json]:
        """Nothing yet. Raises `UpstreamError` where the body passes the cap."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > MAX_ANSWER:
            raise UpstreamError(Failure.TOO_LARGE)
        return ()

    @property
    def body(self) -> bytes:
        """What has come."""
        found = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        return found.removeprefix(_MARK)
