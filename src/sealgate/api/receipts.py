"""``GET /v1/receipts/{id}`` and the keys that receipts are checked with."""

from __future__ import annotations

import re
from functools import partial

import msgspec

from sealgate.api.call import JSON, Call
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.api.shapes import KeySet, StoredReceipt
from sealgate.errors import Problem, StorageError
from sealgate.providers.base import Json
from sealgate.receipts import store
from sealgate.receipts.keys import MAX_AGE, SigningKeys
from sealgate.receipts.store import NOT_LOGGED
from sealgate.relay.hall import Hall

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CACHED = (b"cache-control", b"public, max-age=%d" % MAX_AGE)

_encode = msgspec.json.Encoder().encode


def routes(hall: Hall, guard: Guard, keys: SigningKeys) -> list[Route]:
    receipts, key_set = Receipts(hall, guard), Keys(keys)
    told = "The public keys that receipts are signed with, also those of the past."
    return [
        Route("GET", "/receipts/{id}", "key", receipts, "A signed receipt of the caller's own.", answer=StoredReceipt),
        Route("GET", "/.well-known/jwks.json", "public", key_set, told, mounted=False, answer=KeySet),
        Route("GET", "/verify/jwks.json", "public", key_set, "The same.", answer=KeySet),
    ]


class Own:
    """The caller's receipt that a path names. What is another customer's is answered as what there is not (row H8)."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._storage = hall.storage
        self._guard = guard

    async def __call__(self, call: Call) -> store.Stored:
        """Raises `Problem`, `StorageError`."""
        caller = await self._guard.caller(call)
        if not _ID.fullmatch(call.path_value):
            raise Problem("not_found")
        ledger_id = call.path_value.replace("-", "")
        found = await self._storage.read(partial(store.receipt, customer_id=caller.customer_id, ledger_id=ledger_id))
        if found is None:
            raise Problem("not_found")
        return found


class Receipts:
    """The endpoint."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._own = Own(hall, guard)

    async def __call__(self, call: Call) -> None:
        try:
            found = await self._own(call)
            place = await self._place(found)
        except StorageError as error:
            raise Problem("storage_unavailable", "Receipts cannot be read at the moment.") from error
        await call.json({"id": call.path_value, "receipt": found.jws, "log": place})

    async def _place(self, found: store.Stored) -> Json:
        index = found.log_index
        if index is None:
            return {"state": "pending"}
        if index == NOT_LOGGED:
            return {"state": "off"}
        seen = await self._hall.transparency.has_witnessed(found.origin, index)
        return {"state": "logged", "index": index, "standing": "witnessed" if seen else "unwitnessed"}


class Keys:
    """The JWK set. A copy may be kept for five minutes; a new key is published for twice as long before it signs."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    async def __call__(self, call: Call) -> None:
        await call.respond(200, _encode(self._keys.jwks()), JSON, [_CACHED])
