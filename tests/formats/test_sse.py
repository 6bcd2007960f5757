"""The event reader gives the same events however its bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.formats.sse import Event, EventReader, LineTooLongError, event

AWKWARD = (
    "\ufeff: comment\r\ndata: first\r\n\r\n"
    "event: error\rdata: zweite é\rdata: second line 🌍\r\r"
    "id: 7\nretry: 100\nunknown: x\ndata\ndata:no space\n\n"
    'data: {"a": "\u2028"}\n\n'
    "\n\n: only a comment\n\ndata: unfinished"
).encode()
EXPECTED = [
    Event(b"", b"first"),
    Event(b"error", "zweite é\nsecond line 🌍".encode()),
    Event(b"", b"\nno space"),
    Event(b"", '{"a": "\u2028"}'.encode()),
]


def read(*pieces: bytes) -> list[Event]:
    reader = EventReader()
    return [found for piece in pieces for found in reader.feed(piece)]


def test_reads_every_line_ending_comment_and_field() -> None:
    assert read(AWKWARD) == EXPECTED


def test_gives_the_same_events_when_cut_at_every_offset() -> None:
    for offset in range(len(AWKWARD) + 1):
        assert read(AWKWARD[:offset], AWKWARD[offset:]) == EXPECTED, offset


def test_gives_the_same_events_byte_by_byte() -> None:
    assert read(*(bytes([byte]) for byte in AWKWARD)) == EXPECTED


@given(st.lists(st.integers(min_value=0, max_value=len(AWKWARD)), max_size=12))
def test_gives_the_same_events_at_random_splits(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(AWKWARD)]
    assert read(*(AWKWARD[a:b] for a, b in pairwise(edges))) == EXPECTED


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_never_raises_on_any_bytes(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert read(*pieces) == read(whole)


ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r", b"\r\n\n", b"\n\r\n", b"\r\r\n\r\n", b"\n", b"\r\n", b"\r")


@given(
    st.lists(st.tuples(st.sampled_from([b"data: x", b"data: ", b"data: a\rb", b"data", b""]), st.sampled_from(ENDS)))
)
def test_a_piece_that_looks_like_one_whole_event_is_read_like_any_other(lines: list[tuple[bytes, bytes]]) -> None:
    pieces = [text + end for text, end in lines]
    assert read(*pieces) == read(b"".join(pieces)) == read(*(bytes([byte]) for byte in b"".join(pieces)))


def test_an_event_is_given_as_soon_as_its_blank_line_has_come() -> None:
    reader = EventReader()
    assert reader.feed(b"data: x\r\n") == []
    assert reader.feed(b"\r") == [Event(b"", b"x")]
    assert reader.feed(b"\ndata: y\n\n") == [Event(b"", b"y")]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 30, b"data: 123456789\n" * 4])
def test_a_line_or_event_over_the_cap_is_refused(piece: bytes) -> None:
    reader = EventReader(max_line=20)
    with pytest.raises(LineTooLongError):
        reader.feed(piece)


def test_what_is_written_is_read_back() -> None:
    assert read(event(b'{"a":1}')) == [Event(b"", b'{"a":1}')]
