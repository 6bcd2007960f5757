"""From an exception to what the caller reads: the error envelope and its headers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from sealgate.errors import Problem

Headers = list[tuple[bytes, bytes]]

_encode = msgspec.json.Encoder().encode


class MethodProblem(Problem):
    """405, which has to name the methods that there are (RFC 9110, 15.5.6)."""

    def __init__(self, methods: Iterable[str]) -> None:
        self.allowed = ", ".join(sorted(methods))
        super().__init__("method_not_allowed", f"Allowed here: {self.allowed}.")


class Manner(Protocol):
    """How an endpoint says what went wrong, and what its answers carry besides."""

    def envelope(self, problem: Problem, request_id: str, *, with_detail: bool) -> dict[str, Any]:
        """The JSON body of an error."""

    def headers(self, request_id: str) -> Headers:
        """Headers of every answer, an error or not."""


class OpenAIManner:
    """Ours, where an endpoint has none of its own."""

    def envelope(self, problem: Problem, request_id: str, *, with_detail: bool) -> dict[str, Any]:  # noqa: ARG002
        """``{"error": {...}}``, and under ``/api/v1`` also the ``detail`` list for a malformed body."""
        body: dict[str, Any] = {"error": problem.body()}
        if with_detail:
            body["detail"] = details(problem)
        return body

    def headers(self, request_id: str) -> Headers:  # noqa: ARG002
        return []


OPENAI = OpenAIManner()


def envelope(problem: Problem, *, with_detail: bool = False) -> bytes:
    """An error as our own endpoints say it."""
    return _encode(OPENAI.envelope(problem, "", with_detail=with_detail))


def details(problem: Problem) -> list[dict[str, Any]]:
    """Every wrong place of a malformed request, in S3's form."""
    return [{"loc": [each.place, *each.loc], "msg": each.msg, "type": each.kind} for each in problem.details]


def headers(problem: Problem, body: bytes) -> Headers:
    """Response headers of an error, the request id excepted."""
    found: Headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if problem.retry_after is not None:
        found.append((b"retry-after", str(problem.retry_after).encode()))
    if problem.code.should_retry is not None:
        found.append((b"x-should-retry", b"true" if problem.code.should_retry else b"false"))
    if problem.status == 401:
        # RFC 6750, 3: the error is named where there was a credential, and only there.
        sent = problem.code.name != "missing_api_key"
        found.append((b"www-authenticate", b'Bearer error="invalid_token"' if sent else b"Bearer"))
    if problem.status == 426:
        found.append((b"upgrade", b"TLS/1.2, HTTP/1.1"))  # RFC 9110, 15.5.22, in the form of RFC 2817, 4.2
    if isinstance(problem, MethodProblem):
        found.append((b"allow", problem.allowed.encode()))
    return found
