"""How long an HTTP answer asks to wait before the next try (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_SECONDS = (("retry-after-ms", 0.001), ("retry-after", 1.0))


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds from now, by ``retry-after-ms`` or ``retry-after`` (a number or a date); None without a usable wish.

    Header names are in lower case; ``now`` is unix seconds.
    """
    for name, scale in _SECONDS:
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * scale
        except ValueError:
            seconds = _until(text, time.time() if now is None else now)
        if seconds > 0 and not math.isnan(seconds):
            return seconds
    return None


def _until(text: str, now: float) -> float:
    try:
        return parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
