"""Answers: an upstream's chunks and completions under our own label, complete or refused."""

import json
from typing import Any

import msgspec
import pytest

from sealgate.api.shapes import ChatCompletion, ChatCompletionChunk
from sealgate.errors import Failure, UpstreamError
from sealgate.limits.prices import Tariff
from sealgate.relay.answer import Label, StreamedAnswer, WholeAnswer

LABEL = Label(
    "chatcmpl-1", "asked-for", 1700000000, "01977ed9-7492-7b70-8347-955764f97b3d",
    {"requested_route": "auto/auto/m", "routed_model": "eu/acme/m", "failover": False},
)  # fmt: skip
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **top: Any) -> dict[str, Any]:
    return {
        "id": "up",
        "model": "up",
        "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}],
        **top,
    }


def streamed(*chunks: dict[str, Any], n: int = 1, include_usage: bool = False, on_finish: bool = False) -> list[Any]:
    answer = StreamedAnswer(LABEL, n, 40, include_usage=include_usage, usage_on_finish=on_finish)
    payloads = [payload for each in chunks for payload in answer.take(each)] + answer.end()
    for payload in payloads:
        msgspec.json.decode(payload, type=ChatCompletionChunk, strict=True)
    return [json.loads(payload) for payload in payloads]


def deltas(found: list[Any]) -> list[Any]:
    return [each["choices"][0]["delta"] for each in found if each["choices"]]


def whole(**message: Any) -> Any:
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": "stop"}
    answer = WholeAnswer(LABEL, 1, 40)
    answer.take({"id": "up", "model": "up", "choices": [choice], "usage": USAGE})
    [payload] = answer.end()
    msgspec.json.decode(payload, type=ChatCompletion, strict=True)
    return json.loads(payload)


def test_a_stream_begins_with_the_role_and_ends_with_what_is_ours() -> None:
    found = streamed(chunk({"role": "assistant", "content": ""}), chunk({"content": "Hi"}), chunk(finish="stop"))
    assert deltas(found) == [{"role": "assistant"}, {"content": "Hi"}, {}]
    assert {(c["id"], c["object"], c["created"], c["model"]) for c in found} == {
        ("chatcmpl-1", "chat.completion.chunk", 1700000000, "asked-for")
    }
    assert found[-1]["choices"][0]["finish_reason"] == "stop"
    assert found[-1]["tresor"] == LABEL.tresor
    assert found[-1]["episode_id"] == LABEL.episode_id
    assert all("tresor" not in each and "usage" not in each for each in found[:-1])


def test_every_chunk_has_choices_unless_usage_was_asked_for() -> None:
    upstream = (chunk({"content": "Hi"}), chunk(finish="stop"), {"choices": [], "usage": USAGE})
    assert all(each["choices"] for each in streamed(*upstream))
    asked = streamed(*upstream, include_usage=True)
    assert [each["usage"] for each in asked] == [None, None, None, USAGE]
    assert asked[-1]["choices"] == []


def test_usage_can_ride_on_the_finish_chunk() -> None:
    found = streamed(
        chunk({"content": "Hi"}),
        chunk(finish="stop"),
        {"choices": [], "usage": USAGE},
        include_usage=True,
        on_finish=True,
    )
    assert all(each["choices"] for each in found)
    assert found[-1]["usage"] == USAGE
    assert found[-1]["choices"][0]["finish_reason"] == "stop"


def test_content_and_finish_in_one_chunk_are_told_apart() -> None:
    found = streamed(chunk({"content": "Hi"}, finish="length", usage=USAGE))
    assert deltas(found) == [{"role": "assistant"}, {"content": "Hi"}, {}]


def test_reasoning_goes_by_one_name() -> None:
    found = streamed(chunk({"reasoning": "hm"}), chunk({"reasoning_content": "so"}), chunk({"content": "x"}, "stop"))
    assert deltas(found)[1:3] == [{"reasoning_content": "hm"}, {"reasoning_content": "so"}]


def call(index: int | None, **fields: Any) -> dict[str, Any]:
    found = {"function": {key: value for key, value in fields.items() if key != "id"}}
    return {**({} if index is None else {"index": index}), **({"id": fields["id"]} if "id" in fields else {}), **found}


@pytest.mark.parametrize(
    "upstream",
    [
        # OpenAI's own way; ids and names repeated; no indices; one index for all; indices that start at 1.
        [[call(0, id="a", name="f", arguments="")], [call(0, arguments="{}")],
         [call(1, id="b", name="g", arguments="[]")]],
        [[call(0, id="a", name="f", arguments="")], [call(0, id="a", name="f", arguments="{}")],
         [call(1, id="b", name="g", arguments="[]")]],
        [[call(None, id="a", name="f", arguments="")], [call(None, arguments="{}")],
         [call(None, id="b", name="g", arguments="[]")]],
        [[call(0, id="a", name="f", arguments="")], [call(0, arguments="{}")],
         [call(0, id="b", name="g", arguments="[]")]],
        [[call(1, id="a", name="f", arguments="")], [call(1, arguments="{}")],
         [call(2, id="b", name="g", arguments="[]")]],
    ],
)  # fmt: skip
def test_tool_calls_are_numbered_and_named_once(upstream: list[Any]) -> None:
    found = deltas(streamed(*(chunk({"tool_calls": calls}) for calls in upstream), chunk(finish="tool_calls")))
    assert [each["tool_calls"][0] for each in found if "tool_calls" in each] == [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": "{}"}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "[]"}},
    ]


def test_a_call_without_an_id_gets_one_and_object_arguments_become_text() -> None:
    calls = [{"function": {"name": "f", "arguments": {"a": 1}}}]
    found = deltas(streamed(chunk({"tool_calls": calls}), chunk(finish="stop")))[1]["tool_calls"][0]
    assert found["id"].startswith("call_")
    assert json.loads(found["function"]["arguments"]) == {"a": 1}


def test_stop_after_a_tool_call_is_tool_calls() -> None:
    found = streamed(chunk({"tool_calls": [call(0, id="a", name="f", arguments="{}")]}), chunk(finish="stop"))
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_call_that_says_nothing_of_its_arguments_has_none() -> None:
    """OpenAI writes ``{}``; a client that decodes the arguments would fail on an empty text."""
    calls = [call(0, id="a", name="f", arguments=""), call(1, id="b", name="g", arguments="{}"), call(2, name="h")]
    found = deltas(streamed(chunk({"tool_calls": calls}), chunk(finish="tool_calls")))
    assert found[2]["tool_calls"] == [
        {"index": 0, "function": {"arguments": "{}"}}, {"index": 2, "function": {"arguments": "{}"}},
    ]  # fmt: skip
    cut = deltas(streamed(chunk({"tool_calls": calls[:1]}), chunk(finish="length")))
    assert len(cut) == 3, "an answer that was cut off may have been about to say them"


def test_a_name_that_comes_late_or_in_pieces_is_said_as_it_comes() -> None:
    """Clients put the pieces together, so what is merely repeated is left out."""
    calls = [call(0, id="a", arguments=""), call(0, name="get_", arguments=""), call(0, name="it", arguments=""),
             call(0, name="get_it", arguments="{}"), call(0, name="get_it", arguments="")]  # fmt: skip
    found = deltas(streamed(*(chunk({"tool_calls": [each]}) for each in calls), chunk(finish="tool_calls")))
    names = [each["tool_calls"][0]["function"].get("name", "") for each in found if "tool_calls" in each]
    assert names == ["", "get_", "it", "", ""]


def test_calls_without_indices_are_told_apart_by_their_names() -> None:
    calls = [{"id": "null", "function": {"name": name, "arguments": {}}} for name in ("f", "f", "g")]
    [found] = [each["tool_calls"] for each in deltas(streamed(chunk({"tool_calls": calls}, "stop")))
               if "tool_calls" in each]  # fmt: skip
    assert [(each["index"], each["function"]) for each in found] == [
        (number, {"name": name, "arguments": "{}"}) for number, name in enumerate(("f", "f", "g"))
    ]
    assert len({each["id"] for each in found} - {"null"}) == 3


def test_tool_calls_may_end_with_an_empty_reason() -> None:
    """xAI does; without tool calls, and for a reason that never came, the answer counts as cut off."""
    found = streamed(chunk({"tool_calls": [call(0, id="a", name="f", arguments="{}")]}, ""))
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert "tresor" in found[-1]
    for first in (chunk({"content": "Hi"}, ""), chunk({"tool_calls": [call(0, id="a", name="f", arguments="{}")]})):
        with pytest.raises(UpstreamError):
            streamed(first)


THINKING = [
    {
        "type": "thinking",
        "thinking": [{"type": "text", "text": "so "}, {"type": "text", "text": "then"}],
        "closed": True,
    },
    {"type": "reference", "reference_ids": [1]},
    {"type": "text", "text": "Hi"},
]


def test_content_in_parts_is_told_apart_as_reasoning_and_text() -> None:
    """Mistral's reasoning models answer with a list, in streams too."""
    message = whole(content=THINKING)["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Hi", "reasoning_content": "so then"}
    found = deltas(streamed(chunk({"content": THINKING[:1]}), chunk({"content": "Hi"}, "stop")))
    assert found[1:3] == [{"reasoning_content": "so then"}, {"content": "Hi"}]


def test_a_signature_of_thinking_is_carried_to_the_caller() -> None:
    signed = [{**THINKING[0], "signature": "sig"}, *THINKING[1:]]
    entry = {"type": "reasoning.text", "text": "so then", "signature": "sig", "format": "mistral-v1", "index": 0}
    message = whole(content=signed)["choices"][0]["message"]
    assert (message["reasoning_content"], message["reasoning_details"]) == ("so then", [entry])
    found = deltas(streamed(chunk({"content": signed[:1]}), chunk({"content": "Hi"}, "stop")))
    assert found[1:3] == [{"reasoning_content": "so then", "reasoning_details": [entry]}, {"content": "Hi"}]
    for odd in (None, "", 5, ["x"]):
        plain = whole(content=[{**THINKING[0], "signature": odd}])["choices"][0]["message"]
        assert "reasoning_details" not in plain


def test_reasoning_by_two_names_is_said_once() -> None:
    assert deltas(streamed(chunk({"reasoning": "hm", "reasoning_content": "hm"}), chunk({"content": "x"}, "stop")))[
        1
    ] == {"reasoning_content": "hm"}
    assert (
        whole(content="x", reasoning="hm", reasoning_content="hm")["choices"][0]["message"]["reasoning_content"] == "hm"
    )


def test_numbers_of_tokens_are_no_content() -> None:
    """Together and vLLM send them with every delta, the one with the role included."""
    found = streamed(
        chunk({"role": "assistant", "content": "", "token_id": 5, "token_ids": [5]}), chunk({"content": "x"}, "stop")
    )
    assert deltas(found) == [{"role": "assistant"}, {"content": "x"}, {}]


def test_a_whole_message_in_a_stream_is_taken_where_nothing_has_come_yet() -> None:
    first = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]}
    again = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
    assert deltas(streamed(first, again)) == [{"role": "assistant"}, {"content": "Hi"}, {}]


FILTERED = {"hate": {"filtered": True, "severity": "high"}}


def test_what_a_content_filter_says_is_handed_on() -> None:
    """Azure sends no message at all where its filter has taken all of it."""
    answer = WholeAnswer(LABEL, 1, 40)
    choice = {"index": 0, "finish_reason": "content_filter", "content_filter_results": FILTERED}
    answer.take({"choices": [choice], "usage": USAGE})
    assert json.loads(answer.end()[0])["choices"] == [
        {**choice, "message": {"role": "assistant", "content": None}, "logprobs": None}
    ]
    last = chunk({}, "content_filter")
    last["choices"][0]["content_filter_results"] = FILTERED
    assert streamed(chunk({"content": "x"}), last)[-1]["choices"] == [
        {"index": 0, "delta": {}, "finish_reason": "content_filter", "content_filter_results": FILTERED}
    ]


def test_several_choices_each_begin_and_the_last_finish_carries_what_is_ours() -> None:
    found = streamed(
        chunk({"content": "a"}, index=0), chunk({"content": "b"}, index=1), chunk(finish="stop", index=1),
        chunk({"content": "c"}, index=0), chunk(finish="length", index=0), n=2,
    )  # fmt: skip
    assert [(each["choices"][0]["index"], each["choices"][0]["delta"]) for each in found] == [
        (0, {"role": "assistant"}), (0, {"content": "a"}), (1, {"role": "assistant"}), (1, {"content": "b"}),
        (0, {"content": "c"}), (1, {}), (0, {}),
    ]  # fmt: skip
    assert ["tresor" in each for each in found] == [False] * 6 + [True]


def test_fewer_choices_than_asked_for_still_end_properly() -> None:
    found = streamed(chunk({"content": "a"}), chunk(finish="stop"), n=3)
    assert "tresor" in found[-1]


def test_what_is_passed_on_and_what_is_not() -> None:
    found = streamed(
        chunk({"content": "x"}, system_fingerprint="fp", service_tier=None, x_internal={"a": 1}), chunk(finish="stop")
    )
    assert all(each["system_fingerprint"] == "fp" for each in found)
    assert all("x_internal" not in each and "service_tier" not in each for each in found)


def odds(token: str, logprob: float = -0.1, **fields: Any) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": [], **fields}


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [
        ({"content": [odds("é")], "refusal": None}, {"content": [odds("é")], "refusal": None}),
        ({"content": [odds("é")]}, {"content": [odds("é")], "refusal": None}),
        ({"content": [{"token": "é", "logprob": -0.1}]}, {"content": [odds("é")], "refusal": None}),
        (
            {"content": [{"token": "é", "logprob": -0.1, "top_logprobs": [{"token": "e", "logprob": -3}]}]},
            {"content": [odds("é", top_logprobs=[{"token": "e", "logprob": -3, "bytes": [101]}])], "refusal": None},
        ),
        ({"content": [odds("é", top_logprobs=None)]}, {"content": [odds("é")], "refusal": None}),
        (
            {"content": [odds("é", top_logprobs=[{"token": "e", "logprob": -3}])]},
            {"content": [odds("é", top_logprobs=[{"token": "e", "logprob": -3, "bytes": [101]}])], "refusal": None},
        ),
        # DeepSeek, for reasoning.
        ({"reasoning_content": [odds("é")]}, {"content": None, "refusal": None, "reasoning_content": [odds("é")]}),
        # Together in a stream, and whole.
        (-0.1, {"content": [odds("é")], "refusal": None}),
        ({"tokens": ["a", "b"], "token_logprobs": [-0.1]}, {"content": [odds("a"), odds("b", -9999.0)],
                                                            "refusal": None}),
        (
            {"tokens": ["a"], "token_logprobs": [-0.1], "top_logprobs": [{"a": -0.1, "c": None}]},
            {"content": [odds("a", top_logprobs=[{"token": "a", "logprob": -0.1, "bytes": [97]},
                                                 {"token": "c", "logprob": -9999.0, "bytes": [99]}])],
             "refusal": None},
        ),
    ],
)  # fmt: skip
def test_logprobs_ride_along_in_openais_form(logprobs: Any, expected: Any) -> None:
    first = chunk({"content": "é"})
    first["choices"][0]["logprobs"] = logprobs
    assert streamed(first, chunk(finish="stop"))[1]["choices"][0]["logprobs"] == expected

    answer = WholeAnswer(LABEL, 1, 40)
    choice = {"message": {"content": "é"}, "logprobs": logprobs, "finish_reason": "stop"}
    answer.take({"choices": [choice]})
    assert json.loads(answer.end()[0])["choices"][0]["logprobs"] == expected


@pytest.mark.parametrize("logprobs", [None, {}, [], "x", True])
def test_what_are_no_logprobs_are_left_out(logprobs: Any) -> None:
    first = chunk({"content": "x"})
    first["choices"][0]["logprobs"] = logprobs
    assert "logprobs" not in streamed(first, chunk(finish="stop"))[1]["choices"][0]


def test_an_empty_answer_with_usage_is_an_answer() -> None:
    found = streamed(chunk({"role": "assistant"}), chunk(finish="stop"), {"choices": [], "usage": USAGE})
    assert deltas(found) == [{"role": "assistant"}, {}]


@pytest.mark.parametrize(
    ("chunks", "failure"),
    [
        ([], Failure.BAD_RESPONSE),
        ([chunk({"role": "assistant"})], Failure.BAD_RESPONSE),
        ([chunk({"content": "Hi"})], Failure.TRUNCATED),
        ([chunk({"content": "Hi"}), {"choices": [], "usage": USAGE}], Failure.TRUNCATED),
        ([chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk(finish="stop", index=1)], Failure.TRUNCATED),
        ([chunk({"role": "assistant"}), chunk(finish="stop")], Failure.BAD_RESPONSE),
        ([chunk({"content": "Hi"}), chunk(finish="error")], Failure.SERVER_ERROR),
        ([chunk({"content": "Hi"}), chunk(finish="MALFORMED_FUNCTION_CALL")], Failure.SERVER_ERROR),
        ([{"choices": ["x"]}], Failure.BAD_STREAM),
    ],
)
def test_what_is_no_complete_answer(chunks: list[Any], failure: Failure) -> None:
    """Rows F1 and E13: truncation never looks like success."""
    with pytest.raises(UpstreamError) as caught:
        streamed(*chunks)
    assert caught.value.failure is failure


@pytest.mark.parametrize(
    ("reported", "source"),
    [(USAGE, "reported"), (None, "estimated"), ({"prompt_tokens": -1}, "estimated"), ("x", "estimated"),
     ({"prompt_tokens": 10**18, "completion_tokens": 1}, "estimated")],
)  # fmt: skip
def test_rows_f12_f13_missing_or_absurd_usage_is_estimated(reported: Any, source: str) -> None:
    answer = StreamedAnswer(LABEL, 1, 40, include_usage=False, usage_on_finish=False)
    answer.take(chunk({"content": "x" * 8}, usage=reported))
    answer.take(chunk(finish="stop"))
    answer.end()
    assert answer.usage.source == source
    if source == "estimated":
        assert (answer.usage.prompt, answer.usage.completion) == (10, 2)


def test_a_whole_answer_has_every_field_and_nothing_of_the_upstreams_label() -> None:
    found = whole(content="Hi", refusal=None, tool_calls=[], annotations=[])
    assert found == {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "asked-for",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "logprobs": None,
                     "finish_reason": "stop"}],
        "usage": USAGE, "episode_id": LABEL.episode_id, "tresor": {**LABEL.tresor, "cost": None},
    }  # fmt: skip


def test_of_calls_that_share_an_id_only_the_first_keeps_it() -> None:
    """TGI calls every call ``0``: results could not tell whose they are."""
    same = [{"id": "0", "function": {"name": name, "arguments": "{}"}} for name in ("f", "g", "h")]
    told = whole(tool_calls=same)["choices"][0]["message"]["tool_calls"]
    parts = [call(index, id="0", name=name, arguments="{}") for index, name in enumerate("fgh")]
    found = deltas(streamed(chunk({"tool_calls": parts}), chunk(finish="tool_calls")))
    for calls in (told, [each for delta in found for each in delta.get("tool_calls", ())]):
        assert [each["function"]["name"] for each in calls] == ["f", "g", "h"]
        assert calls[0]["id"] == "0"
        assert len({each["id"] for each in calls}) == 3


def test_whole_tool_calls_reasoning_and_details() -> None:
    found = whole(
        reasoning="hm",
        tool_calls=[{"id": "a", "function": {"name": "f", "arguments": ""}}],
        reasoning_details=[{"x": 1}],
    )["choices"][0]
    assert found["finish_reason"] == "tool_calls"
    assert found["message"]["reasoning_content"] == "hm"
    assert found["message"]["reasoning_details"] == [{"x": 1}]
    assert found["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": []},
        {"choices": [{"index": 0, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "x"}, "finish_reason": None}]},
        {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "x"}, "finish_reason": "network_error"}]},
    ],
)
def test_what_is_no_whole_answer(answer: Any) -> None:
    found = WholeAnswer(LABEL, 1, 40)
    with pytest.raises(UpstreamError):
        found.take(answer)


PRICED = msgspec.structs.replace(LABEL, tariff=Tariff(10**12, 10 * 10**12, 10**12, 10**12, 10 * 10**12))
"""One for a million tokens of the prompt, ten for a million of the answer."""
COST = "0.000023"


def test_a_whole_answer_says_what_it_cost() -> None:
    answer = WholeAnswer(PRICED, 1, 40)
    answer.take({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE})
    assert json.loads(answer.end()[0])["tresor"] == {**LABEL.tresor, "cost": COST}
    assert answer.cost == 23_000


@pytest.mark.parametrize("on_finish", [False, True])
def test_a_stream_says_what_it_cost_where_it_says_its_usage(on_finish: bool) -> None:
    answer = StreamedAnswer(PRICED, 1, 40, include_usage=True, usage_on_finish=on_finish)
    payloads = answer.take(chunk({"content": "Hi"})) + answer.take(chunk(finish="stop"))
    payloads += answer.take({"choices": [], "usage": USAGE}) + answer.end()
    found = [json.loads(payload) for payload in payloads]
    assert [each["tresor"].get("cost") for each in found if "tresor" in each] == ([COST] if on_finish else [None, COST])
    assert found[-1]["usage"] == USAGE


@pytest.mark.parametrize("index", ["x", 1.5, [0], True])
def test_a_choice_whose_index_is_no_number_breaks_the_stream(index: Any) -> None:
    answer = StreamedAnswer(LABEL, 1, 100, include_usage=False, usage_on_finish=False)
    with pytest.raises(UpstreamError) as caught:
        answer.take({"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]})
    assert caught.value.failure is Failure.BAD_STREAM


def test_a_stream_without_a_receipt_says_the_same_and_keeps_nothing_of_it() -> None:
    pieces = [chunk({"content": "x" * 1000}) for _ in range(200)]
    kept, unkept = (
        StreamedAnswer(LABEL, 1, 40, include_usage=False, usage_on_finish=False, receipted=receipted)
        for receipted in (True, False)
    )
    for piece in pieces:
        assert kept.take(piece) == unkept.take(piece)
    assert len(kept.said()[0]["message"]["content"]) == 200_000
    assert len(unkept.said()[0]["message"]["content"]) <= 1000


@pytest.mark.parametrize("delta", ["text", [1], 7, {"content": "more"}])
def test_what_comes_of_a_choice_that_is_over_is_left_out(delta: Any) -> None:
    late = {"choices": [{"index": 0, "delta": delta}]}
    found = streamed(chunk({"content": "Hi"}), chunk(finish="stop"), late, {"choices": [], "usage": USAGE})
    assert deltas(found) == [{"role": "assistant"}, {"content": "Hi"}, {}]
