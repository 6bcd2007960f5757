"""TensorZero's list form of ``extra_body``: JSON Pointers into the request (RFC 6901)."""

import copy
from typing import Any

import pytest

from sealgate.errors import Problem
from sealgate.relay.pointer import apply

BODY: dict[str, Any] = {"a": {"b": {"c": 1}, "list": [1, {"x": 2}, 3]}, "text": "t", "m~n": {"o/p": 1}}


def patch(pointer: str, value: Any = 9) -> dict[str, Any]:
    return {"pointer": pointer, "value": value}


@pytest.mark.parametrize(
    ("patches", "changed"),
    [
        ([], {}),
        ([patch("/new")], {"new": 9}),
        ([patch("/text", None)], {"text": None}),
        ([patch("/a/b/c")], {"a": {"b": {"c": 9}, "list": [1, {"x": 2}, 3]}}),
        ([patch("/a/b/d/e")], {"a": {"b": {"c": 1, "d": {"e": 9}}, "list": [1, {"x": 2}, 3]}}),
        ([patch("/a/list/0")], {"a": {"b": {"c": 1}, "list": [9, {"x": 2}, 3]}}),
        ([patch("/a/list/1/x")], {"a": {"b": {"c": 1}, "list": [1, {"x": 9}, 3]}}),
        ([patch("/a/list/-")], {"a": {"b": {"c": 1}, "list": [1, {"x": 2}, 3, 9]}}),
        ([patch("/deep/er/still")], {"deep": {"er": {"still": 9}}}),
        ([patch("/m~0n/o~1p")], {"m~n": {"o/p": 9}}),
        ([patch("/m~0n/~01")], {"m~n": {"o/p": 1, "~1": 9}}),
        ([patch("/a"), patch("/a")], {"a": 9}),
        ([patch("/x", {}), patch("/x/y")], {"x": {"y": 9}}),
        ([patch("/a/b/c", 1), patch("/a/b/c", 2)], {"a": {"b": {"c": 2}, "list": [1, {"x": 2}, 3]}}),
        ([patch("/")], {"": 9}),
        ([patch("/a/list/01")], {"a": {"b": {"c": 1}, "list": [1, 9, 3]}}),
    ],
)
def test_patches_give_the_changed_fields_whole_and_leave_the_body_alone(
    patches: list[dict[str, Any]], changed: dict[str, Any]
) -> None:
    before = copy.deepcopy(BODY)
    assert apply(patches, BODY) == changed
    assert before == BODY


@pytest.mark.parametrize(
    "wrong",
    [
        {"value": 1},
        {"pointer": "/a"},
        {"pointer": "a", "value": 1},
        {"pointer": "", "value": 1},
        {"pointer": 5, "value": 1},
        patch("/text/inside"),
        patch("/text/0/inside"),
        patch("/a/list/3"),
        patch("/a/list/x"),
        patch("/a/list/-/x"),
        patch("/a/list/-1"),
        patch("/a/list/9/x"),
        patch("/a/list/\u00b2"),
        patch("/a/list/" + "1" * 5000),
        patch("/a" * 33),
        patch("/a" * 100_000),
    ],
)
def test_a_pointer_that_leads_nowhere_is_a_400(wrong: dict[str, Any]) -> None:
    with pytest.raises(Problem) as caught:
        apply([wrong], BODY)
    assert (caught.value.code.name, caught.value.status) == ("invalid_extra_body", 400)
    assert caught.value.param == "tensorzero::extra_body"
