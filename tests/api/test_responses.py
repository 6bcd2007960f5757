"""``POST /v1/responses`` over real HTTP: its events and their order, its errors, and what a cut leaves of a stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.gateway import Reply, Running, Serve, model, provider

from sealgate.receipts import verify
from sealgate.testing import ScriptedUpstream, answer, error_mid, tool
from sealgate.testing.anthropic_wire import message, thinking, tool_use
from sealgate.testing.received import Received
from sealgate.testing.script import Behaviour, Chunk, Fin, Send, Step

RESPONSES = "/v1/responses"
NOW: Any = {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}}
APPLY: Any = {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": {"type": "text"}}
GRAMMAR: Any = {**APPLY, "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "a"'}}


def playing(behaviour: Any) -> ScriptedUpstream:
    upstream = ScriptedUpstream()
    play(upstream, behaviour)
    return upstream


def play(upstream: ScriptedUpstream, behaviour: Any) -> None:
    """From now on it does this, wherever it is asked."""
    upstream.handler = lambda _: behaviour


async def ask(gateway: Running, headers: dict[str, str] | None = None, path: str = RESPONSES, **fields: Any) -> Reply:
    return await gateway.post(path, {"model": "m", "input": "Hi", **fields}, headers)


def types(reply: Reply) -> list[str]:
    return [each["type"].removeprefix("response.") for each in reply.documents]


@pytest.mark.anyio
async def test_a_stream_has_its_events_in_order(serve: Serve) -> None:
    behaviour = answer(
        ["Hel", "lo"], reasoning=["Hm"], tool_calls=[tool("now", {}), tool("apply_patch", {"input": "x"})]
    )
    async with serve({"acme": behaviour}) as gateway:
        reply = await ask(gateway, stream=True, tools=[NOW, APPLY])
    assert [event.name for event in reply.events] == [each["type"] for each in reply.documents]
    assert [each["sequence_number"] for each in reply.documents] == list(range(len(reply.documents)))
    assert types(reply) == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done",
        "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "output_item.added", "custom_tool_call_input.delta", "custom_tool_call_input.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    items = [each for each in reply.documents if each["type"] == "response.output_item.done"]
    assert [each["output_index"] for each in items] == [0, 1, 2, 3]
    last = reply.documents[-1]["response"]
    assert last["output"] == [each["item"] for each in items]
    assert [each["type"] for each in last["output"]] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert last["usage"]["output_tokens"] > 0
    assert last["tresor"]["receipt_id"] == reply.headers["x-tresor-receipt-id"]


@pytest.mark.anyio
async def test_a_summary_is_shown_where_one_is_asked_for_and_deltas_are_padded_on_request(serve: Serve) -> None:
    async with serve({"acme": answer("Hello you", reasoning=["H", "m"])}) as gateway:
        reply = await ask(
            gateway, stream=True, reasoning={"summary": "auto"}, stream_options={"include_obfuscation": True}
        )
    assert types(reply)[2:9] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done",
        "output_item.done",
    ]  # fmt: skip
    [thought, _] = reply.documents[-1]["response"]["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "Hm"}]
    deltas = [each for each in reply.documents if each["type"].endswith(".delta")]
    assert {len(each["delta"]) + len(each["obfuscation"]) for each in deltas} == {16}


@pytest.mark.anyio
async def test_log_probabilities_come_where_they_are_asked_for(serve: Serve) -> None:
    async with serve({"acme": answer(["a", "b"])}) as gateway:
        whole = await ask(gateway, include=["message.output_text.logprobs"], top_logprobs=2)
        streamed = await ask(gateway, include=["message.output_text.logprobs"], stream=True)
        without = await ask(gateway)
        sent = [each.json for each in gateway.upstreams["acme"].requests]
    assert (sent[0]["logprobs"], sent[0]["top_logprobs"]) == (True, 2)
    [part] = whole.json["output"][0]["content"]
    assert [each["token"] for each in part["logprobs"]] == ["a", "b"]
    assert streamed.documents[-1]["response"]["output"][0]["content"] == [part]
    deltas = [each["logprobs"] for each in streamed.documents if each["type"] == "response.output_text.delta"]
    assert [each["token"] for tokens in deltas for each in tokens] == ["a", "b"]
    assert without.json["output"][0]["content"][0]["logprobs"] == []
    assert "logprobs" not in sent[2]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [("length", "incomplete", "max_output_tokens"), ("content_filter", "incomplete", "content_filter"),
     ("stop", "completed", None)],
)  # fmt: skip
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_was_cut_short_says_so(
    serve: Serve, reason: str, status: str, why: str | None, stream: bool
) -> None:
    async with serve({"acme": answer("Hello", finish_reason=reason)}) as gateway:
        reply = await ask(gateway, stream=stream)
    found = reply.documents[-1]["response"] if stream else reply.json
    assert (found["status"], found["incomplete_details"]) == (status, {"reason": why} if why else None)
    assert found["output"][0]["status"] == status
    assert not stream or types(reply)[-1] == status


@pytest.mark.anyio
async def test_a_refusal_is_a_part_of_its_own(serve: Serve) -> None:
    async with serve({"acme": answer(refusal="I will not.")}) as gateway:
        whole, streamed = await ask(gateway), await ask(gateway, stream=True)
    assert whole.json["output"][0]["content"] == [{"type": "refusal", "refusal": "I will not."}]
    assert streamed.documents[-1]["response"]["output"][0]["content"] == whole.json["output"][0]["content"]
    assert "refusal.delta" in types(streamed)
    assert "refusal.done" in types(streamed)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "fields", "status", "code", "param"),
    [
        ({"authorization": "Bearer sk-sealgate-no"}, {}, 401, "invalid_api_key", None),
        ({}, {"model": "no"}, 404, "model_not_found", "model"),
        ({}, {"input": None}, 400, "invalid_parameter", "input"),
        ({}, {"input": []}, 400, "invalid_messages", "input"),
        ({}, {"input": [{"role": "no", "content": "Hi"}]}, 400, "invalid_parameter", "input[0].role"),
        ({}, {"input": [{"type": "item_reference", "id": "msg_1"}]}, 400, "unsupported_parameter", "input[0]"),
        ({}, {"input": [{"id": "msg_1"}]}, 400, "unsupported_parameter", "input[0]"),
        ({}, {"input": [{"type": "web_search_call", "id": "w"}]}, 400, "unsupported_parameter", "input[0]"),
        ({}, {"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, 400, "invalid_parameter",
         "input[0].call_id"),
        ({}, {"tools": [{"type": "mcp", "server_label": "x"}]}, 400, "unsupported_parameter", "tools[0]"),
        ({}, {"tools": [NOW, NOW]}, 400, "invalid_parameter", "tools"),
        ({}, {"tool_choice": "required"}, 400, "invalid_parameter", "tool_choice"),
        ({}, {"tools": [NOW], "tool_choice": {"type": "web_search"}}, 400, "unsupported_parameter", "tool_choice"),
        ({}, {"tools": [NOW], "tool_choice": {"type": "function", "name": "x"}}, 400, "invalid_parameter",
         "tool_choice"),
        ({}, {"background": True}, 400, "unsupported_parameter", "background"),
        ({}, {"conversation": "conv_1"}, 400, "unsupported_parameter", "conversation"),
        ({}, {"prompt": {"id": "pmpt_1"}}, 400, "unsupported_parameter", "prompt"),
        ({}, {"stop": ["a"]}, 400, "unsupported_parameter", "stop"),
        ({}, {"messages": []}, 400, "unsupported_parameter", "messages"),
        ({}, {"previous_response_id": "resp_1"}, 400, "responses_not_kept", "previous_response_id"),
        ({}, {"stream_options": {}}, 400, "invalid_parameter", "stream_options"),
        ({}, {"include": ["all"]}, 400, "invalid_parameter", "include[0]"),
        ({"x-tresor-timeout-seconds": "5"}, {}, 400, "invalid_timeout_override", None),
        ({"content-type": "text/plain"}, {}, 415, "unsupported_media_type", None),
        ({"x-sealgate-strict": "true"}, {"truncation": "auto"}, 400, "unsupported_parameter", "truncation"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_with_its_place(
    serve: Serve, headers: dict[str, str], fields: Any, status: int, code: str, param: str | None
) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        reply = await ask(gateway, headers, **fields)
    assert (reply.status, reply.code) == (status, code)
    assert param is None or reply.error["param"] == param


@pytest.mark.anyio
async def test_what_is_left_out_is_told(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        reply = await ask(
            gateway, truncation="auto", service_tier="priority", context_management=[{}], background=False,
            reasoning={"effort": "low", "summary": "detailed", "mode": "pro"}, tools=[{**NOW, "defer_loading": True}],
        )  # fmt: skip
        below = await ask(gateway, path="/api" + RESPONSES, input=[{"role": "no", "content": 1}])
    told = {each["param"]: each["action"] for each in reply.json["tresor"]["adjustments"]}
    names = {"truncation", "service_tier", "context_management", "reasoning.summary", "reasoning.mode"}
    assert told == dict.fromkeys(names | {"tools[0].defer_loading"}, "dropped")
    assert below.status == 422
    assert [each["loc"] for each in below.json["detail"]] == [
        ["body", "input", 0, "role"],
        ["body", "input", 0, "content"],
    ]


@pytest.mark.anyio
async def test_a_grammar_goes_to_routes_that_hold_answers_to_it_and_nowhere_else(serve: Serve) -> None:
    call = {"id": "c1", "type": "custom", "custom": {"name": "apply_patch", "input": "a"}}
    async with playing(answer(tool_calls=[call])) as upstream:
        providers: Any = {"acme": provider(upstream, "openai"), "other": provider(upstream, "mistral")}
        async with serve(providers, {"m": model("acme"), "o": model("other")}) as gateway:
            whole = await ask(gateway, tools=[GRAMMAR], tool_choice={"type": "custom", "name": "apply_patch"})
            streamed = await ask(gateway, tools=[GRAMMAR], stream=True)
            refused = await ask(gateway, model="o", tools=[GRAMMAR])
        sent = upstream.requests[0].json
    assert sent["tools"][0]["custom"]["format"] == {
        "type": "grammar", "grammar": {"syntax": "lark", "definition": 'start: "a"'},
    }  # fmt: skip
    assert sent["tool_choice"] == {"type": "custom", "custom": {"name": "apply_patch"}}
    for found in (whole.json, streamed.documents[-1]["response"]):
        [item] = found["output"]
        assert (item["type"], item["call_id"], item["input"]) == ("custom_tool_call", "c1", "a")
    assert (refused.status, refused.code) == (400, "unsupported_parameter")


@pytest.mark.anyio
async def test_row_f5_an_error_in_the_middle_fails_the_response(serve: Serve) -> None:
    async with serve({"acme": error_mid(2)}) as gateway:
        reply = await ask(gateway, stream=True)
        row = await gateway.row()
    last = reply.documents[-1]
    assert (reply.status, last["type"], last["response"]["status"]) == (200, "response.failed", "failed")
    assert last["response"]["error"]["code"] == "server_error"
    assert last["error"]["code"] == row.code
    assert last["receipt_id"] == reply.headers["x-tresor-receipt-id"]
    assert not {"completed", "incomplete"} & set(types(reply))
    assert (row.outcome.value, row.endpoint) == ("truncated", "responses")


def cut_at(behaviour: Any, offset: int, seen: dict[str, int]) -> Behaviour:
    """The same answer, of whose body no more comes than so many bytes."""

    def script(received: Received) -> list[Step]:
        steps: list[Step] = []
        left = offset
        for step in behaviour(received):
            if isinstance(step, Chunk):
                seen["bytes"] = seen.get("bytes", 0) + len(step.data)
                if left > 0:
                    steps.append(Chunk(step.data[:left]))
                left -= len(step.data)
            elif isinstance(step, Send) and left == offset:
                steps.append(step)
        return [*steps, Fin()]

    return script


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("step", [97, pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_rows_f1_f3_f8_a_stream_that_is_cut_never_looks_whole(serve: Serve, kind: str, step: int) -> None:
    """Wherever it is cut: there is an error, or all of it was there and its end alone was missing."""
    calls = [tool("apply_patch", {"input": "Zürich"})]
    whole: Any = answer("Grüße an alle", tool_calls=calls)
    if kind == "anthropic":
        said = {"type": "text", "text": "Grüße an alle"}
        whole = message(blocks=[thinking("Hm"), said, tool_use("apply_patch", {"input": "Zürich"})])
    fields: Any = {"stream": True, "tools": [APPLY], "include": ["reasoning.encrypted_content"]}
    seen: dict[str, int] = {}
    async with playing(whole) as upstream:
        table = provider(upstream, "anthropic" if kind == "anthropic" else "compatible")
        async with serve({"acme": table}, {"m": model("acme")}) as gateway:
            good = await ask(gateway, **fields)
            assert types(good)[-1] == "completed"
            play(upstream, cut_at(whole, 10**9, seen))
            await ask(gateway, **fields)
            for offset in range(0, seen["bytes"], step):
                gateway.forget()
                play(upstream, cut_at(whole, offset, {}))
                reply = await ask(gateway, **fields)
                if reply.status != 200:
                    assert reply.error, offset
                elif types(reply)[-1] == "completed":
                    assert plain(reply.documents[-1]["response"]) == plain(good.documents[-1]["response"]), offset
                else:
                    assert types(reply)[-1] == "failed", offset
                    assert "completed" not in types(reply), offset


def plain(response: Any) -> Any:
    """Without what differs between any two responses."""
    gone = ("id", "created_at", "completed_at", "tresor", "episode_id", "usage")
    output = [{name: value for name, value in item.items() if name != "id"} for item in response["output"]]
    return {name: value for name, value in response.items() if name not in gone} | {"output": output}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [True, False])
async def test_the_receipt_speaks_of_the_items_that_were_sent(serve: Serve, kind: str, stream: bool) -> None:
    whole: Any = answer("Grüße", tool_calls=[tool("now", {"a": [1, 2]})])
    if kind == "anthropic":
        whole = message(blocks=[thinking("Hm"), {"type": "text", "text": "Grüße"}, tool_use("now", {"a": [1, 2]})])
    async with playing(whole) as upstream:
        table = provider(upstream, "anthropic" if kind == "anthropic" else "compatible")
        async with serve({"acme": table}, {"m": model("acme")}) as gateway:
            reply = await ask(gateway, stream=stream)
            row = await gateway.row()
            keys = json.dumps((await gateway.get("/v1/verify/jwks.json")).json).encode()
    assert row.receipt is not None
    events = [f"data: {json.dumps(each)}\n\n" for each in reply.documents] if stream else []
    rewritten = "".join(events).encode() if stream else json.dumps(reply.json, indent=1).encode()
    for response, words in ((reply.body, "these bytes"), (rewritten, "response.content")):
        verdict = verify.verify(row.receipt, json.loads(keys), documents=verify.Documents(response=response))
        [found] = [check for check in verdict.checks if check.name == "response"]
        assert found.mark == "PASS", found
        assert words in found.text


@pytest.mark.anyio
async def test_the_receipt_of_a_broken_stream_speaks_of_what_was_sent(serve: Serve) -> None:
    async with serve({"acme": error_mid(3)}) as gateway:
        reply = await ask(gateway, stream=True)
        row = await gateway.row()
        keys = (await gateway.get("/v1/verify/jwks.json")).json
    assert row.receipt is not None
    rewritten = "".join(f"data: {json.dumps(each)}\n\n" for each in reply.documents).encode()
    for response in (reply.body, rewritten):
        verdict = verify.verify(row.receipt, keys, documents=verify.Documents(response=response))
        assert [check.mark for check in verdict.checks if check.name == "response"] == ["PASS"]
