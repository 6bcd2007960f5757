"""``/v1/auth/keys``: a customer's own keys, made, listed and ended by its users and its administrators.

Every question names the customer of the caller, so what belongs to another one is not there.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from sealgate.api import forms
from sealgate.api.call import JSON, Call
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.auth.keys import KeyStore
from sealgate.auth.records import KeyInfo
from sealgate.auth.scope import Scope, granted
from sealgate.config_tables import Budget, Limits
from sealgate.formats import moments
from sealgate.providers.base import Json

UNNAMED = "unnamed"
NO_STORE = [(b"cache-control", b"no-store")]


class BudgetForm(Struct, forbid_unknown_fields=True):
    """How much money a key may spend."""

    amount: Annotated[
        str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", description="In the currency of the prices, as `25.00`.")
    ]
    period: Annotated[
        Literal["total", "day", "week", "month"], Meta(description="When it begins anew, by the calendar in UTC.")
    ] = "total"
    rolling: Annotated[bool, Meta(description="The last 24 hours, 7 or 30 days instead of the calendar's.")] = False


class NewKeyForm(Struct, forbid_unknown_fields=True):
    """A key to be made. It can never do more than its maker."""

    name: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None, Meta(description="What the key is for.")
    ] = None
    expires_at: Annotated[datetime | None, Meta(description="When it ends, in ISO 8601; without: never.")] = None
    models: Annotated[
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(min_length=1, max_length=256)] | None,
        Meta(description="Models it may use; without: all."),
    ] = None
    limits: Annotated[Limits | None, Meta(description="How much may be asked with it.")] = None
    budget: Annotated[BudgetForm | None, Meta(description="How much money may be spent with it.")] = None


class NewKey(Struct):
    """A key at the one moment when it is shown."""

    id: str
    key: str
    key_prefix: str
    name: str


class Key(Struct):
    """A key as its owner sees it."""

    id: str
    key_prefix: Annotated[str, Meta(description="How the key begins.")]
    name: str
    created_at: Annotated[str, Meta(description="ISO 8601, UTC.")]
    is_active: Annotated[bool, Meta(description="Neither revoked nor expired.")]
    is_default: Annotated[bool, Meta(description="The one that was chosen, else the oldest active one.")]
    expires_at: Annotated[str | None, Meta(description="ISO 8601, UTC; null: never.")]


def routes(keys: KeyStore, guard: Guard) -> list[Route]:
    accounts = Accounts(keys, guard)
    return [
        Route("GET", "/auth/keys", "account", accounts.list, "List the customer's keys.", answer=list[Key]),
        Route("POST", "/auth/keys", "account", accounts.create, "Make a key.", body=NewKeyForm, answer=NewKey),
        Route("DELETE", "/auth/keys/{id}", "account", accounts.revoke, "End a key for good.", answer=Key),
        Route("GET", "/auth/keys/default", "account", accounts.default, "The default key.", answer=Key),
        Route("PUT", "/auth/keys/{id}/default", "account", accounts.set_default, "Choose the default key.", answer=Key),
    ]


class Accounts:
    """The endpoints."""

    def __init__(self, keys: KeyStore, guard: Guard) -> None:
        self._keys = keys
        self._guard = guard

    async def list(self, call: Call) -> None:
        caller = await self._guard.account(call)
        await call.json([_shown(info) for info in await self._keys.list(caller.customer_id)])

    async def create(self, call: Call) -> None:
        caller = await self._guard.account(call)
        form = await forms.read(call, NewKeyForm)
        usual = self._guard.usual_limits()
        scope = granted(caller, _asked(form), usual)
        # Each key is counted for itself, so who is limited could go on with a new one for ever.
        limited = not caller.is_admin and (caller.limits or usual) is not None
        with forms.in_dialect(call):
            made = await self._keys.create(
                name=form.name or UNNAMED, customer=caller.customer_id, ended_count=limited, actor=call.actor,
                **scope._asdict(),
            )  # fmt: skip
        shown = NewKey(made.id, made.key, made.key_prefix, made.name)
        await call.respond(200, msgspec.json.encode(shown), JSON, [*NO_STORE])

    async def revoke(self, call: Call) -> None:
        """Ending a key that has ended is no mistake: an answer may have been lost on its way."""
        caller = await self._guard.account(call)
        await call.json(_shown(await self._keys.revoke_own(call.path_value, caller, call.actor)))

    async def default(self, call: Call) -> None:
        caller = await self._guard.account(call)
        await call.json(_shown(await self._keys.default(caller.customer_id)))

    async def set_default(self, call: Call) -> None:
        caller = await self._guard.account(call)
        usual = self._guard.usual_limits()
        await call.json(_shown(await self._keys.set_default(call.path_value, caller, call.actor, usual)))


def _asked(form: NewKeyForm) -> Scope:
    given = form.budget
    budget = None if given is None else Budget(Decimal(given.amount), given.period, given.rolling)
    expires_at = None if form.expires_at is None else moments.microseconds(form.expires_at)
    return Scope(form.models, form.limits, budget, expires_at)


def _shown(info: KeyInfo) -> Json:
    return {
        "id": info.id,
        "key_prefix": info.key_prefix,
        "name": info.name,
        "created_at": moments.iso(info.created_at),
        "is_active": info.is_active,
        "is_default": info.is_default,
        "expires_at": None if info.expires_at is None else moments.iso(info.expires_at),
    }
