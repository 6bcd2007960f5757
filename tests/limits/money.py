"""Requests under budgets, for the tests of what moves their money."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Connection, select

from sealgate.config_tables import Budget
from sealgate.errors import StorageError
from sealgate.limits.budgets import STALE_SECONDS, Budgets, Wish
from sealgate.limits.ledger import Entry, Outcome, row
from sealgate.storage import Storage
from sealgate.storage.tables import intents, leases, ledger, spending

NOON = 1_772_625_600_000_000
"""2026-03-04T12:00:00Z, a Wednesday."""
APRIL = 1_775_001_600_000_000
ONE = Budget(Decimal(1), "month")
UNIT = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = NOON / 1e6

    def __call__(self) -> float:
        return self.now


numbers = iter(range(1, 10**9))


def entry(created_at: int = NOON, **changes: Any) -> Entry:
    name = f"{next(numbers):032x}"
    fields = {"id": name, "request_id": name, "customer_id": "acme", "key_id": "k", "endpoint": "chat.completions"}
    return Entry(**(fields | {"created_at": created_at, "model": "m"} | changes))


def wishes(*amounts: int) -> list[Wish]:
    return [Wish(amount, 7, 9) for amount in amounts]


def ended(of: Entry, cost: int | None, outcome: Outcome = Outcome.OK) -> Entry:
    of.outcome, of.status, of.cost, of.currency = outcome, 200, cost, "USD"
    return row(of)


async def spend(budgets: Budgets, cost: int, budget: Budget = ONE, at: int = NOON, reserve: int | None = None) -> None:
    of = entry(at)
    purse = budgets.purse("key:k", budget, of)
    await purse.reserve(wishes(cost if reserve is None else reserve), "USD")
    await purse.settle(ended(of, cost))


def everything(connection: Connection) -> tuple[list[Any], list[Any], list[Any]]:
    found = [connection.execute(select(table)).mappings().all() for table in (ledger, intents, spending)]
    return found[0], found[1], found[2]  # type: ignore[return-value]


def blocks(connection: Connection) -> int:
    """What is left of all leases."""
    return sum(connection.execute(select(leases.c.amount)).scalars())


async def sums(storage: Storage) -> tuple[int, int, int]:
    """Of the rows' costs, of the reservations, of the spending."""
    rows, held, spent = await storage.read(everything)
    return (
        sum(each["cost"] or 0 for each in rows),
        sum(each["reserved"] for each in held),
        sum(each["spent"] for each in spent),
    )


def crash(budgets: Budgets) -> None:
    """As if its process were gone: nothing of it happens any more, unless a test says so."""
    tills = budgets.tills
    tills._closed = True
    for timer in (tills._ticking, tills._looking):
        if timer is not None:
            timer.cancel()


def journal(budgets: Budgets) -> None:
    """Two ticks at once."""
    for _ in range(2):
        if budgets.tills._ticking is not None:
            budgets.tills._ticking.cancel()
        budgets.tills._tick()


async def written(storage: Storage) -> None:
    await storage.write(lambda _: None)
    await asyncio.sleep(0)


async def mourn(budgets: Budgets, clock: Clock) -> None:
    """For so long that whoever says nothing meanwhile is dead."""
    await budgets.tend()
    clock.now += STALE_SECONDS + 1
    await budgets.tend()


def fail_commit(storage: Storage, monkeypatch: pytest.MonkeyPatch, *, done: bool = False) -> None:
    """The next commit fails, or only seems to: it is ``done``."""
    commit, failed = storage._writer._commit, list[str]()

    def once() -> None:
        if failed or done:
            commit()
        if not failed:
            failed.append("the connection is gone")
            raise OSError(failed[0])

    monkeypatch.setattr(storage._writer, "_commit", once)


async def failed(storage: Storage) -> None:
    """That has happened, and what was queued before is over."""
    with suppress(StorageError):
        await written(storage)
    await written(storage)
