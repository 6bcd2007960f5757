"""Where a caller stands with its limits, as response headers in the two forms that clients read."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import lru_cache

from sealgate.limits.limiter import Standing

Headers = list[tuple[bytes, bytes]]

_PLAIN = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")
_REQUESTS = tuple(name + b"-requests" for name in _PLAIN)
_TOKENS = tuple(name + b"-tokens" for name in _PLAIN)


def headers(standings: Sequence[Standing], now: float) -> Headers:
    """``X-RateLimit-{Limit,Remaining,Reset}`` of the tightest window of requests, and the same with ``-Requests``; of
    the tightest window of tokens with ``-Tokens``. The tightest is the one with the least left.

    ``now`` is in Unix seconds. The plain reset is in whole Unix seconds, the others are in ISO 8601: when more is free
    again, not when all is. Empty where no window is limited.
    """
    found: Headers = []
    requests = _tightest([each for each in standings if not each.rule.of_tokens])
    if requests is not None:
        limit, remaining = b"%d" % requests.rule.limit, b"%d" % requests.remaining
        reset = math.ceil(now + requests.reset)
        found += ((_PLAIN[0], limit), (_PLAIN[1], remaining), (_PLAIN[2], b"%d" % reset))
        found += ((_REQUESTS[0], limit), (_REQUESTS[1], remaining), (_REQUESTS[2], _iso(reset)))
    tokens = _tightest([each for each in standings if each.rule.of_tokens])
    if tokens is not None:
        reset = math.ceil(now + tokens.reset)
        limit, remaining = b"%d" % tokens.rule.limit, b"%d" % tokens.remaining
        found += ((_TOKENS[0], limit), (_TOKENS[1], remaining), (_TOKENS[2], _iso(reset)))
    return found


def _tightest(standings: Sequence[Standing]) -> Standing | None:
    if len(standings) < 2:
        return standings[0] if standings else None
    return min(standings, key=lambda each: (each.remaining, each.rule.limit))


@lru_cache(1024)
def _iso(seconds: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)).encode("ascii")
