"""What a response says, in one form: of the whole, of its events, and of what has come of them."""

from __future__ import annotations

from typing import Any

from sealgate.formats.outputs import agree, of_events, of_output

REASONING: Any = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
MESSAGE: Any = {
    "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
    "content": [
        {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []},
        {"type": "refusal", "refusal": "No."},
    ],
}  # fmt: skip
CALL: Any = {
    "id": "fc_1", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed",
}  # fmt: skip
SAID = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
    {"type": "message", "content": [{"type": "output_text", "text": "Hello"}, {"type": "refusal", "refusal": "No."}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
]


def event(kind: str, index: int, **fields: Any) -> Any:
    return {"type": f"response.{kind}", "output_index": index, **fields}


def test_ids_and_states_do_not_count() -> None:
    assert of_output([REASONING, MESSAGE, CALL]) == SAID
    other = {"id": "x_1", "type": "web_search_call", "status": "completed", "action": {"q": 1}, "note": None}
    assert of_output([other]) == [{"type": "web_search_call", "action": {"q": 1}}]


def test_events_say_the_same_as_the_whole_before_and_after_they_are_done() -> None:
    events = [
        {"type": "response.created", "response": {}},
        event("output_item.added", 0, item={**REASONING, "summary": []}),
        event("reasoning_summary_text.delta", 0, summary_index=0, delta="H"),
        event("reasoning_summary_text.delta", 0, summary_index=0, delta="m"),
        event("output_item.added", 1, item={**MESSAGE, "content": []}),
        event("output_text.delta", 1, content_index=0, delta="Hel"),
        event("output_text.delta", 1, content_index=0, delta="lo"),
        event("refusal.delta", 1, content_index=1, delta="No."),
        event("output_item.added", 2, item={**CALL, "arguments": ""}),
        event("function_call_arguments.delta", 2, delta="{}"),
    ]
    assert of_events(events) == SAID
    done = [event("output_item.done", index, item=item) for index, item in enumerate((REASONING, MESSAGE, CALL))]
    assert of_events([*events, *done, {"type": "response.completed"}]) == SAID
    last = {"type": "response.completed", "response": {"output": [REASONING, MESSAGE, CALL]}}
    assert agree([*events, *done, last])
    assert agree([*events, {"error": {}}])
    assert not agree([*events, *done, {**last, "response": {"output": [MESSAGE]}}])


def test_a_part_that_has_said_nothing_does_not_count() -> None:
    blank = {**MESSAGE, "content": [{"type": "output_text", "text": ""}]}
    assert of_output([blank]) == [{"type": "message"}]
    assert of_events([event("output_item.added", 0, item=blank)]) == [{"type": "message"}]
