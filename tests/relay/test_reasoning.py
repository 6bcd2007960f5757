"""What of an answer is kept, and which messages of a history lack it: without a gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.relay.reasoning import Thoughts, digest, lacking, open_loop

Json = dict[str, Any]

USER: Json = {"role": "user", "content": "Hi"}
TEXT: Json = {"role": "assistant", "content": "Hello"}
CALL: Json = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
RESULT: Json = {"role": "tool", "tool_call_id": "c", "content": "18"}
SYSTEM: Json = {"role": "system", "content": "Be brief"}
DETAILS = frozenset({"reasoning_details"})
FIRST = {"tool_calls": [{"index": 0, "id": "c1"}, {"index": 1, "id": "c2"}]}


@pytest.mark.parametrize(("messages", "calls"), [
    ([USER], ()),
    ([USER, CALL, RESULT], (1,)),
    ([SYSTEM, USER, CALL, RESULT, RESULT, CALL, RESULT], (5, 2)),
    ([USER, CALL, RESULT, TEXT, USER], ()),
    ([USER, CALL, RESULT, TEXT, USER, CALL, RESULT], (5,)),
    ([USER, CALL, RESULT, USER], (1,)),
    ([USER, CALL, RESULT, USER, USER], ()),
    ([USER, TEXT, CALL, RESULT], (2,)),
    ([USER, CALL, RESULT, SYSTEM, CALL, RESULT], (4, 1)),
    ([CALL, RESULT], (0,)),
    ([SYSTEM], ()),
    ([USER, {**CALL, "tool_calls": []}, RESULT], ()),
])  # fmt: skip
def test_the_loop_reaches_back_to_the_users_last_word(messages: list[Json], calls: tuple[int, ...]) -> None:
    assert open_loop(messages).calls == calls


def opening(content: Any) -> str:
    return digest(open_loop([{"role": "user", "content": content}]).opener)


def test_an_opening_is_known_by_its_text_alone() -> None:
    part = {"type": "text", "text": "Hi"}
    image = {"type": "image_url", "image_url": {"url": "https://e.example/a.png"}}

    same = [
        "Hi",
        [part],
        [{**part, "cache_control": {}}],
        [part, image],
        [{**part, "text": "H"}, {**part, "text": "i"}],
    ]
    assert len({opening(each) for each in same}) == 1
    assert len({opening(each) for each in ("Hi", "hi", "", None, [image], [{"type": "x", "text": 3}])}) == 3


@pytest.mark.parametrize(("messages", "needs", "found"), [
    ([CALL], DETAILS, (0,)),
    ([{**CALL, "reasoning_details": [1]}], DETAILS, ()),
    ([{**CALL, "reasoning_details": []}], DETAILS, (0,)),
    ([{**CALL, "reasoning_content": "x"}], DETAILS, (0,)),
    ([{**CALL, "reasoning_content": "x"}], {"reasoning_content"}, ()),
    ([{**CALL, "tool_calls": [{"id": "c", "extra_content": {}}]}], DETAILS, ()),
    ([CALL, {**CALL, "reasoning_details": [1]}], DETAILS, ()),
    ([{**CALL, "reasoning_details": [1]}, CALL], DETAILS, (1,)),
    ([CALL, CALL], DETAILS, (1, 0)),
])  # fmt: skip
def test_messages_lack_what_their_provider_wants(messages: list[Json], needs: Any, found: tuple[int, ...]) -> None:
    """Where the latest has it, the client keeps it, and what it left out was left out on purpose."""
    assert tuple(lacking(messages, tuple(reversed(range(len(messages)))), needs)) == found


def gathered(*said: Json, needs: Any = DETAILS) -> list[tuple[str, Json]]:
    thoughts = Thoughts(needs)
    for each in said:
        thoughts.take(0, each)
    return list(thoughts.states())


def test_reasoning_is_kept_under_the_first_call() -> None:
    entry = {"type": "reasoning.text", "text": "t", "signature": "s", "index": 0}

    assert gathered({"reasoning_details": [entry]}, FIRST) == [("c1", {"reasoning_details": [entry]})]
    assert gathered({"reasoning_details": [entry], **FIRST}) == [("c1", {"reasoning_details": [entry]})]
    assert gathered(FIRST) == [("c1", {})]
    assert gathered({"reasoning_details": [entry]}) == []
    assert gathered({"reasoning_content": "x", **FIRST}) == [("c1", {})]


def test_texts_are_joined() -> None:
    pieces = [{"reasoning_content": text} for text in ("I ", "thi", "nk")]

    assert gathered(*pieces, FIRST, needs={"reasoning_content"}) == [("c1", {"reasoning_content": "I think"})]


def details(*entries: Any) -> Any:
    [(_, state)] = gathered(*({"reasoning_details": [entry]} for entry in entries), FIRST)
    return state["reasoning_details"]


def test_pieces_of_one_entry_are_put_together_and_others_stay_as_they_are() -> None:
    def piece(text: str, index: int = 0, **more: Any) -> Json:
        return {"type": "reasoning.text", "text": text, "format": "f", "index": index, **more}

    assert details(piece("a"), piece("b"), piece("", signature="s")) == [piece("ab", signature="s")]
    assert details(piece("a", signature="s"), piece("b")) == [piece("a", signature="s"), piece("b")]
    assert details(piece("a"), piece("b", 1), piece("c", 1)) == [piece("a"), piece("bc", 1)]
    assert details(piece("a", signature=None), {**piece("b"), "signature": "s"}) == [piece("ab", signature="s")]
    without = [{**piece("a"), "index": None}, {**piece("b"), "index": None}]
    assert details(*without) == without
    summary = [{"type": "reasoning.summary", "summary": text, "index": 0} for text in "ab"]
    assert details(*summary) == [{"type": "reasoning.summary", "summary": "ab", "index": 0}]
    encrypted = [{"type": "reasoning.encrypted", "data": text, "index": 0} for text in "ab"]
    assert details(*encrypted) == encrypted


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["reasoning.text", "s"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "index", "format", "signature", "id", "x"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.fixed_dictionaries({}, optional={"reasoning_details": anything, "reasoning_content": anything})))
def test_whatever_a_provider_says_is_kept_without_an_error(said: list[Json]) -> None:
    for needs in (DETAILS, {"reasoning_content"}, {"reasoning_content", "reasoning_details"}):
        [(call, state)] = gathered(*said, FIRST, needs=needs)
        assert call == "c1"
        assert json.loads(json.dumps(state)) == state
