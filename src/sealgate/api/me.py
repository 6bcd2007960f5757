"""``GET /v1/auth/me``: whose account a caller acts in."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from sealgate.api.call import JSON, Call
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.auth import users
from sealgate.errors import Problem, StorageError
from sealgate.formats import moments
from sealgate.relay.hall import Hall

NO_STORE = [(b"cache-control", b"no-store")]


class Me(Struct):
    """Whose account it is: a user's, or a customer's for whom no user stands."""

    id: Annotated[str, Meta(description="The user's id; the customer's where there is no user.")]
    customer: Annotated[str, Meta(description="Who owns keys, receipts, sessions and usage of this account.")]
    created_at: Annotated[str, Meta(description="ISO 8601, UTC.")]
    auth: Annotated[Literal["key", "jwt"], Meta(description="What the caller sent.")]
    email: Annotated[str | UnsetType, Meta(description="As the user's issuer said lately.")] = UNSET
    name: str | UnsetType = UNSET


def routes(hall: Hall, guard: Guard, since: int) -> list[Route]:
    """``since``, Unix seconds, is how old an account is that is kept nowhere: that of everybody, without keys."""
    accounts = Myself(hall, guard, since)
    return [Route("GET", "/auth/me", "key", accounts.me, "Whose account this is.", answer=Me)]


class Myself:
    """The endpoint."""

    def __init__(self, hall: Hall, guard: Guard, since: int) -> None:
        self._hall = hall
        self._guard = guard
        self._since = since

    async def me(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        ask = partial(users.account, customer_id=caller.customer_id, user_id=caller.user_id)
        try:
            found = await self._hall.storage.read(ask)
        except StorageError as error:
            raise Problem("storage_unavailable", "The account cannot be read at the moment.") from error
        me = Me(
            id=found.id,
            customer=found.customer_id,
            created_at=moments.iso(self._since * 1_000_000 if found.created_at is None else found.created_at),
            auth="key" if caller.user_id is None else "jwt",
            email=found.email or UNSET,
            name=found.name or UNSET,
        )
        await call.respond(200, msgspec.json.encode(me), JSON, [*NO_STORE])
