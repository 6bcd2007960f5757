"""The doctor asks many at once, but never more than it may, and each for a limited time."""

from __future__ import annotations

import asyncio

import pytest
from tests.gateway import model, provider

from sealgate.config import Model, Provider, Secret, Settings
from sealgate.relay import doctor
from sealgate.relay.catalog import build
from sealgate.relay.doctor import Doctor, Finding
from sealgate.relay.upstreams import Upstreams
from sealgate.testing import Behaviour, Received, ScriptedUpstream, error, silent


async def examine(
    providers: dict[str, Provider], *, seconds: float = 5.0, models: dict[str, Model] | None = None
) -> list[Finding]:
    built = build(Settings(providers=providers, models=models or {"m": model(*providers)}))
    upstreams = Upstreams(providers)
    try:
        found = Doctor(built, upstreams, lambda: 1.8e9, lambda _: True, seconds)
        return await found.examine(built.accounts.values())
    finally:
        await upstreams.aclose()


@pytest.mark.anyio
async def test_only_so_many_are_asked_at_once_and_all_are_answered_in_order() -> None:
    running, most = 0, 0

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    assert await doctor._gather(3, [work(number) for number in range(10)]) == list(range(10))
    assert most == 3


@pytest.mark.anyio
async def test_silent_accounts_are_waited_for_together() -> None:
    async with ScriptedUpstream(handler=lambda _: silent()) as upstream:
        loop = asyncio.get_running_loop()
        started = loop.time()
        found = await examine({f"p{number}": provider(upstream) for number in range(8)}, seconds=0.2)
        # Three waits of each account: for a sign of life, for the list, for an answer. One after the other: 24.
        assert loop.time() - started < 8 * 3 * 0.2
        routes = [each for each in found if each.check.endswith("/m")]
        assert len(routes) == 8
        assert all(each.says.startswith("too slow") for each in routes)


@pytest.mark.anyio
async def test_what_fails_only_by_its_key_is_asked_again_by_one_that_works() -> None:
    """A request to the gateway would be answered, so the route is well; the key's own line says what is not."""

    def by_key(received: object) -> object:
        refused = getattr(received, "headers", {}).get("authorization") == "Bearer first"
        return error(403) if refused and getattr(received, "method", "") == "POST" else None

    async with ScriptedUpstream(handler=by_key) as upstream:  # type: ignore[arg-type]
        keys = (Secret("first"), Secret("second"))
        found = {each.check: each.state for each in await examine({"acme": provider(upstream, api_key=keys)})}
        assert found == {"address": "ok", "key 1": "wrong", "key 2": "ok", "models": "ok", "global/acme/m": "ok"}


@pytest.mark.anyio
async def test_no_connection_is_left_open() -> None:
    async with ScriptedUpstream() as upstream:
        await examine({"acme": provider(upstream)})
        async with asyncio.timeout(20):
            while upstream.open_connections:  # noqa: ASYNC110 - nobody tells when a connection has gone
                await asyncio.sleep(0.005)


@pytest.mark.anyio
async def test_a_parameter_that_a_model_refuses_is_said_with_the_line_to_write() -> None:
    def handle(received: Received) -> Behaviour | None:
        if received.method == "POST" and "max_tokens" in received.json:
            return error(400, "unsupported_parameter", "Unsupported parameter: 'max_tokens'.", param="max_tokens")
        return None

    async with ScriptedUpstream(handler=handle) as upstream:
        [found] = [each for each in await examine({"acme": provider(upstream, "compatible")}) if "/m" in each.check]
        sent = [each.json for each in upstream.requests if each.method == "POST"]
    assert found.state == "note"
    assert found.says.startswith("test-model answered in ")
    assert "refuses max_tokens" in found.says
    assert found.says.endswith('{ provider = "acme", model = "test-model", refuses = ["max_tokens"] }')
    assert ["max_tokens" in each for each in sent] == [True, False]


@pytest.mark.anyio
async def test_a_refusal_of_what_counts_stays_wrong() -> None:
    async with ScriptedUpstream(handler=lambda each: error(400) if each.method == "POST" else None) as upstream:
        [found] = [each for each in await examine({"acme": provider(upstream)}) if "/m" in each.check]
        assert found.state == "wrong"
        assert sum(each.method == "POST" for each in upstream.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["embedding", "transcription"])
async def test_models_that_do_not_chat_are_looked_up_in_the_list_and_said_to_be_unchecked(kind: str) -> None:
    async with ScriptedUpstream(models=["listed"]) as upstream:
        models = {name: model("acme", upstream_model=name, type=kind) for name in ("listed", "absent")}
        found = {each.check: each for each in await examine({"acme": provider(upstream)}, models=models)}
        assert all(each.method == "GET" for each in upstream.requests)
    listed, absent = found["global/acme/listed"], found["global/acme/absent"]
    assert (listed.state, absent.state) == ("ok", "note")
    assert listed.says == f"listed is listed; otherwise not checked: nothing is asked of models for {kind}"
    assert absent.says.startswith("its list has no model 'absent'")
    assert "not checked" in absent.says


@pytest.mark.anyio
async def test_without_a_list_a_model_that_does_not_chat_is_plainly_unchecked() -> None:
    async with ScriptedUpstream(handler=lambda _: error(404)) as upstream:
        models = {"e": model("acme", type="embedding")}
        found = await examine({"acme": provider(upstream, "azure")}, models=models)
    assert [each.says for each in found if each.check == "global/acme/e"] == [
        "not checked: nothing is asked of models for embedding, and there is no list of models"
    ]
