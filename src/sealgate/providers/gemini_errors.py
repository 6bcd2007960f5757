"""What Google's errors say about a route.

Source: ``google.rpc.Status`` and its details (``google/rpc/error_details.proto``), and the Gemini API's troubleshooting
page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.providers import openai
from sealgate.providers.base import Json
from sealgate.providers.openai import UNREADABLE

BY_STATUS = {
    "UNAUTHENTICATED": Failure.CREDENTIAL,
    "PERMISSION_DENIED": Failure.CREDENTIAL,
    "NOT_FOUND": Failure.MODEL_GONE,
    "RESOURCE_EXHAUSTED": Failure.RATE_LIMITED,
    "CANCELLED": Failure.SERVER_ERROR,
    "ABORTED": Failure.SERVER_ERROR,
    "UNKNOWN": Failure.SERVER_ERROR,
    "INTERNAL": Failure.SERVER_ERROR,
    "DATA_LOSS": Failure.SERVER_ERROR,
    "UNIMPLEMENTED": Failure.SERVER_ERROR,
    "UNAVAILABLE": Failure.OVERLOADED,
    "DEADLINE_EXCEEDED": Failure.TIMEOUT,
}
"""Canonical codes of ``google.rpc`` whose class does not depend on the rest."""
_TELLTALES = (
    (re.compile(r"API[ _]key (not valid|expired|not found)", re.IGNORECASE), Failure.CREDENTIAL),
    (re.compile(r"User location is not supported"), Failure.CREDENTIAL),
    (re.compile(r"token count.*exceeds the maximum number of tokens"), Failure.CONTEXT_LENGTH),
)
"""What INVALID_ARGUMENT and FAILED_PRECONDITION stand for by their sentence: there is no other sign of these."""
MAX_TEXT = 2000
"""As much of an error's sentence is read; it may repeat the caller's own words without end."""
_NONE = re.compile(r"limit: 0(?![\d.])")
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")

_encode = msgspec.json.Encoder().encode


def refused(error: Any) -> UpstreamError:
    """What an error that came in place of an answer says."""
    code = error.get("code") if isinstance(error, dict) else None
    status = code if type(code) is int and 400 <= code < 600 else 500
    found = failure(status, {}, _encode({"error": error}))
    found.status = status
    return found


def failure(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """By ``google.rpc.Status`` where there is one, else by the HTTP status."""
    found = openai.WIRE.failure(status, headers, body)
    error = status_in(body)
    if error is None or found.failure in (Failure.REDIRECT, Failure.QUOTA):
        return found
    details = _objects(error.get("details"))
    word, message = error.get("status"), str(error.get("message"))[:MAX_TEXT]
    if word in BY_STATUS:
        found.failure = BY_STATUS[word]
    elif word in ("INVALID_ARGUMENT", "FAILED_PRECONDITION"):
        found.failure = next((each for sign, each in _TELLTALES if sign.search(message)), found.failure)
    if any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
        found.failure = Failure.CREDENTIAL
    if found.failure is Failure.RATE_LIMITED:
        found.retry_after = _delay(details) or found.retry_after
        if _is_used_up(details, message):
            found.failure = Failure.QUOTA
    return found


def status_in(body: bytes) -> Json | None:
    """The ``google.rpc.Status`` in an error's body; it may stand in a list of one."""
    try:
        found = msgspec.json.decode(body)
    except UNREADABLE:
        return None
    if isinstance(found, list) and found:
        found = found[0]
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) and isinstance(error.get("status"), str) else None


def _objects(found: Any) -> list[Json]:
    """The objects in a list, where it is one."""
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _delay(details: Iterable[Json]) -> float | None:
    """Seconds by ``RetryInfo``, which writes them as ``48s``."""
    for detail in details:
        if found := _DELAY.fullmatch(str(detail.get("retryDelay"))):
            return float(found[1])
    return None


def _is_used_up(details: Iterable[Json], message: str) -> bool:
    """Whether what is exhausted is a day's quota, or one of nothing: waiting as long as callers do does not help."""
    violations = [each for detail in details for each in _objects(detail.get("violations"))]
    return _NONE.search(message) is not None or any(
        "PerDay" in str(each.get("quotaId")) or each.get("quotaValue") == "0" for each in violations
    )
