"""Ready-made faults: everything a provider, or the network before it, does wrong.

Each is a behaviour for `ScriptedUpstream`. Faults in the middle of a stream take ``after``: how many events of the
good answer come first (the first one carries only the role). Where a request does not stream they strike in the
middle of its JSON body, unless they say otherwise. ``base`` is the good answer that goes wrong.
"""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from sealgate.testing.openai_wire import EVENT_STREAM, GOOD, Answer
from sealgate.testing.received import Received
from sealgate.testing.script import (
    LAST_CHUNK,
    Behaviour,
    Chunk,
    Fin,
    Hang,
    Rst,
    Send,
    Step,
    chunk,
    head,
    resolve,
    sse,
    whole,
)

BLOCK = 64 * 1024
"""Size of the writes in which the huge ones are sent."""


# --- The connection: cut, reset, silent ---------------------------------------------------------------------------


def cut_at(offset: int, behaviour: Behaviour = GOOD, *, rst: bool = False) -> Behaviour:
    """The first ``offset`` bytes of what another behaviour sends, head included, then FIN or RST.

    ``range(len(wire(behaviour)))`` holds every place to cut at. Pauses before the cut are kept.
    """

    def script(received: Received) -> Iterator[Step]:
        left = offset
        for step in resolve(behaviour, received):
            if isinstance(step, Send | Chunk):
                data = step.wire
                if len(data) >= left:
                    yield Send(data[:left])
                    break
                left -= len(data)
            yield step
        yield _cut(rst)

    return script


def cut_after(events: int, base: Answer = GOOD, *, rst: bool = False) -> Behaviour:
    """Some events of the answer, then FIN or RST in the middle of the body."""
    return _broken_off(events, base, _cut(rst))


def role_only_then_cut(*, rst: bool = False) -> Behaviour:
    """A stream that says who speaks, and breaks before the first word."""
    return cut_after(1, rst=rst)


def silent(*, after_head: bool = False) -> Behaviour:
    """Takes the request and never answers; or sends the head of a good answer and nothing more."""
    return _broken_off(0, GOOD, Hang()) if after_head else [Hang()]


def stall_after(events: int, base: Answer = GOOD) -> Behaviour:
    """Some events of the answer, then nothing, for ever."""
    return _broken_off(events, base, Hang())


def reset() -> Behaviour:
    """Breaks the connection without a byte."""
    return [Rst()]


def stale_reuse(behaviour: Behaviour = GOOD) -> Behaviour:
    """Answers the first request of a connection, and breaks the connection at the second without a byte.

    It is what a client meets whose pooled connection the server has just given up; unlike
    ``ScriptedUpstream(close_after_idle=...)`` it happens at every reuse, whoever is faster.
    """

    def script(received: Received) -> Iterable[Step]:
        if received.nth_on_connection > 1:
            return [Rst()]
        return resolve(behaviour, received)

    return script


# --- Not the answer that was asked for ----------------------------------------------------------------------------


def html(status: int = 200) -> Behaviour:
    """A web page, such as a proxy in between would send."""
    page = b"<!doctype html><html><head><title>Welcome</title></head><body><h1>It works!</h1></body></html>"
    return whole(page, "text/html; charset=utf-8", status)


def empty() -> Behaviour:
    """200 with the right content type and no body at all."""

    def script(received: Received) -> list[Step]:
        content_type = EVENT_STREAM["content-type"] if received.streams else "application/json"
        return whole(b"", content_type)

    return script


def redirect(location: str = "http://127.0.0.1:9/v1/chat/completions", status: int = 307) -> Behaviour:
    """A redirect; 307 keeps the method and the body, and whatever secret stands in the headers."""
    return whole(b"", "text/plain", status, {"location": location})


def bare(status: int) -> Behaviour:
    """A status and no body; 204 and 304 must not even have a length."""
    return [head(status, chunked=False)] if status in (204, 304) else [head(status, length=0)]


def status_204() -> Behaviour:
    """204 No Content, as if there were nothing to say."""
    return bare(204)


def with_1xx(behaviour: Behaviour = GOOD, statuses: Iterable[int] = (100, 103)) -> Behaviour:
    """Interim responses before the answer; a client must skip them (RFC 9110 section 15.2)."""
    interim = [head(status, {"link": "</style.css>; rel=preload"}, chunked=False) for status in statuses]

    def script(received: Received) -> Iterator[Step]:
        yield from interim
        yield from resolve(behaviour, received)

    return script


def wrong_content_type(content_type: str = "text/plain", base: Answer = GOOD) -> Behaviour:
    """The right bytes under the wrong name."""

    def script(received: Received) -> Iterator[Step]:
        if not received.streams:
            yield from whole(_body(base, received), content_type)
            return
        yield head(200, {"content-type": content_type})
        yield from (Chunk(event) for event in [*base.events(received), base.done()])
        yield LAST_CHUNK

    return script


def not_json(after: int = 2, base: Answer = GOOD) -> Behaviour:
    """An event whose data is not JSON; for a whole answer, a body that is not."""

    def script(received: Received) -> Iterator[Step]:
        if not received.streams:
            yield from whole(b'{"id": "chatcmpl-1", "choices": [', "application/json")
            return
        events = base.events(received)
        yield from base.stream(received, [*events[:after], sse('{"id": oops'), *events[after:], base.done()])

    return script


# --- Framing ------------------------------------------------------------------------------------------------------


def short_body(missing: int = 20, base: Answer = GOOD) -> Behaviour:
    """A body that ends (FIN) this many bytes before its Content-Length."""

    def script(received: Received) -> list[Step]:
        body = _body(base, received)
        content_type = EVENT_STREAM["content-type"] if received.streams else "application/json"
        return [
            head(200, {"content-type": content_type}, length=len(body)),
            Send(body[: max(0, len(body) - missing)]),
            Fin(),
        ]

    return script


def bad_chunk(after: int = 2, base: Answer = GOOD) -> Behaviour:
    """A chunk whose size is not a number, in the middle of a chunked body."""

    def script(received: Received) -> Iterator[Step]:
        yield base.stream_head(received) if received.streams else head(200, {"content-type": "application/json"})
        yield from (Chunk(part) for part in _parts(base, received, after))
        yield Send(b"zz\r\nnonsense\r\n")
        yield Hang()

    return script


def gzip_body(base: Answer = GOOD) -> Behaviour:
    """The good answer compressed, though nobody asked for it."""

    def script(received: Received) -> list[Step]:
        content_type = EVENT_STREAM["content-type"] if received.streams else "application/json"
        return whole(gzip.compress(_body(base, received)), content_type, headers={"content-encoding": "gzip"})

    return script


def gzip_bomb(size: int = 1 << 30) -> Behaviour:
    """A small body that unpacks to ``size`` bytes, about 1000 times as many as are sent."""

    def script(_: Received) -> Iterator[Step]:
        packer = zlib.compressobj(9, wbits=31)
        yield head(200, {"content-type": "application/json", "content-encoding": "gzip"})
        for block in _filling(b" ", size):
            if packed := packer.compress(block):
                yield chunk(packed)
        yield chunk(packer.flush())
        yield LAST_CHUNK

    return script


def huge_head(size: int = 1 << 20, base: Answer = GOOD) -> Behaviour:
    """A good answer with one header of ``size`` bytes."""
    return _with_headers({"x-padding": "x" * size}, base)


def many_headers(count: int = 10_000, base: Answer = GOOD) -> Behaviour:
    """A good answer with ``count`` headers more than usual."""
    return _with_headers({f"x-padding-{number}": "x" for number in range(count)}, base)


def huge_line(size: int = 9 << 20) -> Behaviour:
    """A stream whose only event is one line of ``size`` bytes without an end; then silence."""

    def script(received: Received) -> Iterator[Step]:
        yield GOOD.stream_head(received)
        yield chunk('data: {"id":"')
        yield from (Chunk(block) for block in _filling(b"x", size))
        yield Hang()

    return script


def huge_body(size: int = 1 << 30) -> Behaviour:
    """A whole JSON answer of ``size`` bytes and a little more, all of it text."""

    def script(received: Received) -> Iterator[Step]:
        text = Answer("\0").completion(received)
        front, back = msgspec.json.encode(text).split(b"\\u0000")
        yield head(200, {"content-type": "application/json"}, length=len(front) + size + len(back))
        yield Send(front)
        yield from (Send(block) for block in _filling(b"x", size))
        yield Send(back)

    return script


# --- Streams that are odd, or lie ---------------------------------------------------------------------------------


def no_done(base: Answer = GOOD) -> Behaviour:
    """A stream that ends in order after its finish chunk, but without ``[DONE]``: complete all the same."""

    def script(received: Received) -> Iterable[Step]:
        return base.stream(received, base.events(received)) if received.streams else base.respond(received)

    return script


def truncated(after: int = 3, base: Answer = GOOD) -> Behaviour:
    """A stream that ends in order after some events: no finish reason, no ``[DONE]``, no error. It is not complete.

    A request that does not stream gets half of its JSON, as a complete body.
    """

    def script(received: Received) -> Iterable[Step]:
        parts = _parts(base, received, after)
        return base.stream(received, parts) if received.streams else whole(parts[0], "application/json")

    return script


def after_done(base: Answer = GOOD) -> Behaviour:
    """More content and a second ``[DONE]`` after the first."""

    def script(received: Received) -> Iterable[Step]:
        late = [sse(item) for item in Answer("too late").chunks(received)]
        return _streamed(base, received, [*base.events(received), base.done(), *late, base.done()])

    return script


def dressed(base: Answer = GOOD) -> Behaviour:
    """Everything the format of server-sent events allows: comments, ids, retries, names, data on several lines."""

    def script(received: Received) -> Iterable[Step]:
        events = [b": comment\n\n", b"retry: 1000\n\n", b"event: ping\ndata: {}\n\n"]
        for number, item in enumerate(base.chunks(received)):
            lines = msgspec.json.format(msgspec.json.encode(item), indent=1).decode()
            events.append(f": before {number}\nid: {number}\nunknown: field\n".encode() + sse(lines))
        return _streamed(base, received, [*events, b"data:[DONE]\n\n"])

    return script


def shifting_ids(base: Answer = GOOD) -> Behaviour:
    """Another ``id``, ``created`` and ``model`` in every chunk."""

    def script(received: Received) -> Iterable[Step]:
        events = [
            sse({**item, "id": f"chatcmpl-{number}", "created": number, "model": f"other-{number}"})
            for number, item in enumerate(base.chunks(received))
        ]
        return _streamed(base, received, [*events, base.done()])

    return script


def odd_indexes() -> Behaviour:
    """Tool-call fragments out of order, a choice and a tool call of an index that nobody announced."""

    def delta(fields: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": fields, "finish_reason": None}]}

    def fragment(index: int, text: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}

    def script(received: Received) -> Iterable[Step]:
        base = Answer(finish_reason="tool_calls")
        first, *_, last = base.chunks(received)
        named = {"index": 0, "id": "call_0", "type": "function", "function": {"name": "f", "arguments": ""}}
        fields = [
            fragment(1, '{"b"'),
            {"tool_calls": [named]},
            fragment(7, "{}"),
            fragment(0, "{}"),
            fragment(1, ":1}"),
        ]
        odd = [*(delta(item) for item in fields), delta({"content": "?"}, index=99), delta({"content": "?"}, index=-1)]
        events = [sse(item) for item in [first, *({**first, **item} for item in odd), last]]
        return _streamed(base, received, [*events, base.done()])

    return script


def endless(text: str = "and so on ", base: Answer = GOOD) -> Behaviour:
    """A stream that never ends, as fast as its reader, or with ``base``'s delay between its events."""

    def script(received: Received) -> Iterator[Step]:
        first, *_ = base.chunks(received)
        word = sse({**first, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
        yield from base.stream(received, itertools.chain([sse(first)], itertools.repeat(word)))

    return script


# --- What they are made of ----------------------------------------------------------------------------------------


def _cut(rst: bool) -> Step:
    return Rst() if rst else Fin()


def _body(base: Answer, received: Received) -> bytes:
    """The body of a good answer, without framing."""
    if received.streams:
        return b"".join([*base.events(received), base.done()])
    return msgspec.json.encode(base.completion(received))


def _parts(base: Answer, received: Received, events: int) -> list[bytes]:
    """The beginning of a good answer: some events, or the first half of a JSON body."""
    if received.streams:
        return base.events(received)[:events]
    body = _body(base, received)
    return [body[: len(body) // 2]]


def _streamed(base: Answer, received: Received, events: Iterable[bytes]) -> Iterable[Step]:
    """These events for a request that streams; for another, the good answer."""
    return base.stream(received, events) if received.streams else base.respond(received)


def _broken_off(events: int, base: Answer, end: Step) -> Behaviour:
    """The beginning of a good answer with its good head, then ``end``."""

    def script(received: Received) -> Iterator[Step]:
        if received.streams:
            yield from base.stream(received, base.events(received)[:events], end)
            return
        body = _body(base, received)
        yield head(200, {"content-type": "application/json", **base.all_headers(received)}, length=len(body))
        if events:
            yield Send(body[: len(body) // 2])
        yield end

    return script


def _with_headers(headers: Mapping[str, str], base: Answer) -> Behaviour:
    return dataclasses.replace(base, headers={**base.headers, **headers})


def _filling(byte: bytes, size: int) -> Iterator[bytes]:
    """``size`` bytes of one kind, in blocks."""
    block = byte * BLOCK
    yield from itertools.repeat(block, size // BLOCK)
    if rest := size % BLOCK:
        yield block[:rest]
