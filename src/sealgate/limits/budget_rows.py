"""The rows behind budgets: what is reserved, what was spent. The only SQL that moves money.

Each function runs inside one transaction of the storage's writer, so it happens whole or not at all. SQLite has one
writer; on PostgreSQL all of them take one lock first, so that no two replicas weigh the same money, and none waits for
another in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, insert, text

from sealgate.limits.ledger import Outcome
from sealgate.limits.periods import Window
from sealgate.storage import Appended
from sealgate.storage.alone import alone
from sealgate.storage.tables import intents, ledger

AT_ONCE = 200
"""Rows taken care of in one transaction, so that others need not wait long."""

# One statement sees one state of the database; two could lie on both sides of another replica's commit.
_STATE = text(
    "SELECT (SELECT coalesce(sum(spent), 0) FROM spending"
    " WHERE scope = :scope AND period = :period AND bucket >= :since),"
    " (SELECT coalesce(sum(reserved), 0) FROM intents"
    " WHERE scope = :scope AND period = :period AND bucket >= :since)"
)
_INTEND = insert(intents)
_RECORD = insert(ledger)
_SETTLE = text("DELETE FROM intents WHERE id = :id")
_KNOWN = text("SELECT outcome, cost FROM ledger WHERE id = :id")
_REMOVE = text("DELETE FROM ledger WHERE id = :id")
_SPEND = text(
    "INSERT INTO spending (scope, period, bucket, spent) VALUES (:scope, :period, :bucket, :cost)"
    " ON CONFLICT (scope, period, bucket) DO UPDATE SET spent = spending.spent + excluded.spent"
)
_BEAT = text("UPDATE intents SET seen_at = :now WHERE owner = :owner")
_ORPHANS = text(
    "SELECT id, scope, period, bucket, reserved, entry FROM intents"
    " WHERE owner <> :owner AND seen_at < :before ORDER BY id LIMIT :most"
)
_ANY_ORPHAN = text("SELECT 1 FROM intents WHERE owner <> :owner AND seen_at < :before LIMIT 1")
_FORGET = text("DELETE FROM spending WHERE period <> 'total' AND bucket < :before")


class Account(NamedTuple):
    """Where one request's money is counted: whose it is, and in which window."""

    scope: str
    window: Window


class Intent(NamedTuple):
    """A request that is about to be sent to a provider."""

    id: str
    owner: str
    now: int
    row: dict[str, Any]
    """Its ledger row, as far as it is known."""


class State(NamedTuple):
    """Of one account, in nano-units."""

    spent: int
    reserved: int


def state(connection: Connection, account: Account) -> State:
    asked = {"scope": account.scope, "period": account.window.period, "since": account.window.since}
    spent, reserved = connection.execute(_STATE, asked).one()
    return State(int(spent), int(reserved))  # PostgreSQL's sums are decimals


def reserve(
    connection: Connection, account: Account, amount: int, wishes: Sequence[int], intent: Intent
) -> tuple[int | None, int]:
    """Reserve the first of ``wishes`` that ``amount`` still has room for; that one, and what was available before."""
    alone(connection)
    found = state(connection, account)
    available = amount - found.spent - found.reserved
    chosen = next((wish for wish in wishes if wish <= available), None)
    if chosen is not None:
        values = {
            "id": intent.id,
            "scope": account.scope,
            "period": account.window.period,
            "bucket": account.window.bucket,
            "reserved": chosen,
            "owner": intent.owner,
            "seen_at": intent.now,
            "entry": msgspec.json.encode(intent.row).decode(),
        }
        connection.execute(_INTEND, values)
    return chosen, available


def settle(connection: Connection, account: Account, request: str, row: Appended) -> None:
    """Put the request's row in the place of its intent, and count what it cost. A second time it does nothing.

    Where another process took the request for lost and wrote that nobody knows how it ended, that is set right.
    """
    alone(connection)
    charged = 0
    if not connection.execute(_SETTLE, {"id": request}).rowcount:
        known = connection.execute(_KNOWN, {"id": request}).first()
        if known is not None:
            if known.outcome != Outcome.UNKNOWN.value:
                return
            connection.execute(_REMOVE, {"id": request})
            charged = known.cost or 0
    values = row() if callable(row) else row
    connection.execute(_RECORD, values)
    _spend(connection, account.scope, account.window.period, account.window.bucket, (values["cost"] or 0) - charged)


def any_orphan(connection: Connection, owner: str, before: int) -> bool:
    """Whether there is something for `sweep`."""
    return connection.execute(_ANY_ORPHAN, {"owner": owner, "before": before}).first() is not None


def sweep(connection: Connection, owner: str, before: int, finish: Callable[[dict[str, Any]], None]) -> int:
    """Write down the requests whose process has not been heard of since ``before``, as ``unknown``; how many.

    Nobody can tell how far they came. The provider may have answered in full and will then charge for it, so the whole
    reservation counts as spent, and the row says that it is an estimate. ``finish`` is given each row to complete.
    """
    alone(connection)
    found = connection.execute(_ORPHANS, {"owner": owner, "before": before, "most": AT_ONCE}).all()
    for each in found:
        known = msgspec.json.decode(each.entry)
        row = {name: known.get(name) for name in ledger.c.keys()}  # noqa: SIM118 - a collection of columns, no dict
        row |= {"outcome": Outcome.UNKNOWN.value, "cost": each.reserved, "usage_source": "estimated"}
        finish(row)
        connection.execute(_SETTLE, {"id": each.id})
        connection.execute(_RECORD, row)
        _spend(connection, each.scope, each.period, each.bucket, each.reserved)
    return len(found)


def beat(connection: Connection, owner: str, now: int) -> None:
    """Say that this process still answers its requests."""
    connection.execute(_BEAT, {"owner": owner, "now": now})


def forget(connection: Connection, before: int) -> None:
    """Drop the sums of periods that are long over."""
    connection.execute(_FORGET, {"before": before})


def _spend(connection: Connection, scope: str, period: str, bucket: int, cost: int) -> None:
    if cost:
        connection.execute(_SPEND, {"scope": scope, "period": period, "bucket": bucket, "cost": cost})
