"""OpenAI's wire: what is written, what is read, and what an error says about its route."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.errors import Failure, UpstreamError
from sealgate.providers import whole
from sealgate.providers.base import Account, Kind, Prompt
from sealgate.providers.openai import BY_CODE, QUOTA_CODES, WIRE, WholeReader
from sealgate.providers.table import KINDS

OPENAI = KINDS["openai"]
ANY = KINDS["compatible"]
MESSAGES = [{"role": "user", "content": "Grüße"}]


def account(kind: Kind) -> Account:
    return Account("acme", "acme", "eu", kind, kind.base_url or "https://llm.acme.example/v1")


def written(kind: Any = ANY, *, stream: bool = False, extra: Mapping[str, Any] | None = None, **fields: Any) -> Any:
    prompt = Prompt({"messages": MESSAGES, **fields}, stream, dict(extra or {}), {}, {})
    before = repr(prompt)
    body = json.loads(WIRE.write(account(kind), prompt, "up/model", None).body)
    assert repr(prompt) == before, "another route may need the same request"
    return body


# Writing


def test_fields_go_as_they_came_with_the_upstreams_own_model_name() -> None:
    assert written(temperature=0.1, x={"y": [1, None, "ü"]}) == {
        "messages": MESSAGES, "temperature": 0.1, "x": {"y": [1, None, "ü"]}, "model": "up/model",
    }  # fmt: skip


def test_a_stream_always_asks_for_usage() -> None:
    """The ledger needs it, whether or not the caller wants to see it."""
    assert written(stream=True)["stream_options"] == {"include_usage": True}
    assert written(stream=True)["stream"] is True
    assert not {"stream", "stream_options"} & written().keys()


def test_a_stream_does_not_ask_where_asking_is_refused() -> None:
    body = written(replace(OPENAI, asks_usage=False), stream=True)
    assert body["stream"] is True
    assert "stream_options" not in body


@pytest.mark.parametrize("sent", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("kind", "takes"), [
    ("compatible", None), ("deepseek", "max_tokens"), ("openai", "max_completion_tokens"),
])  # fmt: skip
def test_the_limit_on_tokens_goes_by_the_name_the_provider_knows(kind: str, takes: str | None, sent: str) -> None:
    body = written(KINDS[kind], **{sent: 5})
    assert {name: value for name, value in body.items() if name.startswith("max_")} == {takes or sent: 5}


def test_what_was_changed_comes_with_the_body() -> None:
    prompt = Prompt({"messages": MESSAGES, "max_tokens": 5, "top_k": 1, "temperature": 0}, False, {}, {}, {})
    made = WIRE.write(account(OPENAI), prompt, "up/model", None)
    assert json.loads(made.body) == {
        "model": "up/model", "messages": MESSAGES, "max_completion_tokens": 5, "temperature": 0,
    }  # fmt: skip
    assert [(each.param, each.action) for each in made.adjustments] == [("max_tokens", "renamed"), ("top_k", "dropped")]


def test_extra_body_goes_as_it_is_even_where_the_provider_takes_no_unknown_fields() -> None:
    assert written(KINDS["mistral"], extra={"x": 1, "user": "u"}, y=2) == {
        "messages": MESSAGES, "x": 1, "user": "u", "model": "up/model",
    }  # fmt: skip


def test_extra_body_is_merged_last() -> None:
    body = written(extra={"temperature": 2, "top_k": 3, "nothing": None}, temperature=0)
    assert (body["temperature"], body["top_k"], body["nothing"]) == (2, 3, None)


# Reading a stream


def streamed(*pieces: bytes) -> tuple[list[Any], Any]:
    reader = WIRE.reader({}, stream=True)
    found = [chunk for piece in pieces for chunk in reader.feed(piece)] + list(reader.end())
    return found, reader


def read(body: bytes, *, stream: bool) -> list[Any]:
    reader = WIRE.reader({}, stream=stream)
    return [*reader.feed(body), *reader.end()]


def event(value: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


CHUNK = {"choices": [{"index": 0, "delta": {"content": "x"}}]}


def test_each_event_is_a_chunk_until_done() -> None:
    found, reader = streamed(event(CHUNK), event({"choices": []}), b"data: [DONE]\n\n")
    assert (found, reader.done) == ([CHUNK, {"choices": []}], True)


def test_row_f10_what_comes_after_done_is_not_part_of_the_answer() -> None:
    found, reader = streamed(event(CHUNK) + b"data: [DONE]\n\n" + event(CHUNK) + b"data: {broken\n\n")
    assert (found, reader.done) == ([CHUNK], True)


@pytest.mark.parametrize(
    "text", ["data: [DONE]\n\n", "data:[DONE]\r\n\r\n", "data: [DONE] \n\n", ": c\nid: 1\ndata: [DONE]\n\n"]
)
def test_done_is_known_in_every_spelling(text: str) -> None:
    assert streamed(text.encode())[1].done


def test_a_stream_without_done_has_not_said_that_it_is_over() -> None:
    found, reader = streamed(event(CHUNK))
    assert (found, reader.done) == ([CHUNK], False)


def test_the_last_event_may_come_without_its_blank_line() -> None:
    """Where the body has ended properly; half an event is still none, and an error is still an error."""
    last = event({"choices": [], "usage": {}})
    for missing in (1, 2):
        assert streamed(event(CHUNK), last[:-missing])[0] == [CHUNK, {"choices": [], "usage": {}}]
    assert streamed(event(CHUNK), b"data: [DONE]")[1].done
    for cut in range(len(event(CHUNK)) - 2):
        found, reader = streamed(event(CHUNK), event(CHUNK)[:cut])
        assert (found, reader.done) == ([CHUNK], False)
    with pytest.raises(UpstreamError):
        streamed(b'data: {"error": {"message": "m"}}')


@given(st.lists(st.integers(1, 40), max_size=20))
def test_row_f8_the_pieces_do_not_matter(sizes: list[int]) -> None:
    body = event(CHUNK) + b": ping\r\n\r\n" + event({"choices": [], "x": "Grüße 👋"}) + b"data: [DONE]\n\n"
    pieces, start = [], 0
    for size in sizes:
        pieces.append(body[start : start + size])
        start += size
    assert streamed(*pieces, body[start:])[0] == streamed(body)[0]


@pytest.mark.parametrize("data", [b"{", b"nope", b"[1]", b"7", b'"x"', b"null", b"{" * 5000, b'{"a": NaN}', b"\xff"])
def test_row_f6_an_event_that_is_no_object_breaks_the_stream(data: bytes) -> None:
    reader = WIRE.reader({}, stream=True)
    chunks = iter(reader.feed(event(CHUNK) + b"data: " + data + b"\n\n"))
    assert next(chunks) == CHUNK, "what came before it counts"
    with pytest.raises(UpstreamError) as caught:
        next(chunks)
    assert caught.value.failure is Failure.BAD_STREAM


def test_row_f7_a_line_without_end_is_given_up() -> None:
    reader = WIRE.reader({}, stream=True)
    for _ in range(8):
        assert list(reader.feed(b"x" * (1 << 20))) == []
    with pytest.raises(UpstreamError) as caught:
        reader.feed(b"x")
    assert caught.value.failure is Failure.BAD_STREAM


# Errors inside a 200, in the shapes that providers give them

INSIDE: dict[str, tuple[dict[str, Any], str, Failure, int | None, str]] = {
    "openai": ({"error": {"message": "m", "type": "server_error", "code": None}}, "", Failure.SERVER_ERROR, None, "m"),
    "openai, overloaded": (
        {"error": {"message": "m", "code": "server_is_overloaded"}}, "", Failure.OVERLOADED, None, "m"),
    "openai, rate limit": (
        {"error": {"message": "m", "type": "rate_limit_error"}}, "", Failure.RATE_LIMITED, None, "m"),
    "openai, quota": (
        {"error": {"message": "m", "type": "insufficient_quota", "code": "credit_balance_exhausted"}},
        "", Failure.QUOTA, None, "m"),
    "openrouter": (
        {"error": {"message": "m", "code": 502}, "choices": [{"finish_reason": "error", "delta": {}}]},
        "", Failure.SERVER_ERROR, 502, "m"),
    "openrouter, rate limit": ({"error": {"message": "m", "code": 429}}, "", Failure.RATE_LIMITED, 429, "m"),
    "vllm": ({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}, "", Failure.INVALID_REQUEST,
             400, "m"),
    "anthropic": ({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}, "error", Failure.OVERLOADED,
                  None, "m"),
    "text": ({"error": "m"}, "", Failure.SERVER_ERROR, None, "m"),
    "with a text for a code": ({"error": {"message": "m", "code": "400"}}, "", Failure.SERVER_ERROR, None, "m"),
    "beyond reason": ({"error": {"message": {"a": [1]}, "code": 10**9}}, "", Failure.SERVER_ERROR, None, '{"a": [1]}'),
}  # fmt: skip


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("shape", INSIDE)
def test_rows_e13_e19_f5_an_error_in_place_of_an_answer_has_its_class(shape: str, stream: bool) -> None:
    value, name, failure, status, text = INSIDE[shape]
    body = event(value, name) if stream else json.dumps(value).encode()
    with pytest.raises(UpstreamError) as caught:
        read(body, stream=stream)
    assert (caught.value.failure, caught.value.status, caught.value.text) == (failure, status, text)


def test_a_chunk_with_an_empty_error_is_a_chunk() -> None:
    chunk = CHUNK | {"error": None}
    assert streamed(event(chunk), event({"type": "ping"}, "ping"))[0] == [chunk, {"type": "ping"}]


# Reading a whole answer

ANSWER = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}


def test_a_whole_answer_is_read_at_its_end_whatever_the_pieces() -> None:
    body = b"\xef\xbb\xbf\n\n  " + json.dumps(ANSWER).encode()
    reader = WIRE.reader({}, stream=False)
    assert [chunk for byte in body for chunk in reader.feed(bytes([byte]))] == []
    assert list(reader.end()) == [ANSWER]
    assert not reader.done


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"<html>", b'{"choices": {}}', b'{"choices": [1]}', b"{}", b'{"choices": null}', b"[" * 5000],
)
def test_rows_e13_e14_what_is_no_answer_is_a_bad_response(body: bytes) -> None:
    reader = WIRE.reader({}, stream=False)
    reader.feed(body)
    with pytest.raises(UpstreamError) as caught:
        reader.end()
    assert caught.value.failure is Failure.BAD_RESPONSE


def test_row_e18_an_answer_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "MAX_ANSWER", 1000)
    reader = WIRE.reader({}, stream=False)
    reader.feed(b"x" * 1000)
    with pytest.raises(UpstreamError) as caught:
        reader.feed(b"x")
    assert caught.value.failure is Failure.TOO_LARGE


def test_the_largest_answer_is_64_mib() -> None:
    assert whole.MAX_ANSWER == 64 * 1024 * 1024


# Errors by status


def refused(status: int, body: Any = None, **headers: str) -> UpstreamError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WIRE.failure(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


@pytest.mark.parametrize(("status", "failure"), [
    (400, Failure.INVALID_REQUEST), (401, Failure.CREDENTIAL), (402, Failure.QUOTA), (403, Failure.CREDENTIAL),
    (404, Failure.MODEL_GONE), (405, Failure.SERVER_ERROR), (406, Failure.INVALID_REQUEST), (408, Failure.TIMEOUT),
    (409, Failure.SERVER_ERROR), (412, Failure.SERVER_ERROR), (413, Failure.REQUEST_TOO_LARGE),
    (418, Failure.INVALID_REQUEST), (422, Failure.UNPROCESSABLE), (424, Failure.SERVER_ERROR),
    (425, Failure.SERVER_ERROR), (429, Failure.RATE_LIMITED), (500, Failure.SERVER_ERROR), (501, Failure.SERVER_ERROR),
    (502, Failure.SERVER_ERROR), (503, Failure.OVERLOADED), (504, Failure.TIMEOUT), (520, Failure.SERVER_ERROR),
    (529, Failure.OVERLOADED), (301, Failure.REDIRECT), (307, Failure.REDIRECT), (304, Failure.REDIRECT),
    (201, Failure.BAD_RESPONSE), (202, Failure.BAD_RESPONSE), (204, Failure.BAD_RESPONSE), (206, Failure.BAD_RESPONSE),
    (600, Failure.SERVER_ERROR), (999, Failure.SERVER_ERROR),
])  # fmt: skip
def test_each_status_has_a_class(status: int, failure: Failure) -> None:
    found = refused(status, b"")
    assert (found.failure, found.status, found.text) == (failure, status, "")


@pytest.mark.parametrize("status", [200, 400, 403, 429, 500])
@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_a_known_code_beats_the_status(code: str, status: int) -> None:
    assert refused(status, {"error": {"message": "m", "code": code}}).failure is BY_CODE[code]
    assert refused(status, {"error": {"message": "m", "type": code, "code": None}}).failure is BY_CODE[code]


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "something_else", None, 429])
def test_a_type_that_says_the_money_is_gone_beats_a_code_that_says_less(code: Any) -> None:
    assert refused(429, {"error": {"type": "insufficient_quota", "code": code}}).failure is Failure.QUOTA
    assert "insufficient_quota" in QUOTA_CODES


@pytest.mark.parametrize("text", [
    "This model's maximum context length is 32768 tokens. However, you requested 54692 tokens.",
    "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
    "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "The prompt is too long: 9000, model maximum context length: 4095",
])  # fmt: skip
def test_row_d11_a_prompt_that_is_too_long_is_known_by_the_text_where_nothing_else_tells(text: str) -> None:
    """Engines have no code for it, and another route may have more room."""
    for status in (400, 413, 422):
        assert refused(
            status, {"object": "error", "message": text, "type": "BadRequestError", "code": 400}
        ).failure is (Failure.CONTEXT_LENGTH)
    assert refused(500, {"error": {"message": text}}).failure is Failure.SERVER_ERROR
    assert refused(400, {"error": {"message": "The context is odd."}}).failure is Failure.INVALID_REQUEST


def test_what_a_provider_objects_to_is_the_requests_fault_not_the_keys() -> None:
    """A caller's words must not put the gateway's key aside for everyone."""
    for text in ("Content violates usage guidelines.", "Your input was flagged", "This model requires moderation"):
        assert refused(403, {"code": "The caller does not have permission", "error": text}).failure is (
            Failure.INVALID_REQUEST
        )
    assert refused(403, {"error": "No."}).failure is Failure.CREDENTIAL


@pytest.mark.parametrize(("kind", "status", "failure"), [
    ("together", 403, Failure.CONTEXT_LENGTH), ("fireworks", 412, Failure.QUOTA), ("xai", 403, Failure.QUOTA),
    ("mistral", 403, Failure.INVALID_REQUEST),
])  # fmt: skip
def test_a_status_may_mean_something_else_at_one_provider(kind: str, status: int, failure: Failure) -> None:
    """Where an error comes with it; a bare one may be of whatever stands in between."""
    wire, usual = KINDS[kind].wire, refused(status, b"").failure
    assert wire.failure(status, {}, json.dumps({"error": {"message": "m"}}).encode()).failure is failure
    assert wire.failure(status, {}, b"<html>").failure is usual
    assert wire.failure(status, {}, b'{"error": {"code": "overloaded_error", "message": "m"}}').failure is (
        Failure.OVERLOADED
    )


@pytest.mark.parametrize(("body", "text", "param"), [
    ({"error": {"message": "m", "param": "p"}}, "m", "p"),
    ({"error": {"message": "m", "param": 7}}, "m", None),
    ({"error": "m"}, "m", None),
    ({"message": "m", "type": "x", "code": "3280", "object": "error"}, "m", None),
    ({"detail": [{"loc": ["body", "x"], "msg": "bad"}]}, '[{"loc": ["body", "x"], "msg": "bad"}]', "x"),
    ({"detail": [{"loc": ["body", "messages", 0, "name"]}]}, '[{"loc": ["body", "messages", 0, "name"]}]',
     "messages.0.name"),
    ({"detail": [{"loc": ["body"]}]}, '[{"loc": ["body"]}]', None),
    ({"detail": "Unauthorized"}, "Unauthorized", None),
    ({"object": "error", "message": {"detail": [{"msg": "m"}]}}, '{"detail": [{"msg": "m"}]}', None),
    ([{"error": {"message": "m"}}], "m", None),
    ({"code": "invalid", "error": "m"}, "m", None),
    ({"error": {}}, "", None),
    ({}, "", None),
    ([], "", None),
    (7, "", None),
    (None, "", None),
    (b"<html>", "", None),
    (b"\xff\xfe", "", None),
    (b"[" * 100_000, "", None),
])  # fmt: skip
def test_a_providers_sentence_is_found_in_every_known_shape(body: Any, text: str, param: str | None) -> None:
    found = refused(400, body)
    assert (found.text, found.param, found.failure) == (text, param, Failure.INVALID_REQUEST)


@pytest.mark.parametrize(("headers", "seconds"), [
    ({}, None), ({"retry_after": "2"}, 2.0), ({"retry_after": "0.5"}, 0.5), ({"retry_after": "-1"}, None),
    ({"retry_after_ms": "1500"}, 1.5), ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
    ({"retry_after_ms": "soon", "retry_after": "9"}, 9.0), ({"retry_after": "soon"}, None),
    ({"retry_after": "Wed, 21 Oct 2020 07:28:00 GMT"}, None),
])  # fmt: skip
def test_the_wish_to_wait_is_read_in_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert refused(429, b"", **headers).retry_after == seconds


@given(st.integers(100, 999), st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["error", "message", "code", "type", "param", "detail", "object"]), inner, max_size=4),
    max_leaves=8,
))  # fmt: skip
def test_no_error_body_is_too_strange_to_be_classed(status: int, body: Any) -> None:
    found = refused(status, body)
    assert found.failure in Failure
    assert isinstance(found.text, str)
    assert found.param is None or isinstance(found.param, str)


@pytest.mark.parametrize("choices", [[], None])
def test_an_error_that_has_an_empty_place_for_choices_is_an_error(choices: Any) -> None:
    reader = WholeReader()
    reader.feed(json.dumps({"object": "error", "message": "flat", "code": 400, "choices": choices}).encode())
    with pytest.raises(UpstreamError) as caught:
        list(reader.end())
    assert caught.value.failure is Failure.INVALID_REQUEST
