"""Which stop sequence has ended an answer: told on ``/v1/messages`` as far as anybody tells, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.gateway import Reply, Running, Serve, model, provider

from sealgate.config import Provider
from sealgate.testing import ScriptedUpstream
from sealgate.testing.anthropic_wire import message
from sealgate.testing.bedrock_wire import converse
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Behaviour, Chunk, Step, head, json_answer, sse

STOPS = ["###", "END"]
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def ending(**choice: Any) -> Behaviour:
    """An answer on OpenAI's wire whose only choice ends in these words."""

    def script(received: Received) -> list[Step]:
        if not received.streams:
            whole = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, **choice}
            return [*json_answer({"object": "chat.completion", "choices": [whole], "usage": USAGE})]
        said = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}]}
        last = {"choices": [{"index": 0, "delta": {}, **choice}]}
        pieces = (said, last, {"choices": [], "usage": USAGE}, "[DONE]")
        return [head(200, {"content-type": "text/event-stream"}), *(Chunk(sse(each)) for each in pieces), LAST_CHUNK]

    return script


async def stop_of(gateway: Running, stops: list[str], *, stream: bool, **fields: Any) -> tuple[Any, Any]:
    """The reason and the sequence of an answer on ``/v1/messages``."""
    asked = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], **fields}
    reply = await gateway.post("/v1/messages", {**asked, "stop_sequences": stops, "stream": stream})
    assert reply.status == 200, reply.body
    told = reply.documents[-2]["delta"] if stream else reply.json
    return told["stop_reason"], told["stop_sequence"]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("choice", "stops", "told"),
    [
        ({"finish_reason": "stop", "stop_reason": "END"}, STOPS, ("stop_sequence", "END")),  # vLLM
        ({"finish_reason": "stop", "matched_stop": "###"}, STOPS, ("stop_sequence", "###")),  # SGLang
        ({"finish_reason": "stop", "stop_reason": 128009}, STOPS, ("end_turn", None)),  # a token that ends a turn
        ({"finish_reason": "stop", "stop_reason": None}, STOPS, ("end_turn", None)),
        ({"finish_reason": "stop", "stop_reason": "eos"}, STOPS, ("end_turn", None)),  # no text of the caller's
        ({"finish_reason": "stop_sequence"}, ["END"], ("stop_sequence", "END")),  # TGI
        ({"finish_reason": "stop_sequence"}, STOPS, ("stop_sequence", None)),
        ({"finish_reason": "stop", "native_finish_reason": "stop_sequence"}, ["END"], ("stop_sequence", "END")),
        ({"finish_reason": "stop", "native_finish_reason": "STOP"}, ["STOP"], ("end_turn", None)),  # OpenRouter
        (
            {"finish_reason": "stop", "native_finish_reason": "STOP", "stop_reason": "STOP"},
            ["STOP"],
            ("stop_sequence", "STOP"),
        ),
        ({"finish_reason": "stop"}, ["END"], ("end_turn", None)),  # OpenAI
        ({"finish_reason": "length", "stop_reason": None}, STOPS, ("max_tokens", None)),
    ],
)
async def test_a_stop_sequence_is_told_as_far_as_the_upstream_tells_it(
    serve: Serve, choice: Any, stops: list[str], told: Any, stream: bool
) -> None:
    async with serve({"acme": ending(**choice)}) as gateway:
        assert await stop_of(gateway, stops, stream=stream) == told


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_other_doors_say_stop_and_nothing_more(serve: Serve, stream: bool) -> None:
    """``stop_reason`` and ``matched_stop`` are no fields of OpenAI's choices."""
    behaviour = ending(finish_reason="stop", stop_reason="END", matched_stop="END", stop_sequence="END")
    async with serve({"acme": behaviour}) as gateway:
        chat: Reply = await gateway.chat(stream=stream, stop=STOPS)
        response = await gateway.post("/v1/responses", {"model": "m", "input": "Hi", "stream": stream})
    documents = chat.chunks if stream else [chat.json]
    [last] = [choice for each in documents for choice in each["choices"] if choice["finish_reason"]]
    assert last["finish_reason"] == "stop"
    assert last.keys() <= {"index", "delta", "message", "logprobs", "finish_reason"}
    for name in (b"stop_reason", b"matched_stop", b"stop_sequence"):
        assert name not in chat.body + response.body


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "name", "behaviour"),
    [
        ("anthropic", "claude-sonnet-4-5", message("Hi", stop_sequence="END")),
        ("bedrock", "anthropic.claude-sonnet-4-5-v1:0", converse("Hi", stop_sequence="END")),
    ],
)
async def test_providers_that_know_are_asked_and_believed(
    serve: Serve, kind: str, name: str, behaviour: Behaviour, stream: bool
) -> None:
    upstream = ScriptedUpstream()
    upstream.handler = lambda _: behaviour
    async with upstream:
        table: Provider = provider(upstream, kind)
        async with serve({"acme": table}, {"m": model("acme", upstream_model=name)}) as gateway:
            assert await stop_of(gateway, STOPS, stream=stream) == ("stop_sequence", "END")
            chat: Reply = await gateway.chat(stream=stream, stop=STOPS)
    finish = [
        choice["finish_reason"] for each in (chat.chunks if stream else [chat.json]) for choice in each["choices"]
    ]
    assert finish[-1] == "stop"
    assert b"stop_sequence" not in chat.body
    assert b"additionalModelResponseFieldPaths" not in upstream.requests[1].body, "chats have no place for it"


@pytest.mark.anyio
async def test_a_claude_that_is_asked_by_translation_tells_too(serve: Serve) -> None:
    """A model without prescribed forms is asked by a tool that must be called; what it says is checked, then sent."""
    upstream = ScriptedUpstream()
    upstream.handler = lambda _: message('{"a": "b"}', stop_sequence="END")
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    form = {"format": {"type": "json_schema", "schema": schema}}
    async with upstream:
        table = provider(upstream, "anthropic")
        async with serve({"acme": table}, {"m": model("acme", upstream_model="claude-3-5-haiku-latest")}) as gateway:
            told = [await stop_of(gateway, STOPS, stream=stream, output_config=form) for stream in (False, True)]
    assert "tool_choice" in upstream.requests[0].json, "it did not go out as it came"
    assert told == [("stop_sequence", "END")] * 2


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_the_sandbox_knows_its_own_stops(serve: Serve, stream: bool) -> None:
    async with serve(
        {"sandbox": Provider(kind="sandbox")}, {"m": model("sandbox", upstream_model="sandbox")}
    ) as gateway:
        plain = await gateway.post("/v1/messages", {
            "model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}],
        })  # fmt: skip
        word = plain.json["content"][0]["text"].split()[1]
        assert await stop_of(gateway, ["never said", word], stream=stream) == ("stop_sequence", word)
        assert await stop_of(gateway, ["never said"], stream=stream) == ("end_turn", None)
        chat: Reply = await gateway.chat(stream=stream, stop=[word])
    assert b"stop_reason" not in chat.body
