"""The official OpenAI SDK's ``responses``, unchanged, against a whole gateway: every kind of provider answers it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from tests.gateway import Serve, Threaded, Upstream, model

from sealgate.config import Model, Provider, Responses, Secret
from sealgate.testing import MockProvider, answer, cut_after, tool

KINDS = ("openai", "anthropic", "bedrock", "google", "mistral", "openrouter", "vllm")
PNG = base64.b64encode(
    bytes.fromhex("89504e470d0a1a0a0000000d4948445200000003000000020802000000120a5f8e0000000049454e44ae426082")
).decode()
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}


class Event(BaseModel):
    """What a caller wants parsed."""

    name: str
    participants: list[str]


def at(mock: MockProvider) -> Provider:
    """How a gateway's configuration names that mock."""
    table = dict(mock.provider_table())
    key = table.pop("api_key", None)
    return Provider(api_key=(Secret(key),) if key else (), **table)


@contextmanager
def behind(serve: Serve, mock: MockProvider) -> Iterator[tuple[Threaded, OpenAI]]:
    """A gateway in front of that mock, and the SDK in front of the gateway."""
    with serving(serve, at(mock), model("acme", upstream_model=mock.model)) as found:
        yield found


@contextmanager
def serving(serve: Serve, upstream: Upstream, routes: Model | None = None) -> Iterator[tuple[Threaded, OpenAI]]:
    """A gateway whose model ``m`` is at that upstream, and the SDK in front of it."""
    with (
        serve.in_thread({"acme": upstream}, {"m": routes or model("acme")}) as gateway,
        OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client,
    ):
        yield gateway, client


@pytest.mark.parametrize("kind", KINDS)
def test_an_agents_loop_works_with_every_kind_of_provider(serve: Serve, kind: str) -> None:
    """Instructions, tools, reasoning, a call and its result, all of it sent back as it came."""
    asked: Any = {
        "model": "m",
        "instructions": "Be brief.",
        "tools": [WEATHER],
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "max_output_tokens": 8000,
        "user": "user-1",
    }
    with MockProvider(kind) as mock, behind(serve, mock) as (gateway, client):
        mock.reply("Let me look.", reasoning="Where?", tool_calls=[tool("get_weather", {"city": "Paris"})])
        items: list[Any] = [{"role": "user", "content": "How is the weather?"}]
        with client.responses.stream(input=items, **asked) as stream:
            first = stream.get_final_response()
        [call] = [item for item in first.output if item.type == "function_call"]
        assert (first.status, first.model, call.name, json.loads(call.arguments)) == (
            "completed", "m", "get_weather", {"city": "Paris"},
        )  # fmt: skip
        assert first.output_text == "Let me look."
        assert first.usage is not None
        assert first.usage.input_tokens
        assert first.usage.output_tokens
        items += [item.to_dict() for item in first.output]
        items += [{"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}]
        mock.reply("It is sunny.")
        last = client.responses.create(input=items, **asked)
        assert (last.output_text, last.status) == ("It is sunny.", "completed")
        assert mock.complaints == []
        assert "Sunny." in mock.upstream.requests[-1].body.decode()
        rows = gateway.rows(2)
        assert [(row.endpoint, row.outcome.value, row.end_user) for row in rows] == [("responses", "ok", "user-1")] * 2
        assert all(row.prompt_tokens and row.usage_source == "reported" for row in rows)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_ends_with_what_the_whole_answer_would_have_been(serve: Serve, kind: str) -> None:
    asked: Any = {
        "model": "m", "input": "How is the weather?", "tools": [WEATHER, {"type": "custom", "name": "note"}],
        "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"], "max_output_tokens": 8000,
    }  # fmt: skip
    calls = [tool("get_weather", {"city": "Paris"}), tool("note", {"input": "rain\n"})]
    with MockProvider(kind) as mock, behind(serve, mock) as (_, client):
        mock.reply("Let me look.", reasoning="Where?", tool_calls=calls)
        whole = client.responses.create(**asked)
        mock.reply("Let me look.", reasoning="Where?", tool_calls=calls)
        with client.responses.stream(**asked) as stream:
            streamed = stream.get_final_response()
    assert plain(streamed) == plain(whole)
    kinds = [item.type for item in whole.output]
    assert [each for each in kinds if each != "reasoning"] == ["message", "function_call", "custom_tool_call"]


def plain(response: Any) -> Any:
    """Without what differs between any two responses; ids that a provider makes anew are numbered."""
    found = response.to_dict()
    for name in ("id", "created_at", "completed_at", "tresor", "episode_id", "usage"):
        found.pop(name)
    names: dict[str, int] = {}
    for item in found["output"]:
        item.pop("id")
        item.pop("parsed_arguments", None)
        if "call_id" in item:
            item["call_id"] = names.setdefault(item["call_id"], len(names))
        if item.get("encrypted_content"):
            item["encrypted_content"] = True
        for part in item.get("content") or ():
            part.pop("parsed", None)
    return found


@pytest.mark.parametrize("kind", ["anthropic", "google", "openrouter"])
def test_reasoning_that_the_client_leaves_out_is_put_back(serve: Serve, kind: str) -> None:
    asked: Any = {"model": "m", "tools": [WEATHER], "reasoning": {"effort": "low"}, "max_output_tokens": 8000}
    with MockProvider(kind) as mock, behind(serve, mock) as (_, client):
        mock.reply(reasoning="Where?", tool_calls=[tool("get_weather", {"city": "Paris"})])
        first = client.responses.create(input="How is the weather?", **asked)
        [call] = [item.to_dict() for item in first.output if item.type == "function_call"]
        mock.reply("It is sunny.")
        items: Any = [{"role": "user", "content": "How is the weather?"}, call]
        items += [{"type": "function_call_output", "call_id": call["call_id"], "output": "Sunny."}]
        last = client.responses.create(input=items, **asked)
        assert mock.complaints == []
    told = last.to_dict()["tresor"]["adjustments"]  # type: ignore[index]
    assert ("messages[].reasoning_details", "repaired") in [(each["param"], each["action"]) for each in told]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_whole_answer_is_a_response(serve: Serve, kind: str) -> None:
    with MockProvider(kind) as mock, behind(serve, mock) as (_, client):
        mock.reply("Hello")
        raw = client.responses.with_raw_response.create(
            model="m", input="Hi", metadata={"a": "b"}, temperature=0.5, top_p=0.9, max_output_tokens=50
        )
        found = raw.parse()
        assert isinstance(found, Response)
        Response.model_validate(json.loads(raw.text), strict=False)
        assert found.id.startswith("resp_")
        assert (found.object, found.model, found.status, found.output_text) == ("response", "m", "completed", "Hello")
        assert (found.metadata, found.temperature, found.top_p) == ({"a": "b"}, 0.5, 0.9)
        assert (found.max_output_tokens, found.tools, found.tool_choice, found.store) == (50, [], "auto", False)
        assert [item.type for item in found.output] == ["message"]
        assert found.to_dict()["tresor"]["receipt_id"] == raw.headers["x-tresor-receipt-id"]


@pytest.mark.anyio
async def test_the_asynchronous_client_streams_too(serve: Serve) -> None:
    async with (
        serve({"acme": answer("One two three")}) as gateway,
        AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client,
    ):
        events = await client.responses.create(model="m", input="Count.", stream=True)
        found = [event async for event in events]
        async with client.responses.stream(model="m", input="Count.") as stream:
            assert (await stream.get_final_response()).output_text == "One two three"
    assert [event.sequence_number for event in found] == list(range(len(found)))
    assert "".join(event.delta for event in found if event.type == "response.output_text.delta") == "One two three"
    assert found[-1].type == "response.completed"


def test_an_answer_is_parsed_by_the_sdk(serve: Serve) -> None:
    said = {"name": "Fair", "participants": ["Ada", "Grace"]}
    with serving(serve, answer(json.dumps(said))) as (gateway, client):
        parsed = client.responses.parse(model="m", input="Extract.", text_format=Event)
        with client.responses.stream(model="m", input="Extract.", text_format=Event) as stream:
            streamed = stream.get_final_response()
        sent = gateway.upstreams["acme"].requests[0].json
    assert parsed.output_parsed == streamed.output_parsed == Event(**said)
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert sent["response_format"]["json_schema"]["name"] == "Event"


def test_custom_tools_are_functions_to_the_provider_and_custom_to_the_caller(serve: Serve) -> None:
    patch = '*** Begin Patch\n+print("hä")\n*** End Patch'
    tools: Any = [{"type": "custom", "name": "apply_patch", "description": "Edits files."}]
    call = tool("apply_patch", {"input": patch})
    with serving(serve, answer("Now.", tool_calls=[call])) as (gateway, client):
        whole = client.responses.create(model="m", input="Fix it.", tools=tools)
        with client.responses.stream(model="m", input="Fix it.", tools=tools) as stream:
            events = list(stream)
            streamed = stream.get_final_response()
        again: Any = [{"role": "user", "content": "Fix it."}, *(item.to_dict() for item in whole.output)]
        again += [{"type": "custom_tool_call_output", "call_id": call["id"], "output": "Done!"}]
        client.responses.create(model="m", input=again, tools=tools)
        requests = gateway.upstreams["acme"].requests
    for found in (whole, streamed):
        [made] = [item for item in found.output if item.type == "custom_tool_call"]
        assert (made.input, made.name, made.call_id) == (patch, "apply_patch", call["id"])
    deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == patch
    assert len(deltas) > 2
    assert requests[0].json["tools"][0]["type"] == "function"
    said, heard = requests[2].json["messages"][-2:]
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"input": patch}
    assert heard == {"role": "tool", "tool_call_id": call["id"], "content": "Done!"}


@pytest.mark.parametrize("kind", ["openai", "anthropic", "google"])
def test_pictures_and_files_reach_the_provider(serve: Serve, kind: str) -> None:
    url = f"data:image/png;base64,{PNG}"
    parts: Any = [
        {"type": "input_text", "text": "What is it?"},
        {"type": "input_image", "image_url": url, "detail": "auto"},
    ]
    with MockProvider(kind) as mock, behind(serve, mock) as (_, client):
        mock.reply("I see.")
        assert client.responses.create(model="m", input=[{"role": "user", "content": parts}]).output_text == "I see."
        assert PNG in mock.upstream.requests[-1].body.decode()


def test_a_conversation_goes_on_where_the_gateway_keeps_responses(serve: Serve) -> None:
    with (
        MockProvider("anthropic") as mock,
        serve.in_thread(
            {"acme": at(mock)}, {"m": model("acme", upstream_model=mock.model)}, responses=Responses(keep_days=1)
        ) as gateway,
        OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client,
    ):
        mock.reply(reasoning="Where?", tool_calls=[tool("get_weather", {"city": "Paris"})])
        first = client.responses.create(
            model="m",
            input="How is the weather?",
            tools=[WEATHER],
            reasoning={"effort": "low"},
            max_output_tokens=8000,
            store=True,
        )
        [call] = [item for item in first.output if item.type == "function_call"]
        mock.reply("It is sunny.")
        result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
        with client.responses.stream(
            model="m",
            input=[result],
            tools=[WEATHER],
            previous_response_id=first.id,
            max_output_tokens=8000,
            reasoning={"effort": "low"},
        ) as stream:
            second = stream.get_final_response()
        assert second.output_text == "It is sunny."
        assert mock.complaints == []
        sent = mock.upstream.requests[-1].json["messages"]
        assert [each["role"] for each in sent] == ["user", "assistant", "user"]
        assert sent[1]["content"][0]["type"] == "thinking", "the signature is kept with it"
        assert client.responses.retrieve(first.id).to_dict() == first.to_dict()
        [item] = client.responses.input_items.list(first.id)
        assert (item.type, item.to_dict()["content"]) == (
            "message",
            [{"type": "input_text", "text": "How is the weather?"}],
        )
        client.responses.delete(first.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(first.id)
        with pytest.raises(openai.BadRequestError) as gone:
            client.responses.create(model="m", input="And now?", previous_response_id=second.id)
        assert gone.value.code == "previous_response_not_found"


def test_what_is_wrong_raises_the_sdks_errors(serve: Serve) -> None:
    with serving(serve, answer("Hi")) as (_, client):
        with pytest.raises(openai.NotFoundError) as unknown:
            client.responses.create(model="nothing", input="Hi")
        with pytest.raises(openai.BadRequestError) as previous:
            client.responses.create(model="m", input="Hi", previous_response_id="resp_1")
        with pytest.raises(openai.BadRequestError) as hosted:
            client.responses.create(model="m", input="Hi", tools=[{"type": "web_search"}])
    assert unknown.value.code == "model_not_found"
    assert (previous.value.code, previous.value.param) == ("responses_not_kept", "previous_response_id")
    assert (hosted.value.code, hosted.value.param) == ("unsupported_parameter", "tools[0]")


def test_a_stream_that_breaks_raises_in_the_sdk(serve: Serve) -> None:
    seen: list[str] = []

    def read(client: OpenAI) -> None:
        for event in client.responses.create(model="m", input="Hi", stream=True):
            seen.append(event.type)

    with serving(serve, cut_after(4)) as (_, client):
        with pytest.raises(openai.APIError) as plain:
            read(client)
        with pytest.raises(openai.APIError), client.responses.stream(model="m", input="Hi") as stream:
            stream.get_final_response()
    assert plain.value.code == "upstream_stream_truncated"
    assert "response.output_text.delta" in seen
    assert "response.completed" not in seen


def test_every_event_is_what_the_sdks_types_say(serve: Serve) -> None:
    """The SDK itself does not look so closely; other clients, made from the same description, do."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'}
    asked: Any = {
        "model": "m", "input": "Hi", "stream": True, "store": False,
        "tools": [
            WEATHER,
            {"type": "custom", "name": "note"},
            {"type": "custom", "name": "patch", "format": grammar},
            {"type": "namespace", "name": "mail", "description": "Mail.", "tools": [{**WEATHER, "name": "send"}]},
            {"type": "tool_search", "execution": "client", "description": "Finds.", "parameters": {"type": "object"}},
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "note"}]},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"], "top_logprobs": 1,
        "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}, "verbosity": "low"},
        "metadata": {"a": "b"}, "stream_options": {"include_obfuscation": True},
    }  # fmt: skip
    calls = [tool("get_weather", {"city": "Paris"}), tool("note", {"input": "x"}), tool("mail__send", {"city": "x"})]
    calls += [tool("tool_search", {"query": "x"})]
    calls += [{"id": "call_patch", "type": "custom", "custom": {"name": "patch", "input": "a"}}]
    event = TypeAdapter(ResponseStreamEvent)
    seen: set[str] = set()
    with serving(serve, answer("{}", reasoning="Hm", tool_calls=calls)) as (gateway, client):
        for more in ({}, {"reasoning": {"summary": "auto"}}):
            with client.responses.with_streaming_response.create(**{**asked, **more}) as raw:
                assert raw.status_code == 200
                for line in raw.iter_lines():
                    if line.startswith("data: "):
                        seen.add(event.validate_json(line[6:]).type)
        gateway.upstreams["acme"].handler = lambda _: answer(refusal="No.", finish_reason="content_filter")
        with client.responses.with_streaming_response.create(**asked) as raw:
            seen |= {event.validate_json(line[6:]).type for line in raw.iter_lines() if line.startswith("data: ")}
        gateway.upstreams["acme"].handler = lambda _: cut_after(3)
        with client.responses.with_streaming_response.create(model="m", input="Hi", stream=True) as raw:
            seen |= {event.validate_json(line[6:]).type for line in raw.iter_lines() if line.startswith("data: ")}
    assert seen >= {
        "response.completed", "response.incomplete", "response.failed", "response.refusal.done",
        "response.reasoning_text.done", "response.reasoning_summary_text.done", "response.custom_tool_call_input.done",
        "response.function_call_arguments.done", "response.output_text.done", "response.output_item.done",
    }  # fmt: skip
