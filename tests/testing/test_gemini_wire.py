"""The scripted Gemini: what it says by itself, and that everything can be set."""

from __future__ import annotations

import json
from typing import Any

from sealgate.testing import Received, wire
from sealgate.testing.gemini_wire import (
    function_call,
    generated,
    generation_broken,
    google_error,
    quota_failure,
    retry_info,
    thought,
)  # fmt: skip
from sealgate.testing.openai_wire import GREETING

WHOLE = "/v1beta/models/gemini-3-flash:generateContent"
STREAM = "/v1beta/models/gemini-3-flash:streamGenerateContent?alt=sse"


def received(path: str, **body: Any) -> Received:
    return Received("POST", path, {}, json.dumps(body).encode(), body, 0.0)


def whole(behaviour: Any, **body: Any) -> Any:
    head, _, found = wire(behaviour, received(WHOLE, **body)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return json.loads(found)


def events(behaviour: Any, **body: Any) -> list[Any]:
    return behaviour.events(received(STREAM, **body))


def test_a_plain_answer_greets_with_the_model_that_the_address_names() -> None:
    found = whole(generated())
    [candidate] = found["candidates"]
    assert candidate == {
        "content": {"role": "model", "parts": [{"text": GREETING}]}, "finishReason": "STOP", "index": 0,
    }  # fmt: skip
    assert found["modelVersion"] == "gemini-3-flash"
    assert found["usageMetadata"]["totalTokenCount"] == 17


def test_a_stream_says_the_same_in_pieces() -> None:
    answer = generated("Hi there", parts=[thought("Hm.", "S")])
    found = events(answer)
    parts = [part for event in found for part in event["candidates"][0]["content"].get("parts", [])]
    assert parts == [{"text": "Hm.", "thought": True, "thoughtSignature": "S"}, {"text": "Hi "}, {"text": "there"}]
    assert [event["candidates"][0].get("finishReason") for event in found] == [None, None, None, "STOP"]
    sent = wire(answer, received(STREAM))
    assert b"content-type: text/event-stream" in sent
    assert sent.count(b"data: ") == len(found)


def test_as_many_candidates_as_are_asked_for() -> None:
    asked = {"generationConfig": {"candidateCount": 2}}
    assert [each["index"] for each in whole(generated(), **asked)["candidates"]] == [0, 1]
    assert {each["index"] for event in events(generated("Hi"), **asked) for each in event["candidates"]} == {0, 1}
    assert len(whole(generated(n=3))["candidates"]) == 3


def test_everything_can_be_set() -> None:
    found = whole(generated(
        parts=[function_call("f", {"a": 1}, call_id="x", signature="S"), function_call("g", {})],
        finish_reason=None, usage=None, model="other", candidate={"avgLogprobs": -1},
    ))  # fmt: skip
    assert found["candidates"] == [{"content": {"role": "model", "parts": [
        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "x"}, "thoughtSignature": "S"},
        {"functionCall": {"name": "g", "args": {}}},
    ]}, "avgLogprobs": -1, "index": 0}]  # fmt: skip
    assert (found["modelVersion"], "usageMetadata" in found) == ("other", False)


def test_a_stream_may_be_one_array() -> None:
    sent = wire(generated("Hi there", as_array=True), received(STREAM))
    chunks = sent.partition(b"\r\n\r\n")[2]
    assert b"content-type: application/json" in sent
    body, rest = b"", chunks
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    assert [each["candidates"][0]["content"].get("parts") for each in json.loads(body)] == [
        [{"text": "Hi "}], [{"text": "there"}], None,
    ]  # fmt: skip


def test_errors_by_status_with_their_details() -> None:
    sent = wire(google_error(429, "Later.", quota_failure("XPerDay"), retry_info("2s"), in_list=True), received(WHOLE))
    [found] = json.loads(sent.partition(b"\r\n\r\n")[2])
    assert sent.startswith(b"HTTP/1.1 429 ")
    assert {name: found["error"][name] for name in ("code", "message", "status")} == {
        "code": 429, "message": "Later.", "status": "RESOURCE_EXHAUSTED",
    }  # fmt: skip
    assert found["error"]["details"][0]["violations"][0]["quotaId"] == "XPerDay"
    assert found["error"]["details"][1]["retryDelay"] == "2s"


def test_a_stream_may_break_in_the_middle() -> None:
    sent = wire(generation_broken(1), received(STREAM))
    assert sent.count(b"data: ") == 2
    assert b'"status":"UNAVAILABLE"' in sent
