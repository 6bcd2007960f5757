"""The doctor asks many at once, but never more than it may, and each for a limited time."""

from __future__ import annotations

import asyncio

import pytest
from tests.gateway import model, provider

from sealgate.config import Provider, Secret, Settings
from sealgate.relay import doctor
from sealgate.relay.catalog import build
from sealgate.relay.doctor import Doctor, Finding
from sealgate.relay.upstreams import Upstreams
from sealgate.testing import ScriptedUpstream, error, silent


async def examine(providers: dict[str, Provider], *, seconds: float = 5.0) -> list[Finding]:
    built = build(Settings(providers=providers, models={"m": model(*providers)}))
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
        async with asyncio.timeout(2):
            while upstream.open_connections:  # noqa: ASYNC110 - nobody tells when a connection has gone
                await asyncio.sleep(0.005)
