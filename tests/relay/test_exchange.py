"""One chat request from its body to its last payload: callers who leave, deadlines, labels."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tests.gateway import Serve, model, provider

from sealgate.config import Server, Timeouts
from sealgate.limits.ledger import Outcome
from sealgate.outward.http1 import Http1Client
from sealgate.relay import upstreams
from sealgate.testing import (
    Behaviour,
    Hang,
    RawClient,
    Received,
    ScriptedUpstream,
    Sleep,
    answer,
    error,
    head,
    refusing,
    silent,
    stall_after,
)
from sealgate.testing.openai_wire import GREETING

# Callers who leave: rows G1 to G4, each by each way to leave


def fin(client: RawClient) -> None:
    client.fin()


def rst(client: RawClient) -> None:
    client.rst()


def half_close(client: RawClient) -> None:
    client.half_close()


WAYS = [fin, rst, half_close]


def whole_stalls(received: Received) -> Iterator[Any]:
    """The head of a whole answer, and then nothing."""
    yield head(200, {"content-type": "application/json"}, length=1000)
    yield Hang()


PLACES: dict[str, tuple[Behaviour, bool, bool]] = {
    "G1 before a head": (silent(), True, False),
    "G1 before the first content": (stall_after(1), True, False),
    "G2 in the middle of a stream": (stall_after(3), True, True),
    "G3 while a whole answer is made": (silent(), False, False),
    "G3 while a whole answer comes": (whole_stalls, False, False),
}
"""What the upstream does, whether a stream was asked for, and whether content has come when the caller leaves."""


@pytest.mark.anyio
@pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize("leave", WAYS)
@pytest.mark.parametrize("place", PLACES)
async def test_rows_g1_to_g4_when_the_caller_leaves_the_upstream_is_let_go_within_a_second(
    serve: Serve, place: str, leave: Any
) -> None:
    behaviour, stream, has_content = PLACES[place]
    async with serve({"acme": behaviour, "backup": answer()}) as gateway:
        upstream = gateway.upstreams["acme"]
        async with gateway.client() as client:
            await gateway.begin(client, stream=stream)
            await upstream.wait_for_requests(1)
            if has_content:
                response = await client.response()
                for _ in range(3):
                    await response.next_event()
            else:
                await asyncio.sleep(0.02)
            leave(client)
            left = await upstream.wait_peer_left(0, timeout=20)
            row = await gateway.row()

    assert left.abandoned
    assert not gateway.upstreams["backup"].requests, "nobody asks another route for a caller who left"
    assert (row.outcome, row.status, row.code) == (Outcome.CLIENT_DISCONNECTED, 499, None)
    assert row.attempts == 1, "the call under way counts"
    assert row.stream is stream
    if has_content:
        assert (row.routed_model, row.usage_source) == ("global/acme/m", "estimated")
        assert (row.completion_tokens or 0) > 0
        assert row.first_content_us is not None
    else:
        assert (row.routed_model, row.completion_tokens, row.first_content_us) == (None, None, None)


@pytest.mark.anyio
async def test_row_g2_usage_that_came_before_the_caller_left_is_recorded(serve: Serve) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 2}}
    async with serve({"acme": stall_after(3, answer(usage=usage, usage_at="every"))}) as gateway:
        async with gateway.client() as client:
            await gateway.begin(client, stream=True)
            await (await client.response()).next_event()
        row = await gateway.row()
    assert (row.outcome, row.prompt_tokens, row.completion_tokens, row.reasoning_tokens, row.usage_source) == (
        Outcome.CLIENT_DISCONNECTED, 11, 7, 2, "reported",
    )  # fmt: skip


@pytest.mark.anyio
async def test_a_caller_who_leaves_during_a_failover_is_one_row_with_all_attempts(serve: Serve) -> None:
    async with serve({"acme": error(503), "backup": silent()}) as gateway:
        async with gateway.client() as client:
            await gateway.begin(client, stream=True)
            await gateway.upstreams["backup"].wait_for_requests(1)
        left = await gateway.upstreams["backup"].wait_peer_left(0, timeout=20)
        row = await gateway.row()
    assert left.abandoned
    assert (row.outcome, row.attempts) == (Outcome.CLIENT_DISCONNECTED, 2)


@pytest.mark.anyio
async def test_row_e25_many_callers_who_leave_at_once_leave_nothing_behind(serve: Serve) -> None:
    async with serve({"acme": stall_after(3)}) as gateway:
        upstream = gateway.upstreams["acme"]
        clients = [gateway.client() for _ in range(30)]
        for client in clients:
            await client.__aenter__()
            await gateway.begin(client, stream=True)
        await upstream.wait_for_requests(30)
        for client in clients:
            client.rst()
        for index in range(30):
            await upstream.wait_peer_left(index, timeout=20)
        rows = await gateway.rows(30)
        assert {row.outcome for row in rows} == {Outcome.CLIENT_DISCONNECTED}
        assert upstream.open_connections == 0
        upstream.default = answer()
        assert (await gateway.chat(stream=True)).done


# Time


@pytest.mark.anyio
async def test_a_whole_answer_has_a_deadline_for_everything_failover_included(serve: Serve) -> None:
    def late(received: Received) -> Iterator[Any]:
        yield Sleep(0.1)
        yield from error(500)(received)  # type: ignore[operator]

    async with serve({"acme": late, "backup": silent()}, timeouts=Timeouts(total=0.5)) as gateway:
        reply = await gateway.chat()
        row = await gateway.row()
        left = await gateway.upstreams["backup"].wait_peer_left(0, timeout=20)
    assert (reply.status, reply.code) == (504, "upstream_timeout")
    assert reply.attempts == [("global/acme/m", "server_error", 500), ("global/backup/m", "timeout", None)]
    assert left.abandoned
    assert (row.outcome, row.code, row.attempts) == (Outcome.UPSTREAM_FAILED, "upstream_timeout", 2)
    assert 500_000 <= row.duration_us < 3_000_000


@pytest.mark.anyio
async def test_the_callers_header_sets_the_deadline_of_a_whole_answer(serve: Serve) -> None:
    async with serve({"acme": silent()}, timeouts=Timeouts(max_total=0.2)) as gateway:
        reply = await gateway.chat(headers={"x-tresor-timeout-seconds": "600"})
    assert (reply.code, reply.attempts[0][1]) == ("upstream_timeout", "timeout"), "clamped to the largest allowed"


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["x-stainless-read-timeout", "x-stainless-timeout"])
async def test_row_e22_the_sdks_own_deadline_ends_all_work_on_a_whole_answer(serve: Serve, name: str) -> None:
    async with serve({"acme": silent()}) as gateway:
        reply = await gateway.chat(headers={name: "0.1"})
        left = await gateway.upstreams["acme"].wait_peer_left(0, timeout=20)
    assert (reply.status, reply.code) == (504, "upstream_timeout")
    assert left.abandoned


@pytest.mark.anyio
async def test_the_sdks_deadline_is_not_a_streams(serve: Serve) -> None:
    async with serve({"acme": answer(delay=0.02)}, timeouts=Timeouts(total=0.05)) as gateway:
        reply = await gateway.chat(stream=True, headers={"x-stainless-read-timeout": "0.05"})
    assert (reply.text, reply.done) == (GREETING, True)


@pytest.mark.anyio
async def test_row_e20_keep_alive_comments_pass_the_time_and_the_failover_stays_unseen(serve: Serve) -> None:
    """The head is sent with the first comment, so a failure after it is an event; a success is one all the same."""
    timeouts = Timeouts(keep_alive=0.03, first_content=0.15, gap=0.4)
    models = {"m": ["acme", "backup"], "alone": ["acme"]}
    async with serve({"acme": silent(after_head=True), "backup": answer()}, models, timeouts=timeouts) as gateway:
        served = await gateway.chat(stream=True)
        failed = await gateway.chat(model="alone", stream=True)
    assert "keep-alive" in served.comments
    assert (served.text, served.done, served.tresor["failover"]) == (GREETING, True, True)
    assert (failed.status, failed.code, failed.done) == (200, "upstream_timeout", False)
    assert failed.attempts == [("global/acme/alone", "timeout", 200)]


# What the answer says of itself


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_carries_the_callers_model_name_and_the_gateways_own_labels(serve: Serve, stream: bool) -> None:
    episode = "01977ed9-7492-7b70-8347-955764f97b3d"
    models = {"m": model("acme", upstream_model="the/upstream's own", aliases=("assistant",))}
    async with serve({"acme": answer(model="something-else")}, models) as gateway:
        reply = await gateway.chat(model="tensorzero::function_name::assistant", stream=stream, episode_id=episode)
        row = await gateway.row()
    documents = reply.chunks if stream else [reply.json]
    assert {each["model"] for each in documents} == {"tensorzero::function_name::assistant"}
    assert {each["id"] for each in documents} == {f"chatcmpl-{row.id}"}
    assert {each["created"] for each in documents} == {row.created_at // 1_000_000}
    assert documents[-1]["episode_id"] == episode
    assert documents[-1]["system_fingerprint"] == "fp_testing"
    assert reply.tresor | {"cost": None} == {
        "receipt_id": reply.headers["x-tresor-receipt-id"], "requested_route": "auto/auto/m",
        "routed_model": "global/acme/m", "failover": False, "cost": None,
    }  # fmt: skip
    assert (row.model, row.upstream_model) == ("tensorzero::function_name::assistant", "the/upstream's own")
    assert (row.requested_route, row.episode_id) == ("auto/auto/m", episode)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_adjustments_of_the_route_that_served_are_listed(serve: Serve, stream: bool) -> None:
    """Another route may have other ones: what was never sent was never changed."""
    async with ScriptedUpstream(default=error(500)) as first, ScriptedUpstream() as second:
        providers = {"acme": provider(first, kind="mistral"), "backup": provider(second)}
        async with serve(providers) as gateway:
            served = await gateway.chat(stream=stream, max_completion_tokens=7, **{"tensorzero::dryrun": True})
    assert first.requests[0].json["max_tokens"] == 7
    assert second.requests[0].json["max_completion_tokens"] == 7
    assert [each["param"] for each in served.tresor["adjustments"]] == ["tensorzero::dryrun"]


@pytest.mark.anyio
@pytest.mark.parametrize(("asked", "on_finish"), [(False, False), (True, False), (False, True), (True, True)])
async def test_streamed_usage_stands_where_it_was_asked_for(serve: Serve, asked: bool, on_finish: bool) -> None:
    """The upstream is always asked for it, the caller sees it only on demand."""
    server = Server(port=0, discover=False, usage_on_finish_chunk=on_finish)
    async with serve({"acme": answer()}, server=server) as gateway:
        reply = await gateway.chat(stream=True, **({"stream_options": {"include_usage": True}} if asked else {}))
        row = await gateway.row()
    assert gateway.upstreams["acme"].requests[0].includes_usage
    without_choices = [each for each in reply.chunks if not each["choices"]]
    with_usage = [each for each in reply.chunks if each.get("usage")]
    assert len(without_choices) == (1 if asked and not on_finish else 0)
    assert len(with_usage) == (1 if asked else 0)
    if asked:
        assert with_usage[0]["usage"]["completion_tokens"] == row.completion_tokens
        assert with_usage == reply.chunks[-1:]
    assert row.usage_source == "reported"


@pytest.mark.anyio
async def test_the_first_content_leaves_as_soon_as_it_has_come(serve: Serve) -> None:
    """Nothing is buffered: while the upstream pauses, the caller has everything that was said."""
    async with serve({"acme": stall_after(4)}) as gateway, gateway.client() as client:
        await gateway.begin(client, stream=True)
        response = await client.response()
        deltas = [(await next_json(response))["choices"][0]["delta"] for _ in range(4)]
        assert response.ended is None
    assert deltas == [{"role": "assistant"}, {"content": "Hello! "}, {"content": "How "}, {"content": "can "}]


async def next_json(response: Any) -> Any:
    event = await response.next_event()
    assert event is not None
    return event.json


@pytest.mark.anyio
async def test_no_route_that_answers_is_one_row_whatever_the_form(serve: Serve) -> None:
    with refusing() as nowhere:
        async with serve({"acme": nowhere}) as gateway:
            codes = [(await gateway.chat(stream=stream)).code for stream in (True, False)]
            rows = await gateway.rows(2)
    assert codes == ["upstream_unreachable"] * 2
    assert [row.stream for row in rows] == [True, False]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_row_e23_an_answer_of_another_model_is_delivered_and_both_names_are_kept(
    serve: Serve, stream: bool
) -> None:
    """The caller reads the name it sent; the row says what was asked for, and what the provider says has answered."""
    async with serve({"acme": answer(model="test-model-2026-11-20")}) as gateway:
        reply = await gateway.chat(stream=stream)
        row = await gateway.row()
    documents = reply.chunks if stream else [reply.json]
    assert {each["model"] for each in documents} == {"m"}
    assert (row.model, row.upstream_model, row.reported_model) == ("m", "test-model", "test-model-2026-11-20")


@pytest.mark.anyio
async def test_row_e24_where_no_connection_comes_free_the_next_route_is_asked(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without one the caller hears when to come back; nobody blames the provider."""
    monkeypatch.setattr(upstreams, "Http1Client", partial(Http1Client, max_connections=1, pool_wait=0.05))
    models = {"m": ["acme", "backup"], "alone": ["acme"]}
    async with serve({"acme": stall_after(2), "backup": answer()}, models) as gateway, gateway.client() as holding:
        await gateway.begin(holding, model="alone", stream=True)
        await gateway.upstreams["acme"].wait_for_requests(1)
        served = await gateway.chat()
        refused = await gateway.chat(model="alone")
        assert not gateway.hall.means.seen.health.troubled
    assert served.tresor["routed_model"] == "global/backup/m"
    assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "upstream_pool_exhausted", "1")


@pytest.mark.anyio
async def test_row_g8_a_request_that_an_sdk_sends_again_runs_again_and_is_counted(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        for attempt in ("0", "1", "2"):
            assert (await gateway.chat(headers={"x-stainless-retry-count": attempt})).status == 200
        await gateway.rows(3)
        metrics = (await gateway.get("/metrics", {})).body.decode()
    assert len(gateway.upstreams["acme"].requests) == 3
    assert "sealgate_client_retries_total 2.0" in metrics


@pytest.mark.anyio
async def test_row_g10_a_stream_tells_proxies_not_to_hold_it_back(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        reply = await gateway.chat(stream=True)
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["cache-control"] == "no-cache, no-transform"
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
