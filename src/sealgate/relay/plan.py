"""The plan of one request: which routes will be asked, in which order, and why not the others.

Pure: a function of the catalog, the request and the caller. The walk makes no choices of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sealgate.auth.caller import Caller
from sealgate.errors import Problem
from sealgate.relay.catalog import Catalog, Route, Selection
from sealgate.relay.request import Ask

MAX_TARGETS = 8


class Skipped(NamedTuple):
    """A route that is not in the plan."""

    route: Route
    reason: str


class Plan(NamedTuple):
    """Targets in order; a route with retries stands in it several times."""

    requested_route: str
    targets: tuple[Route, ...]
    skipped: tuple[Skipped, ...]


def make(catalog: Catalog, ask: Ask, caller: Caller) -> Plan:
    """Raises `Problem` where no route is left."""
    typed = ask.typed
    primary = catalog.resolve(ask.model, typed.region, typed.provider)
    _require_allowed(catalog, primary, caller)
    _require_chat(catalog, primary)
    if typed.failover is None and ask.media_param is None and len(primary.targets) <= MAX_TARGETS:
        # Nothing to weigh: what nearly every request is.
        return Plan(primary.requested_route, primary.targets, ())
    selections = [primary, *_failover(catalog, ask, caller)]
    routes = list(dict.fromkeys(route for selection in selections for route in selection.routes))
    skipped = [Skipped(route, "takes media as data URLs only") for route in routes if not _takes_media(route, ask)]
    usable = [route for route in routes if _takes_media(route, ask)]
    if not usable:
        raise Problem("media_url_not_allowed", param=ask.media_param)
    targets = [route for route in usable for _ in range(1 + route.account.retries)]
    skipped += [Skipped(route, f"beyond the first {MAX_TARGETS} targets") for route in targets[MAX_TARGETS:]]
    return Plan(primary.requested_route, tuple(targets[:MAX_TARGETS]), tuple(skipped))


def _failover(catalog: Catalog, ask: Ask, caller: Caller) -> Iterable[Selection]:
    for name in ask.typed.failover or ():
        try:
            selection = catalog.resolve(name)
            _require_allowed(catalog, selection, caller)
        except Problem as problem:
            raise Problem("invalid_failover", problem.message, param="failover") from None
        yield selection


def _require_allowed(catalog: Catalog, selection: Selection, caller: Caller) -> None:
    """A name on the key's list must stand for the same model, and for every route asked for."""
    if caller.models is None or selection.key in caller.models:
        return
    for name in caller.models:
        try:
            allowed = catalog.resolve(name)
        except Problem:
            continue
        if allowed.key == selection.key and set(selection.routes) <= set(allowed.routes):
            return
    raise Problem("model_not_allowed", f"This API key may not use the model {selection.key!r}.", param="model")


def _require_chat(catalog: Catalog, selection: Selection) -> None:
    model = catalog.models.get(selection.key)
    if model is not None and model.type != "chat":
        raise Problem("invalid_model", f"The model {selection.key!r} is for {model.type}, not for chat.", param="model")


def _takes_media(route: Route, ask: Ask) -> bool:
    return ask.media_param is None or route.account.media_by_url
