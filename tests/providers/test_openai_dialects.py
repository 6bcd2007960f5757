"""What OpenRouter is told beside the caller's parameters, and streams of TGI that end without a reason."""

import json
from typing import Any

import pytest
from tests.gateway import Serve, provider

from sealgate.providers.base import Account, Prompt
from sealgate.providers.openai_dialects import OPENROUTER, TGI
from sealgate.providers.table import KINDS
from sealgate.testing import ScriptedUpstream, sse
from sealgate.testing.script import LAST_CHUNK, Chunk, head

ROUTER = Account("router", "router", "eu", KINDS["openrouter"], "https://openrouter.ai/api/v1")
TOOLS = [{"type": "function", "function": {"name": "now"}}]
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def sent(extra: Any = None, **fields: Any) -> Any:
    prompt = Prompt({"messages": [], **fields}, False, extra or {}, {}, {})
    return json.loads(OPENROUTER.write(ROUTER, prompt, "m", None).body).get("provider")


@pytest.mark.parametrize("fields", [{"response_format": FORM}, {"tools": TOOLS}, {"stop": "x"}, {"logprobs": True},
                                    {"guided_json": {"type": "object"}}])  # fmt: skip
def test_parameters_that_count_are_required_of_whoever_answers(fields: Any) -> None:
    assert sent(**fields) == {"require_parameters": True}


@pytest.mark.parametrize("fields", [{}, {"seed": 1, "temperature": 0}, {"max_tokens": 5},
                                    {"response_format": {"type": "text"}}])  # fmt: skip
def test_what_only_steers_narrows_nothing(fields: Any) -> None:
    assert sent(**fields) is None


def chunk(delta: Any, reason: str | None = None, index: int = 0) -> Any:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def events(*chunks: Any, done: bool = True) -> bytes:
    return b"".join(map(sse, chunks)) + (b"data: [DONE]\n\n" if done else b"")


CALL = {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "now", "arguments": "{}"}}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}}


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize(
    ("chunks", "fields", "reasons"),
    [
        ([chunk({"content": "Hi"})], {}, ["stop"]),
        ([chunk(CALL), chunk({"content": ""})], {}, ["tool_calls"]),
        ([chunk({"content": "Hi"}), USAGE], {"max_tokens": 5}, ["length"]),
        ([chunk({"content": "Hi"}), USAGE], {"max_tokens": 6}, ["stop"]),
        ([chunk({"content": "Hi"}), chunk({}, "length")], {}, ["length"]),
        ([chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop", 1)], {}, ["stop", "stop"]),
        ([], {}, []),
    ],
)
def test_a_choice_that_is_open_at_the_end_ends_there(chunks: Any, fields: Any, reasons: list[str], size: int) -> None:
    reader, data = TGI.reader(fields, stream=True), events(*chunks)
    found = [each for at in range(0, len(data), size) for each in reader.feed(data[at : at + size])]
    found += reader.end()
    said = [choice["finish_reason"] for each in found for choice in each["choices"] if choice["finish_reason"]]
    assert (said, reader.done) == (reasons, True)


def test_without_the_end_nothing_is_made_up() -> None:
    reader = TGI.reader({}, stream=True)
    found = [*reader.feed(events(chunk({"content": "Hi"}), done=False)), *reader.end()]
    assert [each["choices"][0]["finish_reason"] for each in found] == [None]


@pytest.mark.anyio
@pytest.mark.parametrize("done", [True, False])
async def test_through_a_gateway_it_is_whole_with_the_end_and_truncated_without(serve: Serve, done: bool) -> None:
    script = [head(200, {"content-type": "text/event-stream"}),
              Chunk(events(chunk({"role": "assistant", "content": "Hi"}), done=done)), LAST_CHUNK]  # fmt: skip
    async with ScriptedUpstream(default=script) as upstream, serve({"tgi": provider(upstream, "tgi")}) as gateway:
        reply = await gateway.chat(stream=True)
    assert (reply.text, reply.done, reply.code) == ("Hi", done, None if done else "upstream_stream_truncated")
