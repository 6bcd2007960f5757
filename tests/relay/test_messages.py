"""From Anthropic's dialect to OpenAI's: each kind of block, what is lost, and what nobody else understands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.errors import Problem
from sealgate.formats.carried import sealed
from sealgate.relay.ask import Ask
from sealgate.relay.messages import is_closed, read_count, read_messages

HI = [{"role": "user", "content": "Hi"}]
TOOL = {"name": "now", "input_schema": {"type": "object"}}


def read(messages: Any = HI, **fields: Any) -> Ask:
    body = {"model": "m", "max_tokens": 10, "messages": messages, **fields}
    return read_messages(json.dumps(body).encode())


def chat(messages: Any = HI, **fields: Any) -> Any:
    return read(messages, **fields).prompt.fields


def lost(ask: Ask) -> list[tuple[str, str]]:
    assert ask.prompt.native is not None
    return [(each.param, each.action) for each in ask.prompt.native.lost]


def test_a_conversation_becomes_messages() -> None:
    details = [{"type": "reasoning.encrypted", "data": "d", "format": "google-gemini-v1"}]
    found = chat(
        [
            {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm", "signature": sealed(details)},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "now", "input": {"a": 1}},
                {"type": "tool_use", "id": "t2", "name": "now", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "Here."},
                {"type": "tool_result", "tool_use_id": "t1", "content": [
                    {"type": "text", "text": "seen"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                ]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True},
            ]},
        ],
        system=[{"type": "text", "text": "A"}, {"type": "text", "text": "B"}],
    )["messages"]  # fmt: skip
    assert found == [
        {"role": "system", "content": "A\n\nB"},
        {"role": "user", "content": "One\n\nTwo"},
        {"role": "assistant", "content": "Let me see.", "reasoning_content": "Hm", "reasoning_details": details,
         "tool_calls": [
             {"id": "t1", "type": "function", "function": {"name": "now", "arguments": '{"a":1}'}},
             {"id": "t2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
         ]},
        {"role": "tool", "tool_call_id": "t1", "content": "seen"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no"},
        {"role": "user", "content": [
            {"type": "text", "text": "What the tool call t1 has shown:"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "text", "text": "Here."},
        ]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 4}, {"temperature": 0.5, "top_p": 0.9, "top_k": 4}),
        ({"stop_sequences": ["a"]}, {"stop": ["a"]}),
        ({"stop_sequences": []}, {}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 31999}, "max_tokens": 32000}, {"reasoning_effort": "high"}),
        ({"thinking": {"type": "adaptive"}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, {"reasoning_effort": "xhigh"}),
        ({"thinking": {"type": "disabled"}}, {}),
    ],
)
def test_parameters_have_their_counterparts(fields: Any, wanted: Any) -> None:
    found = chat(**fields)
    assert {name: found[name] for name in found if name not in ("messages", "max_tokens")} == wanted


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "tool", "name": "now"}, {"tool_choice": {"type": "function", "function": {"name": "now"}}}),
        ({"type": "none"}, {"tool_choice": "none"}),
    ],
)
def test_each_choice_of_tools_has_its_counterpart(choice: Any, wanted: Any) -> None:
    found = chat(tools=[TOOL], tool_choice=choice)
    assert {name: found[name] for name in ("tool_choice", "parallel_tool_calls") if name in found} == wanted


def test_a_form_is_strict_where_the_schema_can_be() -> None:
    closed = {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}
    found = chat(output_config={"format": {"type": "json_schema", "schema": closed}})
    assert found["response_format"]["json_schema"] == {"name": "answer", "schema": closed, "strict": True}
    assert not is_closed({**closed, "required": []})
    assert not is_closed({"type": "array", "items": {"type": "object"}})


def test_what_the_translation_does_not_hold_is_told() -> None:
    ask = read(
        [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}],
        max_tokens=4000, thinking={"type": "enabled", "budget_tokens": 2000}, context_management={},
        service_tier="auto",
    )  # fmt: skip
    assert lost(ask) == [("context_management", "dropped"), ("cache_control", "dropped"), ("thinking", "renamed")]
    assert [(each.param, each.action) for each in ask.adjustments] == [("service_tier", "dropped")]
    assert ask.prompt.native is not None
    assert "service_tier" not in ask.prompt.native.body


@pytest.mark.parametrize(
    ("messages", "fields", "place"),
    [
        (HI, {"tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}]}, "tools[1]"),
        (HI, {"mcp_servers": []}, "mcp_servers"),
        (HI, {"max_tokens": 0}, "max_tokens"),
        ([{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}], {}, "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "https://a.example/b"}}]}],
         {}, "messages[0].content[0].source"),
        (HI, {"tools": [TOOL]}, None),
    ],
)  # fmt: skip
def test_what_only_anthropic_understands_is_found(messages: Any, fields: Any, place: str | None) -> None:
    native = read(messages, **fields).prompt.native
    assert native is not None
    assert native.only == place


@pytest.mark.parametrize(
    ("messages", "fields", "param"),
    [
        (HI, {"tools": [{"name": "now"}]}, "tools[0].input_schema"),
        (HI, {"tool_choice": {"type": "any"}}, "tool_choice"),
        (HI, {"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
        ([{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://a.example"}}]}], {},
         "messages[0].content[0].source"),
        ([{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "no", "data": "A"}}]}], {},
         "messages[0].content[0].source"),
        ([{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": 3}]}], {},
         "messages[0].content[0].input"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(messages: Any, fields: Any, param: str) -> None:
    with pytest.raises(Problem) as raised:
        read(messages, **fields)
    assert (raised.value.status, raised.value.param) == (400, param)


def test_betas_go_on_by_the_list() -> None:
    body = json.dumps({"model": "m", "max_tokens": 1, "messages": HI}).encode()
    ask = read_messages(body, betas=["interleaved-thinking-2025-05-14", "context-1m-2025-08-07"])
    assert ask.prompt.native is not None
    assert ask.prompt.native.betas == ("interleaved-thinking-2025-05-14",)
    assert [each.param for each in ask.adjustments] == ["anthropic-beta"]


def test_a_count_needs_no_limit() -> None:
    ask = read_count(json.dumps({"model": "m", "messages": HI, "tools": [TOOL]}).encode())
    assert ask.model == "m"
    assert [tool["function"]["name"] for tool in ask.prompt.fields["tools"]] == ["now"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3)
    | st.sampled_from(["user", "assistant", "text", "image", "tool_result", "document", "base64", "thinking"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["type", "role", "content", "source", "text", "data", "input", "id"]), inner,
                      max_size=4),
    max_leaves=8,
)  # fmt: skip


@given(JSON, st.sampled_from(["messages", "system", "tools", "tool_choice", "thinking", "output_config", "metadata"]))
def test_any_value_of_a_field_is_read_or_refused_with_a_code(value: Any, name: str) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": HI, name: value}
    try:
        status = read_messages(json.dumps(body).encode()) and 200
    except Problem as problem:
        status = problem.status
    assert status in (200, 400)
