"""Gemini's answers as OpenAI's: whole and streamed, however they are cut, and what is a failure in them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.gemini_answer import BROKEN, SIGNED, STRIDE, ArrayReader, Places, StreamReader, WholeReader

Cut = Callable[[bytes], Iterable[bytes]]
USAGE = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
PAGE = {"web": {"uri": "https://a.example/x", "title": "A"}}


def response(*parts: Any, finish: str | None = None, index: int | None = None, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish is not None:
        candidate["finishReason"] = finish
    if index is not None:
        candidate["index"] = index
    outer = {name: more.pop(name) for name in ("usageMetadata", "modelVersion") if name in more}
    return {"candidates": [candidate | more], **outer}


def text(value: str, **more: Any) -> dict[str, Any]:
    return response({"text": value}, **more)


def call(name: str, signature: str | None = None, **fields: Any) -> dict[str, Any]:
    part: dict[str, Any] = {"functionCall": {"name": name, **fields}}
    return part | ({"thoughtSignature": signature} if signature else {})


def as_events(*responses: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(each, ensure_ascii=False).encode() + b"\r\n\r\n" for each in responses)


def as_array(*responses: Any) -> bytes:
    return json.dumps(responses, ensure_ascii=False, indent=2).encode()


def in_one(body: bytes) -> Iterable[bytes]:
    return [body]


def byte_by_byte(body: bytes) -> Iterable[bytes]:
    return [body[at : at + 1] for at in range(len(body))]


def anyhow(body: bytes) -> Iterator[bytes]:
    """Pieces of random lengths, the same each time."""
    dice, at = random.Random(7), 0
    while at < len(body):
        size = dice.randint(1, 23)
        yield body[at : at + size]
        at += size


def streamed(body: bytes, cut: Cut = in_one) -> list[Any]:
    reader = StreamReader()
    chunks = [chunk for piece in cut(body) for chunk in reader.feed(piece)]
    return chunks + list(reader.end())


def whole(body: Any) -> Any:
    reader = WholeReader()
    for piece in anyhow(body if isinstance(body, bytes) else json.dumps(body).encode()):
        assert not list(reader.feed(piece))
    [answer] = reader.end()
    return answer


def choice(body: Any) -> Any:
    [found] = whole(body)["choices"]
    return found


def message(*parts: Any) -> Any:
    return choice(response(*parts, finish="STOP"))["message"]


def gathered(chunks: Iterable[Any]) -> Any:
    """What a client makes of chunks: message, finish reason, usage; made-up ids all alike."""
    found: dict[str, Any] = {"usage": None, "choices": {}}
    for chunk in chunks:
        found["usage"] = chunk.get("usage") or found["usage"]
        for each in chunk["choices"]:
            one = found["choices"].setdefault(each["index"], {"finish": None})
            for name, value in each["delta"].items():
                one[name] = value if name not in one else one[name] + value
            one["finish"] = each.get("finish_reason") or one["finish"]
    return json.loads(re.sub(r"call_[0-9a-f]{32}", "call_X", json.dumps(found)))


def failure_of(read: Callable[[], Any]) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        read()
    return caught.value


# Whole


def test_a_whole_answer() -> None:
    found = whole(text("Grüße", finish="STOP", usageMetadata=USAGE, modelVersion="gemini-3-flash"))
    assert found == {
        "model": "gemini-3-flash",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "Grüße"}, "finish_reason": "stop"},
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }


def test_thoughts_stand_apart_from_the_text() -> None:
    hm, ah = {"text": "Hm. ", "thought": True}, {"text": "ah.", "thought": True}
    found = message(hm, {"text": "So: "}, ah, {"text": "4"})
    assert found == {"role": "assistant", "content": "So: 4", "reasoning_content": "Hm. ah."}


def test_calls_have_their_arguments_as_text_and_ids_of_their_own_where_none_came() -> None:
    found = message(call("f", args={"a": "ü"}, id="x1"), call("g"), call("f", args=None))
    calls = found["tool_calls"]
    assert [(each["function"]["name"], each["function"]["arguments"]) for each in calls] == [
        ("f", '{"a":"ü"}'), ("g", "{}"), ("f", "{}"),
    ]  # fmt: skip
    assert calls[0]["id"] == "x1"
    assert len({each["id"] for each in calls}) == 3
    assert all(re.fullmatch(r"call_[0-9a-f]{32}", each["id"]) for each in calls[1:])
    assert found["content"] is None


def test_signatures_come_with_what_they_belong_to() -> None:
    """As entries that name the call, and on the call itself."""
    found = message(
        {"text": "Hm.", "thought": True, "thoughtSignature": "S0"}, {"text": "Hi", "thoughtSignature": "S1"},
        call("f", "S2", id="x1"), call("g", id="x2"),
    )  # fmt: skip
    assert found["reasoning_details"] == [
        {"type": "reasoning.text", "text": "Hm.", "signature": "S0", "id": None, "format": SIGNED, "index": 0},
        {"type": "reasoning.encrypted", "data": "S1", "id": None, "format": SIGNED, "index": 1},
        {"type": "reasoning.encrypted", "data": "S2", "id": "x1", "format": SIGNED, "index": 2},
    ]
    assert [each.get("extra_content") for each in found["tool_calls"]] == [
        {"google": {"thought_signature": "S2"}}, None,
    ]  # fmt: skip


def test_a_made_up_id_is_the_same_on_the_call_and_on_its_signature() -> None:
    found = message(call("f", "S2"))
    assert found["reasoning_details"][0]["id"] == found["tool_calls"][0]["id"]


def test_a_call_of_nothing_is_none() -> None:
    assert message({"functionCall": {}}, {"text": "x"}) == {"role": "assistant", "content": "x"}


def test_images_are_handed_on_and_the_providers_own_tools_are_left_to_the_text() -> None:
    found = message(
        {"executableCode": {"language": "PYTHON", "code": "1+1"}}, {"codeExecutionResult": {"output": "2"}},
        {"text": "2"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    )  # fmt: skip
    assert found == {
        "role": "assistant", "content": "2",
        "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
    }  # fmt: skip


def test_several_candidates_are_several_choices() -> None:
    both = [text(word, finish="STOP", index=index)["candidates"][0] for index, word in ((1, "b"), (0, "a"))]
    found = whole({"candidates": both})["choices"]
    assert [(each["index"], each["message"]["content"]) for each in found] == [(0, "a"), (1, "b")]


def test_log_probabilities_in_openais_form() -> None:
    chosen = [{"token": "ü", "logProbability": -0.5}, {"token": "!", "logProbability": -1}]
    top = [{"candidates": [{"token": "ü", "logProbability": -0.5}, {"token": "u", "logProbability": -2}]}, {}]
    result = {"chosenCandidates": chosen, "topCandidates": top}
    assert choice(text("ü!", finish="STOP", logprobsResult=result))["logprobs"] == {
        "content": [
            {"token": "ü", "logprob": -0.5, "bytes": [195, 188], "top_logprobs": [
                {"token": "ü", "logprob": -0.5, "bytes": [195, 188]}, {"token": "u", "logprob": -2, "bytes": [117]},
            ]},
            {"token": "!", "logprob": -1, "bytes": [33], "top_logprobs": []},
        ],
        "refusal": None,
    }  # fmt: skip
    assert "logprobs" not in choice(text("x", finish="STOP"))


# How it ended


@pytest.mark.parametrize(("said", "reason"), [
    ("STOP", "stop"), ("MAX_TOKENS", "length"), ("CONTINUATION", "length"), ("SAFETY", "content_filter"),
    ("RECITATION", "content_filter"), ("BLOCKLIST", "content_filter"), ("PROHIBITED_CONTENT", "content_filter"),
    ("SPII", "content_filter"), ("LANGUAGE", "content_filter"), ("IMAGE_SAFETY", "content_filter"),
    ("IMAGE_OTHER", "content_filter"), ("MODEL_ARMOR", "content_filter"), ("ESCALATION", "content_filter"),
    ("SOMETHING_NEW", "something_new"),
])  # fmt: skip
def test_each_reason_in_openais_words(said: str, reason: str) -> None:
    """What nobody knows goes on as it is: whoever relabels the answer decides."""
    assert choice(text("x", finish=said))["finish_reason"] == reason
    assert gathered(streamed(as_events(text("x", finish=said))))["choices"]["0"]["finish"] == reason


@pytest.mark.parametrize("said", sorted(BROKEN))
def test_a_reason_that_is_a_failure_comes_after_what_there_was(said: str) -> None:
    body = text("x", finish=said, finishMessage="No.")
    error = failure_of(lambda: whole(body))
    assert (error.failure, error.text) == (Failure.SERVER_ERROR, f"the answer ended with {said}: No.")
    chunks = StreamReader().feed(as_events(body))
    assert next(iter(chunks))["choices"] == [{"index": 0, "delta": {"content": "x"}}]
    assert failure_of(lambda: list(chunks)).failure is Failure.SERVER_ERROR


def test_an_answer_that_was_withheld_says_so() -> None:
    """It would have neither content nor refusal, and look like a failure."""
    withheld = {"candidates": [{"content": {}, "finishReason": "SAFETY"}]}
    found = choice(withheld)
    assert found["message"]["refusal"] == "The answer was withheld: SAFETY."
    assert found["finish_reason"] == "content_filter"
    told = {"candidates": [{"finishReason": "SPII", "finishMessage": "Personal."}]}
    assert choice(told)["message"]["refusal"] == "Personal."
    assert "refusal" not in choice(text("Some.", finish="SAFETY"))["message"]


@pytest.mark.parametrize(("feedback", "told"), [
    ({"blockReason": "SAFETY"}, "The prompt was blocked: SAFETY."),
    ({"blockReason": "JAILBREAK", "blockReasonMessage": "No way."}, "No way."),
])  # fmt: skip
def test_a_blocked_prompt_is_an_answer(feedback: Any, told: str) -> None:
    body = {"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4}}
    found = choice(body)
    assert found["message"] == {"role": "assistant", "content": None, "refusal": told}
    assert found["finish_reason"] == "content_filter"
    assert gathered(streamed(as_events(body, body)))["choices"]["0"] == {"finish": "content_filter", "refusal": told}


def test_a_choice_that_says_with_every_event_that_it_is_over_is_read_to_the_end() -> None:
    chunks = streamed(as_events(text("a", finish="STOP"), text("b", finish="STOP"), text("c", finish="MAX_TOKENS")))
    assert gathered(chunks)["choices"]["0"] == {"finish": "length", "content": "abc"}
    assert [each.get("finish_reason") for chunk in chunks for each in chunk["choices"]] == [None, None, None, "length"]


def test_an_answer_without_a_reason_has_none() -> None:
    assert choice(text("a"))["finish_reason"] is None
    assert gathered(streamed(as_events(text("a"))))["choices"]["0"]["finish"] is None


# Usage


@pytest.mark.parametrize(("counts", "sent"), [
    ({"promptTokenCount": 5, "totalTokenCount": 5}, {"prompt_tokens": 5, "completion_tokens": 0}),
    ({"promptTokenCount": 5, "candidatesTokenCount": 3, "thoughtsTokenCount": 7, "totalTokenCount": 15},
     {"prompt_tokens": 5, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 7}}),
    # Thoughts counted inside of the answer.
    ({"promptTokenCount": 5, "candidatesTokenCount": 10, "thoughtsTokenCount": 7, "totalTokenCount": 15},
     {"prompt_tokens": 5, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 7}}),
    # Nothing but thoughts.
    ({"promptTokenCount": 5, "thoughtsTokenCount": 7, "totalTokenCount": 12},
     {"prompt_tokens": 5, "completion_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 7}}),
    # What the provider's own tools read.
    ({"promptTokenCount": 37, "toolUsePromptTokenCount": 105, "candidatesTokenCount": 29, "thoughtsTokenCount": 37,
      "totalTokenCount": 208},
     {"prompt_tokens": 142, "completion_tokens": 66, "completion_tokens_details": {"reasoning_tokens": 37}}),
    # Cached ones lie inside.
    ({"promptTokenCount": 50, "cachedContentTokenCount": 40, "candidatesTokenCount": 1, "totalTokenCount": 51},
     {"prompt_tokens": 50, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 40}}),
    ({"promptTokenCount": 50, "candidatesTokenCount": 9,
      "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 20}, {"modality": "AUDIO", "tokenCount": 30}],
      "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 9}]},
     {"prompt_tokens": 50, "completion_tokens": 9, "prompt_tokens_details": {"audio_tokens": 30},
      "completion_tokens_details": {"audio_tokens": 9}}),
    ({"trafficType": "ON_DEMAND"}, None),
])  # fmt: skip
def test_usage_is_what_is_paid_for(counts: Any, sent: Any) -> None:
    assert whole(text("x", finish="STOP", usageMetadata=counts)).get("usage") == sent


def test_usage_of_a_stream_is_cumulative_so_that_the_last_one_counts() -> None:
    first = {"promptTokenCount": 5, "candidatesTokenCount": 1}
    found = gathered(streamed(as_events(text("a", usageMetadata=first), text("b", finish="STOP", usageMetadata=USAGE))))
    assert found["usage"] == {"prompt_tokens": 5, "completion_tokens": 2}


# Sources


def annotations(*responses: Any) -> Any:
    return gathered(streamed(as_events(*responses)))["choices"]["0"].get("annotations")


def test_stretches_that_rest_on_a_page_are_cited_in_characters() -> None:
    """Gemini counts bytes; each stretch is cited once, however often it is told."""
    grounding = {
        "groundingChunks": [PAGE, {"retrievedContext": {}}],
        "groundingSupports": [
            {"segment": {"startIndex": 7, "endIndex": 11, "text": "höre"}, "groundingChunkIndices": [0, 1, 9]},
            {"segment": {"endIndex": 6, "text": "Grüße"}, "groundingChunkIndices": [0]},
        ],
    }
    last = {"candidates": [{"groundingMetadata": grounding, "finishReason": "STOP"}]}
    found = annotations(text("Grü"), text("ße höre"), last, last)
    assert [(each["type"], each["url_citation"]) for each in found] == [
        ("url_citation", {"start_index": 6, "end_index": 10, "title": "A", "url": "https://a.example/x"}),
        ("url_citation", {"start_index": 0, "end_index": 5, "title": "A", "url": "https://a.example/x"}),
    ]


@pytest.mark.parametrize("name", ["citationSources", "citations"])
def test_passages_that_are_repeated_are_cited(name: str) -> None:
    cited = {name: [{"startIndex": 1, "endIndex": 3, "uri": "https://b.example"}, {"license": "mit"}]}
    assert annotations(text("abc", citationMetadata=cited)) == [
        {"type": "url_citation",
         "url_citation": {"start_index": 1, "end_index": 3, "title": "", "url": "https://b.example"}},
    ]  # fmt: skip


def test_pages_that_no_stretch_rests_on_are_not_cited() -> None:
    assert annotations(text("abc", groundingMetadata={"groundingChunks": [PAGE]})) is None


# Streams, however they are cut

TALK = (
    text("Hm. ", usageMetadata={"promptTokenCount": 5}),
    response({"text": "Thinking…", "thought": True}),
    text("Grü"),
    text('ße 🌡️ "\\ {[}'),
    response(call("f", "S", args={"q": 'ü"}]{'}), call("g", id="x2"), index=0),
    text("zwei", index=1, finish="STOP"),
    {"usageMetadata": {"trafficType": "ON_DEMAND"}, "candidates": None},
    {"candidates": [{"index": 0}]},
    response({"text": "", "thoughtSignature": "S9"}, finish="STOP", usageMetadata=USAGE),
)
CUTS = [in_one, byte_by_byte, anyhow]


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("form", [
    as_events, as_array, lambda *talk: b"\xef\xbb\xbf" + as_events(*talk),
    lambda *talk: as_events(*talk).replace(b"\r\n", b"\n"), lambda *talk: b": hello\n\n" + as_events(*talk),
    lambda *talk: as_array(*talk).replace(b"\n", b"\r\n"), lambda *talk: b" \r\n" + json.dumps(talk).encode(),
])  # fmt: skip
def test_a_stream_is_the_same_however_it_is_cut_and_in_either_form(form: Callable[..., bytes], cut: Cut) -> None:
    found = gathered(streamed(form(*TALK), cut))
    assert found == gathered(streamed(as_events(*TALK)))
    first, second = found["choices"]["0"], found["choices"]["1"]
    assert second == {"finish": "stop", "content": "zwei"}
    assert first["content"] == 'Hm. Grüße 🌡️ "\\ {[}'
    assert first["reasoning_content"] == "Thinking…"
    assert [(each["index"], each["id"], each["function"]) for each in first["tool_calls"]] == [
        (0, "call_X", {"name": "f", "arguments": '{"q":"ü\\"}]{"}'}), (1, "x2", {"name": "g", "arguments": "{}"}),
    ]  # fmt: skip
    assert [each["index"] for each in first["reasoning_details"]] == [0, 1]
    assert found["usage"] == {"prompt_tokens": 5, "completion_tokens": 2}


def test_a_whole_answer_in_pieces_is_put_together() -> None:
    """A server that knows no events may send the array also where no stream was asked for."""
    assert choice(as_array(text("Grü"), text("ße", finish="STOP")))["message"]["content"] == "Grüße"


def test_each_element_of_an_array_comes_as_soon_as_it_is_whole() -> None:
    reader = ArrayReader()
    assert reader.feed(b'[{"a": "}\\') == []
    assert reader.feed(b'""}') == [b'{"a": "}\\""}']
    assert reader.feed(b',\n{"b": {"c": {}}}, {"d"') == [b'{"b": {"c": {}}}']
    assert reader.feed(b": 1}]") == [b'{"d": 1}']


@pytest.mark.parametrize("cut", CUTS)
def test_an_error_inside_of_a_stream_comes_after_what_was_said(cut: Cut) -> None:
    error = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
    for body in (as_events(text("Hi"), error), as_array(text("Hi"), error)):
        reader, found = StreamReader(), []

        def read(reader: StreamReader = reader, body: bytes = body, found: list[Any] = found) -> None:
            for piece in cut(body):
                found.extend(reader.feed(piece))

        error_seen = failure_of(read)
        assert (error_seen.failure, error_seen.status, error_seen.text) == (Failure.OVERLOADED, 503, "Overloaded.")
        assert gathered(found)["choices"]["0"]["content"] == "Hi"


@pytest.mark.parametrize("body", [
    b"data: {\n\n", b"data: [1]\n\n", b"data: null\n\n", b'data: {"candidates": 3}\n\n', b"data: \xff\n\n",
    b'data: {"candidates": [{"content": {"parts": ["x"]}}]}\n\n', b'[{"candidates": 3}]',
])  # fmt: skip
def test_an_event_that_is_no_answer_of_geminis(body: bytes) -> None:
    assert failure_of(lambda: streamed(body)).failure is Failure.BAD_STREAM


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"{}", b"[1]", b"null", b"3", b"<html>", b'{"candidates": []}', b'{"candidates": [3]}',
    b'{"usageMetadata": {"promptTokenCount": 3}}', b"[" * 2000,
])  # fmt: skip
def test_a_body_that_is_no_answer_of_geminis(body: bytes) -> None:
    assert failure_of(lambda: whole(body)).failure is Failure.BAD_RESPONSE


def test_an_error_in_place_of_a_whole_answer() -> None:
    error = {"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}
    for body in (error, [error]):
        assert failure_of(lambda body=body: whole(body)).failure is Failure.RATE_LIMITED  # type: ignore[misc]


def test_nothing_yet_is_nothing() -> None:
    assert streamed(b"") == []
    assert streamed(b"\r\n ") == []
    assert streamed(b"[]") == []


def test_what_has_no_end_is_given_up() -> None:
    long = b'"' + b"x" * 3_000_000
    for head in (b"data: ", b'[{"a": '):
        reader = StreamReader()

        def read(reader: StreamReader = reader, head: bytes = head) -> None:
            list(reader.feed(head + long))
            for _ in range(3):
                list(reader.feed(long[1:]))

        assert failure_of(read).failure is Failure.BAD_STREAM


def test_offsets_in_bytes_become_characters_wherever_they_fall() -> None:
    """Also inside a character, at the seams of the index, and beyond the text."""
    chance = random.Random(7)
    for size in (0, 1, 7, STRIDE, STRIDE + 3):
        text = "".join(chance.choice("aé€😀 \n") for _ in range(size))
        raw, places = text.encode(), Places(text)
        seams = [at + step for at in range(0, len(raw) + 1, STRIDE) for step in range(-4, 5)]
        for offset in (None, -1, len(raw), len(raw) + 9, *seams, *(chance.randint(0, len(raw)) for _ in range(50))):
            before = raw[: max(0, offset or 0)].decode(errors="ignore")
            assert places.characters(offset) == len(before), (size, offset)
