"""What a gateway does again and again for its receipts: whatever goes wrong with it, it is tried the next time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

_log = structlog.get_logger("sealgate.receipts")


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
