"""The rows of kept responses: the only SQL of `sealgate.relay.kept`.

Each function runs in one of the storage's threads, in a transaction that `Storage.read` or `Storage.write` opened. Ids
are those of the requests, which sort by time; ``since`` is the least id that is still kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, delete, select

from sealgate.storage.tables import responses

_MINE = (
    responses.c.id == bindparam("name"),
    responses.c.customer_id == bindparam("customer"),
    responses.c.id >= bindparam("since"),
)
_FIND = select(responses.c.previous, responses.c.sealed).where(*_MINE)
_DELETE = delete(responses).where(*_MINE)
_OLD = select(responses.c.id).where(responses.c.id < bindparam("before")).order_by(responses.c.id)


class Row(NamedTuple):
    """One of them."""

    previous: str | None
    sealed: bytes


def find(connection: Connection, customer: str, name: str, since: str) -> Row | None:
    """The customer's response of that id; None for a foreign one as for one there is not."""
    row = connection.execute(_FIND, {"name": name, "customer": customer, "since": since}).first()
    return None if row is None else Row(*row)


def each(connection: Connection, customer: str, name: str, since: str, take: Callable[[str, Row], bool | None]) -> bool:
    """Give the customer's response, and those before it one by one, as long as ``take`` says that it wants more.

    False where one is missing, or was nothing to ``take`` (None).
    """
    wanted: str | None = name
    while wanted is not None:
        row = find(connection, customer, wanted, since)
        more = None if row is None else take(wanted, row)
        if row is None or more is None:
            return False
        wanted = row.previous if more else None
    return True


def drop(connection: Connection, customer: str, name: str, since: str) -> bool:
    """Delete the customer's response of that id; whether there was one."""
    return connection.execute(_DELETE, {"name": name, "customer": customer, "since": since}).rowcount > 0


def forget(connection: Connection, _after: str, _before: str, most: int, *, since: Callable[[], str]) -> str | None:
    """Delete up to ``most`` that are older than what is kept now: a step of `sealgate.storage.retention`."""
    found = connection.execute(_OLD.limit(most), {"before": since()}).scalars().all()
    if found:
        connection.execute(delete(responses).where(responses.c.id.in_(found)))
    return found[-1] if found else None
