"""Budgets on both engines: never more than there is, every row counted once, whatever ends in between."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.limits.money import (
    APRIL,
    NOON,
    ONE,
    UNIT,
    Clock,
    blocks,
    crash,
    ended,
    entry,
    everything,
    numbers,
    spend,
    sums,
    wishes,
)  # fmt: skip

from sealgate.config_tables import Budget
from sealgate.errors import Problem, StorageError
from sealgate.limits.budget_rows import AT_ONCE
from sealgate.limits.budgets import STALE_SECONDS, Budgets, Purse
from sealgate.limits.ledger import Entry, Outcome
from sealgate.limits.periods import DAY
from sealgate.storage import Storage, open_storage
from sealgate.storage.tables import intents, ledger

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budgets(storage: Storage, clock: Clock) -> Budgets:
    return Budgets(storage, clock=clock, monotonic=clock)


async def test_what_is_reserved_is_there_until_the_cost_takes_its_place(budgets: Budgets, storage: Storage) -> None:
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    assert await purse.reserve(wishes(UNIT // 2), "USD") == UNIT // 2
    assert await sums(storage) == (0, UNIT // 2, 0)
    assert await budgets.balance("key:k", ONE) == (UNIT // 2, UNIT // 2, APRIL)
    await purse.settle(ended(of, 123))
    assert await sums(storage) == (123, 0, 123)
    assert (await budgets.balance("key:k", ONE)).available == UNIT - 123


async def test_row_d3_a_used_up_budget_says_what_is_left_and_what_is_wanted(budgets: Budgets) -> None:
    await spend(budgets, UNIT - 1_500_000)
    with pytest.raises(Problem) as caught:
        await budgets.purse("key:k", ONE, entry()).reserve(wishes(1_500_001, 3_000_000), "USD")
    problem = caught.value
    assert (problem.status, problem.code.name, problem.code.should_retry) == (402, "insufficient_quota", False)
    assert (problem.body()["available"], problem.body()["required"]) == ("0.0015", "0.001500001")
    assert problem.body()["type"] == "insufficient_quota"


async def test_the_highest_wish_that_has_room_is_reserved(budgets: Budgets) -> None:
    await spend(budgets, UNIT - 500)
    purse = budgets.purse("key:k", ONE, entry())
    assert await purse.reserve(wishes(100, 9000, 500, 501), "USD") == 500


async def test_what_costs_nothing_needs_no_money_and_no_commit(budgets: Budgets, storage: Storage) -> None:
    await spend(budgets, UNIT)
    commits = storage.commits
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    assert await purse.reserve(wishes(0, 0), "USD") == 0
    assert storage.commits == commits
    await purse.settle(ended(of, 0))
    assert await sums(storage) == (UNIT, 0, UNIT)


async def test_a_refusal_reserves_nothing_and_is_a_row(budgets: Budgets, storage: Storage) -> None:
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    with pytest.raises(Problem):
        await purse.reserve(wishes(UNIT + 1), "USD")
    purse.settle_nowait(ended(of, None, Outcome.DENIED))
    await storage.write(lambda _: None)
    rows, held, spent = await storage.read(everything)
    assert ([each["outcome"] for each in rows], held, spent, budgets.open) == (["denied"], [], [], 0)


@pytest.mark.parametrize("waits", [True, False])
async def test_a_request_that_failed_costs_nothing_and_frees_its_reservation(
    budgets: Budgets, storage: Storage, waits: bool
) -> None:
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    await purse.reserve(wishes(UNIT), "USD")
    if waits:
        await purse.settle(ended(of, None, Outcome.UPSTREAM_FAILED))
    else:
        purse.settle_nowait(ended(of, None, Outcome.CLIENT_DISCONNECTED))
        await storage.write(lambda _: None)
    assert await sums(storage) == (0, 0, 0)
    await spend(budgets, UNIT)


async def test_row_d4_a_hundred_at_once_cannot_reserve_more_than_there_is(
    storage: Storage, url: str, clock: Clock
) -> None:
    """Two replicas on PostgreSQL; on SQLite two writers of one file, which have to take turns as well."""
    replicas = [open_storage(url) for _ in range(2)]
    try:
        both = [Budgets(replica, clock=clock, monotonic=clock) for replica in replicas]
        asked = [both[number % 2].purse("key:k", ONE, entry()) for number in range(100)]
        found = await asyncio.gather(*(one.reserve(wishes(UNIT // 7), "USD") for one in asked), return_exceptions=True)
    finally:
        for replica in replicas:
            replica.close()
    granted = [each for each in found if isinstance(each, int)]
    assert len(granted) == 7
    assert {each.code.name for each in found if isinstance(each, Problem)} == {"insufficient_quota"}
    assert await sums(storage) == (0, 7 * (UNIT // 7), 0)


async def test_replicas_that_settle_each_others_keys_at_once_do_not_wait_in_a_circle(
    storage: Storage, url: str, clock: Clock
) -> None:
    replicas = [open_storage(url) for _ in range(2)]
    try:
        both = [Budgets(replica, clock=clock, monotonic=clock) for replica in replicas]

        async def one(number: int) -> None:
            of = entry()
            at = both[number % 2]
            scopes = ("key:a", "key:b") if number % 4 < 2 else ("key:b", "key:a")
            purse = at.purse(scopes[number // 2 % 2], ONE, of)
            await purse.reserve(wishes(1000), "USD")
            await purse.settle(ended(of, 10))

        async with asyncio.timeout(20):
            await asyncio.gather(*(one(number) for number in range(60)))
    finally:
        for replica in replicas:
            replica.close()
    assert await sums(storage) == (600, 0, 600)


async def test_a_budget_begins_anew_with_its_period_and_a_request_counts_where_it_began(
    budgets: Budgets, clock: Clock
) -> None:
    day = Budget(Decimal(1), "day")
    of = entry(NOON)
    late = budgets.purse("key:k", day, of)
    await late.reserve(wishes(UNIT), "USD")
    clock.now += 13 * 3600
    tomorrow = int(clock.now * 1e6)
    assert (await budgets.balance("key:k", day)).available == UNIT
    await late.settle(ended(of, UNIT))
    assert (await budgets.balance("key:k", day)).available == UNIT
    await spend(budgets, UNIT, day, tomorrow)
    assert (await budgets.balance("key:k", day)).available == 0


async def test_a_rolling_budget_gets_its_money_back_when_it_is_old_enough(budgets: Budgets, clock: Clock) -> None:
    day = Budget(Decimal(1), "day", rolling=True)
    await spend(budgets, UNIT // 4, day, NOON)
    await spend(budgets, UNIT // 4, day, NOON + DAY // 2)
    left = []
    for hours in (0, 13, 23.9, 24.5, 36.5):
        clock.now = NOON / 1e6 + hours * 3600
        found = await budgets.balance("key:k", day)
        left.append(found.available * 4 // UNIT)
        assert found.end is None
    assert left == [2, 2, 2, 3, 4]


async def test_scopes_have_nothing_to_do_with_each_other(budgets: Budgets) -> None:
    await spend(budgets, UNIT)
    assert (await budgets.balance("key:other", ONE)).available == UNIT
    assert (await budgets.balance("key:k", ONE)).available == 0


# Crashes


async def test_row_h1_what_a_dead_process_had_reserved_becomes_a_row_of_unknown_outcome(
    budgets: Budgets, storage: Storage, clock: Clock
) -> None:
    """The provider may have answered and charged: the whole reservation counts as spent, and is marked as a guess."""
    of = entry(end_user="zoë", stream=True)
    await budgets.purse("key:k", ONE, of).reserve(wishes(UNIT // 2), "EUR")
    after = Budgets(storage, clock=clock, monotonic=clock)
    clock.now += STALE_SECONDS + 1
    await after.start()
    await after.aclose()
    [found], held, _ = await storage.read(everything)
    assert (found["outcome"], found["cost"], found["usage_source"]) == ("unknown", UNIT // 2, "estimated")
    assert (found["prompt_tokens"], found["completion_tokens"]) == (7, 9)
    assert (found["end_user"], found["stream"], found["currency"], found["id"]) == ("zoë", True, "EUR", of.id)
    assert held == []
    assert await sums(storage) == (UNIT // 2, 0, UNIT // 2)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_on_sqlite_a_start_takes_care_of_what_was_left_at_once(
    budgets: Budgets, storage: Storage, clock: Clock
) -> None:
    await budgets.purse("key:k", ONE, entry()).reserve(wishes(UNIT), "USD")
    after = Budgets(storage, clock=clock, monotonic=clock)
    await after.start()
    await after.aclose()
    assert await sums(storage) == (UNIT, 0, UNIT)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_replica_that_is_alive_is_left_alone(budgets: Budgets, storage: Storage, clock: Clock) -> None:
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    await purse.reserve(wishes(UNIT), "USD")
    other = Budgets(storage, clock=clock, monotonic=clock)
    for _ in range(4):
        clock.now += STALE_SECONDS - 10
        await budgets.tend()
        await other.tend()
    assert (await sums(storage))[1] == UNIT
    await purse.settle(ended(of, 5))
    assert await sums(storage) == (5, 0, 5)


async def test_who_was_taken_for_dead_and_lives_sets_it_right(budgets: Budgets, storage: Storage, clock: Clock) -> None:
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    await purse.reserve(wishes(UNIT), "USD")
    clock.now += STALE_SECONDS + 1
    await Budgets(storage, clock=clock, monotonic=clock).tend()
    assert await sums(storage) == (UNIT, 0, UNIT)
    await purse.settle(ended(of, 5))
    [found], _, _ = await storage.read(everything)
    assert (found["outcome"], await sums(storage)) == ("ok", (5, 0, 5))


async def test_many_orphans_are_written_in_several_commits(budgets: Budgets, storage: Storage, clock: Clock) -> None:
    many = AT_ONCE + 10
    asked = [budgets.purse("key:k", ONE, entry()).reserve(wishes(1), "USD") for _ in range(many)]
    await asyncio.gather(*asked)
    clock.now += STALE_SECONDS + 1
    commits = storage.commits
    await Budgets(storage, clock=clock, monotonic=clock).tend()
    assert storage.commits - commits >= 2
    assert await sums(storage) == (many, 0, many)


async def test_a_settlement_that_cannot_be_written_is_tried_again_and_counts_once(
    budgets: Budgets, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    await purse.reserve(wishes(UNIT), "USD")
    submit = storage.submit_direct

    def refused(*_: Any, **__: Any) -> Any:
        raise StorageError("the disk is full")

    monkeypatch.setattr(storage, "submit_direct", refused)
    with pytest.raises(StorageError):
        await purse.settle(ended(of, 5))
    monkeypatch.setattr(storage, "submit_direct", submit)
    assert await sums(storage) == (0, UNIT, 0)
    await budgets.tend()
    assert await sums(storage) == (5, 0, 5)


async def test_an_act_that_cannot_be_written_holds_up_neither_others_nor_the_beat_nor_the_sweep(
    budgets: Budgets, storage: Storage, clock: Clock
) -> None:
    lost = Budgets(storage, clock=clock, monotonic=clock)
    await lost.purse("key:k", ONE, entry()).reserve(wishes(7), "USD")
    clock.now += STALE_SECONDS + 1
    of, running = entry(), entry()
    purse = budgets.purse("key:k", ONE, of)
    await purse.reserve(wishes(UNIT // 2), "USD")
    await budgets.purse("key:k", ONE, running).reserve(wishes(9), "USD")

    def refused(_direct: Any) -> None:
        raise StorageError("UNIQUE constraint failed")

    budgets.try_again(refused)
    budgets.try_again(purse._close(ended(of, 5)))
    clock.now += 1
    await budgets.tend()
    _, [held], _ = await storage.read(everything)
    assert (held["id"], held["seen_at"]) == (running.id, budgets.now())
    assert await sums(storage) == (12, 9, 12)
    assert budgets._again == [refused]


async def test_an_intent_beside_a_row_of_unknown_outcome_is_settled_all_the_same(
    budgets: Budgets, storage: Storage, clock: Clock
) -> None:
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    await purse.reserve(wishes(UNIT // 2), "USD")
    _, [intent], _ = await storage.read(everything)
    clock.now += STALE_SECONDS + 1
    await Budgets(storage, clock=clock, monotonic=clock).tend()
    await storage.submit_direct(lambda direct: direct.insert(intents, dict(intent)))
    await purse.settle(ended(of, 5))
    assert await sums(storage) == (5, 0, 5)


async def test_a_settlement_that_was_written_late_after_all_counts_once(budgets: Budgets, storage: Storage) -> None:
    """Its waiter was told that it took too long; it was tried again."""
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    await purse.reserve(wishes(UNIT), "USD")
    act = purse._close(ended(of, 5))
    for _ in range(3):
        await storage.submit_direct(act)
    assert await sums(storage) == (5, 0, 5)


async def test_a_request_that_is_cancelled_while_it_reserves_frees_what_it_reserved(
    budgets: Budgets, storage: Storage
) -> None:
    of = entry()
    purse = budgets.purse("key:k", ONE, of)
    task = asyncio.create_task(purse.reserve(wishes(UNIT), "USD"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    purse.settle_nowait(ended(of, None, Outcome.CLIENT_DISCONNECTED))
    await storage.write(lambda _: None)
    rows, held, spent = await storage.read(everything)
    assert (len(rows), held, spent, budgets.open) == (1, [], [], 0)


async def test_rows_beside_a_settlement_are_in_its_commit(budgets: Budgets, storage: Storage) -> None:
    of, more = entry(), entry()
    purse = budgets.purse("key:k", ONE, of)
    await purse.reserve(wishes(UNIT), "USD")
    await purse.settle(ended(of, 5), beside=[(ledger, ended(more, None))])
    assert len((await storage.read(everything))[0]) == 2


# Always


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "fail", "crash", "wait"]),
        st.integers(0, UNIT),
        st.integers(0, 20),
    ),
    max_size=25,
)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=STEPS)
def test_the_sum_of_the_rows_is_what_was_spent_whatever_happens(url: str, tmp_path: Any, steps: Any) -> None:
    """And where nothing costs more than was reserved for it, there is never more than the budget."""
    asyncio.run(history(url + f"-{next(numbers)}", steps))


async def history(url: str, steps: list[tuple[str, int, int]]) -> None:
    storage, clock = open_storage(url), Clock()
    budgets, running = Budgets(storage, clock=clock, monotonic=clock), list[tuple[Purse, Entry, int]]()
    try:
        for what, amount, which in steps:
            if what == "reserve":
                of = entry(budgets.now())
                purse = budgets.purse("key:k", ONE, of)
                try:
                    running.append((purse, of, await purse.reserve(wishes(amount), "USD") or 0))
                except Problem:
                    await purse.settle(ended(of, None, Outcome.DENIED))
            elif what == "crash":
                crash(budgets)
                budgets, running = Budgets(storage, clock=clock, monotonic=clock), []
                clock.now += STALE_SECONDS + 1
                await budgets.tend()
            elif what == "wait":
                clock.now += STALE_SECONDS * 0.9
                await budgets.tend()
            elif running:
                purse, of, reserved = running.pop(which % len(running))
                await purse.settle(ended(of, min(amount, reserved) if what == "settle" else None))
            costs, held, spent = await sums(storage)
            assert costs == spent
            assert spent + held + await storage.read(blocks) <= UNIT
            assert len((await storage.read(everything))[1]) <= len(running)
    finally:
        storage.close()


async def test_sums_of_periods_that_are_over_are_dropped_and_totals_are_not(
    budgets: Budgets, storage: Storage, clock: Clock
) -> None:
    await spend(budgets, 5, Budget(Decimal(1), "day"))
    await spend(budgets, 7, Budget(Decimal(1), "total"))
    clock.now += 70 * 86400
    await spend(budgets, 9, Budget(Decimal(1), "day"), budgets.now())
    await budgets.tend()
    assert sorted(each["spent"] for each in (await storage.read(everything))[2]) == [7, 9]
