"""The rows of kept responses: the only SQL of `sealgate.relay.kept`.

Each function runs in one of the storage's threads, in a transaction that `Storage.read` or `Storage.write` opened. Ids
are those of the requests, which sort by time; ``since`` is the least id that is still kept.
"""

from __future__ import annotations

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


def drop(connection: Connection, customer: str, name: str, since: str) -> bool:
    """Delete the customer's response of that id; whether there was one."""
    return connection.execute(_DELETE, {"name": name, "customer": customer, "since": since}).rowcount > 0


def forget(connection: Connection, before: str, most: int) -> str | None:
    """Delete up to ``most`` that are older; the id of the last of them, None where there was none."""
    found = connection.execute(_OLD.limit(most), {"before": before}).scalars().all()
    if found:
        connection.execute(delete(responses).where(responses.c.id.in_(found)))
    return found[-1] if found else None
