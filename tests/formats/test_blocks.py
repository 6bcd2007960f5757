"""What an answer in Anthropic's dialect says, whole and streamed."""

from __future__ import annotations

from typing import Any

from sealgate.formats.blocks import of_events, of_message

CONTENT: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Hm, hm", "signature": "s"},
    {"type": "text", "text": "Hello", "citations": None},
    {"type": "tool_use", "id": "t", "name": "now", "input": {"a": [1]}, "caller": {"type": "direct"}},
    {"type": "web_search_tool_result", "tool_use_id": "w", "content": []},
]
SAID = [
    {"type": "thinking", "thinking": "Hm, hm", "signature": "s"},
    {"type": "text", "text": "Hello"},
    {"type": "tool_use", "id": "t", "name": "now", "input": {"a": [1]}},
    {"type": "web_search_tool_result", "tool_use_id": "w", "content": []},
]


def piece(index: int, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def test_whole_and_streamed_answers_have_one_form() -> None:
    events = [
        {"type": "message_start", "message": {}},
        {"type": "content_block_start", "index": 0, "content_block": {**CONTENT[0], "thinking": "", "signature": ""}},
        piece(0, type="thinking_delta", thinking="Hm, "),
        piece(0, type="thinking_delta", thinking="hm"),
        piece(0, type="signature_delta", signature="s"),
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        piece(1, type="text_delta", text="Hello"),
        piece(1, type="citations_delta", citation={}),
        {"type": "content_block_start", "index": 2, "content_block": {**CONTENT[2], "input": {}}},
        piece(2, type="input_json_delta", partial_json='{"a":'),
        piece(2, type="input_json_delta", partial_json=" [1]}"),
        {"type": "content_block_start", "index": 3, "content_block": CONTENT[3]},
        {"type": "message_stop"},
    ]
    assert of_message(CONTENT) == SAID
    assert of_events(events) == SAID


def test_input_that_broke_off_is_the_text_it_is() -> None:
    start = {"type": "content_block_start", "index": 0, "content_block": {**CONTENT[2], "input": {}}}
    [found] = of_events([start, piece(0, type="input_json_delta", partial_json='{"a":')])
    assert found["input"] == '{"a":'
