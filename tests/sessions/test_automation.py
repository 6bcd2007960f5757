"""Who wants sessions made, in memory; and how long sessions may last."""

from __future__ import annotations

import pytest

from sealgate.errors import Problem
from sealgate.sessions.automation import Automation, Settings, require_duration


def test_only_those_who_switched_it_on_are_in_memory() -> None:
    automation, ada, bob = Automation(), ("acme", "ada"), ("acme", None)
    automation.take([(ada, Settings(is_enabled=True, session_duration=60, created_at=1, updated_at=1))])
    automation.take([(bob, Settings(created_at=1, updated_at=1))])
    assert (automation.seconds(ada), automation.seconds(bob), bool(automation)) == (60, None, True)
    automation.take([(ada, Settings(created_at=1, updated_at=2))])
    assert not automation


@pytest.mark.parametrize("seconds", [60, 3600, 86400, None])
def test_durations_within_the_bounds_are_taken(seconds: int | None) -> None:
    require_duration(seconds, "session_duration")


@pytest.mark.parametrize("seconds", [59, 86401, 0, -60, 10**30])
def test_other_durations_are_refused_with_the_bounds(seconds: int) -> None:
    with pytest.raises(Problem) as refused:
        require_duration(seconds, "session_duration")
    assert (refused.value.status, refused.value.param) == (400, "session_duration")
    assert refused.value.message == "The session duration must be between 60 and 86400 seconds."
