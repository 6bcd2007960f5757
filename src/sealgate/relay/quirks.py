"""What was learned of models from their refusals: parameters that they do not take, whatever their provider's row says.

A refusal alone teaches nothing, because it may repeat a caller's own words: the same request must have been taken
without the parameter. What is known is known of a provider's table and its name of a model, by this process, until it
ends or reads its configuration again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from sealgate.providers.refused import NOTHING
from sealgate.relay.catalog import Route

MAX_MODELS = 1000
"""The oldest are forgotten beyond."""


class Quirks:
    """One for each configuration. ``learned`` hears of each parameter once, with the route that taught it."""

    def __init__(self, learned: Callable[[Route, Iterable[str]], None] = lambda _route, _names: None) -> None:
        self._learned = learned
        self._table: dict[tuple[str, str], frozenset[str]] = {}

    def of(self, route: Route) -> frozenset[str]:
        """The parameters that its model was found to refuse."""
        return self._table.get((route.account.table, route.upstream_model), NOTHING) if self._table else NOTHING

    def learn(self, route: Route, names: frozenset[str]) -> None:
        """The model refused these, and took the same request without them."""
        known = self.of(route)
        fresh = names - known - route.refuses
        if not fresh:
            return
        if len(self._table) >= MAX_MODELS:
            del self._table[next(iter(self._table))]
        self._table[route.account.table, route.upstream_model] = known | fresh
        self._learned(route, sorted(fresh))


def setting(route: Route, names: Iterable[str]) -> str:
    """The route as the configuration has it, with what its model refuses: one entry of a model's ``routes``."""
    every = sorted(route.refuses.union(names))
    # JSON's strings and lists of them are TOML's, too.
    said = (("provider", route.account.table), ("model", route.upstream_model), ("refuses", every))
    return f"{{ {', '.join(f'{name} = {json.dumps(value, ensure_ascii=False)}' for name, value in said)} }}"
