"""What happens while the store of limits is gone: row D12."""

from __future__ import annotations

import asyncio
import io
import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.gateway import Running, Serve
from tests.redis_server import RedisServer

from sealgate.config import Limits, Secret, SharedLimits
from sealgate.limits import redis
from sealgate.limits import shelter as shelters
from sealgate.limits.limiter import Limiter, Refused, Rule, Standing, StoreGoneError, Taken, Verdict, rules
from sealgate.limits.memory import MemoryLimiter
from sealgate.limits.shelter import Shelter
from sealgate.telemetry import logs
from sealgate.testing import ToxicProxy, Toxics, answer

pytestmark = pytest.mark.anyio

Log = Callable[[], list[dict[str, Any]]]
WANTED = rules("key:1", Limits(requests_per_minute=3, concurrency=2))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """What the log says of limits."""
    out = io.BytesIO()
    made: list[logs.Logs] = []

    def configure(*arguments: str, real: Any = logs.configure) -> logs.Logs:
        made.append(real(*arguments, out=out))
        return made[-1]

    monkeypatch.setattr(logs, "configure", configure)

    def said() -> list[dict[str, Any]]:
        for each in made:
            each.flush()
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        return [line for line in lines if line["event"].startswith("limits_")]

    return said


class Fickle(MemoryLimiter):
    """A store that is there or not."""

    gone = False
    asked = 0
    probes = 0

    async def take(self, rules: Sequence[Rule], tokens: int) -> Verdict:
        self.asked += 1
        self._require()
        return await super().take(rules, tokens)

    async def look(self, rules: Sequence[Rule]) -> Sequence[Standing]:
        self.asked += 1
        self._require()
        return await super().look(rules)

    async def probe(self) -> None:
        self.probes += 1
        self._require()

    def _require(self) -> None:
        if self.gone:
            raise StoreGoneError("it is gone")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelters, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(shelters, "LONGEST_PAUSE", 0.02)


async def back(shelter: Limiter) -> None:
    assert isinstance(shelter, Shelter)
    async with asyncio.timeout(20):
        while not shelter.up:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.005)


def opened(store: Fickle) -> Shelter:
    return Shelter(store, logs.configure("info", "json")[0])


async def test_without_its_store_the_same_limits_hold(log: Log, quick: None) -> None:
    store = Fickle()
    shelter = opened(store)
    store.gone = True
    verdicts = [await shelter.take(WANTED, 0) for _ in range(4)]
    assert [type(each) for each in verdicts] == [Taken, Taken, Refused, Refused]
    assert [each.remaining for each in await shelter.look(WANTED)] == [1]
    await shelter.aclose()


async def test_one_request_asks_a_store_that_is_gone_and_the_log_hears_once(log: Log, quick: None) -> None:
    store = Fickle()
    shelter = opened(store)
    store.gone = True
    for _ in range(20):
        await shelter.take(WANTED, 0)
        await shelter.look(WANTED)
    assert store.asked == 1
    assert not shelter.up
    store.gone = False
    await back(shelter)
    assert isinstance(await shelter.take(WANTED, 0), Taken)
    assert store.asked == 2
    assert [(line["event"], line.get("error")) for line in log()] == [
        ("limits_store_lost", "it is gone"),
        ("limits_store_back", None),
    ]
    await shelter.aclose()


async def test_each_request_is_settled_with_whoever_counted_it(log: Log, quick: None) -> None:
    store = Fickle()
    shelter = opened(store)
    before = await shelter.take(WANTED, 0)
    store.gone = True
    during = await shelter.take(WANTED, 0)
    store.gone = False
    await back(shelter)
    assert isinstance(before, Taken)
    assert isinstance(during, Taken)
    assert (len(store._places), len(shelter._memory._places)) == (1, 1)
    shelter.settle(during, 0)
    shelter.settle(before, 0)
    assert (len(store._places), len(shelter._memory._places)) == (0, 0)
    await shelter.aclose()


async def test_a_store_that_is_not_there_at_the_start_is_waited_for(log: Log, quick: None) -> None:
    store = Fickle()
    store.gone = True
    shelter = opened(store)
    await shelter.start()
    assert not shelter.up
    store.gone = False
    await back(shelter)
    assert store.probes >= 2
    await shelter.aclose()


# The same with a whole gateway and a real server


def at(url: str, **limits: int) -> dict[str, Any]:
    return {"limits": SharedLimits(url=Secret(url), **limits)}


def shared(gateway: Running) -> str:
    found = gateway.hall.metrics.render().decode()
    return next(line.split()[1] for line in found.splitlines() if line.startswith("sealgate_limits_shared "))


async def test_two_gateways_count_together(serve: Serve, redis_server: RedisServer) -> None:
    tables = at(redis_server.url, requests_per_minute=4, tokens_per_minute=100_000, concurrency=3)
    redis_server.command("FLUSHALL")
    async with serve({"acme": answer("Hi")}, **tables) as one, serve({"acme": answer("Hi")}, **tables) as two:
        replies = [await gateway.chat(stream=stream) for gateway in (one, two) for stream in (False, True)]
        assert [reply.status for reply in replies] == [200] * 4
        assert [reply.headers["x-ratelimit-remaining"] for reply in replies] == ["3", "2", "1", "0"]
        assert [(await gateway.chat()).code for gateway in (one, two)] == ["rate_limit_exceeded"] * 2
        assert shared(one) == shared(two) == "1.0"


async def test_d12_a_gateway_without_its_store_limits_by_itself_and_comes_back(
    serve: Serve, redis_server: RedisServer, log: Log, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline = redis.DEADLINE
    monkeypatch.setattr(redis, "DEADLINE", 20.0)  # a busy machine needs more than that; a store that is gone does not
    async with ToxicProxy(redis_server.host, redis_server.port) as proxy:
        redis_server.command("FLUSHALL")
        tables = at(redis_server.url_at(proxy.port), requests_per_minute=3)
        async with serve({"acme": answer("Hi")}, **tables) as gateway:
            assert (await gateway.chat()).headers["x-ratelimit-remaining"] == "2"
            monkeypatch.setattr(redis, "DEADLINE", deadline)
            proxy.up = Toxics(latency=30)
            without = [await gateway.chat() for _ in range(5)]
            assert [reply.status for reply in without] == [200] * 3 + [429] * 2
            assert [reply.headers["x-ratelimit-remaining"] for reply in without] == ["2", "1", "0", "0", "0"]
            took = [float(reply.headers["x-process-time"]) for reply in without[1:]]
            assert statistics.median(took) < 0.1, "only the first has waited for the store"
            assert shared(gateway) == "0.0"
            monkeypatch.setattr(redis, "DEADLINE", 20.0)
            proxy.up = Toxics()
            proxy.reset_all()
            await back(gateway.hall.turns.limiter)
            assert shared(gateway) == "1.0"
            assert (await gateway.chat()).headers["x-ratelimit-remaining"] == "1"
    assert [line["event"] for line in log()] == ["limits_store_lost", "limits_store_back"]
    assert log()[0]["error"] == "no answer within 0.1 s"


async def test_d12_a_store_that_dies_and_starts_again_empty_is_used_again(
    serve: Serve, redis_server: RedisServer, log: Log, quick: None
) -> None:
    redis_server.command("FLUSHALL")
    async with serve({"acme": answer("Hi")}, **at(redis_server.url, requests_per_minute=3, concurrency=2)) as gateway:
        assert (await gateway.chat()).status == 200
        redis_server.stop()
        try:
            replies = [await gateway.chat(stream=number % 2 == 0) for number in range(5)]
        finally:
            redis_server.start()
        assert [reply.status for reply in replies] == [200] * 3 + [429] * 2
        await back(gateway.hall.turns.limiter)
        assert shared(gateway) == "1.0"
        assert (await gateway.chat()).headers["x-ratelimit-remaining"] == "2"
