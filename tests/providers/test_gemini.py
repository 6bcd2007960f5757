"""Gemini's wire through a gateway, and against recorded answers of the real one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import Reply, Serve, model, provider

from sealgate.errors import UpstreamError
from sealgate.limits.ledger import Outcome
from sealgate.providers.gemini import GEMINI
from sealgate.providers.gemini_answer import SIGNED
from sealgate.relay.finish import reason
from sealgate.testing import ScriptedUpstream, answer
from sealgate.testing.gemini_wire import (
    Generated,
    function_call,
    generated,
    generation_broken,
    google_error,
    quota_failure,
    retry_info,
    thought,
)
from sealgate.testing.openai_wire import GREETING

BOTH = pytest.mark.parametrize("stream", [True, False])
KINDS = pytest.mark.parametrize("kind", ["google", "vertex"])
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def gemini(upstream: ScriptedUpstream, kind: str = "google", **fields: Any) -> Any:
    if kind == "vertex":
        fields = {"project": "acme", "location": "eu"} | fields
    return provider(f"{upstream.origin}/v1beta", kind=kind, **fields)


def playing(behaviour: Any) -> ScriptedUpstream:
    """An upstream that does this at every address."""
    return ScriptedUpstream(handler=lambda _: behaviour)


def models(*providers: str, name: str = "gemini-3-flash") -> Any:
    return {"m": model(*providers, upstream_model=name)}


def said(reply: Reply, *, stream: bool) -> Any:
    """The message of the first choice, put together as a client does, and why it ended."""
    assert reply.status == 200, reply.body
    if not stream:
        choice = reply.json["choices"][0]
        return choice["message"] | {"finish": choice["finish_reason"]}
    assert reply.done, reply.error
    found: dict[str, Any] = {"finish": None}
    for choice in (choice for chunk in reply.chunks for choice in chunk["choices"] if choice["index"] == 0):
        for name, value in choice["delta"].items():
            found[name] = value if name not in found else found[name] + value
        found["finish"] = choice["finish_reason"] or found["finish"]
    return found


# What goes and what comes


@pytest.mark.anyio
@KINDS
@BOTH
async def test_a_plain_answer(serve: Serve, kind: str, stream: bool) -> None:
    async with playing(generated(parts=[thought("Hm. ")], text=GREETING)) as upstream:
        row = gemini(upstream, kind, api_key="AIza-secret")
        async with serve({"g": row}, models("g")) as gateway:
            reply = await gateway.chat(stream=stream, max_tokens=9, seed=3, user="u")
            entry = await gateway.row()
        [received] = upstream.requests
    found = said(reply, stream=stream)
    assert (found["content"], found["reasoning_content"], found["finish"]) == (GREETING, "Hm. ", "stop")
    place = "" if kind == "google" else "/projects/acme/locations/eu/publishers/google"
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    assert received.path == f"/v1beta{place}/models/gemini-3-flash:{method}"
    assert received.headers["x-goog-api-key"] == "AIza-secret"
    assert received.json == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "generationConfig": {"maxOutputTokens": 9, "seed": 3},
    }
    assert [(each["param"], each["action"]) for each in reply.tresor["adjustments"]] == [("user", "dropped")]
    assert (entry.outcome, entry.prompt_tokens, entry.completion_tokens, entry.usage_source) == (
        Outcome.OK, 10, 7, "reported",
    )  # fmt: skip


@pytest.mark.anyio
async def test_several_choices_and_usage_of_a_stream(serve: Serve) -> None:
    async with playing(generated("a b")) as upstream, serve({"g": gemini(upstream)}) as gateway:
        reply = await gateway.chat(stream=True, n=2, stream_options={"include_usage": True})
    by_choice: dict[int, str] = {0: "", 1: ""}
    for choice in (choice for chunk in reply.chunks for choice in chunk["choices"]):
        by_choice[choice["index"]] += choice["delta"].get("content", "")
    assert by_choice == {0: "a b", 1: "a b"}
    assert [choice["finish_reason"] for chunk in reply.chunks[-3:] for choice in chunk["choices"]] == ["stop", "stop"]
    assert reply.chunks[-1]["usage"] == {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}


@pytest.mark.anyio
@BOTH
async def test_a_loop_of_tool_calls_keeps_the_models_thoughts(serve: Serve, stream: bool) -> None:
    """A client that sends back what it got has them go where they came from."""
    calls = [function_call("weather", {"city": "Zürich"}, call_id="x1", signature="S1"), function_call("weather", {})]
    async with ScriptedUpstream() as upstream:
        upstream.enqueue(generated(parts=[thought("Hm."), *calls]), generated("Sunny."))
        async with serve({"g": gemini(upstream)}, models("g")) as gateway:
            first = said(await gateway.chat(stream=stream, tools=[WEATHER], tool_choice="required"), stream=stream)
            assert first.pop("finish") == "tool_calls"
            made_up = first["tool_calls"][1]["id"]
            history = [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": None} | _without_indexes(first),
                {"role": "tool", "tool_call_id": "x1", "content": "sun"},
                {"role": "tool", "tool_call_id": made_up, "content": '{"sky": "blue"}'},
            ]
            second = await gateway.chat(stream=stream, messages=history, tools=[WEATHER])
    assert said(second, stream=stream)["content"] == "Sunny."
    assert first["reasoning_details"][0] == {
        "type": "reasoning.encrypted", "data": "S1", "id": "x1", "format": SIGNED, "index": 0,
    }  # fmt: skip
    assert first["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "S1"}}
    one, other = upstream.requests
    assert one.json["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert other.json["contents"][1:] == [
        {"role": "model", "parts": [
            {"functionCall": {"id": "x1", "name": "weather", "args": {"city": "Zürich"}}, "thoughtSignature": "S1"},
            {"functionCall": {"name": "weather", "args": {}}},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"id": "x1", "name": "weather", "response": {"result": "sun"}}},
            {"functionResponse": {"name": "weather", "response": {"sky": "blue"}}},
        ]},
    ]  # fmt: skip


def _without_indexes(message: dict[str, Any]) -> dict[str, Any]:
    calls = [{name: value for name, value in call.items() if name != "index"} for call in message["tool_calls"]]
    return {name: value for name, value in message.items() if name != "content"} | {"tool_calls": calls}


@pytest.mark.anyio
async def test_a_stream_may_come_as_one_array(serve: Serve) -> None:
    told = generated("Grüße, Welt", as_array=True)
    async with playing(told) as upstream, serve({"g": gemini(upstream)}) as gateway:
        reply = await gateway.chat(stream=True)
    assert (reply.text, reply.done) == ("Grüße, Welt", True)


# Failures


@pytest.mark.anyio
@BOTH
@pytest.mark.parametrize("behaviour", [
    generated(parts=[], text="", finish_reason="MALFORMED_FUNCTION_CALL"),
    generated(parts=[], text="", finish_reason="OTHER"),
    google_error(503, "The model is overloaded."),
    google_error(429, "Later.", retry_info("2s"), in_list=True),
    google_error(400, "API key not valid. Please pass a valid API key."),
    google_error(200, "Oops."),
], ids=["malformed", "other", "overloaded", "rate", "key", "in a 200"])  # fmt: skip
async def test_a_route_that_fails_before_the_first_content_is_left(serve: Serve, behaviour: Any, stream: bool) -> None:
    async with (
        playing(behaviour) as upstream,
        ScriptedUpstream(default=answer("Backup")) as backup,
        serve({"g": gemini(upstream), "b": provider(backup)}, {"m": ["g", "b"]}) as gateway,
    ):
        reply = await gateway.chat(stream=stream)
        entry = await gateway.row()
    assert said(reply, stream=stream)["content"] == "Backup"
    assert entry.routed_model == "global/b/m"


@pytest.mark.anyio
@pytest.mark.parametrize(("behaviour", "status", "code"), [
    (google_error(400, "Bad."), 400, "upstream_invalid_request"),
    (google_error(400, "The input token count (9) exceeds the maximum number of tokens allowed (8)."), 400,
     "context_length_exceeded"),
    (google_error(404, "models/x is not found"), 404, "model_not_found"),
    (google_error(429, "m", quota_failure("RequestsPerMinute"), retry_info("48s")), 429, "upstream_rate_limited"),
    (google_error(429, "m", quota_failure("RequestsPerDay"), retry_info("48s")), 429, "upstream_quota"),
])  # fmt: skip
async def test_an_error_that_is_the_last_word(serve: Serve, behaviour: Any, status: int, code: str) -> None:
    async with playing(behaviour) as upstream, serve({"g": gemini(upstream)}) as gateway:
        reply = await gateway.chat()
    assert (reply.status, reply.code) == (status, code)
    if code == "upstream_rate_limited":
        assert reply.headers["retry-after"] == "48"


@pytest.mark.anyio
async def test_a_stream_that_breaks_in_the_middle_never_looks_complete(serve: Serve) -> None:
    for behaviour in (
        generation_broken(2),
        generated("Hi", finish_reason=None),
        generated("a b", finish_reason="OTHER"),
    ):
        async with playing(behaviour) as upstream, serve({"g": gemini(upstream)}) as gateway:
            reply = await gateway.chat(stream=True)
        assert reply.text
        assert not reply.done
        assert reply.error["status"] >= 500


@pytest.mark.anyio
@BOTH
async def test_a_blocked_prompt_is_an_answer_and_no_other_route_is_asked(serve: Serve, stream: bool) -> None:
    class Blocked(Generated):
        def document(self, received: Any) -> Any:
            return {"promptFeedback": {"blockReason": "SAFETY"}}

        def events(self, received: Any) -> Any:
            return [self.document(received)]

    async with playing(Blocked()) as upstream, ScriptedUpstream() as backup:
        async with serve({"g": gemini(upstream), "b": provider(backup)}, {"m": ["g", "b"]}) as gateway:
            found = said(await gateway.chat(stream=stream), stream=stream)
        assert not backup.requests
    assert (found["refusal"], found["finish"]) == ("The prompt was blocked: SAFETY.", "content_filter")


# Recorded answers

RECORDED = Path(__file__).parents[3] / "shared" / "recorded"
PIECES = (1, 61, 10**9)


@cache
def recorded() -> list[Any]:
    files = sorted(file for folder in ("google", "vertex") for file in (RECORDED / folder).glob("*.json"))
    cases = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [case for case in cases if case["api"] in ("generateContent", "streamGenerateContent")]


def read(case: Any, size: int) -> dict[str, Any]:
    """Text, thoughts, calls, reason and usage that are read from a recorded body cut into pieces of this size."""
    body, stream = case["response"]["body"].encode(), case["api"] == "streamGenerateContent"
    reader = GEMINI.reader({}, stream=stream)
    chunks = [chunk for at in range(0, len(body), size) for chunk in reader.feed(body[at : at + size])]
    return _facts([*chunks, *reader.end()])


def _facts(chunks: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"text": "", "reasoning": "", "tool_calls": [], "usage": {}, "finish": None}
    for chunk in chunks:
        found["usage"] = chunk.get("usage") or found["usage"]
        for choice in (choice for choice in chunk["choices"] if choice["index"] == 0):
            said = choice.get("delta") or choice.get("message") or {}
            found["text"] += said.get("content") or ""
            found["reasoning"] += said.get("reasoning_content") or ""
            found["tool_calls"] += said.get("tool_calls") or []
            found["finish"] = choice.get("finish_reason") or found["finish"]
    return found


@pytest.mark.skipif(not RECORDED.is_dir(), reason="no folder of recordings lies beside the project")
@pytest.mark.parametrize("size", PIECES)
def test_what_was_recorded_is_read_as_it_was_meant(size: int) -> None:
    """Whatever the pieces; errors have the sentence that was recorded."""
    assert recorded()
    for case in recorded():
        expected, response = case["expect"], case["response"]
        if response["status"] != 200:
            error = GEMINI.failure(response["status"], {}, response["body"].encode())
            assert isinstance(error, UpstreamError), case["id"]
            assert error.text == expected["error"]["message"], case["id"]
            continue
        found = read(case, size)
        for name in ("text", "reasoning"):
            assert found[name] == expected.get(name, ""), case["id"]
        calls = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in found["tool_calls"]]
        assert calls == [(call["name"], call["arguments"]) for call in expected.get("tool_calls", [])], case["id"]
        assert reason(found["finish"], called=bool(calls)) in expected["finish_openai"], case["id"]
        counted = found["usage"]["prompt_tokens"] + found["usage"]["completion_tokens"]
        assert counted == expected["usage"]["total_tokens"], case["id"]
