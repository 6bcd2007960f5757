"""The official Python SDK, unchanged, against a whole gateway: what its users do, and what its errors turn into."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, Field
from tests.gateway import Serve, Template, Threaded, model, provider

from sealgate.config import Provider
from sealgate.testing import ScriptedUpstream, answer, cut_after, error, error_first, error_mid, silent, tool, truncated
from sealgate.testing.thread import ThreadedUpstream

PNG = base64.b64encode(
    bytes.fromhex("89504e470d0a1a0a0000000d4948445200000003000000020802000000120a5f8e0000000049454e44ae426082")
).decode()
MP3 = bytes.fromhex("fffb9064") + bytes(413)
"""One frame of silence."""
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
SANDBOX = "sandbox/echo"


def say(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def upstream() -> Iterator[ThreadedUpstream]:
    with ScriptedUpstream.in_thread() as found:
        yield found


@pytest.fixture(scope="module")
def gateway(
    gateway_template: Template, tmp_path_factory: pytest.TempPathFactory, upstream: ThreadedUpstream
) -> Iterator[Threaded]:
    """Model ``m`` at a scripted upstream, ``eu-only`` at another region, and the sandbox with any name."""
    serve = Serve(gateway_template, tmp_path_factory.mktemp("sdk"))
    providers = {"acme": provider(upstream), "sandbox": Provider(kind="sandbox", region="local")}
    with serve.in_thread(providers, {"m": model("acme"), "sandbox": model("sandbox")}) as found:
        yield found


@pytest.fixture(autouse=True)
def _well(gateway: Threaded) -> None:
    """No test finds a route left alone for what another one made it do."""
    gateway.running.forget()


@pytest.fixture(scope="module")
def client(gateway: Threaded) -> Iterator[OpenAI]:
    with OpenAI(base_url=gateway.base_url, api_key=gateway.key) as found:
        yield found


@pytest.fixture
async def aclient(gateway: Threaded, anyio_backend: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=gateway.base_url, api_key=gateway.key) as found:
        yield found


# Chat


def test_chat(client: OpenAI) -> None:
    found = client.chat.completions.create(model=SANDBOX, messages=say("Hello there"))
    assert isinstance(found, ChatCompletion)
    assert found.object == "chat.completion"
    assert found.model == SANDBOX
    assert "Hello there" in (found.choices[0].message.content or "")
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens > 0
    assert found.model_extra is not None
    assert found.model_extra["tresor"]["routed_model"] == "local/sandbox/echo"


def test_streamed_chat_is_the_whole_one_in_pieces(client: OpenAI) -> None:
    whole = client.chat.completions.create(model=SANDBOX, messages=say("Hello there"))
    chunks = list(client.chat.completions.create(model=SANDBOX, messages=say("Hello there"), stream=True))
    assert all(isinstance(each, ChatCompletionChunk) and each.choices for each in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(each.choices[0].delta.content or "" for each in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].model_extra is not None
    assert chunks[-1].model_extra["tresor"]["failover"] is False


def test_streamed_usage(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=SANDBOX, messages=say("Hi"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert [each.usage is not None for each in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []


@pytest.mark.anyio
async def test_async_chat_and_stream(aclient: AsyncOpenAI) -> None:
    whole = await aclient.chat.completions.create(model=SANDBOX, messages=say("Hello there"))
    stream = await aclient.chat.completions.create(model=SANDBOX, messages=say("Hello there"), stream=True)
    text = "".join([each.choices[0].delta.content or "" async for each in stream])
    assert text == whole.choices[0].message.content


def test_the_stream_helper_gathers_the_answer(client: OpenAI) -> None:
    with client.chat.completions.stream(model=SANDBOX, messages=say("Hello there")) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert "Hello there" in (final.choices[0].message.content or "")


@pytest.mark.anyio
async def test_the_async_stream_helper_gathers_the_answer(aclient: AsyncOpenAI) -> None:
    async with aclient.chat.completions.stream(model=SANDBOX, messages=say("Hello"), n=2) as stream:
        final = await stream.get_final_completion()
    assert len(final.choices) == 2


def test_several_choices_log_probabilities_and_reasoning(client: OpenAI) -> None:
    found = client.chat.completions.create(
        model="sandbox/think", messages=say("Hello"), n=2, logprobs=True, top_logprobs=2, max_tokens=9
    )
    assert [choice.index for choice in found.choices] == [0, 1]
    for choice in found.choices:
        assert choice.message.model_extra is not None
        assert choice.message.model_extra["reasoning_content"]
        assert choice.finish_reason == "length"
    found = client.chat.completions.create(model=SANDBOX, messages=say("Hi"), logprobs=True, top_logprobs=2)
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(each.token for each in logprobs.content) == found.choices[0].message.content
    assert {len(each.top_logprobs) for each in logprobs.content} == {2}


def test_refusals_and_filtered_answers(client: OpenAI) -> None:
    refused = client.chat.completions.create(model="sandbox/refuse", messages=say("Hello")).choices[0]
    assert refused.message.content is None
    assert refused.message.refusal
    assert client.chat.completions.create(model="sandbox/filter", messages=say("Hello")).choices[0].finish_reason == (
        "content_filter"
    )


# Tools


def test_a_tool_loop(client: OpenAI) -> None:
    messages = say("What is the weather in Bern?")
    first = client.chat.completions.create(model=SANDBOX, messages=messages, tools=[WEATHER])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls
    call = message.tool_calls[0]
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    assert arguments["city"] == "Bern"
    assert arguments["unit"] in ("C", "F")
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 21}'}]
    second = client.chat.completions.create(model=SANDBOX, messages=messages, tools=[WEATHER])
    assert second.choices[0].finish_reason == "stop"
    assert second.choices[0].message.content


def test_streamed_and_parallel_tool_calls(client: OpenAI) -> None:
    ask: Any = {"model": SANDBOX, "messages": say("Compare the weather in Bern and Oslo"), "tools": [WEATHER]}
    with client.chat.completions.stream(**ask) as stream:
        events = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion().choices[0]
    assert final.message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in final.message.tool_calls] == ["Bern", "Oslo"]
    assert len(events) == 2
    assert len({call.id for call in final.message.tool_calls}) == 2
    one = client.chat.completions.create(**ask, parallel_tool_calls=False).choices[0].message
    assert one.tool_calls
    assert len(one.tool_calls) == 1


def test_tool_choice(client: OpenAI) -> None:
    ask: Any = {"model": SANDBOX, "messages": say("Hello"), "tools": [WEATHER, TIME]}
    named = client.chat.completions.create(**ask, tool_choice={"type": "function", "function": {"name": "get_time"}})
    calls = named.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert calls[0].function.name == "get_time"
    assert client.chat.completions.create(**ask, tool_choice="none").choices[0].message.tool_calls is None
    assert client.chat.completions.create(**ask, tool_choice="required").choices[0].message.tool_calls


# Structured output


class Mood(Enum):
    """An enumeration."""

    GOOD = "good"
    BAD = "bad"


class Street(BaseModel):
    """A nested object."""

    name: str
    number: int = Field(ge=1, le=999)


class Person(BaseModel):
    """What is asked for."""

    name: str
    age: int
    mood: Mood
    streets: list[Street] = Field(min_length=1, max_length=3)
    note: str | None


def test_parse_gives_an_object(client: OpenAI) -> None:
    found = client.chat.completions.parse(model=SANDBOX, messages=say("Extract"), response_format=Person)
    person = found.choices[0].message.parsed
    assert isinstance(person, Person)
    assert person.streets[0].number >= 1


def test_streamed_parse_gives_an_object(client: OpenAI) -> None:
    with client.chat.completions.stream(model=SANDBOX, messages=say("Extract"), response_format=Person) as stream:
        assert any(event.type == "content.done" for event in stream)
        person = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(person, Person)


@pytest.mark.anyio
async def test_async_parse_with_tools(aclient: AsyncOpenAI) -> None:
    tools = [openai.pydantic_function_tool(Street)]
    found = await aclient.chat.completions.parse(model=SANDBOX, messages=say("Hi"), tools=tools, tool_choice="required")
    calls = found.choices[0].message.tool_calls
    assert calls
    assert isinstance(calls[0].function.parsed_arguments, Street)


def test_parse_says_when_the_answer_was_cut(client: OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model=SANDBOX, messages=say("Extract"), response_format=Person, max_tokens=1)
    with pytest.raises(openai.ContentFilterFinishReasonError):
        client.chat.completions.parse(model="sandbox/filter", messages=say("Extract"), response_format=Person)


def test_json_mode(client: OpenAI) -> None:
    found = client.chat.completions.create(
        model=SANDBOX, messages=say("JSON please"), response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(found.choices[0].message.content or ""), dict)


# Media


def test_images_files_and_sounds(client: OpenAI) -> None:
    parts: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,SGVsbG8="}},
        {"type": "input_audio", "input_audio": {"format": "mp3", "data": base64.b64encode(MP3).decode()}},
    ]
    said = client.chat.completions.create(model=SANDBOX, messages=[{"role": "user", "content": parts}])
    text = said.choices[0].message.content or ""
    assert "PNG" in text
    assert "a.txt" in text
    assert "mp3" in text.lower()


# What else the SDK sends and reads


def test_raw_responses_carry_our_headers(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=SANDBOX, messages=say("Hi"), extra_headers={"X-Request-ID": "sdk-1"}
    )
    assert raw.headers["x-request-id"] == "sdk-1"
    assert float(raw.headers["x-process-time"]) >= 0
    assert raw.parse()._request_id == "sdk-1"
    with client.chat.completions.with_streaming_response.create(
        model=SANDBOX, messages=say("Hi"), stream=True
    ) as response:
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_extra_body_and_headers_reach_the_gateway(client: OpenAI, upstream: ThreadedUpstream) -> None:
    found = client.chat.completions.create(
        model="m",
        messages=say("Hi"),
        extra_body={"region": "global", "failover": ["local/auto/sandbox"], "top_k": 5, "own": {"a": 1}},
        extra_headers={"X-Tresor-Timeout-Seconds": "30"},
    )
    assert found.model_extra is not None
    assert found.model_extra["tresor"]["requested_route"] == "global/auto/m"
    sent = upstream.requests[-1].json
    assert (sent["top_k"], sent["own"]) == (5, {"a": 1})
    assert not {"region", "failover"} & sent.keys()


def test_the_sdks_own_headers_do_not_reach_the_provider(client: OpenAI, upstream: ThreadedUpstream) -> None:
    client.chat.completions.create(model="m", messages=say("Hi"))
    assert not [name for name in upstream.requests[-1].headers if name.startswith("x-stainless")]
    assert upstream.requests[-1].headers["user-agent"] == "sealgate"


def test_models(client: OpenAI) -> None:
    names = [each.id for each in client.models.list()]
    assert names == ["m", "global/acme/m", "sandbox", "local/sandbox/sandbox"]
    for name in names:
        found = client.models.retrieve(name)
        assert (found.id, found.object) == (name, "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("unknown")


def test_both_mounts_and_the_key_in_the_environment(gateway: Threaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", gateway.key)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{gateway.origin}/api/v1")
    with OpenAI() as client:
        assert client.chat.completions.create(model=SANDBOX, messages=say("Hi")).choices


# Errors


@pytest.mark.parametrize(
    ("fields", "kind", "code"),
    [
        ({"temperature": 9}, openai.BadRequestError, "invalid_parameter"),
        ({"messages": []}, openai.BadRequestError, "invalid_messages"),
        ({"model": "unknown"}, openai.NotFoundError, "model_not_found"),
        ({"model": "sandbox/fail-400"}, openai.BadRequestError, "upstream_invalid_request"),
        ({"model": "sandbox/fail-422"}, openai.UnprocessableEntityError, "upstream_unprocessable"),
        ({"model": "sandbox/fail-401"}, openai.InternalServerError, "upstream_auth_failed"),
        ({"model": "sandbox/fail-500"}, openai.InternalServerError, "upstream_error"),
        ({"model": "sandbox/fail-503"}, openai.InternalServerError, "upstream_overloaded"),
        ({"model": "sandbox/fail-quota"}, openai.RateLimitError, "upstream_quota"),
        ({"model": "sandbox/html"}, openai.InternalServerError, "upstream_bad_response"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_of_the_class_of_their_status(
    client: OpenAI, fields: dict[str, Any], kind: type[openai.APIStatusError], code: str, stream: bool
) -> None:
    ask = {"model": SANDBOX, "messages": say("Hi"), **fields}
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**ask, stream=stream)
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.request_id
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["status"] == caught.value.status_code


def test_a_rate_limit_is_a_rate_limit_error(client: OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        client.with_options(max_retries=0).chat.completions.create(model="sandbox/fail-429", messages=say("Hi"))
    assert caught.value.code == "upstream_rate_limited"
    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_a_wrong_key_is_an_authentication_error(gateway: Threaded) -> None:
    with (
        OpenAI(base_url=gateway.base_url, api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.chat.completions.create(model=SANDBOX, messages=say("Hi"))
    assert caught.value.code == "invalid_api_key"


def test_a_forbidden_model_is_a_permission_error(gateway: Threaded) -> None:
    key = gateway.run(gateway.running.gateway.keys.create(name="narrow", models=["m"])).key
    with OpenAI(base_url=gateway.base_url, api_key=key) as client, pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model=SANDBOX, messages=say("Hi"))


@pytest.mark.parametrize("behaviour", [error(500), error(503), error_first(), error(401)])
def test_x_should_retry_keeps_the_sdk_from_trying_again(
    client: OpenAI, upstream: ThreadedUpstream, behaviour: Any
) -> None:
    """P4: the SDK would ask three times of its own."""
    before = len(upstream.requests)
    upstream.enqueue(behaviour)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="m", messages=say("Hi"))
    assert len(upstream.requests) == before + 1


def test_a_rate_limit_is_waited_for_and_tried_again(client: OpenAI, upstream: ThreadedUpstream) -> None:
    before = len(upstream.requests)
    upstream.enqueue(error(429, headers={"retry-after": "0"}), answer("At last."))
    found = client.chat.completions.create(model="m", messages=say("Hi"))
    assert found.choices[0].message.content == "At last."
    assert len(upstream.requests) == before + 2


@pytest.mark.parametrize(
    "behaviour", [truncated(after=4), cut_after(4), cut_after(4, rst=True), error_mid("openai", 4)]
)
def test_p1_a_broken_stream_raises_after_what_has_come(
    client: OpenAI, upstream: ThreadedUpstream, behaviour: Any
) -> None:
    upstream.enqueue(behaviour)
    stream = client.chat.completions.create(model="m", messages=say("Hi"), stream=True)
    came: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        came.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "".join(came) == "Hello! How can "
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"].startswith("upstream_")


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["cut", "truncate", "error-mid", "not-json"])
async def test_p1_an_async_stream_that_breaks_raises(aclient: AsyncOpenAI, name: str) -> None:
    stream = await aclient.chat.completions.create(model=f"sandbox/{name}", messages=say("Hi"), stream=True)
    with pytest.raises(openai.APIError) as caught:
        async for _ in stream:
            pass
    assert type(caught.value) is openai.APIError


def test_g1_leaving_a_stream_ends_the_upstreams(client: OpenAI, upstream: ThreadedUpstream) -> None:
    upstream.enqueue(answer("word " * 1000, delay=0.01))
    with client.chat.completions.create(model="m", messages=say("Hi"), stream=True) as stream:
        for _ in zip(range(3), stream, strict=False):
            pass
    assert upstream.wait_peer_left(timeout=20).abandoned


def test_row_e22_the_sdks_timeout_is_the_gateways_too(gateway: Threaded, upstream: ThreadedUpstream) -> None:
    upstream.enqueue(silent())
    late = (openai.APITimeoutError, openai.InternalServerError)
    with (
        OpenAI(base_url=gateway.base_url, api_key=gateway.key, timeout=0.2, max_retries=0) as client,
        pytest.raises(late),
    ):
        client.chat.completions.create(model="m", messages=say("Hi"))
    assert upstream.wait_peer_left(timeout=20).abandoned


def test_scripted_tool_calls_arrive_whole(client: OpenAI, upstream: ThreadedUpstream) -> None:
    odd = {"text": "\u00e9\u4f60 'x'"}
    upstream.enqueue(answer(tool_calls=[tool("f", odd), tool("g", {})]))
    with client.chat.completions.stream(model="m", messages=say("Hi")) as stream:
        final = stream.get_final_completion().choices[0].message
    assert final.tool_calls
    assert [json.loads(call.function.arguments) for call in final.tool_calls] == [odd, {}]


def test_the_example_runs(gateway: Threaded) -> None:
    """The one of ``docs/guides/clients.md`` that needs nothing but what the tests have."""
    script = Path(__file__).parents[2] / "examples" / "clients" / "openai_python.py"
    environ = {**os.environ, "OPENAI_BASE_URL": gateway.base_url, "OPENAI_API_KEY": gateway.key}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=100, env=environ, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second, person, called, models = done.stdout.splitlines()
    assert "Hello, who are you?" in first
    assert second == first
    assert person.startswith("Person(name=")
    assert '"city":"Bern"' in called
    assert "sandbox" in models
