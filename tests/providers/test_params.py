"""Parameters that a provider takes in another form, or not at all, each change told to the caller."""

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.gateway import Serve, provider

from sealgate.providers import params
from sealgate.providers.capabilities import CAPABILITIES, CONTRACT, GUIDED, HINTS, needed
from sealgate.providers.params import Adjustment, adjust
from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.source import gbnf_writer
from sealgate.providers.table import KINDS
from sealgate.testing import ScriptedUpstream

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
WANTED = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}}
STRICT = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "guided_json", "strict": True, "schema": SCHEMA}}
}
A, B = ({"type": "function", "function": {"name": name}} for name in "ab")
TAG: dict[str, Any] = {"type": "structural_tag", "format": {"type": "any_text"}}
UNKNOWN = "the provider does not know it"


def change(param: str, action: str, detail: str) -> Adjustment:
    return Adjustment(param, action, detail)


def allowed(mode: str, *tools: Any) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


CALLED = {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f"}}]}


@pytest.mark.parametrize(("kind", "sent", "goes", "changes"), [
    # Limits on tokens
    ("compatible", {"max_tokens": 5}, {"max_tokens": 5}, []),
    ("openai", {"max_completion_tokens": 5}, {"max_completion_tokens": 5}, []),
    ("openai", {"max_tokens": 5}, {"max_completion_tokens": 5},
     [change("max_tokens", "renamed", "sent as max_completion_tokens")]),
    ("deepseek", {"max_completion_tokens": 5}, {"max_tokens": 5},
     [change("max_completion_tokens", "renamed", "sent as max_tokens")]),
    ("deepseek", {"max_tokens": 5}, {"max_tokens": 5}, []),
    ("deepseek", {"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 5},
     [change("max_completion_tokens", "dropped", "max_tokens is given too")]),
    # Schemas
    ("openai", WANTED, WANTED, []),
    ("llamacpp", WANTED, {"response_format": {"type": "json_object", "schema": SCHEMA}},
     [change("response_format", "renamed", "sent as json_object with the schema")]),
    ("llamacpp", {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
     {"response_format": {"type": "json_object", "schema": {}}},
     [change("response_format", "renamed", "sent as json_object with the schema")]),
    ("llamacpp", {"response_format": {"type": "text"}}, {"response_format": {"type": "text"}}, []),
    ("llamacpp", {}, {}, []),
    ("tgi", WANTED, {"response_format": {"type": "json_object", "value": SCHEMA}},
     [change("response_format", "renamed", "sent as json_object with the schema")]),
    ("mistral", {"guided_json": SCHEMA}, STRICT,
     [change("guided_json", "emulated", "sent as response_format json_schema")]),
    ("openai", {"guided_json": json.dumps(SCHEMA)}, STRICT,
     [change("guided_json", "emulated", "sent as response_format json_schema")]),
    ("sglang", {"guided_json": {"name": "x", "schema": SCHEMA}}, STRICT,
     [change("guided_json", "emulated", "sent as response_format json_schema")]),
    ("groq", {"response_format": {"type": "json_object"}, "guided_json": SCHEMA}, STRICT,
     [change("guided_json", "emulated", "sent as response_format json_schema"),
      change("response_format", "dropped", "guided_json says more")]),
    ("llamacpp", {"guided_json": SCHEMA}, {"response_format": {"type": "json_object", "schema": SCHEMA}},
     [change("guided_json", "emulated", "sent as response_format json_object with the schema")]),
    ("tgi", {"guided_json": SCHEMA}, {"response_format": {"type": "json_object", "value": SCHEMA}},
     [change("guided_json", "emulated", "sent as response_format json_object with the schema")]),
    ("openai", {"guided_json": "no schema"}, {"guided_json": "no schema"}, []),
    # vLLM, newer and older
    ("vllm", {"guided_json": {"name": "x", "schema": SCHEMA}, "guided_whitespace_pattern": " ?"},
     {"structured_outputs": {"json": SCHEMA, "whitespace_pattern": " ?"}},
     [change("guided_json", "renamed", "sent as structured_outputs.json"),
      change("guided_whitespace_pattern", "renamed", "sent as structured_outputs.whitespace_pattern")]),
    ("vllm", {"guided_whitespace_pattern": " ?", "guided_decoding_backend": "outlines"}, {},
     [change("guided_whitespace_pattern", "dropped", UNKNOWN), change("guided_decoding_backend", "dropped", UNKNOWN)]),
    ("vllm", {"guided_json": "true"}, {"structured_outputs": {"json": "true"}},
     [change("guided_json", "renamed", "sent as structured_outputs.json")]),
    ("vllm", {"guided_regex": "a+"}, {"structured_outputs": {"regex": "a+"}},
     [change("guided_regex", "renamed", "sent as structured_outputs.regex")]),
    ("vllm", {"guided_choice": ["a"], "structured_outputs": {"disable_any_whitespace": True}},
     {"structured_outputs": {"disable_any_whitespace": True, "choice": ["a"]}},
     [change("guided_choice", "renamed", "sent as structured_outputs.choice")]),
    ("vllm", {"guided_regex": "a", "structured_outputs": {"regex": "b"}}, {"structured_outputs": {"regex": "b"}},
     [change("guided_regex", "dropped", "structured_outputs.regex is given too")]),
    ("vllm", {"guided_choice": ["a"], "structured_outputs": 1}, {"guided_choice": ["a"], "structured_outputs": 1}, []),
    ("vllm", {"guided_grammar": "g"}, {"structured_outputs": {"grammar": "g"}},
     [change("guided_grammar", "renamed", "sent as structured_outputs.grammar")]),
    ("vllm", {"structural_tag": TAG},
     {"structured_outputs": {"structural_tag": '{"type":"structural_tag","format":{"type":"any_text"}}'}},
     [change("structural_tag", "renamed", "sent as structured_outputs.structural_tag")]),
    ("vllm", {"structural_tag": "{}"}, {"structured_outputs": {"structural_tag": "{}"}},
     [change("structural_tag", "renamed", "sent as structured_outputs.structural_tag")]),
    *[("vllm-legacy", same, same, []) for same in ({"guided_json": SCHEMA}, {"guided_choice": ["a"]},
      {"structural_tag": TAG}, {"guided_decoding_backend": "x"})],
    # Other engines
    ("sglang", {"guided_regex": "a+"}, {"regex": "a+"}, [change("guided_regex", "renamed", "sent as regex")]),
    ("sglang", {"guided_grammar": "g"}, {"ebnf": "g"}, [change("guided_grammar", "renamed", "sent as ebnf")]),
    ("sglang", {"guided_choice": ["a.b", "c"]}, {"regex": r"(a\.b|c)"},
     [change("guided_choice", "emulated", "sent as regex")]),
    ("sglang", {"guided_choice": ["a"], "regex": "b"}, {"regex": "b"},
     [change("guided_choice", "dropped", "regex is given too")]),
    ("sglang", {"structural_tag": json.dumps(TAG)}, {"response_format": TAG},
     [change("structural_tag", "renamed", "sent as response_format structural_tag")]),
    ("tgi", {"guided_regex": "a+"}, {"response_format": {"type": "regex", "value": "a+"}},
     [change("guided_regex", "renamed", "sent as response_format regex")]),
    ("tgi", {"guided_choice": ["a", "b"]}, {"response_format": {"type": "regex", "value": "(a|b)"}},
     [change("guided_choice", "emulated", "sent as response_format regex")]),
    ("llamacpp", {"guided_grammar": "g", "repetition_penalty": 1.1}, {"grammar": "g", "repeat_penalty": 1.1},
     [change("guided_grammar", "renamed", "sent as grammar"),
      change("repetition_penalty", "renamed", "sent as repeat_penalty")]),
    ("llamacpp", {"guided_choice": ['a"', "b"]}, {"grammar": r'root ::= "a\"" | "b"'},
     [change("guided_choice", "emulated", "sent as grammar")]),
    ("fireworks", {"guided_grammar": "g"}, {"response_format": {"type": "grammar", "grammar": "g"}},
     [change("guided_grammar", "renamed", "sent as response_format grammar")]),
    ("fireworks", {"guided_choice": ["a"]}, {"response_format": {"type": "grammar", "grammar": 'root ::= "a"'}},
     [change("guided_choice", "emulated", "sent as response_format grammar")]),
    # Tools
    ("openai", {"tools": [A, B], "tool_choice": allowed("auto", A)},
     {"tools": [A, B], "tool_choice": allowed("auto", A)}, []),
    ("xai", {"tools": [A, B], "tool_choice": allowed("required", B)}, {"tools": [B], "tool_choice": "required"},
     [change("tool_choice", "emulated", "sent as required"),
      change("tools", "emulated", "only the allowed ones are offered")]),
    ("xai", {"tools": [A], "tool_choice": allowed("auto", B)}, {"tools": [A], "tool_choice": allowed("auto", B)}, []),
    ("xai", {"tools": [A], "tool_choice": "none"}, {"tools": [A], "tool_choice": "none"}, []),
    ("together", {"tools": [A], "tool_choice": "none"}, {},
     [change("tool_choice", "emulated", "no tools are offered"), change("tools", "dropped", "tool_choice is none")]),
    ("together", {"tools": [A], "tool_choice": A}, {"tools": [A], "tool_choice": A}, []),
    # Values
    ("together", {"stop": "."}, {"stop": ["."]}, [change("stop", "renamed", "sent as a list")]),
    ("together", {"stop": [".", "!"]}, {"stop": [".", "!"]}, []),
    ("together", {"reasoning_effort": "max"}, {"reasoning_effort": "high"},
     [change("reasoning_effort", "renamed", "max sent as high")]),
    ("together", {"reasoning_effort": "none"}, {"reasoning": {"enabled": False}},
     [change("reasoning_effort", "renamed", "sent as reasoning")]),
    ("deepseek", {"reasoning_effort": "medium"}, {"reasoning_effort": "high"},
     [change("reasoning_effort", "renamed", "medium sent as high")]),
    ("deepseek", {"reasoning_effort": "low"}, {"reasoning_effort": "low"}, []),
    ("groq", {"logprobs": False}, {}, [change("logprobs", "dropped", "it asks for what happens anyway")]),
    ("groq", {"logprobs": True, "n": 2}, {"logprobs": True, "n": 2}, []),
    # Hints
    ("openai", {"top_k": 1, "seed": 1, "x": 1}, {"seed": 1, "x": 1}, [change("top_k", "dropped", UNKNOWN)]),
    ("groq", {"logit_bias": {"1": 1}}, {}, [change("logit_bias", "dropped", UNKNOWN)]),
    ("compatible", dict.fromkeys(HINTS, 1), dict.fromkeys(HINTS, 1), []),
    ("mistral", {"seed": 3, "user": "u", "x": 1, "safe_prompt": True}, {"random_seed": 3, "safe_prompt": True},
     [change("seed", "renamed", "sent as random_seed"), change("user", "dropped", UNKNOWN),
      change("x", "dropped", "the provider takes no such field")]),
    # Messages
    ("xai", {"messages": [{"role": "developer", "content": "d"}]}, {"messages": [{"role": "system", "content": "d"}]},
     [change("messages[].role", "renamed", "developer sent as system")]),
    ("openai", {"messages": [{"role": "developer", "content": "d"}]},
     {"messages": [{"role": "developer", "content": "d"}]}, []),
    ("mistral",
     {"messages": [{"role": "developer", "content": "d", "name": "n"}, {"role": "tool", "content": "r", "name": "t"}]},
     {"messages": [{"role": "system", "content": "d"}, {"role": "tool", "content": "r", "name": "t"}]},
     [change("messages[].role", "renamed", "developer sent as system"),
      change("messages[].name", "dropped", "the provider takes no such field")]),
    ("openai", {"messages": [{"role": "assistant", "content": "a", "reasoning_content": "r", "reasoning_details": []}]},
     {"messages": [{"role": "assistant", "content": "a"}]},
     [change("messages[].reasoning_content", "dropped", "the provider takes no such field")]),
    ("openai", {"messages": [{**CALLED, "tool_calls": [{"id": "c", "extra_content": {"google": {}}}]}]},
     {"messages": [{**CALLED, "tool_calls": [{"id": "c"}]}]},
     [change("messages[].extra_content", "dropped", "the provider takes no such field")]),
    ("compatible", {"messages": [{**CALLED, "tool_calls": [{"id": "c", "extra_content": {"google": {}}}]}]},
     {"messages": [{**CALLED, "tool_calls": [{"id": "c", "extra_content": {"google": {}}}]}]}, []),
    ("compatible", {"messages": [{"role": "assistant", "content": "a", "reasoning_details": [{"x": 1}]}]},
     {"messages": [{"role": "assistant", "content": "a", "reasoning_details": [{"x": 1}]}]}, []),
    ("openrouter", {"messages": [{"role": "assistant", "content": "a", "reasoning_details": [{"x": 1}]}]},
     {"messages": [{"role": "assistant", "content": "a", "reasoning_details": [{"x": 1}]}]}, []),
    ("deepseek", {"messages": [{"role": "assistant", "content": "a", "reasoning_content": "r"}]},
     {"messages": [{"role": "assistant", "content": "a", "reasoning_content": "r"}]}, []),
    ("deepseek", {"messages": [CALLED]}, {"messages": [{**CALLED, "reasoning_content": ""}]},
     [change("messages[].reasoning_content", "emulated", "sent empty, where a call came without")]),
    ("deepseek", {"messages": [{**CALLED, "reasoning_content": "r"}]},
     {"messages": [{**CALLED, "reasoning_content": "r"}]}, []),
    ("deepseek", {"messages": [CALLED], "thinking": {"type": "disabled"}},
     {"messages": [CALLED], "thinking": {"type": "disabled"}}, []),
    ("deepseek", {"messages": [CALLED], "reasoning_effort": "none"},
     {"messages": [CALLED], "thinking": {"type": "disabled"}},
     [change("reasoning_effort", "renamed", "sent as thinking")]),
    ("xai",
     {"messages": [{"role": "user", "content": "u", "name": "n"}, {"role": "system", "content": "s", "name": "n"}]},
     {"messages": [{"role": "user", "content": "u", "name": "n"}, {"role": "system", "content": "s"}]},
     [change("messages[].name", "dropped", "the provider takes no such field")]),
    ("together", {"logprobs": True, "top_logprobs": 3}, {"logprobs": 3},
     [change("logprobs", "renamed", "sent as a number"), change("top_logprobs", "renamed", "sent as logprobs")]),
    ("together", {"logprobs": True, "top_logprobs": 0}, {"logprobs": 1},
     [change("logprobs", "renamed", "sent as a number"), change("top_logprobs", "renamed", "sent as logprobs")]),
    ("together", {"logprobs": True}, {"logprobs": 1}, [change("logprobs", "renamed", "sent as a number")]),
    ("groq", {"messages": [{"role": "user", "content": "u", "name": "n"}]},
     {"messages": [{"role": "user", "content": "u"}]},
     [change("messages[].name", "dropped", "the provider takes no such field")]),
])  # fmt: skip
def test_what_goes_upstream_and_what_is_said_of_it(
    kind: str, sent: dict[str, Any], goes: dict[str, Any], changes: list[Adjustment]
) -> None:
    before = copy.deepcopy(sent)
    body, said = adjust(KINDS[kind], sent)
    assert (body, list(said)) == (goes, changes)
    assert sent == before, "another route may need it as it was"


# Properties, for every kind

MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user", "assistant", "tool"]), "content": st.text(max_size=3)},
        optional={"name": st.text(min_size=1, max_size=3)},
    ),
    min_size=1,
    max_size=3,
)
FIELDS = st.fixed_dictionaries(
    {"messages": MESSAGES},
    optional={
        **dict.fromkeys(sorted(HINTS), st.text(max_size=3)),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max", "other"]),
        "temperature": st.floats(0, 2), "max_tokens": st.integers(1), "max_completion_tokens": st.integers(1),
        "n": st.integers(1, 3), "stop": st.text(min_size=1) | st.lists(st.text(min_size=1), min_size=1, max_size=4),
        "logprobs": st.booleans(),
        "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}, WANTED["response_format"]]),
        "tools": st.just([A, B]),
        "tool_choice": st.sampled_from(["none", "auto", "required", A, allowed("auto", A), allowed("required", B)]),
        "guided_json": st.sampled_from([SCHEMA, json.dumps(SCHEMA), {"name": "x", "schema": SCHEMA}, "none"]),
        "guided_regex": st.text(min_size=1), "guided_choice": st.lists(st.text(), min_size=1, max_size=3),
        "guided_grammar": st.text(min_size=1), "structural_tag": st.sampled_from([TAG, json.dumps(TAG)]),
        "structured_outputs": st.sampled_from([{}, {"json": SCHEMA}, "no object"]), "random_seed": st.integers(),
        "regex": st.text(), "x_vendor": st.integers(),
    },
)  # fmt: skip


@settings(max_examples=60)
@given(fields=FIELDS)
def test_nothing_changes_in_silence(fields: dict[str, Any]) -> None:
    """Each field goes out as it came, or something is said of it; what goes out besides was said of another field."""
    assume(len(GUIDED & fields.keys()) <= 1)  # two are refused before
    before = copy.deepcopy(fields)
    for kind in KINDS.values():
        body, said = adjust(kind, fields)
        assert fields == before, kind.name
        told = {each.param.partition("[")[0] for each in said}
        assert fields.keys() - body.keys() <= told <= fields.keys(), kind.name
        assert {each.action for each in said} <= {"renamed", "emulated", "dropped"}, kind.name
        for name in body.keys() - told:
            sent = any(f"sent as {name}" in each.detail for each in said)
            assert body[name] == fields.get(name) or sent, (kind.name, name)


@settings(max_examples=60)
@given(fields=FIELDS)
def test_what_changes_the_meaning_is_never_just_left_out(fields: dict[str, Any]) -> None:
    """A dropped contract parameter asked for nothing, or another one stands for it."""
    for kind in KINDS.values():
        _, said = adjust(kind, fields)
        for each in said:
            if each.action == "dropped" and each.param in CONTRACT:
                asks_nothing = each.param == "logprobs" and not fields["logprobs"]
                stands = re.search(r"is given too|says more|tool_choice is none", each.detail)
                assert asks_nothing or stands, (kind.name, each)


@settings(max_examples=60)
@given(fields=FIELDS)
def test_a_kind_that_refuses_unknown_fields_is_sent_none(fields: dict[str, Any]) -> None:
    choosy = [kind for kind in KINDS.values() if kind.only is not None]
    assert choosy
    for kind in choosy:
        body, _ = adjust(kind, fields)
        assert body.keys() <= kind.only, kind.name
        assert kind.only >= CONTRACT, kind.name


@given(st.lists(st.text(max_size=5), min_size=1, max_size=5), st.text(max_size=5))
def test_an_alternation_matches_its_texts_and_nothing_else(options: list[str], other: str) -> None:
    pattern = re.compile(params.alternation(options))
    assert all(pattern.fullmatch(option) for option in options)
    assert bool(pattern.fullmatch(other)) == (other in options)


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n\t\r"), max_size=5),
                min_size=1, max_size=5), st.integers(0))  # fmt: skip
def test_a_grammar_of_texts_writes_one_of_them(options: list[str], seed: int) -> None:
    assert gbnf_writer(params.literals(options))(Chance(seed)) in options


# In the answer


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_a_change_is_listed_in_the_answer(serve: Serve, stream: bool) -> None:
    async with ScriptedUpstream() as upstream:
        async with serve({"acme": provider(upstream, kind="llamacpp")}) as gateway:
            reply = await gateway.chat(stream=stream, user="u", **WANTED)
        [received] = upstream.requests
    assert received.json["response_format"] == {"type": "json_object", "schema": SCHEMA}
    assert "user" not in received.json
    assert reply.tresor["adjustments"] == [
        {"param": "user", "action": "dropped", "detail": UNKNOWN},
        {"param": "response_format", "action": "renamed", "detail": "sent as json_object with the schema"},
    ]


def test_each_emulation_gives_a_capability_that_is_needed_by_its_parameter() -> None:
    """And only where it rests on another one."""
    for kind in KINDS.values():
        for name, each in kind.params.items():
            assert (each.gives is None) == (each.needs is None)
            if each.gives is not None:
                assert CAPABILITIES[each.gives].param == name
                assert each.action == "emulated"
                assert each.needs in kind.capabilities
    assert needed({"messages": [], "guided_json": SCHEMA}) <= KINDS["openai"].abilities
