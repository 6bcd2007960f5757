"""The error envelope and its headers."""

import json

import msgspec
import pytest

from sealgate.api import problems
from sealgate.api.shapes import ErrorEnvelope
from sealgate.errors import CODES, Detail, Failure, Problem


@pytest.mark.parametrize("name", CODES)
def test_every_code_makes_a_valid_envelope(name: str) -> None:
    body = problems.envelope(Problem(name))
    envelope = msgspec.json.decode(body, type=ErrorEnvelope)
    assert envelope.error.code == name
    assert envelope.error.status == CODES[name].status
    assert envelope.error.message.endswith(".")
    assert dict(problems.headers(Problem(name), body))[b"content-length"] == str(len(body)).encode()


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_class_has_a_public_code(failure: Failure) -> None:
    assert failure.value in CODES


def test_statuses_and_types_agree() -> None:
    types = {400: "invalid_request_error", 401: "authentication_error", 402: "insufficient_quota",
             403: "permission_error", 429: "rate_limit_error", 500: "server_error", 502: "upstream_error",
             503: "overloaded_error", 504: "timeout_error"}  # fmt: skip
    for code in CODES.values():
        assert code.type == types.get(code.status, "invalid_request_error"), code.name


def test_no_code_both_asks_to_wait_and_not_to_retry() -> None:
    """With both, the official SDK does not retry."""
    assert not [code.name for code in CODES.values() if code.retry_after is not None and code.should_retry is False]


def test_a_5xx_always_tells_the_sdk_what_to_do() -> None:
    silent = [c.name for c in CODES.values() if c.status >= 500 and c.retry_after is None and c.should_retry is None]
    assert silent == []


def test_headers_say_when_to_come_back() -> None:
    problem = Problem("overloaded", retry_after=7)
    assert (b"retry-after", b"7") in problems.headers(problem, b"")
    assert (b"x-should-retry", b"false") in problems.headers(Problem("upstream_error"), b"")
    assert (b"www-authenticate", b"Bearer") in problems.headers(Problem("missing_api_key"), b"")


def test_details_take_the_form_of_s3() -> None:
    problem = Problem("invalid_parameter", details=[Detail(("messages", 0, "role"), "bad", "value_error")])
    assert json.loads(problems.envelope(problem, with_detail=True))["detail"] == [
        {"loc": ["body", "messages", 0, "role"], "msg": "bad", "type": "value_error"}
    ]
    assert "detail" not in json.loads(problems.envelope(problem))


def test_attempts_are_listed_when_there_were_any() -> None:
    problem = Problem("upstream_error", attempts=[{"route": "a/b/c", "outcome": "reset", "status": None}])
    assert msgspec.json.decode(problems.envelope(problem), type=ErrorEnvelope).error.attempts[0].route == "a/b/c"
