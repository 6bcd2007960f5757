"""Where a caller stands with its limits, as response headers in the two forms that clients read."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import lru_cache

from sealgate.limits.limiter import Standing

Headers = list[tuple[bytes, bytes]]


def headers(standings: Sequence[Standing], now: float) -> Headers:
    """``X-RateLimit-{Limit,Remaining,Reset}`` of the tightest window of requests, and the same with ``-Requests``; of
    the tightest window of tokens with ``-Tokens``. The tightest is the one with the least left.

    ``now`` is in Unix seconds. The plain reset is in whole Unix seconds, the others are in ISO 8601: when more is free
    again, not when all is. Empty where no window is limited.
    """
    requests = tokens = None
    for each in standings:
        if each.rule.of_tokens:
            tokens = each if tokens is None else _tighter(each, tokens)
        else:
            requests = each if requests is None else _tighter(each, requests)
    found: Headers = []
    if requests is not None:
        limit, remaining, reset = _values(requests, now)
        found += (
            (b"x-ratelimit-limit", limit),
            (b"x-ratelimit-remaining", remaining),
            (b"x-ratelimit-reset", b"%d" % reset),
            (b"x-ratelimit-limit-requests", limit),
            (b"x-ratelimit-remaining-requests", remaining),
            (b"x-ratelimit-reset-requests", _iso(reset)),
        )
    if tokens is not None:
        limit, remaining, reset = _values(tokens, now)
        found += (
            (b"x-ratelimit-limit-tokens", limit),
            (b"x-ratelimit-remaining-tokens", remaining),
            (b"x-ratelimit-reset-tokens", _iso(reset)),
        )
    return found


def _tighter(one: Standing, other: Standing) -> Standing:
    if one.remaining == other.remaining:
        return one if one.rule.limit < other.rule.limit else other
    return one if one.remaining < other.remaining else other


def _values(standing: Standing, now: float) -> tuple[bytes, bytes, int]:
    return b"%d" % standing.rule.limit, b"%d" % standing.remaining, math.ceil(now + standing.reset)


@lru_cache(1024)
def _iso(seconds: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)).encode("ascii")
