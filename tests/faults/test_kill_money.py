"""Kill -9 under a budget, again and again: no money is lost, none is counted twice, none stays reserved (row H1)."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest
from tests.faults.program import PATIENCE, launch, nursery
from tests.faults.test_kill import CONFIG, SEED, Book, Gateways, Process, Round, Seen, in_order

from sealgate.auth.keys import KeyStore
from sealgate.auth.pepper import load_pepper
from sealgate.config_tables import Budget
from sealgate.limits.prices import NANO
from sealgate.storage import open_storage

PRICES = "input_per_mtok = 1, output_per_mtok = 10"
PRICED = CONFIG.replace('model = "echo" }', f'model = "echo", {PRICES} }}')
SLOW = PRICED.replace('"echo"', '"slow-1000"')
"""Requests that last are written down while they do; of others a kill leaves no trace."""
AMOUNT = 1000
SPENDING = "SELECT coalesce(sum(spent), 0) FROM spending"


@dataclass
class Money:
    """What the database says when nobody is at work on it."""

    spent: int
    costs: dict[str, int] = field(default_factory=dict)
    """By outcome."""

    @classmethod
    def read(cls, database: Path) -> Money:
        with closing(sqlite3.connect(database)) as connection:
            for held in ("intents", "leases"):
                assert connection.execute(f"SELECT count(*) FROM {held}").fetchone() == (0,), "nothing stays reserved"
            wrong = connection.execute(
                "SELECT count(*) FROM ledger WHERE outcome = 'ok'"
                " AND cost <> prompt_tokens * 1000 + completion_tokens * 10000"
            )
            assert wrong.fetchone() == (0,), "each answer costs what its usage costs"
            costs = connection.execute("SELECT outcome, sum(coalesce(cost, 0)) FROM ledger GROUP BY outcome").fetchall()
            return cls(connection.execute(SPENDING).fetchone()[0], dict(costs))


async def funded(gateways: Gateways) -> str:
    """A key with a budget, made beside the running gateway."""
    storage = open_storage(f"sqlite:///{gateways.database}")
    try:
        keys = KeyStore(storage, await load_pepper(storage, gateways.database.parent))
        made = await keys.create(name="funded", budget=Budget(Decimal(AMOUNT), "total"))
    finally:
        await storage.aclose()
    return made.key


async def spend_and_kill(folder: Path, start: Callable[..., Process], rounds: int) -> tuple[Seen, Book, Money]:
    chance, gateways, seen = random.Random(SEED), Gateways(folder, start, PRICED), Seen()
    book = Book(gateways.database)
    async with in_order(gateways, book, seen):
        for number in range(rounds + 1):
            gateways.config = SLOW if number % 3 == 2 else PRICED
            process = gateways.release(last=number == rounds)
            try:
                await gateways.answers(process)
                if number == 0:
                    gateways.key = await funded(gateways)
                book.read()
                book.agree(seen)
                if number < rounds:
                    await Round(gateways, seen, f"money-{number}", chance).run(process)
            finally:
                process.kill()
                process.wait(PATIENCE)
    return seen, book, Money.read(gateways.database)


def agree(seen: Seen, book: Book, money: Money) -> None:
    assert money.spent == sum(money.costs.values()), "the rows say what was spent"
    assert 0 < money.spent < AMOUNT * NANO
    assert money.costs.keys() <= {"ok", "unknown", "client_disconnected", "truncated"}
    assert len(seen.whole) <= book.outcomes["ok"] <= seen.sent
    assert len(book.ids) <= seen.sent


def test_row_h1_no_money_is_lost_or_counted_twice_where_the_process_is_killed(tmp_path: Path) -> None:
    agree(*asyncio.run(spend_and_kill(tmp_path, launch, 2)))


@pytest.mark.long
@pytest.mark.timeout(1400)
def test_row_h1_a_hundred_kills_under_a_budget(tmp_path: Path) -> None:
    """Requests that were under way for a while are `unknown`; what they may have cost at most counts as spent."""
    with nursery(tmp_path) as start:
        seen, book, money = asyncio.run(spend_and_kill(tmp_path, start, 100))
    agree(seen, book, money)
    assert book.outcomes["unknown"] > 20
    assert money.costs["unknown"] > 0
