"""Limits of a whole gateway: rows D1, D2, D4, D5, and what callers are told of where they stand."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from tests.gateway import Reply, Running, Serve, model

from sealgate.auth.caller import Caller
from sealgate.auth.users import customer_of
from sealgate.config import Limits, Settings, SharedLimits
from sealgate.limits.ledger import Outcome
from sealgate.limits.memory import MemoryLimiter
from sealgate.relay import turns
from sealgate.relay.turns import FREE, Turns
from sealgate.testing import Behaviour, Received, Step, WaitFor, answer, cut_after, error, silent, stall_after
from sealgate.testing.script import resolve

WINDOWS = ("", "-requests", "-tokens")


async def limited_key(gateway: Running, **limits: int) -> dict[str, str]:
    """The head of requests by a new key with these limits."""
    made = await gateway.gateway.keys.create(name="limited", limits=Limits(**limits))
    return {"authorization": f"Bearer {made.key}"}


def told(reply: Reply) -> dict[str, str]:
    """The headers about limits, without their common beginning."""
    start = "x-ratelimit-"
    return {name.removeprefix(start): value for name, value in reply.headers.items() if name.startswith(start)}


def limiter(gateway: Running) -> MemoryLimiter:
    found = gateway.hall.turns.limiter
    assert isinstance(found, MemoryLimiter)
    return found


def held(event: asyncio.Event, behaviour: Behaviour) -> Behaviour:
    """The same, but not before the event."""

    def play(received: Received) -> list[Step]:
        return [WaitFor(event), *resolve(behaviour, received)]

    return play


async def waiting(gateway: Running, count: int) -> None:
    """Until so many requests wait for a place."""
    async with asyncio.timeout(5):
        while sum(map(len, gateway.hall.turns.queues.values())) < count:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.005)


def moment(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_d1_a_key_past_its_requests_gets_429_and_a_row_says_denied(serve: Serve, stream: bool) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        key = await limited_key(gateway, requests_per_minute=2)
        first = await gateway.chat(headers=key, stream=stream)
        second = await gateway.chat(headers=key, stream=stream)
        third = await gateway.chat(headers=key, stream=stream)
        rows = await gateway.rows(3)
    assert [first.status, second.status, third.status] == [200, 200, 429]
    assert third.code == "rate_limit_exceeded"
    assert third.error["type"] == "rate_limit_error"
    assert third.error["message"] == "At most 2 requests a minute may be asked."
    assert 58 <= int(third.headers["retry-after"]) <= 60
    assert [told(each)["remaining"] for each in (first, second, third)] == ["1", "0", "0"]
    assert [(row.outcome, row.status, row.code) for row in rows] == [
        (Outcome.OK, 200, None),
        (Outcome.OK, 200, None),
        (Outcome.DENIED, 429, "rate_limit_exceeded"),
    ]
    assert len(gateway.upstreams["acme"].requests) == 2


@pytest.mark.anyio
async def test_both_families_of_headers_say_the_same(serve: Serve) -> None:
    async with serve({"acme": answer("Hi", usage={"prompt_tokens": 30, "completion_tokens": 12})}) as gateway:
        key = await limited_key(gateway, requests_per_minute=40, requests_per_day=1000, tokens_per_minute=5000)
        found = told(await gateway.chat(headers=key))
    assert set(found) == {f"{what}{window}" for what in ("limit", "remaining", "reset") for window in WINDOWS}
    assert (found["limit"], found["remaining"]) == ("40", "39")
    assert (found["limit-requests"], found["remaining-requests"]) == ("40", "39")
    assert (found["limit-tokens"], found["remaining-tokens"]) == ("5000", str(5000 - 42))
    assert re.fullmatch(r"\d{10}", found["reset"])
    assert moment(found["reset-requests"]) == int(found["reset"])
    assert 58 <= moment(found["reset-tokens"]) - time.time() <= 61


@pytest.mark.anyio
async def test_the_tightest_window_is_the_one_with_the_least_left(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        key = await limited_key(gateway, requests_per_minute=3, requests_per_day=2)
        replies = [await gateway.chat(headers=key) for _ in range(3)]
    assert [told(each)["limit"] for each in replies] == ["2", "2", "2"]
    assert replies[2].error["message"] == "At most 2 requests a day may be asked."
    assert 86_300 < int(replies[2].headers["retry-after"]) <= 86_400
    assert replies[2].headers["x-should-retry"] == "false"


@pytest.mark.anyio
async def test_every_answer_of_a_limited_key_says_where_it_stands(serve: Serve) -> None:
    async with serve({"acme": error(500)}) as gateway:
        key = await limited_key(gateway, requests_per_minute=9)
        replies = {
            "failed": await gateway.chat(headers=key),
            "malformed": await gateway.post("/v1/chat/completions", {"model": "m", "messages": 1}, key),
            "unknown model": await gateway.chat(headers=key, model="nobody"),
            "models": await gateway.get("/v1/models", key),
        }
    assert {name: told(reply)["remaining"] for name, reply in replies.items()} == {
        "failed": "8", "malformed": "8", "unknown model": "8", "models": "8",
    }  # fmt: skip
    assert replies["failed"].status == 502


@pytest.mark.anyio
async def test_no_limit_no_header(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        key = await limited_key(gateway, requests_per_minute=9)
        replies = [
            await gateway.chat(),
            await gateway.chat(headers=await limited_key(gateway, concurrency=5)),
            await gateway.get("/v1/unknown", key),
            await gateway.get("/health", key),
            await gateway.get("/health/models", key),
            await gateway.get("/v1/models", {"authorization": "Bearer sk-nobody"}),
        ]
    assert [reply.status for reply in replies] == [200, 200, 404, 200, 200, 401]
    assert not any(told(reply) for reply in replies)


@pytest.mark.anyio
async def test_a_key_without_limits_of_its_own_has_those_of_the_configuration(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}, limits=SharedLimits(requests_per_minute=1)) as gateway:
        own = await limited_key(gateway, requests_per_minute=5)
        statuses = [(await gateway.chat()).status for _ in range(2)]
        assert statuses == [200, 429]
        assert told(await gateway.chat(headers=own))["limit"] == "5"


@pytest.mark.anyio
async def test_each_key_has_its_limits_to_itself(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        one, other = [await limited_key(gateway, requests_per_minute=1) for _ in range(2)]
        assert (await gateway.chat(headers=one)).status == 200
        assert (await gateway.chat(headers=other)).status == 200
        assert (await gateway.chat(headers=one)).status == 429


LIMITED_MODEL = {"scarce": model("acme", limits=Limits(requests_per_minute=1)), "plenty": model("backup")}


@pytest.mark.anyio
@pytest.mark.parametrize("way", [{"model": "scarce"}, {"model": "acme::test-model"}, {"failover": ["scarce"]}])
async def test_a_models_limit_holds_however_the_model_is_reached(serve: Serve, way: dict[str, Any]) -> None:
    """By its name, by the provider's own name of it, and as what a request may fall back to."""
    async with serve({"acme": answer("Hi"), "backup": error(500)}, LIMITED_MODEL) as gateway:
        first = await gateway.chat(**{"model": "plenty"} | way)
        second = await gateway.chat(**{"model": "plenty"} | way)
    assert (first.status, told(first)["remaining"]) == (200, "0")
    assert second.status == 429
    assert second.error["message"] == "At most 1 requests a minute may be asked of the model 'scarce'."


@pytest.mark.anyio
async def test_a_models_limit_leaves_other_models_and_other_callers_alone(serve: Serve) -> None:
    async with serve({"acme": answer("Hi"), "backup": answer("Hi")}, LIMITED_MODEL) as gateway:
        assert (await gateway.chat(model="scarce")).status == 200
        other = await gateway.chat(model="plenty")
        assert (other.status, told(other)) == (200, {})
        assert (await gateway.chat(model="scarce", headers=await limited_key(gateway))).status == 200


@pytest.mark.anyio
async def test_d2_tokens_are_reserved_by_estimate_and_settled_by_what_was_used(serve: Serve) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    async with serve({"acme": answer("Hi", usage=usage)}) as gateway:
        key = await limited_key(gateway, tokens_per_minute=1000)
        first = await gateway.chat(headers=key, max_tokens=900)
        second = await gateway.chat(headers=key, max_tokens=900)
        third = await gateway.chat("word " * 800, headers=key)
        alone = await gateway.chat(headers=key, max_tokens=2000)
    assert [told(first)["remaining-tokens"], told(second)["remaining-tokens"]] == ["985", "970"]
    assert (third.status, third.code) == (429, "token_limit_exceeded")
    assert third.error["message"].startswith("The request alone may use more than the 1000 tokens")
    assert (alone.code, alone.headers["x-should-retry"]) == ("token_limit_exceeded", "false")
    assert "retry-after" not in alone.headers


@pytest.mark.anyio
async def test_d2_an_answer_that_was_longer_than_reserved_holds_the_next_one_up(serve: Serve) -> None:
    async with serve({"acme": answer("Hi", usage={"prompt_tokens": 10, "completion_tokens": 5000})}) as gateway:
        key = await limited_key(gateway, tokens_per_minute=1000)
        assert told(await gateway.chat(headers=key))["remaining-tokens"] == "0"
        late = await gateway.chat(headers=key)
    assert (late.status, late.code) == (429, "token_limit_exceeded")
    assert 58 <= int(late.headers["retry-after"]) <= 60


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("behaviour", "stream", "used"),
    [
        (error(500), False, 0),
        (error(500), True, 0),
        (cut_after(3), True, ...),
        (answer("Hi", usage={"prompt_tokens": 10, "completion_tokens": 5}), True, 15),
    ],
    ids=["failed", "failed before the stream", "broken off", "streamed"],
)
async def test_however_a_request_ends_its_turn_is_settled_once(
    serve: Serve, behaviour: Behaviour, stream: bool, used: Any
) -> None:
    """What the ledger says was used is what the window keeps of the reservation, and the place is free again."""
    async with serve({"acme": behaviour}) as gateway:
        key = await limited_key(gateway, tokens_per_minute=10_000, requests_per_minute=9, concurrency=1)
        await gateway.chat(headers=key, stream=stream, max_tokens=5000)
        row = await gateway.row()
        after = told(await gateway.get("/v1/models", key))
        if used is ...:
            used = (row.prompt_tokens or 0) + (row.completion_tokens or 0)
            assert used > 0
            assert row.outcome is Outcome.TRUNCATED
        assert after["remaining-tokens"] == str(10_000 - used)
        assert after["remaining-requests"] == "8"
        assert not limiter(gateway)._places


@pytest.mark.anyio
async def test_a_failed_over_request_counts_once(serve: Serve) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    async with serve({"acme": error(503), "backup": answer("Hi", usage=usage)}) as gateway:
        key = await limited_key(gateway, tokens_per_minute=10_000, requests_per_minute=9)
        reply = await gateway.chat(headers=key)
    assert (reply.status, reply.tresor["failover"]) == (200, True)
    assert (told(reply)["remaining"], told(reply)["remaining-tokens"]) == ("8", "9985")


@pytest.mark.anyio
@pytest.mark.parametrize(("behaviour", "stream"), [(silent(), True), (silent(), False), (stall_after(3), True)])
async def test_who_leaves_gives_the_place_back_and_pays_for_the_prompt(
    serve: Serve, behaviour: Behaviour, stream: bool
) -> None:
    async with serve({"acme": behaviour}) as gateway:
        key = await limited_key(gateway, tokens_per_minute=10_000, concurrency=1)
        async with gateway.client() as client:
            body = gateway.ask("word " * 400, stream=stream, max_tokens=5000)
            await client.post("/v1/chat/completions", body, key)
            await gateway.upstreams["acme"].wait_for_requests()
            client.rst()
        assert (await gateway.row()).outcome is Outcome.CLIENT_DISCONNECTED
        left = int(told(await gateway.get("/v1/models", key))["remaining-tokens"])
        assert 9000 < left < 9600
        assert not limiter(gateway)._places


@pytest.mark.anyio
async def test_d5_the_next_one_waits_for_a_place_and_gets_it(serve: Serve) -> None:
    go = asyncio.Event()
    async with serve({"acme": held(go, answer("Hi"))}) as gateway:
        key = await limited_key(gateway, concurrency=1)
        first = asyncio.create_task(gateway.chat(headers=key))
        await gateway.upstreams["acme"].wait_for_requests(1)
        second = asyncio.create_task(gateway.chat(headers=key, stream=True))
        await waiting(gateway, 1)
        go.set()
        assert [(await first).status, (await second).status] == [200, 200]
        assert not limiter(gateway)._places


@pytest.mark.anyio
async def test_d5_no_more_wait_than_there_are_places_and_none_for_long(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "QUEUE_SECONDS", 0.05)
    async with serve({"acme": silent()}) as gateway:
        key = await limited_key(gateway, concurrency=2)
        async with gateway.client() as one, gateway.client() as two:
            for each in (one, two):
                await each.post("/v1/chat/completions", gateway.ask(), key)
            await gateway.upstreams["acme"].wait_for_requests(2)
            refused = await asyncio.gather(*(gateway.chat(headers=key) for _ in range(3)))
            assert [reply.status for reply in refused] == [429] * 3
            assert {reply.code for reply in refused} == {"concurrency_limit"}
            assert {reply.headers["retry-after"] for reply in refused} == {"1"}
            one.rst()
            two.rst()
        rows = await gateway.rows(5)
        assert sorted(row.outcome for row in rows) == ["client_disconnected"] * 2 + ["denied"] * 3
        assert not limiter(gateway)._places
        assert not any(gateway.hall.turns.queues.values())


@pytest.mark.anyio
async def test_who_leaves_while_waiting_for_a_place_takes_none(serve: Serve) -> None:
    async with serve({"acme": silent()}) as gateway:
        key = await limited_key(gateway, concurrency=1, requests_per_minute=9)
        async with gateway.client() as one, gateway.client() as two:
            await one.post("/v1/chat/completions", gateway.ask(), key)
            await gateway.upstreams["acme"].wait_for_requests(1)
            await two.post("/v1/chat/completions", gateway.ask(), key)
            await waiting(gateway, 1)
            two.rst()
            [row] = [row for row in await gateway.rows(1) if row.attempts == 0]
            assert row.outcome is Outcome.CLIENT_DISCONNECTED
            one.rst()
        await gateway.rows(2)
        assert told(await gateway.get("/v1/models", key))["remaining"] == "8"
        assert not limiter(gateway)._places


@pytest.mark.anyio
async def test_d4_a_hundred_at_once_get_no_more_than_there_is(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        key = await limited_key(gateway, requests_per_minute=7)
        replies = await asyncio.gather(*(gateway.chat(headers=key, stream=n % 2 == 0) for n in range(100)))
        assert sorted(reply.status for reply in replies) == [200] * 7 + [429] * 93
        assert len(await gateway.rows(100)) == 100
    assert 'sealgate_requests_limited_total{limit="requests_per_minute"} 93.0' in gateway.hall.metrics.render().decode()


@pytest.mark.anyio
async def test_a_reload_brings_other_limits_and_what_was_used_stays_used(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}, limits=SharedLimits(requests_per_minute=9)) as gateway:
        assert told(await gateway.chat())["remaining"] == "8"
        settings = msgspec.structs.replace(gateway.hall.settings, limits=SharedLimits(requests_per_minute=2))
        await gateway.gateway.reload(lambda: settings)
        assert told(await gateway.chat())["remaining"] == "0"
        assert (await gateway.chat()).status == 429
        await gateway.gateway.reload(lambda: msgspec.structs.replace(settings, limits=SharedLimits()))
        assert told(await gateway.chat()) == {}


def caller(**fields: Any) -> Caller:
    return Caller(**{"customer_id": "c", "key_id": None, "limits": Limits(requests_per_minute=1)} | fields)


def test_users_are_counted_one_by_one_and_keys_too() -> None:
    """By names that cannot run into each other, and that do not tell who it is."""
    house = Turns(MemoryLimiter(), Settings(), lambda _: None)
    callers = [
        caller(key_id="k1"),
        caller(key_id="k2"),
        caller(user_id="k1"),
        caller(user_id="ann@example.com"),
        caller(user_id="ann@example.com", customer_id="d"),
        caller(customer_id="ann@example.com"),
        caller(user_id="b", customer_id="ca"),
        caller(user_id="ab", customer_id="c"),
    ]
    keys = {rule.key for each in callers for rule in house.turn(each)._own}
    assert len(keys) == len(callers)
    assert not any("ann" in key for key in keys)
    assert house.turn(callers[0])._own is house.turn(callers[0])._own


def test_who_has_no_limits_gets_the_turn_that_asks_nobody() -> None:
    house = Turns(MemoryLimiter(), Settings(), lambda _: None)
    assert house.turn(caller(limits=None)) is FREE
    assert house.turn(caller(limits=Limits())) is FREE


def test_limits_that_set_nothing_are_no_exemption() -> None:
    house = Turns(MemoryLimiter(), Settings(limits=SharedLimits(requests_per_minute=7)), lambda _: None)
    assert [rule.limit for rule in house.turn(caller(limits=Limits()))._own] == [7]


def test_a_users_token_counts_with_the_key_whose_limits_it_has() -> None:
    house = Turns(MemoryLimiter(), Settings(), lambda _: None)
    own = customer_of("https://id.example", "ann")
    key = caller(key_id="k", customer_id=own)
    token = caller(user_id="ann", customer_id=own, limits_key_id="k")
    shared = [caller(user_id=name, customer_id="acme", limits_key_id="k") for name in ("ann", "bob")]
    names = [house.turn(each)._whose for each in (key, token, *shared)]
    assert names[0] == names[1]
    assert len(set(names)) == 3, "where users share a customer, each counts alone"
