"""Tool loops as plain clients drive them, at providers that reason before they call a tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from sqlalchemy import Connection, func, select
from tests.gateway import Running, Serve, model, provider

from sealgate.config import Model, Provider
from sealgate.storage.tables import reasoning_state
from sealgate.testing import Behaviour, ScriptedUpstream, answer, tool
from sealgate.testing.anthropic_wire import Message, thinking, tool_use
from sealgate.testing.bedrock_wire import Converse, reasoning
from sealgate.testing.bedrock_wire import tool_use as bedrock_use
from sealgate.testing.gemini_wire import Generated, function_call, thought
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Chunk, Step, head, json_answer, sse

Json = dict[str, Any]
SECRET = "the-signature-that-must-come-back"
THOUGHT = "I should look at the sky over Bern."
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
QUESTION: Json = {"role": "user", "content": "How is the weather in Bern?"}
CALLS = [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}]


def _mistral(received: Received) -> Iterator[Step]:
    """Reasoning as a part of the content, as Mistral has it; a call that comes whole."""
    said = [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}]
    call = tool("weather", {"city": "Bern"}, call_id="Mn4Bv7Cx2")
    if received.streams:
        yield head(200, {"content-type": "text/event-stream"})
        for delta in ({"role": "assistant", "content": said}, {"tool_calls": [{"index": 0, **call}]}):
            yield Chunk(sse({"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
        yield Chunk(sse({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}))
        yield Chunk(sse("[DONE]"))
        yield LAST_CHUNK
        return
    message = {"role": "assistant", "content": said, "tool_calls": [call]}
    yield from json_answer({"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})


def _openrouter(received: Received) -> Iterator[Step]:
    """Details in pieces, as OpenRouter streams them."""

    def detail(**fields: Any) -> Json:
        return {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, "signature": None, **fields}

    call = tool("weather", {"city": "Bern"}, call_id="toolu_1")
    whole = {"reasoning_details": [detail(text=THOUGHT, signature=SECRET)], "tool_calls": [call]}
    if not received.streams:
        message = {"role": "assistant", "content": None, **whole}
        yield from json_answer({"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        return
    yield head(200, {"content-type": "text/event-stream"})
    pieces = [detail(text=THOUGHT[:9]), detail(text=THOUGHT[9:]), detail(text="", signature=SECRET)]
    for delta in (*({"reasoning_details": [each]} for each in pieces), {"tool_calls": [{"index": 0, **call}]}):
        yield Chunk(sse({"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
    yield Chunk(sse({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}))
    yield Chunk(sse("[DONE]"))
    yield LAST_CHUNK


def blocks(body: Json) -> list[Json]:
    """What Anthropic was shown of the assistant's turns."""
    return [block for turn in body["messages"] if turn["role"] == "assistant" for block in turn["content"]]


def parts(body: Json) -> list[Json]:
    return [part for turn in body["contents"] if turn["role"] == "model" for part in turn["parts"]]


def said(body: Json) -> list[Json]:
    return [each for each in body["messages"] if each["role"] == "assistant"]


@dataclass(frozen=True)
class Wire:
    """A provider that reasons before it calls a tool, and where its reasoning must be in the next request."""

    kind: str
    model: str
    calls: Behaviour
    ends: Behaviour
    shown: Callable[[Json], list[Any]]
    """What of the assistant's turns it was sent."""
    wanted: Any
    """What must be among that, exactly."""
    path: str = "/v1"

    def at(self, upstream: ScriptedUpstream, **fields: Any) -> Provider:
        fields = {"aws_region": "us-east-1", **fields} if self.kind == "bedrock" else fields
        return provider(upstream.origin + self.path, kind=self.kind, api_key="key", **fields)

    def upstream(self) -> ScriptedUpstream:
        """It calls a tool until it is shown what came of it."""
        return ScriptedUpstream(handler=lambda received: self.ends if b"18 degrees" in received.body else self.calls)


CLAUDE = Wire(
    "anthropic",
    "claude-sonnet-4-6",
    Message(blocks=[thinking(THOUGHT, SECRET), tool_use("weather", {"city": "Bern"}, call_id="toolu_7")]),
    Message("It is 18 degrees."),
    blocks,
    {"type": "thinking", "thinking": THOUGHT, "signature": SECRET},
)
GEMINI = Wire(
    "google",
    "gemini-3-pro",
    Generated(parts=[thought(THOUGHT), function_call("weather", {"city": "Bern"}, signature=SECRET)]),
    Generated("It is 18 degrees."),
    parts,
    {"functionCall": {"name": "weather", "args": {"city": "Bern"}}, "thoughtSignature": SECRET},
    "/v1beta",
)
BEDROCK = Wire(
    "bedrock",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    Converse(blocks=[reasoning(THOUGHT, SECRET), bedrock_use("weather", {"city": "Bern"}, call_id="tooluse_7")]),
    Converse("It is 18 degrees."),
    blocks,
    {"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": SECRET}}},
    "",
)
DEEPSEEK = Wire(
    "deepseek",
    "deepseek-v4-pro",
    answer(reasoning=THOUGHT, tool_calls=[tool("weather", {"city": "Bern"}, call_id="call_00_x")]),
    answer("It is 18 degrees."),
    lambda body: [each.get("reasoning_content") for each in said(body)],
    THOUGHT,
)
MISTRAL = Wire(
    "mistral",
    "magistral-medium",
    _mistral,
    answer("It is 18 degrees."),
    lambda body: [part for each in said(body) for part in each["content"]],
    {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}], "closed": True},
)
OPENROUTER = Wire(
    "openrouter",
    "anthropic/claude-sonnet-4.6",
    _openrouter,
    answer("It is 18 degrees."),
    lambda body: [detail for each in said(body) for detail in each.get("reasoning_details", ())],
    {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, "signature": SECRET, "text": THOUGHT},
)
WIRES = {wire.kind: wire for wire in (CLAUDE, GEMINI, BEDROCK, DEEPSEEK, MISTRAL, OPENROUTER)}


def at(name: str, wire: Wire) -> Model:
    return model(name, upstream_model=wire.model)


def serving(
    serve: Serve, wire: Wire, upstream: ScriptedUpstream, **tables: Any
) -> AbstractAsyncContextManager[Running]:
    """A gateway whose model ``m`` is at that provider."""
    return serve({"acme": wire.at(upstream)}, {"m": at("acme", wire)}, **tables)


async def ask(gateway: Running, messages: list[Json], *, stream: bool, key: str = "", **fields: Any) -> Json:
    """One turn with the official SDK; gives the assistant's message as a plain client remembers it."""
    fields = {"model": "m", "tools": [WEATHER], **fields}
    http = DefaultAsyncHttpxClient(verify=False)
    async with AsyncOpenAI(
        base_url=gateway.base_url, api_key=key or gateway.key, max_retries=0, http_client=http
    ) as client:
        if not stream:
            found = await client.chat.completions.create(messages=messages, **fields)  # type: ignore[call-overload]
            message = found.choices[0].message
            content, calls = message.content, [_plain(call) for call in message.tool_calls or ()]
        else:
            content, calls = "", []
            async for chunk in await client.chat.completions.create(messages=messages, stream=True, **fields):  # type: ignore[call-overload]
                delta = chunk.choices[0].delta
                content += delta.content or ""
                for piece in delta.tool_calls or ():
                    if piece.index == len(calls):
                        calls.append(_plain(piece))
                    else:
                        calls[piece.index]["function"]["arguments"] += piece.function.arguments or ""
    return {"role": "assistant", "content": content, **({"tool_calls": calls} if calls else {})}


def _plain(call: Any) -> Json:
    function = {"name": call.function.name, "arguments": call.function.arguments or ""}
    return {"id": call.id, "type": "function", "function": function}


def result(message: Json) -> Json:
    return {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "18 degrees"}


async def loop(gateway: Running, *, stream: bool = False, then: Running | None = None, **second: Any) -> list[Json]:
    """A question, a call, its result, and the conversation of the second request; that may go to another replica."""
    said = await ask(gateway, [QUESTION], stream=stream)
    messages = [QUESTION, said, result(said)]
    await ask(then or gateway, messages, stream=stream, **second)
    return messages


def sent(upstream: ScriptedUpstream) -> list[Json]:
    return [received.json for received in upstream.requests]


async def kept(gateway: Running) -> int:
    def count(connection: Connection) -> int:
        return int(connection.execute(select(func.count()).select_from(reasoning_state)).scalar_one())

    return await gateway.hall.storage.read(count)


def forget(gateway: Running) -> None:
    """As if what is kept came from another replica, or from before a restart."""
    for name in list(gateway.hall.recall._cache):
        gateway.hall.recall._forget(name)
    assert gateway.hall.recall._cached_bytes == 0
