"""The load generator: raw HTTP/1.1 connections on uvloop, a fixed number of requests, every answer judged.

Three ways to load a program: `whole` (closed loop: each connection sends its next request when it has its answer),
`streams` (the same with streams) and `paced` (open loop: requests leave by a timetable, however slow the answers are).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httptools
import msgspec

from bench.judge import Delays, StreamJudge, WrongAnswerError, delays, judge_whole
from bench.pace import Alarm

_NANO = 1_000_000_000


class Target(NamedTuple):
    """Where a program listens and the key it wants from its callers."""

    port: int
    key: str

    def request(self, body: bytes) -> bytes:
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: application/json\r\nAccept: */*\r\nUser-Agent: bench\r\nContent-Length: %d\r\n\r\n"
            % (self.port, self.key.encode(), len(body))
        ) + body

    def get(self, path: str) -> bytes:
        return b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (path.encode(), self.port)


class Connection(asyncio.Protocol):
    """One keep-alive connection; ``done`` is called with it when an answer is there."""

    def __init__(self, done: Callable[[Connection], None], failed: Callable[[Exception], None]) -> None:
        self.sent_ns = 0
        self.now = 0
        self.status = 0
        self.body: list[bytes] = []
        self.stream: StreamJudge | None = None
        self._done = done
        self._failed = failed
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.sent_ns:
            self._failed(WrongAnswerError(f"the connection broke in the middle of an answer: {exc}"))

    def send(self, request: bytes) -> None:
        self.sent_ns = time.monotonic_ns()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.now = time.monotonic_ns()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error.__context__ if isinstance(error.__context__, WrongAnswerError) else error)
        except WrongAnswerError as error:
            self._fail(error)

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, piece: bytes) -> None:
        if self.stream is not None and self.status == 200:
            self.stream.feed(piece, self.now)
        else:
            self.body.append(piece)

    def on_message_complete(self) -> None:
        if not self.sent_ns:
            raise WrongAnswerError("an answer that nobody asked for")
        keep = self._parser.should_keep_alive()
        self._done(self)
        if not keep:
            raise WrongAnswerError("the connection was closed after an answer")

    def _fail(self, error: Exception) -> None:
        self.sent_ns = 0
        self.transport.abort()
        self._failed(error)


class _Run:
    """Connections to one target for the length of one run, and the future that ends it."""

    def __init__(self, target: Target, done: Callable[[Connection], None]) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._target = target
        self._answered = done
        self.connections: list[Connection] = []

    async def open(self, count: int) -> list[Connection]:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(
                lambda: Connection(self._answered, self.fail), "127.0.0.1", self._target.port
            )
            self.connections.append(connection)
        return self.connections

    def fail(self, error: Exception) -> None:
        if not self.finished.done():
            self.finished.set_exception(error)

    def end(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)

    def close(self) -> None:
        for connection in self.connections:
            connection.sent_ns = 0
            connection.transport.close()


@asynccontextmanager
async def _run(target: Target, connections: int, done: Callable[[Connection], None]) -> AsyncIterator[_Run]:
    run = _Run(target, done)
    try:
        await run.open(connections)
        yield run
    finally:
        run.close()
        if run.finished.done() and not run.finished.cancelled():
            run.finished.exception()  # seen, even where another error is on its way


def _judge(connection: Connection) -> int:
    """Nanoseconds that the whole answer took."""
    took = connection.now - connection.sent_ns
    connection.sent_ns = 0
    judge_whole(connection.status, b"".join(connection.body))
    connection.body.clear()
    return took


class Window:
    """Told when the first request goes out and when the last answer is there; this one does not care."""

    def start(self) -> None:
        """All connections are open and nothing was sent."""

    async def stop(self) -> None:
        """All answers are there and all connections still open."""


NO_WINDOW = Window()


async def whole(target: Target, body: bytes, *, connections: int, count: int, window: Window = NO_WINDOW) -> list[int]:
    """Send ``count`` requests over ``connections``; the nanoseconds that each answer took."""
    request, left, took = target.request(body), count, []

    def done(connection: Connection) -> None:
        nonlocal left
        took.append(_judge(connection))
        if left:
            left -= 1
            connection.send(request)
        elif len(took) == count:
            run.end()

    async with _run(target, min(connections, count), done) as run:
        window.start()
        for connection in run.connections:
            left -= 1
            connection.send(request)
        await run.finished
        await window.stop()
    return took


async def streams(
    target: Target,
    canned: Target,
    body: bytes,
    *,
    connections: int,
    count: int,
    spread: float,
    window: Window = NO_WINDOW,
) -> Delays:
    """Read ``count`` streams, ``connections`` at a time, the first ones begun over ``spread`` seconds; all delays."""
    request, left, read = target.request(body), count, []

    def begin(connection: Connection) -> None:
        nonlocal left
        if run.finished.done():
            return  # it has failed
        left -= 1
        connection.stream = StreamJudge()
        connection.send(request)

    def done(connection: Connection) -> None:
        connection.sent_ns = 0
        if connection.status != 200 or connection.stream is None:
            raise WrongAnswerError(f"status {connection.status}: {b''.join(connection.body)[:300]!r}")
        connection.stream.end()
        read.append(connection.stream)
        if left:
            begin(connection)
        elif len(read) == count:
            run.end()

    async with _run(target, min(connections, count), done) as run:
        window.start()
        for number, connection in enumerate(run.connections):
            asyncio.get_running_loop().call_later(spread * number / connections, begin, connection)
        await run.finished
        await window.stop()
    return delays(read, await fetch_json(canned, "/sent"))


def arrivals(rate: float, count: int, seed: int) -> Iterator[int]:
    """Nanoseconds from the start at which requests are due: as if by many callers who know nothing of each other."""
    chance = random.Random(seed)
    at = 0.0
    for _ in range(count):
        at += chance.expovariate(rate)
        yield int(at * _NANO)


async def paced(
    target: Target, body: bytes, *, connections: int, rate: float, count: int, seed: int, window: Window = NO_WINDOW
) -> list[int]:
    """Send ``count`` requests at ``rate`` per second whether or not answers come; the nanoseconds from due to answered.

    A request that finds all connections busy waits for one, and its wait counts.
    """
    request, took = target.request(body), []
    timetable: deque[int] = deque()
    waiting: deque[int] = deque()
    due: dict[Connection, int] = {}

    def begin(connection: Connection, moment: int) -> None:
        due[connection] = moment
        connection.send(request)

    def ring() -> None:
        now = time.monotonic_ns()
        while timetable and timetable[0] <= now:
            if idle:
                begin(idle.pop(), timetable.popleft())
            else:
                waiting.append(timetable.popleft())
        if timetable:
            alarm.set(timetable[0])

    def done(connection: Connection) -> None:
        _judge(connection)
        took.append(connection.now - due[connection])
        if waiting:
            begin(connection, waiting.popleft())
        else:
            idle.append(connection)
        if len(took) == count:
            run.end()

    async with _run(target, connections, done) as run:
        idle: list[Connection] = list(run.connections)
        alarm = Alarm(ring)
        try:
            window.start()
            begun = time.monotonic_ns()
            timetable.extend(begun + at for at in arrivals(rate, count, seed))
            alarm.set(timetable[0])
            await run.finished
            await window.stop()
        finally:
            alarm.close()
    return took


async def fetch_json(target: Target, path: str) -> Any:
    """The JSON document under a path."""
    found: list[bytes] = []

    def done(connection: Connection) -> None:
        connection.sent_ns = 0
        found.append(b"".join(connection.body))
        run.end()

    async with _run(target, 1, done) as run:
        run.connections[0].send(target.get(path))
        await run.finished
    return msgspec.json.decode(found[0])


async def once(target: Target, body: bytes) -> int:
    """One request on a connection of its own; the nanoseconds that it took. OSError where nobody listens."""
    return (await whole(target, body, connections=1, count=1))[0]
