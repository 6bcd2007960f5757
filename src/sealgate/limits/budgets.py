"""Budgets: money is reserved before a provider is asked, and what the answer cost takes its place afterwards.

Where requests come often, this process holds a block of the budget (`sealgate.limits.tills`), and reserving is a
subtraction; else the reservation is committed before the upstream call. The charge is in the same commit as the
ledger's row, so at any moment, also after a crash, the rows of a key say what it spent, and what is not yet known is
held back. Callers without a budget have `Unlimited`, which adds a row and nothing else.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog

from sealgate.config_tables import Budget
from sealgate.errors import Problem, StorageError
from sealgate.limits import budget_rows as rows
from sealgate.limits import lease_rows
from sealgate.limits.budget_rows import Account, Found, Intent, Settlement
from sealgate.limits.lease_rows import Act, Note
from sealgate.limits.leases import Lease
from sealgate.limits.ledger import Entry, Written
from sealgate.limits.periods import DAY, LONGEST, window
from sealgate.limits.prices import nano, shown
from sealgate.limits.tills import Tills
from sealgate.storage import NewRow, Storage
from sealgate.storage.alone import shared
from sealgate.storage.tables import ledger

BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
"""A process that has not been heard of for so long has died. Should it live after all, its own word replaces ours."""
RETRIES_AT_ONCE = 100
TRIES, TRY_SECONDS = 15, 0.2
"""A request waits so long for money that lies idle in a lease of another replica: a little longer than it may lie."""

_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger("sealgate.limits")


class Wish(NamedTuple):
    """What a request may cost at most on one route, in nano-units, and the tokens behind that."""

    amount: int
    prompt: int
    completion: int


class Balance(NamedTuple):
    """What is left of a budget, in nano-units; ``end`` is when it begins anew, in unix microseconds."""

    available: int
    reserved: int
    end: int | None


class Unlimited:
    """The purse of those who have no budget."""

    __slots__ = ("_storage",)

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def reserve(self, _wishes: Sequence[Wish], _currency: str) -> int | None:
        """None: whatever it costs."""
        return None

    def settle(self, values: Written, until: float | None = None, beside: Sequence[NewRow] = ()) -> Awaitable[None]:
        """Write the request's row; done after its commit. Raises `StorageError`; see `Storage.append`."""
        return self._storage.append(ledger, values, until, beside=beside)

    def settle_nowait(self, values: Written) -> None:
        """Write the request's row later, for a caller that cannot wait."""
        self._storage.append_nowait(ledger, values)


class Purse(Unlimited):
    """One request's part of a budget: `reserve` before a provider is asked, then one of the two ways to settle.

    ``begun`` gives what a receipt needs where this process dies meanwhile.
    """

    __slots__ = ("_begun", "_budgets", "_currency", "_entry", "_noted", "_open", "_reserved", "_till", "lease")

    def __init__(
        self, budgets: Budgets, scope: str, budget: Budget, entry: Entry, begun: Callable[[], str | None]
    ) -> None:
        super().__init__(budgets.storage)
        self.lease: Lease | None = None
        """What holds the reservation, while no intent does."""
        self._budgets = budgets
        self._till = budgets.tills.till(scope, budget, entry.created_at)
        self._entry = entry
        self._begun = begun
        self._open = False
        self._noted = False
        """Whether there is an intent, or may be one."""

    async def reserve(self, wishes: Sequence[Wish], currency: str) -> int | None:
        """Reserve the highest of ``wishes`` that there is room for; what was reserved.

        What costs nothing needs no reservation. Raises `Problem` ``insufficient_quota`` where not even the least has
        room, and ``storage_unavailable``.
        """
        highest = wishes[0] if len(wishes) == 1 else max(wishes)
        if highest.amount == 0:
            return 0
        self._reserved, self._currency = highest, currency
        till, now = self._till, self._budgets.ticks()
        till.saw(highest.amount, now)
        self._open = True
        self._budgets.open += 1
        self.lease = till.hold(highest.amount, now)
        if self.lease is None:
            return await self._commit(sorted({wish.amount for wish in wishes}, reverse=True))
        self._budgets.tills.enter(self)
        return highest.amount

    async def _commit(self, amounts: Sequence[int]) -> int:
        """Reserve in the database."""
        till, tills = self._till, self._budgets.tills
        intent = Intent(self._entry.id, self._budgets.owner, self._budgets.now(), self._known())
        self._noted = True  # whatever becomes of this task: what is queued will be written
        tries = TRIES
        ours = tills.holds(till)  # where the highest has no room it may be we who have it
        found = await self._ask(amounts[:1] if ours else amounts, intent)
        while found.chosen is None:
            if ours or tills.holds(till):
                ours = False
                await tills.surrender(till)
            elif tries and found.available + found.leased >= amounts[-1]:
                tries -= 1  # leases hold what is missing, and soon give it back where it lies idle
                await asyncio.sleep(TRY_SECONDS)
            else:
                break
            found = await self._ask(amounts, intent)
        if found.chosen is not None:
            return found.chosen
        self._leave()
        said = {"available": shown(max(0, found.available)), "required": shown(amounts[-1])}
        raise Problem(
            "insufficient_quota",
            f"The request may cost {said['required']} {self._currency},"
            f" and {said['available']} are left of the budget.",
            figures=said,
        )

    async def _ask(self, amounts: Sequence[int], intent: Intent) -> Found:
        till = self._till
        account = Account(till.scope, window(till.budget, self._entry.created_at))
        ask = partial(rows.reserve, account=account, amount=till.amount, wishes=amounts, intent=intent)
        try:
            return await self._budgets.storage.submit_direct(ask)
        except StorageError as error:
            raise Problem("storage_unavailable") from error

    async def settle(self, values: Written, until: float | None = None, beside: Sequence[NewRow] = ()) -> None:
        if not self._open:
            return await super().settle(values, until, beside)
        act = self._close(values)
        try:
            future = self._budgets.storage.submit_direct(act, until, beside=beside)
            if self._till.low:
                self._budgets.tills.refill(self._till, self._entry.created_at)
            await future
        except StorageError:
            self._budgets.try_again(act)
            raise
        except asyncio.CancelledError:
            self._budgets.try_again(act)  # nobody here learns whether it is written; a second time it does nothing
            raise
        if act.lease is not None:
            self._budgets.tills.done(act.lease)
        return None

    def settle_nowait(self, values: Written) -> None:
        if not self._open:
            return super().settle_nowait(values)
        act = self._close(values)
        try:
            self._budgets.storage.submit_direct(act).add_done_callback(partial(self._budgets.look_after, act))
        except StorageError:
            self._budgets.try_again(act)
        return None

    def note(self) -> Note:
        """The intent, for a request that began in a lease."""
        assert self.lease is not None
        again, self._noted = self._noted, True
        scope, period, bucket = self._till.sum
        intent = {"id": self._entry.id, "scope": scope, "period": period, "bucket": bucket, "entry": self._known()}
        intent |= {"reserved": self._reserved.amount, "owner": self._budgets.owner, "seen_at": self._budgets.now()}
        return Note(self.lease.id, intent, again)

    def _known(self) -> str:
        """The request's entry with what the reservation is for, as it is completed where this process dies."""
        entry, highest = self._entry, self._reserved
        entry.prompt_tokens, entry.completion_tokens, entry.currency = (
            highest.prompt,
            highest.completion,
            self._currency,
        )
        entry.receipt = self._begun()
        try:
            return _encode(entry).decode()
        finally:
            entry.prompt_tokens = entry.completion_tokens = entry.currency = entry.receipt = None

    def _close(self, values: Written) -> Settlement:
        lease, reserved = self.lease, self._reserved.amount
        self._leave()
        if lease is not None:
            self.lease = None
            self._budgets.tills.leave(self)
            if not self._noted:
                lease.release(max(0, reserved - (self._entry.cost or 0)))
        return Settlement(self._till.sum, self._entry.id, values, lease, reserved, self._noted)

    def _leave(self) -> None:
        self._open = False
        self._budgets.open -= 1


class Budgets:
    """All budgets of this process. ``clock`` gives unix seconds, ``monotonic`` seconds that nobody sets.

    ``finish`` completes the row of a request whose process died, in the thread that writes.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        finish: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self.storage = storage
        self._finish = finish
        self.unlimited = Unlimited(storage)
        self.owner = uuid.uuid4().hex
        """Under which this process keeps its intents; a new one at each start."""
        self.open = 0
        """Requests that have reserved and not settled."""
        self._clock = clock
        self._monotonic = monotonic
        self._again: list[Act] = []
        self.tills = Tills(storage, self.owner, self.ticks, self.try_again)
        self._others: dict[str, int] = {}
        """Leases of other processes, and the tick at which each was seen here first."""
        self._tidy_at = self.now() + DAY
        """When sums that count for nothing any more are dropped."""
        self._task: asyncio.Task[None] | None = None

    def now(self) -> int:
        return int(self._clock() * 1_000_000)

    def ticks(self) -> int:
        """Microseconds of no calendar: a clock that is set neither lengthens nor ends a lease."""
        return int(self._monotonic() * 1_000_000)

    def purse(self, scope: str, budget: Budget, entry: Entry, begun: Callable[[], str | None] = lambda: None) -> Purse:
        """Where this request's money comes from."""
        return Purse(self, scope, budget, entry, begun)

    async def balance(self, scope: str, budget: Budget) -> Balance:
        """What is left now, and what requests hold that are being answered. Raises `StorageError`.

        What lies idle in a lease of this process is left; of another's, nobody here knows how much does.
        """
        account = Account(scope, window(budget, self.now()))
        found = await self.storage.read(partial(rows.state, account=account))
        held = (max(0, amount - self.tills.idle(lease, amount)) for lease, amount in found.leases.items())
        reserved = found.intended + sum(held)
        available = max(0, nano(budget.amount) - found.spent - reserved)
        return Balance(available, reserved, account.window.end)

    async def start(self) -> None:
        """Take care of what processes before this one left behind, now and from now on. Raises `StorageError`."""
        others = await self.storage.read(shared)
        # A SQLite file has one process: what is not ours is nobody's.
        await self._sweep(STALE_SECONDS if others else -STALE_SECONDS)
        self._task = asyncio.create_task(self._keep(), name="budgets")

    async def aclose(self) -> None:
        """Give back what is held. The storage is closed after this."""
        self.tills.close()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def try_again(self, act: Act) -> None:
        """A settlement could not be written. The money stays reserved until it is."""
        self._again.append(act)

    def look_after(self, act: Settlement, future: asyncio.Future[None]) -> None:
        """The same where nobody waited."""
        if future.cancelled() or future.exception() is not None:
            self.try_again(act)
        elif act.lease is not None:
            self.tills.done(act.lease)

    async def tend(self) -> None:
        """One round of what is done now and then. Raises `StorageError`."""
        await self._write_again()
        if self.open:
            await self.storage.submit_direct(partial(rows.beat, owner=self.owner, now=self.now()))
        await self._sweep(STALE_SECONDS)
        if self.now() >= self._tidy_at:
            await self.storage.submit_direct(partial(rows.forget, before=self.now() - LONGEST))
            self._tidy_at = self.now() + DAY

    async def _write_again(self) -> None:
        """Each once: one that cannot be written keeps neither the others nor the rest of a round from happening."""
        waiting = list(self._again)
        while waiting:
            some, waiting = waiting[:RETRIES_AT_ONCE], waiting[RETRIES_AT_ONCE:]
            futures = [self.storage.submit_direct(act) for act in some]
            for act, found in zip(some, await asyncio.gather(*futures, return_exceptions=True), strict=True):
                if isinstance(found, BaseException):
                    _log.debug("settlement_waits", error=str(found))
                    continue
                self._again.remove(act)
                if isinstance(act, Settlement) and act.lease is not None:
                    self.tills.done(act.lease)
            if self.storage.failing:
                return  # it is not theirs

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self.tend()
            except StorageError as error:
                _log.debug("budgets_wait", error=str(error))  # the writer has said so already

    def _dead(self, others: Sequence[str], seconds: float) -> list[str]:
        """Leases that were here for so long that no process which lives can have them: each gives up its own sooner.

        Nobody's wall clock has a say: one that is set forward would free money that is being spent.
        """
        now = self.ticks()
        self._others = {lease: self._others.get(lease, now) for lease in others}
        return [lease for lease, seen in self._others.items() if now - seen >= seconds * 1_000_000]

    async def _sweep(self, seconds: float) -> None:
        before = self.now() - int(seconds * 1_000_000)
        found = 0
        if await self.storage.read(partial(rows.any_orphan, owner=self.owner, before=before)):
            sweep = partial(rows.sweep, owner=self.owner, before=before, finish=self._finish)
            while some := await self.storage.submit_direct(sweep):
                found += some
        if dead := self._dead(await self.storage.read(partial(rows.others, owner=self.owner)), seconds):
            await self.storage.submit_direct(partial(lease_rows.drop, dead=dead))
        if found:
            _log.warning("requests_of_unknown_outcome", count=found)
