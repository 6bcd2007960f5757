"""Old rows go, a few at a time and with pauses, so that nobody who writes has to wait for it.

A rule walks over the rows in the order of their ids, which is that of time. It remembers where it was, so a row that
stays is looked at once in the life of a process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, Select, select

from sealgate.errors import StorageError
from sealgate.storage.store import Storage
from sealgate.storage.tables import ledger

DAY_SECONDS = 86_400
MOMENT = 1 / DAY_SECONDS
"""Days of a rule that is to see everything."""
BATCH = 200
"""Rows of one transaction: a few milliseconds of the writer's time."""
REST = 4
"""Between two batches the writer is left to others for so many times as long as a batch took, and at least"""
PAUSE_SECONDS = 0.05
FIRST_SECONDS = 60.0
"""A start has better things to do."""
ROUND_SECONDS = 3600.0

Step = Callable[[Connection, str, str, int], str | None]
"""``step(connection, after, before, most)``: takes care of at most so many rows with ids between the two; the last id
it looked at, or None where there was none."""

_log = structlog.get_logger("sealgate.storage")


class Rule(NamedTuple):
    """What becomes of rows that are older than so many days; 0: nothing ever."""

    days: float
    step: Step


class Retention:
    """Carries out the rules, from time to time. ``clock`` gives unix seconds."""

    def __init__(self, storage: Storage, rules: Sequence[Rule], *, clock: Callable[[], float] = time.time) -> None:
        self._storage = storage
        self._rules = [rule for rule in rules if rule.days]
        self._reached = [""] * len(self._rules)
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._rules:
            self._task = asyncio.create_task(self._keep(), name="retention")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def round(self) -> None:
        """Carry out every rule once. Raises `StorageError`."""
        for index, rule in enumerate(self._rules):
            before = oldest_id(self._clock() - rule.days * DAY_SECONDS)
            while (last := await self._batch(rule.step, self._reached[index], before)) is not None:
                self._reached[index] = last

    async def _batch(self, step: Step, after: str, before: str) -> str | None:
        began = time.monotonic()
        last = await self._storage.write(lambda connection: step(connection, after, before, BATCH))
        if last is not None:
            await asyncio.sleep(max(PAUSE_SECONDS, REST * (time.monotonic() - began)))
        return last

    async def _keep(self) -> None:
        wait = FIRST_SECONDS
        while True:
            await asyncio.sleep(wait)
            wait = ROUND_SECONDS
            try:
                await self.round()
            except StorageError as error:
                _log.warning("retention_waits", error=str(error))


def oldest_id(moment: float) -> str:
    """The least id that a request of that moment (unix seconds) or later can have: they are UUIDs of version 7."""
    return f"{max(0, int(moment * 1000)):012x}"


def some(after: str, before: str, most: int, *where: Any) -> Select[Any]:
    """The ids of that many of the ledger's rows, for a `Step`; rows that another replica has taken are left to it."""
    between = select(ledger.c.id).where(ledger.c.id > after, ledger.c.id < before, *where)
    return between.order_by(ledger.c.id).limit(most).with_for_update(skip_locked=True)
