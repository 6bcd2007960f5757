"""What the answers of a route cost: as the operator has written it, or by what the provider is."""

from __future__ import annotations

from sealgate import config
from sealgate.errors import ConfigError
from sealgate.limits import prices
from sealgate.limits.prices import Tariff
from sealgate.providers.base import Account


def own(account: Account) -> Tariff | None:
    """The sandbox is our own and costs nothing; what others ask for their answers has to be said."""
    return prices.FREE if account.kind.name == "sandbox" else None


def of(key: str, row: config.Route, model: config.Model, account: Account, currency: str) -> Tariff | None:
    """The prices of a configured route, None where they are not known. Raises `ConfigError`."""
    try:
        found = prices.tariff(row, currency, complete=model.type == "chat")
    except ValueError as error:
        raise ConfigError(f"the model '{key}' has a route at {row.provider} whose prices cannot be: {error}") from None
    return found or own(account)
