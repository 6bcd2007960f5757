"""What is there without configuration: the sandbox, keys in the environment, servers on their usual ports."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from sealgate.config import Model, Provider, Route, Secret, Settings
from sealgate.outward.http1 import Http1Client
from sealgate.providers import discover as discovery
from sealgate.providers.discover import discover
from sealgate.providers.table import KINDS
from sealgate.relay.catalog import build
from sealgate.testing import (
    Behaviour,
    ScriptedUpstream,
    answer,
    empty,
    error,
    html,
    json_answer,
    redirect,
    refusing,
    reset,
    run,
    short_body,
    silent,
    truncated,
    unanswering,
)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No keys in the environment, and none of the usual ports: a test says what is there."""
    for kind in KINDS.values():
        for variable in kind.key_variables:
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(discovery, "KINDS", {name: replace(kind, port=None) for name, kind in KINDS.items()})


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a kind's usual port somewhere else."""

    def place(kind: str, base_url: str) -> None:
        moved = replace(KINDS[kind], base_url=base_url, port=1)
        monkeypatch.setattr(discovery, "KINDS", {**discovery.KINDS, kind: moved})

    return place


async def found(settings: Settings | None = None) -> Settings:
    client = Http1Client()
    try:
        return await discover(settings or Settings(), client)
    finally:
        await client.aclose()


def routes(settings: Settings) -> dict[str, list[tuple[str, str]]]:
    return {name: [(route.provider, route.model) for route in model.routes] for name, model in settings.models.items()}


SANDBOX = {"sandbox": [("sandbox", "sandbox")]}


@pytest.mark.anyio
async def test_the_sandbox_is_always_there() -> None:
    settings = await found()
    assert settings.providers == {"sandbox": Provider(kind="sandbox", region="local")}
    assert routes(settings) == SANDBOX
    assert build(settings).resolve("sandbox/anything").requested_route == "auto/sandbox/anything"


@pytest.mark.anyio
async def test_a_key_in_the_environment_is_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-openai")
    monkeypatch.setenv("XAI_API_KEY", "key-of-xai")
    monkeypatch.setenv("GROQ_API_KEY", "")
    settings = await found()
    assert {name: row.api_key for name, row in settings.providers.items() if row.api_key} == {
        "openai": (Secret("key-of-openai"),),
        "xai": (Secret("key-of-xai"),),
    }
    catalog = build(settings)
    assert catalog.resolve("openai::gpt-5").routes[0].account.base_url == "https://api.openai.com/v1"
    assert "key-of-openai" not in repr(settings) + repr(catalog)


@pytest.mark.anyio
async def test_a_local_server_is_found_with_its_models(place: Any) -> None:
    async with ScriptedUpstream(models=["gemma-4-31b", "org/model"]) as upstream:
        place("ollama", upstream.base_url)
        settings = await found()
    assert settings.providers["ollama"] == Provider(kind="ollama", region="local")
    assert routes(settings) == SANDBOX | {
        "gemma-4-31b": [("ollama", "gemma-4-31b")],
        "org/model": [("ollama", "org/model")],
    }
    [request] = upstream.requests
    assert (request.method, request.path) == ("GET", "/v1/models")
    assert "authorization" not in request.headers


@pytest.mark.anyio
async def test_two_servers_with_one_model_are_both_there_and_the_first_has_its_name(place: Any) -> None:
    async with ScriptedUpstream(models=["same", "one"]) as first, ScriptedUpstream(models=["same"]) as second:
        place("vllm", first.base_url)
        place("ollama", second.base_url)
        settings = await found()
    assert routes(settings) == SANDBOX | {"same": [("vllm", "same")], "one": [("vllm", "one")]}
    assert "ollama" in settings.providers
    assert build(settings).resolve("ollama::same").routes[0].provider == "ollama"


NOT_A_MODEL_SERVER: dict[str, Behaviour] = {
    "a web page": html(),
    "an error": error(500),
    "a redirect": redirect(),
    "nothing": empty(),
    "a reset": reset(),
    "half a document": short_body(),
    "no list": json_answer({"data": "x"}),
    "no object": json_answer([1]),
    "items without names": json_answer({"data": [{"name": "x"}]}),
    "no items": json_answer({"data": [1]}),
    "a number": json_answer(7),
    "a huge list": json_answer({"data": [{"id": "x" * 1000}] * 1100}),
    "an answer": truncated(),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", NOT_A_MODEL_SERVER)
async def test_what_does_not_list_models_on_a_usual_port_is_left_alone(place: Any, name: str) -> None:
    async with ScriptedUpstream(handler=lambda _: NOT_A_MODEL_SERVER[name]) as upstream:
        place("vllm", upstream.base_url)
        settings = await found()
    assert set(settings.providers) == {"sandbox"}
    assert routes(settings) == SANDBOX


def test_a_port_that_says_nothing_does_not_hold_up_the_start(place: Any) -> None:
    """All are asked at once; neither silence nor a dropped connection costs more than a second."""

    async def scene() -> tuple[Settings, float]:
        async with ScriptedUpstream(handler=lambda _: silent()) as first, ScriptedUpstream() as third:
            place("vllm", first.base_url)
            place("sglang", first.base_url)
            place("ollama", third.base_url)
            started = asyncio.get_running_loop().time()
            return await found(), asyncio.get_running_loop().time() - started

    with unanswering() as dropped, refusing() as refused:
        place("llamacpp", dropped)
        place("lmstudio", refused)
        settings, seconds = run(scene())
    assert set(settings.providers) == {"sandbox", "ollama"}
    assert seconds <= 1


@pytest.mark.anyio
async def test_what_the_operator_configured_is_never_changed(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    mine = {
        "openai": Provider(kind="openai", base_url="https://llm.acme.example/v1", api_key=(Secret("mine"),)),
        "vllm": Provider(kind="vllm", base_url="http://10.0.0.1:8000/v1"),
        "ollama": Provider(kind="ollama", region="cellar"),
    }
    models = {"gemma": Model(routes=(Route(provider="openai", model="g"),), aliases=("second", "sandbox"))}
    async with ScriptedUpstream(models=["first"]) as vllm, ScriptedUpstream(models=["gemma", "second", "x"]) as ollama:
        place("vllm", vllm.base_url)
        place("ollama", ollama.base_url)
        settings = await found(Settings(providers=mine, models=models))
    assert {name: settings.providers[name] for name in mine} == mine
    assert routes(settings) == {"gemma": [("openai", "g")], "x": [("ollama", "x")]}, (
        "models of a server that is not the one configured under its name are not offered, nor names that are taken"
    )
    build(settings)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["local/vllm/x", "auto/auto/x", "vllm::x", "tensorzero::x", "", " x", "a\nb"])
async def test_a_models_name_that_would_read_as_something_else_does_not_stop_the_start(place: Any, name: str) -> None:
    async with ScriptedUpstream(models=[name, "fine", "accounts/acme/models/fine"]) as upstream:
        place("vllm", upstream.base_url)
        settings = await found()
    assert set(build(settings).models) == {"sandbox", "fine", "accounts/acme/models/fine"}


@pytest.mark.anyio
async def test_what_was_found_answers(serve: Any, place: Any) -> None:
    async with ScriptedUpstream(models=["gemma"], default=answer("Found.")) as upstream:
        place("vllm", upstream.base_url)
        settings = await found()
        rows = {**settings.providers, "vllm": Provider(kind="vllm", region="local", base_url=upstream.base_url)}
        async with serve(rows, settings.models) as gateway:
            assert (await gateway.chat(model="gemma")).text == "Found."
            assert (await gateway.chat(model="sandbox", max_tokens=5)).tresor["routed_model"] == "local/sandbox/sandbox"
