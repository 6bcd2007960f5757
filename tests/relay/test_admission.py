"""In once, out once: one ledger row for each request, committed before its terminal bytes (rows F18, I12)."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import threading
import time
from contextlib import AsyncExitStack, closing
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.gateway import UPSTREAM_KEY, Running, Serve, read_reply

from sealgate.config import Timeouts
from sealgate.limits.ledger import Outcome
from sealgate.relay.hall import Hall
from sealgate.storage import open_storage
from sealgate.testing import Behaviour, answer, cut_after, error, html, quota, redirect, stall_after


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_a_good_answer_is_one_complete_row(serve: Serve, stream: bool) -> None:
    usage = {
        "prompt_tokens": 100, "completion_tokens": 30, "prompt_tokens_details": {"cached_tokens": 64},
        "completion_tokens_details": {"reasoning_tokens": 10},
    }  # fmt: skip
    before = time.time_ns() // 1000
    async with serve({"acme": answer(usage=usage)}) as gateway:
        reply = await gateway.chat(stream=stream, user="ada", headers={"x-request-id": "mine-1"})
        row = await gateway.row()
        key = next(each for each in await gateway.gateway.keys.list() if each.name == "customer")
    assert (row.request_id, reply.headers["x-request-id"]) == ("mine-1", "mine-1")
    assert (row.customer_id, row.key_id, row.endpoint, row.stream) == ("default", key.id, "chat.completions", stream)
    assert (row.model, row.requested_route, row.routed_model) == ("m", "auto/auto/m", "global/acme/m")
    assert (row.provider, row.upstream_model, row.end_user) == ("acme", "test-model", "ada")
    assert (row.outcome, row.status, row.code, row.attempts, row.failover) == (Outcome.OK, 200, None, 1, False)
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.reasoning_tokens) == (100, 30, 64, 10)
    assert row.usage_source == "reported"
    assert before <= row.created_at <= time.time_ns() // 1000
    assert row.first_content_us is not None
    assert 0 < row.first_content_us <= row.duration_us < 5_000_000


DENIED: dict[str, tuple[dict[str, Any], str, int]] = {
    "C13": ({"model": "nothing"}, "model_not_found", 404),
    "D9": ({"region": "moon"}, "no_matching_route", 404),
    "D10": ({"failover": ["nothing"]}, "invalid_failover", 400),
    "conflict": ({"model": "global/acme/m", "provider": "other"}, "conflicting_route", 400),
}


@pytest.mark.anyio
@pytest.mark.parametrize("row_of_matrix", DENIED)
async def test_what_is_refused_before_any_call_is_a_row_that_says_denied(serve: Serve, row_of_matrix: str) -> None:
    fields, code, status = DENIED[row_of_matrix]
    async with serve({"acme": answer()}) as gateway:
        reply = await gateway.chat(**fields)
        row = await gateway.row()
    assert (reply.code, reply.status) == (code, status)
    assert (row.outcome, row.status, row.code) == (Outcome.DENIED, status, code)
    assert (row.attempts, row.routed_model, row.prompt_tokens) == (0, None, None)
    assert not gateway.upstreams["acme"].requests


@pytest.mark.anyio
async def test_row_b5_a_forbidden_model_is_a_row_that_says_denied(serve: Serve) -> None:
    async with serve({"acme": answer()}, {"m": ["acme"], "n": ["acme"]}) as gateway:
        key = await gateway.gateway.keys.create(name="narrow", models=["n"])
        reply = await gateway.chat(headers={"authorization": f"Bearer {key.key}"})
        row = await gateway.row()
    assert (reply.status, reply.code) == (403, "model_not_allowed")
    assert (row.outcome, row.key_id) == (Outcome.DENIED, key.id)


# Commit before the terminal bytes


class Gate:
    """Holds the storage's writer, as a slow disk would."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _: Connection) -> None:
        self.entered.set()
        assert self.opened.wait(10)


async def held(gateway: Running) -> tuple[Gate, asyncio.Task[None]]:
    gate = Gate()
    task = asyncio.create_task(gateway.hall.storage.write(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    return gate, task


@pytest.mark.anyio
async def test_the_end_of_a_stream_waits_for_the_commit_and_nothing_else_does(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        await gateway.chat()
        gate, task = await held(gateway)
        async with gateway.client() as client:
            await gateway.begin(client, stream=True)
            response = await client.response()
            events = [await response.next_event() for _ in range(3)]
            assert events[-1] is not None
            assert events[-1].json["choices"][0]["finish_reason"] == "stop", "content does not wait"
            waiting = asyncio.create_task(response.next_event())
            await asyncio.sleep(0.05)
            assert not waiting.done(), "[DONE] does"
            gate.opened.set()
            last = await waiting
        await task
        await gateway.rows(2)
    assert last is not None
    assert last.data == "[DONE]"


@pytest.mark.anyio
async def test_a_whole_answer_waits_for_the_commit(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        await gateway.chat()
        gate, task = await held(gateway)
        asking = asyncio.create_task(gateway.chat())
        await gateway.upstreams["acme"].wait_for_requests(2)
        await asyncio.sleep(0.05)
        assert not asking.done()
        gate.opened.set()
        assert (await asking).text == "Hi"
        await task
        await gateway.rows(2)


@pytest.mark.anyio
async def test_a_refusal_does_not_wait_for_its_row(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        await gateway.chat()
        gate, task = await held(gateway)
        assert (await gateway.chat(model="nothing")).code == "model_not_found"
        gate.opened.set()
        await task
        rows = await gateway.rows(2)
    assert rows[1].outcome is Outcome.DENIED


@pytest.mark.anyio
async def test_a_caller_who_leaves_while_the_row_is_written_is_still_one_row(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        await gateway.chat()
        gate, task = await held(gateway)
        async with gateway.client() as client:
            await gateway.begin(client, stream=True)
            response = await client.response()
            for _ in range(3):
                await response.next_event()
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)
        gate.opened.set()
        await task
        rows = await gateway.rows(2)
    assert [row.outcome for row in rows] == [Outcome.OK, Outcome.OK], "the whole answer had been given"


@pytest.mark.anyio
async def test_row_f18_a_stream_that_cannot_be_recorded_ends_with_an_error_and_without_done(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        await gateway.chat()
        await gateway.hall.storage.aclose()
        reply = await gateway.chat(stream=True)
    assert (reply.status, reply.code, reply.done, reply.complete) == (200, "storage_unavailable", False, True)
    assert reply.error["status"] == 503
    assert reply.chunks[-1]["choices"][0]["finish_reason"] == "stop", "a finish chunk had gone out"
    assert reply.events[-1].json["request_id"] == reply.headers["x-request-id"]


@pytest.mark.anyio
async def test_row_f18_a_whole_answer_that_cannot_be_recorded_is_a_503(
    serve: Serve, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    async with serve({"acme": answer()}) as gateway:
        await gateway.chat()
        await gateway.hall.storage.aclose()
        reply = await gateway.chat()
    assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "storage_unavailable", "5")
    assert b"ledger_unavailable" in capfdbinary.readouterr().err


@pytest.mark.anyio
@pytest.mark.parametrize(("behaviour", "fields", "code"), [
    (error(500), {}, "upstream_error"),
    (cut_after(3), {"stream": True}, "upstream_stream_truncated"),
    (answer(), {"model": "nothing"}, "model_not_found"),
])  # fmt: skip
async def test_where_a_failure_cannot_be_recorded_either_the_caller_hears_of_the_first(
    serve: Serve, behaviour: Behaviour, fields: dict[str, Any], code: str
) -> None:
    async with serve({"acme": behaviour, "fine": answer()}, {"m": ["acme"], "fine": ["fine"]}) as gateway:
        await gateway.chat(model="fine")
        await gateway.hall.storage.aclose()
        reply = await gateway.chat(**fields)
    assert (reply.code, reply.done) == (code, False)


@pytest.mark.anyio
async def test_rows_h3_h4_while_the_database_cannot_be_written_no_provider_is_asked(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer finds it out. Until it works again callers hear so at once, and readiness is false."""
    monkeypatch.setattr("sealgate.app.open_storage", partial(open_storage, busy_seconds=0.05))
    async with serve({"acme": answer()}) as gateway:
        await gateway.chat()
        path = gateway.hall.settings.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            replies = [await gateway.chat(), await gateway.chat(), await gateway.chat(stream=True)]
            ready = await gateway.get("/health/ready")
            other.execute("ROLLBACK")
        for reply in replies:
            assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "storage_unavailable", "5")
        assert len(gateway.upstreams["acme"].requests) == 2, "the good one, and the one that found it out"
        assert (ready.status, ready.json["reasons"]) == (503, ["storage_unavailable"])
        async with asyncio.timeout(20):
            while (await gateway.get("/health/ready")).status != 200:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.02)
        assert (await gateway.chat()).status == 200
        assert [row.outcome for row in await gateway.rows(2)] == [Outcome.OK] * 2


@pytest.mark.anyio
async def test_row_h4_a_whole_answer_does_not_wait_for_its_row_beyond_its_limit(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is locked: the caller hears so in time, and what was paid for is on record once it can be."""
    monkeypatch.setattr("sealgate.relay.admission.COMMIT_SECONDS", 0.05)
    providers, models = {"acme": answer(), "sick": error(500)}, {"m": ["acme"], "sick": ["sick"]}
    async with serve(providers, models, timeouts=Timeouts(total=0.1)) as gateway:
        await gateway.chat()
        path = gateway.hall.settings.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            since = time.monotonic()
            replies = await asyncio.gather(gateway.chat(), gateway.chat(model="sick"))
            took = time.monotonic() - since
            other.execute("ROLLBACK")
        assert [reply.code for reply in replies] == ["storage_unavailable", "upstream_error"]
        assert took < 4, "the database's own patience is five seconds"
        rows = await gateway.rows(3)
    assert sorted(row.outcome for row in rows) == [Outcome.OK, Outcome.OK, Outcome.UPSTREAM_FAILED]


# The end of the house


@pytest.mark.anyio
async def test_row_i1_a_stream_that_the_drain_cuts_is_one_row_and_the_caller_is_told(serve: Serve) -> None:
    async with AsyncExitStack() as stack:
        async with serve({"acme": stall_after(3)}, drain=0.05) as gateway:
            client = await stack.enter_async_context(gateway.client())
            await gateway.begin(client, stream=True)
            response = await client.response()
            for _ in range(3):
                await response.next_event()
            url = gateway.hall.settings.database_url
        reply = await read_reply(response)
    assert (reply.code, reply.done, reply.complete) == ("gateway_shutting_down", False, True)
    [row] = rows_on_disk(url)
    assert (row["outcome"], row["routed_model"], row["usage_source"]) == ("truncated", "global/acme/m", "estimated")


def rows_on_disk(url: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM ledger")]


# What the operator sees


@pytest.mark.anyio
@pytest.mark.parametrize(("behaviour", "failure", "status"), [
    (error(401), "credential", 401), (error(403), "credential", 403), (error(404), "model_gone", 404),
    (quota(), "quota", 429), (redirect(), "redirect", 307),
])  # fmt: skip
async def test_rows_e8_e10_what_only_the_operator_can_mend_is_logged_loudly(
    serve: Serve, capfdbinary: pytest.CaptureFixture[bytes], behaviour: Behaviour, failure: str, status: int
) -> None:
    async with serve({"acme": behaviour, "backup": answer()}) as gateway:
        reply = await gateway.chat()
    assert reply.status == 200, "the caller sees nothing of it"
    lines = [json.loads(line) for line in capfdbinary.readouterr().err.splitlines()]
    said = [line for line in lines if line["event"] == "upstream_refused_us"]
    assert len(said) == 1
    assert {name: said[0][name] for name in ("level", "provider", "routed_model", "failure", "upstream_status")} == {
        "level": "error", "provider": "acme", "routed_model": "global/acme/m", "failure": failure,
        "upstream_status": status,
    }  # fmt: skip
    assert said[0]["request_id"] == reply.headers["x-request-id"]
    assert UPSTREAM_KEY not in json.dumps(lines)


@pytest.mark.anyio
async def test_failures_that_pass_by_themselves_are_counted_and_not_logged_as_errors(
    serve: Serve, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    async with serve({"one": error(429), "two": html(), "backup": answer()}) as gateway:
        await gateway.chat()
        gateway.forget()
        await gateway.chat(stream=True)
        metrics = (await gateway.get("/metrics")).body.decode()
    levels = {json.loads(line)["level"] for line in capfdbinary.readouterr().err.splitlines()}
    assert levels <= {"info"}
    for provider, outcome in (("one", "rate_limited"), ("two", "bad_response"), ("backup", "ok")):
        line = f'sealgate_upstream_attempts_total{{gen_ai_provider_name="{provider}",outcome="{outcome}"}} 2.0'
        assert line in metrics
    assert 'gen_ai_server_time_to_first_token_seconds_count{gen_ai_operation_name="chat"' in metrics


@pytest.mark.anyio
async def test_names_from_outside_the_catalog_make_no_series_of_their_own(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        for name in ("acme::one", "acme::two", "m"):
            assert (await gateway.chat(model=name)).status == 200
        metrics = (await gateway.get("/metrics")).body.decode()
    found = set(re.findall(r'gen_ai_client_token_usage_count\{.*?gen_ai_response_model="([^"]*)"', metrics))
    assert found == {"acme::*", "global/acme/m"}


@pytest.mark.anyio
async def test_an_error_of_our_own_is_one_row_a_500_and_no_stack(
    serve: Serve, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Row I12: whatever goes wrong in here."""
    async with serve({"acme": answer()}) as gateway:
        break_upstreams(gateway.hall)
        reply = await gateway.chat()
        row = await gateway.row()
    assert (reply.status, reply.code, reply.headers["x-should-retry"]) == (500, "internal_error", "false")
    assert "secret of the house" not in reply.body.decode() + capfdbinary.readouterr().err.decode()
    assert (row.outcome, row.status, row.code) == (Outcome.ERROR, 500, "internal_error")
    assert not +gateway.hall.means.budget.active, "and nothing is held for it any more"


def break_upstreams(hall: Hall) -> None:
    def broken(_: object) -> Any:
        raise LookupError("secret of the house")

    hall.means.upstreams.way = broken  # type: ignore[method-assign]
