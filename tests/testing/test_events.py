"""The kit's own reader of server-sent events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.testing import Event, EventReader

STREAM = (
    "\ufeff: hello\n"
    "data: first\n\n"
    "event: add\r\ndata: zwei ü\r\ndata:drei\r\nid: 7\r\nretry: 250\r\n\r\n"
    "data\r\r"
    "unknown: x\nid: 9\n\n"
    'data: {"a": 1}\n\n'
    "data: unfinished"
).encode()
EVENTS = [
    Event("first", 1.0),
    Event("zwei ü\ndrei", 1.0, "add", "7", 250),
    Event("", 1.0),
    Event('{"a": 1}', 1.0),
]


def test_fields_comments_and_all_line_ends_are_read():
    reader = EventReader()
    assert reader.feed(STREAM, 1.0) == EVENTS
    assert [comment.text for comment in reader.comments] == ["hello"]
    assert reader.unfinished


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_cuts_anywhere_change_nothing(cuts: list[int]):
    reader, found, start = EventReader(), [], 0
    for end in [*sorted(cuts), len(STREAM)]:
        found += reader.feed(STREAM[start:end], 1.0)
        start = end
    assert found == EVENTS


def test_an_event_has_the_time_of_the_piece_that_completed_it():
    reader = EventReader()
    assert reader.feed(b"data: x\n", 1.0) == []
    assert reader.feed(b"\n", 2.0) == [Event("x", 2.0)]
    assert not reader.unfinished


def test_data_that_is_not_json_says_so():
    with pytest.raises(ValueError, match="Expecting value"):
        _ = Event("[DONE]", 0.0).json
