"""A plan in words, and what would be sent: to an administrator, without sending it."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.gateway import CHAT, UPSTREAM_KEY, Running, Serve, model, provider

from sealgate.config import Model, Route, Secret
from sealgate.errors import Failure, UpstreamError
from sealgate.relay.catalog import Target
from sealgate.testing import ScriptedUpstream, answer, error

DRY = CHAT + "?dry_run=true"


def admin(gateway: Running) -> dict[str, str]:
    return {"authorization": f"Bearer {gateway.admin_key}"}


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_dry_run_shows_exactly_what_is_sent_when_it_is_not_dry(serve: Serve, stream: bool) -> None:
    """The same address, headers and body, byte for byte; only the credential is hidden."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    async with serve({"acme": answer()}) as gateway:
        asked = gateway.ask("Grüße 👋", stream=stream, max_tokens=7, seed=3, region="global")
        dry = (await gateway.post(DRY, asked, admin(gateway) | trace)).json
        assert not gateway.upstreams["acme"].requests
        assert (await gateway.post(CHAT, asked, trace)).status == 200
        [received] = gateway.upstreams["acme"].requests
        await gateway.row()  # one: the dry run left none
    [would] = dry["requests"]
    assert would["method"] == received.method
    assert would["url"].endswith(received.path)
    assert would["body"] == received.json
    sent = {name: value for name, value in received.headers.items() if name not in ("host", "content-length")}
    assert would["headers"] == {**sent, "authorization": "[redacted]"}
    assert sent["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert UPSTREAM_KEY not in msgspec.json.encode(dry).decode()


@pytest.mark.anyio
async def test_a_dry_run_lists_every_target_in_order_with_reasons(serve: Serve) -> None:
    async with ScriptedUpstream() as upstream:
        pool = provider(upstream, api_key=(Secret("one-of-two-keys"), Secret("two-of-two-keys")), retries=1)
        models = {"m": ["acme", "tired", "backup"], "other": ["backup"]}
        async with serve({"acme": pool, "tired": answer(), "backup": answer()}, models) as gateway:
            tired = gateway.hall.catalog.models["m"].routes[1]
            health = gateway.hall.means.seen.health
            visit = health.begin(Target(tired))
            assert visit is not None
            health.failed(visit, UpstreamError(Failure.RATE_LIMITED, retry_after=30))
            reply = await gateway.post(DRY, gateway.ask(failover=["other"]), admin(gateway))
    found = reply.json
    assert found["object"] == "chat.completion.dry_run"
    assert found["requested_route"] == "auto/auto/m"
    assert [(each["route"], each["key"], each["tries"], each["reason"]) for each in found["targets"]] == [
        ("global/acme/m", 0, 2, "as written"),
        ("global/acme/m", 1, 2, "key 2 of 2, where the one before is refused"),
        ("global/backup/m", 0, 1, "as written"),
        ("global/backup/other", 0, 1, "named under failover"),
    ]
    assert found["skipped"] == [
        {"route": "global/tired/m", "reason": "cooling down for 30 s after rate_limited"},
    ]
    assert [each["route"] for each in found["requests"]] == [each["route"] for each in found["targets"]]


@pytest.mark.anyio
@pytest.mark.parametrize(("policy", "reason"), [
    ("weighted", "drawn with weight 1 of 3"), ("price", "costs 0.2 + 0.4 USD per million tokens"),
    ("latency", "not measured yet"), ("order", "as written"),
])  # fmt: skip
async def test_the_reason_is_the_policys(serve: Serve, policy: Any, reason: str) -> None:
    price = Decimal("0.2")
    prices: Any = {"input_per_mtok": price, "output_per_mtok": 2 * price}
    routes = (Route("acme", "x", **prices), Route("backup", "x", weight=2, **prices))
    async with serve({"acme": answer(), "backup": answer()}, {"m": Model(routes=routes, policy=policy)}) as gateway:
        found = (await gateway.post(DRY, gateway.ask(), admin(gateway))).json
    reasons = {each["route"]: each["reason"] for each in found["targets"]}
    assert reasons["global/acme/m"] == reason


@pytest.mark.anyio
async def test_a_last_resort_is_told_as_one(serve: Serve) -> None:
    async with serve({"acme": error(401)}) as gateway:
        assert (await gateway.chat()).code == "upstream_auth_failed"
        found = (await gateway.post(DRY, gateway.ask(), admin(gateway))).json
    assert found["targets"][0]["reason"] == "ejected, but nothing else is left"


@pytest.mark.anyio
async def test_only_an_administrators_key_may_look(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        assert (await gateway.post(DRY, gateway.ask())).code == "admin_key_required"
        assert not gateway.upstreams["acme"].requests


@pytest.mark.anyio
@pytest.mark.parametrize("value", ["", "1", "TRUE", "yes", "true&dry_run=false"])
async def test_a_dry_run_that_is_not_plainly_meant_is_neither_dry_nor_run(serve: Serve, value: str) -> None:
    async with serve({"acme": answer()}) as gateway:
        reply = await gateway.post(f"{CHAT}?dry_run={value}", gateway.ask(), admin(gateway))
        assert (reply.status, reply.code, reply.error["param"]) == (400, "invalid_parameter", "dry_run")
        assert (await gateway.post(f"{CHAT}?dry_run=false", gateway.ask())).status == 200
        assert len(gateway.upstreams["acme"].requests) == 1


@pytest.mark.anyio
async def test_what_cannot_be_planned_is_told_as_ever(serve: Serve) -> None:
    async with serve({"acme": answer()}, {"m": model("acme")}) as gateway:
        reply = await gateway.post(DRY, gateway.ask(model="nothing"), admin(gateway))
        assert (reply.status, reply.code) == (404, "model_not_found")
        reply = await gateway.post(DRY, {"model": "m", "messages": []}, admin(gateway))
        assert (reply.status, reply.code) == (400, "invalid_messages")


@pytest.mark.anyio
async def test_a_request_that_cannot_be_written_for_a_target_is_told_as_its_error(serve: Serve) -> None:
    azure = provider("https://llm.acme.example", kind="azure", api_version="2024-10-21")
    async with serve({"az": azure}, {"m": ["az"]}) as gateway:
        found = (await gateway.post(DRY, gateway.ask(model="az::.."), admin(gateway))).json
    assert found["requests"] == [{"route": "global/az/..", "error": "A deployment's name is not only dots."}]


@pytest.mark.anyio
async def test_a_dry_run_is_dry_however_it_is_spelt(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        reply = await gateway.post(f"{CHAT}?dry%5Frun=true", gateway.ask(), admin(gateway))
        assert reply.json["object"] == "chat.completion.dry_run"
        assert not gateway.upstreams["acme"].requests
