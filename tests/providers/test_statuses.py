"""What a status says by itself."""

import pytest

from sealgate.errors import Failure
from sealgate.providers.statuses import by_status


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (None, Failure.SERVER_ERROR),
        (200, Failure.BAD_RESPONSE),
        (204, Failure.BAD_RESPONSE),
        (400, Failure.INVALID_REQUEST),
        (401, Failure.CREDENTIAL),
        (402, Failure.QUOTA),
        (404, Failure.MODEL_GONE),
        (409, Failure.SERVER_ERROR),
        (418, Failure.INVALID_REQUEST),
        (429, Failure.RATE_LIMITED),
        (500, Failure.SERVER_ERROR),
        (529, Failure.OVERLOADED),
        (999, Failure.SERVER_ERROR),
    ],
)
def test_every_status_has_a_class(status: int | None, failure: Failure) -> None:
    assert by_status(status) is failure


@pytest.mark.parametrize("status", range(100, 1000))
def test_only_the_requests_own_faults_keep_the_walk_from_going_on(status: int) -> None:
    assert not by_status(status).final or 400 <= status < 500
