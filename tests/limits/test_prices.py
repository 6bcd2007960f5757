"""Prices: exact whatever the counts, one rounding, and what cannot be a price is refused."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.config_routes import Route
from sealgate.limits.prices import FREE, PRICES, Tariff, nano, shown, tariff

COUNTS = st.integers(0, 10**12)
AMOUNTS = st.decimals(0, 10**6, places=12, allow_nan=False)
ROUTES = st.fixed_dictionaries(
    {"input_per_mtok": AMOUNTS, "output_per_mtok": AMOUNTS},
    optional=dict.fromkeys(PRICES[2:], AMOUNTS),
)


def priced(**prices: Any) -> Tariff:
    amounts = {name: Decimal(str(price)) for name, price in prices.items()}
    found = tariff(Route("acme", "x", **amounts), "USD", complete=False)
    assert found is not None
    return found


@given(ROUTES, COUNTS, COUNTS, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(0, 10**8))
def test_the_cost_is_the_exact_amount_rounded_once(
    prices: dict[str, Decimal], prompt: int, completion: int, read: float, written: float, thought: float, sound: int
) -> None:
    """Held against fractions, which have no rounding of their own."""
    cached = int(prompt * read)
    cache_write = int((prompt - cached) * written)
    reasoning = min(completion, int(completion * thought))
    price = {name: Fraction(amount) for name, amount in prices.items()}
    million = Fraction(1, 10**6)
    exact = (
        (prompt - cached - cache_write) * price["input_per_mtok"] * million
        + cached * price.get("cached_input_per_mtok", price["input_per_mtok"]) * million
        + cache_write * price.get("cache_write_per_mtok", price["input_per_mtok"]) * million
        + (completion - reasoning) * price["output_per_mtok"] * million
        + reasoning * price.get("reasoning_per_mtok", price["output_per_mtok"]) * million
        + price.get("per_request", 0)
        + price.get("per_minute", 0) * Fraction(sound, 60_000)
    )
    least = round(price.get("minimum_charge", Fraction(0)) * 10**9)

    found = priced(**prices).cost(prompt, completion, cached, cache_write, reasoning, sound)

    assert found == max(round(exact * 10**9), least)  # Fraction rounds half to even


@given(ROUTES, st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_nothing_costs_more_than_the_most_it_can_cost(
    prices: dict[str, Decimal], prompt: int, completion: int, read: float, written: float, thought: float
) -> None:
    cached = int(prompt * read)
    found = priced(**prices)
    cost = found.cost(prompt, completion, cached, int((prompt - cached) * written), int(completion * thought))
    assert cost <= found.most(prompt, completion)


@given(st.integers(-(10**18), 10**18))
def test_an_amount_is_shown_to_the_last_digit(amount: int) -> None:
    text = shown(amount)
    assert nano(Decimal(text)) == amount
    assert "e" not in text.lower()
    assert not ("." in text and text.endswith(("0", ".")))


@pytest.mark.parametrize(("amount", "text"), [
    (0, "0"), (1, "0.000000001"), (1_500_000, "0.0015"), (10**9, "1"), (-25 * 10**8, "-2.5"), (12 * 10**10, "120"),
])  # fmt: skip
def test_amounts_as_they_are_written(amount: int, text: str) -> None:
    assert shown(amount) == text


@given(st.decimals(0, 10**9, places=20, allow_nan=False))
def test_a_budget_is_never_more_than_was_written(amount: Decimal) -> None:
    assert nano(amount) == int(Context(prec=60, rounding=ROUND_HALF_EVEN).multiply(amount, Decimal(10**9)))


def test_what_nobody_has_priced_is_not_what_costs_nothing() -> None:
    assert tariff(Route("acme", "x"), "USD") is None
    nothing = tariff(Route("acme", "x", input_per_mtok=Decimal(0), output_per_mtok=Decimal(0)), "USD")
    assert nothing is not None
    assert (nothing.free, nothing.cost(10**9, 10**9), FREE.free) == (True, 0, True)
    assert not priced(minimum_charge="0.000000001").free


def test_parts_without_a_price_of_their_own_cost_as_much_as_the_rest() -> None:
    plain = priced(input_per_mtok=3, output_per_mtok=15)
    assert plain.cost(1000, 100, 600, 200, 50) == plain.cost(1000, 100) == 4_500_000
    cached = priced(input_per_mtok=3, output_per_mtok=15, cached_input_per_mtok="0.3", cache_write_per_mtok="3.75")
    assert cached.cost(1000, 100, 600, 200) == 600_000 + 180_000 + 750_000 + 1_500_000
    thinking = priced(input_per_mtok=0, output_per_mtok=10, reasoning_per_mtok=20)
    assert thinking.cost(0, 100, reasoning=40) == 600_000 + 800_000


def test_requests_and_minutes_have_prices_too() -> None:
    assert priced(per_request="0.01").cost(5, 5) == 10_000_000
    assert priced(per_minute="0.006").cost(0, 0, audio_ms=90_000) == 9_000_000
    assert priced(input_per_mtok=1, output_per_mtok=1, minimum_charge="0.001").cost(1, 1) == 1_000_000


@pytest.mark.parametrize("name", PRICES)
@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-1", "1000000001", "0.1234567890123"])
def test_what_is_no_price_is_refused(name: str, amount: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} "):
        tariff(Route("acme", "x", **{name: Decimal(amount)}), "USD")


@pytest.mark.parametrize(("prices", "said"), [
    ({"input_per_mtok": 1}, "go together"), ({"output_per_mtok": 1}, "go together"),
    ({"cached_input_per_mtok": 1}, "alone is no price"),
    ({"input_per_mtok": 1, "output_per_mtok": 1, "currency": "EUR"}, "in EUR, but .* is USD"),
    ({"currency": "EUR"}, "in EUR"),
])  # fmt: skip
def test_prices_that_do_not_fit_are_refused(prices: dict[str, Any], said: str) -> None:
    amounts = {name: Decimal(value) if name != "currency" else value for name, value in prices.items()}
    with pytest.raises(ValueError, match=said):
        tariff(Route("acme", "x", **amounts), "USD")
