"""Requests, read defensively."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealgate.providers.sandbox.refused import RefusedError
from sealgate.providers.sandbox.request import decode, read

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_what_is_not_sent_has_its_default() -> None:
    """One choice, no limit, seed 0; null counts as not sent."""
    nothing = dict.fromkeys(
        ("n", "stream", "seed", "max_tokens", "stop", "tools", "response_format", "logprobs", "user")
    )
    for body in (BODY, {**BODY, **nothing}):
        ask = read(body)
        assert (ask.n, ask.stream, ask.seed, ask.limit, ask.stops, ask.top, ask.effort) == (
            1,
            False,
            0,
            None,
            (),
            None,
            None,
        )
        assert ask.guide is None
        assert ask.toolbox is None


def test_the_smaller_limit_wins() -> None:
    """``max_tokens`` and ``max_completion_tokens``."""
    assert read({**BODY, "max_tokens": 5}).limit == 5
    assert read({**BODY, "max_tokens": 5, "max_completion_tokens": 3}).limit == 3


def test_fields_are_read_as_they_come() -> None:
    """The plain ones, and those that the sandbox takes and leaves."""
    ask = read(
        {
            **BODY, "n": 3, "stream": True, "stream_options": {"include_usage": True}, "stop": ["a", "b"],
            "seed": -(2**70), "logprobs": True, "top_logprobs": 2, "ignore_eos": True, "reasoning_effort": "high",
            "temperature": 0, "top_p": 1, "frequency_penalty": -2, "presence_penalty": 1.5, "user": "u",
            "logit_bias": {"5": 100}, "metadata": {"a": "b"}, "chat_template": "{{ x }}", "anything": object,
        }
    )  # fmt: skip
    assert (ask.n, ask.stream, ask.include_usage, ask.seed, ask.stops) == (3, True, True, -(2**70), ("a", "b"))
    assert (ask.top, ask.ignore_eos, ask.effort) == (2, True, "high")


def test_reasoning_is_asked_for_by_effort_or_by_the_template() -> None:
    """``none`` means none."""
    assert read({**BODY, "reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}}).effort is None
    assert read({**BODY, "chat_template_kwargs": {"enable_thinking": True}}).effort == "medium"
    assert read({**BODY, "chat_template_kwargs": {"enable_thinking": False}}).effort is None


WRONG: list[tuple[str, Any]] = [
    ("model", None), ("model", ""), ("model", 5), ("messages", None), ("stream", "yes"), ("stream_options", []),
    ("max_tokens", 0), ("max_tokens", 1.5), ("max_tokens", True), ("max_completion_tokens", "5"), ("n", 0), ("n", 129),
    ("seed", "1"), ("temperature", 2.1), ("temperature", "hot"), ("top_p", -0.1), ("frequency_penalty", 3),
    ("presence_penalty", []), ("logit_bias", {"1": 101}), ("logit_bias", []), ("logit_bias", {"1": "x"}),
    ("logprobs", 1), ("top_logprobs", 21), ("top_logprobs", 3), ("stop", ""), ("stop", [""]), ("stop", ["a"] * 5),
    ("stop", 5), ("ignore_eos", 1), ("reasoning_effort", "huge"), ("reasoning_effort", []), ("response_format", 5),
    ("tools", {}), ("tool_choice", "required"), ("functions", []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_values_out_of_range_are_refused_by_name(name: str, value: Any) -> None:
    """The parameter is the field."""
    with pytest.raises(RefusedError) as caught:
        read({**BODY, name: value})
    assert (caught.value.param or "").partition(".")[0] == name


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"\xff", b'"\\ud800"', b"[" * 5000, b"1e999", b"NaN"])
def test_a_body_that_is_not_an_object_is_refused(body: bytes) -> None:
    """Not JSON, not UTF-8, too deep, or another value."""
    with pytest.raises(RefusedError):
        decode(body)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = [
    "messages", "stream", "stream_options", "max_tokens", "n", "stop", "seed", "logprobs", "top_logprobs", "tools",
    "tool_choice", "functions", "function_call", "response_format", "guided_json", "guided_regex", "guided_choice",
    "guided_grammar", "structural_tag", "structured_outputs", "regex", "ebnf", "reasoning_effort", "logit_bias",
    "chat_template_kwargs", "parallel_tool_calls", "guided_whitespace_pattern",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(_FIELDS), _json, max_size=4))
def test_nothing_in_a_body_raises_anything_but_a_refusal(fields: dict[str, Any]) -> None:
    """Whatever a field holds, it is read or refused."""
    try:
        read({**BODY, **fields})
    except RefusedError as refused:
        assert refused.status == 400  # noqa: PT017
