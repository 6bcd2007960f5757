"""The leases of a process: taken when they are needed, given back when they idle, journalled while requests last.

Nobody waits for any of this. A request that is answered quickly is reserved and settled in a lease; one that is still
open at the second tick after its beginning gets an intent of its own, together with all others in the same state: in
the next commit that somebody waits for, or at the third tick.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from sealgate.config_tables import Budget
from sealgate.errors import StorageError
from sealgate.limits import lease_rows as rows
from sealgate.limits.lease_rows import Act, Journal, Note, Wanted
from sealgate.limits.leases import Lease, Till
from sealgate.limits.periods import window
from sealgate.storage import Storage

JOURNAL_SECONDS = 0.025
"""Of one tick. A crash can lose the requests of the last three, and of a commit."""
AGAIN_SECONDS = 1.0
"""Of the tick after one whose commit failed."""
IDLE_SECONDS = 1.0
"""A lease that nobody used between two looks is given back: after one to two times this."""


class Held(Protocol):
    """A request that has reserved in a lease."""

    lease: Lease | None
    """None again when it has an intent, or is settled."""

    def note(self) -> Note:
        """What is to be written down of it."""


class Tills:
    """``ticks`` gives microseconds of a monotonic clock.

    ``again`` is given what could not be written and must be.
    """

    def __init__(
        self,
        storage: Storage,
        owner: str,
        ticks: Callable[[], int],
        again: Callable[[Act], None],
    ) -> None:
        self._storage = storage
        self._owner = owner
        self._ticks = ticks
        self._again = again
        self._tills: dict[str, Till] = {}
        self._leases: dict[str, Lease] = {}
        self._young: dict[Held, None] = {}
        """Open requests in leases that came since the last tick."""
        self._older: dict[Held, None] = {}
        self._ticking: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._closed = False

    def till(self, scope: str, budget: Budget, at: int) -> Till:
        """Where a request of then is counted."""
        till = self._tills.get(scope)
        if till is None or not till.fits(budget, at):
            till = self._open(scope, budget, at)
        return till

    def _open(self, scope: str, budget: Budget, at: int) -> Till:
        if (old := self._tills.get(scope)) is not None:
            self._empty(old)
        till = self._tills[scope] = Till(scope, budget, window(budget, at))
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._look)
        return till

    def idle(self, lease: str, amount: int) -> int:
        """Of a lease's row, what no request holds; nobody here knows that of another process's."""
        found = self._leases.get(lease)
        return 0 if found is None else found.free if found.open else amount

    def enter(self, held: Held) -> None:
        """The request reserved in a lease."""
        self._young[held] = None
        if self._ticking is None:
            self._tick_later()

    def leave(self, held: Held) -> None:
        """It is about to be settled."""
        if held in self._young:
            del self._young[held]
        else:
            self._older.pop(held, None)

    def done(self, lease: Lease) -> None:
        """A request's money is not in the lease any more."""
        lease.open -= 1
        if lease.retired and not lease.open:
            self._give_back(lease)

    def refill(self, till: Till, at: int) -> None:
        """Ask for a lease where little is left of one, in the window of a request of then."""
        if self._closed or self._tills.get(till.scope) is not till:
            return
        now = self._ticks()
        if (wants := till.wants(now)) is None:
            return
        lease = Lease(uuid.uuid4().hex, now)
        found = window(till.budget, at)
        wanted = Wanted(lease.id, till.scope, found, till.amount, *wants, self._owner)
        try:
            till.coming = self._storage.submit_direct(partial(rows.take, wanted=wanted))
        except StorageError:
            return
        till.coming.add_done_callback(partial(self._came, till, lease))

    def _came(self, till: Till, lease: Lease, future: asyncio.Future[int]) -> None:
        till.coming = None
        if future.cancelled() or future.exception() is not None:
            self._again(partial(rows.give_back, lease=lease.id))  # it may be there all the same
            till.rest(self._ticks())
            return
        granted = future.result()
        if not granted:
            till.rest(self._ticks())
            return
        lease.grant(granted)
        self._leases[lease.id] = lease
        if self._closed or self._tills.get(till.scope) is not till:
            self._retire(lease)
            return
        old, till.lease = till.lease, lease
        if old is not None:
            self._retire(old)

    def holds(self, till: Till) -> bool:
        """Whether there is, or may soon be, money of that scope here that no request holds."""
        return any(
            each.coming is not None or (each.lease is not None and each.lease.free > 0) for each in self._of_scope(till)
        )

    def _of_scope(self, till: Till) -> set[Till]:
        """It, and what has taken its place since."""
        return {till, self._tills.get(till.scope, till)}

    async def surrender(self, till: Till) -> None:
        """Let go of that, so that it can be reserved by what is written from now on."""
        for each in self._of_scope(till):
            if each.coming is not None:
                await asyncio.wait([each.coming])
                await asyncio.sleep(0)  # its callback, which knows what to do with it, comes before us
            self._empty(each)
            each.rest(self._ticks())

    def _empty(self, till: Till) -> None:
        if till.lease is not None:
            self._retire(till.lease)
            till.lease = None

    def _retire(self, lease: Lease) -> None:
        free = lease.retire()
        if not lease.open:
            self._give_back(lease)
        elif free:
            self._submit(partial(rows.lower, lease=lease.id, amount=free), lambda _failed: None)

    def _give_back(self, lease: Lease) -> None:
        act = partial(rows.give_back, lease=lease.id)

        def given(failed: bool) -> None:
            self._leases.pop(lease.id, None)
            if failed:
                self._again(act)

        self._submit(act, given)

    def _submit(self, act: Act, then: Callable[[bool], None], *, idle: bool = False) -> None:
        """``then`` is told whether it failed."""
        try:
            future = self._storage.submit_idle(act) if idle else self._storage.submit_direct(act)
        except StorageError:
            then(True)
            return
        future.add_done_callback(lambda done: then(done.cancelled() or done.exception() is not None))

    # What the clock does

    def _tick_later(self, seconds: float | None = None) -> None:
        self._ticking = asyncio.get_running_loop().call_later(seconds or JOURNAL_SECONDS, self._tick)

    def _tick(self) -> None:
        ripe, self._older, self._young = self._older, self._young, {}
        self._ticking = None
        self._storage.hurry()  # what the tick before this one wrote down, if no commit has come by since
        if ripe or self._older:
            self._tick_later()
        if ripe:
            self._journal(list(ripe))

    def _journal(self, helds: Sequence[Held]) -> None:
        self._submit(Journal([held.note() for held in helds]), partial(self._journalled, helds), idle=True)

    def _journalled(self, helds: Sequence[Held], failed: bool) -> None:
        for held in helds:
            lease = held.lease
            if lease is None:
                continue  # settled meanwhile
            if failed:
                self._older[held] = None
            else:
                held.lease = None
                self.done(lease)
        if failed and self._older and not self._closed:
            if self._ticking is not None:
                self._ticking.cancel()
            self._tick_later(AGAIN_SECONDS)

    def _look(self) -> None:
        now = self._ticks()
        for scope, till in list(self._tills.items()):
            if not till.used:
                del self._tills[scope]
                self._empty(till)
            elif till.lease is not None and now >= till.lease.end:
                self._empty(till)
            till.used = False
        self._looking = None
        if self._tills:
            self._looking = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._look)

    def close(self) -> None:
        """Give everything back; what is still open is written down."""
        self._closed = True
        for timer in (self._ticking, self._looking):
            if timer is not None:
                timer.cancel()
        self._ticking = self._looking = None
        if still := [*self._older, *self._young]:
            self._young, self._older = {}, {}
            self._journal(still)
        for till in self._tills.values():
            self._empty(till)
        self._tills = {}
