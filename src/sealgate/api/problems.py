"""From an exception to what the caller reads: the error envelope and its headers (``wire.md`` section 11)."""

from __future__ import annotations

from typing import Any

import msgspec

from sealgate.errors import Problem

Headers = list[tuple[bytes, bytes]]

_encode = msgspec.json.Encoder().encode


def envelope(problem: Problem, *, with_detail: bool = False) -> bytes:
    """The JSON body: ``{"error": {...}}``, and under ``/api/v1`` also the ``detail`` list for a malformed body."""
    body: dict[str, Any] = {"error": problem.body()}
    if with_detail:
        body["detail"] = [{"loc": ["body", *item.loc], "msg": item.msg, "type": item.kind} for item in problem.details]
    return _encode(body)


def headers(problem: Problem, body: bytes) -> Headers:
    """Response headers of an error, the request id excepted."""
    found: Headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if problem.retry_after is not None:
        found.append((b"retry-after", str(problem.retry_after).encode()))
    if problem.code.should_retry is not None:
        found.append((b"x-should-retry", b"true" if problem.code.should_retry else b"false"))
    if problem.status == 401:
        found.append((b"www-authenticate", b"Bearer"))
    return found
