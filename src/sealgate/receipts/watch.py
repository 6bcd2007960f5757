"""What a gateway does again and again for its receipts: whatever goes wrong with it, it is tried the next time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

_log = structlog.get_logger("sealgate.receipts")


class Behind:
    """Says, once each time, that this clock is behind what was signed last, by more than clocks differ (row H19).

    Nothing stops for it: the order of the log is the order of entering, and only ``iat`` of receipts goes back.
    """

    def __init__(self, skew: int) -> None:
        """All times are microseconds."""
        self._skew = skew
        self._said = False

    def look(self, signed_at: int | None, now: int) -> None:
        behind = 0 if signed_at is None else signed_at - now
        if behind > self._skew and not self._said:
            _log.warning("clock_behind_log", seconds=behind // 1_000_000)
        self._said = behind > self._skew


async def repeat(work: Callable[[], Awaitable[object]], seconds: float, failed: str) -> None:
    """Do it after each pause. The first failure in a row is logged under the name ``failed``."""
    failing = False
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:  # whatever it is: work that ended for good would be worse
            if not failing:
                _log.error(failed, error=f"{type(error).__name__}: {error}")
            failing = True
        else:
            failing = False


async def ended(task: asyncio.Task[None] | None) -> None:
    """Stop a task that runs until it is stopped, and wait for that."""
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
