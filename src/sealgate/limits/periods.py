"""The pieces of time in which money is counted. Pure: times are unix microseconds in UTC.

A request belongs to the moment at which it came. By the calendar a period is one piece, and what was spent in it is one
number. The last 24 hours, 7 or 30 days move with the clock, so they are kept in 144 small pieces: a piece counts until
all of it lies outside, and money comes back piece by piece, late by at most a 144th of the period and never early.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from sealgate.config_tables import Budget

DAY = 86_400_000_000
PIECES = 144
SPANS = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY}
LONGEST = 62 * DAY
"""A piece that began so long ago counts for no period any more, except for ``total``."""
FOREVER = 2**63

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Window(NamedTuple):
    """What counts now. ``period`` names the series in which spending is kept."""

    period: str
    bucket: int
    """The piece to which a request of now belongs, by its beginning."""
    since: int
    """Pieces that begin here or later count."""
    end: int | None
    """When it begins anew; None: never, or bit by bit."""


def window(budget: Budget, now: int) -> Window:
    """The window of a budget at that moment."""
    if budget.period == "total":
        return Window("total", 0, 0, None)
    if budget.rolling:
        span = SPANS[budget.period]
        width = span // PIECES
        return Window(f"rolling {budget.period}", now - now % width, now - span - width + 1, None)
    start, end = _calendar(budget.period, now // DAY)
    return Window(budget.period, start, start, end)


def ends(budget: Budget, found: Window) -> int:
    """When the piece ends to which a request of that window belongs."""
    if budget.rolling:
        return found.bucket + SPANS[budget.period] // PIECES
    return FOREVER if found.end is None else found.end


@lru_cache(16)
def _calendar(period: str, days: int) -> tuple[int, int]:
    """Where the day, the week (from Monday) or the month begins and ends, at so many days since 1970."""
    day = _EPOCH + timedelta(days=days)
    if period == "day":
        first, last = day, day + timedelta(days=1)
    elif period == "week":
        first = day - timedelta(days=day.weekday())
        last = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        last = (first + timedelta(days=31)).replace(day=1)
    return _microseconds(first), _microseconds(last)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
