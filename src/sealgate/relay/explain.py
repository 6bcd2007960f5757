"""A plan in words: what would be asked, in which order and why, and exactly what would be sent."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from sealgate.errors import UpstreamError
from sealgate.providers.base import Account, Json, Prompt
from sealgate.relay.attempt import compose
from sealgate.relay.catalog import Route, Selection, Target
from sealgate.relay.checked import as_sent
from sealgate.relay.media import unfetched, urls
from sealgate.relay.plan import Plan, Seen

REDACTED = "[redacted]"


def describe(plan: Plan, seen: Seen, asked: Selection, *, stream: bool) -> Json:
    """The plan as a document: ``targets`` in the order in which they would be asked, ``skipped`` with reasons.

    ``asked`` is what the request's own model name came to.
    """
    tries = plan.tries()
    return {
        "requested_route": plan.requested_route,
        "targets": [
            {
                "route": target.route.id,
                "upstream_model": target.route.upstream_model,
                "key": target.key,
                "tries": tries.count(target),
                "reason": _reason(target, plan, seen, asked, stream),
            }
            for target in plan.targets
        ],
        "skipped": [{"route": skipped.route.id, "reason": skipped.reason} for skipped in plan.skipped],
    }


def dry_run(plan: Plan, prompt: Prompt, seen: Seen) -> list[Json]:
    """What would go to each target: its address, its headers without credentials, its body byte for byte.

    Nothing is fetched for it: where bytes would be sent in place of URLs, these stand under ``fetched``, and the body
    has empty pictures.
    """
    return [_with_fetched(each, plan, replace(prompt, refused=seen.quirks.of(each.route))) for each in plan.targets]


def _with_fetched(target: Target, plan: Plan, prompt: Prompt) -> Json:
    fetching = target.route in plan.fetching
    shown = unfetched(prompt) if fetching else prompt
    found = _unsent(target, as_sent(shown, target.route) if target.route in plan.checked else shown)
    return {**found, "fetched": list(urls(prompt))} if fetching else found


def _unsent(target: Target, prompt: Prompt) -> Json:
    try:
        found = compose(target, prompt)
    except UpstreamError as error:
        return {"route": target.route.id, "error": error.text or error.failure.name.lower()}
    (request, wrote), account = found, target.route.account
    return {
        "route": target.route.id,
        "method": request.method,
        "url": request.url,
        "headers": _redacted(account, request.headers),
        "body": msgspec.Raw(request.body),
        "adjustments": [adjustment._asdict() for adjustment in wrote.adjustments],
    }


def _redacted(account: Account, headers: Mapping[str, str]) -> dict[str, str]:
    credentials = {name for secret in account.secrets for name in account.kind.host.credential(secret)}
    return {name: REDACTED if name in credentials else value for name, value in headers.items()}


def _reason(target: Target, plan: Plan, seen: Seen, asked: Selection, stream: bool) -> str:
    route = target.route
    if plan.last_resort:
        return "ejected, but nothing else is left"
    if seen.health.standing(target).probe:
        return "was ejected, and is tried again by this request"
    if target.key != next(each.key for each in plan.targets if each.route is route):
        return f"key {target.key + 1} of {len(route.account.secrets)}, where the one before is refused"
    if route is plan.pinned:
        return "the session is there"
    if route not in asked.routes:
        return "named under failover"
    match asked.policy:
        case "weighted":
            return f"drawn with weight {route.weight:g} of {math.fsum(each.weight for each in asked.routes):g}"
        case "price":
            return f"costs {_money(route)}"
        case "latency":
            pace = seen.paces.of(route, stream=stream)
            return "not measured yet" if pace is None else f"first content after {pace:.3f} s lately"
        case _:
            return "as written"


def _money(route: Route) -> str:
    row = route.prices
    if row is None or route.tariff is None:
        return "nothing"
    said = f"{row.input_per_mtok or 0} + {row.output_per_mtok or 0} {route.tariff.currency} per million tokens"
    return said if row.per_request is None else f"{said} + {row.per_request} per request"
