"""What Google's errors say about a route, whatever form they come in."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from sealgate.errors import Failure
from sealgate.providers.gemini_errors import BY_STATUS, failure, refused, status_in


def error(status: int, word: str, message: str = "m", *details: Any) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": word, "details": list(details)}}


def quota(quota_id: str, **fields: Any) -> dict[str, Any]:
    kind = "type.googleapis.com/google.rpc.QuotaFailure"
    return {"@type": kind, "violations": [{"quotaMetric": "m", "quotaId": quota_id, **fields}]}


def retry(delay: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


INVALID_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


@pytest.mark.parametrize(("status", "word", "message", "class_"), [
    (400, "INVALID_ARGUMENT", "Bad.", Failure.INVALID_REQUEST),
    (400, "FAILED_PRECONDITION", "Bad.", Failure.INVALID_REQUEST),
    (400, "OUT_OF_RANGE", "Bad.", Failure.INVALID_REQUEST),
    (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", Failure.CREDENTIAL),
    (400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", Failure.CREDENTIAL),
    (400, "FAILED_PRECONDITION", "User location is not supported for the API use.", Failure.CREDENTIAL),
    (400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8).",
     Failure.CONTEXT_LENGTH),
    (401, "UNAUTHENTICATED", "Who?", Failure.CREDENTIAL),
    (402, "PERMISSION_DENIED", "Prepaid credits are used up.", Failure.QUOTA),
    (403, "PERMISSION_DENIED", "No.", Failure.CREDENTIAL),
    (404, "NOT_FOUND", "models/x is not found", Failure.MODEL_GONE),
    (429, "RESOURCE_EXHAUSTED", "Later.", Failure.RATE_LIMITED),
    (499, "CANCELLED", "Cancelled.", Failure.SERVER_ERROR),
    (500, "INTERNAL", "Oops.", Failure.SERVER_ERROR),
    (503, "UNAVAILABLE", "The model is overloaded.", Failure.OVERLOADED),
    (504, "DEADLINE_EXCEEDED", "Late.", Failure.TIMEOUT),
])  # fmt: skip
@pytest.mark.parametrize("wrapped", [False, True])
def test_each_status_has_its_class(status: int, word: str, message: str, class_: Failure, wrapped: bool) -> None:
    """Also in the list of one that streams without events answer with."""
    body = error(status, word, message)
    found = failure(status, {}, json.dumps([body] if wrapped else body).encode())
    assert (found.failure, found.text, found.status) == (class_, message, status)


@pytest.mark.parametrize(("status", "body", "class_"), [
    (500, b"", Failure.SERVER_ERROR), (429, b"<html>", Failure.RATE_LIMITED), (503, b"[]", Failure.OVERLOADED),
    (404, b"null", Failure.MODEL_GONE), (307, b"", Failure.REDIRECT),
    (400, b'{"error": "text"}', Failure.INVALID_REQUEST),
    (429, b'{"error": {"code": 429, "message": "no word"}}', Failure.RATE_LIMITED),
])  # fmt: skip
def test_without_googles_own_words_the_status_of_http_decides(status: int, body: bytes, class_: Failure) -> None:
    assert failure(status, {}, body).failure is class_


def test_a_key_that_is_told_to_be_invalid_by_its_reason_alone() -> None:
    body = json.dumps(error(400, "INVALID_ARGUMENT", "Kaputt.", INVALID_KEY)).encode()
    assert failure(400, {}, body).failure is Failure.CREDENTIAL


@pytest.mark.parametrize(("details", "message", "class_", "wait"), [
    ([quota("GenerateRequestsPerMinutePerProjectPerModel", quotaValue="1000"), retry("48s")], "m",
     Failure.RATE_LIMITED, 48),
    ([retry("0.5s")], "m", Failure.RATE_LIMITED, 0.5),
    ([quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", quotaValue="50"), retry("30s")], "m",
     Failure.QUOTA, 30),
    ([quota("XPerMinute"), quota("YPerDay")], "m", Failure.QUOTA, 7),
    ([quota("XPerMinute", quotaValue="0")], "m", Failure.QUOTA, 7),
    ([], "* Quota exceeded for metric: requests, limit: 0\nPlease retry in 3s.", Failure.QUOTA, 7),
    ([], "* Quota exceeded for metric: requests, limit: 0.5, model: x", Failure.RATE_LIMITED, 7),
    ([], "* Quota exceeded for metric: requests, limit: 1000000", Failure.RATE_LIMITED, 7),
    (["x", {"violations": None}, {"violations": ["x"]}, {"retryDelay": 3}], "m", Failure.RATE_LIMITED, 7),
    ([{"violations": 5}, 5], "m", Failure.RATE_LIMITED, 7),
])  # fmt: skip
def test_a_minutes_quota_passes_and_a_days_does_not(details: Any, message: str, class_: Failure, wait: float) -> None:
    """How long to wait is in the details, else in the header."""
    body = json.dumps(error(429, "RESOURCE_EXHAUSTED", message, *details)).encode()
    found = failure(429, {"retry-after": "7"}, body)
    assert (found.failure, found.retry_after) == (class_, wait)


@pytest.mark.parametrize(("given", "status", "class_"), [
    ({"code": 503, "message": "m", "status": "UNAVAILABLE"}, 503, Failure.OVERLOADED),
    ({"code": 14, "message": "m", "status": "UNAVAILABLE"}, 500, Failure.OVERLOADED),
    ({"message": "m"}, 500, Failure.SERVER_ERROR),
    ("text", 500, Failure.SERVER_ERROR),
])  # fmt: skip
def test_an_error_in_place_of_an_answer_has_the_status_that_it_names(given: Any, status: int, class_: Failure) -> None:
    found = refused(given)
    assert (found.status, found.failure) == (status, class_)


def test_details_that_are_no_list_say_nothing() -> None:
    body = json.dumps({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE", "details": 5}}).encode()
    assert failure(503, {}, body).failure is Failure.OVERLOADED


def test_only_googles_own_errors_are_its_own() -> None:
    assert status_in(json.dumps(error(429, "RESOURCE_EXHAUSTED")).encode()) is not None
    assert status_in(b'{"type": "error", "error": {"type": "overloaded_error", "message": "m"}}') is None


def test_every_class_stands_for_a_failure_that_another_route_may_not_meet() -> None:
    assert not any(class_.final for class_ in BY_STATUS.values())


def test_a_long_error_that_repeats_the_sign_of_another_is_read_at_once() -> None:
    """A text of 240 KB that begins over and over like the sentence about too many tokens took 20 s to read."""
    body = json.dumps(error(400, "INVALID_ARGUMENT", "token count " * 20_000)).encode()
    started = time.process_time()
    assert failure(400, {}, body).failure is Failure.INVALID_REQUEST
    assert time.process_time() - started < 2
