"""The rows behind leases: blocks of a budget that one process holds back. Here as in `budget_rows` money is only moved.

A lease holds the money of requests that are being answered without an intent of their own, and what is idle of the
block. What a request cost leaves it for the spending, and what it may still cost for an intent, in one transaction: so
spending, intents and leases together are never more than the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sealgate.limits.periods import Window
from sealgate.storage.alone import alone_direct
from sealgate.storage.direct import Direct
from sealgate.storage.tables import intents

PART = 10
"""A lease is at most this part of what is left of a budget, so that the others need not do without for long."""

LOWER = "UPDATE leases SET amount = amount - ? WHERE id = ?"
_LEFT = (
    "SELECT (SELECT coalesce(sum(spent), 0) FROM spending WHERE scope = ? AND period = ? AND bucket >= ?)"
    " + (SELECT coalesce(sum(reserved), 0) FROM intents WHERE scope = ? AND period = ? AND bucket >= ?)"
    " + (SELECT coalesce(sum(amount), 0) FROM leases WHERE scope = ? AND period = ? AND bucket >= ?)"
)
_TAKE = "INSERT INTO leases (id, scope, period, bucket, amount, owner) VALUES (?, ?, ?, ?, ?, ?)"
_GIVE_BACK = "DELETE FROM leases WHERE id = ?"
_JOURNALLED = "SELECT 1 FROM intents WHERE id = ? UNION ALL SELECT 1 FROM ledger WHERE id = ?"


class Wanted(NamedTuple):
    """A block that a process asks for, in nano-units: so much if there is room, and none where less than the least."""

    id: str
    scope: str
    window: Window
    budget: int
    """The amount of the whole budget."""
    amount: int
    least: int
    owner: str


def take(direct: Direct, wanted: Wanted) -> int:
    """Hold back a block; how much, which may be 0."""
    alone_direct(direct)
    scope, window = wanted.scope, wanted.window
    found = direct.first(_LEFT, (scope, window.period, window.since) * 3)
    assert found is not None
    granted = min(wanted.amount, (wanted.budget - int(found[0])) // PART)
    if granted < wanted.least:
        return 0
    direct.run(_TAKE, (wanted.id, scope, window.period, window.bucket, granted, wanted.owner))
    return granted


def lower(direct: Direct, lease: str, amount: int) -> None:
    """Give back that much of a block."""
    alone_direct(direct)
    direct.add(LOWER, amount, (lease,))


def give_back(direct: Direct, lease: str) -> None:
    """Give back all that is left. A second time it does nothing."""
    alone_direct(direct)
    direct.run(_GIVE_BACK, (lease,))


def drop(direct: Direct, dead: Sequence[str]) -> None:
    """Free the blocks of processes that have died; their requests that were written down have intents."""
    for lease in dead:
        give_back(direct, lease)


class Note(NamedTuple):
    """A request that is still being answered: its intent, and the lease that held its money until now."""

    lease: str
    intent: dict[str, Any]
    again: bool
    """Whether it may have been written already, because nobody knows what became of the first time."""


class Journal:
    """Writes intents of requests that began in a lease. The money they hold back goes from the lease to them."""

    __slots__ = ("_notes", "_ran")

    def __init__(self, notes: Sequence[Note]) -> None:
        self._notes = notes
        self._ran = False

    def __call__(self, direct: Direct) -> None:
        alone_direct(direct)
        again, self._ran = self._ran, True
        for note in self._notes:
            intent = note.intent
            if (again or note.again) and direct.first(_JOURNALLED, (intent["id"],) * 2):
                continue  # it was, and maybe somebody took us for dead and closed it: then its money has left the lease
            direct.insert(intents, intent)
            direct.add(LOWER, intent["reserved"], (note.lease,))


Act = Callable[[Direct], Any]
