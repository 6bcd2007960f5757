"""The rows behind receipts and signing keys: the only SQL of this room. Each function runs in a transaction.

A receipt lives in its request's row of the ledger: one row, one commit. Times are unix microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, count
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, insert, select, update

from sealgate.formats import jws, leaves
from sealgate.storage import bump, revision
from sealgate.storage.alone import alone
from sealgate.storage.direct import read, write
from sealgate.storage.retention import some
from sealgate.storage.tables import ledger, signing_keys

REVISION = "signing_keys"
NOT_LOGGED = -1
"""``log_index`` of a receipt that is in no log and will be in none. NULL: it waits for its place in the log."""


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key as the database knows it."""

    kid: str
    public: Mapping[str, str]
    """The members of its JWK that make the key."""
    created_at: int
    active_from: int
    """From then on it signs, until another one does."""
    revoked_at: int | None = None


class Stored(NamedTuple):
    """A receipt as it is kept."""

    jws: str
    log_index: int | None

    @property
    def origin(self) -> str:
        """The log that it names, of one that names any."""
        named: str = msgspec.json.decode(jws.unb64(self.jws.split(".")[1]))["log"]["origin"]
        return named


class Pending(NamedTuple):
    """A receipt that waits for its place in the log: its row in the ledger, and its entry's bytes."""

    ledger_id: str
    leaf: bytes


def receipt(connection: Connection, customer_id: str, ledger_id: str) -> Stored | None:
    """The customer's receipt of that request; None for a foreign one as for one there is not."""
    mine = (ledger.c.id == ledger_id, ledger.c.customer_id == customer_id, ledger.c.receipt.is_not(None))
    row = connection.execute(select(ledger.c.receipt, ledger.c.log_index).where(*mine)).first()
    return None if row is None else Stored(row.receipt, row.log_index)


def forget(connection: Connection, after: str, before: str, most: int) -> str | None:
    """Take old receipts out of their rows: a step of `sealgate.storage.retention`. One that waits for the log stays."""
    found: Sequence[str] = connection.execute(some(after, before, most)).scalars().all()
    if not found:
        return None
    old = ledger.c.id.in_(found) & ledger.c.receipt.is_not(None) & ledger.c.log_index.is_not(None)
    connection.execute(update(ledger).where(old).values(receipt=None, receipt_id=None))
    return found[-1]


def pending(connection: Connection, limit: int) -> list[Pending]:
    """Receipts that wait for their place in the log, in the order in which they get it."""
    return [Pending(ledger_id, leaves.of_jws(receipt)) for ledger_id, receipt in read(connection, _PENDING, (limit,))]


_PENDING = "SELECT id, receipt FROM ledger WHERE receipt IS NOT NULL AND log_index IS NULL ORDER BY id LIMIT ?"


def place(connection: Connection, ledger_ids: Sequence[str], first: int) -> None:
    """Give these receipts their places in the log, from ``first`` on, in the order of their ids, as `pending` has it.

    One statement: a hundred of them cost more than the rest of what the log does with a hundred receipts.
    """
    marks = ", ".join(["(?, ?)"] * len(ledger_ids))
    statement = (
        f"WITH places (id, place) AS (VALUES {marks}) "  # noqa: S608 - marks alone
        "UPDATE ledger SET log_index = places.place FROM places WHERE ledger.id = places.id"
    )
    write(connection, statement, tuple(chain.from_iterable(zip(ledger_ids, count(first), strict=False))))


def abandon(connection: Connection) -> None:
    """Receipts that wait will be in no log: the one that they name is over."""
    waiting = ledger.c.receipt.is_not(None) & ledger.c.log_index.is_(None)
    connection.execute(update(ledger).where(waiting).values(log_index=NOT_LOGGED))


def all_keys(connection: Connection) -> tuple[int, list[KeyRow]]:
    """The topic's revision and every key, oldest first."""
    known = revision(connection, REVISION)
    rows = connection.execute(select(signing_keys).order_by(signing_keys.c.created_at, signing_keys.c.kid)).mappings()
    return known, [_key(dict(row)) for row in rows]


def add(connection: Connection, row: KeyRow) -> None:
    """Record a key."""
    values = msgspec.structs.asdict(row) | {"public": msgspec.json.encode(row.public).decode()}
    connection.execute(insert(signing_keys).values(**values))
    bump(connection, REVISION)


def add_first(connection: Connection, row: KeyRow) -> None:
    """Record a key where there is none yet: of several processes that start at once, the first one's counts."""
    alone(connection)
    if connection.execute(select(signing_keys.c.kid).limit(1)).first() is None:
        add(connection, row)


def revoke(connection: Connection, kid: str, now: int, successor: KeyRow | None) -> None:
    """End a key, and let another one, new or known, sign in its place."""
    ended = update(signing_keys).where(signing_keys.c.kid == kid, signing_keys.c.revoked_at.is_(None))
    connection.execute(ended.values(revoked_at=now))
    bump(connection, REVISION)
    if successor is None:
        return
    known = update(signing_keys).where(signing_keys.c.kid == successor.kid)
    if not connection.execute(known.values(active_from=successor.active_from)).rowcount:
        add(connection, successor)


def _key(values: dict[str, Any]) -> KeyRow:
    return KeyRow(**values | {"public": msgspec.json.decode(values["public"])})
