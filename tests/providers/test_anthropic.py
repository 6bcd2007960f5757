"""Anthropic's Messages API as a kind of provider: where requests go, what they carry, and whole calls through it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.gateway import Running, Serve, model, provider

from sealgate.api.shapes import ChatCompletion, ChatCompletionChunk
from sealgate.config import Provider
from sealgate.providers.anthropic import ANTHROPIC, MESSAGES, ON_BEDROCK, ON_VERTEX, AnthropicWire
from sealgate.providers.base import Account, Prompt
from sealgate.providers.table import KINDS
from sealgate.testing import Behaviour, Received, ScriptedUpstream, answer, error
from sealgate.testing.anthropic_wire import Message, message, message_error, stream_error, thinking, tool_use
from sealgate.testing.script import Step

Json = dict[str, Any]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"x": {}}}}}


def account(**settings: Any) -> Account:
    return Account("acme", "acme", "global", KINDS["anthropic"], "https://api.anthropic.com/v1", ("k",), **settings)


def written(wire: AnthropicWire, *, stream: bool) -> Json:
    prompt = Prompt({"messages": [{"role": "user", "content": "Hi"}]}, stream, {}, {}, {})
    body: Json = json.loads(wire.write(account(), prompt, "claude-sonnet-4-5", None).body)
    return body


@pytest.mark.parametrize(
    ("wire", "stream", "wanted"),
    [
        (MESSAGES, False, {"model": "claude-sonnet-4-5"}),
        (MESSAGES, True, {"model": "claude-sonnet-4-5", "stream": True}),
        (ON_VERTEX, False, {"anthropic_version": "vertex-2023-10-16"}),
        (ON_VERTEX, True, {"anthropic_version": "vertex-2023-10-16", "stream": True}),
        (ON_BEDROCK, True, {"anthropic_version": "bedrock-2023-05-31"}),
    ],
)
def test_a_body_says_what_the_host_needs(wire: AnthropicWire, stream: bool, wanted: Json) -> None:
    text = [{"type": "text", "text": "Hi"}]
    assert written(wire, stream=stream) == {
        "max_tokens": 32_000, "messages": [{"role": "user", "content": text}], **wanted,
    }  # fmt: skip


@pytest.mark.parametrize(("setting", "sent"), [(None, "2023-06-01"), ("2026-10-21", "2026-10-21")])
def test_the_version_and_the_key_are_in_every_head(setting: str | None, sent: str) -> None:
    headers = account(anthropic_version=setting).headers(Prompt({}, True, {}, {}, {}))
    assert (headers["anthropic-version"], headers["x-api-key"]) == (sent, "k")
    assert headers["accept"] == "text/event-stream"
    assert "authorization" not in headers


@pytest.mark.parametrize(
    ("base_url", "wanted"),
    [
        ("https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"),
        ("https://api.anthropic.com", "https://api.anthropic.com/v1/messages"),
        ("https://example.com/anthropic/v1", "https://example.com/anthropic/v1/messages"),
    ],
)
def test_the_address_is_that_of_the_messages(base_url: str, wanted: str) -> None:
    place = Account("acme", "acme", "global", KINDS["anthropic"], base_url)
    assert ANTHROPIC.url(place, "claude-x", stream=True) == wanted
    assert ANTHROPIC.signer(place) is None


# Through a gateway


def playing(behaviour: Behaviour) -> ScriptedUpstream:
    """A provider that does this wherever it is asked."""
    return ScriptedUpstream(handler=lambda _: behaviour)


def claude(upstream: ScriptedUpstream, **fields: Any) -> Provider:
    return provider(upstream, "anthropic", **fields)


async def ask(serve: Serve, behaviour: Behaviour, **fields: Any) -> tuple[Any, Received, Any]:
    """A gateway's answer, what the provider got, and the row."""
    async with (
        playing(behaviour) as upstream,
        serve({"acme": claude(upstream)}, {"m": model("acme", upstream_model="claude-sonnet-4-5")}) as gateway,
    ):
        reply = await gateway.chat(**fields)
        return reply, upstream.requests[0], await gateway.row()


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_goes_out_and_its_answer_comes_back(serve: Serve, stream: bool) -> None:
    usage = {"input_tokens": 4, "cache_read_input_tokens": 6, "output_tokens": 3}
    reply, sent, row = await ask(serve, message("Hello, 🌍!", usage=usage), stream=stream, max_tokens=50)
    assert (reply.status, reply.text, sent.path) == (200, "Hello, 🌍!", "/v1/messages")
    assert sent.json["max_tokens"] == 50
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens) == (10, 3, 6)
    assert not stream or reply.done


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_calls_and_reasoning_come_in_openais_shape(serve: Serve, stream: bool) -> None:
    told = message("So:", blocks=[thinking("Hm."), tool_use("add", {"x": 1}), tool_use("add", {}, call_id="toolu_2")])
    reply, _, _ = await ask(serve, told, stream=stream, tools=[TOOL])
    if stream:
        _check(ChatCompletionChunk, reply.chunks)
        deltas = [choice["delta"] for chunk in reply.chunks for choice in chunk["choices"]]
        calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
        texts = ["".join(call["function"]["arguments"] for call in calls if call["index"] == index) for index in (0, 1)]
        ended = [choice["finish_reason"] for chunk in reply.chunks for choice in chunk["choices"]][-1]
        [details] = [delta["reasoning_details"] for delta in deltas if "reasoning_details" in delta]
    else:
        _check(ChatCompletion, [reply.json])
        said = reply.json["choices"][0]["message"]
        texts = [call["function"]["arguments"] for call in said["tool_calls"]]
        ended = reply.json["choices"][0]["finish_reason"]
        details = said["reasoning_details"]
    assert (texts, ended) == (['{"x":1}', "{}"], "tool_calls")
    assert details[0]["signature"] == "signature-of-the-tests"


def _check(shape: Any, documents: list[Json]) -> None:
    for document in documents:
        msgspec.convert(document, shape)


@pytest.mark.anyio
async def test_reasoning_that_comes_back_is_sent_as_it_was(serve: Serve) -> None:
    told = message(blocks=[thinking("Hm."), tool_use("add", {"x": 1})])
    async with (
        playing(told) as upstream,
        serve({"acme": claude(upstream)}, {"m": model("acme", upstream_model="claude-sonnet-4-6")}) as gateway,
    ):
        first = (await gateway.chat(tools=[TOOL], reasoning_effort="high")).json["choices"][0]["message"]
        result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "2"}
        turns = [{"role": "user", "content": "Hello"}, first, result]
        await gateway.post("/v1/chat/completions", {"model": "m", "messages": turns, "tools": [TOOL]})
        sent = upstream.requests[1].json["messages"]
    assert sent[1]["content"] == [thinking("Hm."), tool_use("add", {"x": 1})]
    assert sent[2]["content"][0]["tool_use_id"] == "toolu_add"


@pytest.mark.anyio
async def test_what_is_not_sent_as_it_came_is_told(serve: Serve) -> None:
    reply, sent, _ = await ask(serve, message(), temperature=1.5, seed=1, user="u", frequency_penalty=1)
    assert (sent.json["temperature"], sent.json["metadata"]) == (1, {"user_id": "u"})
    said = {(each["param"], each["action"]) for each in reply.tresor["adjustments"]}
    assert said == {("temperature", "renamed"), ("seed", "dropped"), ("user", "renamed"),
                    ("frequency_penalty", "dropped")}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("fields", [{"n": 2}, {"logprobs": True}, {"guided_regex": "a+"}])
async def test_what_it_has_no_form_for_is_not_asked_of_it(serve: Serve, fields: Json) -> None:
    async with (
        playing(message()) as upstream,
        serve({"acme": claude(upstream)}) as gateway,
    ):
        reply = await gateway.chat(**fields)
        assert (reply.status, reply.code, upstream.requests) == (400, "unsupported_parameter", [])


@pytest.mark.anyio
async def test_a_choice_of_texts_comes_as_text(serve: Serve) -> None:
    reply, sent, _ = await ask(serve, message('{"answer": "no"}'), guided_choice=["yes", "no"], stream=True)
    assert (reply.text, reply.done) == ("no", True)
    assert sent.json["output_config"]["format"]["type"] == "json_schema"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (message_error(400, text="max_tokens: too many"), 400, "upstream_invalid_request"),
        (message_error(400, text="prompt is too long: 210000 tokens"), 400, "context_length_exceeded"),
        (message_error(400, text="You have reached your specified API usage limits."), 429, "upstream_quota"),
        (message_error(401), 502, "upstream_auth_failed"),
        (message_error(429, headers={"retry-after": "3"}), 429, "upstream_rate_limited"),
        (message_error(500), 502, "upstream_error"),
        (message_error(529), 503, "upstream_overloaded"),
        (stream_error(0), 503, "upstream_overloaded"),
    ],
)
async def test_its_errors_have_our_codes(serve: Serve, behaviour: Behaviour, status: int, code: str) -> None:
    reply, _, _ = await ask(serve, behaviour, stream=True)
    assert (reply.status, reply.code) == (status, code)


@pytest.mark.anyio
async def test_an_error_in_the_middle_ends_the_stream_without_done(serve: Serve) -> None:
    reply, _, _ = await ask(serve, stream_error(5, base=Message("One two three")), stream=True)
    assert (reply.status, reply.text, reply.done) == (200, "One two ", False)
    assert reply.code == "upstream_error"


@pytest.mark.anyio
async def test_a_stream_that_stops_is_not_taken_for_whole(serve: Serve) -> None:
    def cut(received: Received) -> Any:
        return Message("One two").stream(received, Message("One two").events(received)[:5])

    reply, _, _ = await ask(serve, cut, stream=True)
    assert (reply.code, reply.done) == ("upstream_stream_truncated", False)


@pytest.mark.anyio
@pytest.mark.parametrize("first", ["anthropic", "openai"])
async def test_an_overloaded_provider_is_left_for_one_of_another_kind(serve: Serve, first: str) -> None:
    ids = [{"id": "functions.add:0", "type": "function", "function": {"name": "add", "arguments": ""}}]
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": ids},
             {"role": "tool", "tool_call_id": "functions.add:0", "content": "1"}]  # fmt: skip
    broken: Behaviour = message_error(529) if first == "anthropic" else error(503)
    whole: Behaviour = answer("Hi") if first == "anthropic" else message("Hi")
    async with playing(broken) as one, playing(whole) as two:
        kinds = ("anthropic", "openai") if first == "anthropic" else ("openai", "anthropic")
        rows = {"one": provider(one, kinds[0]), "two": provider(two, kinds[1])}
        async with serve(rows, {"m": model("one", "two", upstream_model="claude-sonnet-4-5")}) as gateway:
            reply = await _post(gateway, turns)
        assert (reply.text, reply.tresor["failover"]) == ("Hi", True)
        if first == "openai":
            used, result = (turn["content"][0] for turn in two.requests[0].json["messages"][1:])
            assert used["id"] == result["tool_use_id"] != "functions.add:0"


async def _post(gateway: Running, turns: list[Json]) -> Any:
    return await gateway.post("/v1/chat/completions", {"model": "m", "messages": turns, "tools": [TOOL]})


@pytest.mark.anyio
async def test_a_file_that_has_no_form_there_is_the_callers_mistake(serve: Serve) -> None:
    file = {"file_data": "data:application/msword;base64,AAAA", "filename": "a.doc"}
    turns = [{"role": "user", "content": [{"type": "file", "file": file}]}]
    async with playing(message()) as upstream, serve({"acme": claude(upstream)}) as gateway:
        reply = await _post(gateway, turns)
        assert (reply.status, reply.code, upstream.requests) == (400, "invalid_media", [])
        assert "application/msword" in reply.error["message"]


@pytest.mark.anyio
async def test_a_stream_that_breaks_is_counted_with_the_prompt_of_its_start(serve: Serve) -> None:
    counted = {"input_tokens": 700, "cache_read_input_tokens": 300, "output_tokens": 900}
    said = Message("word " * 40, usage=counted)

    def broken(received: Received) -> Iterator[Step]:
        events = [each for each in said.events(received) if each["type"] not in ("message_delta", "message_stop")]
        return said.stream(received, events)

    upstream = ScriptedUpstream(handler=lambda _: broken)
    async with upstream, serve({"acme": provider(upstream, "anthropic")}) as gateway:
        reply = await gateway.chat(stream=True)
        row = await gateway.row()
    assert reply.code == "upstream_stream_truncated"
    assert (row.prompt_tokens, row.cached_tokens, row.usage_source) == (1000, 300, "estimated")
    assert row.completion_tokens == 50
