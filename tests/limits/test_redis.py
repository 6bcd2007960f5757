"""The limiter in Redis, besides the contract of all limiters: what it is told by others, late, twice or never."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests.limits.conftest import Clock
from tests.redis_server import RedisServer

from sealgate.config_tables import Limits
from sealgate.errors import ConfigError
from sealgate.limits import redis
from sealgate.limits.limiter import LEASE, Refused, Rule, StoreGoneError, Taken, rules
from sealgate.limits.redis import RedisLimiter
from sealgate.testing import ToxicProxy, Toxics

pytestmark = pytest.mark.anyio

_numbers = itertools.count()
DEADLINE = redis.DEADLINE
GONE = -2
"""The lifetime of a key that has just ended."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may need more than the tenth of a second after which the store counts as gone; see `hurried`."""
    monkeypatch.setattr(redis, "DEADLINE", 20.0)


@contextmanager
def hurried() -> Iterator[None]:
    """As it is outside of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis, "DEADLINE", DEADLINE)
        yield


@pytest.fixture
def whose() -> str:
    return f"key:redis-{next(_numbers)}"


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[ToxicProxy]:
    async with ToxicProxy(redis_server.host, redis_server.port) as proxy:
        yield proxy


@pytest.fixture
async def near(redis_server: RedisServer) -> AsyncIterator[RedisLimiter]:
    """Another replica's, with nothing in between."""
    limiter = RedisLimiter(redis_server.url)
    yield limiter
    await limiter.aclose()


@pytest.fixture
async def far(redis_server: RedisServer, proxy: ToxicProxy) -> AsyncIterator[RedisLimiter]:
    """One behind the proxy, connected."""
    limiter = RedisLimiter(redis_server.url_at(proxy.port))
    await limiter.probe()
    yield limiter
    proxy.up = proxy.down = Toxics()
    await limiter.aclose()


async def taken(limiter: RedisLimiter, wanted: Sequence[Rule], tokens: int = 0) -> Taken:
    verdict = await limiter.take(wanted, tokens)
    assert isinstance(verdict, Taken), verdict
    return verdict


async def left(limiter: RedisLimiter, wanted: Sequence[Rule]) -> list[int]:
    return [standing.remaining for standing in await limiter.look(wanted)]


async def test_replicas_count_together_by_the_servers_clock(
    near: RedisLimiter, redis_server: RedisServer, whose: str
) -> None:
    other = RedisLimiter(redis_server.url)
    wanted = rules(whose, Limits(requests_per_minute=50, concurrency=60))
    try:
        verdicts = await asyncio.gather(*(limiter.take(wanted, 0) for limiter in (near, other) for _ in range(50)))
        assert sum(isinstance(each, Taken) for each in verdicts) == 50
        [wait] = {round(each.wait) for each in verdicts if isinstance(each, Refused)}
        assert wait == 60
    finally:
        await other.aclose()


async def test_a_place_of_a_process_that_is_gone_is_free_after_its_lease(redis_server: RedisServer, whose: str) -> None:
    clock = Clock()
    gone, other = RedisLimiter(redis_server.url, clock=clock), RedisLimiter(redis_server.url, clock=clock)
    wanted = rules(whose, Limits(concurrency=1))
    try:
        await taken(gone, wanted)
        clock.now += LEASE - 0.001
        assert isinstance(await other.take(wanted, 0), Refused)
        clock.now += 0.001
        await taken(other, wanted)
    finally:
        await gone.aclose()
        await other.aclose()


async def test_a_place_lasts_as_long_as_its_request(
    redis_server: RedisServer, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease is renewed every third of its time, here by the thousandth part."""
    monkeypatch.setattr(redis, "LEASE", 0.06)
    limiter = RedisLimiter(redis_server.url)
    wanted = rules(whose, Limits(concurrency=1))
    try:
        place = await taken(limiter, wanted)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            assert isinstance(await limiter.take(wanted, 0), Refused)
            await asyncio.sleep(0.01)
        limiter.settle(place, 0)
        await taken(limiter, wanted)
    finally:
        await limiter.aclose()


async def test_a_step_back_of_the_servers_clock_keeps_ages(redis_server: RedisServer, whose: str) -> None:
    """Row D13: neither is everything free at once, nor is anybody held up for the hour."""
    clock = Clock()
    limiter = RedisLimiter(redis_server.url, clock=clock)
    wanted = rules(whose, Limits(requests_per_minute=2))
    try:
        await taken(limiter, wanted)
        clock.now += 30
        await taken(limiter, wanted)
        clock.now -= 3600
        said = await limiter.take(wanted, 0)
        assert isinstance(said, Refused)
        assert said.wait == pytest.approx(30, abs=1e-3)
        clock.now += 30
        await taken(limiter, wanted)
        assert isinstance(await limiter.take(wanted, 0), Refused)
    finally:
        await limiter.aclose()


async def test_a_server_that_forgot_the_script_is_told_it_again(
    near: RedisLimiter, redis_server: RedisServer, whose: str
) -> None:
    wanted = rules(whose, Limits(requests_per_minute=9))
    await taken(near, wanted)
    assert redis_server.command("SCRIPT", "FLUSH") == b"+OK"
    await taken(near, wanted)
    assert await left(near, wanted) == [7]


async def test_a_hundred_at_once_make_a_few_round_trips(
    near: RedisLimiter, redis_server: RedisServer, whose: str
) -> None:
    await near.probe()
    before = calls(redis_server)
    wanted = rules(whose, Limits(requests_per_minute=1000))
    await asyncio.gather(*(near.take(wanted, 0) for _ in range(100)))
    assert calls(redis_server) - before <= 3


def calls(server: RedisServer) -> int:
    """How often scripts were run."""
    found = re.findall(r"cmdstat_evalsha:calls=(\d+)", server.answer("INFO", "commandstats"))
    return sum(map(int, found))


async def test_no_answer_in_time_and_the_request_is_told(far: RedisLimiter, proxy: ToxicProxy, whose: str) -> None:
    proxy.down = Toxics(latency=30)
    started = time.monotonic()
    wanted = rules(whose, Limits(requests_per_minute=9))
    with hurried():
        verdicts = await asyncio.gather(*(far.take(wanted, 0) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(each, StoreGoneError) for each in verdicts)
    assert str(verdicts[0]) == "no answer within 0.1 s"
    assert time.monotonic() - started < 4, "all wait at once"


async def test_what_was_told_late_is_not_told_twice(
    far: RedisLimiter, near: RedisLimiter, proxy: ToxicProxy, whose: str
) -> None:
    """The server corrected the tokens, and its answer was lost: sent again, it changes nothing."""
    wanted = rules(whose, Limits(tokens_per_minute=1000, concurrency=1))
    place = await taken(far, wanted, 500)
    proxy.down = Toxics(latency=30)
    with hurried():
        far.settle(place, 300)
        assert far._sender is not None
        await far._sender
    assert len(far._unsent) == 1
    assert await left(near, wanted) == [700]
    proxy.down = Toxics()
    await far.probe()
    assert await left(far, wanted) == [700]
    assert not far._unsent


async def test_what_could_not_be_told_is_told_later(
    far: RedisLimiter, near: RedisLimiter, proxy: ToxicProxy, whose: str
) -> None:
    wanted = rules(whose, Limits(tokens_per_minute=1000, concurrency=1))
    place = await taken(far, wanted, 500)
    proxy.up = Toxics(latency=30)
    with hurried():
        far.settle(place, 900)
        assert far._sender is not None
        await far._sender
    assert isinstance(await near.take(wanted, 0), Refused)
    proxy.up = Toxics()
    await far.probe()
    assert await left(far, wanted) == [100]
    await taken(near, wanted)


async def test_a_place_that_was_taken_unheard_is_given_back(
    far: RedisLimiter, near: RedisLimiter, proxy: ToxicProxy, whose: str
) -> None:
    """The answer to a take was lost: whoever asked went on elsewhere, so nobody holds that place."""
    wanted = rules(whose, Limits(concurrency=1))
    proxy.down = Toxics(latency=30)
    with hurried(), pytest.raises(StoreGoneError):
        await far.take(wanted, 0)
    assert isinstance(await near.take(wanted, 0), Refused)
    proxy.down = Toxics()
    await far.probe()
    await far.look(wanted)
    await taken(near, wanted)


async def test_closing_tells_what_waits(near: RedisLimiter, redis_server: RedisServer, whose: str) -> None:
    limiter = RedisLimiter(redis_server.url)
    wanted = rules(whose, Limits(tokens_per_minute=1000, concurrency=1))
    limiter.settle(await taken(limiter, wanted, 10), 400)
    await limiter.aclose()
    await taken(near, wanted)
    assert await left(near, wanted) == [600]


async def test_who_is_cancelled_while_asking_has_taken_nothing(
    far: RedisLimiter, near: RedisLimiter, proxy: ToxicProxy, whose: str
) -> None:
    wanted = rules(whose, Limits(concurrency=1, tokens_per_minute=100))
    proxy.down = Toxics(latency=0.03)
    asking = asyncio.create_task(far.take(wanted, 50))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await far.look(wanted)
    assert await left(far, wanted) == [100]
    await taken(near, wanted)


async def test_who_is_cancelled_at_the_moment_of_the_answer_has_taken_nothing(near: RedisLimiter, whose: str) -> None:
    wanted = rules(whose, Limits(concurrency=1, tokens_per_minute=100))
    asking = asyncio.create_task(near.take(wanted, 50))
    await asyncio.sleep(0)
    nobody: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    nobody.cancel()
    # It comes after the take in the same batch, so that its answer is looked at when the take's has just been given.
    near._push(redis._Operation(lambda _: ("look", []), nobody, lambda _: asking.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await left(near, wanted) == [100]
    await taken(near, wanted)


@pytest.mark.parametrize("way", ["reset", "cut in the middle of an answer"])
async def test_a_connection_that_breaks_is_replaced(far: RedisLimiter, proxy: ToxicProxy, whose: str, way: str) -> None:
    """A request at that moment may be told so; those after it get answers, and each its own."""
    wanted = rules(whose, Limits(requests_per_minute=9))
    await taken(far, wanted)
    if way == "reset":
        proxy.reset_all()
    else:
        proxy.down = Toxics(cut_after=40)
        proxy.reset_all()
        with pytest.raises(StoreGoneError):
            await far.take(wanted, 0)
        proxy.down = Toxics()
    with suppress(StoreGoneError):
        await far.probe()
    await far.probe()
    before = (await left(far, wanted))[0]
    found = await asyncio.gather(*(far.take(wanted, 0) for _ in range(before)))
    assert [each.standings[0].remaining for each in found] == list(range(before))[::-1]


async def test_a_server_that_became_a_replica_counts_as_gone(
    near: RedisLimiter, redis_server: RedisServer, whose: str
) -> None:
    wanted = rules(whose, Limits(requests_per_minute=9))
    await taken(near, wanted)
    assert redis_server.command("REPLICAOF", "127.0.0.1", "9") == b"+OK"
    try:
        with pytest.raises(StoreGoneError, match=r"(?i)read ?only"):
            await near.take(wanted, 0)
        with pytest.raises(StoreGoneError):
            await near.probe()
    finally:
        assert redis_server.command("REPLICAOF", "NO", "ONE") == b"+OK"
    await near.probe()
    await taken(near, wanted)


async def test_a_wrong_password_is_told_without_the_password(redis_server: RedisServer) -> None:
    limiter = RedisLimiter(f"redis://:hunter2-secret@{redis_server.host}:{redis_server.port}/0")
    with pytest.raises(StoreGoneError) as caught:
        await limiter.probe()
    assert "hunter2" not in str(caught.value)
    await limiter.aclose()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1:port/0"])
async def test_an_address_that_cannot_be_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"limits\.url"):
        RedisLimiter(url)


async def test_an_address_of_valkey_is_one_of_redis(redis_server: RedisServer, whose: str) -> None:
    limiter = RedisLimiter(redis_server.url.replace("redis://", "valkey://"))
    await taken(limiter, rules(whose, Limits(requests_per_minute=1)))
    await limiter.aclose()


async def test_nothing_is_left_behind_for_ever(redis_server: RedisServer, near: RedisLimiter, whose: str) -> None:
    """Every key that is written ends by itself."""
    wanted = rules(whose, Limits(requests_per_day=9, tokens_per_minute=100, concurrency=2))
    near.settle(await taken(near, wanted, 10), 20)
    await near.look(wanted)
    names: Any = re.findall(r"sealgate:limits:\S+", redis_server.answer("KEYS", "sealgate:limits:*"))
    assert len(names) >= 3
    lifetimes = [int(redis_server.command("TTL", name).removeprefix(b":")) for name in names]
    assert all(0 <= seconds <= 86_400 for seconds in lifetimes if seconds != GONE)
    assert max(lifetimes) > 86_000


async def test_what_cannot_be_written_down_is_an_error_and_nobody_waits_for_it(near: RedisLimiter, whose: str) -> None:
    """And those who come after are served."""
    beyond = rules(whose, Limits(requests_per_minute=2**70))
    async with asyncio.timeout(20):
        with pytest.raises(OverflowError):
            await near.take(beyond, 0)
        assert isinstance(await near.take(rules(whose, Limits(requests_per_minute=2)), 0), Taken)
