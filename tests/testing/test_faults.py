"""Each ready-made fault, seen from a raw socket, whole and streamed.

Time jumps here: a client that waits ten seconds in vain takes none.
"""

import gzip
import json
import tracemalloc
from typing import Any, NamedTuple

import pytest

from sealgate.testing import (
    Answer,
    Behaviour,
    Event,
    JumpingClock,
    RawClient,
    RawResponse,
    Received,
    ScriptedUpstream,
    after_done,
    answer,
    bad_chunk,
    bare,
    cut_after,
    cut_at,
    delayed,
    dressed,
    empty,
    endless,
    gzip_body,
    gzip_bomb,
    html,
    huge_body,
    huge_head,
    huge_line,
    many_headers,
    no_done,
    not_json,
    odd_indexes,
    redirect,
    reset,
    role_only_then_cut,
    shifting_ids,
    short_body,
    silent,
    stale_reuse,
    stall_after,
    status_204,
    truncated,
    wire,
    with_1xx,
    wrong_content_type,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": JumpingClock}


class Seen(NamedTuple):
    """What a client saw of one answer. ``end``: how the body ended, ``head`` where even the head never came whole."""

    end: str | None
    events: list[Event]
    response: RawResponse

    @property
    def complete(self) -> bool:
        return self.response.complete

    @property
    def text(self) -> str:
        chunks = [event.json for event in self.events if event.data != "[DONE]"]
        return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.fixture
def ask(upstream: ScriptedUpstream, client: RawClient) -> Any:
    async def ask(behaviour: Behaviour, *, stream: bool = True) -> Seen:
        upstream.enqueue(behaviour)
        await client.post("/v1/chat/completions", {"model": "m", "stream": stream})
        response = await client.response()
        events: list[Event] = []
        try:
            if stream and response.headers.get("content-type", "").startswith("text/event-stream"):
                events = [event async for event in response.events()]
            else:
                await response.read()
        except TimeoutError:
            return Seen("timeout", events, response)
        return Seen(response.ended, events, response)

    return ask


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("behaviour", "end"),
    [
        (cut_after(3), "fin"),
        (cut_after(3, rst=True), "rst"),
        (role_only_then_cut(), "fin"),
        (role_only_then_cut(rst=True), "rst"),
        (silent(after_head=True), "timeout"),
        (stall_after(3), "timeout"),
        (short_body(), "fin"),
        (bad_chunk(), "bad-chunk"),
    ],
)
async def test_a_broken_answer_begins_well_and_never_completes(ask: Any, behaviour: Behaviour, end: str, stream: bool):
    seen = await ask(behaviour, stream=stream)
    assert seen.response.status == 200
    assert seen.end == end
    assert not seen.complete
    assert b"[DONE]" not in seen.response.body
    if not stream:
        with pytest.raises(ValueError, match=r"truncated|malformed"):
            _ = seen.response.json


@pytest.mark.parametrize("behaviour", [cut_after(3), stall_after(3), truncated(3)])
async def test_events_before_the_fault_are_the_good_ones(
    upstream: ScriptedUpstream, client: RawClient, behaviour: Behaviour
):
    upstream.enqueue(behaviour)
    await client.post("/v1/chat/completions", {"stream": True})
    response = await client.response()
    events = [await response.next_event() for _ in range(3)]
    assert [event.json["choices"][0]["delta"].get("content") for event in events] == ["", "Hello! ", "How "]


async def test_silence_sends_not_one_byte(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue(silent())
    await client.post("/v1/chat/completions", {})
    with pytest.raises(TimeoutError):
        await client.response()
    assert not client.buffer


async def test_reset_sends_not_one_byte(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue(reset())
    await client.post("/v1/chat/completions", {})
    with pytest.raises(ConnectionResetError, match="rst"):
        await client.response()
    assert not client.buffer


@pytest.mark.parametrize("stream", [True, False])
async def test_cut_at_sends_exactly_so_many_bytes(upstream: ScriptedUpstream, stream: bool):
    good = delayed(1, answer("Grüße", delay=1))
    total = len(wire(good, Received.sample(stream=stream)))
    for offset in [0, 1, 17, total // 2, total - 1]:
        for rst in (False, True):
            upstream.enqueue(cut_at(offset, good, rst=rst))
            async with RawClient(upstream.host, upstream.port) as client:
                await client.post("/v1/chat/completions", Received.sample(stream=stream).json)
                assert await client.wait_end() == ("rst" if rst else "fin")
                assert len(client.buffer) == offset


async def test_cut_at_the_end_leaves_the_answer_whole(ask: Any):
    seen = await ask(cut_at(10**6))
    assert seen.complete
    assert seen.events[-1].data == "[DONE]"


async def test_a_reused_connection_is_stale_and_a_fresh_one_is_not(upstream: ScriptedUpstream):
    upstream.default = stale_reuse()
    for _ in range(2):
        async with RawClient(upstream.host, upstream.port) as client:
            await client.post("/v1/chat/completions", {})
            assert (await client.response()).status == 200
            client.buffer.clear()
            await client.post("/v1/chat/completions", {})
            await client.wait_end()
            assert client.ended == "rst"
    assert [request.nth_on_connection for request in upstream.requests] == [1, 2, 1, 2]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("behaviour", "status", "content_type"),
    [
        (html(), 200, "text/html; charset=utf-8"),
        (html(502), 502, "text/html; charset=utf-8"),
        (redirect("http://127.0.0.1:9/x", 308), 308, "text/plain"),
        (wrong_content_type("text/plain"), 200, "text/plain"),
        (wrong_content_type("application/octet-stream"), 200, "application/octet-stream"),
        (status_204(), 204, None),
        (bare(206), 206, None),
    ],
)
async def test_what_was_not_asked_for_comes_complete(
    ask: Any, behaviour: Behaviour, status: int, content_type: str | None, stream: bool
):
    seen = await ask(behaviour, stream=stream)
    assert seen.response.status == status
    assert seen.response.headers.get("content-type") == content_type
    assert seen.complete
    if status == 308:
        assert seen.response.headers["location"] == "http://127.0.0.1:9/x"


async def test_a_204_has_no_length_at_all(ask: Any):
    seen = await ask(status_204())
    assert seen.response.head.raw == b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.mark.parametrize(("stream", "content_type"), [(True, "text/event-stream"), (False, "application/json")])
async def test_an_empty_body_bears_the_right_name(ask: Any, stream: bool, content_type: str):
    seen = await ask(empty(), stream=stream)
    assert seen.response.headers["content-type"].startswith(content_type)
    assert (seen.complete, seen.response.body) == (True, b"")


async def test_interim_heads_come_before_the_answer(ask: Any, client: RawClient):
    seen = await ask(with_1xx())
    assert [head.status for head in client.interim] == [100, 103]
    assert (seen.response.status, seen.text) == (200, "Hello! How can I help you today?")


async def test_not_json_is_one_bad_event_among_good_ones_or_a_bad_body(ask: Any):
    seen = await ask(not_json(after=2))
    bad = [number for number, event in enumerate(seen.events[:-1]) if not _is_json(event)]
    assert bad == [2]
    assert seen.events[-1].data == "[DONE]"
    whole = await ask(not_json(), stream=False)
    assert whole.complete
    with pytest.raises(ValueError, match="truncated"):
        _ = whole.response.json


def _is_json(event: Event) -> bool:
    try:
        json.loads(event.data)
    except ValueError:
        return False
    return True


async def test_a_gzip_body_unpacks_to_the_good_answer(ask: Any):
    whole = await ask(gzip_body(), stream=False)
    assert whole.response.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(whole.response.body))["object"] == "chat.completion"
    stream = await ask(gzip_body())
    assert gzip.decompress(stream.response.body).endswith(b"data: [DONE]\n\n")


async def test_a_gzip_bomb_is_small_on_the_wire_and_large_unpacked(ask: Any):
    seen = await ask(gzip_bomb(4 << 20), stream=False)
    assert seen.complete
    assert len(seen.response.body) < 20_000
    assert len(gzip.decompress(seen.response.body)) == 4 << 20


async def test_a_huge_head_is_huge_and_the_rest_is_good(ask: Any):
    seen = await ask(huge_head(100_000))
    assert len(seen.response.headers["x-padding"]) == 100_000
    assert seen.complete
    many = await ask(many_headers(2_000, answer(headers={"set-cookie": "a=b"})))
    assert sum(name.startswith("x-padding-") for name in many.response.headers) == 2_000
    assert many.response.headers["set-cookie"] == "a=b"


async def test_a_huge_line_has_no_end(ask: Any):
    seen = await ask(huge_line(300_000))
    assert (seen.end, seen.events) == ("timeout", [])
    assert len(seen.response.body) > 300_000
    assert b"\n" not in seen.response.body


async def test_a_huge_body_is_json_of_that_size_and_is_not_held_in_memory(
    upstream: ScriptedUpstream, client: RawClient
):
    upstream.enqueue(huge_body(200_001))
    await client.post("/v1/chat/completions", {})
    response = await client.response()
    await response.read()
    assert len(response.json["choices"][0]["message"]["content"]) == 200_001

    tracemalloc.start()
    upstream.enqueue(huge_body(1 << 40))
    async with RawClient(upstream.host, upstream.port) as other:
        await other.post("/v1/chat/completions", {})
        response = await other.response()
        for _ in range(50):
            response.pieces.clear()
            await response.next_piece()
    await upstream.wait_peer_left(1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


async def test_no_done_has_a_finish_reason_and_truncated_has_none(ask: Any):
    finished, torn = await ask(no_done()), await ask(truncated())
    assert finished.complete
    assert torn.complete
    assert b"[DONE]" not in finished.response.body + torn.response.body
    assert finished.events[-1].json["choices"][0]["finish_reason"] == "stop"
    assert all(event.json["choices"][0]["finish_reason"] is None for event in torn.events)
    whole = await ask(truncated(), stream=False)
    assert whole.complete
    with pytest.raises(ValueError, match="truncated"):
        _ = whole.response.json


async def test_after_done_goes_on_talking(ask: Any):
    seen = await ask(after_done())
    data = [event.data for event in seen.events]
    first = data.index("[DONE]")
    assert data.count("[DONE]") == 2
    assert "too " in "".join(data[first:])


async def test_a_dressed_stream_says_the_same_in_the_formats_full_dress(ask: Any, client: RawClient):
    seen = await ask(dressed())
    plain = [event for event in seen.events if event.name == "message"]
    assert Seen("", plain, seen.response).text == "Hello! How can I help you today?"
    assert {event.name for event in seen.events} == {"message", "ping"}
    assert all("\n" in event.data for event in plain[:-1])
    assert plain[0].id == "0"
    assert seen.response.comments[0].text == "comment"


async def test_ids_models_and_indexes_can_shift(ask: Any):
    seen = await ask(shifting_ids())
    chunks = [event.json for event in seen.events[:-1]]
    assert len({(chunk["id"], chunk["model"]) for chunk in chunks}) == len(chunks)
    odd = await ask(odd_indexes())
    choices = [event.json["choices"][0] for event in odd.events[:-1]]
    assert {choice["index"] for choice in choices} == {0, 99, -1}
    calls = [call["index"] for choice in choices for call in choice["delta"].get("tool_calls", [])]
    assert calls == [1, 0, 7, 0, 1]
    assert odd.complete


async def test_an_endless_stream_goes_on_until_its_reader_leaves(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue(endless(base=Answer(delay=60)))
    await client.post("/v1/chat/completions", {"stream": True})
    client.timeout = 100
    response = await client.response()
    events = [await response.next_event() for _ in range(20)]
    assert events[-1].at - events[0].at == 19 * 60
    client.fin()
    assert (await upstream.wait_peer_left(0)).abandoned


@pytest.mark.parametrize(
    "behaviour", [no_done(), after_done(), dressed(), shifting_ids(), odd_indexes(), with_1xx(), huge_head(1000)]
)
async def test_oddities_of_streams_leave_whole_answers_good(ask: Any, behaviour: Behaviour):
    seen = await ask(behaviour, stream=False)
    assert seen.complete
    assert seen.response.json["choices"][0]["message"]["role"] == "assistant"
