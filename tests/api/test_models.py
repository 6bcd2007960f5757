"""``GET /v1/models`` and ``/v1/models/{id}`` over real HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from tests.gateway import Running, Serve, Threaded, model, provider

from sealgate.config import Billing, Model, Route
from sealgate.testing import ScriptedUpstream

HERE = "http://127.0.0.1:9/v1"


@pytest.fixture(scope="module")
def house(start: Serve) -> Iterator[Threaded]:
    """Three providers in two regions, and four models; nobody is asked for an answer."""
    providers = {
        "acme": provider(HERE, region="eu"),
        "backup": provider(HERE, region="us"),
        "home": provider(HERE, kind="vllm", region="local"),
    }
    priced = Route(
        provider="acme", model="g", input_per_mtok=Decimal("0.10"), output_per_mtok=Decimal("2"), currency="EUR"
    )
    models = {
        "gemma-4-31b": Model(
            routes=(priced, Route(provider="backup", model="g")),
            aliases=("gemma4",),
            context_tokens=128_000,
            max_output_tokens=8192,
        ),
        "org/small": model("home"),
        "bge-m3": model("home", type="embedding"),
        "whisper": model("acme", type="transcription"),
    }
    with start.in_thread(providers, models, billing=Billing(currency="EUR")) as found:
        yield found


@pytest.fixture
def running(house: Threaded) -> Running:
    return house.running


async def ids(running: Running, query: str = "", **options: Any) -> list[str]:
    body = (await running.get(f"/v1/models{query}", **options)).json
    assert body["object"] == "list"
    return [each["id"] for each in body["data"]]


@pytest.mark.anyio
async def test_the_list_has_every_bare_key_and_every_route(running: Running) -> None:
    for path in ("/v1/models", "/v1/models/", "/api/v1/models", "/api/v1/models/"):
        body = (await running.get(path, {})).json
        assert [each["id"] for each in body["data"]] == [
            "gemma-4-31b", "eu/acme/gemma-4-31b", "us/backup/gemma-4-31b", "org/small", "local/home/org/small",
            "bge-m3", "local/home/bge-m3", "whisper", "eu/acme/whisper",
        ]  # fmt: skip
        assert body["object"] == "list"


@pytest.mark.anyio
async def test_an_entry_is_openais_and_no_more(running: Running) -> None:
    for each in (await running.get("/v1/models")).json["data"]:
        assert set(each) == {"id", "object", "created", "owned_by"}
        assert each["object"] == "model"
        assert time.time() - 600 < each["created"] <= time.time()
    owners = {each["id"]: each["owned_by"] for each in (await running.get("/v1/models")).json["data"]}
    assert owners["us/backup/gemma-4-31b"] == "backup"


@pytest.mark.anyio
async def test_details_of_a_route_and_of_a_bare_key(running: Running) -> None:
    details = {each["id"]: each["tresor"] for each in (await running.get("/v1/models?detail=true")).json["data"]}
    route = details["eu/acme/gemma-4-31b"]
    assert {name: route[name] for name in ("model_key", "region", "provider", "type", "pricing")} == {
        "model_key": "gemma-4-31b", "region": "eu", "provider": "acme", "type": "chat",
        "pricing": {
            "input_per_mtok": "0.10", "output_per_mtok": "2", "billing_unit": "token", "unit_amount": 1_000_000,
            "currency": "EUR",
        },
    }  # fmt: skip
    assert (route["context_tokens"], route["max_output_tokens"]) == (128_000, 8192)
    assert isinstance(route["capabilities"], list)
    assert details["us/backup/gemma-4-31b"]["pricing"] is None
    bare = details["gemma-4-31b"]
    assert (bare["region"], bare["provider"], bare["pricing"]) == (None, None, None)
    assert details["bge-m3"]["type"] == "embedding"
    assert (details["whisper"]["region"], details["whisper"]["provider"]) == ("eu", "acme")


@pytest.mark.anyio
async def test_detail_means_true_and_nothing_else(running: Running) -> None:
    for query, wanted in (("?detail=TRUE", True), ("?detail=1", True), ("?detail=false", False), ("?detail", False)):
        assert all(("tresor" in each) is wanted for each in (await running.get(f"/v1/models{query}")).json["data"])


@pytest.mark.anyio
async def test_filters(running: Running) -> None:
    assert await ids(running, "?region=us") == ["gemma-4-31b", "us/backup/gemma-4-31b"]
    assert await ids(running, "?provider=home") == ["org/small", "local/home/org/small", "bge-m3", "local/home/bge-m3"]
    assert await ids(running, "?type=embedding") == ["bge-m3", "local/home/bge-m3"]
    assert await ids(running, "?region=eu&type=chat") == ["gemma-4-31b", "eu/acme/gemma-4-31b"]
    assert await ids(running, "?region=eu&provider=home") == []
    assert await ids(running, "?region=nowhere") == []
    assert len(await ids(running, "?other=1")) == 9


@pytest.mark.anyio
async def test_a_filtered_detail_tells_of_what_is_left(running: Running) -> None:
    found = (await running.get("/v1/models?region=eu&type=chat&detail=true")).json["data"]
    bare = next(each["tresor"] for each in found if each["id"] == "gemma-4-31b")
    assert (bare["region"], bare["provider"], bare["pricing"]["currency"]) == ("eu", "acme", "EUR")


@pytest.mark.anyio
async def test_a_type_there_is_not_is_an_error(running: Running) -> None:
    reply = await running.get("/v1/models?type=video")
    assert (reply.status, reply.code, reply.error["param"]) == (400, "invalid_parameter", "type")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "model_id"),
    [
        ("gemma-4-31b", "gemma-4-31b"),
        ("gemma-4-31b/", "gemma-4-31b"),
        ("eu/acme/gemma-4-31b", "eu/acme/gemma-4-31b"),
        ("eu%2Facme%2Fgemma-4-31b", "eu/acme/gemma-4-31b"),
        ("org/small", "org/small"),
        ("local/home/org/small", "local/home/org/small"),
        ("gemma4", "gemma-4-31b"),
    ],
)
async def test_one_model_by_any_of_its_names(running: Running, path: str, model_id: str) -> None:
    for mount in ("/v1", "/api/v1"):
        reply = await running.get(f"{mount}/models/{path}")
        assert reply.status == 200
        assert reply.json["id"] == model_id
        assert "tresor" not in reply.json
    assert (await running.get(f"/v1/models/{path}?detail=true")).json["tresor"]["model_key"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path", ["unknown", "eu/acme/unknown", "eu/backup/gemma-4-31b", "..%2f..", "%00", "gemma-4-31b/x"]
)
async def test_a_model_there_is_not_is_404(running: Running, path: str) -> None:
    reply = await running.get(f"/v1/models/{path}")
    assert (reply.status, reply.code, reply.error["param"]) == (404, "model_not_found", "model")


@asynccontextmanager
async def narrow(serve: Serve) -> AsyncIterator[tuple[Running, str]]:
    """A gateway with two models, and a key for one of them."""
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}, {"a": ["acme"], "b": ["acme"]}) as running:
        yield running, (await running.gateway.keys.create(name="narrow", models=["b"])).key


@pytest.mark.anyio
async def test_a_key_sees_what_it_may_use(serve: Serve) -> None:
    async with narrow(serve) as (running, key):
        mine = {"authorization": f"Bearer {key}"}
        assert await ids(running, headers=mine) == ["b", "global/acme/b"]
        assert await ids(running) == await ids(running, headers={}) == ["a", "global/acme/a", "b", "global/acme/b"]
        for path, status in (("b", 200), ("global/acme/b", 200), ("a", 404), ("global/acme/a", 404)):
            assert (await running.get(f"/v1/models/{path}", mine)).status == status
        assert (await running.get("/v1/models/a", mine)).body == (await running.get("/v1/models/c", mine)).body


@pytest.mark.anyio
async def test_a_wrong_key_is_no_public_caller(running: Running) -> None:
    for headers in ({"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}):
        for path in ("/v1/models", "/v1/models/gemma-4-31b"):
            assert (await running.get(path, headers)).status == 401


@pytest.mark.anyio
async def test_every_listed_id_can_be_asked_for(serve: Serve) -> None:
    async with ScriptedUpstream() as upstream:
        providers = {"acme": provider(upstream, region="eu"), "backup": provider(upstream)}
        async with serve(providers, {"m": ["acme", "backup"], "org/n": ["acme"]}) as running:
            for name in await ids(running):
                reply = await running.chat(model=name)
                assert (reply.status, reply.json["model"]) == (200, name)
