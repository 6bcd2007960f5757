"""The scripted Bedrock, read by botocore's own reader of frames, and through a gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from tests.gateway import Serve, provider

from sealgate.testing import Received, ScriptedUpstream, wire
from sealgate.testing.bedrock_wire import (
    converse,
    converse_error,
    event,
    exception,
    reasoning,
    stream_exception,
    tool_use,
)
from sealgate.testing.script import Chunk, Send

STREAM = Received.sample(path="/model/m/converse-stream")
WHOLE = Received.sample(path="/model/m/converse")
RICH = converse(
    "Let me see.", blocks=[reasoning("Hm, yes"), tool_use("weather", {"city": "Bern"}), tool_use("now", {})]
)


def frames(behaviour: Any) -> list[tuple[str, Any]]:
    """What botocore reads in a stream: events by name, with their documents."""
    buffer = EventStreamBuffer()
    for step in behaviour(STREAM):
        if isinstance(step, Chunk) and step.data:
            buffer.add_data(step.data)
    found = []
    for message in buffer:
        name = message.headers.get(":event-type") or message.headers[":exception-type"]
        found.append((name, json.loads(message.payload)))
    return found


def test_a_stream_is_what_a_whole_answer_says() -> None:
    read = frames(RICH)
    names = [name for name, _ in read]
    assert (names[0], names[-2:]) == ("messageStart", ["messageStop", "metadata"])
    starts = [document["start"]["toolUse"]["name"] for name, document in read if name == "contentBlockStart"]
    assert starts == ["weather", "now"], "texts have no start"
    deltas = [document["delta"] for name, document in read if name == "contentBlockDelta"]
    assert "".join(delta.get("text", "") for delta in deltas) == "Let me see."
    assert "".join(delta.get("toolUse", {}).get("input", "") for delta in deltas) == '{"city":"Bern"}'
    thought = [delta["reasoningContent"] for delta in deltas if "reasoningContent" in delta]
    assert "".join(each.get("text", "") for each in thought) == "Hm, yes"
    assert thought[-1] == {"signature": "signature-of-the-tests"}
    document = RICH.document()
    assert document["stopReason"] == read[-2][1]["stopReason"] == "tool_use"
    assert [list(block) for block in document["output"]["message"]["content"]] == [
        ["text"], ["reasoningContent"], ["toolUse"], ["toolUse"],
    ]  # fmt: skip


def test_a_frame_carries_bytes_as_they_are_too() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(event("PayloadPart", b"data: x") + exception("internalServerException", "broke", more=1))
    part, failed = buffer
    assert (part.payload, part.headers[":event-type"]) == (b"data: x", "PayloadPart")
    assert json.loads(failed.payload) == {"message": "broke", "more": 1}
    assert failed.headers[":message-type"] == "exception"


@pytest.mark.anyio
async def test_it_answers_a_gateway_whole_and_as_a_stream(serve: Serve) -> None:
    async with (
        ScriptedUpstream(handler=converse("Good day to you")) as upstream,
        serve({"acme": provider(upstream.origin, kind="bedrock")}) as gateway,
    ):
        for stream in (True, False):
            assert (await gateway.chat(stream=stream)).text == "Good day to you"
        assert [row.completion_tokens for row in await gateway.rows(2)] == [7, 7]


@pytest.mark.parametrize(("name", "status"), [("ThrottlingException", 429), ("Unheard", 500)])
def test_errors_have_their_status_and_name(name: str, status: int) -> None:
    sent = wire(converse_error(name, "No"), WHOLE)
    assert sent.startswith(f"HTTP/1.1 {status} ".encode())
    assert f"x-amzn-errortype: {name}".encode() in sent
    assert b'{"message":"No"}' in sent


def test_an_exception_takes_the_place_of_the_rest() -> None:
    read = frames(stream_exception(after=2, name="modelStreamErrorException", base=converse("Hi")))
    assert [name for name, _ in read] == ["messageStart", "contentBlockDelta", "modelStreamErrorException"]


def test_answers_may_be_slow_and_without_usage() -> None:
    slow = [step for step in converse("Hi there", delay=0.5, usage=None)(STREAM) if not isinstance(step, Chunk | Send)]
    assert len(slow) >= 3
    assert "metadata" not in [name for name, _ in frames(converse("Hi", usage=None))]
