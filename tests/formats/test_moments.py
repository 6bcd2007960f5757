"""Moments are written in ISO 8601 and read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.formats.moments import iso, microseconds, parse


@given(st.integers(0, 253_402_300_799))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert parse(iso(seconds * 1_000_000)) == seconds * 1_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1970-01-02", 86400), ("1970-01-01T02:00+02:00", 0), ("1970-01-01T00:00:01", 1), ("1970-01-01T00:00:01Z", 1)],
)
def test_a_date_is_its_beginning_and_without_an_offset_it_is_utc(text: str, seconds: int) -> None:
    assert parse(text) == seconds * 1_000_000


def test_the_ends_of_the_calendar_are_no_overflow() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone(timedelta(hours=-14)))
    assert microseconds(last) > microseconds(datetime(9999, 12, 31, tzinfo=UTC))
    assert microseconds(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))) < 0


def test_what_is_no_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="Invalid isoformat"):
        parse("string")
