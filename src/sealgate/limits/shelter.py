"""Shared limits when their store is gone: each process counts alone, by the same limits, until it answers again.

Never unlimited, and never at the price of time (row D12): one request waits for the deadline of the store, and from
then on nobody asks it but a probe in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from sealgate.limits.limiter import Limiter, Rule, Standing, StoreGoneError, Taken, Verdict
from sealgate.limits.memory import MemoryLimiter
from sealgate.telemetry.logs import Logger

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two probes: at first, and after some that failed."""


class Store(Limiter, Protocol):
    """A limiter that may be gone: its methods that wait raise `StoreGoneError`."""

    async def probe(self) -> None:
        """Find out whether it is there."""
        ...


class Shelter:
    """``store`` while it answers, else memory. The log hears once that it is gone, and once that it is back."""

    def __init__(self, store: Store, log: Logger, memory: MemoryLimiter | None = None) -> None:
        self._store = store
        self._memory = memory or MemoryLimiter()
        self._log = log
        self._probing: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether the store is used."""
        return self._probing is None

    async def start(self) -> None:
        """Connect. A store that is not there is no reason not to start."""
        try:
            await self._store.probe()
        except StoreGoneError as error:
            self._lost(error)

    async def take(self, rules: Sequence[Rule], tokens: int) -> Verdict:
        if self._probing is None:
            try:
                return await self._store.take(rules, tokens)
            except StoreGoneError as error:
                self._lost(error)
        return await self._memory.take(rules, tokens)

    def take_now(self, rules: Sequence[Rule], tokens: int) -> Verdict | None:
        return None if self._probing is None else self._memory.take_now(rules, tokens)

    def settle(self, taken: Taken, tokens: int) -> None:
        """With whoever counted it."""
        taken.limiter.settle(taken, tokens)

    async def look(self, rules: Sequence[Rule]) -> Sequence[Standing]:
        if self._probing is None:
            try:
                return await self._store.look(rules)
            except StoreGoneError as error:
                self._lost(error)
        return await self._memory.look(rules)

    async def aclose(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            with suppress(asyncio.CancelledError):
                await self._probing
        await self._store.aclose()

    def _lost(self, error: StoreGoneError) -> None:
        if self._probing is None:
            self._log.error("limits_store_lost", error=str(error), reason="each process counts alone until it is back")
            self._probing = asyncio.create_task(self._probe(), name="limits-probe")

    async def _probe(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await asyncio.sleep(pause)
            try:
                await self._store.probe()
            except StoreGoneError:
                pause = min(LONGEST_PAUSE, pause * 2)
            else:
                break
        self._probing = None
        self._log.info("limits_store_back")
