"""What errors of the Messages API say about a route.

Source: platform.claude.com/docs/en/api/errors. The type of an error decides, the status where there is none. Two
things have no type of their own and are told by their text: a prompt that is too long, and one's own spending limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.formats.waits import retry_after
from sealgate.providers.base import Json
from sealgate.providers.statuses import by_status

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BY_TYPE = {
    "invalid_request_error": Failure.INVALID_REQUEST,
    "authentication_error": Failure.CREDENTIAL,
    "billing_error": Failure.QUOTA,
    "permission_error": Failure.CREDENTIAL,
    "not_found_error": Failure.MODEL_GONE,
    "conflict_error": Failure.SERVER_ERROR,
    "request_too_large": Failure.REQUEST_TOO_LARGE,
    "rate_limit_error": Failure.RATE_LIMITED,
    "api_error": Failure.SERVER_ERROR,
    "timeout_error": Failure.TIMEOUT,
    "overloaded_error": Failure.OVERLOADED,
}
_SPENT = ("you have reached your specified api usage limits", "credit balance is too low")
_TOO_LONG = ("prompt is too long", "exceed context limit", "exceeds the context", "exceed the context")
SPEND_LIMIT = "enforced_spend_limit_reached"
"""``error.details.error_code`` of a 429 that waiting does not help."""


def failure(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """An answer that is not a success."""
    if 300 <= status < 400:
        return UpstreamError(Failure.REDIRECT, status=status)
    try:
        document = msgspec.json.decode(body)
    except _UNREADABLE:
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    return _read(error if error is not None else document, status, retry_after(headers))


def error_in(document: Json) -> UpstreamError:
    """An error that came in the place of an answer, or in its middle."""
    return _read(document.get("error") or document, None, None)


def _read(error: Any, status: int | None, retry_after: float | None) -> UpstreamError:
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        error = {}
    text = error.get("message")
    text = text if isinstance(text, str) else ""
    return UpstreamError(_class_of(error, text.lower(), status), text, status=status, retry_after=retry_after)


def _class_of(error: Json, text: str, status: int | None) -> Failure:
    details = error.get("details")
    if isinstance(details, dict) and details.get("error_code") == SPEND_LIMIT:
        return Failure.QUOTA
    kind = error.get("type")
    found = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    if found is None:
        found = by_status(status)
    if found is Failure.INVALID_REQUEST:
        if any(words in text for words in _SPENT):
            return Failure.QUOTA
        if any(words in text for words in _TOO_LONG):
            return Failure.CONTEXT_LENGTH
    return found
