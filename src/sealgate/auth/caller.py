"""The one who asks: what the rest of the house may know about a caller."""

from __future__ import annotations

import re

import msgspec

from sealgate.config_tables import Budget, Limits

_OWN = re.compile(r"user-[0-9a-f]{32}")
"""Customers that are one user's own: `sealgate.auth.users.customer_of`."""


class KeySettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one key wants to be answered. Settings stored by a newer version and unknown here are ignored."""

    strict: bool = False
    """Refuse a request instead of adjusting a parameter that its route cannot honour."""
    usage_on_finish_chunk: bool | None = None
    """Streamed usage rides on the finish chunk; None follows ``server.usage_on_finish_chunk``."""


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller. A customer owns keys, receipts, sessions and usage; a key is one way in."""

    customer_id: str
    key_id: str | None
    """None where no key was used."""
    is_admin: bool = False
    models: frozenset[str] | None = None
    """Model names this key may use; None means all."""
    settings: KeySettings = KeySettings()
    limits: Limits | None = None
    """Of this key, or of the key or issuer whose limits a token's user has."""
    budget: Budget | None = None
    user_id: str | None = None
    """Who it is where a token said so; None for keys."""
    default_key_id: str | None = None
    """The key whose limits and budget a token's user has, and on which its session hangs; None for keys."""
    limits_key_id: str | None = None
    """The key whose limits a token's user has; None where they are not a key's, and for keys."""
    budget_key_id: str | None = None
    """The key whose budget a token's user spends; None where it is the user's own, and for keys."""
    expires_at: int | None = None
    """Unix microseconds from which the key or token is refused; None means never."""


def scope(caller: Caller) -> str:
    """Whose money is spent: the key's whose budget it is, else the user's. What one owns is counted once."""
    if (key := caller.key_id or caller.budget_key_id) is not None:
        return f"key:{key}"
    return f"user:{caller.customer_id}:{caller.user_id or ''}"


def account(caller: Caller) -> tuple[str, str | None]:
    """In whose account somebody acts: a customer's; a user's where the customer is not that user's own."""
    customer = caller.customer_id
    return customer, None if caller.user_id is None or _OWN.fullmatch(customer) else caller.user_id


DEFAULT_CUSTOMER = "default"

ANONYMOUS = Caller(customer_id=DEFAULT_CUSTOMER, key_id=None)
"""The caller where authentication is switched off. Not an administrator: only a key can be."""
