"""The canned upstream: OpenAI's chat completions with fixed contents, as cheap as Python can be.

Whole answers go out at once, or after a while where the request says so; streams at a fixed pace. Every tick of the
pace is one write of one event; uvloop's timers count in milliseconds, so events of different streams that fall into the
same one leave together.

``GET /sent`` tells when the events that carry no mark were sent, by the number of the stream, and forgets it.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import httptools
import msgspec
import uvloop

from bench import shape

_encode = msgspec.json.Encoder().encode


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Asked(msgspec.Struct):
    """What decides about the answer; the messages are decoded as any server would and then left alone."""

    model: str
    messages: list[dict[str, object]]
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str = ""


_ask = msgspec.json.Decoder(Asked).decode

ID = "chatcmpl-0198f0c2b7a47d3e9a5c1f2e3d4c5b6a"
FINGERPRINT = "fp_0123456789"


def whole_answer(model: str) -> bytes:
    """Head and body, about 750 bytes."""
    message = {"role": "assistant", "content": shape.TEXT, "refusal": None}
    body = _encode(
        {
            "id": ID,
            "object": "chat.completion",
            "created": 1_750_000_000,
            "model": model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": {
                **shape.USAGE,
                "prompt_tokens_details": {"cached_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0},
            },
            "system_fingerprint": FINGERPRINT,
        }
    )
    return _head(200, b"application/json", len(body)) + body


def _head(status: int, kind: bytes, length: int) -> bytes:
    reason = {200: b"OK", 401: b"Unauthorized", 400: b"Bad Request"}[status]
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (status, reason, kind, length)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _refusal(status: int, message: str) -> bytes:
    body = _encode({"error": {"message": message, "type": "canned", "param": None, "code": "canned"}})
    return _head(status, b"application/json", len(body)) + body


def _event(data: bytes) -> bytes:
    """One server-sent event in one chunk of the transfer coding."""
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


class Book:
    """Prepared bytes by model, the counter of streams, and when their unmarked events were sent."""

    def __init__(self) -> None:
        self.streams = 0
        self.sent: dict[int, dict[str, int]] = {}
        self._wholes: dict[str, bytes] = {}

    def whole(self, model: str) -> bytes:
        found = self._wholes.get(model)
        if found is None:
            found = self._wholes[model] = whole_answer(model)
        return found

    def take_sent(self) -> bytes:
        body = _encode({str(number): times for number, times in self.sent.items()})
        self.sent.clear()
        return _head(200, b"application/json", len(body)) + body


class Stream:
    """One stream on its way: a tick sends an event and sets the next tick."""

    def __init__(self, upstream: Upstream, model: str, *, usage: bool, pace: float) -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()
        self._book = upstream.book
        self._book.streams += 1
        self._number = self._book.streams
        self._times = self._book.sent[self._number] = {}
        self._place = 0
        self._usage = usage
        self._pace = pace
        shared = {"id": ID, "object": "chat.completion.chunk", "created": 1_750_000_000, "model": model}
        self._start = _encode({**shared, "system_fingerprint": FINGERPRINT})[:-1]
        self._before = self._start + b',"choices":[{"index":0,"delta":{"content":"'
        self._after = b'"},"logprobs":null,"finish_reason":null}]%b}' % (b',"usage":null' if usage else b"")
        self._due = self._loop.time() + pace
        self._timer = self._loop.call_at(self._due, self._content)
        self._times["role"] = time.monotonic_ns()
        upstream.write(STREAM_HEAD + _event(self._choice(b'{"role":"assistant","content":""}', b"null")))

    def stop(self) -> None:
        self._timer.cancel()

    def _choice(self, delta: bytes, finish: bytes) -> bytes:
        usage = b',"usage":null' if self._usage else b""
        return b'%b,"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]%b}' % (
            self._start,
            delta,
            finish,
            usage,
        )

    def _content(self) -> None:
        text = shape.content(time.monotonic_ns(), self._number, self._place)
        self._upstream.write(_event(b"%b%b%b" % (self._before, text.encode(), self._after)))
        self._place += 1
        self._next(self._content if self._place < shape.CONTENTS else self._finish)

    def _finish(self) -> None:
        self._times["finish"] = time.monotonic_ns()
        self._upstream.write(_event(self._choice(b"{}", b'"stop"')))
        self._next(self._end)

    def _end(self) -> None:
        self._times["end"] = time.monotonic_ns()
        if self._usage:
            self._upstream.write(_event(b'%b,"choices":[],"usage":%b}' % (self._start, _encode(shape.USAGE))))
        self._upstream.write(_event(b"[DONE]") + b"0\r\n\r\n")
        self._upstream.stream = None

    def _next(self, step: object) -> None:
        # From the plan, not from now: a late tick does not push the following ones back.
        self._due += self._pace
        self._timer = self._loop.call_at(self._due, step)  # type: ignore[arg-type]


class Upstream(asyncio.Protocol):
    """One connection."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.stream: Stream | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.write = transport.write  # type: ignore[attr-defined]

    def connection_lost(self, _: Exception | None) -> None:
        if self.stream is not None:
            self.stream.stop()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"authorization":
            self._key = value

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self._answer()
        self._clear()

    def _answer(self) -> None:
        if self._url == b"/sent":
            return self.write(self.book.take_sent())
        if self._key != b"Bearer " + shape.UPSTREAM_KEY.encode():
            return self.write(_refusal(401, "not the upstream's key"))
        try:
            asked = _ask(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
        except msgspec.DecodeError as error:
            return self.write(_refusal(400, str(error)))
        if not asked.stream:
            whole = self.book.whole(asked.model)
            if asked.user == shape.SLOW:
                asyncio.get_running_loop().call_later(shape.SLOW_SECONDS, self.write, whole)
                return None
            return self.write(whole)
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        pace = shape.CROWD_PACE if asked.user == shape.CROWD else shape.PACE
        self.stream = Stream(self, asked.model, usage=usage, pace=pace)
        return None

    def _clear(self) -> None:
        self._url = b""
        self._key = b""
        self._pieces: list[bytes] = []


async def serve(port: int) -> None:
    book = Book()
    server = await asyncio.get_running_loop().create_server(lambda: Upstream(book), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--port", type=int, required=True)
    given = reader.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(given.port))


if __name__ == "__main__":
    main()
