"""The rows behind budgets: what is reserved, what was spent. The only SQL that moves money.

Each function runs inside one transaction of the storage's writer, so it happens whole or not at all. SQLite has one
writer; on PostgreSQL all of them take one lock first, so that no two replicas weigh the same money, and none waits for
another in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import msgspec
from sqlalchemy import Connection

from sealgate.limits.lease_rows import LOWER
from sealgate.limits.leases import Lease
from sealgate.limits.ledger import Entry, Outcome, Written
from sealgate.limits.ledger import row as row_of
from sealgate.limits.periods import Window
from sealgate.storage.alone import alone_direct
from sealgate.storage.direct import Direct, read
from sealgate.storage.tables import ledger

AT_ONCE = 200
"""Rows taken care of in one transaction, so that others need not wait long."""

# One statement sees one state of the database; two could lie on both sides of another replica's commit.
_STATE = (
    "SELECT (SELECT coalesce(sum(spent), 0) FROM spending WHERE scope = ? AND period = ? AND bucket >= ?),"
    " (SELECT coalesce(sum(reserved), 0) FROM intents WHERE scope = ? AND period = ? AND bucket >= ?),"
    " (SELECT coalesce(sum(amount), 0) FROM leases WHERE scope = ? AND period = ? AND bucket >= ?)"
)
_HELD = (
    "SELECT '', coalesce(sum(spent), 0) FROM spending WHERE scope = ? AND period = ? AND bucket >= ?"
    " UNION ALL SELECT '-', coalesce(sum(reserved), 0) FROM intents WHERE scope = ? AND period = ? AND bucket >= ?"
    " UNION ALL SELECT id, amount FROM leases WHERE scope = ? AND period = ? AND bucket >= ?"
)
_SETTLE = "DELETE FROM intents WHERE id = ?"
_SETTLE_MANY = "DELETE FROM intents WHERE id IN"
_KNOWN = "SELECT outcome, cost FROM ledger WHERE id = ?"
_REMOVE = "DELETE FROM ledger WHERE id = ?"
_SPEND = (
    "INSERT INTO spending (spent, scope, period, bucket) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (scope, period, bucket) DO UPDATE SET spent = spending.spent + excluded.spent"
)
_INTEND = (
    "INSERT INTO intents (id, scope, period, bucket, reserved, owner, seen_at, entry)"
    " SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE ?"
    " >= (SELECT coalesce(sum(spent), 0) FROM spending WHERE scope = ? AND period = ? AND bucket >= ?)"
    " + (SELECT coalesce(sum(reserved), 0) FROM intents WHERE scope = ? AND period = ? AND bucket >= ?)"
    " + (SELECT coalesce(sum(amount), 0) FROM leases WHERE scope = ? AND period = ? AND bucket >= ?)"
)
"""If there is room: looking and taking in one statement."""
_BEAT = "UPDATE intents SET seen_at = ? WHERE owner = ?"
_ORPHANS = (
    "SELECT id, scope, period, bucket, reserved, entry FROM intents"
    " WHERE owner <> ? AND seen_at < ? ORDER BY id LIMIT ?"
)
_ANY_ORPHAN = "SELECT 1 FROM intents WHERE owner <> ? AND seen_at < ? LIMIT 1"
_OTHERS = "SELECT id FROM leases WHERE owner <> ?"
_FORGET = "DELETE FROM spending WHERE period <> 'total' AND bucket < ?"


Sum: TypeAlias = tuple[str, str, int]
"""Scope, period and bucket: where one request's cost is added."""


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
    intended: int
    """Reserved by requests that have intents of their own."""
    leases: Mapping[str, int]
    """What is left of each block that a process holds back, by its id."""


class Found(NamedTuple):
    """What became of a reservation, in nano-units."""

    chosen: int | None
    """The wish that was reserved."""
    available: int = 0
    """What there was before, where the first wish had no room."""
    leased: int = 0
    """What leases hold back, some of it idle, also those that this process has given up; where no wish had room."""


def state(connection: Connection, account: Account) -> State:
    """For a reader."""
    found = {name: int(amount) for name, amount in read(connection, _HELD, _asked(account) * 3)}
    return State(found.pop(""), found.pop("-"), found)


def _asked(account: Account) -> tuple[str | int, ...]:
    return account.scope, account.window.period, account.window.since


def reserve(direct: Direct, account: Account, amount: int, wishes: Sequence[int], intent: Intent) -> Found:
    """Reserve the first of ``wishes`` that ``amount`` still has room for."""
    alone_direct(direct)
    direct.flush()
    if _intend(direct, account, amount, wishes[0], intent):
        return Found(wishes[0])
    found = direct.first(_STATE, _asked(account) * 3)
    assert found is not None
    available = amount - sum(map(int, found))  # PostgreSQL's sums are decimals
    chosen = next((wish for wish in wishes if wish <= available), None)
    if chosen is not None:
        _intend(direct, account, amount, chosen, intent)
        return Found(chosen, available)
    return Found(None, available, int(found[2]))


def _intend(direct: Direct, account: Account, amount: int, wish: int, intent: Intent) -> int:
    scope, window = account
    row = (intent.id, scope, window.period, window.bucket, wish, intent.owner, intent.now, intent.entry)
    return direct.run(_INTEND, (*row, amount - wish, *_asked(account) * 3))


class Settlement:
    """Puts the request's row in the place of what it reserved, and counts what it cost. A second time it does nothing.

    The first time an intent is word enough that there is no row yet; who failed looks for one in any case.
    What was reserved is an intent, or a part of a lease, where the request has no intent yet. Where another process
    took the request for lost and wrote that nobody knows how it ended, that is set right.
    """

    __slots__ = ("_account", "_intended", "_ran", "_request", "_reserved", "_row", "lease")

    def __init__(
        self, account: Sum, request: str, row: Written, lease: Lease | None, reserved: int, intended: bool
    ) -> None:
        self.lease = lease
        self._account = account
        self._request = request
        self._row = row
        self._reserved = reserved
        self._intended = intended
        """Whether there may be an intent, or even a row."""
        self._ran = False

    def prepare(self) -> bool:
        """Take a step to work the row out, before anything is locked; whether there is another."""
        if callable(self._row):
            self._row = self._row()
        return callable(self._row)

    def __call__(self, direct: Direct) -> None:
        alone_direct(direct)
        charged, lease = 0, self.lease
        again, self._ran = self._ran, True
        if self._intended and direct.together and not again:
            direct.remove(_SETTLE_MANY, self._request)  # committed, or waiting in this very transaction
            lease = None
        elif again or self._intended:
            direct.flush()  # its intent may wait in this very transaction
            if intent := direct.run(_SETTLE, (self._request,)):
                lease = None
            if (again or not intent) and (known := direct.first(_KNOWN, (self._request,))) is not None:
                if known[0] != Outcome.UNKNOWN.value:
                    return
                direct.run(_REMOVE, (self._request,))
                charged, lease = known[1] or 0, None
        while callable(self._row):
            self.prepare()
        direct.insert(ledger, self._row)
        cost = self._row.cost or 0
        if cost != charged:
            direct.add(_SPEND, cost - charged, self._account)
        if lease is not None and cost:
            direct.add(LOWER, min(cost, self._reserved), (lease.id,))


def any_orphan(connection: Connection, owner: str, before: int) -> bool:
    """Whether there is something for `sweep`."""
    return bool(read(connection, _ANY_ORPHAN, (owner, before)))


def others(connection: Connection, owner: str) -> list[str]:
    """The leases of other processes, by their ids; for a reader."""
    return [lease for (lease,) in read(connection, _OTHERS, (owner,))]


def sweep(direct: Direct, owner: str, before: int, finish: Callable[[dict[str, Any]], None]) -> int:
    """Write down the requests whose process has not been heard of since ``before``, as ``unknown``; how many.

    Nobody can tell how far they came. The provider may have answered in full and will then charge for it, so the whole
    reservation counts as spent, and the row says that it is an estimate. ``finish`` is given each row to complete.
    """
    alone_direct(direct)
    found = direct.all(_ORPHANS, (owner, before, AT_ONCE))
    for request, scope, period, bucket, reserved, entry in found:
        row = msgspec.structs.asdict(row_of(msgspec.json.decode(entry, type=Entry)))
        row |= {"outcome": Outcome.UNKNOWN.value, "cost": reserved, "usage_source": "estimated"}
        finish(row)
        direct.run(_SETTLE, (request,))
        direct.insert(ledger, row)
        if reserved:
            direct.add(_SPEND, reserved, (scope, period, bucket))
    return len(found)


def beat(direct: Direct, owner: str, now: int) -> None:
    """Say that this process still answers its requests."""
    direct.run(_BEAT, (now, owner))


def forget(direct: Direct, before: int) -> None:
    """Drop the sums of periods that are long over."""
    direct.run(_FORGET, (before,))
