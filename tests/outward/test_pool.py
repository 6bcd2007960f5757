"""Places, kept connections and the queue of one origin, without any network."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from tests.punctual import punctually

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.pool import Pool, PoolLimits

pytestmark = pytest.mark.anyio


class Plain:
    """The least a connection must be."""

    def __init__(self, pool: Pool[Plain]) -> None:
        self.alive = True
        self.idle_since = 0.0
        self._pool = pool

    def close(self) -> None:
        if self.alive:
            self.alive = False
            self._pool.free(self)


class Pools:
    def __call__(self, **limits: float) -> Pool[Plain]:
        self.last: Pool[Plain] = Pool(PoolLimits(**limits), asyncio.get_running_loop())  # type: ignore[arg-type]
        return self.last


@pytest.fixture
def pools() -> Iterator[Pools]:
    return Pools()


async def open_one(pool: Pool[Plain]) -> Plain:
    assert await pool.place() is None
    return Plain(pool)


async def test_the_last_one_kept_is_the_first_taken(pools: Pools) -> None:
    """Last in, first out: the coldest connections are left to expire."""
    pool = pools()
    first, second = await open_one(pool), await open_one(pool)
    pool.keep(first)
    pool.keep(second)
    assert pool.warm() is second
    assert pool.warm() is first
    assert pool.warm() is None
    assert pool.places == 2


async def test_too_many_kept_are_closed(pools: Pools) -> None:
    """Beyond max_idle a returned connection is closed and its place free."""
    pool = pools(max_idle=1)
    first, second = await open_one(pool), await open_one(pool)
    pool.keep(first)
    pool.keep(second)
    assert (first.alive, second.alive) == (True, False)
    assert pool.places == 1


async def test_an_expired_one_is_not_given_out(pools: Pools) -> None:
    """Even if the sweep has not come yet."""
    pool = pools(keep_seconds=0.01)
    one = await open_one(pool)
    pool.keep(one)
    one.idle_since -= 1
    assert pool.warm() is None
    assert not one.alive
    assert pool.places == 0


async def test_the_sweep_closes_what_nobody_asks_for(pools: Pools) -> None:
    """One timer closes expired connections and goes on for younger ones."""

    async def scene() -> None:
        pool = pools(keep_seconds=0.1)
        old, young = await open_one(pool), await open_one(pool)
        pool.keep(old)
        await asyncio.sleep(0.07)
        pool.keep(young)
        await asyncio.sleep(0.06)
        assert (old.alive, young.alive) == (False, True)
        await asyncio.sleep(0.07)
        assert not young.alive
        assert pool.places == 0

    await punctually(scene, 0.02)


async def test_one_closed_while_kept_is_forgotten(pools: Pools) -> None:
    """A connection that dies in the pool is neither given out nor counted."""
    pool = pools()
    one = await open_one(pool)
    pool.keep(one)
    one.close()
    assert pool.warm() is None
    assert pool.places == 0


async def test_the_queue_gives_up_in_time(pools: Pools) -> None:
    """POOL after wait_seconds, and nothing of the waiter remains."""
    pool = pools(size=1, wait_seconds=0.01)
    one = await open_one(pool)
    with pytest.raises(UpstreamError) as caught:
        await pool.place()
    assert caught.value.failure is Failure.POOL
    pool.keep(one)
    assert pool.warm() is one


async def test_the_queue_takes_over_a_returned_connection(pools: Pools) -> None:
    """First come, first served; the connection is never idle in between."""
    pool = pools(size=1)
    one = await open_one(pool)
    waiting = [asyncio.create_task(pool.place()) for _ in range(2)]
    await asyncio.sleep(0)
    pool.keep(one)
    assert pool.warm() is None
    assert await waiting[0] is one
    one.close()
    assert await waiting[1] is None
    assert pool.places == 1


async def test_a_cancelled_waiter_passes_on_what_it_was_promised(pools: Pools) -> None:
    """A connection or a place promised to who is cancelled in the same moment goes to the next."""
    for promise in ("connection", "place"):
        pool = pools(size=1)
        one = await open_one(pool)
        waiting = [asyncio.create_task(pool.place()) for _ in range(2)]
        await asyncio.sleep(0)
        pool.keep(one) if promise == "connection" else one.close()
        waiting[0].cancel()
        got = await waiting[1]
        assert got is (one if promise == "connection" else None)
        assert waiting[0].cancelled()
        assert pool.places == 1


async def test_a_promised_connection_that_died_costs_one_place_only(pools: Pools) -> None:
    """Promised, then lost, then its taker cancelled: the count stays right."""
    pool = pools(size=1)
    one = await open_one(pool)
    waiter = asyncio.create_task(pool.place())
    await asyncio.sleep(0)
    pool.keep(one)
    one.close()
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    assert pool.places == 0


async def test_close_turns_the_queue_away(pools: Pools) -> None:
    """Closing the pool closes what is kept and fails who waits."""
    pool = pools(size=1)
    one = await open_one(pool)
    waiter = asyncio.create_task(pool.place())
    await asyncio.sleep(0)
    pool.close()
    with pytest.raises(UpstreamError):
        await waiter
    one.close()
    assert pool.places == 0
