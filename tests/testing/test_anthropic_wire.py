"""The scripted Messages API: what it sends is what the provider sends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealgate.testing import Chunk, EventReader, Received, wire
from sealgate.testing.anthropic_wire import Message, message, message_error, stream_error, thinking, tool_use


def body_of(sent: bytes) -> Any:
    return json.loads(sent.partition(b"\r\n\r\n")[2])


def test_a_message_is_whole_where_no_stream_is_asked_for() -> None:
    sent = wire(message("Hi", blocks=[tool_use("add", {"x": 1})]), Received.sample(stream=False))
    found = body_of(sent)
    assert sent.startswith(b"HTTP/1.1 200")
    assert [block["type"] for block in found["content"]] == ["text", "tool_use"]
    assert (found["type"], found["stop_reason"], found["usage"]["output_tokens"]) == ("message", "tool_use", 7)


def test_a_stream_has_the_order_of_events_that_is_documented() -> None:
    kinds = [each["type"] for each in Message(blocks=[thinking("Hm.")]).events(Received.sample())]
    assert kinds == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_delta",
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip


def test_each_event_is_named_by_its_type() -> None:
    steps = message("Hi there", pings=False)(Received.sample())
    reader = EventReader()
    events = [event for step in steps if isinstance(step, Chunk) for event in reader.feed(step.data, 0.0)]
    assert [event.name for event in events] == [event.json["type"] for event in events]
    assert events[-1].json == {"type": "message_stop"}


def test_arguments_are_streamed_in_fragments_that_make_the_whole() -> None:
    events = Message(blocks=[tool_use("add", {"city": "Zürich", "n": [1, 2, 3]})]).events(Received.sample())
    parts = [each["delta"]["partial_json"] for each in events if each["type"] == "content_block_delta"]
    assert len(parts) > 2
    assert json.loads("".join(parts)) == {"city": "Zürich", "n": [1, 2, 3]}


@pytest.mark.parametrize(("status", "kind"), [(400, "invalid_request_error"), (529, "overloaded_error"),
                                              (500, "api_error")])  # fmt: skip
def test_an_error_has_the_type_of_its_status(status: int, kind: str) -> None:
    sent = wire(message_error(status, details={"error_code": "x"}), Received.sample())
    assert sent.startswith(b"HTTP/1.1 %d" % status)
    assert body_of(sent)["error"] == {"type": kind, "message": "The request failed.", "details": {"error_code": "x"}}


def test_an_error_takes_the_place_of_what_was_to_come() -> None:
    sent = wire(stream_error(2), Received.sample())
    assert sent.count(b"event: ") == 3
    assert b"event: error\ndata: " in sent
    assert sent.endswith(b"0\r\n\r\n")
