"""The provider table: what each row says, and each row against an upstream that remembers what it was sent."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from tests.gateway import CHAT, Reply, Serve, model, provider

from sealgate.api.shapes import ChatCompletion, ChatCompletionChunk, ErrorEnvelope
from sealgate.config import is_loopback
from sealgate.limits.ledger import Outcome
from sealgate.providers.capabilities import ALL, CONTRACT, HINTS, PARAMETERS, needed
from sealgate.providers.openai import OpenAIWire
from sealgate.providers.params import adjust
from sealgate.providers.table import KINDS
from sealgate.relay.checked import CHECKABLE
from sealgate.testing import Received, ScriptedUpstream, answer, error, redirect, tool
from sealgate.testing.openai_wire import GREETING

OVER_HTTP = sorted(name for name, kind in KINDS.items() if type(kind.wire) is OpenAIWire and name != "sandbox")
"""The kinds that are held against an upstream here: those that speak OpenAI's wire."""
PROMISED = {
    "openai", "azure", "together", "deepseek", "fireworks", "mistral", "hyperbolic", "xai", "groq", "openrouter",
    "vllm", "vllm-legacy", "sglang", "tgi", "llamacpp", "ollama", "lmstudio", "compatible", "sandbox", "anthropic",
}  # fmt: skip

WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALLS = [tool("get_weather", {"city": "Zürich"}), tool("get_weather", {"city": "Paris"}, call_id="call_2")]
USAGE = {
    "prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42, "prompt_tokens_details": {"cached_tokens": 20},
    "completion_tokens_details": {"reasoning_tokens": 5},
}  # fmt: skip


# What the rows say


def test_the_kinds_that_are_promised_are_there() -> None:
    assert KINDS.keys() >= PROMISED
    assert all(name == kind.name for name, kind in KINDS.items())


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_a_row_says_where_its_facts_come_from_and_where_it_lives(kind: Any) -> None:
    assert kind.title
    assert kind.source
    assert {"stop", "max_tokens"} <= kind.capabilities <= kind.abilities <= ALL
    assert kind.hints is None or kind.hints <= HINTS
    assert not kind.base_url or not kind.base_url.endswith("/")
    if kind.base_url and kind.name != "sandbox":
        where = urlsplit(kind.base_url)
        local = is_loopback(where.hostname or "")
        assert where.scheme == ("http" if local else "https"), "a key never travels in the open"
        assert not (local and kind.key_variables)
        if kind.port is not None:
            assert where.port == kind.port
            assert not kind.media_by_url, "a server of one's own must not fetch what callers name"


def test_a_key_in_the_environment_belongs_to_one_kind() -> None:
    variables = [variable for kind in KINDS.values() for variable in kind.key_variables]
    assert len(variables) == len(set(variables))
    assert all(re.fullmatch(r"[A-Z]+_API_KEY", variable) for variable in variables)


def test_kinds_with_a_usual_port_have_one_each() -> None:
    ports = [kind.port for kind in KINDS.values() if kind.port is not None]
    assert len(ports) == len(set(ports))


# The documented table and what is sent agree, both ways

NAMED = {"type": "function", "function": {"name": "get_weather"}}
SCHEMA = {"type": "object"}
SAMPLES: dict[str, list[dict[str, Any]]] = {
    **{name: [{name: "x"}] for name in HINTS},
    "reasoning_effort": [{"reasoning_effort": level} for level in ("none", "minimal", "medium", "xhigh", "max")],
    "guided_whitespace_pattern": [{"guided_whitespace_pattern": " "},
                                  {"guided_whitespace_pattern": " ", "guided_json": SCHEMA}],
    "messages": [{"messages": [{"role": "developer", "content": "d"}]},
                 {"messages": [{"role": "user", "content": "u", "name": "n"}]},
                 {"messages": [{"role": "system", "content": "s", "name": "n"}]},
                 {"messages": [{"role": "assistant", "content": "a", "reasoning_content": "r"}]}],
    "max_tokens": [{"max_tokens": 1}], "max_completion_tokens": [{"max_completion_tokens": 1}],
    "n": [{"n": 2}], "stop": [{"stop": "."}], "logprobs": [{"logprobs": True}, {"logprobs": False}],
    "response_format": [{"response_format": {"type": "json_object"}},
                        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}],
    "tools": [{"tools": [WEATHER]}, {"tools": [{"type": "custom", "custom": {"name": "c"}}]},
              {"tools": [WEATHER], "response_format": {"type": "json_object"}}],
    "tool_choice": [{"tools": [WEATHER], "tool_choice": choice} for choice in (
        "none", "required", NAMED, {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}})],
    "guided_json": [{"guided_json": SCHEMA}], "guided_regex": [{"guided_regex": "a"}],
    "guided_choice": [{"guided_choice": ["a"]}], "guided_grammar": [{"guided_grammar": "root ::= \"a\""}],
    "structural_tag": [{"structural_tag": {"type": "structural_tag"}}],
    "structured_outputs": [{"structured_outputs": {"regex": "a"}}],
}  # fmt: skip
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_each_parameter_is_changed_as_documented_and_no_other_is(kind: Any) -> None:
    assert kind.changes.keys() <= SAMPLES.keys() == CONTRACT | HINTS | {"messages"}
    for name, samples in SAMPLES.items():
        said = [each for sample in samples for each in adjust(kind, {"messages": HELLO} | sample)[1]]
        about = [each for each in said if each.param.partition("[")[0] == name]
        if name in kind.changes:
            assert kind.changes[name].action in {each.action for each in about}, name
        elif name == "tools":
            assert all(each.detail in ("tool_choice is none", "only the allowed ones are offered") for each in about)
        elif name == "response_format":
            assert all(each.detail.endswith("says more") for each in about)
        else:
            assert not about, name


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_what_a_kind_can_do_reaches_it(kind: Any) -> None:
    """Whatever changes the meaning and is sent where it can be honoured is in the body, in some form."""
    for samples in SAMPLES.values():
        for sample in samples:
            fields = {"messages": HELLO} | sample
            if needed(fields) and needed(fields) <= kind.abilities:
                body, said = adjust(kind, fields)
                told = [each.detail for each in said if each.action != "dropped"]
                for name in CONTRACT & sample.keys():
                    assert name in body or not sample[name] or sample.get("tool_choice") == "none" or told


# Each row, against a real upstream


def where(upstream: ScriptedUpstream, kind: str) -> str:
    """The base URL of that kind at this upstream."""
    return upstream.origin if kind == "azure" else upstream.base_url


def path_of(kind: str) -> str:
    return "/openai/v1/chat/completions" if kind == "azure" else "/v1/chat/completions"


async def ask(serve: Serve, kind: str, behaviour: Any, **fields: Any) -> tuple[Reply, Received, Any]:
    """The answer of a gateway whose only provider is of that kind, what the upstream got, and the row."""
    async with ScriptedUpstream(default=behaviour) as upstream:
        row = provider(where(upstream, kind), kind=kind, api_key=f"key-of-{kind}")
        async with serve({"acme": row}, {"m": model("acme", upstream_model="up/model")}) as gateway:
            headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-secret": "caller's"}
            reply = await gateway.chat(headers=headers, **fields)
            found = await gateway.row()
            assert gateway.key not in upstream.requests[0].head.decode(), "the caller's credential stays here"
    [received] = upstream.requests
    return reply, received, found


def assert_sent(received: Received, kind: str, *, stream: bool) -> None:
    """The head of an upstream request, whatever its body."""
    assert (received.method, received.path) == ("POST", path_of(kind))
    headers = dict(received.headers)
    credential = {"api-key": "key-of-azure"} if kind == "azure" else {"authorization": f"Bearer key-of-{kind}"}
    host, length = headers.pop("host"), headers.pop("content-length")
    assert headers == {
        **credential,
        "content-type": "application/json",
        "accept": "text/event-stream" if stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": "sealgate",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }
    assert host.startswith("127.0.0.1:")
    assert int(length) == len(received.body)


def streaming(kind: str) -> dict[str, Any]:
    """What a streamed body has besides what the caller sent."""
    return {"stream": True} | ({"stream_options": {"include_usage": True}} if KINDS[kind].asks_usage else {})


def usual_place(kind: str) -> Any:
    """Where a provider of that kind puts a stream's usage: those that are not asked for it send it with the finish."""
    return "end" if KINDS[kind].asks_usage else "finish"


def as_completion(reply: Reply) -> ChatCompletion:
    assert reply.status == 200
    return msgspec.json.decode(reply.body, type=ChatCompletion, strict=True)


def as_chunks(reply: Reply) -> list[ChatCompletionChunk]:
    assert (reply.status, reply.done, reply.error) == (200, True, None)
    return [msgspec.convert(each, ChatCompletionChunk, strict=True) for each in reply.chunks]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", OVER_HTTP)
async def test_a_plain_answer(serve: Serve, kind: str) -> None:
    """What the caller sent goes upstream as its row says, unknown fields too; what is the gateway's own does not."""
    asked = {
        "messages": [{"role": "user", "content": "Hello"}], "temperature": 0.5, "seed": 7, "max_completion_tokens": 9,
        "x_vendor": {"deep": [1, None]},
    }  # fmt: skip
    goes, said = adjust(KINDS["compatible" if kind == "openai" else kind], asked)
    reply, received, row = await ask(
        serve, kind, answer("Hi."),
        temperature=0.5, seed=7, max_completion_tokens=9, x_vendor={"deep": [1, None]}, stop=None, stream=False,
        region="global", provider="acme", failover=["m"], episode_id="01977ed9-7492-7b70-8347-955764f97b3d",
        **{"tensorzero::variant_name": "v", "tensorzero::dryrun": True, "tensorzero::extra_body": {"top_k": 3}},
    )  # fmt: skip
    assert_sent(received, kind, stream=False)
    assert received.json == goes | {"model": "up/model", "top_k": 3}
    assert ("x_vendor" in goes) == (kind != "mistral")
    found = as_completion(reply)
    assert found.choices[0].message.content == "Hi."
    assert found.model == "m"
    told = [each for each in reply.tresor["adjustments"] if not each["param"].startswith("tensorzero::")]
    assert told == [each._asdict() for each in said]
    assert (row.outcome, row.upstream_model, row.usage_source) == (Outcome.OK, "up/model", "reported")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", OVER_HTTP)
async def test_a_streamed_answer(serve: Serve, kind: str) -> None:
    behaviour = answer(reasoning="Hm. ", usage_at=usual_place(kind))
    reply, received, row = await ask(serve, kind, behaviour, stream=True)
    assert_sent(received, kind, stream=True)
    assert received.json == {
        "model": "up/model", "messages": [{"role": "user", "content": "Hello"}], **streaming(kind),
    }  # fmt: skip
    chunks = as_chunks(reply)
    assert reply.text == GREETING
    assert [each.choices[0].delta.reasoning_content for each in chunks][1:3] == ["Hm. ", msgspec.UNSET]
    assert all(each.choices for each in chunks), "usage was not asked for by the caller"
    assert row.usage_source == "reported", "but the ledger has it"


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", [kind for kind in OVER_HTTP if "tools" in KINDS[kind].abilities])
async def test_tools_are_offered_and_parallel_calls_come_back(serve: Serve, kind: str, stream: bool) -> None:
    behaviour = answer(tool_calls=CALLS, usage_at=usual_place(kind))
    offered: dict[str, Any] = {"tools": [WEATHER], "parallel_tool_calls": True}
    if "tool_required" in KINDS[kind].abilities:
        offered["tool_choice"] = "required"
    reply, received, _ = await ask(serve, kind, behaviour, stream=stream, **offered)
    knows = KINDS[kind].hints is None or kind == "openai" or "parallel_tool_calls" in KINDS[kind].hints
    assert {name: received.json[name] for name in offered if name in received.json} == {
        name: value for name, value in offered.items() if knows or name != "parallel_tool_calls"
    }
    assert called(reply, stream=stream) == [
        ("call_get_weather", "get_weather", {"city": "Zürich"}),
        ("call_2", "get_weather", {"city": "Paris"}),
    ]


def called(reply: Reply, *, stream: bool) -> list[tuple[str, str, Any]]:
    """Id, name and arguments of each call."""
    if not stream:
        [choice] = as_completion(reply).choices
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        assert choice.message.tool_calls is not msgspec.UNSET
        found = [(call.id, call.function) for call in choice.message.tool_calls]
        return [(each, call.name, json.loads(call.arguments)) for each, call in found if call is not msgspec.UNSET]
    chunks = as_chunks(reply)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    calls: dict[int, list[Any]] = {}
    for delta in (each.choices[0].delta for each in chunks):
        for call in delta.tool_calls if delta.tool_calls is not msgspec.UNSET else ():
            assert call.function is not msgspec.UNSET
            if call.index in calls:
                assert (call.id, "name" in call.function) == (msgspec.UNSET, False), "id and name only once"
                calls[call.index][2] += call.function["arguments"]
            else:
                calls[call.index] = [call.id, call.function["name"], call.function["arguments"]]
    return [(each, name, json.loads(text)) for each, name, text in calls.values()]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [kind for kind in OVER_HTTP if KINDS[kind].abilities < ALL and kind != "openai"])
async def test_what_a_kind_cannot_do_is_refused_before_it_is_asked(serve: Serve, kind: str) -> None:
    asks = [{"messages": HELLO} | sample for samples in SAMPLES.values() for sample in samples]
    lacking = [fields for fields in asks if not needed(fields) - KINDS[kind].abilities <= CHECKABLE]
    assert lacking
    async with (
        ScriptedUpstream() as upstream,
        serve({"acme": provider(where(upstream, kind), kind=kind)}) as gateway,
    ):
        for fields in lacking:
            reply = await gateway.chat(**fields)
            assert (reply.status, reply.error["code"]) == (400, "unsupported_parameter")
            assert reply.error["param"] in {PARAMETERS[name] for name in needed(fields) - KINDS[kind].abilities}
        assert not upstream.requests


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", OVER_HTTP)
async def test_usage_is_told_to_the_caller_and_kept_in_the_ledger(serve: Serve, kind: str, stream: bool) -> None:
    behaviour = answer(usage=USAGE, usage_at=usual_place(kind))
    fields: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    reply, received, row = await ask(serve, kind, behaviour, **fields)
    assert ("stream_options" in received.json) is (stream and KINDS[kind].asks_usage)
    told = reply.chunks[-1]["usage"] if stream else reply.json["usage"]
    assert told == USAGE
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens, row.reasoning_tokens) == (30, 12, 20, 5)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", OVER_HTTP)
async def test_an_error_is_told_in_our_own_words(serve: Serve, kind: str) -> None:
    """A few classes each: the rows share one wire, whose classes are tested with it."""
    refusals = {
        400: "upstream_invalid_request", 401: "upstream_auth_failed", 503: "upstream_overloaded",
        429: "upstream_rate_limited",
    }  # fmt: skip
    async with ScriptedUpstream() as upstream:
        upstream.enqueue(*(error(status) for status in refusals))
        async with serve({"acme": provider(where(upstream, kind), kind=kind)}) as gateway:
            replies = [await gateway.chat(stream=status == 503) for status in refusals]
            rows = await gateway.rows(len(refusals))
    envelopes = [msgspec.json.decode(reply.body, type=ErrorEnvelope, strict=True) for reply in replies]
    assert [envelope.error.code for envelope in envelopes] == list(refusals.values())
    assert [envelope.error.status for envelope in envelopes] == [reply.status for reply in replies]
    assert [(row.outcome, row.code) for row in rows] == [(Outcome.UPSTREAM_FAILED, code) for code in refusals.values()]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", OVER_HTTP)
async def test_an_upstream_without_a_key_gets_no_credential(serve: Serve, kind: str) -> None:
    async with ScriptedUpstream() as upstream:
        row = provider(where(upstream, kind), kind=kind, api_key=())
        async with serve({"acme": row}) as gateway:
            assert (await gateway.chat()).status == 200
    [received] = upstream.requests
    assert not {"authorization", "api-key", "x-api-key"} & received.headers.keys()


# P18: a provider's key goes to its own origin only


@pytest.mark.anyio
async def test_p18_a_providers_key_never_leaves_for_anywhere_else(
    serve: Serve, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Not by a redirect, a failover, an error, a log line, or any answer of the gateway."""
    first_key, second_key = "canary-one-7Zp", "canary-two-9Qx"
    async with ScriptedUpstream() as second, ScriptedUpstream() as elsewhere:
        location = f"{elsewhere.base_url}/chat/completions"
        faults = [error(401, message=f"Incorrect API key provided: {first_key}"), error(400, message=first_key)]
        faults += [redirect(location, status) for status in (301, 302, 307, 308)]
        async with ScriptedUpstream() as first:
            first.enqueue(*faults * 2)
            providers = {"one": provider(first, api_key=first_key), "two": provider(second, api_key=second_key)}
            async with serve(providers) as gateway:
                said = []
                for stream in (True, False) * len(faults):
                    said.append((await gateway.chat(stream=stream)).body)
                    gateway.forget()
                paths = (
                    "/v1/models?detail=true",
                    "/v1/models/m",
                    "/health",
                    "/health/ready",
                    "/metrics",
                    "/openapi.json",
                )
                said += [(await gateway.get(path)).body for path in paths]
                said += [repr([gateway.hall.settings, gateway.hall.catalog, gateway.hall.means.upstreams]).encode()]
                said += [repr(await gateway.rows(len(faults) * 2)).encode()]
    captured = capfdbinary.readouterr()
    for canary in (first_key.encode(), second_key.encode()):
        assert not [each for each in [*said, captured.err, captured.out] if canary in each]
    assert len(first.requests) == len(faults) * 2
    assert {each.headers["authorization"] for each in first.requests} == {f"Bearer {first_key}"}
    assert {each.headers["authorization"] for each in second.requests} == {f"Bearer {second_key}"}
    assert not elsewhere.requests, "a redirect is never followed"


@pytest.mark.anyio
async def test_p18_a_caller_cannot_change_where_a_key_goes_or_what_it_is(serve: Serve) -> None:
    """Row C16: such fields are a provider's business, or nobody's; they never steer the gateway's own client."""
    fields = {
        "base_url": "http://127.0.0.1:9/v1",
        "api_base": "x",
        "api_key": "mine",
        "headers": {"a": "b"},
        "timeout": 1,
    }
    extra = {"tensorzero::extra_headers": {"authorization": "Bearer mine", "x-allowed": "yes", "x-other": "no"}}
    async with ScriptedUpstream() as upstream:
        row = provider(upstream, api_key="the-key", extra_headers=("x-allowed", "authorization"))
        async with serve({"acme": row}) as gateway:
            reply = await gateway.post(CHAT, gateway.ask() | fields | extra)
    [received] = upstream.requests
    assert reply.status == 200
    assert received.headers["authorization"] == "Bearer the-key"
    assert received.headers["x-allowed"] == "yes"
    assert "x-other" not in received.headers
    assert {name: received.json.get(name) for name in fields} == fields
