"""The rows behind budgets: what is reserved, what was spent. The only SQL that moves money.

Each function runs inside one transaction of the storage's writer, so it happens whole or not at all. SQLite has one
writer; on PostgreSQL all of them take one lock first, so that no two replicas weigh the same money, and none waits for
another in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection

from sealgate.limits.ledger import Entry, Outcome
from sealgate.limits.ledger import row as row_of
from sealgate.limits.periods import Window
from sealgate.storage import Appended
from sealgate.storage.alone import alone_direct
from sealgate.storage.direct import Direct, read
from sealgate.storage.tables import ledger

AT_ONCE = 200
"""Rows taken care of in one transaction, so that others need not wait long."""

# One statement sees one state of the database; two could lie on both sides of another replica's commit.
_STATE = (
    "SELECT (SELECT coalesce(sum(spent), 0) FROM spending WHERE scope = ? AND period = ? AND bucket >= ?),"
    " (SELECT coalesce(sum(reserved), 0) FROM intents WHERE scope = ? AND period = ? AND bucket >= ?)"
)
_SETTLE = "DELETE FROM intents WHERE id = ?"
_KNOWN = "SELECT outcome, cost FROM ledger WHERE id = ?"
_REMOVE = "DELETE FROM ledger WHERE id = ?"
_SPEND = (
    "INSERT INTO spending (scope, period, bucket, spent) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (scope, period, bucket) DO UPDATE SET spent = spending.spent + excluded.spent"
)
_INTEND = (
    "INSERT INTO intents (id, scope, period, bucket, reserved, owner, seen_at, entry)"
    " SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE ?"
    " >= (SELECT coalesce(sum(spent), 0) FROM spending WHERE scope = ? AND period = ? AND bucket >= ?)"
    " + (SELECT coalesce(sum(reserved), 0) FROM intents WHERE scope = ? AND period = ? AND bucket >= ?)"
)
"""If there is room: looking and taking in one statement."""
_BEAT = "UPDATE intents SET seen_at = ? WHERE owner = ?"
_ORPHANS = (
    "SELECT id, scope, period, bucket, reserved, entry FROM intents"
    " WHERE owner <> ? AND seen_at < ? ORDER BY id LIMIT ?"
)
_ANY_ORPHAN = "SELECT 1 FROM intents WHERE owner <> ? AND seen_at < ? LIMIT 1"
_FORGET = "DELETE FROM spending WHERE period <> 'total' AND bucket < ?"


class Account(NamedTuple):
    """Where one request's money is counted: whose it is, and in which window."""

    scope: str
    window: Window


class Intent(NamedTuple):
    """A request that is about to be sent to a provider."""

    id: str
    owner: str
    now: int
    entry: str
    """Its ledger entry, as far as it is known, in JSON."""


class State(NamedTuple):
    """Of one account, in nano-units."""

    spent: int
    reserved: int


def state(connection: Connection, account: Account) -> State:
    """For a reader."""
    return _state(read(connection, _STATE, _asked(account))[0])


def _asked(account: Account) -> tuple[str | int, ...]:
    one = (account.scope, account.window.period, account.window.since)
    return (*one, *one)


def _state(found: Sequence[Any]) -> State:
    return State(int(found[0]), int(found[1]))  # PostgreSQL's sums are decimals


def reserve(
    direct: Direct, account: Account, amount: int, wishes: Sequence[int], intent: Intent
) -> tuple[int | None, int]:
    """Reserve the first of ``wishes`` that ``amount`` still has room for; that one, and what was available before,
    which is 0 where nobody will ask: where the first had room.
    """
    alone_direct(direct)
    if _intend(direct, account, amount, wishes[0], intent):
        return wishes[0], 0
    found = direct.first(_STATE, _asked(account))
    assert found is not None
    spent, reserved = _state(found)
    available = amount - spent - reserved
    chosen = next((wish for wish in wishes if wish <= available), None)
    if chosen is not None:
        _intend(direct, account, amount, chosen, intent)
    return chosen, available


def _intend(direct: Direct, account: Account, amount: int, wish: int, intent: Intent) -> int:
    scope, window = account
    row = (intent.id, scope, window.period, window.bucket, wish, intent.owner, intent.now, intent.entry)
    return direct.run(_INTEND, (*row, amount - wish, *_asked(account)))


class Settlement:
    """Puts the request's row in the place of its intent, and counts what it cost. A second time it does nothing.

    Where another process took the request for lost and wrote that nobody knows how it ended, that is set right.
    """

    __slots__ = ("_account", "_request", "_row")

    def __init__(self, account: Account, request: str, row: Appended) -> None:
        self._account = account
        self._request = request
        self._row = row

    def prepare(self) -> None:
        """Work the row out, before anything is locked."""
        if callable(self._row):
            self._row = self._row()

    def __call__(self, direct: Direct) -> None:
        alone_direct(direct)
        charged = 0
        if not direct.run(_SETTLE, (self._request,)):
            known = direct.first(_KNOWN, (self._request,))
            if known is not None:
                if known[0] != Outcome.UNKNOWN.value:
                    return
                direct.run(_REMOVE, (self._request,))
                charged = known[1] or 0
        self.prepare()
        assert not callable(self._row)
        direct.insert(ledger, self._row)
        scope, window = self._account
        _spend(direct, scope, window.period, window.bucket, (self._row["cost"] or 0) - charged)


def any_orphan(connection: Connection, owner: str, before: int) -> bool:
    """Whether there is something for `sweep`."""
    return bool(read(connection, _ANY_ORPHAN, (owner, before)))


def sweep(direct: Direct, owner: str, before: int, finish: Callable[[dict[str, Any]], None]) -> int:
    """Write down the requests whose process has not been heard of since ``before``, as ``unknown``; how many.

    Nobody can tell how far they came. The provider may have answered in full and will then charge for it, so the whole
    reservation counts as spent, and the row says that it is an estimate. ``finish`` is given each row to complete.
    """
    alone_direct(direct)
    found = direct.all(_ORPHANS, (owner, before, AT_ONCE))
    for request, scope, period, bucket, reserved, entry in found:
        known = {**row_of(msgspec.json.decode(entry, type=Entry)), "outcome": Outcome.UNKNOWN.value}
        row = {**known, "cost": reserved, "usage_source": "estimated"}
        finish(row)
        direct.run(_SETTLE, (request,))
        direct.insert(ledger, row)
        _spend(direct, scope, period, bucket, reserved)
    return len(found)


def beat(direct: Direct, owner: str, now: int) -> None:
    """Say that this process still answers its requests."""
    direct.run(_BEAT, (now, owner))


def forget(direct: Direct, before: int) -> None:
    """Drop the sums of periods that are long over."""
    direct.run(_FORGET, (before,))


def _spend(direct: Direct, scope: str, period: str, bucket: int, cost: int) -> None:
    if cost:
        direct.run(_SPEND, (scope, period, bucket, cost))
