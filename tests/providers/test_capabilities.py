"""What a request needs of a route, and what a route has."""

import copy
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.errors import Problem
from sealgate.providers import capabilities
from sealgate.providers.base import Account
from sealgate.providers.capabilities import (
    ALL,
    CAPABILITIES,
    CONTRACT,
    HINTS,
    PARAMETERS,
    effective,
    media_of,
    missing,
    needed,
)
from sealgate.providers.table import KINDS

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "a"}}
CUSTOM = {"type": "custom", "custom": {"name": "c"}}
SCHEMA = {"type": "object"}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
NAMED = {"type": "function", "function": {"name": "a"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
FILE = {"type": "file", "file": {"file_id": "f"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}
TEXT = {"type": "text", "text": "t"}

ASKS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, set()),
    (dict.fromkeys(HINTS, 1) | {"temperature": 0, "x_vendor": {"tools": 1}}, set()),
    ({"n": 1, "logprobs": False, "response_format": {"type": "text"}}, set()),
    ({"n": 2}, {"n"}),
    ({"stop": "."}, {"stop"}),
    ({"max_tokens": 5}, {"max_tokens"}),
    ({"max_completion_tokens": 5}, {"max_tokens"}),
    ({"max_tokens": 5, "stop": ["."], "n": 3}, {"max_tokens", "stop", "n"}),
    ({"logprobs": True, "top_logprobs": 2}, {"logprobs"}),
    ({"response_format": {"type": "json_object"}}, {"json_object"}),
    ({"response_format": JSON_SCHEMA}, {"json_schema"}),
    ({"tools": [TOOL]}, {"tools"}),
    ({"tools": [CUSTOM]}, {"custom_tools"}),
    ({"tools": [TOOL, CUSTOM]}, {"tools", "custom_tools"}),
    ({"tools": [TOOL], "tool_choice": "auto"}, {"tools"}),
    ({"tools": [TOOL], "tool_choice": "none"}, {"tools"}),
    ({"tools": [TOOL], "tool_choice": "required"}, {"tools", "tool_required"}),
    ({"tools": [TOOL], "tool_choice": NAMED}, {"tools", "tool_choice"}),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}},
     {"tools"}),
    ({"tools": [TOOL],
      "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}},
     {"tools", "tool_required"}),
    ({"tools": [TOOL], "response_format": JSON_SCHEMA}, {"tools", "json_schema", "tools_with_format"}),
    ({"tools": [TOOL], "guided_choice": ["a"]}, {"tools", "guided_choice", "tools_with_format"}),
    ({"tools": [TOOL], "tool_choice": "none", "response_format": JSON_SCHEMA}, {"tools", "json_schema"}),
    ({"guided_json": SCHEMA}, {"guided_json"}),
    ({"guided_json": SCHEMA, "response_format": {"type": "json_object"}}, {"guided_json", "json_object"}),
    ({"guided_json": '{"type": "object"}', "max_tokens": 5}, {"guided_json", "max_tokens"}),
    ({"guided_regex": "a+"}, {"guided_regex"}),
    ({"guided_choice": ["a"]}, {"guided_choice"}),
    ({"guided_grammar": "root ::= 'a'"}, {"guided_grammar"}),
    ({"structural_tag": {"type": "structural_tag"}}, {"structural_tag"}),
    ({"structured_outputs": {"json": SCHEMA}}, {"structured_outputs"}),
    ({"messages": [{"role": "user", "content": [TEXT]}]}, set()),
    ({"messages": [*HELLO, {"role": "user", "content": [TEXT, IMAGE]}]}, {"images"}),
    ({"messages": [{"role": "user", "content": [FILE, SOUND]}, {"role": "user", "content": [IMAGE]}], "max_tokens": 1},
     {"files", "audio", "images", "max_tokens"}),
    ({"messages": [{"role": "assistant", "content": None}, {"role": "assistant"}]}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "needs"), ASKS, ids=lambda value: ",".join(sorted(value))[:40])
def test_what_a_request_needs(fields: dict[str, Any], needs: set[str]) -> None:
    sent = {"messages": HELLO, **fields}
    before = copy.deepcopy(sent)
    assert needed(sent) == needs
    assert needed(sent, media_of(sent["messages"])) == needs
    assert sent == before


def test_every_capability_can_be_needed_and_names_a_parameter() -> None:
    """The table and the code agree, both ways."""
    assert set().union(*(needs for _, needs in ASKS)) == ALL
    assert set(PARAMETERS.values()) <= CONTRACT | {"messages"}
    for row in CAPABILITIES.values():
        assert row.meaning.endswith(".")
    for fields, needs in ASKS:
        held = {"messages", *fields} | ({"max_tokens"} if "max_completion_tokens" in fields else set())
        assert {PARAMETERS[name] for name in needs} <= held


def test_a_parameter_is_a_hint_or_changes_the_meaning() -> None:
    assert not HINTS & CONTRACT
    assert capabilities.GUIDED < CONTRACT


@pytest.mark.parametrize("value", ["", "no", "[1]", "1", '"x"', "[" * 5000, '{"a": "\\ud800"}', "\x00"])
@pytest.mark.parametrize("name", ["guided_json", "structural_tag"])
def test_a_constraint_that_cannot_be_read_is_the_callers_mistake(name: str, value: str) -> None:
    with pytest.raises(Problem) as caught:
        needed({"messages": HELLO, name: value})
    assert (caught.value.code.name, caught.value.param) == ("invalid_parameter", name)


def test_two_constraints_contradict_each_other() -> None:
    with pytest.raises(Problem) as caught:
        needed({"messages": HELLO, "guided_regex": "a", "response_format": JSON_SCHEMA})
    assert (caught.value.code.name, caught.value.param) == ("invalid_parameter", "guided_regex")


@given(st.sets(st.sampled_from(sorted(ALL))), st.sets(st.sampled_from(sorted(ALL))))
def test_a_route_can_be_asked_where_nothing_is_missing(has: set[str], needs: set[str]) -> None:
    assert (missing(frozenset(has), frozenset(needs)) == frozenset()) == (needs <= has)


def account(kind: str, base_url: str = "https://acme.example/v1") -> Account:
    return Account(table="acme", name="acme", region="eu", kind=KINDS[kind], base_url=base_url)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_setting_a_route_can_do_what_its_kind_can(kind: str) -> None:
    own = KINDS[kind].base_url or "https://acme.example"
    assert effective(account(kind, own)) == KINDS[kind].abilities


@pytest.mark.parametrize(("kind", "configured", "found"), [
    ("ollama", ["tools"], {"tools"}),
    ("ollama", ["tools", "json_schema"], {"tools", "json_schema", "guided_json"}),
    ("sglang", ["guided_regex"], {"guided_regex", "guided_choice"}),
    ("hyperbolic", ["tools", "json_schema"], {"tools", "json_schema"}),
    ("groq", [], set()),
])  # fmt: skip
def test_a_model_may_be_said_to_do_less_or_more(kind: str, configured: list[str], found: set[str]) -> None:
    """What follows by emulation follows from what was said."""
    assert effective(account(kind), configured) == found


@pytest.mark.parametrize(("name", "hint"), [("jsonschema", "'json_schema'"), ("tool", "'tools'"), ("zzzz", "tools, ")])
def test_a_name_that_is_none_is_refused_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"no capability '{name}'.*{hint}"):
        effective(account("ollama"), ["tools", name])


@pytest.mark.parametrize(("base_url", "kind"), [
    ("https://api.openai.com/v1", "openai"),
    ("https://eu.api.openai.com/v1", "openai"),
    ("https://api.openai.com.acme.example/v1", "compatible"),
    ("https://notapi.openai.com/v1", "compatible"),
    ("http://127.0.0.1:8000/v1", "compatible"),
])  # fmt: skip
def test_openai_at_another_address_is_a_compatible_server(base_url: str, kind: str) -> None:
    assert account("openai", base_url).kind is KINDS[kind]
    assert account("vllm", base_url).kind is KINDS["vllm"]


def test_names_are_plain() -> None:
    assert typing.get_type_hints(capabilities.Capability).keys() == {"name", "param", "meaning"}
    assert all(name.replace("_", "").isalpha() and name.islower() for name in ALL)
