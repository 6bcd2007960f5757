"""Compressed answers that nobody asked for (row E16): decoded however they are cut, and never more than is sensible."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterable

import pytest

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.inflate import FREE, SLICE, inflated

TEXT = "".join(f'data: {{"n":{number},"text":"Grüße 世界"}}\n\n' for number in range(5000)).encode()


class Body:
    """An answer whose body comes in these pieces."""

    status = 200

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.headers = {"content-encoding": "gzip"}
        self.silence = math.nan
        self.closed = False
        self._pieces = iter(pieces)

    async def read(self) -> bytes:
        return next(self._pieces, b"")

    def set_silence(self, seconds: float) -> None:
        self.silence = seconds

    def close(self) -> None:
        self.closed = True


def cut(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


async def read(body: Body, coding: str = "gzip") -> list[bytes]:
    response = inflated(body, coding)
    found: list[bytes] = []
    while piece := await response.read():
        found.append(piece)
    return found


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize(("coding", "packed"), [("gzip", gzipped(TEXT)), ("X-GZIP", gzipped(TEXT)),
                                                ("deflate", zlib.compress(TEXT))])  # fmt: skip
async def test_a_compressed_body_is_the_same_however_it_is_cut(coding: str, packed: bytes, size: int) -> None:
    pieces = await read(Body(cut(packed, size)), coding)
    assert b"".join(pieces) == TEXT
    assert max(map(len, pieces)) <= SLICE


@pytest.mark.anyio
async def test_what_was_flushed_is_there_at_once() -> None:
    """A stream that is compressed event by event arrives event by event."""
    packer = zlib.compressobj(wbits=31)
    events = cut(TEXT[:1000], 100)
    packed = [packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH) for each in events] + [packer.flush()]
    assert await read(Body(packed)) == events


@pytest.mark.anyio
async def test_several_packed_bodies_after_another_are_one() -> None:
    assert b"".join(await read(Body([gzipped(b"one, ") + gzipped(b"two")]))) == b"one, two"


@pytest.mark.anyio
@pytest.mark.parametrize("length", [SLICE, 2 * SLICE, 2 * SLICE + 1])
async def test_nothing_stays_behind_in_the_decoder(length: int) -> None:
    """A slice that is exactly full may leave output behind although all input is taken."""
    assert b"".join(await read(Body([gzipped(b"x" * length)]))) == b"x" * length


@pytest.mark.anyio
async def test_a_small_body_may_unpack_to_many_times_its_size() -> None:
    assert len(b"".join(await read(Body([gzipped(bytes(FREE))])))) == FREE


@pytest.mark.anyio
async def test_a_bomb_is_left_before_it_has_unpacked() -> None:
    body = Body([gzipped(bytes(64 << 20))])
    seen = 0
    response = inflated(body, "gzip")
    with pytest.raises(UpstreamError) as caught:  # noqa: PT012 - how far it came matters
        while piece := await response.read():
            seen += len(piece)
    assert caught.value.failure is Failure.BAD_RESPONSE
    assert seen < 14 << 20


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("pieces", "failure"),
    [
        ([b"not packed at all"], Failure.BAD_RESPONSE),
        ([gzipped(TEXT)[:-8], bytes(8)], Failure.BAD_RESPONSE),
        ([gzipped(TEXT)[:-20]], Failure.TRUNCATED),
        ([gzipped(TEXT)[:5]], Failure.TRUNCATED),
    ],
)
async def test_what_cannot_be_decoded_to_its_end_is_a_failure(pieces: list[bytes], failure: Failure) -> None:
    with pytest.raises(UpstreamError) as caught:
        await read(Body(pieces))
    assert caught.value.failure is failure


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "nonsense"])
def test_a_coding_that_is_not_known_is_refused(coding: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        inflated(Body([]), coding)
    assert caught.value.failure is Failure.BAD_RESPONSE


@pytest.mark.parametrize("coding", ["identity", "Identity", "", " "])
def test_a_body_that_is_not_encoded_is_left_alone(coding: str) -> None:
    body = Body([])
    assert inflated(body, coding) is body


def test_the_rest_of_an_answer_is_the_upstreams() -> None:
    body = Body([])
    response = inflated(body, "gzip")
    response.set_silence(3)
    response.close()
    assert (response.status, response.headers, body.silence, body.closed) == (200, body.headers, 3, True)
