"""Gemini's request but for its contents: settings, tools, forms of the answer, and what callers add themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.providers.base import Account, Prompt
from sealgate.providers.gemini import GEMINI
from sealgate.providers.gemini_request import understood, version_of
from sealgate.providers.table import KINDS

MESSAGES = [{"role": "user", "content": "Hi"}]
CONTENTS = [{"role": "user", "parts": [{"text": "Hi"}]}]
SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
TOOLS = [
    {"type": "function", "function": {"name": "f", "description": "F.", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "g"}},
]
NAMED = {"type": "function", "function": {"name": "g"}}
ACCOUNT = Account("g", "g", "eu", KINDS["google"], "https://g.example/v1beta")


def written(model: str = "gemini-3-flash", extra: Any = None, **fields: Any) -> tuple[Any, list[tuple[str, str]]]:
    """The body without its contents, and what was said."""
    prompt = Prompt({"messages": MESSAGES, **fields}, False, extra or {}, {}, {})
    before = repr(prompt)
    made = GEMINI.write(ACCOUNT, prompt, model, None)
    assert repr(prompt) == before, "another route may need the same request"
    found = json.loads(made.body)
    assert found.pop("contents") == CONTENTS
    return found, [(each.param, each.action) for each in made.adjustments]


def config(model: str = "gemini-3-flash", **fields: Any) -> Any:
    found, _ = written(model, **fields)
    assert found.keys() <= {"generationConfig"}
    return found.get("generationConfig")


def test_what_the_caller_did_not_send_is_not_sent() -> None:
    assert written() == ({}, [])


@pytest.mark.parametrize(("fields", "sent"), [
    ({"temperature": 0}, {"temperature": 0}),
    ({"top_p": 0.5, "top_k": 3, "seed": 7}, {"topP": 0.5, "topK": 3, "seed": 7}),
    ({"n": 2}, {"candidateCount": 2}),
    ({"max_tokens": 5}, {"maxOutputTokens": 5}),
    ({"max_completion_tokens": 6}, {"maxOutputTokens": 6}),
    ({"stop": "."}, {"stopSequences": ["."]}),
    ({"stop": [".", "!"]}, {"stopSequences": [".", "!"]}),
    ({"logprobs": True}, {"responseLogprobs": True}),
    ({"logprobs": True, "top_logprobs": 0}, {"responseLogprobs": True}),
    ({"logprobs": True, "top_logprobs": 4}, {"responseLogprobs": True, "logprobs": 4}),
    ({"response_format": {"type": "text"}}, None),
    ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}},
     {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "description": "D", "schema": SCHEMA}}},
     {"responseMimeType": "application/json", "responseJsonSchema": {"description": "D", **SCHEMA}}),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
     {"responseMimeType": "application/json"}),
])  # fmt: skip
def test_a_field_by_its_name_in_the_configuration(fields: Any, sent: Any) -> None:
    assert config(**fields) == sent
    assert not written(**fields)[1]


def test_vllms_constraints_that_gemini_has_by_other_names() -> None:
    found, said = written(guided_json=SCHEMA)
    assert found["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    assert said == [("guided_json", "emulated")]
    found, said = written(guided_choice=["yes", "no"], response_format={"type": "text"})
    assert found["generationConfig"] == {
        "responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["yes", "no"]},
    }  # fmt: skip
    assert said == [("guided_choice", "emulated"), ("response_format", "dropped")]


@pytest.mark.parametrize(("model", "sent"), [
    ("gemini-2.5-flash", {"presencePenalty": 1, "frequencyPenalty": 0.5}),
    ("gemini-flash-latest", {"presencePenalty": 1, "frequencyPenalty": 0.5}),
    ("gemini-3-pro-preview", None),
])  # fmt: skip
def test_penalties_go_where_they_are_not_refused(model: str, sent: Any) -> None:
    found, said = written(model, presence_penalty=1, frequency_penalty=0.5)
    assert found.get("generationConfig") == sent
    assert bool(said) is (sent is None)


def test_hints_and_fields_that_gemini_does_not_know_are_told() -> None:
    found, said = written(user="u", logit_bias={"1": 1}, parallel_tool_calls=False, x_vendor=1, min_p=0.1)
    assert found == {}
    assert sorted(said) == [
        (name, "dropped") for name in ("logit_bias", "min_p", "parallel_tool_calls", "user", "x_vendor")
    ]


# Tools


def test_functions_are_declared_with_their_schemas_as_they_are() -> None:
    found, said = written(tools=TOOLS)
    assert found == {"tools": [{"functionDeclarations": [
        {"name": "f", "description": "F.", "parametersJsonSchema": SCHEMA}, {"name": "g"},
    ]}]}  # fmt: skip
    assert not said


def test_a_strict_function_is_one_like_any_other_and_that_is_told() -> None:
    strict = [{"type": "function", "function": {"name": "f", "strict": True}}] * 2
    assert written(tools=strict)[1] == [("tools[].function.strict", "dropped")]


@pytest.mark.parametrize(("choice", "sent"), [
    ("auto", {"mode": "AUTO"}),
    ("none", {"mode": "NONE"}),
    ("required", {"mode": "ANY"}),
    (NAMED, {"mode": "ANY", "allowedFunctionNames": ["g"]}),
    ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}},
     {"mode": "ANY", "allowedFunctionNames": ["g"]}),
    ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}},
     {"mode": "VALIDATED", "allowedFunctionNames": ["g"]}),
])  # fmt: skip
def test_each_choice_of_tools_has_its_mode(choice: Any, sent: Any) -> None:
    found, said = written(tools=TOOLS, tool_choice=choice)
    assert found["toolConfig"] == {"functionCallingConfig": sent}
    assert not said


# Thinking


@pytest.mark.parametrize(("model", "effort", "sent", "told"), [
    ("gemini-3-flash", "low", {"thinkingLevel": "LOW", "includeThoughts": True}, False),
    ("gemini-3.5-flash", "minimal", {"thinkingLevel": "MINIMAL", "includeThoughts": True}, False),
    ("gemini-3-flash", "none", {"thinkingLevel": "MINIMAL", "includeThoughts": False}, True),
    ("gemini-3.1-pro-preview", "none", {"thinkingLevel": "LOW", "includeThoughts": False}, True),
    ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "LOW", "includeThoughts": True}, True),
    ("gemini-flash-latest", "max", {"thinkingLevel": "XHIGH", "includeThoughts": True}, True),
    ("gemini-2.5-flash", "none", {"thinkingBudget": 0, "includeThoughts": False}, True),
    ("gemini-2.5-pro", "none", {"thinkingBudget": 128, "includeThoughts": False}, True),
    ("gemini-2.5-pro", "medium", {"thinkingBudget": 8192, "includeThoughts": True}, True),
    ("gemini-2.5-flash-lite", "xhigh", {"thinkingBudget": 24576, "includeThoughts": True}, True),
    ("gemini-2.0-flash", "low", None, True),
    ("gemini-3-flash", "a lot", None, True),
])  # fmt: skip
def test_reasoning_effort_in_the_terms_of_the_models_generation(model: str, effort: str, sent: Any, told: bool) -> None:
    found, said = written(model, reasoning_effort=effort)
    assert found.get("generationConfig") == (None if sent is None else {"thinkingConfig": sent})
    assert said == ([("reasoning_effort", "dropped" if sent is None else "renamed")] if told else [])


@pytest.mark.parametrize(("model", "version"), [
    ("gemini-3-flash", (3, 0)), ("models/gemini-2.5-pro", (2, 5)), ("gemini-flash-latest", (99, 0)),
    ("gemini-10.1-x", (10, 1)), ("endpoints/123", (99, 0)),
])  # fmt: skip
def test_a_name_that_tells_no_generation_means_the_newest(model: str, version: Any) -> None:
    assert version_of(model) == version


# What callers add in Gemini's own terms


def test_extra_body_is_merged_last_and_member_by_member_where_both_have_a_say() -> None:
    extra = {
        "generation_config": {"response_modalities": ["TEXT", "IMAGE"], "temperature": 1},
        "tools": [{"googleSearch": {}}],
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "toolConfig": {"retrievalConfig": {}},
    }
    found, said = written(extra=extra, temperature=0, top_p=0.5, tools=TOOLS[1:], tool_choice="auto")
    assert found == {
        "generationConfig": {"temperature": 1, "topP": 0.5, "responseModalities": ["TEXT", "IMAGE"]},
        "tools": [{"functionDeclarations": [{"name": "g"}]}, {"googleSearch": {}}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}, "retrievalConfig": {}},
        "safetySettings": extra["safetySettings"],
    }
    assert not said


def test_extra_body_does_not_reach_what_has_walls() -> None:
    """Neither by the one spelling nor by the other."""
    extra = {
        "contents": [], "system_instruction": {}, "model": "x", "serviceTier": "PRIORITY", "service_tier": "PRIORITY",
        "generation_config": {"max_output_tokens": 9, "maxOutputTokens": 9, "candidate_count": 9},
    }  # fmt: skip
    found, said = written(extra=extra, max_tokens=5)
    assert found == {"generationConfig": {"maxOutputTokens": 5}}
    place = "tensorzero::extra_body."
    assert sorted(said) == sorted((place + name, "dropped") for name in (
        "contents", "system_instruction", "model", "serviceTier", "service_tier", "generation_config.maxOutputTokens",
        "generation_config.candidateCount",
    ))  # fmt: skip


def test_beside_cached_content_stands_nothing_that_it_holds() -> None:
    prompt = Prompt({"messages": [{"role": "system", "content": "S"}, *MESSAGES], "tools": TOOLS}, False,
                    {"cachedContent": "cachedContents/1"}, {}, {})  # fmt: skip
    made = GEMINI.write(ACCOUNT, prompt, "gemini-3-flash", None)
    assert json.loads(made.body) == {"contents": CONTENTS, "cachedContent": "cachedContents/1"}
    assert [(each.param, each.action) for each in made.adjustments] == [
        ("systemInstruction", "dropped"),
        ("tools", "dropped"),
    ]


@pytest.mark.parametrize("extra", [{"toolConfig": {}}, {"tool_config": {"functionCallingConfig": None}}])
def test_extra_body_may_say_nothing_of_how_tools_are_called(extra: Any) -> None:
    assert written(extra=extra)[1] == []


@pytest.mark.parametrize("extra", [{"generationConfig": None}, {"tool_config": []}, {"tools": {}}])
def test_what_cannot_be_merged_takes_nothing_away(extra: Any) -> None:
    found, said = written(extra=extra, max_tokens=5, tools=TOOLS, tool_choice="auto")
    assert (found, []) == written(max_tokens=5, tools=TOOLS, tool_choice="auto")
    assert said == [(f"tensorzero::extra_body.{next(iter(extra))}", "dropped")]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from([
    "generationConfig", "generation_config", "toolConfig", "tool_config", "tools", "cachedContent", "contents", "_", "",
]) | st.text(max_size=3)  # fmt: skip
CALLING = st.fixed_dictionaries({}, optional={
    "functionCallingConfig": ANYTHING | st.just({"streamFunctionCallArguments": True}), "maxOutputTokens": ANYTHING,
})  # fmt: skip


@given(st.dictionaries(NAMES, ANYTHING | CALLING, max_size=4))
def test_whatever_extra_body_holds_there_is_a_body_within_its_walls(extra: Any) -> None:
    """What is absurd is the provider's to refuse."""
    found, _ = written(extra=extra, max_tokens=5, tools=TOOLS, tool_choice="auto")
    assert found["generationConfig"]["maxOutputTokens"] == 5


def test_calls_are_never_asked_for_in_pieces() -> None:
    extra = {"toolConfig": {"functionCallingConfig": {"mode": "AUTO", "streamFunctionCallArguments": True}}}
    found, said = written(extra=extra, tools=TOOLS[1:])
    assert found["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}}
    assert said == [("toolConfig.functionCallingConfig.streamFunctionCallArguments", "dropped")]
    assert "streamFunctionCallArguments" in extra["toolConfig"]["functionCallingConfig"]


@pytest.mark.parametrize("form", [[], {}, 5, None])
def test_a_format_that_is_no_word_is_not_understood(form: Any) -> None:
    assert not understood({"type": "string", "format": form})
