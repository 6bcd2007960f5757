"""Retries in proportion to what is running."""

import asyncio

import pytest
from tests.gateway import Serve, provider

from sealgate.relay.budget import ALWAYS, SHARE, RetryBudget
from sealgate.testing import ScriptedUpstream, delayed, error


def test_a_few_retries_are_always_allowed() -> None:
    budget = RetryBudget()
    assert [budget.take("acme") for _ in range(ALWAYS + 1)] == [True] * ALWAYS + [False]


def test_row_p4_above_that_a_fifth_of_the_running_requests_may_be_retries() -> None:
    budget = RetryBudget()
    budget.active["acme"] = 200
    assert sum(budget.take("acme") for _ in range(200)) == 40


def test_what_is_given_back_can_be_taken_again() -> None:
    budget = RetryBudget()
    assert all(budget.take("acme") for _ in range(ALWAYS))
    budget.give_back("acme")
    assert [budget.take("acme"), budget.take("acme")] == [True, False]


def test_accounts_do_not_share_their_budgets() -> None:
    budget = RetryBudget()
    assert all(budget.take("acme") for _ in range(ALWAYS))
    assert budget.take("other")


@pytest.mark.anyio
async def test_row_p4_a_provider_that_always_fails_gets_a_fifth_more_requests_and_no_multiple(serve: Serve) -> None:
    """Fifty at a time, each of which might be tried six times. Once it is ejected, there are no retries at all."""
    async with ScriptedUpstream(default=delayed(0.05, error(500))) as upstream:
        async with serve({"acme": provider(upstream, retries=5)}) as gateway:
            for _ in range(2):
                replies = await asyncio.gather(*(gateway.chat() for _ in range(50)))
                assert {reply.code for reply in replies} == {"upstream_error"}
            assert not +gateway.hall.means.budget.active, "every attempt was given back"
        assert 100 < len(upstream.requests) <= 100 * (1 + SHARE) + ALWAYS


@pytest.mark.anyio
async def test_the_first_step_to_another_provider_is_free_and_further_ones_are_charged(serve: Serve) -> None:
    failing = {name: delayed(0.5, error(500)) for name in ("one", "two", "three")}
    async with serve(failing) as gateway:
        await asyncio.gather(*(gateway.chat() for _ in range(40)))
        asked = [len(gateway.upstreams[name].requests) for name in failing]
    assert asked[:2] == [40, 40]
    assert 0 < asked[2] <= 40 * SHARE + ALWAYS
