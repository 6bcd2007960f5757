"""A chat request as the Messages API takes it: tools, forms, thinking, sampling."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealgate.providers.anthropic import MESSAGES, AnthropicWire
from sealgate.providers.anthropic_form import IN_WORDS
from sealgate.providers.base import Account, Adjustment, Prompt
from sealgate.providers.table import KINDS

Json = dict[str, Any]
ACCOUNT = Account("acme", "acme", "global", KINDS["anthropic"], "https://api.anthropic.com/v1", ("k",))
OLD, BUDGET, FORMS, ADAPTIVE, NEW, ALWAYS = (
    "claude-3-5-haiku-latest", "claude-sonnet-4-0", "claude-sonnet-4-5", "claude-sonnet-4-6", "claude-sonnet-5",
    "claude-opus-5-5",
)  # fmt: skip

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": False}  # fmt: skip
TOOL = {"type": "function", "function": {"name": "get", "description": "Gets.", "parameters": CITY}}
BARE = {"type": "function", "function": {"name": "now"}}
SENT = {"name": "get", "description": "Gets.", "input_schema": CITY}
FORM = {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY}}
CALLED = [{"id": "c1", "type": "function", "function": {"name": "get", "arguments": "{}"}}]
LOOP: list[Json] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": CALLED},
                    {"role": "tool", "tool_call_id": "c1", "content": "r"}]  # fmt: skip


def write(
    model: str = FORMS, wire: AnthropicWire = MESSAGES, account: Account = ACCOUNT, most: int | None = None,
    extra: Json | None = None, stream: bool = False, **fields: Any,
) -> tuple[Json, dict[str, str]]:  # fmt: skip
    """The body but for model and messages, and what became of each parameter."""
    messages = fields.pop("messages", [{"role": "user", "content": "Hi"}])
    given = {"messages": messages, **fields}
    before = json.dumps(given)
    found = wire.write(account, Prompt(given, stream, extra or {}, {}, {}), model, most)
    assert json.dumps(given) == before, "another route may need it"
    body = json.loads(found.body)
    assert body.pop("messages")
    body.pop("model", None)
    assert all(isinstance(each, Adjustment) for each in found.adjustments)
    return body, {each.param: each.action for each in found.adjustments}


def test_the_length_is_the_callers_else_the_configured_else_the_models() -> None:
    assert write(max_tokens=5)[0]["max_tokens"] == 5
    assert write(max_completion_tokens=6, most=7)[0]["max_tokens"] == 6
    assert write(most=7)[0]["max_tokens"] == 7
    assert write("claude-3-opus-20240229")[0]["max_tokens"] == 4096


@pytest.mark.parametrize(("stop", "wanted"), [("x", ["x"]), (["x", "y"], ["x", "y"])])
def test_stops_are_a_list(stop: Any, wanted: list[str]) -> None:
    assert write(stop=stop)[0]["stop_sequences"] == wanted


def test_stops_of_white_space_are_watched_for_here() -> None:
    body, said = write(stop=["###", "\n\n"])
    assert (body["stop_sequences"], said) == (["###"], {"stop": "emulated"})
    assert "stop_sequences" not in write(stop="\n")[0]


def test_instructions_are_text_unless_they_have_parts() -> None:
    hi = {"role": "user", "content": "Hi"}
    system = {"role": "system", "content": "S"}
    assert write(messages=[system, hi])[0]["system"] == "S"
    parts = [{"type": "text", "text": "S"}, {"type": "text", "text": "S"}]
    assert write(messages=[system, system, hi])[0]["system"] == parts


# Tools


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "get"}}}, {"type": "tool", "name": "get"}),
        ({"parallel_tool_calls": True}, None),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "required"}, {"type": "any", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
    ],
)
def test_the_choice_of_tools_is_said_in_its_words(fields: Json, wanted: Json | None) -> None:
    body, said = write(tools=[TOOL], **fields)
    assert body.get("tool_choice") == wanted
    assert body["tools"] == [SENT]
    assert not said


@pytest.mark.parametrize(("mode", "wanted"), [("auto", "auto"), ("required", "any")])
def test_of_allowed_tools_only_these_are_offered(mode: str, wanted: str) -> None:
    allowed = {"mode": mode, "tools": [{"type": "function", "function": {"name": "get"}}]}
    body, said = write(tools=[TOOL, BARE], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert (body["tools"], body["tool_choice"]) == ([SENT], {"type": wanted})
    assert said == {"tool_choice": "emulated", "tools": "emulated"}


def test_a_tool_without_parameters_takes_an_empty_object() -> None:
    assert write(tools=[BARE])[0]["tools"] == [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]


def test_strict_tools_are_strict_where_the_model_and_the_schema_allow_it() -> None:
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}
    body, said = write(tools=[strict])
    assert (body["tools"], said) == ([{**SENT, "strict": True}], {})
    body, said = write(OLD, tools=[strict])
    assert (body["tools"], said) == ([SENT], {"tools[].function.strict": "dropped"})
    free = {"type": "function", "function": {"name": "get", "strict": True, "parameters": {"type": "object"}}}
    assert write(tools=[free])[1] == {"tools[].function.strict": "dropped"}


def test_tools_of_the_past_are_declared_where_none_are_offered() -> None:
    body, said = write(messages=LOOP)
    assert body["tools"] == [{"name": "get", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}
    assert said == {"tools": "emulated"}


# The form of the answer


def test_a_schema_is_the_providers_own_where_model_and_host_have_it() -> None:
    wanted = {"format": {"type": "json_schema", "schema": CITY}}
    assert write(response_format=FORM) == ({"max_tokens": 32_000, "output_config": wanted}, {})
    body, said = write(guided_json=CITY)
    assert (body["output_config"], said) == (wanted, {"guided_json": "emulated"})
    body, _ = write(response_format=FORM, tools=[TOOL])
    assert (body["output_config"], body["tools"]) == (wanted, [SENT])


def test_bounds_that_are_not_enforced_are_told_to_the_model_and_the_caller() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}}
    body, said = write(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert body["output_config"]["format"]["schema"]["properties"]["n"]["description"] == "(maximum 3)"
    assert said == {"response_format": "emulated"}


@pytest.mark.parametrize(
    ("model", "wire", "fields", "schema"),
    [
        (OLD, MESSAGES, {"response_format": FORM}, CITY),
        (FORMS, AnthropicWire(formats=False), {"response_format": FORM}, CITY),
        (FORMS, MESSAGES, {"response_format": {"type": "json_object"}}, {"type": "object"}),
    ],
)
def test_else_it_is_a_tool_that_must_be_called(model: str, wire: AnthropicWire, fields: Json, schema: Json) -> None:
    body, said = write(model, wire, **fields)
    [tool] = body["tools"]
    assert (tool["input_schema"], body["tool_choice"]) == (schema, {"type": "tool", "name": tool["name"]})
    assert "output_config" not in body
    assert said == {"response_format": "emulated"}


@pytest.mark.parametrize("system", [None, "S"])
def test_what_can_neither_be_held_nor_forced_is_asked_for_in_words(system: str | None) -> None:
    given = [{"role": "system", "content": system}] if system else []
    turns = [*given, {"role": "user", "content": "Hi"}]
    body, said = write(ALWAYS, messages=turns, response_format={"type": "json_object"})
    assert [part["text"] for part in body["system"]] == [*([system] if system else []), IN_WORDS]
    assert (said, "tools" in body) == ({"response_format": "emulated"}, False)
    free = {"type": "object", "additionalProperties": {"type": "integer"}}
    body, _ = write(ALWAYS, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": free}})
    assert body["system"][0]["text"].endswith(json.dumps(free, separators=(",", ":")))


@pytest.mark.parametrize(
    ("choice", "wanted", "names"),
    [
        (None, {"type": "any"}, ["get", "sealgate_answer"]),
        ("auto", {"type": "any"}, ["get", "sealgate_answer"]),
        ("none", {"type": "tool", "name": "sealgate_answer"}, ["get", "sealgate_answer"]),
        ("required", {"type": "any"}, ["get"]),
        ({"type": "function", "function": {"name": "get"}}, {"type": "tool", "name": "get"}, ["get"]),
    ],
)
def test_the_callers_tools_stay_beside_the_answers(choice: Any, wanted: Json, names: list[str]) -> None:
    chosen = {} if choice is None else {"tool_choice": choice}
    body, said = write(OLD, response_format=FORM, tools=[TOOL], **chosen)
    assert (body["tool_choice"], [tool["name"] for tool in body["tools"]]) == (wanted, names)
    assert said["response_format"] == "emulated"


def test_a_choice_of_texts_is_a_held_enum() -> None:
    body, said = write(guided_choice=["a", "b"])
    properties = body["output_config"]["format"]["schema"]["properties"]
    assert properties == {"answer": {"type": "string", "enum": ["a", "b"]}}
    assert said == {"guided_choice": "emulated"}


# Thinking


@pytest.mark.parametrize(
    ("model", "level", "wanted"),
    [
        (BUDGET, "low", {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        (BUDGET, "minimal", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (BUDGET, "max", {"thinking": {"type": "enabled", "budget_tokens": 9500}}),
        (BUDGET, "none", {}),
        (ADAPTIVE, "high", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        (ADAPTIVE, "xhigh", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        (ADAPTIVE, "max", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
        (ADAPTIVE, "minimal", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        (ADAPTIVE, "none", {}),
        (NEW, "xhigh", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}),
        (NEW, "none", {"thinking": {"type": "disabled"}}),
        (ALWAYS, "none", {"output_config": {"effort": "low"}}),
        ("claude-sonnet-5-5", "none", {"thinking": {"type": "between_tools"}}),
    ],
)
def test_effort_is_asked_for_as_the_model_takes_it(model: str, level: str, wanted: Json) -> None:
    body, said = write(model, max_tokens=10_000, reasoning_effort=level)
    assert body == {"max_tokens": 10_000, **wanted}
    assert said == {"reasoning_effort": "renamed"}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (OLD, {}),
        (BUDGET, {"reasoning_effort": "enormous"}),
        (BUDGET, {"max_tokens": 1024}),
        (BUDGET, {"tools": [TOOL], "tool_choice": "required"}),
        (BUDGET, {"tools": [TOOL], "messages": LOOP}),
    ],
)
def test_effort_is_dropped_where_the_provider_would_refuse_it(model: str, fields: Json) -> None:
    body, said = write(model, **{"reasoning_effort": "high", **fields})
    assert "thinking" not in body
    assert said == {"reasoning_effort": "dropped"}


def test_effort_goes_beside_a_form() -> None:
    body, _ = write(NEW, reasoning_effort="low", response_format=FORM)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": CITY}, "effort": "low"}


def test_a_forced_tool_is_not_thought_about() -> None:
    body, said = write(ADAPTIVE, reasoning_effort="low", tools=[TOOL], tool_choice="required")
    assert (body["output_config"], "thinking" in body) == ({"effort": "low"}, False)
    assert said == {"reasoning_effort": "renamed"}


# Hints


@pytest.mark.parametrize(
    ("model", "fields", "wanted", "said"),
    [
        (BUDGET, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {"temperature": 0.5, "top_p": 0.9, "top_k": 5}, {}),
        (FORMS, {"temperature": 1.7}, {"temperature": 1}, {"temperature": "renamed"}),
        (FORMS, {"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5}, {"top_p": "dropped"}),
        (FORMS, {"top_p": 0.9}, {"top_p": 0.9}, {}),
        (NEW, {"temperature": 0.5, "top_k": 5}, {}, {"temperature": "dropped", "top_k": "dropped"}),
        (BUDGET, {"temperature": 0.5, "reasoning_effort": "max", "max_tokens": 2000},
         {"thinking": {"type": "enabled", "budget_tokens": 1900}, "max_tokens": 2000},
         {"temperature": "dropped", "reasoning_effort": "renamed"}),
        (FORMS, {"top_k": -1}, {}, {"top_k": "dropped"}),
        (FORMS, {"user": "u" * 257}, {}, {"user": "dropped"}),
        (FORMS, {"user": "u"}, {"metadata": {"user_id": "u"}}, {"user": "renamed"}),
        (FORMS, {"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}},
         {"user": "dropped", "safety_identifier": "renamed"}),
        (FORMS, {"n": 1, "logprobs": False, "response_format": {"type": "text"}}, {}, {"logprobs": "dropped"}),
        (FORMS, {"seed": 1, "presence_penalty": 1, "logit_bias": {}, "metadata": {"a": "b"}, "made_up": 1}, {},
         dict.fromkeys(("seed", "presence_penalty", "logit_bias", "metadata", "made_up"), "dropped")),
    ],
)  # fmt: skip
def test_hints_go_as_they_are_taken_or_are_dropped_aloud(model: str, fields: Json, wanted: Json, said: Json) -> None:
    assert write(model, **fields) == ({"max_tokens": 32_000, **wanted}, said)


def test_the_newer_version_takes_no_sampling_from_any_model() -> None:
    account = Account("acme", "acme", "global", KINDS["anthropic"], "https://api.anthropic.com/v1", ("k",),
                      anthropic_version="2026-10-21")  # fmt: skip
    assert write(account=account, temperature=0) == ({"max_tokens": 32_000}, {"temperature": "dropped"})


def test_the_extra_body_has_the_last_word() -> None:
    body, _ = write(reasoning_effort="low", extra={"thinking": {"type": "disabled"}, "container": "c"})
    assert (body["thinking"], body["container"]) == ({"type": "disabled"}, "c")


def test_a_file_may_be_asked_to_be_cited_and_then_a_tool_prescribes_the_form() -> None:
    file = {"file_data": "data:text/plain;base64,SGk=", "filename": "a.txt"}
    part = {"type": "file", "file": file, "citations": {"enabled": True}, "context": "C"}
    turns = [{"role": "user", "content": [part, {"type": "text", "text": "?", "citations": {"enabled": True}}]}]
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY}}
    given = {"messages": turns, "response_format": form}
    body = json.loads(MESSAGES.write(ACCOUNT, Prompt(given, False, {}, {}, {}), FORMS, None).body)
    document, text = body["messages"][0]["content"]
    assert (document["citations"], document["context"]) == ({"enabled": True}, "C")
    assert text == {"type": "text", "text": "?"}
    assert "output_config" not in body
    assert body["tool_choice"]["type"] == "tool"
    assert not MESSAGES.holds(given, FORMS)
    assert MESSAGES.holds({"messages": [], "response_format": form}, FORMS)
