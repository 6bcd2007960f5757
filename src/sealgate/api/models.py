"""``GET /v1/models`` and ``/v1/models/{id}``: what can be named, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import parse_qs

from sealgate.api.call import Call
from sealgate.api.guard import Guard
from sealgate.api.routes import Route as Declared
from sealgate.api.shapes import ModelEntry, ModelList
from sealgate.auth.caller import Caller
from sealgate.errors import Problem
from sealgate.limits.prices import PRICES
from sealgate.providers.base import Json
from sealgate.relay.catalog import Model, Route, fold
from sealgate.relay.hall import Hall

MORE = PRICES[2:]
"""Prices that few routes have, shown where they are set."""
FILTERS = (
    ("detail", "`true`: also region, provider, prices and capabilities.", Literal["true", "false", "1", "0", ""]),
    ("region", "Only routes of this region."),
    ("provider", "Only routes at this provider."),
    ("type", "`chat`, `embedding` or `transcription`.", Literal["chat", "embedding", "transcription"]),
)


def routes(hall: Hall, guard: Guard, created: int) -> list[Declared]:
    models = Models(hall, guard, created)
    return [
        Declared(
            "GET", "/models", "optional", models.list, "List what can be asked for.", answer=ModelList, query=FILTERS
        ),
        Declared(
            "GET", "/models/{model}", "optional", models.one, "One of them.", answer=ModelEntry, query=FILTERS[:1]
        ),
    ]


class Models:
    """The endpoints. ``created`` of every model is the time the process began to offer it."""

    def __init__(self, hall: Hall, guard: Guard, created: int) -> None:
        self._hall = hall
        self._guard = guard
        self._created = created

    async def list(self, call: Call) -> None:
        caller = await self._caller(call)
        filters = _Filters(call)
        data = [item for model in self._visible(caller) for item in self._items(model, filters)]
        await call.json({"object": "list", "data": data})

    async def one(self, call: Call) -> None:
        caller = await self._caller(call)
        filters = _Filters(call)
        catalog = self._hall.catalog
        named = catalog.names.get(call.path_value) or catalog.folded.get(fold(call.path_value))
        for model in self._visible(caller):
            if model is named:
                return await call.json(self._bare(model, filters))
            for item in self._items(model, filters):
                if item["id"] == call.path_value:
                    return await call.json(item)
        raise Problem("model_not_found", param="model")

    async def _caller(self, call: Call) -> Caller | None:
        public = self._hall.settings.server.models_public
        return await (self._guard.optional(call) if public else self._guard.caller(call))

    def _visible(self, caller: Caller | None) -> Iterator[Model]:
        allowed = caller.models if caller else None
        for key, model in self._hall.catalog.models.items():
            if allowed is None or key in allowed or not allowed.isdisjoint(model.aliases):
                yield model

    def _items(self, model: Model, filters: _Filters) -> Iterator[Json]:
        """The bare key, then each route by its compound id."""
        routes = [route for route in model.routes if filters.takes(model, route)]
        if routes:
            yield self._bare(model, filters)
        for route in routes:
            yield self._item(route.id, route.provider, filters, lambda route=route: _detail(model, [route]))

    def _bare(self, model: Model, filters: _Filters) -> Json:
        routes = [route for route in model.routes if filters.takes(model, route)] or list(model.routes)
        return self._item(model.key, routes[0].provider, filters, lambda: _detail(model, routes))

    def _item(self, model_id: str, owner: str, filters: _Filters, detail: Any) -> Json:
        item: Json = {"id": model_id, "object": "model", "created": self._created, "owned_by": owner}
        if filters.detail:
            item["tresor"] = detail()
        return item


class _Filters:
    """The query string: ``detail``, ``region``, ``provider``, ``type``."""

    def __init__(self, call: Call) -> None:
        query = parse_qs(call.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        detail = query.get("detail", ["false"])[-1].lower()
        if detail not in ("true", "1", "false", "0", ""):
            raise Problem("invalid_parameter", "detail is true or false.", param="detail")
        self.detail = detail in ("true", "1")
        self._region = query.get("region", [None])[-1] or None
        self._provider = query.get("provider", [None])[-1] or None
        self._type = query.get("type", [None])[-1]
        if self._type not in (None, "chat", "embedding", "transcription"):
            raise Problem("invalid_parameter", "type is chat, embedding or transcription.", param="type")

    def takes(self, model: Model, route: Route) -> bool:
        return (
            self._region in (None, route.region)
            and self._provider in (None, route.provider)
            and self._type in (None, model.type)
        )


def _detail(model: Model, routes: list[Route]) -> Json:
    first = routes[0]
    capabilities = frozenset.union(*(route.capabilities for route in routes))
    single = len(routes) == 1
    return {
        "model_key": model.key,
        "region": first.region if single else None,
        "provider": first.provider if single else None,
        "type": model.type,
        "pricing": _pricing(first) if single else None,
        "capabilities": sorted(capabilities),
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
    }


def _pricing(route: Route) -> Json | None:
    row, tariff = route.prices, route.tariff
    if tariff is None:
        return None
    by_minute = row is not None and row.per_minute is not None
    found: Json = {
        "input_per_mtok": "0" if tariff.free else getattr(row, "input_per_mtok", None),
        "output_per_mtok": "0" if tariff.free else getattr(row, "output_per_mtok", None),
        "billing_unit": "minute" if by_minute else "token",
        "unit_amount": 1 if by_minute else 1_000_000,
        "currency": tariff.currency,
    }
    return found | {name: price for name in MORE if (price := getattr(row, name, None)) is not None}
