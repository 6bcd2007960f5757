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


def test_only_the_requests_own_faults_keep_the_walk_from_going_on() -> None:
    final = {status for status in range(100, 1000) if by_status(status).final}
    assert final
    assert final <= set(range(400, 500))
