"""The contract of limiters, on every one of them: windows that slide, all or nothing, settled once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.limits.conftest import Subject

from sealgate.config_tables import Limits
from sealgate.limits.limiter import MINUTE, PIECES, Limiter, Refused, Rule, Standing, Taken, Verdict, Window, rules

pytestmark = pytest.mark.anyio


async def taken(limiter: Limiter, wanted: Sequence[Rule], tokens: int = 0) -> Taken:
    verdict = await limiter.take(wanted, tokens)
    assert isinstance(verdict, Taken), verdict
    return verdict


async def refused(limiter: Limiter, wanted: Sequence[Rule], tokens: int = 0) -> Refused:
    verdict = await limiter.take(wanted, tokens)
    assert isinstance(verdict, Refused), verdict
    return verdict


def left(verdict: Verdict) -> list[int]:
    return [standing.remaining for standing in verdict.standings]


async def test_a_window_slides(subject: Subject) -> None:
    """What was used leaves one by one a minute after it came, not all at once."""
    limiter, clock = subject.limiter, subject.clock
    wanted = subject.rules(Limits(requests_per_minute=3))
    for _ in range(3):
        await taken(limiter, wanted)
        clock.now += 10
    said = await refused(limiter, wanted)
    assert (said.rule, said.wait) == (wanted[0], pytest.approx(30, abs=1e-3))
    clock.now += 30
    await taken(limiter, wanted)
    assert (await refused(limiter, wanted)).wait == pytest.approx(10, abs=1e-3)


async def test_a_day_is_a_window_too(subject: Subject) -> None:
    limiter, clock = subject.limiter, subject.clock
    wanted = subject.rules(Limits(requests_per_day=1))
    await taken(limiter, wanted)
    clock.now += 86_399
    assert (await refused(limiter, wanted)).wait == pytest.approx(1, abs=1e-3)
    clock.now += 1
    await taken(limiter, wanted)


async def test_all_or_nothing(subject: Subject) -> None:
    """Where one rule says no, nothing is taken of the others."""
    limiter = subject.limiter
    both = subject.rules(Limits(requests_per_minute=5, requests_per_day=9, tokens_per_minute=100, concurrency=5))
    assert left(await taken(limiter, both, 60)) == [4, 8, 40]
    said = await refused(limiter, both, 60)
    assert said.rule.kind == "tokens_per_minute"
    assert left(said) == [4, 8, 40]
    assert left(await taken(limiter, both, 40)) == [3, 7, 0]


async def test_the_rule_that_takes_longest_is_told(subject: Subject) -> None:
    limiter, clock = subject.limiter, subject.clock
    wanted = subject.rules(Limits(requests_per_minute=1, requests_per_day=1, concurrency=1))
    await taken(limiter, wanted)
    clock.now += 20
    said = await refused(limiter, wanted)
    assert (said.rule.kind, round(said.wait)) == ("requests_per_day", 86_380)


async def test_a_hundred_at_once_get_exactly_what_there_is(subject: Subject) -> None:
    """Row D4."""
    wanted = subject.rules(Limits(requests_per_minute=37, tokens_per_minute=10**6, concurrency=50))
    verdicts = await asyncio.gather(*(subject.limiter.take(wanted, 10) for _ in range(100)))
    assert sum(isinstance(each, Taken) for each in verdicts) == 37
    assert sorted(each.standings[0].remaining for each in verdicts if isinstance(each, Taken)) == list(range(37))


async def test_a_hundred_at_once_share_the_places(subject: Subject) -> None:
    """Row D5."""
    wanted = subject.rules(Limits(concurrency=7))
    verdicts = await asyncio.gather(*(subject.limiter.take(wanted, 0) for _ in range(100)))
    running = [each for each in verdicts if isinstance(each, Taken)]
    assert len(running) == 7
    assert {each.wait for each in verdicts if isinstance(each, Refused)} == {0.0}
    subject.limiter.settle(running[0], 0)
    subject.limiter.settle(running[1], 0)
    assert [type(await subject.limiter.take(wanted, 0)) for _ in range(3)] == [Taken, Taken, Refused]


async def test_tokens_that_were_not_used_are_given_back(subject: Subject) -> None:
    limiter, clock = subject.limiter, subject.clock
    wanted = subject.rules(Limits(tokens_per_minute=100))
    one = await taken(limiter, wanted, 90)
    clock.now += 5
    limiter.settle(one, 30)
    assert left(await taken(limiter, wanted, 60)) == [10]
    clock.now += 55
    assert left(await taken(limiter, wanted, 1)) == [39]  # the 30 have left with the piece they were taken from


async def test_tokens_beyond_the_reserved_are_used_when_they_are_known(subject: Subject) -> None:
    limiter, clock = subject.limiter, subject.clock
    wanted = subject.rules(Limits(tokens_per_minute=100))
    one = await taken(limiter, wanted, 10)
    clock.now += 50
    limiter.settle(one, 150)
    said = await refused(limiter, wanted)
    assert (said.wait, left(said)) == (pytest.approx(60, abs=1e-3), [0])
    clock.now += 60
    assert left(await taken(limiter, wanted, 100)) == [0]


async def test_what_was_reserved_long_ago_is_not_given_back_twice(subject: Subject) -> None:
    limiter, clock = subject.limiter, subject.clock
    wanted = subject.rules(Limits(tokens_per_minute=100))
    one = await taken(limiter, wanted, 100)
    clock.now += 61
    await taken(limiter, wanted, 40)
    limiter.settle(one, 0)
    assert left(await taken(limiter, wanted, 10)) == [50]


async def test_a_request_larger_than_the_limit_never_passes(subject: Subject) -> None:
    said = await refused(subject.limiter, subject.rules(Limits(tokens_per_minute=100)), 101)
    assert said.wait == math.inf


async def test_a_window_in_debt_lets_nobody_pass_for_nothing(subject: Subject) -> None:
    wanted = subject.rules(Limits(tokens_per_minute=100))
    subject.limiter.settle(await taken(subject.limiter, wanted, 1), 100)
    assert (await refused(subject.limiter, wanted, 0)).wait > 0


async def test_looking_takes_nothing(subject: Subject) -> None:
    limiter, clock = subject.limiter, subject.clock
    wanted = subject.rules(Limits(requests_per_minute=3, tokens_per_minute=50, concurrency=1))
    assert await limiter.look(wanted) == [Standing(wanted[0], 3, 0.0), Standing(wanted[1], 50, 0.0)]
    await taken(limiter, wanted, 20)
    clock.now += 15
    for _ in range(2):
        seen = await limiter.look(wanted)
        assert [(each.rule, each.remaining, round(each.reset)) for each in seen] == [
            (wanted[0], 2, 45),
            (wanted[1], 30, 45),
        ]


async def test_a_lower_limit_holds_at_once(subject: Subject) -> None:
    """A key's limit may be changed while its window is full."""
    limiter = subject.limiter
    for _ in range(5):
        await taken(limiter, subject.rules(Limits(requests_per_minute=5)))
    lower = subject.rules(Limits(requests_per_minute=2))
    said = await refused(limiter, lower)
    assert (left(said), said.wait) == ([0], pytest.approx(60, abs=1e-3))


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), max_size=200), st.integers(1, 20))
def test_no_minute_ever_holds_more_than_the_limit(steps: list[tuple[float, int]], limit: int) -> None:
    """Whatever comes when; and nothing is held longer than a piece beyond its minute."""
    now, window, used = 0.0, Window(MINUTE), []
    for pause, count in steps:
        now += pause
        window.forget(now)
        exact = sum(many for when, many in used if when > now - MINUTE)
        late = sum(many for when, many in used if when > now - MINUTE - MINUTE / PIECES)
        assert exact <= window.used <= late
        if window.used + count <= limit:
            window.add(now, count)
            used.append((now, count))
        elif (wait := window.wait(now, count, limit)) < math.inf:
            assert 0 < wait <= MINUTE + 1e-9
            assert len(window._closed) + 1 <= PIECES + 2
    for when, _ in used:
        assert sum(many for other, many in used if when - MINUTE < other <= when) <= limit


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 5)), min_size=1, max_size=50), st.integers(5, 20))
def test_after_the_wait_it_fits(steps: list[tuple[float, int]], limit: int) -> None:
    now, window = 0.0, Window(MINUTE)
    for pause, count in steps:
        now += pause
        window.forget(now)
        if window.used + count > limit:
            now += window.wait(now, count, limit) + 1e-6
            window.forget(now)
        assert window.used + count <= limit
        window.add(now, count)


def test_rules_are_those_that_are_set() -> None:
    found = rules("key:1", Limits(requests_per_day=5, concurrency=2), "m")
    assert [(each.key, each.limit, each.seconds, each.of_tokens, each.model) for each in found] == [
        ("key:1:requests_per_day", 5, 86_400, False, "m"),
        ("key:1:concurrency", 2, 0, False, "m"),
    ]
    assert rules("key:1", Limits()) == ()
