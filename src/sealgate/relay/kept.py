"""Answers of the Responses API, kept for whoever goes on with them: encrypted, for one customer, for so many days.

They are written in the commit of their request's own row. Each holds what was asked and answered in it alone, and
names the one before it; who goes on gets all of them. Deleting one, or its age, ends every conversation over it.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from sealgate.auth.seal import Seal, context
from sealgate.errors import Problem, StorageError
from sealgate.providers.base import Json
from sealgate.relay import kept_records
from sealgate.relay.responses import Before
from sealgate.storage import NewRow, Storage
from sealgate.storage.retention import DAY_SECONDS, Step, oldest_id
from sealgate.storage.tables import responses

PURPOSE = "responses"
MAX_BYTES = 8 * 1024 * 1024
"""The longest request whose answer is kept."""
MAX_CHAIN = 2048
"""Most answers one after the other."""
MAX_CHAIN_BYTES = 64 * 1024 * 1024
"""Most bytes of them together,"""
MAX_HELD = 4 * MAX_CHAIN_BYTES
"""and most of those that all requests of this process hold at once; one customer's may have half of them."""

_NAME = re.compile(r"resp_([0-9a-f]{32})")
_LEVEL = 1
"""Of compression: the writer's thread has others waiting."""


class Content(msgspec.Struct, frozen=True):
    """What is kept of one answer."""

    response: Json
    input: Sequence[Json]
    details: Sequence[Json] = ()
    """What the provider wants back of its reasoning."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Content).decode


class Room:
    """Room for the conversations that requests go on with; threads that read take of it."""

    def __init__(self, most: int) -> None:
        self.left = most
        self._half = most // 2
        self._shares: Counter[str] = Counter()
        self.lock = threading.Lock()

    def take(self, customer: str, size: int) -> bool:
        """Whether the customer has so many bytes more. The lock is held."""
        if size > self.left or self._shares[customer] + size > self._half:
            return False
        self.left -= size
        self._shares[customer] += size
        return True

    def give_back(self, customer: str, size: int) -> None:
        """The lock is held."""
        self.left += size
        self._shares[customer] -= size
        if not self._shares[customer]:
            del self._shares[customer]


class Share:
    """What one request has of it. Once given back there is none, also for a thread that still reads."""

    def __init__(self, room: Room, customer: str) -> None:
        self.size = 0
        self._room = room
        self._customer = customer
        self._open = True

    def take(self, size: int) -> None:
        """So many bytes more. Raises `Problem`."""
        if self.size + size > MAX_CHAIN_BYTES:
            raise Problem("request_too_large", "The conversation is too long.", param="previous_response_id")
        with self._room.lock:
            if not self._open or not self._room.take(self._customer, size):
                raise Problem("overloaded", "Too many long conversations at once.")
            self.size += size

    def close(self) -> None:
        with self._room.lock:
            self._open = False
            self._room.give_back(self._customer, self.size)
            self.size = 0


class Kept:
    """All of them. ``now`` gives unix seconds; ``keep_days`` 0 is off: then there is none."""

    def __init__(self, storage: Storage, pepper: bytes, now: Callable[[], float], keep_days: int) -> None:
        self.keep_days = keep_days
        self._storage = storage
        self._seal = Seal(pepper, PURPOSE)
        self._now = now
        self._room = Room(MAX_HELD)

    def row(self, customer: str, name: str, content: Content) -> NewRow:
        """For the commit of the request whose id is ``name``. Sealed in the thread that writes."""
        previous = content.response.get("previous_response_id")

        def sealed() -> Json:
            packed = zlib.compress(_encode(content), _LEVEL)
            return {
                "id": name,
                "customer_id": customer,
                "previous": None if previous is None else previous.removeprefix("resp_"),
                "sealed": self._seal.close(packed, context(customer, name)),
            }

        return responses, sealed

    async def find(self, customer: str, name: str) -> Content:
        """The customer's response ``resp_…``. Raises `Problem` ``not_found``."""
        share = Share(self._room, customer)
        try:
            found = await self._chain(customer, _bare(name), 1, share)
        finally:
            share.close()
        if not found:
            raise Problem("not_found")
        return found[0]

    @asynccontextmanager
    async def before(self, customer: str, name: str | None) -> AsyncIterator[list[Before]]:
        """What was said up to this response of the customer's, the oldest first; nothing, where there is none.

        It has its share of the process's memory until the block is left. Raises `Problem`.
        """
        if name is None:
            yield []
            return
        if not self.keep_days:
            raise Problem("responses_not_kept", param="previous_response_id")
        share = Share(self._room, customer)
        try:
            chain = await self._chain(customer, _bare(name), MAX_CHAIN, share)
            if not chain:
                raise Problem("previous_response_not_found", param="previous_response_id")
            yield [Before(each.input, each.response["output"], each.details) for each in reversed(chain)]
        finally:
            share.close()

    async def drop(self, customer: str, name: str) -> None:
        """Delete it. Raises `Problem` ``not_found``."""
        bare = _bare(name)
        act = partial(kept_records.drop, customer=customer, name=bare or "", since=self._since())
        try:
            gone = bool(bare and self.keep_days) and await self._storage.write(act)
        except StorageError as error:
            raise Problem("storage_unavailable", "Responses cannot be deleted at the moment.") from error
        if not gone:
            raise Problem("not_found")

    @property
    def forget(self) -> Step:
        """Deletes what is too old, and everything where none is kept."""
        return partial(kept_records.forget, since=self._since)

    async def _chain(self, customer: str, name: str | None, most: int, share: Share) -> list[Content]:
        """The response and up to ``most`` in all of those before it, the latest first; none where one is missing."""
        if not self.keep_days or name is None:
            return []
        opened = _Opened(self._seal, customer, most, share)
        act = partial(kept_records.each, customer=customer, name=name, since=self._since(), take=opened)
        try:
            return opened.found if await self._storage.read(act) else []
        except StorageError as error:
            raise Problem("storage_unavailable", "Responses cannot be read at the moment.") from error

    def _since(self) -> str:
        return oldest_id(self._now() - self.keep_days * DAY_SECONDS)


class _Opened:
    """Opens rows in the thread that reads them; called with each, it says whether the one before it is wanted too."""

    def __init__(self, seal: Seal, customer: str, most: int, share: Share) -> None:
        self.found: list[Content] = []
        self._seal = seal
        self._customer = customer
        self._most = most
        self._share = share

    def __call__(self, name: str, row: kept_records.Row) -> bool | None:
        packed = self._seal.open(row.sealed, context(self._customer, name))
        if packed is None:
            return None
        content = zlib.decompress(packed)
        self._share.take(len(content))
        self.found.append(_decode(content))
        if row.previous is not None and 1 < self._most <= len(self.found):
            raise Problem("too_many_items", "The conversation is too long.", param="previous_response_id")
        return self._most > 1


def _bare(name: str) -> str | None:
    """The request's id in a response's; None where it is none."""
    found = _NAME.fullmatch(name)
    return None if found is None else found[1]
