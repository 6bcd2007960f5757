"""Liveness, readiness, status and metrics over real HTTP."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.gateway import Running, Serve, Threaded

from sealgate import __version__
from sealgate.config import Telemetry
from sealgate.telemetry.registry import METRICS
from sealgate.testing import ScriptedUpstream, error


@pytest.fixture(scope="module")
def running(gateway: Threaded) -> Running:
    return gateway.running


@pytest.mark.anyio
async def test_health_says_that_the_process_answers(running: Running) -> None:
    reply = await running.get("/health", {})
    assert (reply.status, reply.json) == (200, {"status": "ok"})
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.anyio
async def test_status_says_the_version(running: Running) -> None:
    assert (await running.get("/status", {})).json == {
        "status": "ok",
        "version": __version__,
        "log": {"state": "open", "standing": "unwitnessed"},
    }


@pytest.mark.anyio
async def test_ready_is_ok_while_all_is_well(running: Running) -> None:
    reply = await running.get("/health/ready", {})
    assert (reply.status, reply.json) == (200, {"status": "ok"})


@pytest.mark.anyio
async def test_p25_while_it_drains_it_is_not_ready_but_alive(serve: Serve) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        running.gateway.drain()
        reply = await running.get("/health/ready", {})
        assert (reply.status, reply.json) == (503, {"status": "unavailable", "reasons": ["draining"]})
        assert (await running.get("/health", {})).status == 200
        assert (await running.chat()).status == 200, "what comes all the same is served"


@pytest.mark.anyio
async def test_p25_without_its_storage_it_is_not_ready_but_alive(serve: Serve) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        await running.hall.storage.aclose()
        reply = await running.get("/health/ready", {})
        assert (reply.status, reply.json["reasons"]) == (503, ["storage_unavailable"])
        running.gateway.drain()
        assert (await running.get("/health/ready", {})).json["reasons"] == ["draining", "storage_unavailable"]
        assert (await running.get("/health", {})).status == 200


@pytest.mark.anyio
async def test_metrics_are_what_happened(serve: Serve) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        await running.chat()
        await running.chat(stream=True)
        upstream.enqueue(error(503))
        await running.chat()
        await running.get("/nowhere")
        await running.get("/nowhere/else?key=secret")
        reply = await running.get("/metrics", {})
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = reply.body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {metric.name.removesuffix("_total") for metric in METRICS} == families.keys()
    samples = {
        (sample.name, *sample.labels.values()): sample.value for each in families.values() for sample in each.samples
    }
    http = "http_server_request_duration_seconds_count"
    assert samples[http, "POST", "200", "/v1/chat/completions"] == 2
    assert samples[http, "POST", "503", "/v1/chat/completions"] == 1
    assert samples[http, "_OTHER", "404", ""] == 2
    assert samples["sealgate_upstream_attempts_total", "acme", "ok"] == 2
    assert samples["sealgate_upstream_attempts_total", "acme", "overloaded"] == 1
    assert samples["gen_ai_client_token_usage_sum", "chat", "acme", "global/acme/m", "output"] == 14
    assert samples["gen_ai_server_request_duration_seconds_count", "chat", "acme", "global/acme/m", "ok"] == 2
    assert samples["sealgate_requests_in_flight",] == 1, "this one"
    assert samples["sealgate_build_info", __version__] == 1
    assert not re.search(r"nowhere|secret|Hello", text)


@pytest.mark.anyio
async def test_a_caller_cannot_make_new_series(serve: Serve) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        await running.chat(model="canary-series")
        await running.get("/v1/models/canary-series")
        await running.get("/canary-series")
        async with running.client() as client:
            await client.send(b"CANARY / HTTP/1.1\r\nhost: h\r\n\r\n")
            await client.wait_end()
        assert b"canary" not in (await running.get("/metrics", {})).body.lower()


@pytest.mark.anyio
async def test_metrics_may_be_for_administrators_or_for_nobody(serve: Serve) -> None:
    async with ScriptedUpstream() as upstream:
        async with serve({"acme": upstream}, telemetry=Telemetry(format="json", metrics="key")) as running:
            assert (await running.get("/metrics", {})).code == "missing_api_key"
            assert (await running.get("/metrics")).code == "admin_key_required"
            admin = {"authorization": f"Bearer {running.admin_key}"}
            assert (await running.get("/metrics", admin)).status == 200
        async with serve({"acme": upstream}, telemetry=Telemetry(format="json", metrics="off")) as running:
            reply = await running.get("/metrics", {"authorization": f"Bearer {running.admin_key}"})
            assert (reply.status, reply.code) == (404, "unknown_route")
