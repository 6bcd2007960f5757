"""Splitting: the same bytes in the pieces one wants, seen alone by a reader of the same loop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.testing import (
    LAST_CHUNK,
    Chunk,
    RawClient,
    ScriptedUpstream,
    Send,
    Sleep,
    answer,
    at,
    at_random,
    awkward,
    chunk,
    every,
    glued,
    head,
    split,
    sse,
    wire,
)
from sealgate.testing.script import Step, Yield
from sealgate.testing.splits import Cutter

pytestmark = pytest.mark.anyio

SCRIPT: list[Step] = [
    head(),
    chunk(sse({"text": 'Grüße, "世界" 👋'}, newline="\r\n")),
    Sleep(0),
    chunk(sse("x", newline="\r\n")),
    LAST_CHUNK,
]


def sends(behaviour: object) -> list[bytes]:
    return [step.wire for step in behaviour(None) if isinstance(step, Send | Chunk)]  # type: ignore[operator]


@pytest.mark.parametrize("rechunk", [False, True])
@pytest.mark.parametrize("cutter", [every(1), every(7), at(3, 9, 50, 10**9), at_random(1), awkward, lambda data: [0]])
def test_splitting_changes_no_byte_of_the_body(cutter: Cutter, rechunk: bool):
    behaviour = split(SCRIPT, cutter, rechunk=rechunk)
    if not rechunk:
        assert wire(behaviour) == wire(SCRIPT)
    payload = b"".join(step.data for step in SCRIPT if isinstance(step, Chunk))
    if rechunk:
        assert b"".join(step.data for step in behaviour(None) if isinstance(step, Chunk)) == payload


@given(cuts=st.sets(st.integers(0, 400)))
def test_each_offset_inside_the_bytes_is_the_border_of_two_writes(cuts: set[int]):
    borders, position = set(), 0
    for data in sends(split(SCRIPT, at(*cuts))):
        borders.add(position)
        position += len(data)
    assert {cut for cut in cuts if cut < position} <= borders | {0}


def test_every_cuts_all_pieces_to_size():
    assert {len(data) for data in sends(split([Send(b"x" * 12)], every(4)))} == {4}
    assert {len(data) for data in sends(split([Send(b"x" * 12)], every(1)))} == {1}
    with pytest.raises(ValueError, match="at least 1"):
        every(0)


def test_a_seed_says_it_all():
    data = bytes(1000)
    assert list(at_random(3)(data)) == list(at_random(3)(data)) != list(at_random(4)(data))
    assert 50 < len(list(at_random(3)(data))) < 150


def test_awkward_cuts_inside_characters_prefixes_line_ends_and_escapes():
    data = 'data: {"a":"é👋\\n"}\r\n\r\ndata:x\n\n'.encode()
    pieces = [data[left:right] for left, right in zip([0, *awkward(data)], [*awkward(data), len(data)], strict=True)]
    assert pieces == [
        b"d",
        b"ata",
        b":",
        b' {"a":"\xc3',
        b"\xa9\xf0",
        b"\x9f",
        b"\x91",
        b"\x8b\\",
        b'n"}\r',
        b"\n\r",
        b"\nd",
        b"ata",
        b":x\n",
        b"\n",
    ]


def test_pauses_stay_and_pieces_are_told_apart():
    steps = list(split([Send(b"ab"), Sleep(5), Send(b"cd")], every(1))(None))  # type: ignore[operator]
    assert steps == [
        Send(b"a"),
        Yield(),
        Send(b"b"),
        Sleep(5),
        Yield(),
        Send(b"c"),
        Yield(),
        Send(b"d"),
    ]
    gaps = list(split([Send(b"ab")], every(1), gap=0.5)(None))  # type: ignore[operator]
    assert gaps == [Send(b"a"), Sleep(0.5), Send(b"b")]


async def test_a_reader_on_the_same_loop_sees_each_piece_alone(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue(split([Send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"), Send(b"123456789")], every(1)))
    await client.get("/")
    sizes = []
    while len(client.buffer) < 47:
        before = len(client.buffer)
        await client.fill()
        sizes.append(len(client.buffer) - before)
    assert sizes == [1] * 47


async def test_rechunked_pieces_are_chunks_of_their_own(upstream: ScriptedUpstream, client: RawClient):
    upstream.enqueue(split(answer("Grüße"), every(1), rechunk=True))
    await client.post("/v1/chat/completions", {"model": "m", "stream": True})
    response = await client.response()
    text = [
        event.json["choices"][0]["delta"].get("content", "")
        async for event in response.events()
        if event.data != "[DONE]"
    ]
    assert {len(piece.data) for piece in response.pieces} == {1}
    assert "".join(text) == "Grüße"
    assert response.complete


def test_glued_joins_neighbours_up_to_the_next_pause():
    steps = list(glued([Send(b"a"), chunk("b"), Sleep(1), Send(b"c"), LAST_CHUNK])(None))  # type: ignore[operator]
    assert steps == [Send(b"a1\r\nb\r\n"), Sleep(1), Send(b"c0\r\n\r\n")]
