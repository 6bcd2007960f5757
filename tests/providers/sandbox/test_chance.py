"""Deterministic chance."""

from __future__ import annotations

from sealgate.providers.sandbox.chance import Chance, digest


def test_equal_starts_give_equal_choices() -> None:
    """The sequence is fixed for ever: these are SplitMix64's published values for the start 1234567."""
    chance = Chance(1234567)
    assert [chance.bits() for _ in range(3)] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_numbers_stay_below_and_reach_all() -> None:
    """Every number below the limit comes up, none at or above it, also beyond 64 bits."""
    chance = Chance(1)
    assert {chance.below(7) for _ in range(300)} == set(range(7))
    assert {chance.below(1) for _ in range(9)} == {0}
    assert 2**70 > max(chance.below(2**70) for _ in range(50)) > 2**64


def test_likely_follows_its_probability() -> None:
    """Never at 0, always at 1, about half at a half."""
    chance = Chance(2)
    assert not any(chance.likely(0) for _ in range(50))
    assert all(chance.likely(1) for _ in range(50))
    assert 400 < sum(chance.likely(0.5) for _ in range(1000)) < 600


def test_forks_are_independent_and_share_the_budget() -> None:
    """Two forks differ, the same fork is the same, and work done with one counts for all."""
    chance = Chance(3)
    assert chance.fork(0).bits() != chance.fork(1).bits()
    assert chance.fork(1).bits() == chance.fork(1).bits()
    left = chance.budget.left
    chance.fork(5).budget.spend(10)
    assert chance.budget.left == left - 10


def test_digests_keep_parts_apart() -> None:
    """The same bytes split otherwise give another digest."""
    assert digest(b"ab", b"c") != digest(b"a", b"bc")
    assert digest(b"ab", b"c") == digest(b"ab", b"c")
