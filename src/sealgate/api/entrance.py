"""What a request passes before its endpoint is looked up: HTTPS where it is required, and CORS for web pages.

Off by default, and then not there at all: `entrance` gives the plain look-up. What the edge refuses before there is a
request (sizes, hosts, malformed heads) never comes here, and a browser does not show it to a page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from sealgate.api.call import Call, Headers
from sealgate.api.routes import Endpoint, Routes
from sealgate.config import Server, is_loopback
from sealgate.errors import Problem

Find = Callable[[Call], Endpoint]

MAX_AGE = b"600"
"""Seconds for which a browser may keep the answer to a preflight."""

METHODS = b"GET, HEAD, POST, PUT, DELETE"
REQUEST_HEADERS = re.compile(
    rb"accept|authorization|content-type|idempotency-key|x-api-key|x-request-id"
    rb"|(?:anthropic|openai|x-sealgate|x-stainless|x-tresor)-[a-z0-9-]+"
)
"""Headers a page may set, in lower case: the API's own, and those of OpenAI's and Anthropic's libraries."""

_RATES = [
    f"X-RateLimit-{what}{per}" for per in ("", "-Requests", "-Tokens") for what in ("Limit", "Remaining", "Reset")
]
EXPOSED = ", ".join(
    [
        "X-Request-ID",
        "X-Process-Time",
        "X-Tresor-Receipt-Id",
        "X-Tresor-Receipt",
        "X-Tresor-Cost",
        "X-Tresor-Session-Id",
        "X-Tresor-Episode-Id",
        "Retry-After",
        *_RATES,
    ]
).encode()
"""Response headers a page may read, besides the few that the Fetch standard always shows."""


_VARY: Headers = [(b"vary", b"Origin")]
"""Also for those who sent no origin, or a cache would give their answer to a page."""


def entrance(server: Server, routes: Routes) -> Find:
    """The look-up of endpoints behind what that configuration asks for."""
    find: Find = routes.find
    if server.require_https:
        find = secured(find)
    if server.cors_origins:  # the outer one, so that a page is shown the other's refusal too
        find = Cors(server.cors_origins, find)
    return find


def secured(find: Find) -> Find:
    """``find``, but 426 for plain HTTP from elsewhere than this machine."""

    def found(call: Call) -> Endpoint:
        client = call.scope.get("client")  # None: nobody knows who it is
        if call.scope["scheme"] != "https" and (client is None or not is_loopback(client[0])):
            raise Problem("https_required")
        return find(call)

    return found


class Cors:
    """The CORS protocol (Fetch standard, section 3.3) for a list of exact origins; ``*`` among them means any.

    Cookies and other credentials of the browser's own are never allowed: a key travels in a header that the page sets.
    """

    def __init__(self, origins: Iterable[str], find: Find) -> None:
        self._find = find
        self._granted = {origin: [*_grant(origin.encode("ascii")), *_VARY] for origin in origins}
        self._any = _grant(b"*") if "*" in self._granted else None

    def __call__(self, call: Call) -> Endpoint:
        granted = self._any or self._granted.get((call.header(b"origin") or b"").decode("latin-1"))
        call.extra = granted or _VARY
        asks = call.scope["method"] == "OPTIONS" and call.header(b"access-control-request-method") is not None
        return _preflight if granted and asks else self._find(call)


def _grant(origin: bytes) -> Headers:
    return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED)]


async def _preflight(call: Call) -> None:
    """A browser asks whether a page may send what it wants to send; the request itself may still be answered 404."""
    asked = (call.header(b"access-control-request-headers") or b"").lower().split(b",")
    allowed = [name for name in map(bytes.strip, asked) if REQUEST_HEADERS.fullmatch(name)]
    headers = [(b"access-control-allow-methods", METHODS), (b"access-control-max-age", MAX_AGE)]
    if allowed:
        headers.append((b"access-control-allow-headers", b", ".join(allowed)))
    await call.start(204, headers)
    await call.send({"type": "http.response.body", "body": b""})
