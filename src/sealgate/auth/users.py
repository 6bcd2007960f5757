"""The rows behind tokens: who a `sub` is, and what that person's default key says. SQL of this room, as in `records`.

Each function takes a connection inside a transaction that `Storage.read` or `Storage.write` opened. Times are Unix
microseconds.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from sqlalchemy import Connection, or_, select, text

from sealgate.auth.claims import Identity
from sealgate.auth.records import KeyRow, add_customer
from sealgate.storage.audit import Actor
from sealgate.storage.tables import customers, keys, users

_ENTER = text(
    "INSERT INTO users (id, issuer, sub, customer_id, email, name, created_at) "
    "VALUES (:id, :issuer, :sub, :customer_id, :email, :name, :now) "
    "ON CONFLICT (issuer, sub) DO UPDATE SET "
    "customer_id = excluded.customer_id, "
    "email = COALESCE(excluded.email, users.email), name = COALESCE(excluded.name, users.name)"
)


class User(NamedTuple):
    """Somebody whom an issuer's tokens name."""

    id: str
    customer_id: str
    email: str | None
    name: str | None
    created_at: int


class Account(NamedTuple):
    """Whose account a caller acts in: a user, or a customer whom no user stands for."""

    id: str
    customer_id: str
    email: str | None
    name: str | None
    created_at: int | None


_COLUMNS = (users.c.id, users.c.customer_id, users.c.email, users.c.name, users.c.created_at)


def customer_of(issuer: str, sub: str) -> str:
    """The customer that a user is, where the issuer's configuration names none for all of its users.

    It follows from who it is, so that replicas that see somebody for the first time at once make one and the same.
    """
    return "user-" + hashlib.sha256(f"{issuer}\0{sub}".encode()).hexdigest()[:32]


def standing(
    connection: Connection, issuer: str, sub: str, customer_id: str, now: int
) -> tuple[User | None, KeyRow | None]:
    """The user, if there is one, and the customer's default key, if there is one."""
    return _known(connection, issuer, sub), default_key(connection, customer_id, now)


def differs(user: User, who: Identity, customer_id: str) -> bool:
    """Whether what is stored of a user is not what token and configuration say now."""
    told = (who.email or user.email, who.name or user.name)
    return (user.email, user.name) != told or user.customer_id != customer_id


def enter(connection: Connection, who: Identity, new_id: str, customer_id: str, now: int) -> User:
    """Make a user, and the customer where there is none; where there is the user already, note what is new of it."""
    add_customer(connection, customer_id, now, Actor("user", new_id))
    values = {"id": new_id, "issuer": who.issuer, "sub": who.sub, "customer_id": customer_id}
    connection.execute(_ENTER, {**values, "email": who.email, "name": who.name, "now": now})
    found = _known(connection, who.issuer, who.sub)
    assert found is not None
    return found


def _known(connection: Connection, issuer: str, sub: str) -> User | None:
    row = connection.execute(select(*_COLUMNS).where(users.c.issuer == issuer, users.c.sub == sub)).one_or_none()
    return None if row is None else User(*row)


def default_key(connection: Connection, customer_id: str, now: int) -> KeyRow | None:
    """The customer's default key; the oldest active one where none is set, or where that one has ended."""
    alive = keys.c.revoked_at.is_(None) & or_(keys.c.expires_at.is_(None), keys.c.expires_at > now)
    query = select(keys).where(keys.c.customer_id == customer_id, alive)
    return connection.execute(query.order_by(keys.c.is_default.desc(), keys.c.created_at, keys.c.id).limit(1)).first()


def account(connection: Connection, customer_id: str, user_id: str | None) -> Account:
    """The account of a caller. A key of a customer that is a user's own acts in that user's account."""
    which = users.c.id == user_id if user_id is not None else users.c.customer_id == customer_id
    for row in connection.execute(select(*_COLUMNS, users.c.issuer, users.c.sub).where(which).limit(2)):
        if user_id is not None or row.customer_id == customer_of(row.issuer, row.sub):
            return Account(row.id, customer_id, row.email, row.name, row.created_at)
    customer = connection.execute(select(customers).where(customers.c.id == customer_id)).one_or_none()
    if customer is None:
        return Account(customer_id, customer_id, None, None, None)
    return Account(customer.id, customer_id, None, customer.name, customer.created_at)
