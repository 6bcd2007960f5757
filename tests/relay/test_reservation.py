"""Budgets through a whole gateway: what is reserved, what is charged, and what callers are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from openai import APIStatusError, OpenAI
from sqlalchemy import Connection, text
from tests.gateway import Running, Serve

from sealgate.config import Billing, Model, Route
from sealgate.config_tables import Budget
from sealgate.limits.ledger import Entry, Outcome
from sealgate.relay.reservation import ASSUMED_ANSWER, IMAGE_TOKENS
from sealgate.testing import Behaviour, answer, cut_after, error, stall_after

USAGE = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
COST = "0.003"
"""Of that usage, at one for a million tokens of the prompt and ten for a million of the answer."""


def at(provider: str, prompt: str = "1", completion: str = "10", **prices: Any) -> Route:
    return Route(provider, "x", input_per_mtok=Decimal(prompt), output_per_mtok=Decimal(completion), **prices)


PRICED = {"m": Model(routes=(at("acme"),))}


async def funded(gateway: Running, amount: str, period: Any = "total") -> dict[str, str]:
    """The headers of a key with that budget."""
    made = await gateway.gateway.keys.create(name="funded", budget=Budget(Decimal(amount), period))
    return {"authorization": f"Bearer {made.key}"}


async def money(gateway: Running) -> tuple[int, int, int]:
    """Of the rows' costs, of what is reserved, of what was spent."""

    def ask(connection: Connection) -> tuple[int, int, int]:
        sums = ("sum(cost) FROM ledger", "sum(reserved) FROM intents", "sum(spent) FROM spending")
        found = [int(connection.execute(text(f"SELECT {each}")).scalar() or 0) for each in sums]
        return found[0], found[1], found[2]

    await gateway.hall.storage.write(lambda _: None)
    return await gateway.hall.storage.read(ask)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_costs_what_its_usage_costs_with_a_budget_and_without(serve: Serve, stream: bool) -> None:
    fields: dict[str, Any] = {"stream": stream} | ({"stream_options": {"include_usage": True}} if stream else {})
    async with serve({"acme": answer("Hi", usage=USAGE)}, PRICED, billing=Billing("EUR")) as gateway:
        headers = await funded(gateway, "1")
        plain, paid = await gateway.chat(**fields), await gateway.chat(headers=headers, **fields)
        rows = await gateway.rows(2)
        assert await money(gateway) == (6_000_000, 0, 3_000_000)
    for reply in (plain, paid):
        last = reply.chunks[-1] if stream else reply.json
        assert last["tresor"]["cost"] == COST
        assert reply.headers.get("x-tresor-cost") == (None if stream else COST)
    assert [(row.cost, row.currency) for row in rows] == [(3_000_000, "EUR")] * 2


@pytest.mark.anyio
async def test_what_has_no_price_costs_nothing_that_anybody_knows(serve: Serve) -> None:
    async with serve({"acme": answer("Hi", usage=USAGE)}) as gateway:
        reply = await gateway.chat()
        row = await gateway.row()
    assert (reply.json["tresor"]["cost"], row.cost, row.currency) == (None, None, None)
    assert "x-tresor-cost" not in reply.headers


@pytest.mark.anyio
async def test_a_budget_does_not_go_with_a_model_that_has_no_price(serve: Serve) -> None:
    """It could not hold: nobody would know what was spent."""
    models = {"m": Model(routes=(Route("acme", "x"),)), "both": Model(routes=(Route("acme", "x"), at("backup")))}
    async with serve({"acme": answer("one"), "backup": answer("two")}, models) as gateway:
        headers = await funded(gateway, "1")
        refused = await gateway.chat(headers=headers)
        served = await gateway.chat(model="both", headers=headers)
        rows = await gateway.rows(2)
        assert len(gateway.upstreams["acme"].requests) == 0
    assert (refused.status, refused.code, refused.error["type"]) == (403, "unpriced_model", "permission_error")
    assert (served.text, served.tresor["routed_model"]) == ("two", "global/backup/both")
    assert [row.outcome for row in rows] == [Outcome.DENIED, Outcome.OK]


@pytest.mark.anyio
async def test_an_empty_budget_is_a_402_that_says_what_is_missing_and_asks_no_provider(serve: Serve) -> None:
    async with serve({"acme": answer("Hi", usage=USAGE)}, PRICED) as gateway:
        headers = await funded(gateway, "0.004")
        assert (await gateway.chat(headers=headers, max_tokens=200)).status == 200
        refused = await gateway.chat(headers=headers, max_tokens=200)
        small = await gateway.chat(headers=headers, max_tokens=50)
        await gateway.rows(3)
        assert len(gateway.upstreams["acme"].requests) == 2
    assert (refused.status, refused.code, refused.headers["x-should-retry"]) == (402, "insufficient_quota", "false")
    assert refused.error["available"] == "0.001"
    assert Decimal("0.002") < Decimal(refused.error["required"]) < Decimal("0.0022")
    assert small.status == 200, "what has room is answered"


@pytest.mark.anyio
async def test_free_models_are_free_whatever_is_left(serve: Serve) -> None:
    models = {"m": Model(routes=(at("acme", "0", "0"),))}
    async with serve({"acme": answer("Hi")}, models) as gateway:
        reply = await gateway.chat(headers=await funded(gateway, "0"))
        assert await money(gateway) == (0, 0, 0)
    assert (reply.status, reply.headers["x-tresor-cost"]) == (200, "0")


@pytest.mark.anyio
async def test_a_route_that_is_too_dear_is_left_for_one_that_is_not(serve: Serve) -> None:
    models = {"m": Model(routes=(at("acme", "1", "1000"), at("backup")))}
    async with serve({"acme": answer("dear"), "backup": answer("cheap", usage=USAGE)}, models) as gateway:
        poor, rich = await funded(gateway, "0.01"), await funded(gateway, "10")
        replies = [await gateway.chat(headers=headers, max_tokens=100) for headers in (poor, rich)]
    assert [(reply.text, reply.tresor["failover"]) for reply in replies] == [("cheap", True), ("dear", False)]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_failed_calls_are_never_charged_and_the_one_that_serves_is(serve: Serve, stream: bool) -> None:
    models = {"m": Model(routes=(at("acme", "9", "90"), at("backup"))), "alone": Model(routes=(at("acme"),))}
    providers: dict[str, Any] = {"acme": error(500), "backup": answer("Hi", usage=USAGE)}
    async with serve(providers, models) as gateway:
        headers = await funded(gateway, "1")
        assert (await gateway.chat(headers=headers, stream=stream)).text == "Hi"
        assert (await gateway.chat(headers=headers, model="alone", stream=stream)).code == "upstream_error"
        assert await money(gateway) == (3_000_000, 0, 3_000_000)


@pytest.mark.anyio
async def test_a_stream_that_breaks_is_charged_for_what_came(serve: Serve) -> None:
    async with serve({"acme": cut_after(3)}, PRICED) as gateway:
        reply = await gateway.chat(headers=await funded(gateway, "1"), stream=True)
        row = await gateway.row()
        costs, held, spent = await money(gateway)
    assert reply.code == "upstream_stream_truncated"
    assert (row.outcome, row.usage_source) == (Outcome.TRUNCATED, "estimated")
    assert row.prompt_tokens is not None
    assert row.completion_tokens
    assert costs == spent == row.prompt_tokens * 1000 + row.completion_tokens * 10_000
    assert held == 0


@pytest.mark.anyio
@pytest.mark.parametrize(("behaviour", "stream"), [
    (stall_after(3), True), (stall_after(0), True), (stall_after(0), False),
])  # fmt: skip
async def test_rows_g1_g2_g3_who_leaves_pays_for_what_was_sent_and_what_came(
    serve: Serve, behaviour: Behaviour, stream: bool
) -> None:
    """The reservation is given back. Of a request that nothing came of the prompt is counted: the provider has it."""
    async with serve({"acme": behaviour}, PRICED) as gateway:
        headers = await funded(gateway, "1")
        async with gateway.client() as client:
            await client.post("/v1/chat/completions", gateway.ask(stream=stream), headers)
            await gateway.upstreams["acme"].wait_for_requests(1)
            await asyncio.sleep(0.05)
        row = await gateway.row()
        costs, held, spent = await money(gateway)
    assert (row.outcome, row.usage_source) == (Outcome.CLIENT_DISCONNECTED, "estimated")
    assert row.prompt_tokens
    assert costs == spent == row.cost == row.prompt_tokens * 1000 + (row.completion_tokens or 0) * 10_000
    assert held == 0


@pytest.mark.anyio
async def test_row_d4_a_hundred_at_once_spend_no_more_than_the_budget_has_room_for(serve: Serve) -> None:
    """Each may cost 0.002 for its answer and a little for its prompt; the budget has room for nine."""
    async with serve({"acme": answer("Hi", usage={"prompt_tokens": 20, "completion_tokens": 200})}, PRICED) as gateway:
        gateway.hall.load.resize(1000)
        headers = await funded(gateway, "0.019")
        replies = await asyncio.gather(*(gateway.chat(headers=headers, max_tokens=200) for _ in range(100)))
        rows = await gateway.rows(100)
        costs, held, spent = await money(gateway)
    assert {reply.status for reply in replies} == {200, 402}
    served = [row for row in rows if row.outcome is Outcome.OK]
    assert len(served) == [reply.status for reply in replies].count(200)
    assert costs == spent == sum(row.cost or 0 for row in rows) == len(served) * 2_020_000
    assert spent <= 19_000_000
    assert held == 0


@pytest.mark.anyio
async def test_keys_without_a_budget_commit_once(serve: Serve) -> None:
    async with serve({"acme": answer("Hi", usage=USAGE)}, PRICED) as gateway:
        headers = await funded(gateway, "1")
        await gateway.chat()
        before = gateway.hall.storage.commits
        await gateway.chat()
        after = gateway.hall.storage.commits
        await gateway.chat(headers=headers)
        paid = gateway.hall.storage.commits
    assert (after - before, paid - after) == (1, 2)


def test_the_official_sdk_sees_a_402_and_does_not_ask_again(serve: Serve) -> None:
    with serve.in_thread({"acme": answer("Hi", usage=USAGE)}, PRICED) as gateway:
        made = gateway.run(gateway.running.gateway.keys.create(name="poor", budget=Budget(Decimal("0.001"))))
        client = OpenAI(base_url=gateway.base_url, api_key=made.key, max_retries=3)
        with client, pytest.raises(APIStatusError) as caught:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
        row: Entry = gateway.row()
    assert caught.value.status_code == 402
    assert caught.value.code == "insufficient_quota"
    body: Any = caught.value.body
    assert (body["available"], row.outcome) == ("0.001", Outcome.DENIED)


# What is reserved


@pytest.mark.anyio
@pytest.mark.parametrize(("fields", "completion"), [
    ({"max_tokens": 100}, 100), ({"max_tokens": 100, "max_completion_tokens": 50}, 50),
    ({"max_tokens": 100, "n": 3}, 300), ({}, ASSUMED_ANSWER),
])  # fmt: skip
async def test_the_worst_case_is_the_prompts_size_and_the_answers_limit(
    serve: Serve, fields: dict[str, Any], completion: int
) -> None:
    async with serve({"acme": answer("Hi")}, PRICED) as gateway:
        body = gateway.ask("word " * 1000, **fields)
        reply = await gateway.chat("word " * 1000, headers=await funded(gateway, "0"), **fields)
    size = len(json.dumps(body))
    required = Decimal(reply.error["required"])
    assert required == pytest.approx(Decimal(completion) / 100_000 + Decimal(size // 2) / 10**6, abs=Decimal("0.0001"))


@pytest.mark.anyio
async def test_the_models_own_limit_and_media_are_counted(serve: Serve) -> None:
    png = "data:image/png;base64," + "A" * 100_000
    message: Sequence[Any] = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": png}}]
    models = {"m": Model(routes=(at("acme"),), max_output_tokens=10)}
    async with serve({"acme": answer("Hi")}, models) as gateway:
        body = {"model": "m", "messages": [{"role": "user", "content": message}]}
        reply = await gateway.post("/v1/chat/completions", body, await funded(gateway, "0"))
    required = Decimal(reply.error["required"]) * 10**6
    assert IMAGE_TOKENS + 100 <= required < IMAGE_TOKENS + 100 + 200
