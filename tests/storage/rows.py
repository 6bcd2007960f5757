"""A ledger row, apart from the fixtures so that child processes start quickly."""

from typing import Any

Row = dict[str, Any]


def make_row(number: int = 1, **changes: Any) -> Row:
    """A ledger row with every column that must not be null."""
    row = {
        "id": f"{number:032x}",
        "request_id": f"{number:032x}",
        "customer_id": "acme",
        "endpoint": "/v1/chat/completions",
        "stream": False,
        "created_at": 1_700_000_000_000_000 + number,
        "model": "gemma",
        "outcome": "ok",
        "status": 200,
        "attempts": 1,
        "failover": False,
        "duration_us": 1000,
    }
    return row | changes
