"""Budgets: money is reserved before a provider is asked, and what the answer cost takes its place afterwards.

The reservation is committed before the upstream call, the charge in the same commit as the ledger's row, so at any
moment, also after a crash, the rows of a key say what it spent, and what is not yet known is held back. Callers without
a budget have `Unlimited`, which adds a row and nothing else.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog

from sealgate.config_tables import Budget
from sealgate.errors import Problem, StorageError
from sealgate.limits import budget_rows as rows
from sealgate.limits.budget_rows import Account, Intent, Settlement
from sealgate.limits.ledger import Entry
from sealgate.limits.periods import DAY, LONGEST, window
from sealgate.limits.prices import nano, shown
from sealgate.storage import Appended, NewRow, Storage
from sealgate.storage.alone import shared
from sealgate.storage.direct import Direct
from sealgate.storage.tables import ledger

BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
"""A process that has not been heard of for so long has died. Should it live after all, its own word replaces ours."""
RETRIES_AT_ONCE = 100

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

    async def settle(self, values: Appended, until: float | None = None, beside: Sequence[NewRow] = ()) -> None:
        """Write the request's row and return after its commit. Raises `StorageError`; see `Storage.append`."""
        await self._storage.append(ledger, values, until, beside=beside)

    def settle_nowait(self, values: Appended) -> None:
        """Write the request's row later, for a caller that cannot wait."""
        self._storage.append_nowait(ledger, values)


class Purse(Unlimited):
    """One request's part of a budget: `reserve` before a provider is asked, then one of the two ways to settle."""

    __slots__ = ("_account", "_amount", "_budgets", "_entry", "_intended")

    def __init__(self, budgets: Budgets, scope: str, budget: Budget, entry: Entry) -> None:
        super().__init__(budgets.storage)
        self._budgets = budgets
        self._account = Account(scope, window(budget, entry.created_at))
        self._amount = nano(budget.amount)
        self._entry = entry
        self._intended = False

    async def reserve(self, wishes: Sequence[Wish], currency: str) -> int | None:
        """Reserve the highest of ``wishes`` that there is room for; what was reserved.

        What costs nothing needs no reservation. Raises `Problem` ``insufficient_quota`` where not even the least has
        room, and ``storage_unavailable``.
        """
        ordered = sorted(wishes, reverse=True)
        highest, least = ordered[0], ordered[-1]
        if highest.amount == 0:
            return 0
        known = self._known(highest, currency)
        intent = Intent(self._entry.id, self._budgets.owner, self._budgets.now(), known)
        amounts = [wish.amount for wish in ordered]
        ask = partial(
            rows.reserve, account=self._account, amount=self._amount, wishes=amounts, intent=intent
        )  # fmt: skip
        self._intended = True  # whatever becomes of this task: what is queued will be written
        self._budgets.open += 1
        try:
            chosen, available = await self._budgets.storage.submit_direct(ask)
        except StorageError as error:
            raise Problem("storage_unavailable") from error
        if chosen is None:
            self._close()
            said = {"available": shown(max(0, available)), "required": shown(least.amount)}
            raise Problem(
                "insufficient_quota",
                f"The request may cost {said['required']} {currency}, and {said['available']} are left of the budget.",
                figures=said,
            )
        return chosen

    async def settle(self, values: Appended, until: float | None = None, beside: Sequence[NewRow] = ()) -> None:
        if not self._intended:
            return await super().settle(values, until, beside)
        self._close()
        act = self._act(values)
        try:
            await self._budgets.storage.submit_direct(act, until, beside=beside)
        except StorageError:
            self._budgets.try_again(act)
            raise
        return None

    def settle_nowait(self, values: Appended) -> None:
        if not self._intended:
            return super().settle_nowait(values)
        self._close()
        act = self._act(values)
        try:
            self._budgets.storage.submit_direct(act).add_done_callback(partial(self._budgets.look_after, act))
        except StorageError:
            self._budgets.try_again(act)
        return None

    def _known(self, highest: Wish, currency: str) -> str:
        """The request's entry with what the reservation is for, as it is completed where this process dies."""
        entry = self._entry
        entry.prompt_tokens, entry.completion_tokens, entry.currency = highest.prompt, highest.completion, currency
        try:
            return _encode(entry).decode()
        finally:
            entry.prompt_tokens = entry.completion_tokens = entry.currency = None

    def _act(self, values: Appended) -> Act:
        return Settlement(self._account, self._entry.id, values)

    def _close(self) -> None:
        self._intended = False
        self._budgets.open -= 1


Act = Callable[[Direct], None]


class Budgets:
    """All budgets of this process. ``clock`` gives unix seconds.

    ``finish`` completes the row of a request whose process died, in the thread that writes.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        clock: Callable[[], float] = time.time,
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
        self._again: list[Act] = []
        self._tidy_at = self.now() + DAY
        """When sums that count for nothing any more are dropped."""
        self._task: asyncio.Task[None] | None = None

    def now(self) -> int:
        return int(self._clock() * 1_000_000)

    def purse(self, scope: str, budget: Budget, entry: Entry) -> Purse:
        """Where this request's money comes from."""
        return Purse(self, scope, budget, entry)

    async def balance(self, scope: str, budget: Budget) -> Balance:
        """What is left now. Raises `StorageError`."""
        account = Account(scope, window(budget, self.now()))
        found = await self.storage.read(partial(rows.state, account=account))
        available = max(0, nano(budget.amount) - found.spent - found.reserved)
        return Balance(available, found.reserved, account.window.end)

    async def start(self) -> None:
        """Take care of what processes before this one left behind, now and from now on. Raises `StorageError`."""
        others = await self.storage.read(shared)
        # A SQLite file has one process: what is not ours is nobody's.
        await self._sweep(STALE_SECONDS if others else -STALE_SECONDS)
        self._task = asyncio.create_task(self._keep(), name="budgets")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def try_again(self, act: Act) -> None:
        """A settlement could not be written. The money stays reserved until it is."""
        self._again.append(act)

    def look_after(self, act: Act, future: asyncio.Future[None]) -> None:
        """Where nobody waited: the same."""
        if future.cancelled() or future.exception() is not None:
            self.try_again(act)

    async def tend(self) -> None:
        """One round of what is done now and then. Raises `StorageError`."""
        while self._again:
            some = self._again[:RETRIES_AT_ONCE]
            for act in some:
                await self.storage.submit_direct(act)
                self._again.remove(act)
        if self.open:
            await self.storage.submit_direct(partial(rows.beat, owner=self.owner, now=self.now()))
        await self._sweep(STALE_SECONDS)
        if self.now() >= self._tidy_at:
            await self.storage.submit_direct(partial(rows.forget, before=self.now() - LONGEST))
            self._tidy_at = self.now() + DAY

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self.tend()
            except StorageError as error:
                _log.debug("budgets_wait", error=str(error))  # the writer has said so already

    async def _sweep(self, seconds: float) -> None:
        before = self.now() - int(seconds * 1_000_000)
        found = 0
        if await self.storage.read(partial(rows.any_orphan, owner=self.owner, before=before)):
            sweep = partial(rows.sweep, owner=self.owner, before=before, finish=self._finish)
            while some := await self.storage.submit_direct(sweep):
                found += some
        if found:
            _log.warning("requests_of_unknown_outcome", count=found)
