"""Moments as they are written in JSON: ISO 8601, UTC; inside they are Unix microseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def iso(microseconds: int) -> str:
    """To the second: ``2030-01-31T12:00:00Z``."""
    moment = EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def microseconds(moment: datetime) -> int:
    """A moment as Unix microseconds; one without an offset is in UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // _MICROSECOND


def parse(text: str) -> int:
    """A date (its beginning in UTC) or a time in ISO 8601. Raises `ValueError`."""
    return microseconds(datetime.fromisoformat(text))
