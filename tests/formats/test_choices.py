"""An answer in one form, however it came."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sealgate.formats import choices

CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "UTC"}'}}


def chunk(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def test_a_whole_answer_keeps_only_what_the_form_has() -> None:
    whole = [
        {"index": 1, "message": {"role": "assistant", "content": "", "refusal": None}, "finish_reason": "length"},
        {"index": 0, "logprobs": {}, "finish_reason": "stop",
         "message": {"role": "assistant", "content": "Hi", "reasoning_content": "hm", "annotations": [1], "audio": {}}},
    ]  # fmt: skip
    assert choices.of_completion(whole) == [
        {"index": 0, "message": {"content": "Hi", "role": "assistant", "reasoning_content": "hm"},
         "finish_reason": "stop"},
        {"index": 1, "message": {"content": None, "role": "assistant"}, "finish_reason": "length"},
    ]  # fmt: skip


def test_a_stream_joined_is_the_whole_answer() -> None:
    stream = [
        chunk(role="assistant"), chunk(reasoning_content="h"), chunk(content="H"), chunk(1, role="assistant"),
        chunk(content="i"), chunk(1, content="Yo"), chunk(reasoning_content="m"),
        chunk(tool_calls=[{"index": 0, "id": "c1", "type": "function", "function": {"name": "now", "arguments": ""}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"zone": '}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": '"UTC"}'}}]),
        chunk(finish="tool_calls"), chunk(1, finish="stop"), {"choices": [], "usage": {}},
    ]  # fmt: skip
    message = {"role": "assistant", "content": "Hi", "reasoning_content": "hm", "tool_calls": [CALL]}
    whole = [
        {"index": 0, "finish_reason": "tool_calls", "message": message},
        {"index": 1, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yo"}},
    ]
    assert choices.of_chunks(stream) == choices.of_completion(whole)


def test_what_broke_off_has_no_reason_to_have_ended() -> None:
    assert choices.of_chunks([chunk(role="assistant"), chunk(content="H")]) == [
        {"index": 0, "message": {"content": "H", "role": "assistant"}}
    ]
    assert choices.of_chunks([]) == []


def test_arguments_stay_the_exact_text() -> None:
    [found] = choices.of_completion([{"index": 0, "finish_reason": "tool_calls", "message": {"tool_calls": [CALL]}}])
    assert found["message"]["tool_calls"][0]["function"]["arguments"] == '{"zone": "UTC"}'


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_wherever_a_text_is_cut_it_joins_to_the_same(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut <= len(text))})
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    joined = choices.of_chunks(
        [chunk(role="assistant"), *(chunk(content=each) for each in pieces), chunk(finish="stop")]
    )
    whole = choices.of_completion([{"index": 0, "finish_reason": "stop", "message": {"content": text}}])
    assert json.dumps(joined, sort_keys=True) == json.dumps(whole, sort_keys=True)
