"""OpenAI's messages as Gemini's contents: what goes where, and what is said of what is lost or mended."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from sealgate.formats import ids
from sealgate.providers.base import Adjustment
from sealgate.providers.gemini_answer import SIGNED
from sealgate.providers.gemini_contents import UNSIGNED, Conversation

PIXEL = "data:image/png;base64,iVBORw0KGgo="
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Zürich"}'}}
OTHER = {"id": "c2", "type": "function", "function": {"name": "time", "arguments": ""}}
ASKED = {"role": "user", "content": "Hi"}
TURN = {"role": "user", "parts": [{"text": "Hi"}]}


def read(*messages: Any, modern: bool = True) -> tuple[Any, list[Adjustment]]:
    said: list[Adjustment] = []
    before = copy.deepcopy(messages)
    found = Conversation(said, modern=modern).read(messages)
    assert messages == before, "another route may need the same messages"
    return json.loads(json.dumps(found)), said


def contents(*messages: Any, modern: bool = True) -> Any:
    return read(*messages, modern=modern)[0]["contents"]


def user_parts(*parts: Any) -> Any:
    [content] = contents({"role": "user", "content": list(parts)})
    return content["parts"]


def assistant(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None} | fields


def entry(**fields: Any) -> dict[str, Any]:
    return {"type": "reasoning.encrypted", "format": SIGNED} | fields


# Roles


def test_leading_instructions_stand_apart_and_roles_take_turns() -> None:
    found, said = read(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        ASKED,
        {"role": "user", "content": "there"},
        assistant(content="Hello"),
    )
    assert found == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]},
            {"role": "model", "parts": [{"text": "Hello"}]},
        ],
    }
    assert not said


def test_instructions_in_mid_conversation_are_said_by_the_user_and_that_is_told() -> None:
    found, said = read(ASKED, assistant(content="Hello"), {"role": "system", "content": "In French."})
    assert found["contents"][-1] == {"role": "user", "parts": [{"text": "In French."}]}
    assert "systemInstruction" not in found
    assert [each[:2] for each in said] == [("messages[].role", "renamed")]


def test_instructions_alone_get_a_blank_question_because_none_is_refused() -> None:
    found, said = read({"role": "system", "content": "Say something."})
    assert found["contents"] == [{"role": "user", "parts": [{"text": " "}]}]
    assert [each[:2] for each in said] == [("messages", "repaired")]


def test_a_message_that_says_nothing_leaves_no_empty_turn() -> None:
    assert contents(ASKED, assistant(content=""), {"role": "user", "content": "?"}) == [
        {"role": "user", "parts": [{"text": "Hi"}, {"text": "?"}]}
    ]


# Parts


@pytest.mark.parametrize(("part", "sent"), [
    ({"type": "text", "text": "ü"}, {"text": "ü"}),
    ({"type": "image_url", "image_url": {"url": PIXEL}},
     {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}),
    ({"type": "image_url", "image_url": {"url": "DATA:image/webp;x=y;base64,AAAA"}},
     {"inlineData": {"mimeType": "image/webp", "data": "AAAA"}}),
    ({"type": "image_url", "image_url": {"url": "https://a.example/cat.JPG?size=2#x", "detail": "auto"}},
     {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://a.example/cat.JPG?size=2#x"}}),
    ({"type": "image_url", "image_url": {"url": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
     {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}),
    ({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf"}},
     {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}}),
    ({"type": "file", "file": {"file_id": "files/abc"}},
     {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}}),
    ({"type": "file", "file": {"file_id": "gs://bucket/report.pdf"}},
     {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/report.pdf"}}),
    ({"type": "file", "file": {"file_id": "gs://bucket/x", "filename": "film.mp4"}},
     {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://bucket/x"}}),
    ({"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
     {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}}),
    ({"type": "refusal", "refusal": "No."}, {"text": "No."}),
])  # fmt: skip
def test_each_kind_of_part_has_its_form(part: Any, sent: Any) -> None:
    assert user_parts(part) == [sent]
    assert not read({"role": "user", "content": [part]})[1]


def test_what_is_not_known_of_an_image_or_not_taken_is_told() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.example/cat", "detail": "high"}}
    found, said = read({"role": "user", "content": [image]})
    assert found["contents"][0]["parts"][0]["fileData"]["mimeType"] == "image/jpeg"
    assert [each[:2] for each in said] == [
        ("messages[].content[].image_url.detail", "dropped"), ("messages[].content[].image_url", "repaired"),
    ]  # fmt: skip


# Calls and what came of them


def test_results_of_one_turn_go_together_by_the_names_of_what_was_called() -> None:
    """And apart from what the user says next."""
    found, said = read(
        ASKED,
        assistant(content="Wait.", tool_calls=[CALL, OTHER]),
        {"role": "tool", "tool_call_id": "c2", "content": "12:00"},
        {"role": "tool", "tool_call_id": "c1",
         "content": [{"type": "text", "text": '{"sky": '}, {"type": "text", "text": '"blue"}'}]},
        {"role": "user", "content": "And?"},
        modern=False,
    )  # fmt: skip
    assert found["contents"] == [
        TURN,
        {"role": "model", "parts": [
            {"text": "Wait."},
            {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Zürich"}}},
            {"functionCall": {"id": "c2", "name": "time", "args": {}}},
        ]},
        {"role": "user", "parts": [
            {"functionResponse": {"id": "c2", "name": "time", "response": {"result": "12:00"}}},
            {"functionResponse": {"id": "c1", "name": "weather", "response": {"sky": "blue"}}},
        ]},
        {"role": "user", "parts": [{"text": "And?"}]},
    ]  # fmt: skip
    assert not said


@pytest.mark.parametrize(("text", "sent"), [
    ("sunny", {"result": "sunny"}), ("", {"result": ""}), ("[1]", {"result": "[1]"}), ("3", {"result": "3"}),
    (' {"a": 1}', {"a": 1}), ('{"a": ', {"result": '{"a": '}),
])  # fmt: skip
def test_a_result_is_an_object(text: str, sent: Any) -> None:
    answered = {"role": "tool", "tool_call_id": "c1", "content": text}
    [_, _, turn] = contents(ASKED, assistant(tool_calls=[CALL]), answered)
    assert turn["parts"][0]["functionResponse"]["response"] == sent


def test_an_id_that_the_gateway_made_up_does_not_go_to_a_model_that_gave_none() -> None:
    made_up = f"call_{ids.uuid7_hex()}"
    call = CALL | {"id": made_up}
    _, said, answered = contents(ASKED, assistant(tool_calls=[call]),
                                 {"role": "tool", "tool_call_id": made_up, "content": "x"})  # fmt: skip
    assert "id" not in said["parts"][0]["functionCall"]
    assert answered["parts"][0]["functionResponse"] == {"name": "weather", "response": {"result": "x"}}


@pytest.mark.parametrize("modern", [True, False])
def test_media_in_a_result(modern: bool) -> None:
    """Newer models take them inside of the result, for older ones they stand beside it."""
    content = [{"type": "text", "text": "Here."}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    answered = {"role": "tool", "tool_call_id": "c1", "content": content}
    turn = contents(ASKED, assistant(tool_calls=[CALL]), answered, modern=modern)[2]
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    result = {"id": "c1", "name": "weather", "response": {"result": "Here."}}
    if modern:
        assert turn["parts"] == [{"functionResponse": {**result, "parts": [image]}}]
    else:
        assert turn["parts"] == [{"functionResponse": result}, image]


def test_the_older_names_of_calls_and_results() -> None:
    older = {"name": "weather", "arguments": '{"a":1}'}
    assert contents(ASKED, assistant(function_call=older), {"role": "function", "name": "weather", "content": "x"},
                    modern=False)[1:] == [
        {"role": "model", "parts": [{"functionCall": {"name": "weather", "args": {"a": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {"result": "x"}}}]},
    ]  # fmt: skip


def test_a_call_of_a_custom_tool_keeps_its_input() -> None:
    call = {"id": "c3", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    [_, turn] = contents(ASKED, assistant(tool_calls=[call]), modern=False)
    assert turn["parts"] == [{"functionCall": {"id": "c3", "name": "shell", "args": {"input": "ls"}}}]


@pytest.mark.parametrize("text", ["{", "[1]", "null", '"x"'])
def test_arguments_that_are_no_object_are_sent_as_text_and_that_is_told(text: str) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": text}}
    found, said = read(ASKED, assistant(tool_calls=[call]), modern=False)
    assert found["contents"][1]["parts"][0]["functionCall"]["args"] == {"arguments": text}
    assert [each[:2] for each in said] == [("messages[].tool_calls[].function.arguments", "repaired")]


def test_a_result_of_an_unknown_call_goes_by_its_own_name_or_id() -> None:
    """The provider says what is wrong with it."""
    _, turn = contents(ASKED, {"role": "tool", "tool_call_id": "zz", "name": "f", "content": "x"})
    assert turn["parts"][0]["functionResponse"]["name"] == "f"
    _, turn = contents(ASKED, {"role": "tool", "tool_call_id": "zz", "content": "x"})
    assert turn["parts"][0]["functionResponse"]["name"] == "zz"


# Thoughts and their signatures


def test_signatures_go_back_to_the_parts_they_came_with() -> None:
    details = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "S0", "format": SIGNED},
        entry(data="S1"),
        entry(data="S2", id="c1"),
    ]
    _, turn = contents(ASKED, assistant(content="Wait.", tool_calls=[CALL, OTHER], reasoning_details=details))
    assert turn["parts"] == [
        {"text": "Hm.", "thought": True, "thoughtSignature": "S0"},
        {"text": "Wait.", "thoughtSignature": "S1"},
        {"functionCall": {"id": "c1", "name": "weather", "args": {"city": "Zürich"}}, "thoughtSignature": "S2"},
        {"functionCall": {"id": "c2", "name": "time", "args": {}}},
    ]


def test_a_signature_on_the_call_itself_counts_and_is_not_attached_twice() -> None:
    """Each copy would be billed as all the thoughts behind it."""
    signed = CALL | {"extra_content": {"google": {"thought_signature": "S2"}}}
    for details in ([], [entry(data="S2", id="c1")]):
        _, turn = contents(ASKED, assistant(tool_calls=[signed, OTHER], reasoning_details=details))
        assert json.dumps(turn).count("S2") == 1
        assert turn["parts"][0]["thoughtSignature"] == "S2"


@pytest.mark.parametrize("extra", [None, 1, {}, {"google": None}, {"google": {"thought_signature": 3}}])
def test_a_call_with_something_else_in_that_place_is_a_call_without_a_signature(extra: Any) -> None:
    _, turn = contents(ASKED, assistant(tool_calls=[CALL | {"extra_content": extra}]), modern=False)
    assert "thoughtSignature" not in turn["parts"][0]


def test_a_signature_that_came_alone_goes_back_alone() -> None:
    _, turn = contents(ASKED, assistant(content="", reasoning_details=[entry(data="S1")]))
    assert turn == {"role": "model", "parts": [{"text": "", "thoughtSignature": "S1"}]}


def test_a_lost_signature_is_stood_in_for_once_a_turn_where_the_model_asks_for_it() -> None:
    messages = [ASKED, assistant(tool_calls=[CALL, OTHER])]
    found, said = read(*messages)
    signatures = [part.get("thoughtSignature") for part in found["contents"][1]["parts"]]
    assert signatures == [UNSIGNED, None]
    assert [each[:2] for each in said] == [("messages[].tool_calls", "repaired")]
    found, said = read(*messages, modern=False)
    assert UNSIGNED not in json.dumps(found)
    assert not said


@pytest.mark.parametrize("detail", [
    {"type": "reasoning.encrypted", "data": "x", "format": "anthropic-claude-v1"}, {"data": "x"}, "text", None,
])  # fmt: skip
def test_what_another_provider_signed_is_left_out_and_that_is_told(detail: Any) -> None:
    found, said = read(ASKED, assistant(content="Hi", reasoning_details=[detail]))
    assert found["contents"][1]["parts"] == [{"text": "Hi"}]
    assert [each[:2] for each in said] == [("messages[].reasoning_details", "dropped")]


def test_thoughts_themselves_are_not_sent_back_and_that_is_told() -> None:
    found, said = read(ASKED, assistant(content="Hi", reasoning_content="Hm."))
    assert "Hm." not in json.dumps(found)
    assert [each[:2] for each in said] == [("messages[].reasoning_content", "dropped")]
