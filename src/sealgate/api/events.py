"""A stream of server-sent events as an HTTP answer.

The head waits for the first event, so that a failure before it still has a status of its own. When nothing has been
written for a while, a comment line is; if that comes first, it takes the head along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sealgate.api.call import Call, Headers
from sealgate.formats import sse


def head() -> Headers:
    """Headers that tell every proxy on the way not to hold events back."""
    return [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache, no-transform"),
        (b"x-accel-buffering", b"no"),
    ]


class EventStream:
    """Writes events to one caller. Use as a context manager: leaving stops the keep-alive timer."""

    def __init__(self, call: Call, keep_alive: float, written: Callable[[bytes], None] = lambda _: None) -> None:
        """``written`` is told what was handed to the transport, in that order."""
        self.started = False
        self._written = written
        self._call = call
        self._send = call.send
        self._interval = keep_alive
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._last = self._time()
        self._busy = False
        self._comment: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(keep_alive, self._tick)

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.hush()

    def hush(self) -> None:
        """No more comments: what was said so far is about to be signed."""
        self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()

    async def write(self, events: bytes) -> None:
        """Events as they are sent, in one write; nothing where there are none."""
        if not self.started:
            if events:
                await self._write(events, more=True)
            return
        if not events:
            return
        # The same once more, without a coroutine of its own: this comes by the hundred.
        self._busy = True
        await self._send({"type": "http.response.body", "body": events, "more_body": True})
        self._written(events)
        self._last = self._time()
        self._busy = False

    async def end(self, last: bytes) -> None:
        """The terminal bytes, and the end of the body."""
        await self._write(last, more=False)

    async def _write(self, data: bytes, *, more: bool) -> None:
        self._busy = True
        if not self.started:
            self.started = True
            await self._call.start(200, head())
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self._written(data)
        self._last = self._time()
        self._busy = False

    def _tick(self) -> None:
        """Re-armed lazily, so that an event costs no timer. While a write waits for a slow reader it says nothing."""
        silent = self._time() - self._last
        if silent >= self._interval and not self._busy:
            self._comment = self._loop.create_task(self._write(sse.KEEP_ALIVE, more=True))
            silent = 0.0
        self._timer = self._loop.call_later(self._interval - min(silent, self._interval * 0.99), self._tick)
