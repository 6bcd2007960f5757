"""Windows of time: by the calendar in UTC, or moving with the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.config_tables import Budget
from sealgate.limits.periods import DAY, LONGEST, PIECES, SPANS, window

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def budget(period: Any, rolling: bool = False) -> Budget:
    return Budget(Decimal(1), period, rolling)


@pytest.mark.parametrize(("period", "moment", "start", "end"), [
    ("day", "2026-03-04T23:59:59.999999", "2026-03-04", "2026-03-05"),
    ("day", "2026-03-05T00:00:00", "2026-03-05", "2026-03-06"),
    ("week", "2026-03-04T12:00:00", "2026-03-02", "2026-03-09"),
    ("week", "2026-03-02T00:00:00", "2026-03-02", "2026-03-09"),
    ("week", "2026-03-01T23:00:00", "2026-02-23", "2026-03-02"),
    ("month", "2026-02-28T23:59:59", "2026-02-01", "2026-03-01"),
    ("month", "2024-02-29T00:00:00", "2024-02-01", "2024-03-01"),
    ("month", "2026-12-31T23:59:59", "2026-12-01", "2027-01-01"),
])  # fmt: skip
def test_by_the_calendar_a_period_is_one_piece(period: str, moment: str, start: str, end: str) -> None:
    now, first, last = (us(datetime.fromisoformat(each).replace(tzinfo=UTC)) for each in (moment, start, end))
    assert window(budget(period), now) == (period, first, first, last)


@given(MOMENTS, st.sampled_from(["day", "week", "month"]))
def test_a_moment_lies_in_its_period(moment: datetime, period: str) -> None:
    now = us(moment)
    found = window(budget(period), now)
    assert found.end is not None
    assert found.bucket <= now < found.end
    assert window(budget(period), found.end).bucket == found.end
    assert window(budget(period), found.end - 1).bucket == found.bucket


@given(MOMENTS, st.sampled_from(["day", "week", "month"]), st.integers(0, 40 * DAY))
def test_what_is_younger_than_the_period_counts_and_what_is_much_older_does_not(
    moment: datetime, period: str, age: int
) -> None:
    rule, now, span = budget(period, rolling=True), us(moment), SPANS[period]
    then = window(rule, now - age).bucket
    counts = then >= window(rule, now).since
    if age < span:
        assert counts
    if age > span + 2 * span // PIECES:
        assert not counts


def test_a_total_never_ends() -> None:
    assert window(budget("total"), 5) == window(budget("total", rolling=True), 10**15) == ("total", 0, 0, None)


def test_nothing_counts_longer_than_sums_are_kept() -> None:
    for period in SPANS:
        for rolling in (False, True):
            now = us(datetime(2026, 3, 31, 23, 59, tzinfo=UTC))
            assert window(budget(period, rolling), now).since > now - LONGEST
