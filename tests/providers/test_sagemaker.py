"""SageMaker: OpenAI's wire or TGI's own, in its envelope."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.gateway import Serve, provider
from tests.providers.test_aws import frame
from tests.replay import recorded

from sealgate.config import Provider
from sealgate.errors import ConfigError, Failure, UpstreamError
from sealgate.providers.base import Prompt
from sealgate.relay.answer import Label, StreamedAnswer
from sealgate.relay.catalog import make_account
from sealgate.testing import ScriptedUpstream
from sealgate.testing.bedrock_wire import event
from sealgate.testing.script import LAST_CHUNK, Chunk, head, json_answer

Json = dict[str, Any]

USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object"}
EVENTS = {"content-type": "application/vnd.amazon.eventstream"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def account(**fields: Any) -> Any:
    return make_account("s", Provider(kind="sagemaker", aws_region="us-east-1", **fields))


def write(fields: Json, *, stream: bool = False, extra: Json | None = None, **settings: Any) -> tuple[Json, list[Any]]:
    row = account(**settings)
    prompt = Prompt({"messages": [USER], **fields}, stream, extra_body=extra or {}, extra_headers={}, trace={})
    written = row.kind.wire.write(row, prompt, "llama", None)
    return msgspec.json.decode(written.body), list(written.adjustments)


# Requests


def test_the_endpoint_is_the_accounts_or_else_the_model() -> None:
    root = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints"
    mine, any_model = account(endpoint="my-endpoint"), account()
    assert mine.kind.host.url(mine, "llama", stream=False) == f"{root}/my-endpoint/invocations"
    assert any_model.kind.host.url(any_model, "a/b", stream=True) == f"{root}/a%2Fb/invocations-response-stream"
    with pytest.raises(UpstreamError):
        any_model.kind.host.url(any_model, "..", stream=True)


def test_openais_wire_goes_in_as_it_is() -> None:
    body, said = write({"max_completion_tokens": 5, "top_k": 2, "n": 2}, stream=True)
    assert body == {
        "model": "llama", "messages": [USER], "max_tokens": 5, "top_k": 2, "n": 2, "stream": True,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert [each.action for each in said] == ["renamed"]
    assert write({}, carries="openai") == write({})


@pytest.mark.parametrize(("fields", "parameters"), [
    ({}, {}),
    ({"max_tokens": 5}, {"max_new_tokens": 5}),
    ({"max_completion_tokens": 5, "seed": 1, "top_k": 2}, {"max_new_tokens": 5, "seed": 1, "top_k": 2}),
    ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9, "do_sample": True}),
    ({"temperature": 0, "top_p": 1, "top_k": 0}, {}),
    ({"stop": "x", "repetition_penalty": 1.1, "frequency_penalty": 0.5},
     {"stop": ["x"], "repetition_penalty": 1.1, "frequency_penalty": 0.5}),
    ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
     {"grammar": {"type": "json", "value": SCHEMA}}),
    ({"guided_json": SCHEMA}, {"grammar": {"type": "json", "value": SCHEMA}}),
    ({"guided_regex": "a+"}, {"grammar": {"type": "regex", "value": "a+"}}),
    ({"guided_choice": ["a", "b."]}, {"grammar": {"type": "regex", "value": r"(a|b\.)"}}),
    ({"presence_penalty": 1, "user": "u"}, {}),
])  # fmt: skip
def test_tgis_own_request_has_one_text_and_parameters(fields: Json, parameters: Json) -> None:
    """Values that mean nothing and that TGI refuses (a temperature of 0, a top_p of 1) are left out."""
    body, _ = write(fields, carries="tgi")
    assert body == {"inputs": "Hi", "parameters": {**parameters, "details": True}}


def test_a_conversation_is_one_text_for_tgi() -> None:
    in_parts = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    messages = [{"role": "system", "content": "Be brief"}, in_parts, {"role": "assistant", "content": "Yes?"}, USER]
    body, said = write({"messages": messages}, stream=True, extra={"top": 1}, carries="tgi")
    assert body["inputs"] == "System: Be brief\nUser: Hi\nAssistant: Yes?\nUser: Hi\nAssistant:"
    assert (body["stream"], body["top"]) == (True, 1)
    assert [each.param for each in said] == ["messages"]


def test_another_wire_than_those_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="'carries' means nothing for kind 'openai'"):
        make_account("s", Provider(kind="openai", carries="tgi"))


# Whole answers


def whole(body: Any, **settings: Any) -> Json:
    reader = account(**settings).kind.wire.reader({}, stream=False)
    reader.feed(body if isinstance(body, bytes) else json.dumps(body).encode())
    [found] = reader.end()
    return dict(found)


COMPLETION = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE}
DETAILS = {"finish_reason": "eos_token", "generated_tokens": 4, "prefill": [{"id": 1}] * 3}


@pytest.mark.parametrize("carries", ["openai", "tgi"])
@pytest.mark.parametrize(("body", "text", "reason", "usage"), [
    (COMPLETION, "Hi", "stop", USAGE),
    ([{"generated_text": "Hi", "details": DETAILS}], "Hi", "eos_token", USAGE),
    ({"generated_text": "Hi", "details": {"finish_reason": "length", "generated_tokens": 4, "input_length": 3}}, "Hi",
     "length", USAGE),
    ([{"generated_text": "Hi"}], "Hi", "stop", None),
    ({"choices": [{"message": {"content": 'a "generated_text"'}, "finish_reason": "stop"}]}, 'a "generated_text"',
     "stop", None),
])  # fmt: skip
def test_both_forms_of_an_answer_are_known(carries: str, body: Any, text: str, reason: str, usage: Any) -> None:
    found = whole(body, carries=carries)
    assert found["choices"][0]["message"]["content"] == text
    assert (found["choices"][0]["finish_reason"], found.get("usage")) == (reason, usage)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"nonsense", b'"generated_text"', b'[{"generated_text":3}]',
                                  b'{"generated_text', b'{"generated_text":"a","details":[3]}',
                                  b'{"generated_text":"a","details":{"input_length":"x","generated_tokens":1}}',
                                  ])  # fmt: skip
def test_an_answer_that_is_none_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        whole(body)
    assert caught.value.failure is Failure.BAD_RESPONSE


# Streams


def sse(*documents: Any) -> bytes:
    return b"".join(b"data: " + (d if isinstance(d, bytes) else json.dumps(d).encode()) + b"\n\n" for d in documents)


def parts(inner: bytes, size: int) -> bytes:
    """A container's stream in frames of so many bytes."""
    return b"".join(event("PayloadPart", inner[place : place + size]) for place in range(0, len(inner), size))


def delta(text: str | None = None, reason: str | None = None, **more: Any) -> Json:
    given = more if text is None else {"content": text, **more}
    return {"choices": [{"index": 0, "delta": given, "finish_reason": reason}]}


OPENAI = sse(delta("Grü"), delta("ezi"), delta(reason="stop"), {"choices": [], "usage": USAGE}, b"[DONE]")
TGI = sse(
    {"token": {"text": "Grü", "special": False}, "generated_text": None, "details": None},
    {"token": {"text": "ezi", "special": False}, "generated_text": None, "details": None},
    {"token": {"text": "</s>", "special": True}, "generated_text": "Grüezi",
     "details": {"finish_reason": "eos_token", "generated_tokens": 4, "input_length": 3}},
)  # fmt: skip
DOCUMENT = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "Grüezi"},
                                    "finish_reason": "stop"}], "usage": USAGE}).encode()  # fmt: skip


def streamed(pieces: list[bytes]) -> tuple[str, str, Any, bool]:
    """Text, finish and usage as a caller reads them, and whether the stream said that it is over."""
    reader = account().kind.wire.reader({}, stream=True)
    label = Label(id="chatcmpl-1", model="m", created=1, episode_id="e", tresor={})
    answer = StreamedAnswer(label, 1, 10, include_usage=True, usage_on_finish=False)
    ready = [payload for piece in pieces for chunk in reader.feed(piece) for payload in answer.take(chunk)]
    ready += [payload for chunk in reader.end() for payload in answer.take(chunk)]
    chunks = [msgspec.json.decode(payload) for payload in [*ready, *answer.end()]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    return text, choices[-1]["finish_reason"], chunks[-1]["usage"], reader.done


@pytest.mark.parametrize("inner", [OPENAI, TGI], ids=["openai", "tgi"])
def test_a_stream_says_the_same_wherever_its_frames_and_pieces_are_cut(inner: bytes) -> None:
    wanted = ("Grüezi", "stop", USAGE, True)
    for size in (1, 7, 64, len(inner)):
        body = parts(inner, size)
        step = max(1, len(body) // 40)
        for cut in range(0, len(body), step):
            assert streamed([body[:cut], body[cut:]]) == wanted
    body = parts(inner, 20)
    assert streamed([body[place : place + 1] for place in range(len(body))]) == wanted


def test_a_container_that_does_not_stream_is_read_all_the_same() -> None:
    assert streamed([parts(b" " + DOCUMENT, 20)]) == ("Grüezi", "stop", USAGE, False)
    native = json.dumps([{"generated_text": "Grüezi", "details": DETAILS}]).encode()
    assert streamed([parts(native, 20)]) == ("Grüezi", "stop", USAGE, False)


def call(arguments: str) -> Json:
    return {"tool_calls": [{"index": 0, "id": "0", "function": {"name": "t", "arguments": arguments}}]}


def test_calls_that_are_whole_but_have_no_finish_are_finished() -> None:
    """TGI 3 ends them with ``[DONE]`` alone."""
    body = parts(sse(delta(**call('{"a"')), delta(**call(":1}")), b"[DONE]"), 50)
    assert streamed([body])[1] == "tool_calls"


@pytest.mark.parametrize("inner", [
    sse(delta(**call('{"a"')), b"[DONE]"), sse(delta("Hi"), b"[DONE]"), sse(delta("Hi")), sse(delta(**call("{}"))),
])  # fmt: skip
def test_a_stream_cut_short_is_not_whole(inner: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        streamed([parts(inner, 50)])
    assert caught.value.failure is Failure.TRUNCATED


def test_what_came_before_a_failure_is_not_lost() -> None:
    failed = frame(b'{"Message":"It broke","ErrorCode":"StreamBroken"}', message_type="exception",
                   exception_type="ModelStreamError")  # fmt: skip
    chunks = account().kind.wire.reader({}, stream=True).feed(parts(sse(delta("Hi")), 500) + failed)
    assert next(chunks)["choices"][0]["delta"] == {"content": "Hi"}
    with pytest.raises(UpstreamError) as caught:
        next(chunks)
    assert (caught.value.failure, caught.value.text) == (Failure.SERVER_ERROR, "It broke")


def test_an_error_of_the_container_inside_its_stream_is_one() -> None:
    with pytest.raises(UpstreamError, match="overloaded"):
        streamed([parts(sse({"error": "Model is overloaded", "error_type": "overloaded"}), 30)])


def test_other_events_and_odd_shapes_are_passed_over() -> None:
    odd = sse({"choices": [{"delta": {"tool_calls": [3]}}]})
    reader = account().kind.wire.reader({}, stream=True)
    assert list(reader.feed(event("SomethingNew", {"x": 1}) + event("PayloadPart", b"\n"))) == []
    assert len(list(reader.feed(parts(odd, 500)))) == 1, "it is judged where all chunks are"


@pytest.mark.parametrize("odd", [
    {"token": [3]}, {"generated_text": "a", "details": "x"}, {"token": {}, "generated_text": "a", "details": 1},
    {"generated_text": "a", "details": {"input_length": "x", "generated_tokens": 1}},
])  # fmt: skip
def test_a_token_of_an_unknown_shape_is_a_failure_of_the_route(odd: Json) -> None:
    with pytest.raises(UpstreamError) as caught:
        list(account(carries="tgi").kind.wire.reader({}, stream=True).feed(parts(sse(odd), 500)))
    assert caught.value.failure is Failure.BAD_STREAM


# Through a gateway


@pytest.mark.anyio
async def test_a_stream_through_a_gateway(serve: Serve) -> None:
    script = [head(200, EVENTS), Chunk(parts(OPENAI, 33)), LAST_CHUNK]
    async with ScriptedUpstream(handler=lambda _: script) as upstream:
        row = provider(upstream.origin, kind="sagemaker", endpoint="mine")
        async with serve({"acme": row}) as gateway:
            reply = await gateway.chat(stream=True)
            assert (reply.text, reply.done) == ("Grüezi", True)
    assert upstream.requests[0].path == "/endpoints/mine/invocations-response-stream"


@pytest.mark.anyio
async def test_what_the_container_refused_is_told_as_the_containers_refusal(serve: Serve) -> None:
    body = {"Message": "Received client error", "OriginalStatusCode": 422, "OriginalMessage": "bad input"}
    refused = json_answer(body, 424, {"x-amzn-errortype": "ModelError"})
    async with (
        ScriptedUpstream(handler=lambda _: refused) as upstream,
        serve({"acme": provider(upstream.origin, kind="sagemaker")}) as gateway,
    ):
        reply = await gateway.chat()
    assert (reply.status, reply.json["error"]["code"]) == (422, "upstream_unprocessable")


@pytest.mark.anyio
async def test_recorded_answers_reach_callers_unchanged(serve: Serve) -> None:
    if why := recorded.missing():
        pytest.skip(why)
    with recorded.upstream() as replay:
        plan = [case for case in recorded.cases(replay, "split=awkward,delay=0") if case["provider"] == "sagemaker"]
        async with serve(*recorded.configured(plan)) as gateway:
            found = {case["case"]: recorded.judge().judge(case, *await recorded.ask(gateway, case))[0] for case in plan}
    assert plan
    assert {case: bad for case, bad in found.items() if bad} == {}
