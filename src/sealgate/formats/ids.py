"""UUIDs of version 7 (RFC 9562, section 5.7): ids that sort by the time they were made."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from functools import lru_cache

POOL = 256
"""Ids whose noise is fetched from the system at once: the call costs more than all the rest."""

_SHAPE = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?7[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}", re.IGNORECASE)


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The digit with RFC 9562's variant 10 in its upper bits and two bits of noise below."""

_pool: deque[str] = deque()
"""Ends of ids that wait for their time. Taking and adding are atomic, so any thread may make ids."""


def _fill() -> str:
    """Fetch noise for many ids; return the end of one: version 7, 12 random bits, variant 10, 62 random bits."""
    noise = os.urandom(10 * POOL).hex()
    _pool.extend(
        f"7{noise[at : at + 3]}{_VARIANT[noise[at + 3]]}{noise[at + 4 : at + 19]}" for at in range(0, len(noise), 20)
    )
    return _pool.pop()


def uuid7_hex(now_ns: int | None = None) -> str:
    """A new id as 32 hex digits; the first 12 are Unix milliseconds."""
    try:
        end = _pool.pop()
    except IndexError:
        end = _fill()
    return _milliseconds((now_ns or time.time_ns()) // 1_000_000) + end


@lru_cache(16)
def _milliseconds(now: int) -> str:
    return f"{now:012x}"


def dashed(hex_id: str) -> str:
    """32 hex digits in the 8-4-4-4-12 form."""
    return f"{hex_id[:8]}-{hex_id[8:12]}-{hex_id[12:16]}-{hex_id[16:20]}-{hex_id[20:]}"


def uuid7_milliseconds(text: str) -> int | None:
    """Unix milliseconds of a version 7 UUID in either form, or None for anything else."""
    if not _SHAPE.fullmatch(text):
        return None
    return int(text.replace("-", "")[:12], 16)
