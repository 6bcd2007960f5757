"""The ledger is tried on both engines, as the storage is; the contract of limiters on every limiter."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from tests.storage.conftest import database, storage, url

from sealgate.config_tables import Limits
from sealgate.limits.limiter import Limiter, Rule, rules
from sealgate.limits.memory import MemoryLimiter
from sealgate.limits.redis import RedisLimiter

__all__ = ["database", "storage", "url"]

_numbers = itertools.count()


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Subject:
    """A limiter, its clock, and callers that nobody else has."""

    limiter: Limiter
    clock: Clock
    whose: str

    def rules(self, limits: Limits) -> tuple[Rule, ...]:
        return rules(self.whose, limits)


@pytest.fixture(params=["memory", "redis"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    clock = Clock()
    limiter: Limiter = MemoryLimiter(clock)
    if request.param == "redis":
        limiter = RedisLimiter(request.getfixturevalue("redis_server").url, clock=clock)
    yield Subject(limiter, clock, f"key:{next(_numbers)}")
    await limiter.aclose()
