"""One connection without a network: bytes in at any split, and the order of events that no socket gives at will."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.connection import Connection, Exchange
from sealgate.outward.head import HeadLimits
from sealgate.outward.pool import Pool, PoolLimits

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class FakeTransport:
    """Keeps what is written; calls nothing back."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = self.paused = False
        self.pauses = 0
        self.unsent = 0

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: Any) -> None:
        self.written += b"".join(parts)

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        self.paused = False


class Wire:
    """A connection on a fake transport, with its pool."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.pool: Pool[Connection] = Pool(PoolLimits(keep_seconds=5), loop)
        self.pool.extra()
        self.transport = FakeTransport()
        self.connection = Connection(self.pool, HeadLimits())
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def begin(self, silence: float = 5.0) -> asyncio.Task[Exchange]:
        return asyncio.create_task(self.connection.exchange(b"HEAD", b"BODY", silence))

    async def answer(self, *pieces: bytes, silence: float = 5.0) -> Exchange:
        task = self.begin(silence)
        await asyncio.sleep(0)
        for piece in pieces:
            self.connection.data_received(piece)
        return await task

    def done(self) -> None:
        self.connection.close()
        self.pool.close()


async def whole(exchange: Exchange) -> bytes:
    parts = []
    while part := await exchange.read():
        parts.append(part)
    return b"".join(parts)


def splits(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(raw) + 1) for cut in cuts}), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(edges) if a < b]


@given(
    bodies=st.lists(st.binary(min_size=1, max_size=80), max_size=6),
    chunked=st.booleans(),
    interim=st.integers(0, 3),
    cuts=st.lists(st.integers(0, 2000), max_size=20),
)
@settings(max_examples=120, deadline=None)
async def test_any_split_gives_the_body_and_the_connection_back(
    bodies: list[bytes], chunked: bool, interim: int, cuts: list[int]
) -> None:
    """However the bytes of a good answer arrive, the body is exact and the connection is kept, twice in a row."""
    body = b"".join(bodies)
    if chunked:
        raw = CHUNKED + b"".join(b"%X\r\n%s\r\n" % (len(part), part) for part in bodies) + b"0\r\nT: 1\r\n\r\n"
    else:
        raw = OK + b"content-length: %d\r\n\r\n" % len(body) + body
    raw = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * interim + raw
    wire = Wire()
    for _ in range(2):
        exchange = await wire.answer(*splits(raw, cuts))
        assert await whole(exchange) == body
        assert wire.pool.warm() is wire.connection
    wire.done()


@given(
    raw=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=200).map(lambda tail: OK + tail),
        st.binary(max_size=200).map(lambda tail: CHUNKED + tail),
        st.lists(
            st.sampled_from(
                [OK, CHUNKED, b"\r\n", b"0\r\n\r\n", b"5\r\nabcde\r\n", b"Content-Length: 5\r\n", b": ", b"\0"]
            )
        ).map(b"".join),
    ),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    end=st.sampled_from([None, ConnectionResetError()]),
)
@settings(max_examples=250, deadline=None)
async def test_whatever_comes_ends_well_or_in_our_error(raw: bytes, cuts: list[int], end: Exception | None) -> None:
    """Random bytes, cut anywhere, then the end: an answer or an `UpstreamError`; the place is always given back."""
    wire = Wire()
    task = wire.begin()
    await asyncio.sleep(0)
    for piece in splits(raw, cuts):
        wire.connection.data_received(piece)
    wire.connection.eof_received() if end is None else None
    wire.connection.connection_lost(end)
    try:
        await whole(await task)
    except UpstreamError as error:
        failure: Failure | None = error.failure
    else:
        failure = None
    assert failure in (None, Failure.RESET, Failure.TRUNCATED, Failure.BAD_RESPONSE)
    assert wire.transport.aborted
    assert wire.pool.places == 0
    wire.done()


SEEDS = (
    OK + b"Content-Length: 5\r\n\r\nhello",
    OK + b"content-type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    b"HTTP/1.0 503 No\r\nRetry-After: 3\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 204 No Content\r\n\r\n" + OK + b"\r\nrest",
    b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nno",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes",
)
"""Answers of every shape, to be spoiled."""


async def outcome(pieces: list[bytes], reset: bool, *, reading: bool) -> tuple[Any, ...]:
    """What a reader makes of an answer, and whether its connection is kept; ``reading`` while the bytes still come."""
    wire = Wire()
    task = wire.begin()
    await asyncio.sleep(0)
    taken = asyncio.create_task(_taken(task))
    for piece in pieces:
        wire.connection.data_received(piece)
        if reading:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    kept = wire.pool.warm() is wire.connection
    if kept:
        second = await wire.answer(OK + b"Content-Length: 2\r\n\r\nok")
        assert (second.status, dict(second.headers), await whole(second)) == (200, {"content-length": "2"}, b"ok")
    if not reset:
        wire.connection.eof_received()
    wire.connection.connection_lost(ConnectionResetError() if reset else None)
    found = await taken
    assert wire.pool.places == 0
    wire.done()
    return found


async def _taken(task: asyncio.Task[Exchange]) -> tuple[Any, ...]:
    body, head, failure = b"", None, None
    try:
        exchange = await task
        head = exchange.status, dict(exchange.headers)
        while piece := await exchange.read():
            body += piece
    except UpstreamError as error:
        failure = error.failure
    allowed = (None, Failure.RESET, Failure.BAD_RESPONSE)
    assert failure in (allowed if head is None else (*allowed, Failure.TRUNCATED))
    return head, body, failure


async def judge(raw: bytes, cuts: list[int], reset: bool) -> None:
    """An answer means the same however it is cut and whenever it is read, and leaves nothing for the next one."""
    at_once = await outcome([raw] if raw else [], reset, reading=False)
    pieces = splits(raw, cuts)
    for reading in (False, True):
        cut = await outcome(pieces, reset, reading=reading)
        assert cut == at_once, (cut, at_once)


@given(
    raw=st.one_of(
        st.sampled_from(SEEDS),
        st.tuples(st.sampled_from(SEEDS), st.integers(0, 300), st.binary(max_size=8)).map(
            lambda spoiled: spoiled[0][: spoiled[1]] + spoiled[2] + spoiled[0][spoiled[1] :]
        ),
    ),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    reset=st.booleans(),
)
@settings(max_examples=200, deadline=None)
async def test_an_answer_means_the_same_however_it_is_cut(raw: bytes, cuts: list[int], reset: bool) -> None:
    """Whole or in pieces, read at once or at the end; a connection that is kept then serves another answer."""
    await judge(raw, cuts, reset)


@pytest.mark.parametrize("tail", [b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"], ids=["empty", "last"])
async def test_a_late_cancel_does_not_touch_the_next_owner(tail: bytes) -> None:
    """The reader is woken by the end, the connection goes to somebody else, and only then the reader is cancelled."""
    wire = Wire()
    first = await wire.answer(CHUNKED)
    reading = asyncio.create_task(first.read())
    await asyncio.sleep(0)
    wire.connection.data_received(tail)
    assert wire.pool.warm() is wire.connection
    second = wire.begin()
    reading.cancel()
    await asyncio.sleep(0)
    wire.connection.data_received(OK + b"Content-Length: 2\r\n\r\nok")
    assert await whole(await second) == b"ok"
    assert not wire.transport.aborted
    assert reading.cancelled()
    wire.done()


async def test_a_piece_given_to_a_reader_who_is_cancelled_is_not_lost() -> None:
    """What the cancelled reader did not take is read by the next one, before the end."""
    wire = Wire()
    exchange = await wire.answer(CHUNKED)
    reading = asyncio.create_task(exchange.read())
    await asyncio.sleep(0)
    wire.connection.data_received(b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")
    reading.cancel()
    await asyncio.sleep(0)
    assert reading.cancelled()
    assert await whole(exchange) == b"abcdef"
    wire.done()


async def test_a_body_of_an_interim_answer_is_not_taken_for_the_answers() -> None:
    """RFC 9110 gives it none; the parser would read one where a length is said."""
    wire = Wire()
    with pytest.raises(UpstreamError) as caught:
        await wire.answer(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello" + OK + b"\r\n")
    assert caught.value.failure is Failure.BAD_RESPONSE
    assert wire.transport.aborted
    wire.done()


async def test_what_came_before_the_error_is_read_first() -> None:
    """Pieces that arrived stay readable; then the error comes, each time."""
    wire = Wire()
    exchange = await wire.answer(CHUNKED + b"3\r\nabc\r\n")
    wire.connection.connection_lost(ConnectionResetError())
    assert await exchange.read() == b"abc"
    for _ in range(2):
        with pytest.raises(UpstreamError) as caught:
            await exchange.read()
        assert caught.value.failure is Failure.RESET
    wire.done()


async def test_waiting_pieces_are_read_in_one() -> None:
    """A reader that comes late gets everything that is there at once."""
    wire = Wire()
    exchange = await wire.answer(CHUNKED, b"1\r\na\r\n1\r\nb\r\n", b"1\r\nc\r\n")
    assert await exchange.read() == b"abc"
    wire.done()


async def test_reading_pauses_above_the_mark_and_goes_on_when_read() -> None:
    """More than 64 KiB unread stops the socket once; reading starts it again."""
    wire = Wire()
    exchange = await wire.answer(OK + b"Content-Length: 1000000\r\n\r\n")
    for _ in range(8):
        wire.connection.data_received(bytes(10_000))
    assert (wire.transport.paused, wire.transport.pauses) == (True, 1)
    assert len(await exchange.read()) == 80_000
    assert not wire.transport.paused
    wire.done()


async def test_one_silence_timer_serves_many_waits() -> None:
    """The timer is armed once and moved only when it rings: no timer work per piece."""
    wire = Wire()
    armed = 0
    arm = wire.connection._arm

    def counted(when: float) -> None:
        nonlocal armed
        armed += 1
        arm(when)

    wire.connection._arm = counted  # type: ignore[method-assign]
    exchange = await wire.answer(CHUNKED, silence=30)
    for _ in range(50):
        asyncio.get_running_loop().call_soon(wire.connection.data_received, b"1\r\nx\r\n")
        assert await exchange.read() == b"x"
    assert armed == 1
    exchange.set_silence(0.01)
    with pytest.raises(UpstreamError) as caught:
        await exchange.read()
    assert caught.value.failure is Failure.STALLED
    assert armed == 2
    wire.done()


async def test_a_timer_that_rings_early_is_set_again() -> None:
    """A piece within the limit moves the end of the silence; the limit still holds after it."""
    wire = Wire()
    loop = asyncio.get_running_loop()
    exchange = await wire.answer(CHUNKED, silence=0.04)
    loop.call_later(0.02, wire.connection.data_received, b"1\r\nx\r\n")
    assert await exchange.read() == b"x"
    began = loop.time()
    with pytest.raises(UpstreamError) as caught:
        await asyncio.wait_for(exchange.read(), 2)
    assert caught.value.failure is Failure.STALLED
    assert loop.time() - began > 0.035
    wire.done()


async def test_a_request_that_was_not_sent_whole_spoils_its_connection() -> None:
    """An answer that came before the upload was done is good; what is left of the upload must not go on."""
    wire = Wire()
    wire.transport.unsent = 5
    exchange = await wire.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert await whole(exchange) == b""
    assert wire.transport.aborted
    assert wire.pool.places == 0
    wire.done()


async def test_an_unread_whole_answer_is_not_given_back() -> None:
    """Complete but not read: closing it closes the connection."""
    wire = Wire()
    exchange = await wire.answer(OK + b"Content-Length: 2\r\n\r\nok")
    assert wire.pool.warm() is None
    exchange.close()
    assert wire.transport.aborted
    with pytest.raises(UpstreamError):
        await exchange.read()
    wire.done()


async def test_two_readers_are_a_programming_error() -> None:
    """An answer has one reader at a time."""
    wire = Wire()
    exchange = await wire.answer(CHUNKED)
    first = asyncio.create_task(exchange.read())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await exchange.read()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    wire.done()


async def test_a_large_body_is_not_copied_into_the_head() -> None:
    """Small bodies go out in one buffer with the head, large ones beside it; the bytes are the same."""
    for body in (b"x" * 100, b"x" * 100_000):
        wire = Wire()
        task = asyncio.create_task(wire.connection.exchange(b"HEAD", body, 5))
        await asyncio.sleep(0)
        assert wire.transport.written == b"HEAD" + body
        wire.connection.data_received(OK + b"Content-Length: 0\r\n\r\n")
        await task
        wire.done()


@pytest.mark.parametrize("answer", [b"garbage", CHUNKED + b"x"], ids=["head", "body"])
async def test_a_failure_leaves_nothing_to_the_garbage_collector(answer: bytes) -> None:
    """A broken answer goes away with the last who holds it: it may hold megabytes, and collections are rare."""
    wire = Wire()
    asyncio.get_running_loop().call_soon(wire.connection.data_received, answer)
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(UpstreamError):
            await whole(await wire.connection.exchange(b"HEAD", b"BODY", 5.0))
        assert wire.transport.aborted
        assert gc.collect() == 0
    finally:
        gc.enable()
    wire.done()
