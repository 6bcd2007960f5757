"""A conversation in OpenAI's shape as Anthropic's turns and blocks."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.anthropic_messages import Conversation, call_id, detail, thinking_blocks

Json = dict[str, Any]
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
HIDDEN = {"type": "redacted_thinking", "data": "ZGF0YQ=="}


def read(*messages: Json) -> Conversation:
    found = Conversation()
    found.read(messages)
    return found


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def call(name: str, arguments: str = "{}", given: str = "call_1") -> Json:
    return {"id": given, "type": "function", "function": {"name": name, "arguments": arguments}}


def turns(*messages: Json) -> list[tuple[str, list[Json]]]:
    return [(turn["role"], turn["content"]) for turn in read(*messages).turns]


def test_instructions_at_the_head_are_taken_out() -> None:
    found = read({"role": "system", "content": "A"}, {"role": "developer", "content": [text("B")]}, user("Hi"))
    assert found.system == [text("A"), text("B")]
    assert found.turns == [{"role": "user", "content": [text("Hi")]}]
    assert not found.said


def test_later_instructions_keep_their_place() -> None:
    found = read(user("Hi"), {"role": "assistant", "content": "Yes?"}, {"role": "system", "content": "Be brief."},
                 user("Go on"))  # fmt: skip
    assert found.turns[-1]["content"] == [text("<system>\nBe brief.\n</system>"), text("Go on")]
    assert [(each.param, each.action) for each in found.said] == [("messages[].role", "emulated")]


def test_instructions_alone_become_the_users_turn() -> None:
    found = read({"role": "system", "content": "Say hello."})
    assert (found.system, found.turns) == ([], [{"role": "user", "content": [text("Say hello.")]}])
    assert [each.action for each in found.said] == ["emulated"]


def test_messages_of_one_role_are_one_turn() -> None:
    found = turns(user("a"), user([text("b"), text("c")]), {"role": "assistant", "content": "d"},
                  {"role": "assistant", "content": [text("e")]}, user("f"))  # fmt: skip
    assert found == [("user", [text("a"), text("b"), text("c")]), ("assistant", [text("d"), text("e")]),
                     ("user", [text("f")])]  # fmt: skip


def test_results_of_tools_are_one_users_turn_and_come_first_in_it() -> None:
    calls = [call("a", given="c1"), call("b", '{"x":1}', "c2")]
    found = turns(
        user("Go"),
        {"role": "assistant", "content": "Wait.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        user("And?"),
        {"role": "tool", "tool_call_id": "c2", "content": [text("two"), text("three")]},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
    )
    assert found[1] == ("assistant", [text("Wait."), {"type": "tool_use", "id": "c1", "name": "a", "input": {}},
                                      {"type": "tool_use", "id": "c2", "name": "b", "input": {"x": 1}}])  # fmt: skip
    assert found[2] == (
        "user",
        [
            {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "c2", "content": [text("two"), text("three")]},
            {"type": "tool_result", "tool_use_id": "c3"},
            text("And?"),
        ],
    )


@pytest.mark.parametrize(
    ("arguments", "wanted", "repaired"),
    [("", {}, False), ("  ", {}, False), ('{"a": [1]}', {"a": [1]}, False), ("[1]", {"arguments": [1]}, True),
     ('{"a": ', {"arguments": '{"a": '}, True)],
)  # fmt: skip
def test_arguments_become_an_object(arguments: str, wanted: Json, repaired: bool) -> None:
    found = read(user("a"), {"role": "assistant", "content": None, "tool_calls": [call("t", arguments)]}, user("b"))
    assert found.turns[1]["content"][0]["input"] == wanted
    assert [each.action for each in found.said] == (["repaired"] if repaired else [])


def test_the_older_function_call_is_a_tools() -> None:
    found = turns(user("a"), {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
                  {"role": "function", "name": "f", "content": "1"})  # fmt: skip
    assert found[1][1] == [{"type": "tool_use", "id": "f", "name": "f", "input": {}}]
    assert found[2][1] == [{"type": "tool_result", "tool_use_id": "f", "content": "1"}]


def test_ids_of_other_providers_are_written_in_the_characters_that_are_taken() -> None:
    assert call_id("toolu_01-A") == "toolu_01-A"
    strange = call_id("functions.get:0")
    assert strange == call_id("functions.get:0") != call_id("functions.get:1")
    assert strange.removeprefix("call_").isalnum()


def test_texts_without_anything_are_left_out() -> None:
    assert turns(user([text(""), text(" \n"), text("a")]), {"role": "assistant", "content": ""}, user("b")) == [
        ("user", [text("a"), text("b")])
    ]


def test_the_last_turn_does_not_end_in_white_space() -> None:
    found = read(user("a"), {"role": "assistant", "content": "The answer is \n"})
    assert found.turns[-1]["content"] == [text("The answer is")]
    assert [each.action for each in found.said] == ["repaired"]


def test_a_conversation_begins_with_a_user() -> None:
    found = read({"role": "assistant", "content": "Hello!"}, user("Hi"))
    assert [turn["role"] for turn in found.turns] == ["user", "assistant", "user"]
    assert [each.action for each in found.said] == ["emulated"]


def test_names_are_dropped_and_refusals_are_said() -> None:
    found = read({**user("a"), "name": "Ada"}, {"role": "assistant", "refusal": "No."},
                 {**user("b"), "name": "Ada"})  # fmt: skip
    assert found.turns[1]["content"] == [text("No.")]
    assert [(each.param, each.action) for each in found.said] == [("messages[].name", "dropped")]


# Media


def part(url: str, **more: Any) -> Json:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(media_type: str, data: bytes = b"data", **more: Any) -> Json:
    encoded = base64.b64encode(data).decode()
    return {"type": "file", "file": {"file_data": f"data:{media_type};base64,{encoded}", **more}}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (part("data:image/png;base64,AAAA"),
         {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}),
        (part("data:image/JPG;charset=x;base64,AAAA"),
         {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}}),
        (part("https://example.com/a.png"),
         {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}),
        (file("application/pdf", filename="a.pdf"),
         {"type": "document", "title": "a.pdf",
          "source": {"type": "base64", "media_type": "application/pdf", "data": "ZGF0YQ=="}}),
        (file("text/csv", "é".encode()),
         {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}}),
        (file("image/webp"), {"type": "image", "source": {"type": "base64", "media_type": "image/webp",
                                                          "data": "ZGF0YQ=="}}),
        ({"type": "file", "file": {"file_id": "file_1"}},
         {"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
    ],
)  # fmt: skip
def test_media_are_blocks(given: Json, wanted: Json) -> None:
    assert turns(user([text("See:"), given]))[0][1] == [text("See:"), wanted]


@pytest.mark.parametrize("given", [file("application/msword"), file("text/plain", b"\xff")])
def test_a_file_that_has_no_form_there_is_refused(given: Json) -> None:
    with pytest.raises(UpstreamError) as caught:
        read(user([given]))
    assert caught.value.failure is Failure.MEDIA


def test_the_detail_of_an_image_is_dropped_aloud() -> None:
    assert [each.param for each in read(user([part("https://example.com/a", detail="high")])).said] == [
        "messages[].image_url.detail"
    ]
    assert not read(user([part("https://example.com/a", detail="auto")])).said


def test_marks_for_the_cache_stay_on_their_blocks() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    found = read({"role": "system", "content": [{**text("S"), **mark}]}, user([{**text("U"), **mark}]))
    assert found.system == [{**text("S"), **mark}]
    assert found.turns[0]["content"] == [{**text("U"), **mark}]


# Reasoning that comes back


@pytest.mark.parametrize("block", [THOUGHT, HIDDEN])
def test_reasoning_goes_out_and_comes_back_as_it_was(block: Json) -> None:
    assert list(thinking_blocks([detail(block, 0)])) == [block]
    assert list(thinking_blocks([block])) == [block]


def test_pieces_of_streamed_reasoning_are_put_together() -> None:
    pieces = [{"type": "reasoning.text", "text": "H", "index": 0}, {"type": "reasoning.text", "text": "m.", "index": 0},
              {"type": "reasoning.text", "signature": "sig", "index": 0}, detail(HIDDEN, 1)]  # fmt: skip
    assert list(thinking_blocks(pieces)) == [THOUGHT, HIDDEN]


def test_reasoning_stands_before_what_followed_from_it() -> None:
    said = {"role": "assistant", "content": "So:", "reasoning_details": [detail(THOUGHT, 0)], "tool_calls": [call("t")]}
    found = read(user("a"), said, {"role": "tool", "tool_call_id": "call_1", "content": "r"})
    assert [block["type"] for block in found.turns[1]["content"]] == ["thinking", "text", "tool_use"]
    assert not found.said
    assert not found.unsigned_calls


@pytest.mark.parametrize(
    "given",
    [
        {"reasoning_content": "Hm."},
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "format": "openai-responses-v1"}]},
        {"reasoning_details": ["Hm.", {"type": "reasoning.summary", "summary": "Hm."}]},
        {"reasoning_details": [{"type": "thinking", "thinking": "Hm."}, {"type": "redacted_thinking", "data": 1}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": 1, "index": [], "signature": {}}]},
    ],
)
def test_reasoning_that_the_provider_has_not_signed_stays_behind(given: Json) -> None:
    found = read(user("a"), {"role": "assistant", "content": "b", **given}, user("c"))
    assert found.turns[1]["content"] == [text("b")]
    assert [(each.param, each.action) for each in found.said] == [("messages[].reasoning", "dropped")]


def test_only_the_calls_that_are_being_answered_need_their_reasoning() -> None:
    asked = {"role": "assistant", "content": None, "tool_calls": [call("t")]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "r"}
    assert read(user("a"), asked, result).unsigned_calls
    assert not read(user("a"), asked, result, {"role": "assistant", "content": "Done."}, user("b")).unsigned_calls
    assert not read(user("a")).unsigned_calls
