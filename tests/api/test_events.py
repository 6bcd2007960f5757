"""Streams over real HTTP: what each event holds, and that it leaves when it came."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.gateway import Reply, Running, Serve, Threaded, read_reply
from tests.punctual import punctually

from sealgate.auth.caller import KeySettings
from sealgate.config import Server, Timeouts
from sealgate.testing import (
    LAST_CHUNK,
    Received,
    ScriptedUpstream,
    Sleep,
    Step,
    WaitFor,
    answer,
    at_random,
    awkward,
    chunk,
    cut_after,
    error_first,
    error_mid,
    every,
    glued,
    head,
    role_only_then_cut,
    split,
    sse,
    tool,
    truncated,
)
from sealgate.testing.thread import ThreadedUpstream

TEXT = 'Gr\u00fc\u00dfe \u2014 \u4f60\u597d \U0001f44b, \u00abein\u00bb \\n "Zitat" und\nneue Zeile'
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def running(gateway: Threaded) -> Running:
    return gateway.running


def delta(**fields: Any) -> bytes:
    """One event of an upstream."""
    return sse({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


STOP = sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
DONE = sse("[DONE]")
EVENT_STREAM = {"content-type": "text/event-stream"}


@pytest.mark.anyio
async def test_the_head_tells_proxies_not_to_hold_events_back(running: Running) -> None:
    reply = await running.chat(stream=True)
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["cache-control"] == "no-cache, no-transform"
    assert reply.headers["x-accel-buffering"] == "no"
    assert reply.headers["transfer-encoding"] == "chunked"
    assert {"x-request-id", "x-process-time"} <= reply.headers.keys()


@pytest.mark.anyio
async def test_a_stream_has_role_content_finish_and_done_in_this_order(running: Running) -> None:
    """Points 1 to 5."""
    reply = await running.chat(stream=True)
    first, *contents, finish = reply.chunks
    assert first["choices"] == [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]
    assert [each["choices"][0]["delta"]["content"] for each in contents] == [
        "Hello! ", "How ", "can ", "I ", "help ", "you ", "today?",
    ]  # fmt: skip
    assert finish["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert finish["tresor"] == {
        "receipt_id": reply.headers["x-tresor-receipt-id"], "requested_route": "auto/auto/m",
        "routed_model": "global/acme/m", "failover": False,
    }  # fmt: skip
    assert reply.done
    assert reply.complete
    for each in reply.chunks:
        assert {name: each[name] for name in ("id", "object", "created", "model")} == {
            "id": first["id"], "object": "chat.completion.chunk", "created": first["created"], "model": "m",
        }  # fmt: skip
        assert each["choices"]
        assert ("tresor" in each, "episode_id" in each) == (each is finish, each is finish)
        assert "usage" not in each
    assert all(event.name == "message" and event.id is None for event in reply.events)


@pytest.mark.anyio
async def test_without_being_asked_for_usage_is_still_recorded(serve: Serve) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        assert (await running.chat(stream=True)).done
        assert upstream.requests[0].includes_usage
        row = await running.row()
        assert (row.prompt_tokens, row.completion_tokens, row.usage_source) == (1, 7, "reported")


@pytest.mark.anyio
async def test_usage_comes_in_a_chunk_of_its_own_where_it_is_asked_for(running: Running) -> None:
    """Point 4."""
    reply = await running.chat(**WITH_USAGE)
    *others, last = reply.chunks
    assert all(each["usage"] is None and each["choices"] for each in others)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 1, "completion_tokens": 7, "total_tokens": 8}
    assert "tresor" in others[-1]
    assert (last["id"], last["model"]) == (others[0]["id"], "m")


@pytest.mark.anyio
@pytest.mark.parametrize("at", ["finish", "every", "twice"])
async def test_usage_comes_once_wherever_the_provider_put_it(
    running: Running, upstream: ThreadedUpstream, at: Any
) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    upstream.enqueue(answer(usage=usage, usage_at=at), answer(usage=usage, usage_at=at))
    reply = await running.chat(**WITH_USAGE)
    assert [each["usage"] for each in reply.chunks if each["usage"]] == [usage]
    assert reply.chunks[-1]["choices"] == []
    assert not [each for each in (await running.chat(stream=True)).chunks if "usage" in each or not each["choices"]]


@pytest.mark.anyio
async def test_usage_on_the_finish_chunk_by_the_servers_setting_and_by_the_keys(serve: Serve) -> None:
    def places(reply: Reply) -> list[bool]:
        """For each chunk with usage, whether it is the finish chunk."""
        assert all(each["choices"] for each in reply.chunks) or not reply.chunks[-1]["choices"]
        return [bool(each["choices"]) and "tresor" in each for each in reply.chunks if each.get("usage")]

    async with ScriptedUpstream() as upstream:
        for server_wants, key_wants, on_finish in (
            (True, None, True), (True, False, False), (False, True, True), (False, None, False),
        ):  # fmt: skip
            server = Server(port=0, discover=False, usage_on_finish_chunk=server_wants)
            async with serve({"acme": upstream}, server=server) as running:
                settings = KeySettings(usage_on_finish_chunk=key_wants)
                running.key = (await running.gateway.keys.create(name="own", settings=settings)).key
                assert places(await running.chat(**WITH_USAGE)) == [on_finish]
                assert places(await running.chat(stream=True)) == [], "it was not asked for"


@pytest.mark.anyio
async def test_several_choices_each_have_their_role_and_finish_and_the_last_finish_ours(
    running: Running, upstream: ThreadedUpstream
) -> None:
    reply = await running.chat(stream=True, n=3)
    roles = [each["choices"][0]["index"] for each in reply.chunks if "role" in each["choices"][0]["delta"]]
    finishes = [each for each in reply.chunks if each["choices"][0]["finish_reason"]]
    assert sorted(roles) == [0, 1, 2]
    assert [each["choices"][0]["index"] for each in finishes] == [0, 1, 2]
    assert ["tresor" in each for each in finishes] == [False, False, True]
    assert reply.done
    for index in range(3):
        text = [
            each["choices"][0]["delta"].get("content", "")
            for each in reply.chunks
            if each["choices"][0]["index"] == index
        ]
        assert "".join(text) == "Hello! How can I help you today?"


@pytest.mark.anyio
async def test_tool_calls_have_id_and_name_on_their_first_delta_only(
    running: Running, upstream: ThreadedUpstream
) -> None:
    upstream.enqueue(answer(tool_calls=[tool("f", {"city": "Bern"}), tool("g", {"n": 12345678})]))
    reply = await running.chat(stream=True)
    calls = [call for each in reply.chunks for call in each["choices"][0]["delta"].get("tool_calls", [])]
    openings = [call for call in calls if "id" in call]
    assert [(call["index"], call["id"], call["type"], call["function"]["name"]) for call in openings] == [
        (0, "call_f", "function", "f"), (1, "call_g", "function", "g"),
    ]  # fmt: skip
    assert not [call for call in calls if "id" not in call and ("type" in call or "name" in call["function"])]
    arguments = ["".join(c["function"]["arguments"] for c in calls if c["index"] == index) for index in (0, 1)]
    assert arguments == ['{"city": "Bern"}', '{"n": 12345678}']
    assert reply.chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.anyio
async def test_reasoning_refusal_and_log_probabilities_come_through(
    running: Running, upstream: ThreadedUpstream
) -> None:
    upstream.enqueue(answer("so be it", reasoning="let me see"), answer(refusal="I will not"))
    deltas = [each["choices"][0]["delta"] for each in (await running.chat(stream=True)).chunks]
    assert "".join(each.get("reasoning_content", "") for each in deltas) == "let me see"
    refused = [each["choices"][0]["delta"] for each in (await running.chat(stream=True)).chunks]
    assert "".join(each.get("refusal", "") for each in refused) == "I will not"
    chunks = (await running.chat(stream=True, logprobs=True)).chunks
    tokens = [
        each["choices"][0]["logprobs"]["content"][0]["token"] for each in chunks if "logprobs" in each["choices"][0]
    ]
    assert "".join(tokens) == "Hello! How can I help you today?"


# Point 8: an event leaves when it came


@pytest.mark.anyio
async def test_an_event_leaves_before_the_next_one_comes(serve: Serve) -> None:
    """The upstream sends its next event only when the caller has read the one before: a held one would stop all."""
    gates = [asyncio.Event() for _ in range(20)]

    def stepwise(_: Received) -> Iterator[Step]:
        yield head(200, EVENT_STREAM)
        for number, gate in enumerate(gates):
            yield chunk(delta(content=f"{number} "))
            yield WaitFor(gate)
        yield chunk(STOP)
        yield chunk(DONE)
        yield LAST_CHUNK

    async with (
        ScriptedUpstream(default=stepwise) as upstream,
        serve({"acme": upstream}) as running,
        running.client() as client,
    ):
        await running.begin(client, stream=True)
        response = await client.response()
        role = await response.next_event()
        assert role is not None
        assert role.json["choices"][0]["delta"] == {"role": "assistant"}
        for number, gate in enumerate(gates):
            event = await response.next_event()
            assert event is not None
            assert event.json["choices"][0]["delta"] == {"content": f"{number} "}
            gate.set()
        rest = [event async for event in response.events()]
        assert rest[0].json["choices"][0]["finish_reason"] == "stop"
        assert rest[-1].data == "[DONE]"


@dataclass(frozen=True, slots=True)
class Stamp:
    """Remember when this step was played."""

    times: list[float] = field(default_factory=list)

    async def play(self, _: Any, /) -> None:
        self.times.append(asyncio.get_running_loop().time())


@pytest.mark.anyio
async def test_p15_the_gateway_adds_little_to_the_time_of_an_event(serve: Serve) -> None:
    """All ends share one event loop here, so this is an upper bound."""
    stamp = Stamp()

    def paced(_: Received) -> Iterator[Step]:
        yield head(200, EVENT_STREAM)
        for number in range(40):
            yield Sleep(0.003)
            yield stamp
            yield chunk(delta(content=f"{number} "))
        yield chunk(STOP)
        yield chunk(DONE)
        yield LAST_CHUNK

    async with ScriptedUpstream(default=paced) as upstream, serve({"acme": upstream}) as running:
        reply = await running.chat(stream=True)
        arrived = [event.at for event in reply.events if '"content"' in event.data]
        delays = [came - sent for came, sent in zip(arrived, stamp.times, strict=True)]
        assert min(delays) > 0
        assert statistics.median(delays) < 0.01


@pytest.mark.anyio
@pytest.mark.parametrize("arrival", [glued, split, lambda b: split(b, every(1)), lambda b: split(b, at_random(7))])
async def test_p15_one_event_in_one_write_however_the_upstreams_bytes_come(serve: Serve, arrival: Any) -> None:
    """Rows F8 and F16: cut inside characters, names and line ends, glued together, and byte by byte."""
    said = answer(TEXT, watermark=True)
    async with ScriptedUpstream(default=arrival(said)) as upstream, serve({"acme": upstream}) as running:
        async with running.client() as client:
            await running.begin(client, stream=True)
            response = await client.response()
            reply = await read_reply(response)
        pieces = [piece.data for piece in response.pieces]
        assert all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in pieces)
        assert all(piece.count(b"\n") == 2 for piece in pieces)
        assert len(pieces) == len(reply.events)
        assert reply.text == f"[{upstream.requests[0].watermark}] {TEXT}"
        assert reply.done


@pytest.mark.anyio
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
async def test_row_f9_line_ends_of_the_upstream_do_not_matter(
    running: Running, upstream: ThreadedUpstream, newline: str
) -> None:
    upstream.enqueue(split(answer(TEXT, newline=newline), awkward))
    assert (await running.chat(stream=True)).text == TEXT


# Point 7: keep-alive


@pytest.mark.anyio
async def test_while_the_first_content_is_awaited_comments_are_sent_and_take_the_head_along(serve: Serve) -> None:
    go = asyncio.Event()

    def late(received: Received) -> Iterator[Step]:
        yield WaitFor(go)
        yield from answer()(received)

    quick = Timeouts(keep_alive=0.02)
    async with ScriptedUpstream(default=late) as upstream, serve({"acme": upstream}, timeouts=quick) as running:
        async with running.client() as client:
            await running.begin(client, stream=True)
            response = await client.response()
            assert response.status == 200
            for _ in range(2):
                piece = await response.next_piece()
                assert piece is not None
                assert piece.data == b": keep-alive\n\n"
            go.set()
            reply = await read_reply(response)
        assert reply.text == "Hello! How can I help you today?"
        assert reply.done
        assert [event.json["choices"][0]["delta"] for event in reply.events[:1]] == [{"role": "assistant"}]


@pytest.mark.anyio
async def test_comments_are_sent_in_pauses_and_never_inside_an_event(serve: Serve) -> None:
    go = asyncio.Event()

    def paused(received: Received) -> Iterator[Step]:
        for number, step in enumerate(answer(TEXT)(received)):
            if number == 4:
                yield WaitFor(go)
            yield step

    quick = Timeouts(keep_alive=0.02)
    async with ScriptedUpstream(default=paused) as upstream, serve({"acme": upstream}, timeouts=quick) as running:
        async with running.client() as client:
            await running.begin(client, stream=True)
            response = await client.response()
            while (piece := await response.next_piece()) is not None and not piece.data.startswith(b":"):
                pass
            go.set()
            await response.read()
        pieces = [piece.data for piece in response.pieces]
        assert set(pieces) >= {b": keep-alive\n\n", b"data: [DONE]\n\n"}
        assert all(piece == b": keep-alive\n\n" or piece.startswith(b"data: ") for piece in pieces)


@pytest.mark.anyio
async def test_a_stream_that_is_never_silent_has_no_comments(serve: Serve) -> None:
    quick = Timeouts(keep_alive=0.2)
    async with (
        ScriptedUpstream(default=answer("a " * 60, delay=0.005)) as upstream,
        serve({"acme": upstream}, timeouts=quick) as running,
    ):

        async def scene() -> None:
            reply = await running.chat(stream=True)
            assert reply.done
            assert reply.comments == []

        await punctually(scene, 0.1)


@pytest.mark.anyio
async def test_after_a_comment_an_error_can_only_come_as_an_event(serve: Serve) -> None:
    def late(received: Received) -> Iterator[Step]:
        yield Sleep(0.05)
        yield from error_first()(received)  # type: ignore[operator]

    quick = Timeouts(keep_alive=0.01)
    async with ScriptedUpstream(default=late) as upstream, serve({"acme": upstream}, timeouts=quick) as running:
        reply = await running.chat(stream=True, headers={"x-request-id": "mine"})
        assert reply.status == 200
        assert reply.comments
        assert len(reply.events) == 1
        assert reply.events[0].json["request_id"] == "mine"
        assert reply.code == "upstream_overloaded" or reply.code == "upstream_error"
        assert reply.complete
        assert not reply.done


# Point 6: what breaks off


@pytest.mark.anyio
async def test_before_the_first_content_an_error_has_a_status_of_its_own(
    running: Running, upstream: ThreadedUpstream
) -> None:
    for behaviour in (error_first(), role_only_then_cut(), truncated(after=1)):
        upstream.enqueue(behaviour)
        reply = await running.chat(stream=True)
        assert reply.status in (502, 503)
        assert reply.headers["content-type"] == "application/json"
        assert reply.error["attempts"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (truncated(after=3), "upstream_stream_truncated"),
        (cut_after(3), "upstream_stream_truncated"),
        (cut_after(3, rst=True), "upstream_stream_reset"),
        (error_mid("openai"), "upstream_error"),
        (error_mid("anthropic"), "upstream_error"),
    ],
)
async def test_p1_a_broken_stream_ends_with_an_error_event_and_without_done(
    serve: Serve, behaviour: Any, code: str
) -> None:
    async with ScriptedUpstream(default=behaviour) as upstream, serve({"acme": upstream}) as running:
        reply = await running.chat(**WITH_USAGE)
        assert (reply.status, reply.done, reply.complete) == (200, False, True)
        *chunks, last = reply.documents
        assert set(last) == {"error", "request_id", "receipt_id"}
        assert last["receipt_id"] == reply.headers["x-tresor-receipt-id"]
        assert last["error"]["code"] == code
        assert last["error"]["message"]
        assert last["request_id"] == reply.headers["x-request-id"]
        assert last["error"]["attempts"][0]["route"] == "global/acme/m"
        assert reply.text == "Hello! How "
        assert not [each for each in chunks if each["choices"][0]["finish_reason"]]
        assert not [each for each in chunks if "tresor" in each]
        row = await running.row()
        assert (row.outcome.value, row.code) == ("truncated", code)


@pytest.mark.anyio
async def test_row_i1_a_stream_that_the_drain_does_not_wait_for_ends_with_an_error(serve: Serve) -> None:
    def begun(received: Received) -> Iterator[Step]:
        for number, step in enumerate(answer()(received)):
            if number == 3:
                yield WaitFor(asyncio.Event())
            yield step

    async with ScriptedUpstream(default=begun) as upstream:
        async with serve({"acme": upstream}, drain=0.05) as running:
            client = running.client()
            await client.__aenter__()
            await running.begin(client, stream=True)
            response = await client.response()
            assert await response.next_event() is not None
        reply = await read_reply(response)
        assert (reply.code, reply.done, reply.complete) == ("gateway_shutting_down", False, True)
        assert reply.documents[-1]["request_id"] == reply.headers["x-request-id"]
        client.fin()


@pytest.mark.anyio
async def test_row_i1_a_stream_is_waited_for_while_it_drains(serve: Serve) -> None:
    async with ScriptedUpstream(default=answer("a b c d e", delay=0.02)) as upstream:
        async with serve({"acme": upstream}, drain=5) as running:
            client = running.client()
            await client.__aenter__()
            await running.begin(client, stream=True)
            response = await client.response()
            assert await response.next_event() is not None
        reply = await read_reply(response)
        assert reply.done
        client.fin()
