"""A new key never has more than its maker (row B15)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.auth.caller import Caller
from sealgate.auth.scope import Scope, granted, require_choosable
from sealgate.config_tables import Budget, Limits
from sealgate.errors import Problem

BOUND = st.none() | st.integers(1, 5)
LIMITS = st.none() | st.builds(Limits, requests_per_minute=BOUND, concurrency=BOUND)
NAMES = st.sampled_from(["a", "b", "c"])


def caller(**fields: Any) -> Caller:
    return Caller(customer_id="default", key_id="k", **fields)


@given(
    LIMITS, LIMITS, st.none() | st.frozensets(NAMES), st.none() | st.lists(NAMES, min_size=1),
    st.none() | st.integers(1, 9), st.none() | st.integers(1, 9),
)  # fmt: skip
def test_row_b15_what_is_granted_is_within_what_the_maker_has(
    own: Limits | None, wanted: Limits | None, models: frozenset[str] | None, asked: list[str] | None,
    ends: int | None, until: int | None,
) -> None:  # fmt: skip
    maker = caller(limits=own, models=models, expires_at=ends)
    try:
        scope = granted(maker, Scope(asked, wanted, None, until))
    except Problem:
        return
    for name in Limits.__struct_fields__:
        most = getattr(own, name, None)
        given = getattr(scope.limits, name, None)
        assert most is None or (given is not None and given <= most)
        assert getattr(wanted, name, None) in (None, given)
    assert models is None or (scope.models is not None and set(scope.models) <= models)
    assert ends is None or (scope.expires_at is not None and scope.expires_at <= ends)


def test_who_is_not_bound_gives_what_is_asked() -> None:
    asked = Scope(["a"], Limits(concurrency=2), Budget(Decimal(5)), 7)
    assert granted(caller(), asked) == asked
    assert granted(caller(), Scope()) == Scope()


def test_a_users_keys_outlive_the_token() -> None:
    assert granted(caller(user_id="ada", expires_at=5), Scope(expires_at=9)).expires_at == 9
    assert granted(caller(user_id="ada", expires_at=5), Scope()).expires_at is None


def test_row_b15_a_budget_is_not_shared_out() -> None:
    with pytest.raises(Problem, match="scope_exceeds_caller"):
        granted(caller(budget=Budget(Decimal(5))), Scope(budget=Budget(Decimal(1))))


@given(LIMITS, LIMITS, LIMITS)
def test_row_b15_the_usual_limits_bind_a_user_who_has_none(
    own: Limits | None, wanted: Limits | None, usual: Limits | None
) -> None:
    """What holds for the key is never more than what holds for its maker."""

    def holds(limits: Limits | None) -> Limits:
        return (limits if limits != Limits() else None) or usual or Limits()

    maker = caller(limits=own, user_id="ada")
    try:
        scope = granted(maker, Scope(limits=wanted), usual)
    except Problem:
        return
    for name in Limits.__struct_fields__:
        most, given = getattr(holds(own), name), getattr(holds(scope.limits), name)
        assert most is None or (given is not None and given <= most)


def test_an_administrator_may_go_beyond_the_usual_limits() -> None:
    usual, wanted = Limits(requests_per_minute=4), Limits(requests_per_minute=40)
    assert granted(caller(is_admin=True), Scope(limits=wanted), usual).limits == wanted
    with pytest.raises(Problem, match="scope_exceeds_caller"):
        granted(caller(user_id="ada"), Scope(limits=wanted), usual)


def test_who_names_no_limits_has_the_usual_ones_as_they_are_at_the_time() -> None:
    assert granted(caller(user_id="ada"), Scope(), Limits(requests_per_minute=4)).limits is None


def test_row_b15_a_default_key_is_measured_by_what_holds_for_it() -> None:
    usual, user = Limits(requests_per_minute=4), caller(user_id="ada")
    require_choosable(user, None, usual)
    require_choosable(user, Limits(requests_per_minute=3), usual)
    with pytest.raises(Problem, match="scope_exceeds_caller"):
        require_choosable(user, Limits(requests_per_minute=5), usual)
