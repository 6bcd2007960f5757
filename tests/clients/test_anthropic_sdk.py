"""The official Anthropic SDK, unchanged, against a whole gateway: every kind of provider behind it answers its user."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import Message
from tests.gateway import Serve, Threaded, model

from sealgate.config import Provider, Secret
from sealgate.testing import MockProvider, ScriptedUpstream, answer, cut_after, tool
from sealgate.testing.thread import ThreadedUpstream

KINDS = ("openai", "anthropic", "vertex/anthropic", "bedrock/anthropic", "bedrock", "google", "mistral", "openrouter")
PNG = base64.b64encode(
    bytes.fromhex("89504e470d0a1a0a0000000d4948445200000003000000020802000000120a5f8e0000000049454e44ae426082")
).decode()
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS: Any = [
    {"name": f"tool_{number}", "description": "One of many.", "input_schema": {"type": "object", "properties": {}}}
    for number in range(20)
] + [{**WEATHER, "cache_control": {"type": "ephemeral"}}]


def say(text: Any) -> list[Any]:
    return [{"role": "user", "content": text}]


def at(mock: MockProvider) -> Provider:
    """How a gateway's configuration names that mock."""
    table = dict(mock.provider_table())
    key = table.pop("api_key", None)
    return Provider(api_key=(Secret(key),) if key else (), **table)


@contextmanager
def behind(serve: Serve, mock: MockProvider) -> Iterator[tuple[Threaded, Anthropic]]:
    """A gateway in front of that mock, and the SDK in front of the gateway."""
    with (
        serve.in_thread({"acme": at(mock)}, {"m": model("acme", upstream_model=mock.model)}) as gateway,
        Anthropic(base_url=gateway.origin, api_key=gateway.key, max_retries=0) as client,
    ):
        yield gateway, client


@pytest.mark.parametrize("kind", KINDS)
def test_an_agents_loop_works_with_every_kind_of_provider(serve: Serve, kind: str) -> None:
    """System blocks with marks for caches, many tools, thinking, a call and its result: as coding agents ask."""
    asked: Any = {
        "model": "m",
        "max_tokens": 8000,
        "system": [
            {"type": "text", "text": "You are an agent."},
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
        ],
        "tools": TOOLS,
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "metadata": {"user_id": "user-1"},
    }
    with MockProvider(kind) as mock, behind(serve, mock) as (gateway, client):
        mock.reply("Let me look.", reasoning="Where?", tool_calls=[tool("get_weather", {"city": "Paris"})])
        messages = say([{"type": "text", "text": "How is the weather?", "cache_control": {"type": "ephemeral"}}])
        with client.messages.stream(messages=messages, **asked) as stream:
            first = stream.get_final_message()
        [call] = [block for block in first.content if block.type == "tool_use"]
        assert (first.stop_reason, first.model, call.name, call.input) == (
            "tool_use", "m", "get_weather", {"city": "Paris"},
        )  # fmt: skip
        assert first.usage.input_tokens
        assert first.usage.output_tokens
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Sunny."}]}
        messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        mock.reply("It is sunny.")
        with client.messages.stream(messages=messages, **asked) as stream:
            assert stream.get_final_text() == "It is sunny."
            last = stream.get_final_message()
        assert last.stop_reason == "end_turn"
        assert mock.complaints == []
        assert "Sunny." in mock.upstream.requests[-1].body.decode()
        rows = gateway.rows(2)
        assert [(row.endpoint, row.outcome.value, row.end_user) for row in rows] == [("messages", "ok", "user-1")] * 2
        assert all(row.prompt_tokens and row.usage_source == "reported" for row in rows)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_whole_answer_is_a_message(serve: Serve, kind: str) -> None:
    with MockProvider(kind) as mock, behind(serve, mock) as (_, client):
        mock.reply("Hello")
        raw = client.messages.with_raw_response.create(model="m", max_tokens=100, messages=say("Hi"))
        message = raw.parse()
        assert isinstance(message, Message)
        assert message.id.startswith("msg_")
        assert (message.type, message.role, message.model) == ("message", "assistant", "m")
        assert [block.type for block in message.content] == ["text"]
        assert message.stop_reason == "end_turn"
        assert raw.headers["x-tresor-receipt-id"]
        assert raw.headers["request-id"] == raw.headers["x-request-id"]


@pytest.mark.parametrize("kind", ["openai", "anthropic", "google"])
def test_pictures_and_documents_reach_the_provider(serve: Serve, kind: str) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    paper = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "The paper."}}
    with MockProvider(kind) as mock, behind(serve, mock) as (_, client):
        mock.reply("I see.")
        asked: Any = [picture, paper, {"type": "text", "text": "What is it?"}]
        assert client.messages.create(model="m", max_tokens=10, messages=say(asked)).content
        sent = mock.upstream.requests[-1].body.decode()
        assert PNG in sent
        assert "The paper." in sent
        assert mock.complaints == []


@pytest.mark.parametrize("kind", ["openai", "anthropic", "google"])
def test_a_prescribed_form_is_held(serve: Serve, kind: str) -> None:
    schema = {
        "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False,
    }  # fmt: skip
    with MockProvider(kind) as mock, behind(serve, mock) as (_, client):
        mock.reply('{"n": 3}')
        form: Any = {"format": {"type": "json_schema", "schema": schema}}
        found = client.messages.create(model="m", max_tokens=10, messages=say("Three?"), output_config=form)
        assert [block.text for block in found.content if block.type == "text"] == ['{"n": 3}']
        assert '"additionalProperties"' in mock.upstream.requests[-1].body.decode()


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as found:
        yield found


@pytest.mark.anyio
async def test_the_asynchronous_client_streams_text(serve: Serve) -> None:
    async with (
        serve({"acme": answer("One two three")}) as gateway,
        AsyncAnthropic(base_url=gateway.origin, api_key=None, auth_token=gateway.key, max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=100, messages=say("Count")) as stream,
    ):
        assert "".join([text async for text in stream.text_stream]) == "One two three"


@pytest.mark.anyio
async def test_what_a_client_gets_of_a_broken_stream_is_an_error(serve: Serve) -> None:
    async with (
        serve({"acme": cut_after(3)}) as gateway,
        AsyncAnthropic(base_url=gateway.origin, api_key=gateway.key, max_retries=0) as client,
    ):
        with pytest.raises(anthropic.APIStatusError) as raised:
            async with client.messages.stream(model="m", max_tokens=100, messages=say("Count")) as stream:
                await stream.get_final_message()
        assert raised.value.body["type"] == "error"  # type: ignore[index]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"model": "nothing"}, anthropic.NotFoundError),
        ({"max_tokens": -1}, anthropic.BadRequestError),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, anthropic.BadRequestError),
    ],
)
async def test_errors_are_those_that_the_sdk_knows(serve: Serve, fields: Any, kind: type[Exception]) -> None:
    async with (
        serve({"acme": answer("Hi")}) as gateway,
        AsyncAnthropic(base_url=gateway.origin, api_key=gateway.key, max_retries=0) as client,
    ):
        with pytest.raises(kind) as raised:
            await client.messages.create(**{"model": "m", "max_tokens": 10, "messages": say("Hi"), **fields})
        assert raised.value.request_id  # type: ignore[attr-defined]
        assert raised.value.body["error"]["type"] in ("not_found_error", "invalid_request_error")  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_a_wrong_key_is_an_authentication_error(serve: Serve) -> None:
    async with (
        serve({"acme": answer("Hi")}) as gateway,
        AsyncAnthropic(base_url=gateway.origin, api_key="sk-sealgate-wrong", max_retries=0) as client,
    ):
        with pytest.raises(anthropic.AuthenticationError) as raised:
            await client.messages.create(model="m", max_tokens=10, messages=say("Hi"))
        assert raised.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]


@pytest.mark.anyio
async def test_an_answer_fails_over_from_anthropic_to_others_and_back(serve: Serve) -> None:
    """Thinking that one provider has signed goes to no other, and the conversation goes on."""
    async with MockProvider("anthropic") as claude, MockProvider("openrouter") as other:
        providers = {"claude": at(claude), "other": at(other)}
        async with (
            serve(providers, {"m": model("claude", "other")}) as gateway,
            AsyncAnthropic(base_url=gateway.origin, api_key=gateway.key, max_retries=0) as client,
        ):
            asked: Any = {"model": "m", "max_tokens": 5000, "tools": [WEATHER]}
            asked["thinking"] = {"type": "enabled", "budget_tokens": 1024}
            claude.fail("overload")
            other.reply(reasoning="Where?", tool_calls=[tool("get_weather", {"city": "Paris"})])
            first = await client.messages.create(messages=say("How is it?"), **asked)
            [call] = [block for block in first.content if block.type == "tool_use"]
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "Sunny.", "is_error": True}
            history: Any = [*say("How is it?"), {"role": "assistant", "content": first.content}, *say([result])]
            claude.reply("It is sunny.")
            last = await client.messages.create(messages=history, **asked)
            assert [block.type for block in last.content][-1] == "text"
            assert claude.complaints == []
            sent = claude.upstream.requests[-1].json
            assert [block["type"] for block in sent["messages"][1]["content"]] == ["tool_use"]
            assert "thinking" not in sent


def test_counting_asks_anthropic_and_else_estimates(serve: Serve) -> None:
    with MockProvider("openai") as mock, behind(serve, mock) as (gateway, client):
        count = client.messages.count_tokens(model="m", messages=say("word " * 400))
        assert 300 < count.input_tokens < 700
        assert gateway.rows(0) == []
        assert mock.requests == []
