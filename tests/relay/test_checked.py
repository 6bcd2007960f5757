"""Structured output at providers that cannot be held to a schema: checked, repaired once, never failing open."""

import json
from typing import Any

import pytest
from tests.gateway import CHAT, Running, Serve, model, provider

from sealgate.limits.ledger import Outcome
from sealgate.providers.anthropic_form import ANSWER_TOOL
from sealgate.providers.table import KINDS
from sealgate.relay.checked import CHOOSE_AGAIN, REPAIR, _sum
from sealgate.testing import Behaviour, ScriptedUpstream, answer, error, silent, tool
from sealgate.testing.anthropic_wire import Message
from sealgate.testing.anthropic_wire import tool_use as claude_calls
from sealgate.testing.bedrock_wire import Converse
from sealgate.testing.bedrock_wire import tool_use as converse_calls
from sealgate.testing.gemini_wire import Generated

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
    assert (reply.code, reply.attempts) == (
        "upstream_overloaded", [("global/acme/m", "schema", 200), ("global/acme/m", "overloaded", 503)],
    )  # fmt: skip


@pytest.mark.anyio
async def test_a_repair_is_an_attempt_in_the_row_and_in_the_metrics(serve: Serve) -> None:
    async with ScriptedUpstream(default=says(GOOD)) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        upstream.enqueue(says(BAD))
        assert (await gateway.chat(response_format=FORM)).status == 200
        row = await gateway.row()
        shown = gateway.hall.metrics.render().decode()
    assert row.attempts == 2
    for outcome in ("schema", "ok"):
        assert any("attempt" in line and f'outcome="{outcome}"' in line and line.endswith(" 1.0")
                   for line in shown.splitlines()), outcome  # fmt: skip


@pytest.mark.anyio
async def test_a_repair_is_charged_to_the_retry_budget_and_not_made_without_room(serve: Serve) -> None:
    async with ScriptedUpstream(default=says(BAD)) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        budget = gateway.hall.means.budget
        while budget.take("acme"):
            pass
        reply = await gateway.chat(response_format=FORM)
        assert (reply.code, len(upstream.requests), len(reply.attempts)) == ("schema_not_satisfied", 1, 1)
        budget.give_back("acme")
        assert len((await gateway.chat(response_format=FORM)).attempts) == 2
        assert budget.take("acme"), "what a repair took is given back"


@pytest.mark.anyio
async def test_a_caller_who_leaves_ends_the_repair_too(serve: Serve) -> None:
    async with ScriptedUpstream(default=silent()) as upstream, serve({"acme": deepseek(upstream)}) as gateway:
        upstream.enqueue(says(BAD))
        async with gateway.client() as client:
            await gateway.begin(client, response_format=FORM, stream=True)
            await upstream.wait_for_requests(2)
            client.rst()
            assert (await upstream.wait_peer_left(1, timeout=20)).abandoned
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


# Where a wire has a way of its own, which does not hold a model to everything

CHOICE = {"guided_choice": ["yes", "no"]}


def claude(document: Any) -> Behaviour:
    """The answer as arguments of the tool that prescribes it."""
    return Message(blocks=[claude_calls(ANSWER_TOOL, document)])


def converse(document: Any) -> Behaviour:
    return Converse(blocks=[converse_calls(ANSWER_TOOL, document)])


def gemini(document: Any) -> Behaviour:
    return Generated(parts=[{"text": json.dumps(document)}])


WIRES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "anthropic": ("claude-3-5-haiku-latest", {}, claude),
    "bedrock": ("amazon.nova-pro-v1:0", {"aws_region": "us-east-1"}, converse),
    "google": ("gemini-2.5-flash", {}, gemini),
}
LONG_NAMES = {**SCHEMA, "properties": {"city": {"type": "string", "minLength": 9}, "age": {"type": "integer"}}}
"""Bounds that none of these enforces."""


def asked(schema: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


async def through(serve: Serve, kind: str, *documents: Any, stream: bool = False, **fields: Any) -> Any:
    """The reply of a gateway whose provider of this kind answers with these documents in turn, and its requests."""
    name, settings, says = WIRES[kind]
    async with ScriptedUpstream(handler=lambda _: says(documents[-1])) as upstream:
        upstream.enqueue(*(says(each) for each in documents))
        providers = {"acme": provider(upstream.origin, kind, **settings)}
        async with serve(providers, {"m": model("acme", upstream_model=name)}) as gateway:
            reply = await gateway.chat(stream=stream, **fields)
            return reply, [each.json for each in upstream.requests]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", WIRES)
async def test_what_a_wire_only_asks_for_is_checked_and_repaired(serve: Serve, kind: str, stream: bool) -> None:
    good = {"city": "Winterthur", "age": 4}
    short = {"city": "Bern", "age": 4}
    reply, requests = await through(serve, kind, short, good, stream=stream, **asked(LONG_NAMES))
    assert (reply.status, json.loads(reply.text), reply.done) == (200, good, stream)
    assert ("response_format", "emulated") in note(reply)
    assert len(requests) == 2
    assert REPAIR in json.dumps(requests[1])
    assert '\\"Bern\\"' in json.dumps(requests[1]), "the model sees what it said"


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", WIRES)
async def test_no_wire_fails_open(serve: Serve, kind: str, stream: bool) -> None:
    reply, requests = await through(serve, kind, {"city": "Bern", "age": 4}, stream=stream, **asked(LONG_NAMES))
    assert (reply.status, reply.code, len(requests)) == (502, "schema_not_satisfied", 2)
    assert "Bern" not in reply.body.decode()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["anthropic", "bedrock"])
async def test_a_choice_by_a_tool_is_one_of_the_texts_or_asked_for_again(serve: Serve, kind: str) -> None:
    reply, requests = await through(serve, kind, {"answer": "maybe"}, {"answer": "no"}, **CHOICE)
    assert (reply.text, len(requests)) == ("no", 2)
    assert CHOOSE_AGAIN in json.dumps(requests[1])
    reply, _ = await through(serve, kind, {"answer": "maybe"}, **CHOICE)
    assert reply.code == "schema_not_satisfied"


@pytest.mark.anyio
async def test_what_a_provider_enforces_streams_as_it_comes(serve: Serve) -> None:
    held = {**SCHEMA, "properties": {"city": {"type": "string"}, "age": {"type": "integer"}}}
    reply, [request] = await through(serve, "google", {"city": "Bern", "age": "?"}, stream=True, **asked(held))
    assert (reply.status, "responseJsonSchema" in request["generationConfig"]) == (200, True)
    assert "adjustments" not in reply.tresor


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_after_a_failover_the_answer_is_checked_as_well(serve: Serve, stream: bool) -> None:
    """The first route enforces the schema, the one that it is left for does not."""
    good = {"city": "Winterthur", "age": 4}
    async with ScriptedUpstream(handler=lambda _: claude(good)) as upstream:
        upstream.enqueue(claude({"city": "Bern", "age": 4}))
        providers = {"able": error(500), "weak": provider(upstream.base_url, "anthropic")}
        async with serve(providers, {"m": ["able", "weak"]}) as gateway:
            reply = await gateway.chat(stream=stream, **asked(LONG_NAMES))
            row = await gateway.row()
    assert (json.loads(reply.text), reply.tresor["failover"], len(upstream.requests)) == (good, True, 2)
    assert row.attempts == 3


@pytest.mark.anyio
@pytest.mark.parametrize("asked_for", [{"response_format": {"type": "json_object"}}, CHOICE], ids=["object", "choice"])
async def test_an_object_and_a_choice_are_asked_for_in_words_where_there_is_no_form(
    serve: Serve, asked_for: dict[str, Any]
) -> None:
    answers = {"response_format": ("[1]", '{"a": 1}'), "guided_choice": ("Yes!", "yes")}[next(iter(asked_for))]
    upstream = ScriptedUpstream(default=says(answers[1]))
    async with upstream, serve({"acme": provider(upstream, "hyperbolic")}) as gateway:
        upstream.enqueue(says(answers[0]))
        reply = await gateway.chat(**asked_for)
    assert (reply.text, len(upstream.requests)) == (answers[1], 2)
    assert next(iter(asked_for)) not in upstream.requests[0].json


@pytest.mark.parametrize(
    ("kind", "name", "fields", "held"),
    [
        ("anthropic", "claude-sonnet-4-5", asked(SCHEMA), False),
        ("anthropic", "claude-sonnet-4-5", asked({**SCHEMA, "properties": {}, "required": []}), True),
        ("anthropic", "claude-sonnet-4-5", asked({"type": "object", "properties": {"a": {"type": "null"}}}), True),
        ("anthropic", "claude-sonnet-4-5", asked({"type": "object", "properties": {"a": {"oneOf": [{}]}}}), False),
        ("anthropic", "claude-sonnet-4-0", asked({"type": "object", "properties": {"a": {"type": "null"}}}), False),
        ("anthropic", "claude-sonnet-4-0", {"response_format": {"type": "json_object"}}, True),
        ("anthropic", "claude-opus-5-5", {"response_format": {"type": "json_object"}}, False),
        ("anthropic", "claude-sonnet-4-0", {**asked(SCHEMA), "tools": TOOLS, "tool_choice": "required"}, True),
        ("anthropic", "claude-sonnet-4-0", {**asked(SCHEMA), "tools": TOOLS}, False),
        ("bedrock", "openai.gpt-oss-20b", asked({"type": "object", "properties": {"a": {"type": "null"}}}), True),
        ("bedrock", "amazon.nova-pro-v1:0", asked({"type": "object", "properties": {"a": {"type": "null"}}}), False),
        ("google", "gemini-2.5-pro", asked({"type": "object", "properties": {"a": {"type": "integer"}}}), True),
        ("google", "gemini-2.5-pro", asked({"type": "string", "pattern": "a"}), False),
        ("google", "gemini-2.5-pro", {"guided_json": {"items": {"anyOf": [{"const": 1}]}}}, False),
        ("google", "gemini-2.5-pro", CHOICE, True),
        ("openai", "gpt-5", asked(SCHEMA), True),
    ],
)
def test_a_wire_says_what_it_holds_its_model_to(kind: str, name: str, fields: dict[str, Any], held: bool) -> None:
    assert KINDS[kind].wire.holds({"messages": [], **fields}, name) is held


def test_usage_that_is_nested_without_end_is_summed_as_far_as_it_counts() -> None:
    deep: Any = {"prompt_tokens": 1, "details": {"cached": 2}}
    for _ in range(5000):
        deep = {"prompt_tokens": 1, "details": deep}
    assert _sum(deep, deep)["prompt_tokens"] == 2
    assert _sum({"a": 1, "d": {"b": 2}}, {"a": 3, "d": {"b": 4, "c": 5}}) == {"a": 4, "d": {"b": 6, "c": 5}}
