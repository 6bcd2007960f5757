"""A plan in words: what would be asked, in which order and why, and exactly what would be sent."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from sealgate.providers.base import Account, Json, Prompt
from sealgate.relay.attempt import compose
from sealgate.relay.catalog import Model, Route, Target
from sealgate.relay.plan import Plan, Seen

REDACTED = "[redacted]"


def describe(plan: Plan, seen: Seen, model: Model | None, stream: bool) -> Json:
    """The plan as a document: ``targets`` in the order in which they would be asked, ``skipped`` with reasons."""
    return {
        "requested_route": plan.requested_route,
        "targets": [
            {
                "route": target.route.id,
                "upstream_model": target.route.upstream_model,
                "key": target.key,
                "tries": plan.targets.count(target),
                "reason": _reason(target, plan, seen, model, stream),
            }
            for target in dict.fromkeys(plan.targets)
        ],
        "skipped": [{"route": skipped.route.id, "reason": skipped.reason} for skipped in plan.skipped],
    }


def dry_run(plan: Plan, prompt: Prompt) -> list[Json]:
    """What would go to each target: its address, its headers without credentials, its body byte for byte."""
    return [_unsent(target, prompt) for target in dict.fromkeys(plan.targets)]


def _unsent(target: Target, prompt: Prompt) -> Json:
    (request, adjustments), account = compose(target, prompt), target.route.account
    return {
        "route": target.route.id,
        "method": request.method,
        "url": request.url,
        "headers": _redacted(account, request.headers),
        "body": msgspec.Raw(request.body),
        "adjustments": [adjustment._asdict() for adjustment in adjustments],
    }


def _redacted(account: Account, headers: Mapping[str, str]) -> dict[str, str]:
    credentials = {name for secret in account.secrets for name in account.kind.host.credential(secret)}
    return {name: REDACTED if name in credentials else value for name, value in headers.items()}


def _reason(target: Target, plan: Plan, seen: Seen, model: Model | None, stream: bool) -> str:
    if plan.last_resort:
        return "ejected, but nothing else is left"
    if target.key:
        return f"its key number {target.key + 1}, where the one before is refused or past its limit"
    if seen.health.standing(target).probe:
        return "was ejected, and is tried again by this request"
    route = target.route
    if route.key != plan.preferred.key:
        return "named under failover"
    if model is None:
        return "as written"
    match model.policy:
        case "weighted":
            total = math.fsum(each.weight for each in model.routes)
            return f"drawn with weight {route.weight:g} of {total:g}"
        case "price":
            return f"costs {_money(route)}"
        case "latency":
            pace = seen.paces.of(route, stream=stream)
            return "not measured yet" if pace is None else f"first content after {pace:.3f} s lately"
        case _:
            return "as written"


def _money(route: Route) -> str:
    return f"{route.input_per_mtok or 0} + {route.output_per_mtok or 0} {route.currency} per million tokens"
