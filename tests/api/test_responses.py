"""``POST /v1/responses`` over real HTTP: its events and their order, its errors, and what a cut leaves of a stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from openai import OpenAI
from tests.gateway import Reply, Running, Serve, model, provider, read_reply
from tests.spare import Spare

from sealgate.config import Limits, Model, Provider, Responses, Secret, Timeouts
from sealgate.config import Route as RoutePrice
from sealgate.config_tables import Budget
from sealgate.formats.carried import sealed
from sealgate.receipts import verify
from sealgate.relay.kept import MAX_BYTES
from sealgate.storage.tables import responses as kept_responses
from sealgate.testing import MockProvider, ScriptedUpstream, answer, error, error_mid, http_request, tool
from sealgate.testing.anthropic_wire import message, thinking, tool_use
from sealgate.testing.received import Received
from sealgate.testing.script import Behaviour, Chunk, Fin, Send, Sleep, Step, WaitFor, json_answer, resolve

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
@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("openai", 37),
        ("anthropic", 97),
        pytest.param("anthropic", 1, marks=[pytest.mark.long, pytest.mark.timeout(600)]),  # the one that differs most
    ],
)
async def test_rows_f1_f3_f8_a_stream_that_is_cut_never_looks_whole(serve: Serve, kind: str, step: int) -> None:
    """Wherever it is cut: there is an error, or all of it was there and its end alone was missing."""
    calls = [tool("apply_patch", {"input": "Zürich"})]
    whole: Any = Spare("Grüße an", tool_calls=calls)
    if kind == "anthropic":
        blocks = [thinking("Hm"), {"type": "text", "text": "Grüße"}, tool_use("apply_patch", {"input": "ü"})]
        whole = message(blocks=blocks, usage={"input_tokens": 10, "output_tokens": 7})
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
    if stream:
        head, _, last = reply.body.rstrip(b"\n").rpartition(b"\n\n")
        forged = head + b"\n\n" + last.replace("Grüße".encode(), b"Hate") + b"\n\n"
        assert forged != reply.body
        verdict = verify.verify(row.receipt, json.loads(keys), documents=verify.Documents(response=forged))
        assert [check.mark for check in verdict.checks if check.name == "response"] == ["FAIL"]


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


@pytest.mark.anyio
async def test_a_kept_response_can_be_read_gone_on_with_and_deleted(serve: Serve) -> None:
    behaviour = answer("Let me see.", tool_calls=[tool("now", {})], reasoning="Hm")
    async with serve({"acme": behaviour}, responses=Responses(keep_days=1)) as gateway:
        first = await ask(gateway, input="How late?", tools=[NOW], instructions="Be brief.", store=True)
        kept = await gateway.get(f"{RESPONSES}/{first.json['id']}")
        gateway.upstreams["acme"].handler = lambda _: answer("Noon.")
        result = {"type": "function_call_output", "call_id": "call_now", "output": "12:00"}
        second = await ask(gateway, previous_response_id=first.json["id"], input=[result], stream=True, store=True)
        sent = gateway.upstreams["acme"].requests[-1].json
        response = second.documents[-1]["response"]
        streamed = await gateway.get(f"{RESPONSES}/{response['id']}")
        items = await gateway.get(f"{RESPONSES}/{first.json['id']}/input_items")
        gone = await delete(gateway, first.json["id"])
        after = await gateway.get(f"{RESPONSES}/{first.json['id']}")
        third = await ask(gateway, previous_response_id=response["id"])
    assert first.json["store"] is True
    assert kept.json == first.json
    assert streamed.json == response
    assert [each["role"] for each in sent["messages"]] == ["user", "assistant", "tool"]
    assert sent["messages"][1]["reasoning_content"] == "Hm"
    assert response["previous_response_id"] == first.json["id"]
    [item] = items.json["data"]
    assert (item["content"], item["role"]) == ([{"type": "input_text", "text": "How late?"}], "user")
    assert (items.json["first_id"], items.json["last_id"], items.json["has_more"]) == (item["id"], item["id"], False)
    assert gone.json == {"id": first.json["id"], "object": "response", "deleted": True}
    assert (after.status, after.code) == (404, "not_found")
    assert (third.status, third.code) == (400, "previous_response_not_found")


async def delete(gateway: Running, name: str) -> Reply:
    async with gateway.client() as client:
        await client.send(http_request("DELETE", f"{RESPONSES}/{name}", gateway.headers))
        return await read_reply(await client.response())


@pytest.mark.anyio
async def test_nothing_is_kept_that_was_declined_not_asked_for_failed_or_is_too_long(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}, responses=Responses(keep_days=1)) as gateway:
        silent = await ask(gateway)
        after = await ask(gateway, previous_response_id=silent.json["id"])
        declined = await ask(gateway, store=False)
        long = await ask(gateway, input="a" * (MAX_BYTES + 1), store=True)
        gateway.upstreams["acme"].handler = lambda _: error_mid(2)
        await ask(gateway, stream=True, store=True)
        found = await gateway.hall.storage.read(lambda connection: connection.execute(kept_responses.select()).all())
    assert (silent.json["store"], "adjustments" in silent.json["tresor"]) == (False, False)
    assert (after.status, after.code) == (400, "previous_response_not_found")
    assert "store" in after.error["message"], "how it could have been kept"
    assert declined.json["store"] is False
    assert long.json["store"] is False
    assert [each["param"] for each in long.json["tresor"]["adjustments"]] == ["store"]
    assert found == []


@pytest.mark.anyio
async def test_who_wants_it_kept_where_nothing_is_kept_is_told(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        reply = await ask(gateway, store=True)
        found = await gateway.get(f"{RESPONSES}/{reply.json['id']}")
    assert reply.json["store"] is False
    assert [each["param"] for each in reply.json["tresor"]["adjustments"]] == ["store"]
    assert found.status == 404


@pytest.mark.anyio
async def test_what_was_asked_is_listed_by_pages(serve: Serve) -> None:
    said = [{"role": "user", "content": str(number)} for number in range(5)]
    async with serve({"acme": answer("Hi")}, responses=Responses(keep_days=1)) as gateway:
        at = f"{RESPONSES}/{(await ask(gateway, input=said, store=True)).json['id']}/input_items"
        page = (await gateway.get(f"{at}?limit=2&order=asc")).json
        rest = (await gateway.get(f"{at}?order=asc&after={page['last_id']}")).json
        latest = (await gateway.get(f"{at}?limit=1")).json
        wrong = [await gateway.get(f"{at}?{query}") for query in ("limit=0", "limit=x", "order=up", "after=nope")]
        again = await gateway.get(at.removesuffix("/input_items") + "?stream=true")

    def texts(found: Any) -> list[str]:
        return [item["content"][0]["text"] for item in found["data"]]

    assert (texts(page), page["has_more"]) == (["0", "1"], True)
    assert (texts(rest), rest["has_more"]) == (["2", "3", "4"], False)
    assert texts(latest) == ["4"]
    assert [each.status for each in wrong] == [400] * 4
    assert (again.status, again.code) == (400, "unsupported_parameter")


@pytest.mark.anyio
async def test_budgets_limits_and_sessions_hold_here_too(serve: Serve) -> None:
    price = RoutePrice(provider="acme", model="test-model", input_per_mtok=Decimal(1000), output_per_mtok=Decimal(1000))
    async with serve({"acme": answer("Hi")}, {"m": Model(routes=(price,))}) as gateway:
        keys = gateway.gateway.keys
        poor = await keys.create(name="poor", budget=Budget(Decimal("0.001")))
        rich = await keys.create(name="rich", budget=Budget(Decimal(1)))
        slow = await keys.create(name="slow", limits=Limits(requests_per_minute=1))
        replies = [
            await ask(gateway, {"authorization": f"Bearer {each.key}"}, max_output_tokens=10)
            for each in (poor, rich, slow, slow)
        ]
        opened = await gateway.post("/api/v1/session/modelsession?model_id=m", {"sessionDuration": 120})
        session_id = opened.json["session_id"]
        named = await ask(gateway, session_id=session_id)
        streamed = await ask(gateway, session_id=session_id, stream=True)
        unknown = await ask(gateway, session_id="none")
        rows = {row.outcome.value: row for row in await gateway.rows(7)}
    assert [(each.status, each.code) for each in replies] == [
        (402, "insufficient_quota"), (200, None), (200, None), (429, "rate_limit_exceeded"),
    ]  # fmt: skip
    assert float(replies[1].json["tresor"]["cost"]) > 0
    assert replies[1].headers["x-tresor-cost"] == replies[1].json["tresor"]["cost"]
    assert named.json["session_id"] == streamed.documents[-1]["response"]["session_id"] == session_id
    assert streamed.documents[-1]["response"]["tresor"]["cost"] == named.json["tresor"]["cost"]
    assert (unknown.status, unknown.code) == (404, "session_not_found")
    assert {row.endpoint for row in rows.values()} == {"responses"}


CODEX: Any = {
    "model": "m",
    "instructions": "You are a coding agent running in a terminal.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions/>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "<environment_context/>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix the test."}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "**Looking**"}], "content": None,
         "encrypted_content": sealed([{"type": "reasoning.text", "text": "Hm", "format": "x", "signature": "s"}])},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look at it."}]},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls"]}', "call_id": "call_1"},
        {"type": "custom_tool_call", "status": "completed", "call_id": "call_2", "name": "apply_patch",
         "input": "*** Begin Patch\n*** End Patch"},
        {"type": "function_call_output", "call_id": "call_1", "output": "test.py"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "{\"output\":\"Done\"}"},
    ],
    "tools": [
        {"type": "function", "name": "shell", "description": "Runs a command.", "strict": False,
         "parameters": {"type": "object", "properties": {"command": {"type": "array", "items": {"type": "string"}}},
                        "required": ["command"], "additionalProperties": False}},
        {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": {"type": "text"}},
        {"type": "namespace", "name": "multi_agent_v1", "description": "Agents.", "tools": [
            {"type": "function", "name": "close_agent", "description": "Closes one.", "strict": False,
             "parameters": {"type": "object", "properties": {"target": {"type": "string"}}, "required": ["target"]}}]},
        {"type": "tool_search", "execution": "client", "description": "Finds tools.",
         "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}},
    ],
    "client_metadata": {"thread_id": "0197"},
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0197-thread",
    "text": {"verbosity": "low"},
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["openai", "anthropic", "google", "mistral", "compatible"])
async def test_what_coding_agents_send_is_answered_by_every_kind_of_provider(serve: Serve, kind: str) -> None:
    async with MockProvider("vllm" if kind == "compatible" else kind) as mock:
        mock.reply("Now.", reasoning="Hm.", tool_calls=[tool("apply_patch", {"input": "*** Begin Patch"})])
        table = dict(mock.provider_table())
        key = table.pop("api_key", None)
        made = Provider(api_key=(Secret(key),) if key else (), **table)
        async with serve({"acme": made}, {"m": model("acme", upstream_model=mock.model)}) as gateway:
            reply = await gateway.post(RESPONSES, CODEX)
    assert mock.complaints == []
    assert (reply.status, types(reply)[-1]) == (200, "completed"), reply.body
    done = [each["item"] for each in reply.documents if each["type"] == "response.output_item.done"]
    assert {"message", "custom_tool_call"} <= {item["type"] for item in done}
    [call] = [item for item in done if item["type"] == "custom_tool_call"]
    assert (call["name"], call["input"]) == ("apply_patch", "*** Begin Patch")


@pytest.mark.anyio
async def test_an_error_before_the_first_event_is_an_error_event_where_the_head_is_out(serve: Serve) -> None:
    async with serve({"acme": slow_error()}, timeouts=Timeouts(keep_alive=0.01)) as gateway:
        reply = await ask(gateway, stream=True)
    assert reply.comments
    [told] = reply.documents
    assert (told["type"], told["sequence_number"], told["code"]) == ("error", 0, told["error"]["code"])


def slow_error() -> Behaviour:
    """A server error, some time after the request."""

    def script(received: Received) -> list[Step]:
        return [Sleep(0.05), *error(503)(received)]

    return script


@pytest.mark.anyio
async def test_a_session_of_many_turns_goes_on_while_responses_are_kept(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}, responses=Responses(keep_days=1)) as gateway:
        last = None
        for number in range(12):
            reply = await ask(gateway, input=str(number), previous_response_id=last, stream=number % 2 == 0, store=True)
            last = reply.documents[-1]["response"]["id"] if number % 2 == 0 else reply.json["id"]
        sent = gateway.upstreams["acme"].requests[-1].json["messages"]
    assert [each["content"] for each in sent if each["role"] == "user"] == [str(number) for number in range(12)]
    assert [each["role"] for each in sent] == ["user", "assistant"] * 11 + ["user"]


@pytest.mark.anyio
async def test_input_tokens_are_counted_with_what_was_said_before(serve: Serve) -> None:
    at = f"{RESPONSES}/input_tokens"
    async with serve({"acme": answer("Hi " * 400)}, responses=Responses(keep_days=1)) as gateway:
        first = await ask(gateway, input="Hello", store=True)
        alone = await gateway.post(at, {"model": "m", "input": "And then?"})
        after = await gateway.post(at, {"model": "m", "input": "And then?", "previous_response_id": first.json["id"]})
        wrong = await gateway.post(at, {"model": "m", "input": 5})
        other = await gateway.get(at)
        rows = await gateway.rows()
        with OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
            counted = await asyncio.to_thread(client.responses.input_tokens.count, model="m", input="And then?")
    assert (alone.status, alone.json["object"]) == (200, "response.input_tokens")
    assert after.json["input_tokens"] > alone.json["input_tokens"] + 100
    assert (wrong.status, wrong.error["param"]) == (400, "input")
    assert (other.status, other.code) == (405, "method_not_allowed")
    assert [row.endpoint for row in rows] == ["responses"], "counting is neither recorded nor charged"
    assert counted.input_tokens == alone.json["input_tokens"]


@pytest.mark.anyio
async def test_a_count_needs_no_input(serve: Serve) -> None:
    at = f"{RESPONSES}/input_tokens"
    async with playing(json_answer({"input_tokens": 42})) as upstream:
        table = provider(upstream, "anthropic")
        async with serve({"acme": table, "other": answer()}, {"m": model("acme"), "o": model("other")}) as gateway:
            found = [
                await gateway.post(at, {"model": name, "instructions": text, "tools": [NOW]})
                for name in ("m", "o")
                for text in (None, "Be brief. " * 50)
            ]
            needed = await ask(gateway, input=None)
            with OpenAI(base_url=gateway.base_url, api_key=gateway.key, max_retries=0) as client:
                counted = await asyncio.to_thread(client.responses.input_tokens.count, model="o")
    assert [each.status for each in found] == [200] * 4, [each.body for each in found]
    assert found[3].json["input_tokens"] > found[2].json["input_tokens"] + 100
    assert counted.input_tokens > 0
    assert (needed.status, needed.error["param"]) == (400, "input")


@pytest.mark.anyio
async def test_ids_of_open_calls_and_results_of_functions_are_there_once(serve: Serve) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "now", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": "12:00"}
    async with serve({"acme": answer("Hi")}) as gateway:
        twice = await ask(gateway, input=[call, call, result], tools=[NOW])
        again = await ask(gateway, input=[call, result, result], tools=[NOW])
        good = await ask(gateway, input=[call, result, call, result], tools=[NOW])
    assert (twice.status, twice.error["param"]) == (400, "input[1].call_id")
    assert (again.status, again.error["param"]) == (400, "input[2].call_id")
    assert good.status == 200


@pytest.mark.anyio
async def test_problems_and_adjustments_name_the_field_that_the_caller_knows(serve: Serve) -> None:
    """``text.format`` is no ``response_format`` to it."""
    form = {"type": "json_schema", "name": "a", "schema": {"type": "object", "$ref": "https://example.org/a"}}
    able = {"m": model("acme", capabilities=("max_tokens",))}
    async with serve({"acme": answer("Hi")}, able) as gateway:
        refused = await ask(gateway, text={"format": form})
        claude = await gateway.post("/v1/messages", {
            "model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}],
            "output_config": {"format": {"type": "json_schema", "schema": form["schema"]}},
        })  # fmt: skip
    sandbox = {"m": model("box", upstream_model="sandbox")}
    async with serve({"box": Provider(kind="sandbox")}, sandbox) as gateway:
        never: Any = {"type": "string"}
        tools = [
            await ask(gateway, tools=[{**NOW, "parameters": never}], tool_choice="required"),
            await gateway.post("/v1/messages", {
                "model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}],
                "tools": [{"name": "now", "input_schema": never}], "tool_choice": {"type": "any"},
            }),
        ]  # fmt: skip
    assert (refused.status, refused.error["param"]) == (400, "text.format")
    assert (tools[0].error["param"], tools[1].json["error"]["param"]) == (
        "tools[0].parameters",
        "tools[0].input_schema",
    )
    assert "function" not in tools[0].error["message"] + tools[1].json["error"]["message"]
    assert "'text.format'" in refused.error["message"]
    assert (claude.status, claude.json["error"]["param"]) == (400, "output_config.format")
    assert b"response_format" not in refused.body + claude.body


@pytest.mark.anyio
async def test_a_problem_inside_a_stream_names_the_field_that_the_caller_knows(serve: Serve) -> None:
    """There the head is out: the provider refuses when the caller has read a comment."""
    go = asyncio.Event()

    def late(received: Received) -> Iterator[Step]:
        yield WaitFor(go)
        text = "max_completion_tokens is too large"
        yield from resolve(error(400, message=text, param="max_completion_tokens"), received)

    quick = Timeouts(keep_alive=0.02)
    body = {"model": "m", "input": "Hi", "max_output_tokens": 9, "stream": True}
    async with (
        ScriptedUpstream(default=late) as upstream,
        serve({"acme": upstream}, timeouts=quick) as gateway,
        gateway.client() as client,
    ):
        await client.post(RESPONSES, body, gateway.headers)
        response = await client.response()
        assert await response.next_piece() is not None
        go.set()
        reply = await read_reply(response)
    [told] = reply.documents
    assert (told["type"], told["param"]) == ("error", "max_output_tokens")
    assert b"max_completion_tokens" not in reply.body
