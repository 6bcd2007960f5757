"""Scripts: what a scripted upstream does with one request, step by step.

A *script* is any iterable of steps; a *behaviour* is a script, or a function that looks at the request and returns
one. A list can be played many times; a generator only once, but it may go on for ever::

    [
        head(200, {"content-type": "text/event-stream"}),
        chunk(sse({"choices": [{"index": 0, "delta": {"content": "Hel"}}]})),
        Sleep(0.05),
        Rst(),
    ]

When a script has ended without `Fin` or `Rst` the connection stays open for the next request. When the peer leaves,
the script ends at once, whatever it was doing, and the request's `Received` says when and how.
"""

from __future__ import annotations

import asyncio
import http
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import msgspec

from sealgate.testing.received import Received


class Wire(Protocol):
    """What a step can do to the connection it is played on."""

    async def write(self, data: bytes) -> None:
        """Send, and wait while the peer does not read (back pressure)."""

    def fin(self) -> None:
        """End the connection in order, after everything written."""

    def rst(self) -> None:
        """Break the connection."""


class Step(Protocol):
    """One thing done to a connection. Your own steps need only this method."""

    async def play(self, wire: Wire, /) -> None:
        """Do it. Cancelled when the peer leaves."""


Script: TypeAlias = Iterable[Step]
Behaviour: TypeAlias = Script | Callable[[Received], Script]


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes as they are, in one write."""

    data: bytes

    @property
    def wire(self) -> bytes:
        """What goes over the wire."""
        return self.data

    async def play(self, wire: Wire, /) -> None:
        await wire.write(self.data)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Send these bytes as one chunk of a chunked body, in one write."""

    data: bytes

    @property
    def wire(self) -> bytes:
        """What goes over the wire: size, data, line ends."""
        return b"%x\r\n%b\r\n" % (len(self.data), self.data)

    async def play(self, wire: Wire, /) -> None:
        await wire.write(self.wire)


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait this many seconds."""

    seconds: float

    async def play(self, _: Wire, /) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True, slots=True)
class Yield:
    """Let a reader on the same event loop take what was written before; no time passes."""

    async def play(self, _: Wire, /) -> None:
        await let_read()


@dataclass(frozen=True, slots=True)
class Fin:
    """End the connection in order (FIN). Without a complete body before it, this is a cut."""

    async def play(self, wire: Wire, /) -> None:
        wire.fin()


@dataclass(frozen=True, slots=True)
class Rst:
    """Break the connection: the peer's next read says "connection reset" (SO_LINGER 0)."""

    async def play(self, wire: Wire, /) -> None:
        wire.rst()


@dataclass(frozen=True, slots=True)
class Hang:
    """Do nothing more until the peer leaves."""

    async def play(self, _: Wire, /) -> None:
        await asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Wait until a test says so.

    Take an `asyncio.Event` where the upstream runs on the test's own loop, and a `threading.Event` where it runs in
    a thread (`ScriptedUpstream.in_thread`); the second is looked at every 2 ms.
    """

    event: asyncio.Event | threading.Event

    async def play(self, _: Wire, /) -> None:
        if isinstance(self.event, asyncio.Event):
            await self.event.wait()
            return
        while not self.event.is_set():  # noqa: ASYNC110 - an asyncio.Event cannot be set from another thread
            await asyncio.sleep(0.002)


async def let_read() -> None:
    """Give a reader on this loop its turn.

    Two turns of the loop: in the first it learns that the reader's socket is readable, in the second the reader reads.
    """
    await asyncio.sleep(0)
    await asyncio.sleep(0)


LAST_CHUNK = Send(b"0\r\n\r\n")
"""The proper end of a chunked body."""


def head(
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    chunked: bool = True,
    length: int | None = None,
    close_delimited: bool = False,
) -> Send:
    """A response head, and how long its body will be.

    ``length=N`` sends Content-Length, ``close_delimited=True`` neither length nor chunks (end with `Fin`), else the
    body is chunked (send `chunk`s and `LAST_CHUNK`). ``chunked=False`` alone is a head without a body, for 1xx, 204
    and 304. ``headers`` are sent as they are, after the status line; nothing else is added.
    """
    lines = [f"HTTP/1.1 {status} {_reason(status)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if length is not None:
        lines.append(f"content-length: {length}")
    elif close_delimited:
        lines.append("connection: close")
    elif chunked:
        lines.append("transfer-encoding: chunked")
    return Send("\r\n".join([*lines, "", ""]).encode("latin-1"))


def chunk(data: bytes | str) -> Chunk:
    """One chunk of a chunked body; text is sent as UTF-8. An empty one would end the body: use `LAST_CHUNK`."""
    return Chunk(data.encode() if isinstance(data, str) else data)


def sse(data: Any, *, event: str | None = None, newline: str = "\n") -> bytes:
    """One server-sent event as bytes; wrap it in `chunk` or `Send`.

    Text goes as it is, one ``data:`` line for each of its lines; anything else goes as JSON. ``newline`` is ``\\n``,
    ``\\r\\n`` or ``\\r``: all three are valid (https://html.spec.whatwg.org/multipage/server-sent-events.html).
    """
    text = data if isinstance(data, str) else msgspec.json.encode(data).decode()
    lines = [f"event: {event}"] if event is not None else []
    lines += [f"data: {line}" for line in text.split("\n")]
    return (newline.join(lines) + newline * 2).encode()


def whole(body: bytes, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None) -> list[Step]:
    """A complete response with a Content-Length."""
    return [head(status, {"content-type": content_type, **(headers or {})}, length=len(body)), Send(body)]


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> list[Step]:
    """A complete JSON response."""
    return whole(msgspec.json.encode(value), "application/json", status, headers)


def resolve(behaviour: Behaviour, received: Received) -> Script:
    """The script that a behaviour plays for this request."""
    return behaviour(received) if callable(behaviour) else behaviour


def wire(behaviour: Behaviour, received: Received | None = None) -> bytes:
    """All bytes a behaviour would send, pauses left out: to compare with, or to know how far one can cut.

    ``received`` is by default `Received.sample()`, a streaming chat request. Do not ask this of an endless script.
    """
    steps = resolve(behaviour, received or Received.sample())
    return b"".join(step.wire for step in steps if isinstance(step, Send | Chunk))


def delayed(seconds: float, behaviour: Behaviour) -> Behaviour:
    """The same, after a pause before its first byte."""

    def script(received: Received) -> Iterator[Step]:
        yield Sleep(seconds)
        yield from resolve(behaviour, received)

    return script


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
