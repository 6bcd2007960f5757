"""Structured output at providers that cannot be held to a schema: checked, repaired once, never failing open."""

import json
from typing import Any

import pytest
from tests.gateway import CHAT, Running, Serve, provider

from sealgate.limits.ledger import Outcome
from sealgate.relay.checked import REPAIR
from sealgate.testing import Behaviour, ScriptedUpstream, answer, error, silent, tool

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["city", "age"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
GOOD = '{"city": "Zürich", "age": 4}'
BAD = '{"city": "Zürich", "age": -1}'
USED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 3}}


def says(text: str, **fields: Any) -> Behaviour:
    return answer(text, usage=USED, **fields)


def deepseek(upstream: ScriptedUpstream) -> Any:
    """A kind that knows ``json_object`` and no schema."""
    return provider(upstream, "deepseek")


def note(reply: Any) -> list[tuple[str, str]]:
    return [(each["param"], each["action"]) for each in reply.tresor["adjustments"]]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("asked", [{"response_format": FORM}, {"guided_json": SCHEMA}], ids=["format", "guided"])
async def test_what_satisfies_the_schema_is_the_answer_and_was_asked_for_in_words(
    serve: Serve, stream: bool, asked: dict[str, Any]
) -> None:
    async with ScriptedUpstream(default=says(GOOD)) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        reply = await gateway.chat(stream=stream, **asked)
        row = await gateway.row()
    assert (reply.status, reply.text, reply.done) == (200, GOOD, stream)
    assert (next(iter(asked)), "emulated") in note(reply)
    [received] = upstream.requests
    assert received.json["response_format"] == {"type": "json_object"}
    assert "guided_json" not in received.json
    assert json.dumps(SCHEMA, separators=(",", ":")) in received.json["messages"][0]["content"]
    assert received.json["messages"][1:] == [{"role": "user", "content": "Hello"}]
    assert not received.streams
    assert (row.outcome, row.prompt_tokens, row.completion_tokens, row.attempts) == (Outcome.OK, 10, 5, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wrong", [BAD, "Sure! Here it is.", "", f"{GOOD} {GOOD}", "[" * 100_000])
async def test_what_does_not_is_repaired_once_and_both_are_paid_for(serve: Serve, stream: bool, wrong: str) -> None:
    async with ScriptedUpstream(default=says(GOOD)) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        upstream.enqueue(says(wrong))
        reply = await gateway.chat(stream=stream, response_format=FORM)
        row = await gateway.row()
    assert (reply.status, reply.text) == (200, GOOD)
    first, second = upstream.requests
    assert second.json["messages"] == [
        *first.json["messages"], {"role": "assistant", "content": wrong}, {"role": "user", "content": REPAIR},
    ]  # fmt: skip
    assert (row.outcome, row.prompt_tokens, row.completion_tokens, row.cached_tokens) == (Outcome.OK, 20, 10, 6)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_it_never_fails_open(serve: Serve, stream: bool) -> None:
    async with ScriptedUpstream(default=says(BAD)) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        reply = await gateway.chat(stream=stream, response_format=FORM)
        row = await gateway.row()
        assert not gateway.hall.means.seen.health.troubled, "the provider is well"
    assert (reply.status, reply.code, reply.headers["x-should-retry"]) == (502, "schema_not_satisfied", "false")
    assert len(upstream.requests) == 2
    assert "Zürich" not in reply.body.decode()
    assert (row.outcome, row.code) == (Outcome.UPSTREAM_FAILED, "schema_not_satisfied")


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_route_that_has_schemas_of_its_own_is_asked_first_and_its_failover_is_checked(
    serve: Serve, stream: bool
) -> None:
    async with ScriptedUpstream(default=says(GOOD)) as upstream:
        providers = {"weak": deepseek(upstream), "able": error(500)}
        async with serve(providers, {"m": ["weak", "able"]}) as gateway:
            upstream.enqueue(says(BAD))
            reply = await gateway.chat(stream=stream, response_format=FORM)
            assert gateway.upstreams["able"].requests[0].json["response_format"] == FORM
    assert (reply.text, reply.tresor["routed_model"], reply.tresor["failover"]) == (GOOD, "global/weak/m", True)


@pytest.mark.anyio
@pytest.mark.parametrize("fenced", [f"```json\n{GOOD}\n```", f"```\n{GOOD}\n```\n", f"\n {GOOD} \n"])
async def test_a_fence_around_the_document_is_taken_off(serve: Serve, fenced: str) -> None:
    async with ScriptedUpstream(default=says(fenced)) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        reply = await gateway.chat(response_format=FORM)
    assert (reply.text, len(upstream.requests)) == (GOOD, 1)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "finish"),
    [
        (says('{"city": "Zür', finish_reason="length"), "length"),
        (answer(None, refusal="I cannot."), "stop"),
        (answer(tool_calls=[tool("now", {})]), "tool_calls"),
    ],
    ids=["length", "refusal", "tool call"],
)
async def test_what_is_no_answer_to_the_schema_passes_as_it_is(
    serve: Serve, behaviour: Behaviour, finish: str, stream: bool
) -> None:
    async with ScriptedUpstream(default=behaviour) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        reply = await gateway.chat(stream=stream, response_format=FORM, tools=TOOLS)
    assert len(upstream.requests) == 1
    documents = reply.chunks if stream else [reply.json]
    reasons = [choice["finish_reason"] for each in documents for choice in each["choices"]]
    assert reasons[-1] == finish
    assert reply.done is stream


@pytest.mark.anyio
async def test_a_repair_that_fails_is_that_failure(serve: Serve) -> None:
    async with ScriptedUpstream(default=error(503)) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        upstream.enqueue(says(BAD))
        reply = await gateway.chat(response_format=FORM)
    assert (reply.code, reply.attempts) == ("upstream_overloaded", [("global/acme/m", "overloaded", 503)])


@pytest.mark.anyio
async def test_a_caller_who_leaves_ends_the_repair_too(serve: Serve) -> None:
    async with ScriptedUpstream(default=silent()) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        upstream.enqueue(says(BAD))
        async with gateway.client() as client:
            await gateway.begin(client, response_format=FORM, stream=True)
            await upstream.wait_for_requests(2)
            client.rst()
            assert (await upstream.wait_peer_left(1, timeout=2)).abandoned
        row = await gateway.row()
    assert row.outcome is Outcome.CLIENT_DISCONNECTED


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": FORM, "n": 2}, "n"),
        ({"guided_json": {"$ref": "https://schemas.example/person.json"}}, "guided_json"),
        ({"guided_regex": "[a-z]+"}, "guided_regex"),
    ],
)
async def test_what_cannot_be_checked_is_refused(serve: Serve, fields: dict[str, Any], param: str) -> None:
    async with ScriptedUpstream(default=says(GOOD)) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        reply = await gateway.chat(**fields)
    assert (reply.status, reply.code) == (400, "unsupported_parameter")
    assert not upstream.requests


@pytest.mark.anyio
async def test_a_dry_run_shows_the_words(serve: Serve) -> None:
    async with ScriptedUpstream(default=says(GOOD)) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        found = await dry(gateway)
        assert (await gateway.chat(response_format=FORM)).status == 200
    assert found["requests"][0]["body"] == upstream.requests[0].json


async def dry(gateway: Running) -> Any:
    headers = {"authorization": f"Bearer {gateway.admin_key}"}
    return (await gateway.post(f"{CHAT}?dry_run=true", gateway.ask(response_format=FORM), headers)).json
