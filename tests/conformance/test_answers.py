"""What every provider says reaches the caller in one form: text, calls, reasoning, refusals, usage, streamed or not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import openai
import pytest
from tests.conformance.matrix import EVERY, NAMES, Json, Row, adjusted, called, good, message, refused, split
from tests.gateway import Reply

from sealgate.api.shapes import ChatCompletion, ChatCompletionChunk
from sealgate.testing import Usage, tool

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER: Json = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": CITY}}
NOW: Json = {"type": "function", "function": {"name": "now"}}
CALLS = [tool("get_weather", {"city": "Zürich"}, call_id="call_1"), tool("get_weather", {"city": "東京"}, call_id="c2")]

WITHOUT_REASONING = {"openai", "azure", "azure/deployment", "hyperbolic", "tgi", "sagemaker/tgi"}
"""Mocks whose providers do not tell it."""
TELLS_CACHED = {
    "openai", "azure", "azure/deployment", "compatible", "deepseek", "fireworks", "xai", "groq", "openrouter", "vllm",
    "sglang", "sagemaker", "vertex/openai", "anthropic", "vertex/anthropic", "bedrock", "bedrock/anthropic", "google",
    "vertex",
}  # fmt: skip
TELLS_REASONING = TELLS_CACHED - {"fireworks", "vllm", "sglang", "bedrock"}
TELLS_WRITTEN = TELLS_CACHED - {"deepseek", "fireworks", "vllm", "sglang", "google", "vertex"}


def mock_of(row: Row) -> str:
    return split(row.name)[0]


def shaped(reply: Reply) -> None:
    """Every document is one of ours, to the last field."""
    good(reply)
    if not reply.events:
        msgspec.json.decode(reply.body, type=ChatCompletion, strict=True)
        return
    chunks = [msgspec.convert(each, ChatCompletionChunk, strict=True) for each in reply.chunks]
    assert len({(each.id, each.created, each.model) for each in chunks}) == 1
    assert reply.chunks[0]["choices"][0]["delta"] == {"role": "assistant"}


@EVERY
@STREAM
def test_a_plain_answer_comes_as_it_was_said(row: Row, stream: bool) -> None:
    row.mock.reply("Grüße aus 東京 — “ok”. 👋")
    reply = row.ask("How are you?", stream=stream)
    shaped(reply)
    assert reply.text == "Grüße aus 東京 — “ok”. 👋"
    assert message(reply)["finish"] == "stop"
    assert (row.asked.text, row.asked.stream) == ("How are you?", stream)
    if row.name != "azure/deployment" and mock_of(row) not in ("sagemaker/tgi",):
        assert row.asked.model == row.route.upstream_model
    assert reply.tresor["routed_model"] == row.route.id
    assert "adjustments" not in reply.tresor


@EVERY
def test_the_official_sdk_reads_each_row(row: Row, sdk: openai.OpenAI) -> None:
    """Whole and streamed, with calls where there are tools."""
    said: Json = {"tool_calls": CALLS} if row.can("tools") else {}
    asked: Json = {"model": row.name, "messages": [{"role": "user", "content": "Hello"}]}
    asked |= {"tools": [WEATHER]} if row.can("tools") else {}
    row.mock.reply("Hello there.", **said)
    whole = sdk.chat.completions.create(**asked)
    row.mock.reply("Hello there.", **said)
    with sdk.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion()
    for found in (whole.choices[0], streamed.choices[0]):
        assert found.message.content == "Hello there."
        assert found.finish_reason == ("tool_calls" if said else "stop")
        calls = [json.loads(call.function.arguments) for call in found.message.tool_calls or ()]
        assert calls == ([{"city": "Zürich"}, {"city": "東京"}] if said else [])


def test_a_conversation_arrives_whole_and_in_order(row: Row) -> None:
    turns = [("system", "one-s"), ("user", "two-u"), ("assistant", "three-a"), ("user", "four-u")]
    row.mock.reply("five")
    good(row.ask(messages=[{"role": role, "content": text} for role, text in turns]))
    sent = row.sent
    places = [sent.index(text) for _, text in turns]
    rest = places[1:]
    assert rest == sorted(rest), "but for the system's, which may have a place of its own"
    assert all(sent.count(text) == 1 for _, text in turns)


def test_a_developers_message_is_an_instruction_everywhere(row: Row) -> None:
    reply = good(row.ask(messages=[{"role": "developer", "content": "Be-brief."}, {"role": "user", "content": "Hi"}]))
    assert "Be-brief." in row.sent
    as_it_is = '"developer"' in row.sent
    if not as_it_is and mock_of(row) in ("together", "deepseek", "fireworks", "mistral", "hyperbolic", "xai"):
        assert "renamed" in adjusted(reply)["messages"]
    assert row.asked.text in ("Hi", row.asked.text)


@STREAM
def test_a_call_of_a_tool_comes_back(row: Row, stream: bool) -> None:
    row.mock.reply("I will look.", tool_calls=CALLS[:1])
    reply = row.ask(tools=[WEATHER], stream=stream)
    if not row.can("tools"):
        refused(reply, row, "tools")
        return
    shaped(reply)
    assert called(reply) == [("get_weather", {"city": "Zürich"})]
    assert message(reply)["finish"] == "tool_calls"
    assert message(reply)["content"] == "I will look."
    assert "get_weather" in row.sent
    assert '"required"' in row.sent, "the schema of its arguments has come too"


@STREAM
def test_parallel_calls_come_back_apart_and_in_order(row: Row, stream: bool) -> None:
    row.mock.reply(tool_calls=CALLS)
    reply = row.ask(tools=[WEATHER], stream=stream)
    if not row.can("tools"):
        refused(reply, row, "tools")
        return
    shaped(reply)
    assert called(reply) == [("get_weather", {"city": "Zürich"}), ("get_weather", {"city": "東京"})]
    assert len({call["id"] for call in message(reply)["tool_calls"]}) == 2


@EVERY
@STREAM
def test_a_call_without_arguments_has_an_empty_object(row: Row, stream: bool) -> None:
    row.mock.reply(tool_calls=[tool("now", {})])
    reply = row.ask(tools=[NOW], stream=stream)
    if not row.can("tools"):
        refused(reply, row, "tools")
        return
    shaped(reply)
    assert [call["function"] for call in message(reply)["tool_calls"]] == [{"name": "now", "arguments": "{}"}]


def test_the_result_of_a_call_goes_back_with_its_call(row: Row) -> None:
    if not row.can("tools"):
        pytest.skip("it has no tools")
    asked = [{"role": "user", "content": "Weather?"}]
    row.mock.reply(tool_calls=CALLS)
    first = message(good(row.ask(messages=asked, tools=[WEATHER])))
    ids = [call["id"] for call in first["tool_calls"]]
    history = [*asked, {"role": "assistant", "content": None, "tool_calls": first["tool_calls"]}]
    history += [{"role": "tool", "tool_call_id": each, "content": f"sunny-{n}"} for n, each in enumerate(ids)]
    row.mock.reply("Sunny.")
    assert good(row.ask(messages=history, tools=[WEATHER])).text == "Sunny."
    sent = row.sent
    assert sent.index("Zürich") < sent.index("sunny-0") < sent.index("sunny-1")
    tied = _ids_in(row.asked.body)
    assert len(tied) == 2, "each result names its call, and the call has the same id"


def _ids_in(body: Any) -> set[str]:
    """Ids that stand both with a call and with a result, in any of the wires' forms."""
    calls: set[str] = set()
    results: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for each in node:
                walk(each)
        if not isinstance(node, dict):
            return
        if node.get("type") in ("function", "tool_use") and "id" in node:
            calls.add(node["id"])
        results.update(node[name] for name in ("tool_call_id", "tool_use_id") if name in node)
        for name, found in (("toolUse", calls), ("toolResult", results)):
            if name in node:
                found.add(node[name]["toolUseId"])
        for name, found in (("functionCall", calls), ("functionResponse", results)):
            if name in node:
                found.add(node[name]["id"])
        for each in node.values():
            walk(each)

    walk(body)
    return calls & results


@STREAM
def test_reasoning_comes_apart_from_the_text(row: Row, stream: bool) -> None:
    row.mock.reply("Four.", reasoning="Two and two.")
    reply = row.ask(stream=stream)
    shaped(reply)
    told = None if mock_of(row) in WITHOUT_REASONING else "Two and two."
    assert (message(reply)["content"], message(reply).get("reasoning_content")) == ("Four.", told)


SIGNING = [name for name in NAMES if split(name)[0] in ("anthropic", "bedrock", "bedrock/anthropic", "vertex/anthropic",
                                                        "google", "vertex")]  # fmt: skip


@STREAM
@pytest.mark.parametrize("row", SIGNING, indirect=True)
def test_signed_reasoning_goes_back_to_who_signed_it(row: Row, stream: bool) -> None:
    if not row.can("tools"):
        pytest.skip("it has no tools")
    asked = [{"role": "user", "content": "Weather?"}]
    row.mock.reply(reasoning="Hm.", signature="c2lnbmVkLWJ5LW1l", tool_calls=CALLS[:1])
    first = message(good(row.ask(messages=asked, tools=[WEATHER], stream=stream)))
    first.pop("finish"), first.pop("logprobs", None)
    history = [*asked, {"role": "assistant", **first}]
    history += [{"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "sunny"}]
    row.mock.reply("Sunny.")
    good(row.ask(messages=history, tools=[WEATHER]))
    assert "c2lnbmVkLWJ5LW1l" in row.sent


@STREAM
def test_a_refusal_is_told_and_is_no_failure(row: Row, stream: bool) -> None:
    row.mock.reply(refusal="I will not.", finish=None)
    reply = row.ask(stream=stream)
    if mock_of(row) == "sagemaker/tgi":
        return  # it has no words for it
    shaped(reply)
    found = message(reply)
    assert found["finish"] == "content_filter"
    assert "I will not." in ((found.get("refusal") or "") + (found["content"] or "")), found


@STREAM
def test_an_answer_that_is_cut_by_its_limit_says_so(row: Row, stream: bool) -> None:
    row.mock.reply("And so", finish="length")
    reply = row.ask(max_tokens=2, stream=stream)
    shaped(reply)
    assert (reply.text, message(reply)["finish"]) == ("And so", "length")


@STREAM
def test_a_prompt_that_is_objected_to_is_told_as_that(row: Row, stream: bool) -> None:
    """Some providers answer (200), some refuse (400); neither is asked of another route, and neither is our fault."""
    row.mock.fail("content_filter")
    reply = row.ask(stream=stream)
    if reply.status == 200:
        assert message(good(reply))["finish"] == "content_filter"
    else:
        assert (reply.status, reply.code) in ((400, "upstream_invalid_request"), (422, "upstream_unprocessable"))
        assert reply.error["message"]


@STREAM
def test_usage_counts_every_part_inside_its_whole(row: Row, stream: bool) -> None:
    """Where a provider counts a part beside its whole (caches, thoughts), it is brought inside."""
    row.mock.reply("Hi", usage=Usage(prompt=100, completion=50, cached=60, written=10, reasoning=20))
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    reply = row.ask(**options)
    shaped(reply) if not stream else good(reply)
    usage = (reply.chunks[-1] if stream else reply.json)["usage"]
    assert [usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")] == [100, 50, 150]
    inside, of_answer = usage.get("prompt_tokens_details", {}), usage.get("completion_tokens_details", {})
    name = mock_of(row)
    assert inside.get("cached_tokens", 0) == (60 if name in TELLS_CACHED else 0)
    assert inside.get("cache_write_tokens", 0) == (10 if name in TELLS_WRITTEN else 0)
    assert of_answer.get("reasoning_tokens", 0) == (20 if name in TELLS_REASONING else 0)


@EVERY
def test_usage_is_no_chunk_of_a_stream_that_did_not_ask_for_it(row: Row) -> None:
    row.mock.reply("Hi")
    reply = good(row.ask(stream=True))
    assert all(chunk["choices"] and not chunk.get("usage") for chunk in reply.chunks)


@STREAM
def test_an_answer_without_usage_is_estimated(row: Row, stream: bool) -> None:
    row.mock.reply("Hello there, this is an answer.", usage=None)
    reply = good(row.ask(stream=stream))
    if not stream:
        usage = reply.json["usage"]
        assert usage["prompt_tokens"] > 0
        assert usage["completion_tokens"] > 0


def test_several_choices_come_with_their_numbers(row: Row) -> None:
    for stream in (False, True):
        row.mock.reply("One of two.")
        reply = row.ask(n=2, stream=stream)
        if not row.can("n"):
            refused(reply, row, "n")
            continue
        good(reply)
        documents = reply.chunks if stream else [reply.json]
        assert {choice["index"] for each in documents for choice in each["choices"]} == {0, 1}


def test_log_probabilities_come_with_their_tokens(row: Row) -> None:
    for stream in (False, True):
        row.mock.reply("Two words")
        reply = row.ask(logprobs=True, top_logprobs=2, stream=stream)
        if not row.can("logprobs"):
            refused(reply, row, "logprobs")
            continue
        good(reply)
        choices = [choice for each in (reply.chunks if stream else [reply.json]) for choice in each["choices"]]
        tokens = [token for choice in choices for token in (choice.get("logprobs") or {}).get("content") or ()]
        assert [token["token"] for token in tokens] == ["Two ", "words"]
        assert all(token["logprob"] == -0.25 for token in tokens)


@STREAM
def test_the_same_comes_whichever_way_the_bytes_are_cut_or_packed(row: Row, stream: bool) -> None:
    said: Json = {"reasoning": "Hm. ", "tool_calls": CALLS[:1]} if row.can("tools") else {}
    asked: Json = {"tools": [WEATHER]} if row.can("tools") else {}
    found = []
    for strike in (None, "bytewise", "gzip"):
        if strike is None:
            row.mock.reply("Grüße 👋", **said)
        else:
            from sealgate.testing import Reply as Said

            row.mock.fail(strike, reply=Said("Grüße 👋", **said))  # type: ignore[arg-type]
        reply = good(row.ask(stream=stream, **asked))
        found.append(json.dumps({k: v for k, v in message(reply).items() if k != "reasoning_details"}))
    assert _without_ids(found[0]) == _without_ids(found[1]) == _without_ids(found[2])


def _without_ids(text: str) -> Any:
    found = json.loads(text)
    for call in found.get("tool_calls", ()):
        call.pop("id")
    return found
