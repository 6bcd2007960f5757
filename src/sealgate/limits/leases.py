"""Leases in memory: the block of a budget that this process may spend without asking, and how large it ought to be.

Pure. Amounts are nano-units. Moments are microseconds of a monotonic clock, but for `Till.fits` of the calendar's.
"""

from __future__ import annotations

import asyncio

from sealgate.config_tables import Budget
from sealgate.limits.periods import Window, ends
from sealgate.limits.prices import nano

SECOND = 1_000_000
AHEAD = 2
"""A block is for so many seconds like the last two."""
LEAST = 4
"""A block without room for so many requests is not worth its rows."""
LIFE = 10 * SECOND
"""After this nothing more is taken from a block: long before others may think that its process has died."""


class Lease:
    """One block. Its row holds at least what is ``free`` and what the ``open`` requests reserved in it."""

    __slots__ = ("end", "free", "id", "open", "retired", "size", "taken")

    def __init__(self, name: str, now: int) -> None:
        self.id = name
        self.taken = now
        self.end = now + LIFE
        self.size = 0
        self.free = 0
        self.open = 0
        """Requests whose money it holds, until their settlement is committed or they have an intent."""
        self.retired = False
        """Whether another has taken its place; it is given back when nobody needs it any more."""

    def grant(self, amount: int) -> None:
        self.size = self.free = amount

    def hold(self, amount: int) -> None:
        self.free -= amount
        self.open += 1

    def release(self, amount: int) -> None:
        """What a request did not need."""
        if not self.retired:
            self.free += amount

    def retire(self) -> int:
        """Take nothing more from it; what was free."""
        free, self.free, self.retired = self.free, 0, True
        return free


class Till:
    """What one process does with one budget in one piece of time: its lease, and what was reserved lately."""

    __slots__ = (
        "_before", "_begins", "_dearest", "_ends", "_lately", "_rests", "_second",
        "amount", "budget", "coming", "lease", "scope", "sum", "used",
    )  # fmt: skip

    def __init__(self, scope: str, budget: Budget, window: Window) -> None:
        self.scope = scope
        self.budget = budget
        self.amount = nano(budget.amount)
        self.sum = (scope, window.period, window.bucket)
        self.lease: Lease | None = None
        self.coming: asyncio.Future[int] | None = None
        """The answer to whether there is a block."""
        self.used = True
        """Since somebody looked the last time."""
        self._begins, self._ends = window.bucket, ends(budget, window)
        self._second = 0
        self._lately = self._before = 0
        """Reserved in the second that began then, and in the one before it."""
        self._dearest = 0
        self._rests = 0

    def fits(self, budget: Budget, at: int) -> bool:
        """Whether a request of then, under this budget, is counted here."""
        return self._begins <= at < self._ends and (budget is self.budget or budget == self.budget)

    def saw(self, amount: int, at: int) -> None:
        """A request came that reserves so much."""
        self.used = True
        if (passed := at - self._second) >= SECOND:
            self._before = self._lately if passed < 2 * SECOND else 0
            self._second, self._lately, self._dearest = at, 0, 0
        self._lately += amount
        if amount > self._dearest:
            self._dearest = amount

    def hold(self, amount: int, at: int) -> Lease | None:
        """Reserve in the lease; None where there is none, or not enough of it."""
        lease = self.lease
        if lease is None or amount > lease.free or at >= lease.end:
            return None
        lease.hold(amount)
        return lease

    @property
    def low(self) -> bool:
        """Whether there is no lease, or little left of it."""
        return self.lease is None or self.lease.free * 4 < self.lease.size

    def wants(self, at: int) -> tuple[int, int] | None:
        """How large a new lease ought to be and must be at least, if one is needed."""
        lease = self.lease
        if not self.low or self.coming is not None or at < self._rests:
            return None
        amount, least = AHEAD * max(self._lately, self._before), LEAST * self._dearest
        if amount < least:
            return None
        if lease is not None and amount < 2 * lease.size and at - lease.taken < SECOND:
            return None  # a flood of requests asks for larger blocks, not for one after the other
        return amount, least

    def rest(self, at: int) -> None:
        """There was none: ask no more for a while."""
        self._rests = at + SECOND
