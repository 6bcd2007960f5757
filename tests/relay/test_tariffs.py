"""Prices of routes: from the configuration, or from what a provider is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from sealgate.config import Billing, Model, Provider, Route, Settings
from sealgate.errors import ConfigError
from sealgate.limits.prices import FREE, Tariff
from sealgate.relay.catalog import build

PROVIDERS = {
    "acme": Provider(kind="openai", base_url="https://acme.example/v1"),
    "sandbox": Provider(kind="sandbox", region="local"),
}


def tariff(provider: str, house: str = "USD", kind: Any = "chat", **prices: Any) -> Tariff | None:
    routes = (Route(provider, "x", **prices),)
    settings = Settings(billing=Billing(house), providers=PROVIDERS, models={"m": Model(routes=routes, type=kind)})
    return build(settings).models["m"].routes[0].tariff


def test_what_nobody_has_priced_has_no_tariff_but_the_sandbox_is_free() -> None:
    assert tariff("acme") is None
    assert tariff("sandbox") == FREE
    known = build(Settings(providers=PROVIDERS))
    assert known.resolve("acme::anything").routes[0].tariff is None
    assert known.resolve("sandbox::echo").routes[0].tariff == FREE


def test_prices_are_in_the_currency_of_the_house() -> None:
    one = Decimal(1)
    found = tariff("acme", "EUR", input_per_mtok=one, output_per_mtok=one)
    assert found is not None
    assert (found.currency, found.cost(1_000_000, 0)) == ("EUR", 10**9)
    with pytest.raises(ConfigError, match=r"model 'm' has a route at acme .* in USD, but \[billing\] currency is EUR"):
        tariff("acme", "EUR", input_per_mtok=one, output_per_mtok=one, currency="USD")


def test_a_chat_needs_the_price_of_its_answer_and_an_embedding_does_not() -> None:
    with pytest.raises(ConfigError, match="go together"):
        tariff("acme", input_per_mtok=Decimal(1))
    assert tariff("acme", kind="embedding", input_per_mtok=Decimal(1)) is not None
