"""The bodies of the sandbox's faults: what a provider says when it fails, in OpenAI's shape."""

from __future__ import annotations

from sealgate.providers.sandbox.refused import error_body

RETRY_AFTER = "1"
"""Seconds, sent with 429 and 503."""

_BY_STATUS: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "invalid_value"),
    401: ("authentication_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "permission_denied"),
    404: ("invalid_request_error", "model_not_found"),
    408: ("timeout_error", "request_timeout"),
    413: ("invalid_request_error", "request_too_large"),
    422: ("invalid_request_error", "unprocessable_entity"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("service_unavailable_error", "server_is_overloaded"),
    504: ("timeout_error", "timeout"),
    529: ("overloaded_error", "overloaded"),
}

HTML = b"<!doctype html>\n<html><title>Sandbox</title><body><p>This is a web page, not an answer.</p></body></html>\n"
NOT_JSON = b"{this is not JSON"
MIDDLE = error_body("The sandbox was told to fail here.", "server_error", "sandbox_error")


def failing(status: int) -> tuple[dict[str, str], bytes]:
    """Headers and body of an error with that HTTP status."""
    kind, code = _BY_STATUS.get(
        status, ("server_error", "server_error") if status >= 500 else ("invalid_request_error", "sandbox_error")
    )
    headers = {"content-type": "application/json"}
    if status in (429, 503):
        headers["retry-after"] = RETRY_AFTER
    if 300 <= status < 400:
        headers["location"] = "https://sandbox.invalid/"
    return headers, error_body(f"The sandbox was told to fail with status {status}.", kind, code)


def out_of_quota() -> bytes:
    """The body of a 429 that says the money is gone, for which waiting does not help."""
    return error_body("The sandbox was told to have no quota left.", "insufficient_quota", "insufficient_quota")
