"""A response and its stream say the same, whatever pieces it came in; and each event is told once, in its place."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.api.responses_answer import ResponsesDialect
from sealgate.errors import Problem
from sealgate.formats.freeform import wrapped
from sealgate.formats.outputs import of_events, of_output
from sealgate.relay.answer import Label, StreamedAnswer, WholeAnswer
from sealgate.relay.responses import Responding

TOOLS: Any = [
    {"type": "function", "name": "f", "parameters": {}},
    {"type": "custom", "name": "c"},
    {"type": "tool_search", "execution": "client", "parameters": {}},
    {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g", "parameters": {}}]},
]
EARLY = {"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
LATE = {"type": "reasoning.encrypted", "data": "d", "id": "call_0", "format": "google-gemini-v1", "index": 0}
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
GONE = ("completed_at",)


def label() -> Label:
    return Label("chatcmpl-1", "m", 1, "e", {"requested_route": "r", "routed_model": "r", "failover": False})


def dialect(encrypted: bool = True, summary: bool = False) -> ResponsesDialect:
    body = {
        "model": "m", "input": "Hi", "tools": TOOLS, "reasoning": {"summary": "auto"} if summary else None,
        "include": ["message.output_text.logprobs", *(["reasoning.encrypted_content"] if encrypted else [])],
    }  # fmt: skip
    return ResponsesDialect(Responding(json.dumps(body).encode()).wanted(store=False), "m", "01", 1)


def whole(message: Any, reason: str, found: ResponsesDialect, logprobs: Any = None) -> Any:
    answer = WholeAnswer(label(), 1, 10)
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reason}
    answer.take({"choices": [choice], "usage": USAGE})
    return json.loads(found.whole(b"".join(answer.end())))


def streamed(deltas: list[tuple[Any, Any]], reason: str, found: ResponsesDialect) -> list[Any]:
    """The events of a stream of these deltas and log probabilities."""
    answer = StreamedAnswer(label(), 1, 10, include_usage=True, usage_on_finish=False)
    chunks = [{"choices": [{"index": 0, "delta": d, "logprobs": p, "finish_reason": None}]} for d, p in deltas]
    chunks += [{"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}, {"choices": [], "usage": USAGE}]
    payloads = [payload for chunk in chunks for payload in answer.take(chunk)] + answer.end()
    raw = b"".join(map(found.events, payloads)) + found.end()
    return [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: ")]


def in_order(events: list[Any]) -> None:
    """As the official service has them: one item at a time, in it one part at a time, each begun and ended once."""
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    assert [each["type"] for each in events[:2]] == ["response.created", "response.in_progress"]
    item: int | None = None
    part: int | None = None
    items = parts = 0
    for each in events[2:-1]:
        kind = each["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert (item, each["output_index"]) == (None, items)
            item, parts = items, 0
        elif kind == "output_item.done":
            assert (item, part) == (each["output_index"], None)
            items, item = items + 1, None
        elif kind.endswith("part.added"):
            assert (item, part) == (each["output_index"], None)
            part = each.get("content_index", each.get("summary_index"))
            assert part == parts
        elif kind.endswith("part.done"):
            assert part == each.get("content_index", each.get("summary_index"))
            parts, part = parts + 1, None
        else:
            assert item == each["output_index"]
            assert part == each.get("content_index", each.get("summary_index"))
    assert (item, part) == (None, None)
    assert len(events[-1]["response"]["output"]) == items


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


@st.composite
def answers(draw: Any) -> tuple[Any, list[tuple[Any, Any]], Any]:
    """A message, the same in deltas (the calls' in any order), and its log probabilities."""
    message: Any = {"role": "assistant", "content": None}
    deltas: list[tuple[Any, Any]] = [({"role": "assistant"}, None)]
    size = draw(st.integers(1, 6))
    if thought := draw(TEXT):
        message["reasoning_content"] = thought
        deltas += [({"reasoning_content": piece}, None) for piece in pieces(thought, size)]
    details = [EARLY] if draw(st.booleans()) else []
    deltas += [({"reasoning_details": [each]}, None) for each in details]
    tokens = []
    if text := draw(TEXT):
        message["content"] = text
        for piece in pieces(text, size):
            token = {"token": piece, "logprob": -1.0, "bytes": list(piece.encode()), "top_logprobs": []}
            tokens.append(token)
            deltas.append(({"content": piece}, {"content": [token], "refusal": None}))
    if refusal := draw(TEXT):
        message["refusal"] = refusal
        deltas += [({"refusal": piece}, None) for piece in pieces(refusal, size)]
    calls = draw(st.lists(st.tuples(st.sampled_from(["f", "c", "n__g", "tool_search"]), TEXT), max_size=3))
    queues = []
    for number, (name, said) in enumerate(calls):
        arguments = wrapped(said)
        called = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        message.setdefault("tool_calls", []).append(called)
        opening = {**called, "index": number, "function": {"name": name, "arguments": ""}}
        rest = [{"index": number, "function": {"arguments": piece}} for piece in pieces(arguments, size + 2)]
        queues.append([opening, *rest])
    deltas += [({"tool_calls": [each]}, None) for each in mixed(queues, draw(st.randoms(use_true_random=False)))]
    if draw(st.booleans()):
        details = [*details, LATE]
        deltas.append(({"reasoning_details": [LATE]}, None))
    if details:
        message["reasoning_details"] = details
    return message, deltas, {"content": tokens, "refusal": None} if tokens else None


def mixed(queues: list[list[Any]], random: Any) -> list[Any]:
    """The openings in order, for they give the calls their numbers; the rest of them in any order."""
    found = [queue[0] for queue in queues]
    left = [list(queue[1:]) for queue in queues]
    while any(left):
        queue = random.choice([each for each in left if each])
        found.append(queue.pop(0))
    return found


@given(answers(), st.sampled_from(["stop", "length", "content_filter"]), st.booleans(), st.booleans())
def test_a_stream_ends_with_what_the_whole_answer_is(answer: Any, reason: str, encrypted: bool, summary: bool) -> None:
    message, deltas, logprobs = answer
    asked = dialect(encrypted, summary)
    expected = whole(message, reason, dialect(encrypted, summary), logprobs)
    events = streamed(deltas, reason, asked)
    last = events[-1]["response"]
    for name in GONE:
        last.pop(name), expected.pop(name)
    assert last == expected
    in_order(events)
    assert of_events(events[:-1]) == of_output(last["output"]) == asked.said()


@given(answers(), st.integers(0, 40))
def test_what_has_come_of_a_stream_is_what_its_receipt_speaks_of(answer: Any, place: int) -> None:
    _, deltas, _ = answer
    found = dialect()
    relayed = StreamedAnswer(label(), 1, 10, include_usage=True, usage_on_finish=False)
    chunks = [{"choices": [{"index": 0, "delta": d, "logprobs": p, "finish_reason": None}]} for d, p in deltas]
    payloads = itertools.chain.from_iterable(map(relayed.take, chunks))
    raw = b"".join(map(found.events, itertools.islice(payloads, place)))
    raw += found.broken(Problem("upstream_timeout"), "r", None)
    events = [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: ")]
    assert of_events(events) == found.said()
    assert events[-1]["type"] == ("response.failed" if len(events) > 1 else "error")
    assert events[-1]["error"]["code"] == "upstream_timeout"


def test_the_first_call_is_told_while_it_comes_and_the_second_waits() -> None:
    opening = [
        {"index": n, "id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": ""}} for n in (0, 1)
    ]
    parts = [(0, '{"a"'), (1, '{"b"'), (0, ":1}"), (1, ":2}")]
    deltas: Any = [({"tool_calls": opening}, None)]
    deltas += [({"tool_calls": [{"index": n, "function": {"arguments": text}}]}, None) for n, text in parts]
    events = streamed(deltas, "tool_calls", dialect())
    in_order(events)
    told = [(each["output_index"], each["delta"]) for each in events if each["type"].endswith("arguments.delta")]
    assert told == [(0, '{"a"'), (0, ":1}"), (1, '{"b"'), (1, ":2}")]


def test_a_call_that_goes_on_after_it_was_over_breaks_the_stream() -> None:
    def call(number: int, text: str) -> Any:
        return {"index": number, "id": f"c{number}", "type": "function", "function": {"name": "f", "arguments": text}}

    deltas: Any = [({"tool_calls": [call(number, text)]}, None) for number, text in ((0, "{}"), (1, "{}"), (0, "more"))]
    with pytest.raises(Problem, match="was over"):
        streamed(deltas, "tool_calls", dialect())


def test_a_call_without_arguments_has_empty_ones() -> None:
    deltas: Any = [
        ({"tool_calls": [{"index": n, "id": f"c{n}", "type": "function", "function": {"name": name}}]}, None)
        for n, name in enumerate(("f", "c"))
    ]
    [first, second] = streamed(deltas, "tool_calls", dialect())[-1]["response"]["output"]
    assert (first["arguments"], second["input"]) == ("{}", "")


def test_a_search_for_tools_is_told_when_it_is_whole() -> None:
    parts = ['{"query"', ': "mail"}']
    opening = {"index": 0, "id": "c", "type": "function", "function": {"name": "tool_search", "arguments": ""}}
    deltas: Any = [({"tool_calls": [opening]}, None)]
    deltas += [({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}, None) for part in parts]
    events = streamed(deltas, "tool_calls", dialect())
    in_order(events)
    assert [each["type"] for each in events[2:-1]] == ["response.output_item.added", "response.output_item.done"]
    [item] = events[-1]["response"]["output"]
    assert (item["type"], item["execution"], item["arguments"]) == ("tool_search_call", "client", {"query": "mail"})


def test_text_behind_a_call_is_a_message_of_its_own() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    events = streamed(
        [({"content": "A"}, None), ({"tool_calls": [call]}, None), ({"content": "B"}, None)], "stop", dialect()
    )
    in_order(events)
    assert [each["type"] for each in events[-1]["response"]["output"]] == ["message", "function_call", "message"]


def test_citations_become_annotations() -> None:
    told = {"start_index": 0, "end_index": 1, "url": "https://example.com", "title": "T"}
    cited, flat = {"type": "url_citation", "url_citation": told}, {"type": "url_citation", **told}
    message = {"role": "assistant", "content": "A", "annotations": [cited, {"type": "other"}]}
    response = whole(message, "stop", dialect())
    assert response["output"][0]["content"][0]["annotations"] == [flat]
    events = streamed([({"content": "A"}, None), ({"annotations": [cited]}, None)], "stop", dialect())
    assert events[-1]["response"]["output"] == response["output"]
    [added] = [each for each in events if each["type"] == "response.output_text.annotation.added"]
    assert (added["annotation"], added["annotation_index"], added["content_index"]) == (flat, 0, 0)
