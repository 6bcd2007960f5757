"""Where a caller stands with its limits, as response headers in the two forms that clients read."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import lru_cache

from sealgate.limits.limiter import Standing

Headers = list[tuple[bytes, bytes]]
Fixed = tuple[tuple[bytes, bytes], ...]


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
        left = b"%d" % requests.remaining
        found += _of_requests(requests.rule.limit, math.ceil(now + requests.reset))
        found += ((b"x-ratelimit-remaining", left), (b"x-ratelimit-remaining-requests", left))
    if tokens is not None:
        found += _of_tokens(tokens.rule.limit, math.ceil(now + tokens.reset))
        found.append((b"x-ratelimit-remaining-tokens", b"%d" % tokens.remaining))
    return found


def _tighter(one: Standing, other: Standing) -> Standing:
    if one.remaining == other.remaining:
        return one if one.rule.limit < other.rule.limit else other
    return one if one.remaining < other.remaining else other


@lru_cache(1024)
def _of_requests(limit: int, reset: int) -> Fixed:
    """What is the same for all who have this limit and this second: written once."""
    limited = b"%d" % limit
    return (
        (b"x-ratelimit-limit", limited),
        (b"x-ratelimit-reset", b"%d" % reset),
        (b"x-ratelimit-limit-requests", limited),
        (b"x-ratelimit-reset-requests", _iso(reset)),
    )


@lru_cache(1024)
def _of_tokens(limit: int, reset: int) -> Fixed:
    return ((b"x-ratelimit-limit-tokens", b"%d" % limit), (b"x-ratelimit-reset-tokens", _iso(reset)))


def _iso(seconds: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)).encode("ascii")
