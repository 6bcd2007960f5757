"""The wire, judged by the official SDK's types, by its client, and by the gateway's own reader."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from sealgate.outward.client import Limits, Request
from sealgate.providers.openai import WIRE
from sealgate.providers.sandbox import SandboxClient

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
FIELDS: list[dict[str, Any]] = [
    {},
    {"n": 3},
    {"logprobs": True, "top_logprobs": 2},
    {"reasoning_effort": "low"},
    {"tools": [TOOL]},
    {"max_tokens": 3},
    {"model": "refuse", "logprobs": True},
    {"model": "filter"},
    {"model": "empty"},
    {"functions": [TOOL["function"]]},
]


@pytest.mark.anyio
@pytest.mark.parametrize("fields", FIELDS)
async def test_whole_answers_are_of_the_sdks_type(chat: Any, fields: dict[str, Any]) -> None:
    """No value of a wrong type, ``created`` by the clock, an id of its own."""
    answer = await chat(**fields)
    found = ChatCompletion.model_validate(answer.json)
    assert found.created == 1_700_000_000
    assert found.id.startswith("chatcmpl-")
    assert found.system_fingerprint == "fp_sandbox_1"
    assert int(answer.headers["content-length"]) == len(b"".join(answer.pieces))


@pytest.mark.anyio
@pytest.mark.parametrize("fields", FIELDS)
async def test_every_event_is_of_the_sdks_type(chat: Any, fields: dict[str, Any]) -> None:
    """One id, one role and one finish for each choice, no usage unless asked for."""
    answer = await chat(stream=True, **fields)
    chunks = [ChatCompletionChunk.model_validate(event) for event in answer.events]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert all(len(chunk.choices) == 1 for chunk in chunks)
    assert all("usage" not in event for event in answer.events)
    n = fields.get("n", 1)
    finishes = [chunk.choices[0].index for chunk in chunks if chunk.choices[0].finish_reason]
    assert finishes == list(range(n))
    assert [chunk.choices[0].delta.role for chunk in chunks[:n]] == ["assistant"] * n


@pytest.mark.anyio
async def test_usage_is_the_last_event_where_asked_for(chat: Any) -> None:
    """All others carry null; its figures are those of the whole answer."""
    answer = await chat(stream=True, stream_options={"include_usage": True})
    *others, last = answer.events
    assert all(event["usage"] is None for event in others)
    assert last["choices"] == []
    assert last["usage"] == (await chat()).json["usage"]


@pytest.mark.anyio
async def test_ids_are_unique(chat: Any) -> None:
    """Also of equal requests."""
    assert (await chat()).json["id"] != (await chat()).json["id"]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_the_gateways_own_reader_reads_it(chat: Any, stream: bool) -> None:
    """With no special path."""
    answer = await chat(stream=stream)
    reader = WIRE.reader({}, stream=stream)
    chunks = [chunk for piece in answer.pieces for chunk in reader.feed(piece)] + list(reader.end())
    assert reader.done is stream
    part = "delta" if stream else "message"
    text = "".join(choice[part].get("content", "") for chunk in chunks for choice in chunk["choices"])
    assert text == (await chat()).content


class _Transport(httpx2.AsyncBaseTransport):
    """Carries the SDK's requests to a sandbox."""

    def __init__(self) -> None:
        self.client = SandboxClient()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        outgoing = Request(request.method, str(request.url), dict(request.headers), await request.aread())
        response = await self.client.send(outgoing, Limits())

        async def body() -> AsyncIterator[bytes]:
            while piece := await response.read():
                yield piece

        return httpx2.Response(response.status, headers=dict(response.headers), content=body())


@pytest.fixture
async def sdk() -> AsyncIterator[openai.AsyncOpenAI]:
    http = httpx2.AsyncClient(transport=_Transport())
    async with openai.AsyncOpenAI(
        base_url="http://sandbox.test/v1", api_key="x", http_client=http, max_retries=0
    ) as client:
        yield client


class Person(BaseModel):
    name: str
    age: int


@pytest.mark.anyio
async def test_the_sdk_gathers_a_stream(sdk: openai.AsyncOpenAI) -> None:
    """Tool calls, put together by the SDK's own accumulator."""
    said: Any = [{"role": "user", "content": "weather in Oslo"}]
    async with sdk.chat.completions.stream(model="gpt-6", messages=said, tools=[TOOL]) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Oslo"}  # type: ignore[union-attr]


@pytest.mark.anyio
async def test_the_sdk_parses_structured_output(sdk: openai.AsyncOpenAI) -> None:
    """A pydantic model as the response format."""
    said: Any = [{"role": "user", "content": "who?"}]
    parsed = await sdk.chat.completions.parse(model="gpt-6", messages=said, response_format=Person)
    assert isinstance(parsed.choices[0].message.parsed, Person)


@pytest.mark.anyio
async def test_the_sdk_raises_what_faults_are_for(sdk: openai.AsyncOpenAI) -> None:
    """Each by its class."""
    said: Any = [{"role": "user", "content": "hi"}]
    raised = {
        "fail-400": openai.BadRequestError,
        "fail-401": openai.AuthenticationError,
        "fail-403": openai.PermissionDeniedError,
        "fail-404": openai.NotFoundError,
        "fail-422": openai.UnprocessableEntityError,
        "fail-429": openai.RateLimitError,
        "fail-quota": openai.RateLimitError,
        "fail-500": openai.InternalServerError,
        "fail-529": openai.InternalServerError,
    }
    for model, kind in raised.items():
        with pytest.raises(kind):
            await sdk.chat.completions.create(model=model, messages=said)
    for model in ("error-first", "error-mid"):
        with pytest.raises(openai.APIError):
            async for _ in await sdk.chat.completions.create(model=model, messages=said, stream=True):
                pass


@pytest.mark.anyio
async def test_the_sdk_lists_the_models(sdk: openai.AsyncOpenAI) -> None:
    """The names of the table."""
    assert {"echo", "slow", "cut"} <= {model.id async for model in sdk.models.list()}
