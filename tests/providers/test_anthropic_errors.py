"""What errors of the Messages API say about a route."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealgate.errors import Failure
from sealgate.providers.anthropic_errors import error_in, failure


def body(kind: str | None, text: str = "No.", **more: Any) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": text, **more}, "request_id": "r"}).encode()


LIMIT = {"error_code": "enforced_spend_limit_reached"}


@pytest.mark.parametrize(
    ("status", "sent", "wanted"),
    [
        (400, body("invalid_request_error"), Failure.INVALID_REQUEST),
        (400, body("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
         Failure.CONTEXT_LENGTH),
        (400, body("invalid_request_error", "input length and `max_tokens` exceed context limit: 190000 + 20000"),
         Failure.CONTEXT_LENGTH),
        (400, body("invalid_request_error", "You have reached your specified API usage limits. You will regain access"),
         Failure.QUOTA),
        (400, body("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
         Failure.QUOTA),
        (401, body("authentication_error"), Failure.CREDENTIAL),
        (402, body("billing_error"), Failure.QUOTA),
        (403, body("permission_error"), Failure.CREDENTIAL),
        (404, body("not_found_error", "model: claude-0"), Failure.MODEL_GONE),
        (409, body("conflict_error"), Failure.SERVER_ERROR),
        (413, body("request_too_large"), Failure.REQUEST_TOO_LARGE),
        (429, body("rate_limit_error"), Failure.RATE_LIMITED),
        (429, body("rate_limit_error", details=LIMIT), Failure.QUOTA),
        (429, body("rate_limit_error", "Your prompt is too long for this rate"), Failure.RATE_LIMITED),
        (500, body("api_error"), Failure.SERVER_ERROR),
        (504, body("timeout_error"), Failure.TIMEOUT),
        (529, body("overloaded_error"), Failure.OVERLOADED),
        # What is between us and the provider, or a host of another kind.
        (302, b"", Failure.REDIRECT),
        (400, b'{"message":"prompt is too long"}', Failure.CONTEXT_LENGTH),
        (413, b"<html>too large</html>", Failure.REQUEST_TOO_LARGE),
        (418, b"[]", Failure.INVALID_REQUEST),
        (422, b'{"error":"no"}', Failure.UNPROCESSABLE),
        (429, b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"slow"}}', Failure.RATE_LIMITED),
        (502, b"\xff", Failure.SERVER_ERROR),
        (503, b'{"error":{"type":17,"message":18}}', Failure.OVERLOADED),
        (529, b"", Failure.OVERLOADED),
        (205, b"", Failure.BAD_RESPONSE),
    ],
)  # fmt: skip
def test_an_error_says_what_became_of_the_route(status: int, sent: bytes, wanted: Failure) -> None:
    found = failure(status, {}, sent)
    assert (found.failure, found.status) == (wanted, status)


def test_the_providers_own_sentence_and_wish_are_kept() -> None:
    found = failure(429, {"retry-after": "7"}, body("rate_limit_error", "Slow down."))
    assert (found.text, found.retry_after) == ("Slow down.", 7.0)
    assert failure(429, {"retry-after": "Wed, 21 Oct 2020 07:28:00 GMT"}, b"").retry_after is None
    assert failure(429, {"retry-after": "-1"}, b"").retry_after is None


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("overloaded_error", Failure.OVERLOADED), ("rate_limit_error", Failure.RATE_LIMITED),
     ("invalid_request_error", Failure.INVALID_REQUEST), ("something_new", Failure.SERVER_ERROR)],
)  # fmt: skip
def test_an_error_inside_a_stream_has_a_class_without_a_status(kind: str, wanted: Failure) -> None:
    found = error_in(json.loads(body(kind, "Overloaded")))
    assert (found.failure, found.text, found.status) == (wanted, "Overloaded", None)
