"""The limiter in memory, besides the contract of all limiters: it forgets who does not come any more."""

import pytest

from sealgate.config_tables import Limits
from sealgate.limits import memory
from sealgate.limits.limiter import Taken, rules
from sealgate.limits.memory import MemoryLimiter

pytestmark = pytest.mark.anyio


async def test_windows_of_those_who_are_gone_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users come and go; what is kept is in proportion to those of the last minute, whoever came before."""
    monkeypatch.setattr(memory, "FEW", 100)
    now = 0.0
    limiter = MemoryLimiter(lambda: now)
    limiter._many = 100
    for number in range(1000):
        now += 1.0
        assert isinstance(await limiter.take(rules(f"user:{number}", Limits(requests_per_minute=1)), 0), Taken)
        assert len(limiter._windows) <= 220
    still_known = rules("user:999", Limits(requests_per_minute=1))
    assert not isinstance(await limiter.take(still_known, 0), Taken)


async def test_places_leave_nothing_behind() -> None:
    limiter = MemoryLimiter()
    wanted = rules("key:1", Limits(concurrency=3))
    found = [await limiter.take(wanted, 0) for _ in range(3)]
    for each in found:
        assert isinstance(each, Taken)
        limiter.settle(each, 0)
    assert not limiter._places
