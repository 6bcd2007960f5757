"""The verdict: what failed attempts come to, as the one error that the caller is told."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from sealgate.errors import CODES, Failure, Problem, UpstreamError
from sealgate.relay.catalog import Route

MAX_TEXT = 500
MAX_RETRY_AFTER = 120

_BROKEN_STREAM = {
    Failure.TRUNCATED: "upstream_stream_truncated",
    Failure.RESET: "upstream_stream_reset",
    Failure.STALLED: "upstream_stream_timeout",
    Failure.BAD_STREAM: "upstream_bad_stream",
    Failure.BAD_RESPONSE: "upstream_bad_stream",
    Failure.TOO_LARGE: Failure.TOO_LARGE.value,
}
"""How a stream broke, as the caller is told it; all else is ``upstream_error``."""
_TIMED_OUT = {Failure.TIMEOUT, Failure.CONNECT_TIMEOUT}
_TELLING = {
    Failure.INVALID_REQUEST,
    Failure.UNPROCESSABLE,
    Failure.REQUEST_TOO_LARGE,
    Failure.UNSUPPORTED,
    Failure.PARAMETER,
    Failure.MEDIA,
    Failure.MEDIA_FETCH,
    Failure.MODEL_GONE,
    Failure.CONTEXT_LENGTH,
}
"""Classes about the caller's own request: the provider's sentence is shown, sanitised."""
_SECRET = re.compile(r"\b(?:sk|pk|key|tr|xai|gsk|AIza)[-_][\w.*-]{6,}|\bBearer\s+\S+|\b[A-Za-z0-9+/_-]{40,}\b")
_PLACE = re.compile(r"https?://\S+|(?<![\w/])/(?:[\w.-]+/)+[\w.-]*")


class Outcome(msgspec.Struct, frozen=True):
    """How one attempt ended, for the caller's ``error.attempts`` and for the operator."""

    route: Route
    failure: Failure | None
    status: int | None
    seconds: float

    def render(self) -> dict[str, Any]:
        outcome = self.failure.name.lower() if self.failure else "ok"
        return {"route": self.route.id, "outcome": outcome, "status": self.status}


def broken(failure: Failure, outcomes: Sequence[Outcome]) -> Problem:
    """The error for an answer that broke on its way to the caller."""
    return Problem(_BROKEN_STREAM.get(failure, "upstream_error"), attempts=rendered(outcomes))


def verdict(errors: Sequence[UpstreamError], outcomes: Sequence[Outcome]) -> Problem:
    """One answer for all failures: that of their class where they agree, else ``upstream_error``.

    ``errors`` are those that speak against the targets, at least one; the last is that of the last attempt.
    """
    last = errors[-1]
    failures = {error.failure for error in errors}
    attempts = rendered(outcomes)
    if len(failures) > 1 and not last.failure.final:
        if failures <= _TIMED_OUT:
            return Problem("upstream_timeout", attempts=attempts)
        return Problem("upstream_error", "Every route failed.", attempts=attempts)
    code = last.failure.value
    told = last.failure in _TELLING and last.text
    waits = [error.retry_after for error in errors if error.retry_after is not None]
    return Problem(
        code,
        sanitise(last.text, outcomes[-1].route.account.secrets) if told else None,
        param=last.param if told else None,
        retry_after=_whole_seconds(min(waits)) if waits and CODES[code].retry_after is not None else None,
        attempts=attempts,
    )


def rendered(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The caller's ``error.attempts``."""
    return [outcome.render() for outcome in outcomes]


def _whole_seconds(seconds: float) -> int:
    return math.ceil(min(MAX_RETRY_AFTER, max(1.0, seconds)))


def sanitise(text: str, secrets: Iterable[str] = ()) -> str:
    """A provider's sentence without its key, nor what could be a key, an address or a path, and not too long."""
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    text = "".join(character if character.isprintable() else " " for character in text[: MAX_TEXT * 4])
    text = _SECRET.sub("[redacted]", _PLACE.sub("[redacted]", text))
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
