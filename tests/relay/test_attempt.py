"""One upstream call from its first byte to its last: what breaks on the way, what is odd but fine, and every cut.

Rows F1 to F17. Whatever an upstream does, a caller has either the whole answer with ``[DONE]``, or an error: a
truncated answer never looks like success.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway import Reply, Running, Serve
from tests.spare import Spare, bare

from sealgate.config import Telemetry, Timeouts
from sealgate.errors import CODES, UpstreamError
from sealgate.limits.ledger import Outcome
from sealgate.providers.openai import WIRE
from sealgate.relay.answer import Label, StreamedAnswer, WholeAnswer
from sealgate.testing import (
    LAST_CHUNK,
    SHAPES,
    Behaviour,
    Fin,
    Hang,
    Received,
    Rst,
    Script,
    after_done,
    answer,
    awkward,
    bad_chunk,
    chunk,
    cut_after,
    cut_at,
    dressed,
    endless,
    error_mid,
    every,
    glued,
    head,
    huge_line,
    json_answer,
    no_done,
    not_json,
    odd_indexes,
    shifting_ids,
    split,
    sse,
    tool,
    truncated,
    watermarks,
    wire,
)
from sealgate.testing.openai_wire import GREETING, Answer
from sealgate.testing.script import resolve

TEXT = "Grüße, 世界! 👋 And a few more words."


def after_content(*steps: Any) -> Callable[[Received], Iterator[Any]]:
    """Three events of a good answer, then these steps."""

    def script(received: Received) -> Iterator[Any]:
        yield answer().stream_head(received)
        for event in answer().events(received)[:3]:
            yield chunk(event)
        yield from steps

    return script


def finishing(*steps: Any, usage: bool = False) -> Callable[[Received], Iterator[Any]]:
    """One choice of a good answer up to its finish chunk, without ``[DONE]``, then these steps."""
    base = answer(TEXT, usage_at="finish" if usage else "end", n=1)

    def script(received: Received) -> Iterator[Any]:
        yield base.stream_head(received)
        for document in base.chunks(received):
            if document["choices"]:
                yield chunk(sse(document))
        yield from steps

    return script


# What breaks after the first content


NEVER_ENDING = list(resolve(huge_line(), Received.sample()))[1:]
"""Its body, which is more than 8 MiB."""

BROKEN: dict[str, tuple[Behaviour, str, str]] = {
    "F1 cut": (cut_after(3), "upstream_stream_truncated", "truncated"),
    "F1 the end without a finish": (truncated(3), "upstream_stream_truncated", "truncated"),
    "F3 reset": (cut_after(3, rst=True), "upstream_stream_reset", "reset"),
    "F4 silence": (after_content(Hang()), "upstream_stream_timeout", "stalled"),
    "F5 openai": (error_mid("openai"), "upstream_error", "overloaded"),
    "F5 openrouter": (error_mid("openrouter"), "upstream_error", "overloaded"),
    "F5 vllm": (error_mid("vllm"), "upstream_error", "server_error"),
    "F5 anthropic": (error_mid("anthropic"), "upstream_error", "overloaded"),
    "F6 not JSON": (not_json(3), "upstream_bad_stream", "bad_stream"),
    "F6 not an object": (after_content(chunk(sse([1, 2]))), "upstream_bad_stream", "bad_stream"),
    "F6 of another shape": (after_content(chunk(sse({"choices": [[]]}))), "upstream_bad_stream", "bad_stream"),
    "F7 a line without end": (after_content(*NEVER_ENDING), "upstream_bad_stream", "bad_stream"),
    "broken framing": (bad_chunk(3), "upstream_bad_stream", "bad_response"),
    "a finish that means failure": (
        after_content(chunk(sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "network_error"}]}))),
        "upstream_error",
        "server_error",
    ),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", BROKEN)
async def test_rows_f1_to_f7_a_stream_that_breaks_ends_with_an_error_and_without_done(serve: Serve, name: str) -> None:
    """After its first content nothing is switched any more: the backup is not asked."""
    behaviour, code, outcome = BROKEN[name]
    timeouts = Timeouts(gap=0.1) if name.startswith("F4") else Timeouts()
    async with serve({"acme": behaviour, "backup": answer()}, timeouts=timeouts) as gateway:
        reply = await gateway.chat(stream=True)
        row = await gateway.row()

    assert (reply.status, reply.complete, reply.done) == (200, True, False)
    assert reply.text == "Hello! How ", "what came before the fault is passed on"
    assert reply.events[-1].json == {
        "error": reply.error,
        "request_id": reply.headers["x-request-id"],
        "receipt_id": reply.headers["x-tresor-receipt-id"],
    }
    assert (reply.code, reply.error["status"]) == (code, CODES[code].status)
    assert reply.attempts == [("global/acme/m", outcome, 200 if name != "F5 vllm" else 500)]
    assert not [each for each in reply.chunks if each["choices"][0]["finish_reason"]]
    assert not gateway.upstreams["backup"].requests
    assert (row.outcome, row.code, row.attempts) == (Outcome.TRUNCATED, code, 1)
    assert (row.routed_model, row.usage_source) == ("global/acme/m", "estimated")
    assert (row.completion_tokens or 0) > 0, "usage so far is recorded"
    assert row.first_content_us is not None


@pytest.mark.anyio
@pytest.mark.parametrize("shape", SHAPES)
async def test_content_that_comes_in_one_piece_with_an_error_is_not_lost(serve: Serve, shape: Any) -> None:
    async with serve({"acme": glued(error_mid(shape))}) as gateway:
        reply = await gateway.chat(stream=True)
    assert (reply.text, reply.code, reply.done) == ("Hello! How ", "upstream_error", False)


@pytest.mark.anyio
async def test_an_upstream_whose_stream_broke_is_let_go(serve: Serve) -> None:
    """Row F6: it would go on sending; nobody reads it any more."""
    async with serve({"acme": after_content(chunk(b"data: {\n\n"), Hang())}) as gateway:
        reply = await gateway.chat(stream=True)
        left = await gateway.upstreams["acme"].wait_peer_left(0, timeout=20)
    assert reply.code == "upstream_bad_stream"
    assert left.abandoned


# What is odd, but fine

WHOLE_TEXT: dict[str, tuple[Behaviour, str]] = {
    "F2 no DONE": (no_done(answer(TEXT)), TEXT),
    "F2 FIN after the finish": (finishing(Fin()), TEXT),
    "F2 RST after the finish": (finishing(Rst()), TEXT),
    "F2 FIN after the finish with usage": (finishing(Fin(), usage=True), TEXT),
    "F8 split at the worst places": (split(answer(TEXT), awkward), TEXT),
    "F8 in chunks of one byte": (split(answer(TEXT), every(1), rechunk=True), TEXT),
    "F8 CRLF, split": (split(answer(TEXT, newline="\r\n"), awkward), TEXT),
    "F8 CR, split": (split(answer(TEXT, newline="\r"), awkward), TEXT),
    "F8 in one piece": (glued(answer(TEXT)), TEXT),
    "F9 comments, ids, names, several lines": (dressed(answer(TEXT)), TEXT),
    "F10 content after DONE": (after_done(answer(TEXT)), TEXT),
    "F11 other ids and models": (shifting_ids(answer(TEXT)), TEXT),
    "F12 no usage": (answer(TEXT, usage=None), TEXT),
    "F13 absurd usage": (answer(TEXT, usage={"prompt_tokens": -1, "completion_tokens": 10**18}), TEXT),
    "F13 usage in words": (answer(TEXT, usage={"prompt_tokens": "many", "completion_tokens": []}), TEXT),
    "usage twice": (answer(TEXT, usage_at="twice"), TEXT),
    "usage in every chunk": (answer(TEXT, usage_at="every"), TEXT),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", WHOLE_TEXT)
async def test_rows_f2_f8_to_f13_what_is_odd_is_put_right(serve: Serve, name: str) -> None:
    behaviour, text = WHOLE_TEXT[name]
    async with serve({"acme": behaviour, "backup": answer()}) as gateway:
        reply = await gateway.chat(stream=True, stream_options={"include_usage": True})
        row = await gateway.row()
    assert (reply.text, reply.done, reply.error) == (text, True, None)
    assert len({(each["id"], each["created"], each["model"]) for each in reply.chunks}) == 1
    assert {each["model"] for each in reply.chunks} == {"m"}
    assert reply.tresor["routed_model"] == "global/acme/m"
    assert [each["choices"] for each in reply.chunks].count([]) == 1, "one usage chunk"
    estimated = name.startswith(("F12", "F13")) or name in ("F2 FIN after the finish", "F2 RST after the finish")
    assert (row.outcome, row.attempts, row.usage_source) == (Outcome.OK, 1, "estimated" if estimated else "reported")
    assert (row.prompt_tokens, row.completion_tokens) == (
        reply.chunks[-1]["usage"]["prompt_tokens"],
        reply.chunks[-1]["usage"]["completion_tokens"],
    )


@pytest.mark.anyio
@pytest.mark.parametrize("end", [Fin(), Rst()])
async def test_a_stream_of_two_choices_of_which_one_has_finished_is_not_whole(serve: Serve, end: Any) -> None:
    """The other one may not even have begun."""
    async with serve({"acme": finishing(end)}) as gateway:
        reply = await gateway.chat(stream=True, n=2)
    assert reply.code in ("upstream_stream_truncated", "upstream_stream_reset")
    assert (reply.text, reply.done) == (TEXT, False)


@pytest.mark.anyio
async def test_row_f14_fragments_out_of_order_and_unknown_indices_crash_nothing(serve: Serve) -> None:
    """Choices that began and never finished make the answer incomplete, and that is said."""
    async with serve({"acme": odd_indexes()}) as gateway:
        reply = await gateway.chat(stream=True)
        row = await gateway.row()
    assert (reply.code, reply.done) == ("upstream_stream_truncated", False)
    assert row.outcome is Outcome.TRUNCATED


@pytest.mark.anyio
async def test_row_f16_single_bytes_become_whole_events(serve: Serve) -> None:
    async with serve({"acme": answer(TEXT), "byte": split(answer(TEXT), every(1), rechunk=True)}) as gateway:
        good = await gateway.chat(stream=True)
        bytewise = await gateway.chat(stream=True, provider="byte")
    assert [each["choices"] for each in bytewise.chunks] == [each["choices"] for each in good.chunks]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_row_f17_the_reason_for_the_end_is_passed_on(serve: Serve, reason: str, stream: bool) -> None:
    async with serve({"acme": answer(finish_reason=reason)}) as gateway:
        reply = await gateway.chat(stream=stream)
        row = await gateway.row()
    documents = reply.chunks if stream else [reply.json]
    assert [choice["finish_reason"] for each in documents for choice in each["choices"] if choice["finish_reason"]] == [
        reason
    ]
    assert row.outcome is Outcome.OK


@pytest.mark.anyio
async def test_row_f15_a_caller_who_does_not_read_stops_the_upstream(serve: Serve) -> None:
    """Back pressure reaches the provider's socket; nothing piles up in between."""
    sent = 0

    def counting(received: Received) -> Iterator[Any]:
        nonlocal sent
        for step in endless("x" * 4000)(received):  # type: ignore[operator]
            sent += 1
            yield step

    async with serve({"acme": counting}) as gateway:
        async with gateway.client(receive_buffer=4096) as client:
            await gateway.begin(client, stream=True)
            stopped = await settled(lambda: sent)
            assert 0 < sent < 5000, "at most what the sockets between hold"
            response = await client.response()
            for _ in range(50):
                await response.next_event()
            assert await settled(lambda: sent) >= stopped
        left = await gateway.upstreams["acme"].wait_peer_left(0, timeout=20)
        row = await gateway.row()
    assert left.abandoned
    assert row.outcome is Outcome.CLIENT_DISCONNECTED


async def settled(count: Callable[[], int]) -> int:
    """The number, once there is one and it has not grown for a while."""
    before, same = 0, 0
    async with asyncio.timeout(20):
        while same < 4:
            await asyncio.sleep(0.05)
            same = same + 1 if before and count() == before else 0
            before = count()
    return before


# What is stranger still

_SCALAR = st.none() | st.booleans() | st.integers(-2, 3) | st.floats(allow_nan=False) | st.text(max_size=3)
_ANY = st.recursive(
    _SCALAR, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(
        st.sampled_from(["function", "name", "arguments", "custom", "index", "id", "content"]), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def thing(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with some of these fields, or with anything in their place."""
    return st.fixed_dictionaries({}, optional={name: kind | _ANY for name, kind in fields.items()}) | _ANY


_CALL = thing(index=_ANY, id=_ANY, type=_ANY, custom=_ANY, function=thing(name=_ANY, arguments=_ANY))
_MESSAGE = thing(role=_ANY, content=_ANY, tool_calls=st.lists(_CALL, max_size=3), reasoning=_ANY, refusal=_ANY, x=_ANY)
_REASON = st.sampled_from(["stop", "length", "error", ""])
_CHOICE = thing(index=_ANY, message=_MESSAGE, delta=_MESSAGE, finish_reason=_REASON, logprobs=_ANY)
_DOCUMENT = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({}, optional={"message": _MESSAGE}) | _CHOICE, max_size=3)},
    optional={"usage": _ANY, "system_fingerprint": _ANY, "error": _ANY, "object": _ANY},
)


@pytest.mark.parametrize("stream", [True, False])
def test_no_document_of_an_upstream_is_an_error_of_ours(stream: bool) -> None:
    """Whatever has the look of JSON is an answer, or a failure of the route: never a 500."""
    whole, chunks = _DOCUMENT.map(lambda one: [one]), st.lists(_DOCUMENT, max_size=4)

    @settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
    @given(chunks if stream else whole, st.integers(1, 2))
    def check(documents: list[Any], choices: int) -> None:
        bodies = [msgspec.json.encode(each) for each in documents]
        reader = WIRE.reader({}, stream=stream)
        with suppress(UpstreamError):
            for payload in rendered(reader, bodies, stream=stream, choices=choices):
                json.loads(payload)

    check()


def rendered(reader: Any, bodies: list[bytes], *, stream: bool, choices: int) -> Iterator[bytes]:
    label = Label("id", "m", 0, "e", {})
    answer: Any = WholeAnswer(label, choices, 10)
    if stream:
        answer = StreamedAnswer(label, choices, 10, include_usage=True, usage_on_finish=False)
    for body in bodies:
        for document in reader.feed(b"data: " + body + b"\n\n" if stream else body):
            yield from answer.take(document)
    for document in reader.end():
        yield from answer.take(document)
    yield from answer.end()


# Connections


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("behaviour", [answer(), no_done(), after_done(answer())], ids=["good", "no DONE", "late"])
async def test_an_answer_read_to_its_end_leaves_its_connection_to_the_next(
    serve: Serve, behaviour: Behaviour, stream: bool
) -> None:
    async with serve({"acme": behaviour}) as gateway:
        for _ in range(4):
            assert (await gateway.chat(stream=stream)).status == 200
        assert gateway.upstreams["acme"].accepted == 1


@pytest.mark.anyio
async def test_a_body_kept_open_after_done_holds_neither_the_caller_nor_a_connection(serve: Serve) -> None:
    def lingering(received: Received) -> Iterator[Any]:
        yield from list(answer()(received))[:-1]
        yield Hang()

    async with serve({"acme": lingering}) as gateway:
        reply = await gateway.chat(stream=True)
        left = await gateway.upstreams["acme"].wait_peer_left(0, timeout=20)
    assert (reply.text, reply.done) == (GREETING, True)
    assert left.abandoned


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_answer_leaves_a_connection_that_can_be_used(serve: Serve, stream: bool) -> None:
    async with serve({"acme": json_answer({"error": {"message": "no"}}, 400)}) as gateway:
        for _ in range(3):
            assert (await gateway.chat(stream=stream)).status == 400
        assert gateway.upstreams["acme"].accepted == 1


# Every cut


def least(received: Received) -> Script:
    """An answer as short as one can be, with an event of every kind."""
    base = Answer(["wo", "rd"], usage={"prompt_tokens": 1, "completion_tokens": 2})
    if not received.streams:
        body = {"choices": [{"message": {"content": "word"}, "finish_reason": "stop"}], "usage": base.usage}
        return json_answer(body)
    events = [chunk(sse(bare(each))) for each in base.chunks(received)]
    return [head(200, {"content-type": "text/event-stream"}), *events, chunk(sse("[DONE]")), LAST_CHUNK]


QUIET = Telemetry(access_log=False)


async def cut_everywhere(gateway: Running, behaviour: Behaviour, *, stream: bool, rst: bool) -> set[str]:
    """Ask once for each byte the answer can be cut at, a few at a time. Returns the codes that came of it."""
    upstream = gateway.upstreams["acme"]

    def cut(received: Received) -> Script:
        return resolve(cut_at(received.json["seed"], behaviour, rst=rst), received)

    upstream.default = behaviour
    whole = said(await gateway.chat(stream=stream, seed=0))
    longest = len(wire(behaviour, upstream.requests[-1]))
    upstream.default = cut
    codes: set[str] = set()
    for first in range(0, longest + 1, 4):
        offsets = range(first, min(first + 4, longest + 1))
        gateway.forget()  # fewer at a time than eject a route
        for reply in await asyncio.gather(*(gateway.chat(stream=stream, seed=offset) for offset in offsets)):
            assert_honest(reply, whole, stream=stream)
            codes.add(reply.code or "")
    return codes


def said(reply: Reply) -> str:
    """Everything that the model said, in order."""
    parts: list[str] = []
    for document in reply.chunks if reply.events else [reply.json]:
        for choice in document["choices"]:
            message = choice.get("delta") or choice.get("message") or {}
            parts += [message.get("reasoning_content") or "", message.get("content") or ""]
            parts += [call["function"]["arguments"] for call in message.get("tool_calls", ())]
    return "".join(parts)


def assert_honest(reply: Reply, whole: str, *, stream: bool) -> None:
    """The oracle: the full answer with ``[DONE]``, or an error event without it, or an error status."""
    assert reply.complete, "the gateway's own framing is never cut"
    if reply.status != 200:
        assert reply.error["status"] == reply.status
    elif reply.error is not None:
        assert not reply.done
        assert reply.events[-1].json["error"] == reply.error
        assert whole.startswith(said(reply))
    else:
        assert reply.done is stream
        assert said(reply) == whole
        last = [each["choices"][0] for each in (reply.chunks if stream else [reply.json]) if each["choices"]][-1]
        assert last["finish_reason"] in ("stop", "tool_calls")


@pytest.mark.anyio
async def test_no_cut_of_a_stream_looks_like_success(serve: Serve) -> None:
    async with serve({"acme": least}, telemetry=QUIET) as gateway:
        codes = await cut_everywhere(gateway, least, stream=True, rst=False)
    assert codes == {"", "upstream_stream_reset", "upstream_bad_response", "upstream_stream_truncated"}


@pytest.mark.anyio
async def test_no_cut_of_a_whole_answer_looks_like_success(serve: Serve) -> None:
    async with serve({"acme": least}, telemetry=QUIET) as gateway:
        codes = await cut_everywhere(gateway, least, stream=False, rst=False)
    assert codes == {"", "upstream_stream_reset", "upstream_bad_response"}


@pytest.mark.anyio
async def test_with_a_backup_only_a_cut_after_the_first_content_is_seen(serve: Serve) -> None:
    async with serve({"acme": least, "backup": least}, telemetry=QUIET) as gateway:
        codes = await cut_everywhere(gateway, least, stream=True, rst=True)
    assert codes == {"", "upstream_stream_reset"}


LONGER = Spare(
    ["Grüße ", "👋"], reasoning=["Hm"], tool_calls=[tool("now", {"in": "Zürich"}), tool("x", {})], newline="\r\n"
)
"""Reasoning, text, parallel tool calls and usage, with line ends and characters of several bytes."""


@pytest.mark.anyio
@pytest.mark.long
@pytest.mark.timeout(800)
@pytest.mark.parametrize(("rst", "with_backup"), [(False, False), (True, True)])
async def test_no_cut_of_a_longer_stream_looks_like_success(serve: Serve, rst: bool, with_backup: bool) -> None:
    """Reasoning, text, parallel tool calls and usage, cut at each byte."""
    backup = {"backup": LONGER} if with_backup else {}
    async with serve({"acme": LONGER, **backup}, telemetry=QUIET) as gateway:
        codes = await cut_everywhere(gateway, LONGER, stream=True, rst=rst)
    early = set() if with_backup else {"upstream_bad_response", "upstream_stream_reset"}
    assert codes == {"", "upstream_stream_reset" if rst else "upstream_stream_truncated", *early}


@pytest.mark.anyio
async def test_p3_watermarks_are_never_mixed_where_the_first_route_is_cut(serve: Serve) -> None:
    marked = answer(["a ", "b ", "c"], watermark=True)
    async with serve({"acme": marked, "backup": marked}) as gateway:
        for events in range(6):
            gateway.upstreams["acme"].default = cut_after(events, marked)
            gateway.forget()
            reply = await gateway.chat(stream=True)
            assert len(watermarks(reply.text)) == 1
            assert reply.done is (events < 2)


@pytest.mark.anyio
async def test_row_e18_a_stream_without_end_is_broken_off_with_an_error(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealgate.relay.attempt.MAX_STREAM", 50_000)
    async with serve({"acme": endless()}) as gateway:
        reply = await gateway.chat(stream=True)
        row = await gateway.row()

    assert (reply.status, reply.code, reply.done) == (200, "upstream_response_too_large", False)
    assert reply.text.startswith("and so on and so on")
    assert row.outcome is Outcome.TRUNCATED


@pytest.mark.anyio
async def test_row_e18_comments_without_end_leave_the_route_before_anything_was_said(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def idle(_: Received) -> Iterator[Any]:
        yield head(200, {"content-type": "text/event-stream"})
        while True:
            yield chunk(b": still there\n\n" * 100)

    monkeypatch.setattr("sealgate.relay.attempt.MAX_STREAM", 50_000)
    async with serve({"acme": idle, "backup": answer("Hi")}, {"m": ["acme", "backup"]}) as gateway:
        reply = await gateway.chat(stream=True)

    assert (reply.text, reply.done, reply.tresor["failover"]) == ("Hi", True, True)
