"""Errors in Anthropic's shape, for the endpoints that speak its dialect (platform.claude.com/docs/en/api/errors)."""

from __future__ import annotations

from typing import Any

from sealgate.api.problems import Headers, details
from sealgate.errors import Problem

TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""HTTP status to ``error.type``; every other 4xx is ``invalid_request_error``."""


def body(problem: Problem, request_id: str, *, with_detail: bool = False) -> dict[str, Any]:
    """``{"type": "error", "error": {"type", "message", …}, "request_id"}``; what else our errors say stands beside."""
    kind = TYPES.get(problem.status, "invalid_request_error")
    told: dict[str, Any] = {"type": "error", "error": {**problem.body(), "type": kind}, "request_id": request_id}
    if with_detail:
        told["detail"] = details(problem)
    return told


class AnthropicManner:
    """How these endpoints say what went wrong, and what their answers carry besides."""

    def envelope(self, problem: Problem, request_id: str, *, with_detail: bool) -> dict[str, Any]:
        return body(problem, request_id, with_detail=with_detail)

    def headers(self, request_id: str) -> Headers:
        return [(b"request-id", request_id.encode("ascii"))]


ANTHROPIC = AnthropicManner()
