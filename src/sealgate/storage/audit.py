"""The audit trail: who changed what, when and from where.

A row is added in the transaction of the act it records; nothing in the program ever changes or deletes one. It holds no
secret: no key, no token, no content.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, func, or_, select

from sealgate.formats.ids import uuid7_hex
from sealgate.storage.tables import audit

ACTIONS: dict[str, str] = {
    "customer.created": "A customer was made, with its first key or by a user's first token.",
    "key.created": "A key was made; `first` marks the one that the first start makes.",
    "key.imported": "A key of another system was taken over.",
    "key.revoked": "A key was ended.",
    "key.default_set": "A key was chosen as its customer's default one.",
    "automation.changed": "The settings by which sessions are made without being asked for were changed.",
    "configuration.reloaded": "A running server took a new configuration.",
    "configuration.refused": "A running server kept its configuration, because the new one cannot work.",
}
"""Every act that is recorded, and what it means. The first word is the kind of its object."""


FIELDS: dict[str, str] = {
    "id": "A UUID of version 7.",
    "at": "When, in ISO 8601, UTC.",
    "actor": "Who, as `kind` and `id`: a `key` or a `user` by its id, `cli` by the name of the operator's account on "
    "the machine, `system` for the gateway itself, `anonymous` where authentication is off.",
    "customer": "Whose object it is.",
    "action": "The act.",
    "object": "The id of what the act is about.",
    "address": "Where the request came from, for requests.",
    "request_id": "The request, as in `X-Request-ID`.",
    "detail": "What else there is to say, never a secret.",
}
"""What a row tells, in the form of ``sealgate audit --json``."""


SAME_MOMENT = 1000
"""Microseconds."""


class Actor(msgspec.Struct, frozen=True):
    """Who acts: a key or a user by its id, an operator at the command line by the system's name of the account.

    ``address`` is where the request came from, ``request_id`` its id.
    """

    kind: Literal["key", "user", "cli", "system", "anonymous"]
    id: str | None = None
    address: str | None = None
    request_id: str | None = None


SYSTEM = Actor("system")
"""The gateway itself."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the trail. ``at`` in Unix microseconds; ``object`` is the id of what the act is about."""

    id: str
    at: int
    actor_kind: str
    actor_id: str | None
    customer_id: str | None
    action: str
    object: str | None
    address: str | None
    request_id: str | None
    detail: dict[str, Any]


def record(
    connection: Connection,
    actor: Actor,
    action: str,
    *,
    at: int,
    customer: str | None = None,
    about: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Add a row, in the caller's transaction: the act and its record are kept or lost together.

    ``action`` is one of `ACTIONS`, ``at`` Unix microseconds, ``about`` the object's id. ``detail`` is told as JSON
    without what is None, and must hold no secret.
    """
    if action not in ACTIONS:
        raise ValueError(f"{action} is not declared in sealgate.storage.audit.ACTIONS")
    at = _after(connection, at)
    told = {name: value for name, value in (detail or {}).items() if value is not None}
    connection.execute(
        audit.insert().values(
            id=uuid7_hex(at * 1000),
            at=at,
            actor_kind=actor.kind,
            actor_id=actor.id,
            customer_id=customer,
            action=action,
            object=about,
            address=actor.address,
            request_id=actor.request_id,
            detail=msgspec.json.encode(told).decode(),
        )
    )


def _after(connection: Connection, at: int) -> int:
    """``at``, or the next free microsecond: a customer and its first key are made at once, one after the other."""
    same = select(func.max(audit.c.at)).where(audit.c.at.between(at, at + SAME_MOMENT))
    last = connection.execute(same).scalar_one()
    return at if last is None else int(last) + 1


def listed(
    connection: Connection,
    *,
    since: int | None = None,
    customer: str | None = None,
    action: str | None = None,
    limit: int = 100,
) -> list[Record]:
    """The last ``limit`` rows, oldest first. ``action`` is a whole one, or its first word for all of that kind."""
    query = select(audit).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(limit)
    if since is not None:
        query = query.where(audit.c.at >= since)
    if customer is not None:
        query = query.where(audit.c.customer_id == customer)
    if action is not None:
        query = query.where(or_(audit.c.action == action, audit.c.action.startswith(f"{action}.", autoescape=True)))
    rows = connection.execute(query).mappings().all()
    return [Record(**{**row, "detail": msgspec.json.decode(row["detail"])}) for row in reversed(rows)]
