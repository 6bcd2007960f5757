"""From the Responses API to a chat: each kind of item and tool, what is lost, and what nobody can be told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.errors import Problem
from sealgate.formats.carried import sealed
from sealgate.relay.ask import Ask
from sealgate.relay.responses import Before, Responding, Wanted

NOW: Any = {
    "type": "function",
    "name": "now",
    "description": "The time.",
    "parameters": {"type": "object"},
    "strict": True,
}
PATCH: Any = {"type": "custom", "name": "apply_patch", "description": "Edits files."}
GRAMMAR: Any = {**PATCH, "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'}}


def reading(given: Any = "Hi", **fields: Any) -> Responding:
    return Responding(json.dumps({"model": "m", "input": given, **fields}).encode())


def read(given: Any = "Hi", **fields: Any) -> Ask:
    return reading(given, **fields).ask()


def chat(given: Any = "Hi", **fields: Any) -> Any:
    return read(given, **fields).prompt.fields


def wanted(**fields: Any) -> Wanted:
    return reading(**fields).wanted(store=False)


def lost(ask: Ask) -> list[tuple[str, str]]:
    return [(each.param, each.action) for each in ask.adjustments]


def call(name: str, call_id: str = "c1", arguments: str = "{}", **fields: Any) -> Any:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, "id": "fc_1", **fields}


def result(call_id: str, output: Any = "ok") -> Any:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def test_a_text_is_a_users_message_and_instructions_come_first() -> None:
    assert chat(instructions="Be brief.")["messages"] == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
    ]  # fmt: skip


def test_a_conversation_becomes_messages() -> None:
    details = [{"type": "reasoning.encrypted", "data": "d", "format": "google-gemini-v1"}]
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}],
               "encrypted_content": sealed(details)}  # fmt: skip
    said = {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]}  # fmt: skip
    found = chat(
        [
            {"role": "developer", "content": "Rules."},
            {"role": "user", "content": [{"type": "input_text", "text": "One"}, {"type": "input_text", "text": "Two"}]},
            thought, said, call("now", "c1", '{"a":1}'), call("now", "c2"),
            result("c1", [{"type": "input_text", "text": "seen"},
                          {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]),
            result("c2"),
            {"type": "reasoning", "id": "rs_2", "summary": []},
            {"role": "assistant", "content": "Noon."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Thanks"}]},
        ]
    )["messages"]  # fmt: skip
    assert found == [
        {"role": "developer", "content": "Rules."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {"role": "assistant", "content": "Let me see.", "reasoning_content": "Hm", "reasoning_details": details,
         "tool_calls": [
             {"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"a":1}'}},
             {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "seen"},
        {"role": "tool", "tool_call_id": "c2", "content": "ok"},
        {"role": "user", "content": [
            {"type": "text", "text": "What the tool call c1 has shown:"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
        {"role": "assistant", "content": "Noon."},
        {"role": "user", "content": "Thanks"},
    ]  # fmt: skip


def test_what_the_model_said_around_its_calls_is_one_turn() -> None:
    said = {"role": "assistant", "content": "After."}
    found = chat([{"role": "assistant", "content": "Before."}, call("now"), said, result("c1")])["messages"]
    assert [each["role"] for each in found] == ["assistant", "tool"]
    assert found[0]["content"] == "Before.\n\nAfter."
    apart = chat([{"role": "assistant", "content": "One"}, {"role": "assistant", "content": "Two"}])["messages"]
    assert [each["content"] for each in apart] == ["One", "Two"]
    refused = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert chat([refused, {"role": "user", "content": "Why?"}])["messages"][0] == {
        "role": "assistant", "content": "", "refusal": "No.",
    }  # fmt: skip


def test_parts_of_all_kinds() -> None:
    ask = read(
        [{"role": "user", "content": [
            {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
            {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
            {"type": "input_file", "file_id": "file-1"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        ]}]
    )  # fmt: skip
    assert ask.prompt.fields["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    assert ask.media_param == "input[0].content[0].image_url"


@pytest.mark.parametrize(
    ("part", "code", "param"),
    [
        ({"type": "input_image", "image_url": "http://example.com/a.png"}, "media_url_not_allowed", ".image_url"),
        ({"type": "input_image", "image_url": "data:nothing"}, "invalid_media", ".image_url"),
        ({"type": "input_image", "file_id": "file-1"}, "unsupported_parameter", ""),
        ({"type": "input_file", "file_url": "https://example.com/a.pdf"}, "unsupported_parameter", ".file_url"),
        ({"type": "input_file"}, "invalid_media", ""),
        ({"type": "input_file", "file_data": "AAAA"}, "invalid_media", ".file_data"),
        ({"type": "input_video"}, "invalid_parameter", ".type"),
    ],
)
def test_media_that_cannot_be_taken(part: Any, code: str, param: str) -> None:
    with pytest.raises(Problem) as found:
        read([{"role": "user", "content": [part]}])
    assert found.value.code.name == code
    assert found.value.param == f"input[0].content[0]{param}" or code == "invalid_parameter"


def test_tools_and_choices() -> None:
    found = chat(tools=[NOW, PATCH], tool_choice={"type": "custom", "name": "apply_patch"}, parallel_tool_calls=False)
    function = {name: NOW[name] for name in ("name", "description", "parameters", "strict")}
    assert found["tools"][0] == {"type": "function", "function": function}
    made = found["tools"][1]["function"]
    assert (made["name"], made["description"]) == ("apply_patch", "Edits files.")
    assert made["parameters"]["required"] == ["input"]
    assert found["tool_choice"] == {"type": "function", "function": {"name": "apply_patch"}}
    assert found["parallel_tool_calls"] is False
    assert wanted(tools=[NOW, PATCH]).custom == {"apply_patch"}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "now"}]}
    assert chat(tools=[NOW, GRAMMAR], tool_choice=allowed)["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "now"}}]},
    }
    assert wanted(tools=[GRAMMAR]).custom == frozenset()
    assert "tools" not in chat(tools=[], tool_choice="auto")


def test_tools_in_a_namespace_have_it_before_their_names() -> None:
    space = {"type": "namespace", "name": "mail", "description": "Mail.", "tools": [NOW, {**PATCH, "name": "write"}]}
    earlier = [{"role": "user", "content": "x"}, call("now", namespace="mail"), result("c1")]
    found = chat(earlier, tools=[NOW, space])
    assert [tool["function"]["name"] for tool in found["tools"]] == ["now", "mail__now", "mail__write"]
    assert found["tools"][1]["function"]["description"] == "Mail.\n\nThe time."
    assert found["messages"][1]["tool_calls"][0]["function"]["name"] == "mail__now"
    asked = wanted(tools=[NOW, space])
    assert asked.spaced == {"mail__now": ("mail", "now"), "mail__write": ("mail", "write")}
    assert asked.custom == {"mail__write"}


def test_a_search_for_tools_is_the_callers_and_what_it_finds_can_be_called() -> None:
    search = {"type": "tool_search", "execution": "client", "description": "Finds tools.", "parameters": {"a": 1}}
    space = {"type": "namespace", "name": "mail", "tools": [{**NOW, "defer_loading": True}]}
    asked = reading(
        [
            {"role": "user", "content": "Hi"},
            {"type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {"query": "mail"}},
            {"type": "tool_search_output", "call_id": "c1", "execution": "client", "tools": [space, NOW]},
        ],
        tools=[NOW, search],
    )  # fmt: skip
    ask = asked.ask()
    fields = ask.prompt.fields
    assert [tool["function"]["name"] for tool in fields["tools"]] == ["now", "tool_search", "mail__now"]
    assert fields["tools"][1]["function"]["parameters"] == {"a": 1}
    assert fields["messages"][1]["tool_calls"][0]["function"] == {
        "name": "tool_search",
        "arguments": '{"query":"mail"}',
    }
    assert fields["messages"][2]["content"] == "These tools can be called now: mail__now, now"
    assert lost(ask) == []
    assert asked.wanted(store=False).search
    with pytest.raises(Problem, match="run at their provider"):
        reading(tools=[{"type": "tool_search"}])


def test_earlier_calls_of_custom_tools_keep_their_form_where_the_tool_has_one() -> None:
    earlier = [
        {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "a\n"},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
    ]
    [said, _] = chat(earlier, tools=[PATCH])["messages"]
    assert said["tool_calls"][0]["function"]["arguments"] == '{"input": "a\\n"}'
    [said, _] = chat(earlier, tools=[GRAMMAR])["messages"]
    assert said["tool_calls"] == [{"id": "c1", "type": "custom", "custom": {"name": "apply_patch", "input": "a\n"}}]


def test_several_outputs_of_a_custom_tool_are_one_result_of_its_call() -> None:
    """Progress and the end of a call, with whatever stands between them."""

    def made(call_id: str) -> Any:
        return {"type": "custom_tool_call", "call_id": call_id, "name": "apply_patch", "input": "a"}

    def told(call_id: str, output: Any) -> Any:
        return {"type": "custom_tool_call_output", "call_id": call_id, "output": output}

    picture = {"type": "input_image", "image_url": "data:image/png;base64,QQ=="}
    ask = read(
        [
            made("c1"), told("c1", ""), told("c1", "begun"), made("c2"), told("c1", [picture]), made("c3"),
            told("c2", "ok"), told("c3", "ok"), {"role": "user", "content": "And?"}, told("c1", "done"),
        ],
        tools=[PATCH],
    )  # fmt: skip
    messages = ask.prompt.fields["messages"]
    assert [(each["role"], each.get("tool_call_id")) for each in messages] == [
        ("assistant", None), ("tool", "c1"), ("assistant", None), ("tool", "c2"), ("tool", "c3"), ("user", None),
        ("user", None),
    ]  # fmt: skip
    assert messages[1]["content"] == "begun\n\n(shown below)\n\ndone"
    assert [each["id"] for each in messages[2]["tool_calls"]] == ["c2", "c3"], "results follow the turn of their calls"
    assert messages[5]["content"][0]["text"] == "What the tool call c1 has shown:"
    assert messages[5]["content"][1]["image_url"]["url"] == picture["image_url"]
    assert messages[6]["content"] == "And?"


def test_a_later_output_is_added_to_a_result_that_was_kept() -> None:
    made = {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "a"}
    told = {"type": "custom_tool_call_output", "call_id": "c1", "output": "begun"}
    before = [Before([{"type": "message", "role": "user", "content": "Go"}], [made], ()), Before([told], [], ())]
    ask = reading([{**told, "output": "done"}], tools=[PATCH]).ask(before)
    assert [each["content"] for each in ask.prompt.fields["messages"]] == ["Go", None, "begun\n\ndone"]
    assert told["output"] == "begun", "what is kept is not changed"


def test_an_id_begins_anew_once_its_call_has_a_result() -> None:
    """As of upstreams that number the calls of every turn from 0."""
    turn = [call("now", "0"), result("0", "noon")]
    found = chat([*turn, call("now", "0"), result("0", "one")])["messages"]
    assert [each["content"] for each in found] == [None, "noon", None, "one"]
    for wrong, place in (([*turn, *turn, result("0")], 4), ([*turn, call("now", "0"), call("now", "0")], 3)):
        with pytest.raises(Problem) as caught:
            read(wrong)
        assert caught.value.param == f"input[{place}].call_id"


def test_settings_have_their_names_in_a_chat() -> None:
    schema = {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True}
    found = chat(
        text={"format": schema, "verbosity": "low"}, reasoning={"effort": "high", "summary": "auto"},
        max_output_tokens=9, temperature=0.5, top_p=0.9, top_logprobs=3, include=["message.output_text.logprobs"],
        user="u", safety_identifier="s", prompt_cache_key="k", metadata={"a": "b"}, store=False, truncation="disabled",
        stream=True,
    )  # fmt: skip
    del found["messages"]
    assert found == {
        "response_format": {"type": "json_schema",
                            "json_schema": {"name": "a", "schema": {"type": "object"}, "strict": True}},
        "verbosity": "low", "reasoning_effort": "high", "max_completion_tokens": 9, "temperature": 0.5, "top_p": 0.9,
        "logprobs": True, "top_logprobs": 3, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k",
    }  # fmt: skip
    assert chat(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    assert "response_format" not in chat(text={"format": {"type": "text"}})


def test_what_was_sealed_elsewhere_is_left_out_and_said_so() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    ask = read(
        [thought, {"role": "assistant", "content": "x", "phase": "final_answer"}, {"role": "user", "content": "y"}]
    )
    assert lost(ask) == [("input[0].encrypted_content", "dropped"), ("input[].phase", "dropped")]


def test_reasoning_that_led_to_nothing_is_left_out_and_said_so() -> None:
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]}
    ask = read([{"role": "user", "content": "a"}, thought, {"role": "user", "content": "b"}, thought])
    assert [each["content"] for each in ask.prompt.fields["messages"]] == ["a", "b"]
    assert lost(ask) == [("input[].reasoning", "dropped")]


def test_a_conversation_goes_on_from_what_was_kept() -> None:
    details = [{"type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1", "index": 0}]
    kept = Before([{"type": "message", "role": "user", "content": "How late?"}], [call("now")], details)
    ask = reading([result("c1", "noon")], instructions="Be brief.").ask([kept])
    assert ask.prompt.fields["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How late?"},
        {"role": "assistant", "content": None, "reasoning_details": details,
         "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
    ]  # fmt: skip


def test_the_answer_repeats_what_was_asked() -> None:
    echo = wanted(tools=[NOW, PATCH], text={"verbosity": "low"}, reasoning={"effort": "low"}, metadata={"a": "b"}).echo
    assert echo["tools"] == [NOW, PATCH]
    assert echo["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert echo["reasoning"] == {"effort": "low", "summary": None}
    assert (echo["metadata"], echo["tool_choice"], echo["parallel_tool_calls"]) == ({"a": "b"}, "auto", True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
    | st.sampled_from(["message", "function", "custom", "function_call", "user", "reasoning", "input_text"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "role", "content", "name", "call_id", "output", "text", "tools", "summary", "id"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON, JSON, JSON, JSON, JSON)
def test_any_body_is_read_or_refused(items: Any, tools: Any, choice: Any, text: Any, reasoning: Any) -> None:
    try:
        asked = reading(items, tools=tools, tool_choice=choice, text=text, reasoning=reasoning)
        asked.ask()
        asked.wanted(store=False)
    except Problem as problem:
        status = problem.status
    else:
        status = 400
    assert status == 400
