"""Deterministic chance: every choice the sandbox makes comes from here, and from nothing but the request."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

from sealgate.providers.sandbox.budget import Budget

T = TypeVar("T")

_MASK = (1 << 64) - 1


def digest(*parts: bytes) -> int:
    """64 bits of BLAKE2b over the parts, each with its length, so that no two lists of parts run together."""
    state = blake2b(digest_size=8)
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return int.from_bytes(state.digest(), "big")


class Chance:
    """A small generator (SplitMix64): equal start, equal choices, on every platform and Python version.

    ``budget`` is what may be spent on what is written with it; forks share it.
    """

    __slots__ = ("_state", "budget")

    def __init__(self, start: int, budget: Budget | None = None) -> None:
        self._state = start & _MASK
        self.budget = budget or Budget()

    def bits(self) -> int:
        """The next 64 bits."""
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, n: int) -> int:
        """A whole number from 0 to ``n - 1``; ``n`` must be at least 1."""
        return self.bits() % n if n <= _MASK else (self.bits() << 64 | self.bits()) % n

    def likely(self, p: float) -> bool:
        """True with probability ``p``."""
        return (self.bits() >> 11) < p * (1 << 53)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options; there must be one."""
        return options[self.bits() % len(options)]

    def fork(self, label: int) -> Chance:
        """An independent chance for a part of the work, so that parts do not disturb each other."""
        return Chance(self._state ^ ((label + 1) * 0xD1342543DE82EF95 & _MASK), self.budget)
