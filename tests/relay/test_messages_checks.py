"""What Anthropic refuses of a request whose form is right."""

from __future__ import annotations

import pytest

from sealgate.errors import Problem
from sealgate.providers.base import Json
from sealgate.relay.messages_checks import check_turns, is_base64


@pytest.mark.parametrize(("text", "wanted"), [
    ("", True), ("QQ==", True), ("QUJD", True), ("QU\nJD", True), ("QQ", True), ("Q", False), ("QUJDR", False),
    ("QU-_", False), ("Gruß", False), ("Q=Q=", False), ("data:image/png;base64,QUJD", False),
])  # fmt: skip
def test_what_can_be_base64_is_told_from_what_cannot(text: str, wanted: bool) -> None:
    assert is_base64(text) is wanted


USER = {"role": "user", "content": "Hi"}


def called(*names: str) -> Json:
    return {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": each, "name": "n", "input": {}} for each in names],
    }


def results(*names: str) -> Json:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": each} for each in names]}


@pytest.mark.parametrize(("turns", "param"), [
    ([USER, called("a", "b"), results("b", "a"), called("c"), results("c")], None),
    ([USER, called("a", "b"), results("a"), results("b"), called("c")], None),
    ([USER, called("a"), called("b"), results("a", "b")], None),
    ([USER, called("a"), {"role": "system", "content": "Go on."}, results("a")], None),
    ([USER, called("a")], None),
    ([USER, results("a")], "messages[1].content[0].tool_use_id"),
    ([USER, called("a"), results("a", "a")], "messages[2].content[1].tool_use_id"),
    ([USER, called("a"), USER], "messages[2].content"),
    ([USER, called("a", "b"), results("a"), called("c")], "messages[2].content"),
    ([USER, called("0"), results("0"), called("0"), results("0"), called("0")], None),  # TGI; Kimi: list_dir:0
    ([USER, called("0"), results("0"), called("0"), USER], "messages[4].content"),
    ([USER, called("0"), results("0"), called("0"), results("0", "0")], "messages[4].content[1].tool_use_id"),
    ([USER, called("a", "a"), results("a")], "messages[1].content[1].id"),
    ([USER, called("a"), called("a"), results("a")], "messages[2].content[0].id"),
    ([{"role": "user", "content": ""}], "messages[0].content"),
    ([{"role": "user", "content": []}], "messages[0].content"),
    ([USER, {"role": "user", "content": [{"type": "text", "text": ""}]}], "messages[1].content"),
    ([USER, {"role": "assistant", "content": []}], None),
])  # fmt: skip
def test_calls_and_results_belong_together_and_users_say_something(turns: list[Json], param: str | None) -> None:
    if param is None:
        check_turns(turns)
        return
    with pytest.raises(Problem) as caught:
        check_turns(turns)
    assert (caught.value.code.name, caught.value.param) == ("invalid_messages", param)
