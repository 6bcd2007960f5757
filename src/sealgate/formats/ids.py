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


_SEVEN = bytes(0x70 | byte & 0x0F for byte in range(256))
"""The byte with the version in its upper half and four bits of noise below."""
_VARIANT = bytes(0x80 | byte & 0x3F for byte in range(256))
"""The byte with RFC 9562's variant 10 in its upper bits and six bits of noise below."""

_pool: deque[str] = deque()
"""Ends of ids that wait for their time. Taking and adding are atomic, so any thread may make ids."""


def _fill() -> str:
    """Fetch noise for many ids; return the end of one: version 7, 12 random bits, variant 10, 62 random bits."""
    noise = bytearray(os.urandom(10 * POOL))
    noise[0::10] = noise[0::10].translate(_SEVEN)
    noise[2::10] = noise[2::10].translate(_VARIANT)
    _pool.extend(noise.hex(" ", 10).split())
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
