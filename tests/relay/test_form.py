"""Every wrong place of a body is found, and none where there is none."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from sealgate.relay.form import MAX_PLACES, dotted, places
from sealgate.relay.shapes import ChatRequest


class Inner(Struct, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=1)]
    name: str | None = None


class Outer(Struct, forbid_unknown_fields=True):
    inner: Inner
    several: Annotated[list[Inner], Meta(max_length=3)] | None = None
    either: str | list[Inner] | None = None


def found(value: Any, kind: Any = Outer) -> list[tuple[str, str]]:
    return [(dotted(each.loc), each.kind) for each in places(value, kind)]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"inner": {"count": 1}}, []),
        ({}, [("inner", "missing")]),
        ({"inner": None}, [("inner", "type_error")]),
        ({"inner": {"count": 0, "name": 5}}, [("inner.count", "value_error"), ("inner.name", "type_error")]),
        ({"inner": {"count": 1}, "x": 1, "y": 2}, [("x", "extra_forbidden"), ("y", "extra_forbidden")]),
        (
            {"inner": {}, "several": [{"count": 1}, {"count": "1"}, {}]},
            [("inner.count", "missing"), ("several[1].count", "type_error"), ("several[2].count", "missing")],
        ),
        ({"inner": {"count": 1}, "several": [{}] * 4}, [("several", "too_long")]),
        ({"inner": {"count": 1}, "either": [{"count": 0}]}, [("either[0].count", "value_error")]),
        ({"inner": {"count": 1}, "either": 5}, [("either", "type_error")]),
        ([], [("", "type_error")]),
    ],
)
def test_each_wrong_place_is_told_by_itself(value: Any, wanted: list[tuple[str, str]]) -> None:
    assert found(value) == wanted


def test_an_object_of_an_unknown_kind_is_told_with_what_no_kind_would_take() -> None:
    message = {"role": "string", "content": "string", "name": "string", "tool_calls": [{}], "tool_call_id": 5}
    assert found({"messages": [message]}, ChatRequest) == [
        ("messages[0].role", "value_error"),
        ("messages[0].tool_calls[0].type", "missing"),
        ("messages[0].tool_call_id", "type_error"),
    ]


def test_a_hundred_thousand_mistakes_make_no_answer_as_long() -> None:
    assert len(places([{}] * 100_000, list[Inner])) == MAX_PLACES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["user", "assistant", "text", "function", "x"]),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(
            st.sampled_from(
                ["inner", "count", "name", "several", "either", "messages", "role", "content", "type", "text", "tools"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from([Outer, ChatRequest]))
def test_places_are_found_exactly_where_the_conversion_fails(value: Any, kind: Any) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        assert places(value, kind)
    else:
        assert places(value, kind) == []
