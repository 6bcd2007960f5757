"""Entries of the log that are not receipts': which key signed from when on, which build ran, under which policy.

Their order among the receipts is what they are for: a receipt that was entered before its key was revoked was signed
before anybody knew.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sealgate.formats import canonical
from sealgate.receipts.receipt import Software
from sealgate.receipts.store import KeyRow

SETTLING = 10
"""Seconds after which every running process knows that a key was revoked, and signs nothing with it any more."""


def ends_key(name: str) -> bool:
    """Whether this is the statement that a key is revoked."""
    return name.startswith("key:") and name.endswith(":revoke")


def kid(name: str) -> str:
    """Which key it speaks of."""
    return name.split(":")[1]


def of_keys(rows: Sequence[KeyRow], now: int) -> dict[str, bytes]:
    """What has happened to the keys until ``now`` (unix microseconds), in that order: name to entry."""
    begun = sorted((row for row in rows if row.active_from <= now), key=lambda row: (row.active_from, row.kid))
    known = [(min(row.created_at, row.active_from), 0, row, "add") for row in rows]
    known += [(row.active_from, 1, row, "active") for row in begun]
    known += [(after.active_from, 2, row, "retire") for row, after in pairwise(begun)
              if row.revoked_at is None]  # fmt: skip
    known += [(row.revoked_at, 3, row, "revoke") for row in rows
              if row.revoked_at is not None and row.revoked_at + SETTLING * 1_000_000 <= now]  # fmt: skip
    known.sort(key=lambda each: (each[0], each[1], each[2].kid))
    return {f"key:{row.kid}:{what}": _of_key(row, what) for _, _, row, what in known}


def _of_key(row: KeyRow, what: str) -> bytes:
    return canonical.encode(
        {"t": "key", "use": "receipt-sign", "st": what, "kid": row.kid, "jwk": dict(row.public), "v": 1}
    )


def of_software(software: Software) -> dict[str, bytes]:
    """What runs, entered the first time that it does: name to entry."""
    found = {}
    if software.build is not None:
        entry = {"t": "build", "sw": software.version, "digest": software.build, "v": 1}
        found[f"build:{software.build}"] = canonical.encode(entry)
    if software.config is not None:
        found[f"cfg:{software.config}"] = canonical.encode({"t": "cfg", "digest": software.config, "v": 1})
    return found
