"""Work that is repeated: it goes on after failures, says the first of a row, and ends when it is told to."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from sealgate.receipts.watch import ended, repeat

pytestmark = pytest.mark.anyio


async def test_failures_are_said_once_in_a_row_and_end_nothing() -> None:
    outcomes = [None, OSError("first"), OSError("again"), None, ValueError("later"), None]
    done = asyncio.Event()

    async def work() -> None:
        if not outcomes:
            done.set()
            return
        if (found := outcomes.pop(0)) is not None:
            raise found

    with capture_logs() as said:
        task = asyncio.create_task(repeat(work, 0, "it_failed"))
        async with asyncio.timeout(20):
            await done.wait()
        await ended(task)
    assert task.cancelled()
    assert [(each["event"], each["error"]) for each in said] == [
        ("it_failed", "OSError: first"), ("it_failed", "ValueError: later"),
    ]  # fmt: skip


async def test_what_never_began_need_not_end() -> None:
    await ended(None)
