"""UUIDs of version 7 (RFC 9562, section 5.7): ids that sort by the time they were made."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

POOL = 256
"""Ids whose noise is fetched from the system at once: the call costs more than all the rest."""

_SHAPE = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?7[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}", re.IGNORECASE)


def _noise() -> Iterator[str]:
    """Ends of ids: version 7, 12 random bits, variant 10, 62 random bits."""
    while True:
        pool = os.urandom(10 * POOL)
        for start in range(0, len(pool), 10):
            bits = int.from_bytes(pool[start : start + 10])
            yield f"{0x7 << 76 | (bits >> 68) << 64 | 0x2 << 62 | (bits & 0x3FFF_FFFF_FFFF_FFFF):020x}"


_next_noise = _noise().__next__


def uuid7_hex(now_ns: int | None = None) -> str:
    """A new id as 32 hex digits; the first 12 are Unix milliseconds."""
    return f"{(now_ns or time.time_ns()) // 1_000_000:012x}{_next_noise()}"


def dashed(hex_id: str) -> str:
    """32 hex digits in the 8-4-4-4-12 form."""
    return f"{hex_id[:8]}-{hex_id[8:12]}-{hex_id[12:16]}-{hex_id[16:20]}-{hex_id[20:]}"


def uuid7_milliseconds(text: str) -> int | None:
    """Unix milliseconds of a version 7 UUID in either form, or None for anything else."""
    if not _SHAPE.fullmatch(text):
        return None
    return int(text.replace("-", "")[:12], 16)
