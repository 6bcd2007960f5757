"""Leases on both engines: nobody waits for them, nothing is spent twice, and nothing stays held back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from tests.limits.money import (
    NOON,
    ONE,
    UNIT,
    Clock,
    blocks,
    crash,
    ended,
    entry,
    everything,
    fail_commit,
    failed,
    journal,
    mourn,
    spend,
    sums,
    wishes,
    written,
)
from tests.postgres import PostgresServer

from sealgate.config_tables import Budget
from sealgate.errors import Problem, StorageError
from sealgate.limits import budgets as budgets_module
from sealgate.limits import tills
from sealgate.limits.budget_rows import Account, state
from sealgate.limits.budgets import STALE_SECONDS, Budgets, Purse
from sealgate.limits.lease_rows import PART
from sealgate.limits.leases import LIFE, Lease
from sealgate.limits.ledger import Entry, Outcome
from sealgate.limits.periods import window
from sealgate.storage import Storage, open_storage

pytestmark = pytest.mark.anyio
WISH = 1000


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens by the clock, however slow the machine is, unless a test wants it to."""
    monkeypatch.setattr(tills, "JOURNAL_SECONDS", 3600)
    monkeypatch.setattr(tills, "IDLE_SECONDS", 3600)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def budgets(storage: Storage, clock: Clock) -> AsyncIterator[Budgets]:
    budgets = Budgets(storage, clock=clock, monotonic=clock)
    yield budgets
    crash(budgets)


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await done():  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


async def leased(budgets: Budgets, budget: Budget = ONE, at: int = NOON) -> Lease:
    """Enough requests for a lease: it is there when this returns."""
    till = budgets.tills.till("key:k", budget, at)
    for _ in range(8):
        await spend(budgets, 10, budget, at, reserve=WISH)
        while till.coming is not None:
            await asyncio.wait([till.coming])
            await asyncio.sleep(0)
    assert till.lease is not None
    return till.lease


async def begun(budgets: Budgets, budget: Budget = ONE, at: int = NOON, amount: int = WISH) -> tuple[Purse, Entry]:
    of = entry(at)
    purse = budgets.purse("key:k", budget, of)
    assert await purse.reserve(wishes(amount), "USD") == amount
    return purse, of


async def test_with_a_lease_a_reservation_needs_no_commit_and_its_cost_leaves_the_lease(
    budgets: Budgets, storage: Storage
) -> None:
    lease = await leased(budgets)
    free, commits, held = lease.free, storage.commits, await storage.read(blocks)
    purse, of = await begun(budgets)
    assert (storage.commits, purse.lease, lease.free) == (commits, lease, free - WISH)
    balance = await budgets.balance("key:k", ONE)
    assert balance.reserved == WISH, "what lies idle in the lease is not reserved"
    await purse.settle(ended(of, 30))
    assert (lease.free, lease.open) == (free - 30, 0)
    assert await storage.read(blocks) == held - 30
    costs, intended, spent = await sums(storage)
    assert (costs, intended) == (spent, 0)
    assert await budgets.balance("key:k", ONE) == (UNIT - spent, 0, balance.end)


async def test_a_lease_is_a_small_part_of_what_is_left_and_there_is_none_where_that_is_too_little(
    budgets: Budgets, storage: Storage
) -> None:
    small = Budget(Decimal(WISH * 50) / UNIT)
    for _ in range(20):
        purse, of = await begun(budgets, small)
        await purse.settle(ended(of, WISH))
        costs, held, spent = await sums(storage)
        leased = await storage.read(blocks)
        assert costs + held + leased <= 50 * WISH
        assert leased * PART <= 50 * WISH
    assert spent == 20 * WISH


async def test_one_process_spends_a_budget_to_the_last_unit(budgets: Budgets, storage: Storage) -> None:
    budget, passed = Budget(Decimal(WISH * 100 + 7) / UNIT), 0
    while passed < 100:
        purse, of = await begun(budgets, budget)
        await purse.settle(ended(of, WISH))
        passed += 1
    with pytest.raises(Problem) as caught:
        await begun(budgets, budget)
    assert (passed, caught.value.body()["available"]) == (100, "0.000000007")
    assert (await sums(storage))[2] == 100 * WISH


async def test_row_d4_a_hundred_at_once_where_a_lease_is_out(budgets: Budgets, storage: Storage) -> None:
    """What the process itself holds back idle is no reason to refuse anybody."""
    lease = await leased(budgets)
    _, _, spent = await sums(storage)
    share = (UNIT - spent) // 7
    assert lease.free > 0
    asked = [budgets.purse("key:k", ONE, entry()) for _ in range(100)]
    found = await asyncio.gather(*(one.reserve(wishes(share), "USD") for one in asked), return_exceptions=True)
    assert [each for each in found if isinstance(each, int)] == [share] * 7
    assert {each.code.name for each in found if isinstance(each, Problem)} == {"insufficient_quota"}
    assert (await sums(storage))[1] + await storage.read(blocks) == 7 * share


async def test_two_replicas_share_a_small_budget_to_the_last_unit(
    storage: Storage, url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And spending, intents and leases are together never more than it, whenever somebody looks."""
    monkeypatch.setattr(tills, "JOURNAL_SECONDS", 0.002)
    monkeypatch.setattr(tills, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(budgets_module, "TRIES", 100)
    whole, passed, refused = 60, [], []
    budget = Budget(Decimal(WISH * whole) / UNIT)
    look = partial(state, account=Account("key:k", window(budget, NOON)))
    replicas = [open_storage(url) for _ in range(2)]
    both = [Budgets(replica, clock=clock, monotonic=clock) for replica in replicas]

    async def work(one: Budgets) -> None:
        for _ in range(whole + 1):
            try:
                purse, of = await begun(one, budget)
            except Problem as problem:
                refused.append(problem.code.name)
                return
            await purse.settle(ended(of, WISH))
            passed.append(of)
            found = await storage.read(look)  # one statement: several could lie on both sides of a commit
            assert found.spent + found.intended + sum(found.leases.values()) <= whole * WISH

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(work(one) for one in both for _ in range(2)))
    finally:
        for one in both:
            await one.aclose()
        for replica in replicas:
            replica.close()
    assert (len(passed), refused) == (whole, ["insufficient_quota"] * 4)
    assert await sums(storage) == (whole * WISH, 0, whole * WISH)
    assert await storage.read(blocks) == 0


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_row_d20_who_needs_what_lies_idle_at_another_replica_waits_until_it_is_given_back(
    budgets: Budgets, storage: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tills, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(budgets_module, "TRIES", 100)
    await leased(budgets)
    other = Budgets(storage, clock=clock, monotonic=clock)
    left = UNIT - (await sums(storage))[2]
    purse, of = await begun(other, amount=left)
    assert await storage.read(blocks) == 0
    await purse.settle(ended(of, left))
    assert (await sums(storage))[2] == UNIT
    crash(other)


async def test_a_lease_that_idles_is_given_back(
    budgets: Budgets, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the key was revoked: nobody comes any more. And nothing ticks for those who have left."""
    monkeypatch.setattr(tills, "IDLE_SECONDS", 0.3)
    await leased(budgets)

    async def gone() -> bool:
        return not budgets.tills._leases and budgets.tills._looking is None and await storage.read(blocks) == 0

    await until(gone)


async def test_a_request_that_lasts_is_written_down_by_itself(
    budgets: Budgets, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tills, "JOURNAL_SECONDS", 0.01)
    await leased(budgets)
    purse, of = await begun(budgets)

    async def noted() -> bool:
        return purse.lease is None

    await until(noted)
    assert (await sums(storage))[1] == WISH
    assert budgets.tills._ticking is None, "and nothing ticks any more"
    await purse.settle(ended(of, 1))


async def test_a_lease_ends_before_others_may_think_that_its_process_is_dead(budgets: Budgets, clock: Clock) -> None:
    lease = await leased(budgets)
    late = NOON + LIFE
    assert LIFE < STALE_SECONDS * 1e6 / 2
    clock.now = late / 1e6
    purse, of = await begun(budgets, at=late)
    assert purse.lease is None
    await purse.settle(ended(of, 1))
    assert lease.open == 0


async def test_a_new_period_has_nothing_to_do_with_the_lease_of_the_last_one(
    budgets: Budgets, storage: Storage, clock: Clock
) -> None:
    day = Budget(Decimal(1), "day")
    lease = await leased(budgets, day)
    late, of_late = await begun(budgets, day)
    assert late.lease is lease
    clock.now += 13 * 3600
    tomorrow = int(clock.now * 1e6)
    assert (await budgets.balance("key:k", day)).available == UNIT
    purse, of = await begun(budgets, day, tomorrow)
    assert lease.retired
    await late.settle(ended(of_late, 500))
    await purse.settle(ended(of, 7))
    await written(storage)
    rows = (await storage.read(everything))[2]
    assert sorted(each["spent"] for each in rows) == [7, 8 * 10 + 500]
    assert await storage.read(blocks) == 0


async def test_a_budget_that_is_lowered_while_a_lease_is_out_holds_at_once(budgets: Budgets, storage: Storage) -> None:
    lease = await leased(budgets)
    lower = Budget(Decimal(580) / UNIT, "month")
    with pytest.raises(Problem) as caught:
        await budgets.purse("key:k", lower, entry()).reserve(wishes(WISH), "USD")
    assert caught.value.body()["available"] == "0.0000005"
    assert lease.retired
    await written(storage)
    assert await storage.read(blocks) == 0


async def test_a_request_that_lasts_gets_an_intent_and_its_money_goes_with_it(
    budgets: Budgets, storage: Storage
) -> None:
    lease = await leased(budgets)
    held = await storage.read(blocks)
    purse, of = await begun(budgets)
    journal(budgets)
    await written(storage)
    assert ((await sums(storage))[1], await storage.read(blocks)) == (WISH, held - WISH)
    assert (purse.lease, lease.open) == (None, 0)
    await purse.settle(ended(of, 30))
    costs, intended, spent = await sums(storage)
    assert (costs, intended, await storage.read(blocks)) == (spent, 0, held - WISH)


async def test_a_request_that_is_settled_while_it_is_written_down_counts_once(
    budgets: Budgets, storage: Storage
) -> None:
    lease = await leased(budgets)
    spent = (await sums(storage))[2]
    purse, of = await begun(budgets)
    journal(budgets)
    await purse.settle(ended(of, 30))
    await written(storage)
    assert await sums(storage) == (spent + 30, 0, spent + 30)
    assert lease.open == 0


async def test_row_h1_a_crash_charges_what_was_written_down_and_frees_the_rest_of_the_lease(
    budgets: Budgets, storage: Storage, clock: Clock
) -> None:
    """A request that had only just begun leaves no trace: that much a crash can lose."""
    await leased(budgets)
    spent = (await sums(storage))[2]
    await begun(budgets)
    journal(budgets)
    await written(storage)
    await begun(budgets)
    crash(budgets)
    await mourn(Budgets(storage, clock=clock, monotonic=clock), clock)
    rows, held, _ = await storage.read(everything)
    assert [each["cost"] for each in rows if each["outcome"] == "unknown"] == [WISH]
    assert (held, await storage.read(blocks)) == ([], 0)
    assert await sums(storage) == (spent + WISH, 0, spent + WISH)


async def test_who_was_taken_for_dead_and_lives_still_counts_what_it_spent(
    budgets: Budgets, storage: Storage, clock: Clock
) -> None:
    await leased(budgets)
    spent = (await sums(storage))[2]
    noted, of_noted = await begun(budgets)
    journal(budgets)
    await written(storage)
    young, of_young = await begun(budgets)
    await mourn(Budgets(storage, clock=clock, monotonic=clock), clock)
    await noted.settle(ended(of_noted, 5))
    await young.settle(ended(of_young, 6))
    assert await sums(storage) == (spent + 11, 0, spent + 11)
    assert {each["outcome"] for each in (await storage.read(everything))[0]} == {"ok"}


async def test_a_settlement_from_a_lease_that_cannot_be_written_is_tried_again_and_counts_once(
    budgets: Budgets, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await leased(budgets)
    spent, held = (await sums(storage))[2], await storage.read(blocks)
    purse, of = await begun(budgets)
    nowait, of_nowait = await begun(budgets)

    def refused(*_: Any, **__: Any) -> Any:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "submit_direct", refused)
        with pytest.raises(StorageError):
            await purse.settle(ended(of, 5))
        nowait.settle_nowait(ended(of_nowait, 6, Outcome.CLIENT_DISCONNECTED))
        journal(budgets)
    assert (lease.open, await storage.read(blocks)) == (2, held)
    await budgets.tend()
    assert await sums(storage) == (spent + 11, 0, spent + 11)
    assert (lease.open, await storage.read(blocks)) == (0, held - 11)


async def test_what_could_not_be_written_down_is_so_later(
    budgets: Budgets, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await leased(budgets)
    purse, of = await begun(budgets)

    def refused(*_: Any, **__: Any) -> Any:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(storage, "submit_direct", refused)
        journal(budgets)
    assert purse.lease is not None
    journal(budgets)
    await written(storage)
    assert (purse.lease, (await sums(storage))[1]) == (None, WISH)
    await purse.settle(ended(of, 5))
    assert (await sums(storage))[1] == 0


async def test_a_caller_who_leaves_while_its_request_is_settled_leaves_nothing_open(
    budgets: Budgets, storage: Storage
) -> None:
    lease = await leased(budgets)
    spent = (await sums(storage))[2]
    purse, of = await begun(budgets)
    task = asyncio.create_task(purse.settle(ended(of, 5)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await budgets.tend()
    assert (lease.open, await sums(storage)) == (0, (spent + 5, 0, spent + 5))


async def test_the_end_of_the_process_gives_everything_back(budgets: Budgets, storage: Storage) -> None:
    await leased(budgets)
    purse, of = await begun(budgets)
    await budgets.aclose()
    await written(storage)
    assert ((await sums(storage))[1], await storage.read(blocks)) == (WISH, 0), "what is still open is written down"
    await purse.settle(ended(of, 5))
    assert (await sums(storage))[1] == 0


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_row_h23_the_database_goes_while_a_lease_is_held(
    budgets: Budgets, storage: Storage, postgres: PostgresServer
) -> None:
    """What was reserved in the lease is settled when the server is back, once."""
    lease = await leased(budgets)
    spent = (await sums(storage))[2]
    purse, of = await begun(budgets)
    await asyncio.to_thread(postgres.stop)
    try:
        with pytest.raises(StorageError):
            await purse.settle(ended(of, 5))
        with pytest.raises(Problem, match="storage"):
            await budgets.purse("key:k", ONE, entry()).reserve(wishes(UNIT // 2), "USD")
    finally:
        await asyncio.to_thread(postgres.start)
    await budgets.tend()
    costs, _, now = await sums(storage)
    assert (costs, now, lease.open) == (spent + 5, spent + 5, 0)


async def test_a_caller_who_leaves_while_the_commit_fails_loses_nothing(
    budgets: Budgets, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a request with an intent, which is every one that takes a moment."""
    purse, of = await begun(budgets)
    fail_commit(storage, monkeypatch)
    task = asyncio.create_task(purse.settle(ended(of, 5)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await failed(storage)
    assert await sums(storage) == (0, WISH, 0)
    await budgets.tend()
    assert await sums(storage) == (5, 0, 5)


async def test_row_d13_a_clock_that_is_set_forward_drops_no_lease_of_a_replica_that_lives(
    budgets: Budgets, storage: Storage, clock: Clock
) -> None:
    """Only what was there for a minute, as the replica saw it."""
    await leased(budgets)
    held, ahead, passing = await storage.read(blocks), Clock(), Clock()
    ahead.now += 7200
    other = Budgets(storage, clock=ahead, monotonic=passing)
    for _ in range(3):
        await other.tend()
        ahead.now += 7200
        passing.now += STALE_SECONDS / 3
    assert await storage.read(blocks) == held > 0
    await other.tend()
    assert await storage.read(blocks) == 0


@pytest.mark.parametrize("step", [-7200, 7200])
async def test_row_d13_a_clock_that_is_set_neither_lengthens_nor_ends_a_lease(storage: Storage, step: int) -> None:
    wall, passing = Clock(), Clock()
    budgets = Budgets(storage, clock=wall, monotonic=passing)
    lease = await leased(budgets)
    wall.now += step
    purse, of = await begun(budgets)
    assert purse.lease is lease
    await purse.settle(ended(of, 1))
    passing.now += LIFE / 1e6
    budgets.tills._look()
    await written(storage)
    assert lease.retired
    assert await storage.read(blocks) == 0
    crash(budgets)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_on_sqlite_a_start_frees_the_leases_of_who_was_there_before(
    budgets: Budgets, storage: Storage, clock: Clock
) -> None:
    await leased(budgets)
    crash(budgets)
    after = Budgets(storage, clock=clock, monotonic=clock)
    await after.start()
    await after.aclose()
    assert await storage.read(blocks) == 0


async def test_an_intent_that_was_written_after_all_and_closed_by_another_replica_is_not_written_again(
    budgets: Budgets, storage: Storage, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody here knew that its commit had happened."""
    await leased(budgets)
    spent, held = (await sums(storage))[2], await storage.read(blocks)
    purse, of = await begun(budgets)
    fail_commit(storage, monkeypatch, done=True)
    journal(budgets)
    await failed(storage)
    assert purse.lease is not None
    clock.now += STALE_SECONDS + 1
    await Budgets(storage, clock=clock, monotonic=clock).tend()
    assert await sums(storage) == (spent + WISH, 0, spent + WISH)
    journal(budgets)
    await written(storage)
    assert ((await sums(storage))[1], await storage.read(blocks)) == (0, held - WISH)
    await purse.settle(ended(of, 5))
    assert await sums(storage) == (spent + 5, 0, spent + 5)
    assert await storage.read(blocks) == held - WISH


async def test_who_holds_what_is_missing_itself_refuses_nobody_whatever_budget_it_was_reserved_under(
    budgets: Budgets, storage: Storage
) -> None:
    """The key's budget was changed while the request came in: the lease is another's of the same account."""
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    await leased(budgets, Budget(Decimal("1.1"), "month"))
    left = UNIT - (await sums(storage))[2]
    assert await storage.read(blocks) > 0
    assert await purse.reserve(wishes(left), "USD") == left
    await purse.settle(ended(of, 1))


async def test_what_a_lease_of_ours_still_holds_that_was_given_up_is_waited_for(
    budgets: Budgets, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budgets_module, "TRIES", 1000)
    monkeypatch.setattr(budgets_module, "TRY_SECONDS", 0.02)
    asked, ask = [], Purse._ask

    async def counted(self: Purse, *arguments: Any) -> Any:
        found = await ask(self, *arguments)
        asked.append(found.chosen)
        return found

    lease = await leased(budgets)
    first, of_first = await begun(budgets)
    left = UNIT - (await sums(storage))[2]
    monkeypatch.setattr(Purse, "_ask", counted)
    second = asyncio.create_task(begun(budgets, amount=left))

    async def waits() -> bool:
        return len(asked) > 2 or second.done()

    await until(waits)
    assert lease.retired
    await first.settle(ended(of_first, None, Outcome.UPSTREAM_FAILED))
    purse, of = await second
    await purse.settle(ended(of, 1))


async def test_after_a_failure_what_is_to_be_written_down_waits_for_a_second(
    budgets: Budgets, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tills, "AGAIN_SECONDS", 7200)
    await leased(budgets)
    purse, of = await begun(budgets)
    fail_commit(storage, monkeypatch)
    journal(budgets)
    later, of_later = await begun(budgets)
    await failed(storage)
    ticking = budgets.tills._ticking
    assert ticking is not None
    assert ticking.when() > asyncio.get_running_loop().time() + 3700
    for each, its in ((purse, of), (later, of_later)):
        await each.settle(ended(its, 1))
