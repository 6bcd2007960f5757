"""Answers: honest, deterministic, counted, cut where limits and stops say."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sealgate.providers.sandbox import tokens
from sealgate.providers.sandbox.prose import HONEST


def usage(answer: Any) -> tuple[int, int, int]:
    used = answer.json["usage"]
    return used["prompt_tokens"], used["completion_tokens"], used["total_tokens"]


def finish(answer: Any, index: int = 0) -> str:
    reason: str = answer.json["choices"][index]["finish_reason"]
    return reason


@pytest.mark.anyio
async def test_an_answer_says_what_it_is_and_what_it_was_sent(chat: Any) -> None:
    """The documentation's own example, to the letter: it is the same on every machine."""
    answer = await chat("Hello, how are you?", model="qwen3-4b")
    filler = "A travelling tuner sorts eleven chairs after supper."
    assert answer.content == f'{HONEST} You wrote: "Hello, how are you?" {filler}'
    assert finish(answer) == "stop"
    assert answer.json["model"] == "qwen3-4b"


@pytest.mark.anyio
async def test_equal_requests_have_equal_answers_and_the_seed_changes_them(chat: Any) -> None:
    """No seed is seed 0; temperature, penalties and the like change nothing."""
    plain = (await chat()).content
    same: list[dict[str, Any]] = [
        {}, {"seed": 0}, {"temperature": 0}, {"temperature": 1.5, "top_p": 0.3, "frequency_penalty": 1},
        {"logit_bias": {"1": -100}, "user": "u", "metadata": {"a": "b"}}, {"logprobs": True}, {"model": "other"},
    ]  # fmt: skip
    for fields in same:
        assert (await chat(**fields)).content == plain
    assert len({(await chat(seed=seed)).content for seed in (0, 1, 2, -1, 2**70)}) == 5
    assert (await chat("Hello you")).content != plain


@pytest.mark.anyio
async def test_a_stream_says_the_same_one_token_at_a_time(chat: Any) -> None:
    """The tokens are the tokenizer's, joined they are the whole answer."""
    whole = (await chat("Grüße, 世界! 12345")).content
    pieces = (await chat("Grüße, 世界! 12345", stream=True)).deltas("content")
    assert pieces[0] == ""
    assert pieces[1:] == tokens.split(whole)


@pytest.mark.anyio
async def test_usage_counts_tokens(chat: Any) -> None:
    """Completion by the tokenizer, the total is the sum, nothing is cached."""
    answer = await chat("one two three")
    prompt, completion, total = usage(answer)
    assert completion == tokens.count(answer.content)
    assert prompt == 3 + 4
    assert total == prompt + completion
    assert answer.json["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert answer.json["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}


@pytest.mark.anyio
async def test_a_limit_cuts_after_so_many_tokens(chat: Any) -> None:
    """Finish ``length``; a limit that is just enough cuts nothing."""
    whole = (await chat()).content
    size = tokens.count(whole)
    for limit in (1, 5, size - 1):
        answer = await chat(max_tokens=limit)
        assert answer.content == "".join(tokens.split(whole)[:limit])
        assert (finish(answer), usage(answer)[1]) == ("length", limit)
    assert finish(await chat(max_completion_tokens=size)) == "stop"
    assert (await chat(max_tokens=10**12)).content == whole


@pytest.mark.anyio
async def test_a_stop_ends_the_text_before_it(chat: Any) -> None:
    """Inside a token, across tokens, the earliest of several; none found changes nothing."""
    whole = (await chat()).content
    for stop in ("guage", "sandbox, not", "te's off", "."):
        answer = await chat(stop=stop)
        assert answer.content == whole[: whole.index(stop)]
        assert finish(answer) == "stop"
        assert usage(answer)[1] == tokens.count(answer.content)
        streamed = await chat(stop=[stop], stream=True)
        assert "".join(streamed.deltas("content")) == answer.content
    assert (await chat(stop=["model", "offline", "zzz"])).content == whole[: whole.index("offline")]
    assert (await chat(stop="zzz")).content == whole
    assert (await chat(stop="This")).content == ""


@pytest.mark.anyio
async def test_a_stop_beyond_the_limit_is_not_reached(chat: Any) -> None:
    """The limit cuts first."""
    assert finish(await chat(stop="model", max_tokens=3)) == "length"
    assert finish(await chat(stop="is", max_tokens=3)) == "stop"


@pytest.mark.anyio
async def test_ignore_eos_fills_up_to_the_limit(chat: Any) -> None:
    """Exactly, ending with ``length``; without a limit up to a documented number; a stop still stops."""
    for limit in (2, 50, 777):
        answer = await chat(ignore_eos=True, max_tokens=limit)
        assert (tokens.count(answer.content), finish(answer)) == (limit, "length")
    assert usage(await chat(ignore_eos=True))[1] == 256
    stopped = await chat(ignore_eos=True, max_tokens=500, stop="language")
    assert (stopped.content, finish(stopped)) == (HONEST.partition("language")[0], "stop")


@pytest.mark.anyio
async def test_no_answer_is_without_bound(chat: Any) -> None:
    """Whatever is asked for, all choices together stay below 32 768 tokens."""
    answer = await chat(ignore_eos=True, max_tokens=10**9, n=4)
    assert usage(answer)[1] == 32_768
    assert [finish(answer, index) for index in range(4)] == ["length"] * 4


@pytest.mark.anyio
async def test_choices_differ_and_take_turns_in_a_stream(chat: Any) -> None:
    """``n`` choices with their indices, the first tokens of all before the second of any."""
    answer = await chat(n=5)
    choices = answer.json["choices"]
    assert [choice["index"] for choice in choices] == list(range(5))
    assert len({choice["message"]["content"] for choice in choices}) == 5
    assert usage(answer)[1] == sum(tokens.count(choice["message"]["content"]) for choice in choices)
    streamed = await chat(n=5, stream=True)
    assert [event["choices"][0]["index"] for event in streamed.events[:15]] == [0, 1, 2, 3, 4] * 3
    for index in range(5):
        assert "".join(streamed.deltas("content", index)) == choices[index]["message"]["content"]


@pytest.mark.anyio
async def test_logprobs_belong_to_the_tokens(chat: Any) -> None:
    """One entry for each token, streamed with it; as many likely ones as asked for."""
    answer = await chat(logprobs=True, top_logprobs=3)
    entries = answer.json["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == tokens.split(answer.content)
    assert all(len(entry["top_logprobs"]) == 3 for entry in entries)
    streamed = await chat(logprobs=True, top_logprobs=3, stream=True)
    marks = [event["choices"][0]["logprobs"] for event in streamed.events]
    assert [mark["content"][0] for mark in marks if mark] == entries
    assert (await chat(logprobs=True)).json["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []
    assert (await chat()).json["choices"][0]["logprobs"] is None


@pytest.mark.anyio
async def test_reasoning_comes_before_the_content_and_is_counted(chat: Any) -> None:
    """By effort, by the template, or by the model ``think``; more effort, more of it; within the limit."""
    plain = await chat()
    assert "reasoning_content" not in plain.message
    low = await chat(reasoning_effort="low")
    high = await chat(reasoning_effort="high")
    assert low.content == high.content == plain.content
    counts = [tokens.count(each.message["reasoning_content"]) for each in (low, high)]
    assert counts[0] < counts[1]
    details = high.json["usage"]["completion_tokens_details"]
    assert details == {"reasoning_tokens": counts[1]}
    assert usage(high)[1] == counts[1] + tokens.count(plain.content)
    streamed = await chat(reasoning_effort="high", stream=True)
    kinds = [next(iter(event["choices"][0]["delta"]), None) for event in streamed.events[1:-1]]
    assert kinds == ["reasoning_content"] * counts[1] + ["content"] * tokens.count(plain.content)
    assert "".join(streamed.deltas("reasoning_content")) == high.message["reasoning_content"]
    cut = await chat(reasoning_effort="high", max_tokens=4)
    assert (cut.content, finish(cut), usage(cut)[1]) == ("", "length", 4)
    for fields in ({"model": "think"}, {"chat_template_kwargs": {"enable_thinking": True}}):
        assert (await chat(**fields)).message["reasoning_content"]
    assert "reasoning_content" not in (await chat(reasoning_effort="none")).message


@pytest.mark.anyio
async def test_media_are_described_in_the_answer(chat: Any, pictures: dict[str, bytes]) -> None:
    """Each of the last user message, in order."""
    url = "data:image/png;base64," + base64.b64encode(pictures["png"]).decode()
    text = {"type": "text", "text": "What is in this image?"}
    image = {"type": "image_url", "image_url": {"url": url}}
    file = {"type": "file", "file": {"file_data": "data:text/plain;base64,aGk=", "filename": "a.txt"}}
    answer = await chat([{"role": "user", "content": [text, image, file]}])
    told = (
        f'An image: PNG, 640 by 480 pixels, {len(pictures["png"])} bytes. A file "a.txt" of type text/plain, 2 bytes.'
    )
    assert f'You wrote: "What is in this image?" {told}' in answer.content
    broken = {"type": "image_url", "image_url": {"url": url[:-40]}}
    refused = await chat([{"role": "user", "content": [text, broken]}])
    assert refused.status == 400
    assert (refused.error["code"], refused.error["param"]) == ("invalid_media", "messages[0].content[1]")


@pytest.mark.anyio
async def test_a_refusal_is_in_its_own_field(chat: Any) -> None:
    """Whole and streamed, with its log probabilities there too."""
    answer = await chat(model="refuse", logprobs=True)
    assert answer.message["content"] is None
    assert "sandbox" in answer.message["refusal"]
    assert finish(answer) == "stop"
    logprobs = answer.json["choices"][0]["logprobs"]
    assert logprobs["content"] is None
    assert "".join(entry["token"] for entry in logprobs["refusal"]) == answer.message["refusal"]
    streamed = await chat(model="refuse", stream=True)
    assert "".join(streamed.deltas("refusal")) == answer.message["refusal"]
    assert streamed.deltas("content") == []


@pytest.mark.anyio
async def test_a_content_filter_leaves_a_part(chat: Any) -> None:
    """Finish ``content_filter``."""
    whole, answer = await chat(), await chat(model="filter")
    assert finish(answer) == "content_filter"
    assert whole.content.startswith(answer.content)
    assert 0 < len(answer.content) < len(whole.content)
