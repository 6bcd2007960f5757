"""What is read from messages."""

from __future__ import annotations

from typing import Any

import pytest

from sealgate.providers.sandbox import tokens
from sealgate.providers.sandbox.conversation import PER_MEDIUM, PER_MESSAGE, read_messages
from sealgate.providers.sandbox.refused import RefusedError

USER = {"role": "user", "content": "What is the weather?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Oslo"}'}}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="


def test_the_last_user_message_is_what_is_answered() -> None:
    """Its text and its media; parts are joined line by line."""
    talk = read_messages(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": None, "refusal": "no"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "one"},
                    {"type": "image_url", "image_url": {"url": PIXEL}},
                    {"type": "text", "text": "two"},
                ],
            },
        ]
    )
    assert (talk.last_role, talk.text) == ("user", "one\ntwo")
    assert talk.seen == ["An image: GIF, 1 by 1 pixels, 35 bytes."]


def test_tool_results_at_the_end_are_kept_with_their_tools_names() -> None:
    """By the id of the call, by the older ``name``, or without one; a later user message ends them."""
    messages: list[Any] = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "12 degrees"},
        {"role": "function", "name": "old", "content": "x"},
        {"role": "tool", "tool_call_id": "unknown", "content": [{"type": "text", "text": "y"}]},
    ]
    talk = read_messages(messages)
    assert talk.results == [("get_weather", "12 degrees"), ("old", "x"), ("", "y")]
    assert (talk.last_role, talk.text) == ("tool", "What is the weather?")
    assert read_messages([*messages, USER]).results == []


def test_tokens_are_those_of_all_texts_and_a_little_for_each_message_and_medium() -> None:
    """As the documentation says."""
    assert read_messages([USER]).tokens == PER_MESSAGE + tokens.count(USER["content"])
    with_call = read_messages([USER, {"role": "assistant", "tool_calls": [CALL]}])
    function = CALL["function"]
    assert isinstance(function, dict)
    called = tokens.count(function["name"]) + tokens.count(function["arguments"])
    assert with_call.tokens == 2 * PER_MESSAGE + tokens.count(USER["content"]) + called
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}]
    assert read_messages(image).tokens == PER_MESSAGE + PER_MEDIUM


def test_the_fingerprint_is_of_everything_said() -> None:
    """Roles, texts, calls and media; equal messages have equal ones."""
    variants: list[Any] = [
        [USER],
        [{**USER, "content": "other"}],
        [{**USER, "role": "system"}, USER],
        [USER, {"role": "assistant", "tool_calls": [CALL]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}],
        [{"role": "user", "content": ""}],
    ]
    assert len({read_messages(each).fingerprint for each in variants}) == len(variants)
    assert read_messages([USER]).fingerprint == read_messages([dict(USER)]).fingerprint


WRONG: dict[str, tuple[Any, str]] = {
    "nothing": (None, "messages"),
    "no message": ([], "messages"),
    "a string": ("hi", "messages"),
    "a message that is none": ([5], "messages[0]"),
    "no role": ([USER, {"content": "x"}], "messages[1].role"),
    "an unknown role": ([{"role": "robot", "content": "x"}], "messages[0].role"),
    "a role that is a list": ([{"role": [], "content": "x"}], "messages[0].role"),
    "no content": ([{"role": "user"}], "messages[0].content"),
    "content that is a number": ([{"role": "user", "content": 5}], "messages[0].content"),
    "a part that is none": ([{"role": "user", "content": ["x"]}], "messages[0].content[0]"),
    "a part without a type": ([{"role": "user", "content": [{}]}], "messages[0].content[0].type"),
    "a part of an unknown type": ([{"role": "user", "content": [{"type": []}]}], "messages[0].content[0].type"),
    "text that is none": ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
    "calls that are none": ([{"role": "assistant", "tool_calls": 5}], "messages[0].tool_calls"),
    "a call that is none": ([{"role": "assistant", "tool_calls": [5]}], "messages[0].tool_calls"),
    "a call without its function": ([{"role": "assistant", "tool_calls": [{"id": 1}]}], "messages[0].tool_calls"),
}


@pytest.mark.parametrize("name", WRONG)
def test_malformed_messages_are_refused_with_their_place(name: str) -> None:
    """`RefusedError` whose parameter names the place."""
    messages, param = WRONG[name]
    with pytest.raises(RefusedError) as caught:
        read_messages(messages)
    assert (caught.value.status, caught.value.param) == (400, param)
