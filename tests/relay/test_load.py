"""Who is let in while there is too much: row D6 and the promise of fairness, without a clock or a socket."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from sealgate.errors import Problem
from sealgate.relay.load import FEWEST, LAG_BEATS, MOST_LAG, MOST_MEMORY, Load


def load(bound: int = 40) -> Load:
    return Load(bound, random.Random(1).random)


def enters(at: Load, customer: str, times: int = 1) -> int:
    """How many of so many requests get a place."""
    got = 0
    for _ in range(times):
        with suppress(Problem):
            at.enter(customer)
            got += 1
    return got


def test_d6_what_is_above_the_bound_is_refused_and_counted() -> None:
    here = load(40)
    assert enters(here, "acme", 100) == 40
    assert here.in_flight == 40
    assert here.refused == {"in_flight": 60, "event_loop": 0, "memory": 0}
    here.leave("acme")
    assert enters(here, "acme", 2) == 1


def test_refusals_ask_to_come_back_after_one_to_three_seconds_and_not_all_at_once() -> None:
    here = load(1)
    here.enter("acme")
    seen = set()
    for _ in range(50):
        with pytest.raises(Problem) as caught:
            here.enter("acme")
        assert (caught.value.code.name, caught.value.status) == ("overloaded", 503)
        seen.add(caught.value.retry_after)
    assert seen == {1, 2, 3}


def test_p10_a_flood_leaves_the_others_their_share_within_the_reserve() -> None:
    here = load(40)
    enters(here, "flood", 1000)
    assert enters(here, "quiet", 5) == 5
    assert enters(here, "flood", 10) == 0
    assert enters(here, "quiet", 10) == 0, "the reserve is small: an eighth"
    assert here.in_flight == 45


def test_p10_places_that_come_free_go_to_those_below_their_share_until_all_hold_alike() -> None:
    """Two floods: the one that came second gets as much as the first within one round of requests."""
    here = load(40)
    enters(here, "first", 1000)
    for _ in range(60):
        enters(here, "second", 5)
        enters(here, "first", 5)
        here.leave("first")
    held = here._held
    assert 18 <= held["second"] <= 22


def test_p10_of_many_customers_only_the_flood_is_refused() -> None:
    """Ten customers that need little, beside one that takes whatever there is, over many rounds at random."""
    chance = random.Random(7)
    here = load(40)
    running: list[str] = []
    tried, got = 0, 0
    for _ in range(2000):
        running += ["flood"] * enters(here, "flood", 20)
        quiet = f"quiet-{chance.randrange(10)}"
        tried += 1
        if enters(here, quiet):
            got += 1
            running.append(quiet)
        for _ in range(3):
            here.leave(running.pop(chance.randrange(len(running))))
    assert got / tried > 0.99


def test_a_place_is_given_back_to_nobody_else() -> None:
    here = load(2)
    here.enter("a")
    here.enter("b")
    here.leave("a")
    assert here.in_flight == 1
    assert enters(here, "a", 2) == 1


@pytest.mark.parametrize(("lag", "memory", "reason"), [(MOST_LAG + 0.1, 0.1, "event_loop"), (0, 0.9, "memory")])
def test_d6_a_late_loop_and_short_memory_close_the_room_below_what_is_in_flight(
    lag: float, memory: float, reason: str
) -> None:
    here = load(1000)
    enters(here, "flood", 600)
    here.beat(lag, memory)
    assert enters(here, "flood", 50) == 0
    assert here.refused[reason] == 50
    assert enters(here, "quiet", 50) == 50
    for _ in range(100):  # what ends makes no room while the pressure lasts
        here.leave("flood")
        assert enters(here, "flood") == 0
        here.beat(lag, memory)


def test_the_room_grows_back_step_by_step_after_the_pressure() -> None:
    here = load(1000)
    enters(here, "flood", 600)
    here.beat(1, 0)
    for _ in range(600):
        here.leave("flood")
    here.beat(1, 0)
    rooms = []
    while here.room < 1000:
        here.beat(0, 0)
        rooms.append(here.room)
    assert rooms[0] < 20
    assert rooms == sorted(rooms)
    assert 10 <= len(rooms) <= 20, "one second to two, at ten beats a second"
    assert enters(here, "flood", 2000) == 1000


def test_a_short_stop_of_an_idle_server_turns_nobody_away() -> None:
    here = load()
    here.beat(0.3, 0)
    assert enters(here, "acme", FEWEST) == FEWEST


def test_what_is_just_at_the_limits_is_no_pressure() -> None:
    here = load()
    here.beat(MOST_LAG, MOST_MEMORY)
    assert here.room == 40


def test_another_bound_takes_effect_at_once_and_ends_nothing() -> None:
    here = load(10)
    enters(here, "acme", 10)
    here.resize(5)
    assert enters(here, "acme") == 0
    assert here.in_flight == 10
    here.resize(20)
    assert enters(here, "acme", 100) == 10


def test_the_longest_lag_is_remembered_for_a_while_and_then_forgotten() -> None:
    here = load()
    here.beat(0.7, 0.5)
    for _ in range(LAG_BEATS - 2):
        here.beat(0.01, 0.5)
    assert here.lag == 0.7
    for _ in range(LAG_BEATS + 2):
        here.beat(0.01, 0.5)
    assert here.lag == 0.01
    assert here.memory == 0.5
