"""Good answers: OpenAI's objects, whole and streamed, judged by the shapes of its reference."""

import itertools
from typing import Any

import msgspec
import pytest

from sealgate.testing import Answer, RawClient, Received, ScriptedUpstream, answer, run, tool, watermarks, wire
from sealgate.testing.events import EventReader

USAGE = {"include_usage": True}


def streamed(behaviour: Answer, **body: Any) -> list[dict[str, Any]]:
    """The JSON of each event of a stream, whose proper end is checked on the way."""
    received = Received.sample(stream=True, **body)
    head, _, frames = wire(behaviour, received).partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert frames.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    return behaviour.chunks(received)


def whole(behaviour: Answer, **body: Any) -> dict[str, Any]:
    received = Received.sample(stream=False, **body)
    return msgspec.json.decode(wire(behaviour, received).partition(b"\r\n\r\n")[2])


def text_of(chunks: list[dict[str, Any]], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_the_request_decides_between_whole_and_stream():
    assert whole(answer("Hi there"))["choices"][0]["message"]["content"] == "Hi there"
    assert text_of(streamed(answer("Hi there"))) == "Hi there"


def test_a_stream_begins_with_the_role_and_ends_with_the_finish_reason():
    first, *middle, last = streamed(answer("one two"))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [chunk["choices"][0]["delta"] for chunk in middle] == [{"content": "one "}, {"content": "two"}]
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in [first, *middle])


def test_all_chunks_share_id_time_and_model():
    chunks = streamed(answer("one two three"), model="gpt-x")
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert (chunks[0]["object"], chunks[0]["model"]) == ("chat.completion.chunk", "gpt-x")


def test_a_text_in_parts_is_streamed_part_by_part():
    chunks = streamed(answer(["Hel", "lo  wor", "ld"]))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == ["", "Hel", "lo  wor", "ld", None]
    assert whole(answer(["Hel", "lo"]))["choices"][0]["message"]["content"] == "Hello"


def test_the_usage_chunk_comes_only_when_asked_for():
    assert all("usage" not in chunk for chunk in streamed(answer("a b")))
    *others, last = streamed(answer("a b"), stream_options=USAGE)
    assert all(chunk["usage"] is None for chunk in others)
    assert (last["choices"], last["usage"]["completion_tokens"], last["usage"]["total_tokens"]) == ([], 2, 3)


def test_usage_counts_words_in_and_pieces_out_of_every_choice():
    messages = [
        {"role": "user", "content": "one two"},
        {"role": "user", "content": [{"type": "text", "text": "three"}]},
    ]
    usage = whole(answer("a b c", reasoning="hm hm"), messages=messages, n=2)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 10, 13)
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 4}


@pytest.mark.parametrize("usage", [{"prompt_tokens": -1}, {"total_tokens": 10**18}, {"completion_tokens": "many"}])
def test_absurd_usage_is_sent_as_it_is(usage: dict[str, Any]):
    assert whole(answer(usage=usage))["usage"] == usage
    assert streamed(answer(usage=usage), stream_options=USAGE)[-1]["usage"] == usage


def test_usage_can_be_left_out_although_asked_for():
    assert "usage" not in whole(answer(usage=None))
    assert [chunk["usage"] for chunk in streamed(answer("a", usage=None), stream_options=USAGE)] == [None] * 3


@pytest.mark.parametrize(
    ("place", "asked", "seen"),
    [
        ("finish", False, [False, False, True]),
        ("every", False, [True, True, True]),
        ("twice", True, [False, False, False, True, True]),
        ("end", True, [False, False, False, True]),
    ],
)
def test_usage_can_stand_where_other_providers_put_it(place: Any, asked: bool, seen: list[bool]):
    options = {"stream_options": USAGE} if asked else {}
    chunks = streamed(answer("a", usage_at=place), **options)
    assert [bool(chunk.get("usage")) for chunk in chunks] == seen


def test_tool_calls_stream_their_name_first_and_their_arguments_in_fragments():
    behaviour = answer(tool_calls=[tool("f", {"city": "Paris"}), tool("g", "{}", call_id="call_9")])
    chunks = streamed(behaviour)
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    firsts = [call for call in calls if "id" in call]
    assert [(call["index"], call["id"], call["function"]["name"]) for call in firsts] == [
        (0, "call_f", "f"),
        (1, "call_9", "g"),
    ]
    fragments = [call["function"]["arguments"] for call in calls if call["index"] == 0]
    assert fragments == ["", '{"city":', ' "Paris"', "}"]
    message = whole(behaviour)["choices"][0]["message"]
    assert message["content"] is None
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ['{"city": "Paris"}', "{}"]


def test_custom_tool_calls_carry_input():
    call = {"id": "c1", "type": "custom", "custom": {"name": "sql", "input": "select 1 + 1"}}
    calls = [
        call
        for chunk in streamed(answer(tool_calls=[call]))
        for call in chunk["choices"][0]["delta"].get("tool_calls", [])
    ]
    assert "".join(call["custom"]["input"] for call in calls) == "select 1 + 1"


def test_choices_are_interleaved_and_counted_by_the_request():
    chunks = streamed(answer("a b"), n=2)
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 1] * 4
    assert [text_of(chunks, index) for index in (0, 1)] == ["a b", "a b"]
    assert len(whole(answer(n=3))["choices"]) == 3


def test_log_probabilities_follow_the_request_unless_set():
    assert whole(answer("a b"))["choices"][0]["logprobs"] is None
    tokens = whole(answer("a é"), logprobs=True)["choices"][0]["logprobs"]["content"]
    assert [(token["token"], token["bytes"]) for token in tokens] == [("a ", [97, 32]), ("é", [195, 169])]
    spoken = [chunk["choices"][0]["logprobs"] for chunk in streamed(answer("a", logprobs=True))]
    assert [bool(logprobs) for logprobs in spoken] == [False, True, False]


def test_reasoning_refusal_and_finish_reason_are_carried():
    message = whole(answer("so", reasoning="hm, well"))["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("hm, well", "so")
    refused = whole(answer(refusal="No."))["choices"][0]["message"]
    assert (refused["refusal"], refused["content"]) == ("No.", None)
    deltas = [chunk["choices"][0]["delta"] for chunk in streamed(answer("so", reasoning="hm"))]
    assert [next(iter(delta), None) for delta in deltas] == ["role", "reasoning_content", "content", None]
    assert streamed(answer(finish_reason="length"))[-1]["choices"][0]["finish_reason"] == "length"


def test_a_model_and_headers_can_be_claimed():
    sent = wire(answer(model="other", headers={"x-request-id": "mine"}), Received.sample(stream=False))
    assert b"x-request-id: mine\r\n" in sent
    assert b'"model":"other"' in sent


def test_the_watermark_stands_in_the_text_and_in_the_id():
    received = Received.sample()
    chunks = answer("Hi", watermark=True).chunks(received)
    assert watermarks(text_of(chunks)) == [received.watermark]
    assert watermarks(chunks[0]["id"]) == [received.watermark]
    assert watermarks("wm-000000000001 wm-000000000002 wm-000000000001") == ["wm-000000000001", "wm-000000000002"]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_all_three_line_ends_carry_the_same_events(newline: str):
    received = Received.sample()
    good = answer("Hi", newline=newline)
    events = EventReader().feed(b"".join([*good.events(received), good.done()]), 0.0)
    assert [event.data for event in events[:-1]] == [
        msgspec.json.encode(item).decode() for item in good.chunks(received)
    ]
    assert events[-1].data == "[DONE]"


def test_delay_passes_before_each_event_but_the_first():
    async def scene() -> list[float]:
        upstream = ScriptedUpstream(default=answer("a b", delay=5))
        async with upstream, RawClient(upstream.host, upstream.port) as client:
            await client.post("/v1/chat/completions", {"stream": True})
            response = await client.response()
            await response.read()
            assert response.complete
            return [piece.at for piece in response.pieces]

    times = run(scene())
    assert [late - early for early, late in itertools.pairwise(times)] == [5] * 4
