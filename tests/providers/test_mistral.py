"""Mistral's messages: what an OpenAI client says, in parts, fields and ids that Mistral takes."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.providers.base import Adjustment
from sealgate.providers.mistral import SIGNED
from sealgate.providers.params import adjust
from sealgate.providers.table import KINDS

KIND = KINDS["mistral"]


def sent(*messages: dict[str, Any]) -> tuple[list[Any], list[Adjustment]]:
    fields = {"messages": list(messages)}
    before = copy.deepcopy(fields)
    body, said = adjust(KIND, fields)
    assert fields == before, "another route may need it"
    return body["messages"], list(said)


def calling(*ids: str) -> dict[str, Any]:
    calls = [{"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(of: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": of, "content": "r"}


@pytest.mark.parametrize(
    ("part", "goes"),
    [
        ({"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "t"}),
        ({"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
         {"type": "input_audio", "input_audio": "QQ=="}),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"}},
         {"type": "document_url", "document_url": "data:application/pdf;base64,QQ==", "document_name": "a.pdf"}),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ=="}},
         {"type": "document_url", "document_url": "data:application/pdf;base64,QQ=="}),
        ({"type": "file", "file": {"file_id": "f"}}, {"type": "file", "file_id": "f"}),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
         {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}),
        ({"type": "refusal", "refusal": "No."}, {"type": "text", "text": "No."}),
    ],
)  # fmt: skip
def test_parts_take_mistrals_form(part: Any, goes: Any) -> None:
    assert sent({"role": "user", "content": [part]}) == ([{"role": "user", "content": [goes]}], [])


def test_reasoning_goes_back_as_the_part_it_came_as() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True}
    told = [Adjustment("messages[].reasoning_content", "renamed", "sent as a part of the content")]
    assert sent({"role": "assistant", "content": "Hi", "reasoning_content": "hm"}) == (
        [{"role": "assistant", "content": [thought, {"type": "text", "text": "Hi"}]}], told,
    )  # fmt: skip
    assert sent(calling("abcDEF123") | {"reasoning_content": "hm"})[0][0]["content"] == [thought]
    parts = [{"type": "text", "text": "Hi"}]
    assert sent({"role": "assistant", "content": parts, "reasoning_content": "hm"})[0][0]["content"] == [
        thought,
        *parts,
    ]


def test_a_signature_of_mistrals_goes_back_with_the_thinking_and_others_are_told_of() -> None:
    own = {"type": "reasoning.text", "text": "hm", "signature": "sig", "format": SIGNED, "index": 0}
    other = {"type": "reasoning.encrypted", "data": "x", "format": "anthropic-claude-v1"}
    message = {"role": "assistant", "content": "Hi", "reasoning_content": "hm"}
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True, "signature": "sig"}

    messages, said = sent({**message, "reasoning_details": [own, other]})

    assert messages == [{"role": "assistant", "content": [thought, {"type": "text", "text": "Hi"}]}]
    assert [(each.param, each.action) for each in said] == [
        ("messages[].reasoning_details", "dropped"), ("messages[].reasoning_content", "renamed"),
    ]  # fmt: skip
    for odd in ([None], ["x"], [{"format": SIGNED}], [{"format": SIGNED, "signature": 5}]):
        assert "signature" not in sent({**message, "reasoning_details": odd})[0][0]["content"][0]


def test_fields_that_mistral_refuses_are_left_out_and_told_of_once() -> None:
    answer = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": [{"type": "file"}], "name": "n"}
    messages, said = sent(answer, answer, {"role": "assistant", "content": "x", "prefix": True})
    assert messages == [{"role": "assistant", "content": "Hi"}] * 2 + [
        {"role": "assistant", "content": "x", "prefix": True}
    ]
    assert [(each.param, each.action) for each in said] == [
        ("messages[].annotations", "dropped"), ("messages[].name", "dropped"),
    ]  # fmt: skip


def test_ids_of_mistrals_own_making_stay() -> None:
    messages, said = sent(calling("gSIMJiOkT"), result("gSIMJiOkT"))
    assert (messages, said) == ([calling("gSIMJiOkT"), result("gSIMJiOkT")], [])


@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=5, unique=True))
def test_ids_of_others_become_nine_letters_and_digits_that_still_belong_together(ids: list[str]) -> None:
    """After a failover a conversation holds ids that another provider made."""
    messages, _ = sent(calling(*ids), *(result(each) for each in ids))
    called = [each["id"] for each in messages[0]["tool_calls"]]
    assert called == [each["tool_call_id"] for each in messages[1:]]
    assert all(re.fullmatch(r"[a-zA-Z0-9]{9}", each) for each in called)
    assert len(set(called)) == len(ids)
    assert sent(calling(*ids))[0][0] == messages[0], "the same in each request, so that prompt caches hold"


def test_calls_lose_what_other_providers_put_on_them() -> None:
    signed = calling("abcdefghi")
    signed["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": "s"}}
    told = [Adjustment("messages[].tool_calls[].extra_content", "dropped", "the provider takes no such field")]
    assert sent(signed) == ([calling("abcdefghi")], told)
