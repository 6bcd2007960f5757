"""The money of leases, intents and spending, whatever happens to two processes: never more than the budget."""

from __future__ import annotations

import random
from contextlib import suppress
from decimal import Decimal
from functools import partial

import pytest
from tests.limits.money import NOON, UNIT, Clock, blocks, crash, ended, entry, journal, mourn, sums, wishes, written

from sealgate.config_tables import Budget
from sealgate.errors import Problem
from sealgate.limits import budgets as budgets_module
from sealgate.limits import tills
from sealgate.limits.budget_rows import Account, state
from sealgate.limits.budgets import Budgets, Purse
from sealgate.limits.ledger import Entry
from sealgate.limits.periods import window
from sealgate.storage import Storage

pytestmark = pytest.mark.anyio
WISH = 1000


class Story:
    """Two processes at one budget, and things that happen to them by chance."""

    def __init__(self, storage: Storage, seed: int) -> None:
        self.chance = random.Random(seed)
        self.storage = storage
        self.clock = Clock()
        self.both = [Budgets(storage, clock=self.clock, monotonic=self.clock) for _ in range(2)]
        self.running: list[tuple[Budgets, Purse, Entry, int]] = []
        self.budget = Budget(Decimal(60 * WISH) / UNIT)
        self.leases = 0

    async def reserve(self, budgets: Budgets) -> None:
        for _ in range(self.chance.randint(1, 6)):
            of, amount = entry(int(self.clock.now * 1e6)), self.chance.randint(1, 300)
            purse = budgets.purse("key:k", self.budget, of)
            with suppress(Problem):
                await purse.reserve(wishes(amount), "USD")
                self.running.append((budgets, purse, of, amount))

    async def settle(self, _budgets: Budgets) -> None:
        self.chance.shuffle(self.running)
        for _ in range(self.chance.randint(0, len(self.running))):
            _, purse, of, amount = self.running.pop()
            values = ended(of, self.chance.randint(0, amount))
            if self.chance.random() < 0.5:
                await purse.settle(values)
            else:
                purse.settle_nowait(values)

    async def journal(self, budgets: Budgets) -> None:
        journal(budgets)

    async def look(self, budgets: Budgets) -> None:
        if budgets.tills._looking is not None:
            budgets.tills._looking.cancel()
        budgets.tills._look()
        self.clock.now += 1

    async def die(self, budgets: Budgets) -> None:
        """And the other one, which lives, sweeps up after a minute."""
        crash(budgets)
        self.running = [each for each in self.running if each[0] is not budgets]
        self.both.remove(budgets)
        [other] = self.both
        journal(other)
        await written(self.storage)
        await mourn(other, self.clock)
        self.both.append(Budgets(self.storage, clock=self.clock, monotonic=self.clock))

    async def check(self) -> None:
        account = Account("key:k", window(self.budget, NOON))
        found = await self.storage.read(partial(state, account=account))
        self.leases += bool(found.leases)
        assert found.spent + found.intended + sum(found.leases.values()) <= 60 * WISH
        assert min(found.leases.values(), default=0) >= 0

    async def end(self) -> None:
        for _, purse, of, amount in self.running:
            await purse.settle(ended(of, amount))
        for one in self.both:
            await one.aclose()
        await written(self.storage)
        costs, held, spent = await sums(self.storage)
        assert (costs, held, await self.storage.read(blocks)) == (spent, 0, 0)
        assert self.leases > 0, "it was about leases"


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_there_is_never_more_than_the_budget_and_nothing_stays_held(
    storage: Storage, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets_module, "TRIES", 0)
    monkeypatch.setattr(tills, "JOURNAL_SECONDS", 3600)
    monkeypatch.setattr(tills, "IDLE_SECONDS", 3600)
    story = Story(storage, seed)
    steps = [story.reserve, story.settle, story.journal, story.look, story.die]
    for _ in range(120):
        [step] = story.chance.choices(steps, [10, 8, 3, 2, 0.4])
        await step(story.chance.choice(story.both))
        await story.check()
    await story.end()
