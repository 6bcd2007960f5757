"""``POST /v1/messages`` over real HTTP: the dialect's errors and headers, its events, and what a cut leaves of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.gateway import Reply, Running, Serve, model, provider, read_reply
from tests.spare import Spare

from sealgate.config import Limits
from sealgate.receipts import verify
from sealgate.testing import ScriptedUpstream, answer, error, error_mid, http_request, tool
from sealgate.testing.anthropic_wire import USAGE, message, stream_error, thinking, tool_use
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Behaviour, Chunk, Fin, Send, Step, head, json_answer, sse

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
HI = [{"role": "user", "content": "Hi"}]


def play(upstream: ScriptedUpstream, behaviour: Any) -> None:
    """From now on it does this, wherever it is asked."""
    upstream.handler = lambda _: behaviour


def playing(behaviour: Any) -> ScriptedUpstream:
    upstream = ScriptedUpstream()
    play(upstream, behaviour)
    return upstream


async def ask(gateway: Running, headers: dict[str, str] | None = None, path: str = MESSAGES, **fields: Any) -> Reply:
    return await gateway.post(path, {"model": "m", "max_tokens": 100, "messages": HI, **fields}, headers)


def types(reply: Reply) -> list[str]:
    return [each["type"] for each in reply.documents]


@pytest.mark.anyio
async def test_a_stream_has_its_events_in_the_dialects_order(serve: Serve) -> None:
    behaviour = answer("Hello you", tool_calls=[tool("now", {}), tool("then", {"a": 1})])
    async with serve({"acme": behaviour}) as gateway:
        reply = await ask(gateway, stream=True)
    found = reply.documents
    assert [event.name for event in reply.events] == types(reply)
    assert (found[0]["type"], found[-2]["type"], found[-1]) == (
        "message_start", "message_delta", {"type": "message_stop"},
    )  # fmt: skip
    assert found[0]["message"]["content"] == []
    assert found[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert found[-2]["usage"]["output_tokens"] > 0
    open_blocks: list[int] = []
    for each in found[1:-2]:
        if each["type"] == "content_block_start":
            assert not open_blocks
            open_blocks.append(each["index"])
        elif each["type"] == "content_block_stop":
            assert open_blocks.pop() == each["index"]
        else:
            assert open_blocks == [each["index"]]
    starts = [each["content_block"]["type"] for each in found if each["type"] == "content_block_start"]
    assert starts == ["text", "tool_use", "tool_use"]
    assert reply.headers["x-tresor-receipt-id"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "fields", "status", "kind", "code"),
    [
        ({"authorization": "Bearer sk-sealgate-no"}, {}, 401, "authentication_error", "invalid_api_key"),
        ({}, {"model": "no"}, 404, "not_found_error", "model_not_found"),
        ({}, {"max_tokens": None}, 400, "invalid_request_error", "invalid_parameter"),
        ({}, {"messages": []}, 400, "invalid_request_error", "invalid_messages"),
        ({}, {"messages": [{"role": "user", "content": [{"type": "no"}]}]}, 400, "invalid_request_error", None),
        ({}, {"tool_choice": {"type": "any"}}, 400, "invalid_request_error", "invalid_parameter"),
        ({"x-tresor-timeout-seconds": "5"}, {}, 400, "invalid_request_error", "invalid_timeout_override"),
        ({"anthropic-version": "2020-01-01"}, {}, 400, "invalid_request_error", "invalid_header"),
        ({"content-type": "text/plain"}, {}, 415, "invalid_request_error", "unsupported_media_type"),
        ({}, {"tools": [{"type": "bash_20250124", "name": "bash"}]}, 400, "invalid_request_error",
         "unsupported_parameter"),
        ({"x-sealgate-strict": "true"}, {"context_management": {}}, 400, "invalid_request_error",
         "unsupported_parameter"),
    ],
)  # fmt: skip
async def test_errors_are_in_the_dialects_shape(
    serve: Serve, headers: dict[str, str], fields: Any, status: int, kind: str, code: str | None
) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        reply = await ask(gateway, headers, **fields)
    found = reply.json
    assert reply.status == status
    assert (found["type"], found["error"]["type"]) == ("error", kind)
    assert code is None or found["error"]["code"] == code
    assert found["request_id"] == reply.headers["request-id"] == reply.headers["x-request-id"]


@pytest.mark.anyio
async def test_errors_without_a_body_are_in_the_dialects_shape_too(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        other, unknown = await gateway.get(MESSAGES), await gateway.get("/v1/nothing")
        below = await ask(gateway, path="/api" + MESSAGES, messages=[{"role": "no", "content": 1}])
    assert (other.status, other.json["type"], other.json["error"]["type"]) == (405, "error", "invalid_request_error")
    assert "type" not in unknown.json, "other endpoints speak as they did"
    assert (below.status, below.json["type"]) == (422, "error")
    assert [each["loc"] for each in below.json["detail"]] == [
        ["body", "messages", 0, "role"], ["body", "messages", 0, "content"],
    ]  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/v1/messages/batches", 404, "not_found_error"),
        ("GET", "/v1/messages/batches/b_1/results", 404, "not_found_error"),
        ("GET", "/api/v1/messages/msg_1", 404, "not_found_error"),
        ("GET", "/v1/messages/count_tokens", 405, "invalid_request_error"),
        ("DELETE", "/v1/messages/", 405, "invalid_request_error"),
    ],
)
async def test_what_is_not_there_is_refused_in_the_dialects_shape(
    serve: Serve, method: str, path: str, status: int, kind: str
) -> None:
    async with serve({"acme": answer("Hi")}) as gateway, gateway.client() as client:
        await client.send(http_request(method, path, gateway.headers, host=f"{gateway.host}:{gateway.port}"))
        reply = await read_reply(await client.response())
    assert (reply.status, reply.json["type"], reply.json["error"]["type"]) == (status, "error", kind)
    assert reply.json["request_id"] == reply.headers["request-id"]


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21", None])
async def test_both_versions_and_both_headers_are_taken(serve: Serve, version: str | None) -> None:
    async with serve({"acme": answer("Hi")}) as gateway, gateway.client() as client:
        headers = {"x-api-key": gateway.key, **({"anthropic-version": version} if version else {})}
        await client.post(MESSAGES, {"model": "m", "max_tokens": 5, "messages": HI}, headers)
        assert (await client.response()).status == 200


@pytest.mark.anyio
async def test_the_providers_own_dialect_goes_through_as_it_came(serve: Serve) -> None:
    """Fields, marks and blocks that only it knows, betas that may go on, and stop sequences in the answer."""
    async with playing(message("Hello")) as upstream:
        claude = provider(upstream, "anthropic")
        async with serve({"acme": claude}, {"m": model("acme", upstream_model="claude-sonnet-4-5")}) as gateway:
            fields: dict[str, Any] = {
                "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
                "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}],
                "context_management": {"edits": []},
                "stop_sequences": ["a", "b", "c", "d", "e"],
                "top_k": 3,
            }
            betas = {"anthropic-beta": "interleaved-thinking-2025-05-14,fast-mode-2026-02-01"}
            reply = await ask(gateway, betas, **fields, service_tier="auto")
            streamed = await ask(gateway, betas, **fields, stream=True)
        sent = upstream.requests[0]
    assert (reply.status, reply.json["content"][0]["text"]) == (200, "Hello")
    assert sent.json == {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": HI, **fields}
    assert sent.headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    assert upstream.requests[1].json["stream"] is True
    assert types(streamed)[-1] == "message_stop"


@pytest.mark.anyio
@pytest.mark.parametrize("blocks", [
    [tool_use("now", {"a": 1})],
    [tool_use("now", {}), tool_use("then", {"b": [1, 2]})],
    [thinking("Hm."), tool_use("now", {"a": 1})],
])  # fmt: skip
async def test_a_stream_of_the_dialect_that_begins_with_a_call_comes_as_it_came(serve: Serve, blocks: Any) -> None:
    """What the provider counted of the prompt is there from the first event on."""
    async with playing(message(None, blocks=blocks)) as upstream:
        claude = provider(upstream, "anthropic")
        async with serve({"acme": claude}, {"m": model("acme", upstream_model="claude-sonnet-4-5")}) as gateway:
            reply = await ask(gateway, stream=True)

    first = reply.documents[0]["message"]
    assert first["usage"]["input_tokens"] == USAGE["input_tokens"]
    begun = [each["content_block"]["type"] for each in reply.documents if each["type"] == "content_block_start"]
    assert begun == [block["type"] for block in blocks]
    assert types(reply)[-1] == "message_stop"


@pytest.mark.anyio
async def test_a_translated_stream_begins_with_an_estimate_of_the_prompt_and_ends_with_its_count(serve: Serve) -> None:
    told = {"prompt_tokens": 177, "completion_tokens": 1, "total_tokens": 178}
    async with serve({"acme": answer("Hello", usage=told)}) as gateway:
        reply = await ask(gateway, stream=True, system="Be brief, and say nothing of it. " * 20)
        counted = await ask(gateway, path=COUNT, system="Be brief, and say nothing of it. " * 20)

    assert reply.documents[0]["message"]["usage"]["input_tokens"] > 100
    assert reply.documents[0]["message"]["usage"]["input_tokens"] - counted.json["input_tokens"] < 20
    assert reply.documents[-2]["usage"]["input_tokens"] == 177


def calling(*pieces: Any) -> Behaviour:
    """A stream of OpenAI's that tells tool calls in these pieces: number, and what is said of the function."""
    deltas = [{"tool_calls": [{"index": number, **rest}]} for number, rest in pieces]
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    steps: list[Step] = [head(200, {"content-type": "text/event-stream"})]
    return [*steps, *(Chunk(sse(each)) for each in (*chunks, last, "[DONE]")), LAST_CHUNK]


@pytest.mark.anyio
async def test_calls_that_come_interleaved_with_names_that_come_late_are_blocks_one_after_the_other(
    serve: Serve,
) -> None:
    behaviour = calling(
        (0, {"id": "a", "type": "function", "function": {"name": "", "arguments": ""}}),
        (1, {"id": "b", "type": "function", "function": {"name": "there", "arguments": ""}}),
        (2, {"id": "c", "type": "function", "function": {"name": "bare", "arguments": ""}}),
        (0, {"function": {"name": "here", "arguments": '{"x":'}}),
        (1, {"function": {"arguments": '{"y": {}'}}),
        (0, {"function": {"arguments": "1}"}}),
        (1, {"function": {"arguments": ', "z": 2}'}}),
    )
    async with serve({"acme": behaviour}) as gateway:
        reply = await ask(gateway, stream=True)
    assert types(reply)[-1] == "message_stop"
    blocks: list[Any] = []
    for each in reply.documents:
        if each["type"] == "content_block_start":
            assert each["index"] == len(blocks)
            blocks.append([each["content_block"]["id"], each["content_block"]["name"], ""])
        elif each["type"] == "content_block_delta":
            assert each["index"] == len(blocks) - 1, "a block is not gone on with once another has begun"
            blocks[-1][2] += each["delta"]["partial_json"]
    assert [(call, name, json.loads(text)) for call, name, text in blocks] == [
        ("a", "here", {"x": 1}), ("b", "there", {"y": {}, "z": 2}), ("c", "bare", {}),
    ]  # fmt: skip


@pytest.mark.anyio
async def test_instructions_that_are_no_text_are_refused(serve: Serve) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    async with serve({"acme": answer("Hi")}) as gateway:
        reply = await ask(gateway, messages=[*HI, {"role": "system", "content": [image]}, *HI])
    assert (reply.status, reply.json["error"]["type"]) == (400, "invalid_request_error")
    assert "messages[1].content[0]" in reply.json["error"]["message"]


CALLED: Any = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "now", "input": {}}]}
TWICE = {"role": "assistant", "content": [*CALLED["content"], *CALLED["content"]]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "12:00"}]}
OFFER = {"name": "now", "input_schema": {"type": "object"}}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "not base64!"}}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [*HI, RESULT]}, "messages[1].content[0].tool_use_id"),
        ({"messages": [*HI, TWICE, RESULT]}, "messages[1].content[1].id"),
        ({"tools": [OFFER, OFFER]}, "tools[1].name"),
        ({"max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 2048}}, "thinking.budget_tokens"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "messages[0].content[0].source.data"),
    ],
)
async def test_what_anthropic_refuses_is_refused_before_any_provider_is_asked(
    serve: Serve, kind: str, fields: Any, param: str
) -> None:
    async with playing(message("Hi") if kind == "anthropic" else answer("Hi")) as upstream:
        async with serve({"acme": provider(upstream, kind)}, {"m": model("acme")}) as gateway:
            reply = await ask(gateway, **fields)
        assert upstream.requests == []
    assert (reply.status, reply.json["type"], reply.json["error"]["param"]) == (400, "error", param)


@pytest.mark.anyio
async def test_a_budget_of_all_thinking_between_calls_may_be_beyond_the_answers_length(serve: Serve) -> None:
    thinks = {"type": "enabled", "budget_tokens": 4096}
    async with serve({"acme": answer("Hi")}) as gateway:
        beta = {"anthropic-beta": "interleaved-thinking-2025-05-14"}
        assert (await ask(gateway, beta, max_tokens=2048, thinking=thinks)).status == 200
        assert (await ask(gateway, path=COUNT, thinking=thinks, max_tokens=None)).status == 200


@pytest.mark.anyio
async def test_counting_refuses_media_that_are_no_base64(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        reply = await ask(gateway, path=COUNT, messages=[{"role": "user", "content": [PICTURE]}])
    assert (reply.status, reply.json["error"]["param"]) == (400, "messages[0].content[0].source.data")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_row_f5_an_error_in_the_middle_is_an_error_event_and_no_end(serve: Serve, kind: str) -> None:
    behaviour = error_mid(2) if kind == "openai" else stream_error(4)
    async with playing(behaviour) as upstream:
        table = provider(upstream, "anthropic" if kind == "anthropic" else "compatible")
        async with serve({"acme": table}, {"m": model("acme")}) as gateway:
            reply = await ask(gateway, stream=True)
            row = await gateway.row()
    assert (reply.status, types(reply)[0], types(reply)[-1]) == (200, "message_start", "error")
    assert "message_stop" not in types(reply)
    assert reply.events[-1].name == "error"
    assert reply.documents[-1]["receipt_id"] == reply.headers["x-tresor-receipt-id"]
    assert (row.outcome.value, row.endpoint) == ("truncated", "messages")


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
        pytest.param("openai", 1, marks=[pytest.mark.long, pytest.mark.timeout(600)]),  # the one that differs most
    ],
)
async def test_rows_f1_f3_f8_a_stream_that_is_cut_never_looks_whole(serve: Serve, kind: str, step: int) -> None:
    """Wherever it is cut: there is an error, or all of it was there and its end alone was missing."""
    calls = [tool("now", {"city": "Zürich"})]
    whole: Any = Spare("Grüße an", tool_calls=calls)
    if kind == "anthropic":
        whole = message(
            blocks=[thinking("Hm"), {"type": "text", "text": "Grüße an alle"}, tool_use("now", {"city": "Zürich"})]
        )
    seen: dict[str, int] = {}
    async with playing(whole) as upstream:
        table = provider(upstream, "anthropic" if kind == "anthropic" else "compatible")
        async with serve({"acme": table}, {"m": model("acme")}) as gateway:
            good = await ask(gateway, stream=True)
            assert types(good)[-1] == "message_stop"
            said = good.documents[-2]
            play(upstream, cut_at(whole, 10**9, seen))
            await ask(gateway, stream=True)
            for offset in range(0, seen["bytes"], step):
                gateway.forget()
                play(upstream, cut_at(whole, offset, {}))
                reply = await ask(gateway, stream=True)
                if reply.status != 200:
                    assert reply.json["type"] == "error"
                elif types(reply)[-1] == "message_stop":
                    assert reply.documents[-2]["delta"] == said["delta"], offset
                else:
                    assert types(reply)[-1] == "error", offset
                    assert "message_stop" not in types(reply), offset


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [True, False])
async def test_the_receipt_speaks_of_the_blocks_that_were_sent(serve: Serve, kind: str, stream: bool) -> None:
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
async def test_counting_is_the_providers_where_it_is_anthropic(serve: Serve) -> None:
    def counted(received: Received) -> Any:
        assert received.path.endswith("/count_tokens")
        return json_answer({"input_tokens": 42})

    async with playing(counted) as upstream:
        table = provider(upstream, "anthropic")
        async with serve({"acme": table, "backup": answer()}, {"m": model("acme"), "o": model("backup")}) as gateway:
            exact = await gateway.post(COUNT, {"model": "m", "messages": HI, "system": "Be brief."})
            guess = await gateway.post(COUNT, {"model": "o", "messages": HI * 50})
            play(upstream, error(500))
            fallen = await gateway.post(COUNT, {"model": "m", "messages": HI})
            assert await gateway.rows(0) == []
        sent = upstream.requests[0].json
    assert exact.json == {"input_tokens": 42}
    assert set(sent) == {"model", "messages", "system"}
    assert guess.json["input_tokens"] > 200
    assert fallen.json["input_tokens"] > 0
    assert "x-tresor-receipt-id" not in exact.headers


@pytest.mark.anyio
async def test_counting_is_limited_as_requests_are_and_uses_no_tokens(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as gateway:
        limits = Limits(requests_per_minute=2, tokens_per_minute=1000, concurrency=1)
        made = await gateway.gateway.keys.create(name="limited", limits=limits)
        head = {"authorization": f"Bearer {made.key}", "content-type": "application/json"}
        body = {"model": "m", "messages": [{"role": "user", "content": "Hello " * 50}]}
        replies = [await gateway.post(COUNT, body, head) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert {reply.headers["x-ratelimit-remaining-tokens"] for reply in replies[:2]} == {"1000"}
    assert replies[2].json["error"]["type"] == "rate_limit_error"
