"""What an HTTP status says about a route, where nothing else tells: the same for every wire.

A provider's own codes stand above it, in the file of its wire.
"""

from __future__ import annotations

from sealgate.errors import Failure

_KNOWN = {
    400: Failure.INVALID_REQUEST,
    401: Failure.CREDENTIAL,
    402: Failure.QUOTA,
    403: Failure.CREDENTIAL,
    404: Failure.MODEL_GONE,
    408: Failure.TIMEOUT,
    413: Failure.REQUEST_TOO_LARGE,
    422: Failure.UNPROCESSABLE,
    429: Failure.RATE_LIMITED,
    503: Failure.OVERLOADED,
    504: Failure.TIMEOUT,
    529: Failure.OVERLOADED,
}
_SERVERS_OWN = frozenset({405, 409, 412, 424, 425})
"""Refusals that another route may not repeat."""


def by_status(status: int | None) -> Failure:
    """The class of an answer that is not a success; None is for an error that came without a status."""
    if status in _KNOWN:
        return _KNOWN[status]
    if status is None or status >= 500 or status in _SERVERS_OWN:
        return Failure.SERVER_ERROR
    return Failure.INVALID_REQUEST if 400 <= status < 500 else Failure.BAD_RESPONSE
