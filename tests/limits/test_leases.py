"""How large a lease is wanted, from what was reserved lately."""

from __future__ import annotations

from decimal import Decimal

from tests.limits.money import NOON

from sealgate.config_tables import Budget
from sealgate.limits.leases import AHEAD, LEAST, LIFE, SECOND, Lease, Till
from sealgate.limits.periods import PIECES, SPANS, window

MONTH = Budget(Decimal(1), "month")


def till(budget: Budget = MONTH) -> Till:
    return Till("key:k", budget, window(budget, NOON))


def test_a_single_request_wants_no_lease_and_a_busy_second_wants_one_for_the_next_two() -> None:
    one = till()
    one.saw(100, NOON)
    assert one.wants(NOON) is None
    for number in range(9):
        one.saw(100, NOON + number)
    assert one.wants(NOON + 10) == (AHEAD * 1000, LEAST * 100)


def test_the_second_before_counts_and_none_before_that() -> None:
    one = till()
    for _ in range(10):
        one.saw(100, NOON)
    one.saw(100, NOON + SECOND)
    assert one.wants(NOON + SECOND) == (AHEAD * 1000, LEAST * 100)
    one.saw(100, NOON + 4 * SECOND)
    assert one.wants(NOON + 4 * SECOND) is None


def test_the_least_is_for_the_dearest() -> None:
    one = till()
    one.saw(100, NOON)
    one.saw(5000, NOON)
    assert one.wants(NOON) is None
    one.saw(5000, NOON)
    assert one.wants(NOON) == (AHEAD * 10_100, LEAST * 5000)


def held(one: Till, size: int, at: int = NOON) -> Lease:
    one.lease = Lease("l", at)
    one.lease.grant(size)
    return one.lease


def test_another_is_wanted_when_little_is_left_and_not_one_after_the_other() -> None:
    one = till()
    for _ in range(10):
        one.saw(100, NOON)
    lease = held(one, 1900)
    assert one.wants(NOON) is None
    for _ in range(15):
        assert one.hold(100, NOON) is lease
    assert one.wants(NOON) is None, "it is hardly larger"
    assert one.wants(NOON + SECOND) == (2000, 400)
    lease.size, lease.free = 900, 200
    assert one.wants(NOON) == (2000, 400), "it is much larger"


def test_after_a_refusal_nothing_is_asked_for_a_while() -> None:
    one = till()
    for _ in range(10):
        one.saw(100, NOON)
    one.rest(NOON)
    assert one.wants(NOON + SECOND - 1) is None
    assert one.wants(NOON + SECOND) is not None


def test_what_does_not_fit_or_comes_too_late_is_not_held() -> None:
    one = till()
    lease = held(one, 100)
    assert one.hold(101, NOON) is None
    assert one.hold(100, NOON + LIFE) is None
    assert one.hold(100, NOON) is lease
    assert (lease.free, lease.open) == (0, 1)
    lease.release(40)
    assert (lease.free, lease.retire(), lease.free) == (40, 40, 0)
    lease.release(40)
    assert lease.free == 0, "nobody takes anything from it any more"


def test_a_till_is_for_one_budget_in_one_piece_of_time() -> None:
    day, rolling = Budget(Decimal(1), "day"), Budget(Decimal(1), "day", rolling=True)
    midnight = NOON + 12 * 3600 * SECOND
    assert till(day).fits(Budget(Decimal(1), "day"), midnight - 1)
    assert not till(day).fits(day, midnight)
    assert not till(day).fits(day, NOON - 12 * 3600 * SECOND - 1)
    assert not till(day).fits(Budget(Decimal(2), "day"), NOON)
    piece = SPANS["day"] // PIECES
    assert till(rolling).fits(rolling, NOON - NOON % piece + piece - 1)
    assert not till(rolling).fits(rolling, NOON - NOON % piece + piece)
    assert till(Budget(Decimal(1))).fits(Budget(Decimal(1)), NOON * 1000)
