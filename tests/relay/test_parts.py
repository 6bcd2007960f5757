"""Requests for embeddings in several calls: order, one settlement, bounds, failures."""

from __future__ import annotations

import asyncio
import json
import threading
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from openai import OpenAI
from tests.gateway import Serve, model, provider

from sealgate.config import Model, Provider, Route
from sealgate.config_tables import Budget
from sealgate.limits.ledger import Outcome
from sealgate.providers.whole import HEAVY
from sealgate.receipts.receipt import digest
from sealgate.relay.embeddings import EmbeddingsAnswer, unpacked
from sealgate.relay.parts import AT_ONCE
from sealgate.testing import ScriptedUpstream, Sleep, ThreadedUpstream, sigv4
from sealgate.testing.bedrock_wire import converse_error
from sealgate.testing.embedding_wire import embedded, tokens_of, vector_of
from sealgate.testing.received import Received
from sealgate.testing.script import Behaviour, Step, json_answer, resolve

PATH = "/v1/embeddings"
TITAN = "amazon.titan-embed-text-v2:0"
TEXTS = [f"text number {number}" for number in range(40)]


def at(upstream: ScriptedUpstream, kind: str = "bedrock", **fields: Any) -> Any:
    fields = {"aws_region": "eu-central-1"} | fields if kind == "bedrock" else fields
    return provider(upstream.origin, kind=kind, **fields)


def titan(*providers: str, **fields: Any) -> dict[str, Model]:
    return {"m": model(*providers, upstream_model=TITAN, type="embedding", **fields)}


def failing_at(text: str, failure: Behaviour) -> Any:
    """Good answers, but for the call with this text."""

    def handler(received: Received) -> Any:
        return resolve(failure, received) if received.json.get("inputText") == text else embedded()(received)

    return handler


@pytest.mark.anyio
async def test_many_inputs_go_in_several_calls_and_come_back_in_order_settled_once(serve: Serve) -> None:
    async with ScriptedUpstream(handler=embedded()) as upstream:
        async with serve({"aws": at(upstream)}, titan("aws")) as gateway:
            reply = await gateway.post(PATH, {"model": "m", "input": TEXTS})
            rows = await gateway.rows()
        sent = sorted(request.json["inputText"] for request in upstream.requests)

    assert reply.status == 200
    assert [each["embedding"] for each in reply.json["data"]] == [vector_of(text) for text in TEXTS]
    assert [each["index"] for each in reply.json["data"]] == list(range(len(TEXTS)))
    used = sum(map(tokens_of, TEXTS))
    assert reply.json["usage"] == {"prompt_tokens": used, "total_tokens": used}
    assert sent == sorted(TEXTS)
    [row] = rows
    assert (row.attempts, row.outcome, row.prompt_tokens, row.usage_source) == (1, Outcome.OK, used, "reported")


@pytest.mark.anyio
@pytest.mark.parametrize("size", [600, 6], ids=["large", "small"])
async def test_a_large_answer_of_small_parts_is_made_outside_of_the_event_loop(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """No part is worth a thread, but the answer that is made of them all is."""
    threads: list[int] = []
    take = EmbeddingsAnswer.take

    def noted(self: EmbeddingsAnswer, upstream: Any) -> Any:
        threads.append(threading.get_ident())
        return take(self, upstream)

    monkeypatch.setattr(EmbeddingsAnswer, "take", noted)
    vector = [number / 7 for number in range(size)]
    found = json_answer({"embedding": vector, "inputTextTokenCount": 3})
    texts = [f"text number {number}" for number in range(200)]
    async with (
        ScriptedUpstream(handler=lambda _: found) as upstream,
        serve({"aws": at(upstream)}, titan("aws")) as gateway,
    ):
        reply = await gateway.post(PATH, {"model": "m", "input": texts})

    assert [each["embedding"] for each in reply.json["data"]] == [vector] * 200
    assert (len(reply.body) > HEAVY) is (size == 600)
    assert [thread == threading.get_ident() for thread in threads] == [size == 6]


@pytest.mark.anyio
async def test_no_more_than_a_few_calls_of_a_request_are_under_way_at_once(serve: Serve) -> None:
    under_way = [0]
    most = [0]

    def handler(received: Received) -> Iterator[Step]:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        yield Sleep(0.01)
        under_way[0] -= 1
        yield from embedded()(received)  # type: ignore[misc]

    async with ScriptedUpstream(handler=handler) as upstream, serve({"aws": at(upstream)}, titan("aws")) as gateway:
        reply = await gateway.post(PATH, {"model": "m", "input": TEXTS})

    assert reply.status == 200
    assert 1 < most[0] <= AT_ONCE


@pytest.mark.anyio
async def test_one_call_that_fails_leaves_the_route_with_all_of_the_inputs(serve: Serve) -> None:
    broken = failing_at(TEXTS[17], converse_error("ThrottlingException"))
    async with ScriptedUpstream(handler=broken) as first, ScriptedUpstream(handler=embedded()) as second:
        providers = {"aws": at(first), "acme": provider(second)}
        routes = (Route(provider="aws", model=TITAN), Route(provider="acme", model="other"))
        models = {"m": Model(routes=routes, type="embedding")}
        async with serve(providers, models) as gateway:
            reply = await gateway.post(PATH, {"model": "m", "input": TEXTS})
            row = await gateway.row()
        at_second = [request.json["input"] for request in second.requests]

    assert (reply.status, reply.json["tresor"]["failover"], row.attempts) == (200, True, 2)
    assert at_second == [TEXTS]
    assert [each["embedding"] for each in reply.json["data"]] == [vector_of(text) for text in TEXTS]


@pytest.mark.anyio
@pytest.mark.parametrize(("failure", "status", "code"), [
    (converse_error("ThrottlingException"), 429, "upstream_rate_limited"),
    (converse_error("ServiceUnavailableException"), 503, "upstream_overloaded"),
    (converse_error("ValidationException", "bad text"), 400, "upstream_invalid_request"),
    (converse_error("AccessDeniedException"), 502, "upstream_auth_failed"),
])  # fmt: skip
async def test_the_error_of_a_part_is_the_error_of_the_request(
    serve: Serve, failure: Behaviour, status: int, code: str
) -> None:
    async with (
        ScriptedUpstream(handler=failing_at(TEXTS[3], failure)) as upstream,
        serve({"aws": at(upstream)}, titan("aws")) as gateway,
    ):
        reply = await gateway.post(PATH, {"model": "m", "input": TEXTS})
        row = await gateway.row()

    assert (reply.status, reply.code) == (status, code)
    assert [outcome for _, outcome, _ in reply.attempts] != []
    assert row.prompt_tokens == 0 or row.cost in (None, 0)


@pytest.mark.anyio
async def test_a_caller_who_leaves_ends_every_call(serve: Serve) -> None:
    began = asyncio.Event()

    def handler(received: Received) -> Iterator[Step]:
        began.set()
        yield Sleep(60)

    async with ScriptedUpstream(handler=handler) as upstream, serve({"aws": at(upstream)}, titan("aws")) as gateway:
        asked = asyncio.create_task(gateway.post(PATH, {"model": "m", "input": TEXTS}))
        await asyncio.wait_for(began.wait(), 20)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        row = await gateway.row()

    assert row.outcome is Outcome.CLIENT_DISCONNECTED
    assert len(upstream.requests) <= AT_ONCE


@pytest.mark.anyio
async def test_a_budget_pays_for_the_sum_once_and_the_receipt_names_every_body(serve: Serve) -> None:
    """Nothing is reserved for an answer's tokens: vectors have none."""
    price = {"input_per_mtok": Decimal(1000), "output_per_mtok": Decimal(1000)}
    priced = Model(routes=(Route(provider="aws", model=TITAN, **price),), type="embedding")
    async with ScriptedUpstream(handler=embedded()) as upstream:
        async with serve({"aws": at(upstream)}, {"m": priced}) as gateway:
            made = await gateway.gateway.keys.create(name="rich", budget=Budget(Decimal(5)))
            reply = await gateway.post(PATH, {"model": "m", "input": TEXTS}, {"authorization": f"Bearer {made.key}"})
            row = await gateway.row()
        bodies = {request.json["inputText"]: request.body for request in upstream.requests}

    used = sum(map(tokens_of, TEXTS))
    assert Decimal(reply.json["tresor"]["cost"]) == Decimal(used) / 1000
    assert row.cost == used * 1_000_000
    assert row.receipt is not None
    claims = json.loads(urlsafe_b64decode(row.receipt.split(".")[1] + "=="))
    joined = b"\n".join(bodies[text] for text in TEXTS)
    assert claims["forwarded"]["wire"] == digest(urlsafe_b64decode(claims["salt"] + "=="), "forwarded.wire", joined)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "name", "service"), [("bedrock", TITAN, "bedrock"), ("sagemaker", "bge", "sagemaker")]
)
async def test_every_call_carries_a_signature_of_its_own_that_aws_would_take(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, service: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", sigv4.ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", sigv4.SECRET_KEY)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    async with ScriptedUpstream(handler=embedded()) as upstream:
        aws = Provider(kind=kind, aws_region="eu-central-1", base_url=upstream.origin)
        async with serve({"aws": aws}, {"m": model("aws", upstream_model=name, type="embedding")}) as gateway:
            reply = await gateway.post(PATH, {"model": "m", "input": ["a", "b", "c"]})

    assert reply.status == 200
    assert [sigv4.complaint(each, service, "eu-central-1") for each in upstream.requests] == [None] * len(
        upstream.requests
    )


AWS = {"aws_region": "eu-central-1"}


@pytest.mark.parametrize(("kind", "name", "settings", "count"), [
    ("bedrock", TITAN, AWS, 40),
    ("bedrock", "cohere.embed-v4:0", AWS, 100),
    ("google", "gemini-embedding-001", {}, 120),
    ("vertex", "text-embedding-005", {"project": "acme", "location": "eu"}, 260),
    ("sagemaker", "bge", {**AWS, "carries": "tgi"}, 40),
])  # fmt: skip
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_the_official_sdk_gets_vectors_of_more_texts_than_one_call_holds(
    serve: Serve, encoding: Any, kind: str, name: str, settings: Any, count: int
) -> None:
    texts = [f"text {number}" for number in range(count)]
    with ThreadedUpstream(ScriptedUpstream(handler=embedded())) as upstream:
        providers = {"it": provider(upstream.origin, kind=kind, **settings)}
        with serve.in_thread(providers, {"m": model("it", upstream_model=name, type="embedding")}) as gateway:
            client = OpenAI(api_key=gateway.key, base_url=gateway.base_url, max_retries=0)
            found = client.embeddings.create(model="m", input=texts, dimensions=256, encoding_format=encoding)
            usual = client.embeddings.create(model="m", input=texts[:2], dimensions=256)

    if kind != "sagemaker":
        assert found.usage.prompt_tokens == sum(map(tokens_of, texts))
    vectors = [vector_of(text, 256) for text in texts]
    if encoding == "float":
        assert [each.embedding for each in found.data] == vectors
    else:
        assert [unpacked(str(each.embedding)) for each in found.data] == vectors
    assert [each.embedding for each in usual.data] == vectors[:2]
