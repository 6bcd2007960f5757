"""What every answer has, what goes wrong inside, and the line that is logged of it (row I12, P21, P22)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.gateway import CHAT, Reply, Running, Serve, Threaded, read_reply

from sealgate.api.events import EventStream
from sealgate.config import Telemetry
from sealgate.errors import Problem
from sealgate.relay.walk import Give, Walk
from sealgate.telemetry.registry import LOG_FIELDS
from sealgate.testing import ScriptedUpstream, answer, cut_after, error, http_request, silent, truncated

Log = Callable[[], list[dict[str, Any]]]
EXPLOSIVE = "the-text-of-an-exception-4b1c"


@pytest.fixture(scope="module")
def running(gateway: Threaded) -> Running:
    return gateway.running


async def of_every_kind(running: Running, headers: dict[str, str]) -> list[Reply]:
    """Answers of each kind: whole, streamed, and refused in many ways."""
    signed = running.headers | headers
    replies = [
        await running.chat(headers=headers),
        await running.chat(headers=headers, stream=True),
        await running.chat(headers=headers, model="unknown"),
        await running.post(CHAT, b"{", headers),
        await running.post("/api/v1/chat/completions", running.ask(temperature=9), headers),
        await running.post(CHAT, running.ask(), {**headers, "content-type": "text/html"}),
        await running.post(CHAT, running.ask(), {**headers, "authorization": "Bearer x"}),
        await running.get(CHAT, signed),
        await running.get("/nowhere", signed),
        await running.get("/v1/models", signed),
        await running.get("/v1/models/unknown", signed),
        await running.get("/health", signed),
        await running.get("/metrics", signed),
        await running.get("/docs", signed),
    ]
    statuses = [reply.status for reply in replies]
    assert statuses == [200, 200, 404, 400, 422, 415, 401, 405, 404, 200, 404, 200, 200, 200]
    return replies


@pytest.mark.anyio
async def test_every_answer_names_its_request_and_says_how_long_it_took(running: Running) -> None:
    replies = await of_every_kind(running, {})
    ids = [reply.headers["x-request-id"] for reply in replies]
    assert len(set(ids)) == len(ids)
    assert all(len(each) == 32 and int(each, 16) for each in ids)
    assert all(0 <= float(reply.headers["x-process-time"]) < 5 for reply in replies)
    assert all(reply.headers["content-type"] for reply in replies)


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["x", "my-request_1.2:3/4+5=6@7", "i" * 128])
async def test_a_callers_own_request_id_is_echoed(running: Running, given: str) -> None:
    for reply in await of_every_kind(running, {"x-request-id": given}):
        assert reply.headers["x-request-id"] == given


@pytest.mark.anyio
@pytest.mark.parametrize("given", ["", "i" * 129, "a b", "<script>", "a,b", "\u00fc"])
async def test_a_request_id_that_is_not_safe_is_replaced(running: Running, given: str) -> None:
    reply = await running.chat(headers={"x-request-id": given})
    assert reply.headers["x-request-id"] != given
    assert len(reply.headers["x-request-id"]) == 32


@pytest.mark.anyio
async def test_errors_have_one_form(running: Running) -> None:
    """The envelope."""
    for reply in await of_every_kind(running, {}):
        if reply.status >= 400:
            assert reply.headers["content-type"] == "application/json"
            assert set(reply.error) == {"message", "type", "param", "code", "status"}
            assert reply.error["status"] == reply.status
            assert reply.error["message"].endswith((".", "?"))


class UnthoughtOfError(Exception):
    """An error nobody has thought of."""


def _explode(*_: object, **__: object) -> Any:
    raise UnthoughtOfError(EXPLOSIVE)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_row_i12_an_unhandled_error_is_told_without_its_text(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, log: Log, stream: bool
) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        monkeypatch.setattr(Walk, "run", _explode)
        reply = await running.chat(stream=stream, headers={"x-request-id": "boom"})
        assert (reply.status, reply.headers["x-should-retry"]) == (500, "false")
        assert reply.headers["x-request-id"] == "boom"
        assert reply.json == {
            "error": {
                "message": "Something went wrong on the server.", "type": "server_error", "param": None,
                "code": "internal_error", "status": 500,
            }
        }  # fmt: skip
        row = await running.row()
        assert (row.outcome.value, row.status, row.code) == ("error", 500, "internal_error")
        assert running.hall.metrics.in_flight == 0
        [said] = [line for line in log() if line["event"] == "unexpected_error"]
        assert (said["request_id"], said["error"], said["level"]) == ("boom", "UnthoughtOfError", "error")
        assert "test_front.py" in said["trace"]
        assert EXPLOSIVE not in json.dumps(log())


@pytest.mark.anyio
async def test_row_i12_an_unhandled_error_in_the_middle_of_a_stream_breaks_it_off(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """The body must not end as if it were complete."""
    real = Walk.run

    async def some(self: Walk, give: Give) -> None:
        async def give_and_explode(payload: bytes) -> None:
            if (taken := give(payload)) is not None:
                await taken
            if self.answer is not None and b"content" in payload:
                raise UnthoughtOfError(EXPLOSIVE)

        await real(self, give_and_explode)

    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        monkeypatch.setattr(Walk, "run", some)
        reply = await running.chat(stream=True)
        assert (reply.status, reply.complete, reply.done) == (200, False, False)
        row = await running.row()
        assert (row.outcome.value, row.code) == ("error", "internal_error")
        assert EXPLOSIVE not in json.dumps(log())
        assert EXPLOSIVE not in reply.body.decode()


@pytest.mark.anyio
async def test_row_i12_an_error_while_an_event_is_written_is_no_caller_who_left(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row says that it was our own failure, once."""
    real = EventStream.write

    async def some(self: EventStream, data: bytes) -> None:
        if b"content" in data:
            raise UnthoughtOfError(EXPLOSIVE)
        await real(self, data)

    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        monkeypatch.setattr(EventStream, "write", some)
        reply = await running.chat(stream=True)
        assert (reply.complete, reply.done) == (False, False)
        row = await running.row()
        assert (row.outcome.value, row.code) == ("error", "internal_error")


@pytest.mark.anyio
async def test_row_i12_holds_for_each_endpoint(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        monkeypatch.setattr(running.hall, "catalog", None)
        monkeypatch.setattr(running.hall.metrics, "render", _explode)
        monkeypatch.setattr(running.hall.storage, "check", _explode)
        for path in ("/v1/models", "/v1/models/m", "/metrics", "/health/ready"):
            reply = await running.get(path)
            assert (reply.status, reply.code) == (500, "internal_error"), path
            assert "Traceback" not in reply.body.decode()


@pytest.mark.anyio
async def test_one_access_line_for_each_request_with_declared_fields_only(serve: Serve, log: Log) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        await running.chat(headers={"x-request-id": "whole"})
        await running.chat(headers={"x-request-id": "streamed"}, stream=True)
        await running.chat(headers={"x-request-id": "refused"}, model="unknown")
        await running.post(CHAT, b"{", {"x-request-id": "malformed"})
        await running.get("/nowhere?secret=1", {"x-request-id": "nowhere"})
        upstream.enqueue(error(503))
        await running.chat(headers={"x-request-id": "failed"})
        upstream.enqueue(truncated(after=3))
        await running.chat(headers={"x-request-id": "broken"}, stream=True)
        lines = await _access_lines(log, 7)
    assert all(set(line) <= set(LOG_FIELDS) for line in lines.values())
    whole = lines["whole"]
    assert set(whole) == {
        "request_id", "method", "route", "status", "seconds", "client", "customer", "key", "routed_model", "outcome",
        "attempts", "stream", "prompt_tokens", "completion_tokens", "event", "level", "timestamp",
    }  # fmt: skip
    assert (whole["method"], whole["route"], whole["status"]) == ("POST", CHAT, 200)
    assert (whole["client"], whole["customer"]) == ("127.0.0.1", "default")
    assert (whole["outcome"], whole["routed_model"], whole["attempts"]) == ("ok", "global/acme/m", 1)
    assert (whole["prompt_tokens"], whole["completion_tokens"]) == (1, 7)
    assert whole["key"] != running.key
    assert 0 < whole["seconds"] < 5
    assert (lines["streamed"]["stream"], lines["streamed"]["outcome"]) == (True, "ok")
    assert (lines["refused"]["code"], lines["refused"]["outcome"]) == ("model_not_found", "denied")
    assert (lines["malformed"]["code"], lines["malformed"]["status"]) == ("invalid_json", 400)
    assert (lines["nowhere"]["route"], lines["nowhere"]["status"]) == ("", 404)
    assert (lines["failed"]["code"], lines["failed"]["outcome"]) == ("upstream_overloaded", "upstream_failed")
    assert (lines["broken"]["code"], lines["broken"]["status"]) == ("upstream_stream_truncated", 200)
    assert lines["broken"]["outcome"] == "truncated"


async def _access_lines(log: Log, count: int) -> dict[str, dict[str, Any]]:
    """The access lines by request id, once there are so many."""
    async with asyncio.timeout(20):
        while len(found := [line for line in log() if line["event"] == "request"]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert len(found) == count
    return {line["request_id"]: line for line in found}


@pytest.mark.anyio
async def test_access_lines_can_be_switched_off(serve: Serve, log: Log) -> None:
    quiet = Telemetry(format="json", access_log=False)
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}, telemetry=quiet) as running:
        await running.chat()
        await asyncio.sleep(0.12)  # longer than a line is held back
        assert log() == []


@pytest.mark.anyio
async def test_row_g3_a_caller_that_left_is_499_in_the_log(serve: Serve, log: Log) -> None:
    async with ScriptedUpstream(default=silent()) as upstream, serve({"acme": upstream}) as running:
        for stream in (False, True):
            async with running.client() as client:
                await running.begin(client, stream=stream)
                await upstream.wait_for_requests(1 + stream)
        lines = await _access_lines(log, 2)
        assert {line["status"] for line in lines.values()} == {499}
        assert {line["outcome"] for line in lines.values()} == {"client_disconnected"}
        assert running.hall.metrics.in_flight == 0


CANARIES = {
    "content": "canary-content-58a1",
    "model": "canary-model-58a2",
    "user": "canary-user-58a3",
    "header": "canary-header-58a4",
    "nonce": "canary-nonce-58a5",
    "query": "canary-query-58a6",
    "upstream": "canary-upstream-58a7",
    "answer": "canary-answer-58a8",
    "key": "sk-canary-key-58a9",
    "tool": "canary-tool-58aa",
}


@pytest.mark.anyio
async def test_p22_nothing_that_was_said_is_logged(serve: Serve, log: Log) -> None:
    """Canaries in body, headers, query and credential, in the upstream's answer, error and broken stream."""
    noisy = Telemetry(format="json", level="debug")
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}, telemetry=noisy) as running:
        tool = {"type": "function", "function": {"name": CANARIES["tool"], "parameters": {}}}
        ask = running.ask(CANARIES["content"], user=CANARIES["user"], tools=[tool])
        headers = {"x-other": CANARIES["header"], "x-tresor-nonce": CANARIES["nonce"], "cookie": CANARIES["header"]}
        path = f"{CHAT}?q={CANARIES['query']}"
        text = CANARIES["upstream"]
        for behaviour in (
            answer(CANARIES["answer"]), error(500, text, text), error(400, text, text), error(401, text, text),
            cut_after(3, base=answer([CANARIES["answer"]] * 5)), error(429, text, text),
        ):  # fmt: skip
            for stream in (False, True):
                upstream.enqueue(behaviour)
                await running.post(path, {**ask, "stream": stream}, headers)
        await running.post(path, {**ask, "model": CANARIES["model"]}, headers)
        await running.post(path, {**ask, "temperature": CANARIES["content"]}, headers)
        await running.post(path, json.dumps(ask).encode()[:-1], headers)
        await running.post(path, ask, {**headers, "authorization": f"Bearer {CANARIES['key']}"})
        await running.get(f"/v1/models/{CANARIES['model']}", headers)
        await running.get(f"/{CANARIES['query']}", headers)
        await _access_lines(log, 18)
        said = json.dumps(log())
    for what, canary in CANARIES.items():
        assert canary not in said, what
    assert running.key not in said
    assert "upstream-secret" not in said


@pytest.mark.anyio
async def test_a_problem_after_the_head_breaks_the_connection_off(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    """There is no second head; what has begun can only end short."""

    async def half(call: Any) -> None:
        await call.start(200, [(b"content-length", b"10")])
        await call.send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise Problem("overloaded")

    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        monkeypatch.setattr(running.gateway.front, "_find", lambda _: half)
        async with running.client() as client:
            await client.send(http_request("GET", "/"))
            reply = await read_reply(await client.response())
        assert (reply.status, reply.body, reply.complete) == (200, b"half", False)
        monkeypatch.undo()
