"""Faults: each as its line in the table says, whole and streamed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sealgate.errors import Failure
from sealgate.providers.sandbox.reply import Reply, reply


def ask(model: str, *, stream: bool = False, **fields: Any) -> Reply:
    said = [{"role": "user", "content": "Hello"}]
    return reply(msgspec.json.encode({"model": model, "messages": said, "stream": stream, **fields}), 1, 1)


def chunks(found: Reply) -> list[Any]:
    return [msgspec.json.decode(piece[6:]) for piece in found.pieces]


def text(events: list[Any]) -> str:
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if "choices" in event)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 413, 418, 422, 429, 500, 502, 503, 504, 529])
def test_a_failing_model_fails_with_its_status(status: int, stream: bool) -> None:
    """OpenAI's error body, streaming or not; 429 and 503 say when to come back."""
    found = ask(f"fail-{status}", stream=stream)
    assert found.status == status
    (body,) = found.pieces
    error = msgspec.json.decode(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert str(status) in error["message"]
    assert ("retry-after" in found.headers) is (status in (429, 503))


def test_a_redirect_has_somewhere_to_go() -> None:
    """Which no one should follow."""
    assert ask("fail-307").headers["location"] == "https://sandbox.invalid/"


def test_an_empty_account_is_not_a_rate_limit() -> None:
    """429 with ``insufficient_quota`` and no time to come back."""
    found = ask("fail-quota")
    assert found.status == 429
    assert "retry-after" not in found.headers
    (body,) = found.pieces
    assert msgspec.json.decode(body)["error"]["type"] == "insufficient_quota"


def test_a_cut_breaks_in_the_middle() -> None:
    """A stream is reset after some content; a whole answer stops short of its length."""
    streamed = ask("cut", stream=True)
    assert text(chunks(streamed)) == "This is Sealgate's"
    assert streamed.ending is Failure.RESET
    whole = ask("cut")
    assert whole.ending is Failure.TRUNCATED
    assert 0 < sum(map(len, whole.pieces)) < int(whole.headers["content-length"])


def test_a_cut_comes_after_content_however_short_the_answer() -> None:
    """At least one token; of a tool call at least its head."""
    assert text(chunks(ask("cut", stream=True, max_tokens=1))) == "This"
    tools = [{"type": "function", "function": {"name": "f"}}]
    events = chunks(ask("cut", stream=True, tools=tools))
    assert "tool_calls" in events[1]["choices"][0]["delta"]


def test_truncation_ends_cleanly_without_a_finish() -> None:
    """No ``finish_reason``, no ``[DONE]``, no error; a whole answer is half a JSON."""
    streamed = ask("truncate", stream=True)
    events = chunks(streamed)
    assert text(events)
    assert all(event["choices"][0]["finish_reason"] is None for event in events)
    assert streamed.ending is None
    (half,) = ask("truncate").pieces
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(half)


def test_emptiness_has_no_content_and_no_usage() -> None:
    """A finish and nothing else, even where usage was asked for."""
    (body,) = ask("empty").pieces
    whole = msgspec.json.decode(body)
    assert "usage" not in whole
    assert whole["choices"][0]["message"]["content"] == ""
    *events, done = ask("empty", stream=True, stream_options={"include_usage": True}).pieces
    assert done == b"data: [DONE]\n\n"
    assert len(events) == 2
    assert all(b'"usage"' not in event for event in events)


def test_a_web_page_is_a_web_page() -> None:
    """200 ``text/html``, streaming or not."""
    for stream in (False, True):
        found = ask("html", stream=stream)
        assert found.status == 200
        assert found.headers["content-type"].startswith("text/html")
        (body,) = found.pieces
        assert body.startswith(b"<!doctype html>")


def test_an_error_comes_first_or_in_the_middle() -> None:
    """As an event of a stream that ends without ``[DONE]``, or in the body of a 200."""
    (event,) = chunks(ask("error-first", stream=True))
    assert event["error"]["code"] == "sandbox_error"
    *before, last = chunks(ask("error-mid", stream=True))
    assert text(before)
    assert last["error"]["code"] == "sandbox_error"
    (body,) = ask("error-first").pieces
    assert "choices" not in msgspec.json.decode(body)
    (body,) = ask("error-mid").pieces
    mixed = msgspec.json.decode(body)
    assert mixed["error"]["code"] == "sandbox_error"
    assert mixed["choices"][0]["finish_reason"] == "error"


def test_an_event_is_not_json() -> None:
    """After some content; a whole answer is not JSON at all."""
    *events, bad, done = ask("not-json", stream=True).pieces
    assert text([msgspec.json.decode(event[6:]) for event in events])
    assert done == b"data: [DONE]\n\n"
    for body in (bad[6:], *ask("not-json").pieces):
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(body)


def test_silence_is_a_head_and_nothing() -> None:
    """The head fits what was asked for."""
    for stream, kind in ((False, "application/json"), (True, "text/event-stream")):
        found = ask("silent", stream=stream)
        assert (found.status, found.headers["content-type"]) == (200, kind)
        assert found.silent
        assert list(found.pieces) == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model":5}', b'{"model":"m"}', b'{"model":"m","messages":[]}'])
def test_a_malformed_body_is_a_400_in_openais_form(body: bytes) -> None:
    """Never an exception."""
    found = reply(body, 1, 1)
    assert found.status == 400
    (error,) = found.pieces
    assert msgspec.json.decode(error)["error"]["type"] == "invalid_request_error"
