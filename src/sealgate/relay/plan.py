"""The plan of one request: which routes will be asked, in which order, and why not the others.

A function of the catalog, the request, the caller and what was seen of the routes. The walk makes no choices.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from sealgate.auth.caller import Caller
from sealgate.config_types import ModelType
from sealgate.errors import Problem, UpstreamError
from sealgate.providers.base import Adjustment, Choosy, Unmet
from sealgate.providers.capabilities import PARAMETERS, missing, needed
from sealgate.relay.ask import Ask
from sealgate.relay.attempt import written
from sealgate.relay.catalog import Catalog, Route, Selection, Target, targets
from sealgate.relay.checked import CHECKABLE, PRESCRIBED, can_check, is_held
from sealgate.relay.health import Health, Standing, targets_of
from sealgate.relay.media import unfetched
from sealgate.relay.pace import Paces
from sealgate.relay.quirks import Quirks

MAX_TARGETS = 8
MAX_HINTS = 3
"""Models that are named to a caller whose own one is for something else."""
SANDBOX_MODELS = {"chat": "echo", "embedding": "embed", "transcription": "transcribe"}
EXPLORE = 0.05
"""Share of requests under the policy ``latency`` that begin at another route than the fastest, to measure it."""
ASSUMED_TOKENS = 500
"""Length of an answer whose request sets no limit, where prices are compared."""
BYTES_PER_TOKEN = 4
NOTHING: frozenset[str] = frozenset()


class Skipped(NamedTuple):
    """A route that is not in the plan."""

    route: Route
    reason: str


class Plan(msgspec.Struct, frozen=True):
    """Targets in order; a route with several keys stands in it several times."""

    requested_route: str
    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]
    preferred: Route
    """The first choice, had every route been well."""
    last_resort: bool = False
    """Whether the targets are asked although they were ejected, because nothing else is left."""

    checked: frozenset[Route] = frozenset()
    """Routes that cannot be held to the request's schema: what they answer is checked against it."""

    fetching: frozenset[Route] = frozenset()
    """Routes that take bytes where the request has URLs: we fetch what these point to before one of them is asked."""

    strict: bool = False
    """Whether nothing may be left out."""

    pinned: Route | None = None
    """The route that comes first because the request's session is there."""

    def tries(self) -> Sequence[Target]:
        """The targets as they are asked: each once more for every retry. What fails always gets no retries on top."""
        if self.last_resort:
            return self.targets
        for target in self.targets:
            if target.route.account.retries:
                return [each for each in self.targets for _ in range(1 + each.route.account.retries)]
        return self.targets


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of the routes besides the catalog, and where chance comes from (0 to 1)."""

    health: Health
    paces: Paces
    chance: Callable[[], float] = random.random
    quirks: Quirks = field(default_factory=Quirks)


def make(catalog: Catalog, ask: Ask, caller: Caller, seen: Seen, pin: str | None = None) -> Plan:
    """``pin`` is the route's id at which the request's session is. Raises `Problem` where no route is left."""
    named = ask.named
    primary = selected(catalog, caller, ask.type, ask.model, named.region, named.provider)
    wanted = needed(ask.prompt.fields, ask.media) if ask.type == "chat" else NOTHING
    if (
        named.failover is None
        and primary.policy == "order"
        and ask.media_param is None
        and not ask.strict
        and (ask.prompt.native is None or ask.prompt.native.only is None)
        and (not wanted or wanted <= primary.common)
        and (wanted.isdisjoint(PRESCRIBED) or all(is_held(each, ask.prompt.fields, wanted) for each in primary.routes))
        and not seen.health.troubled
        and len(primary.targets) <= MAX_TARGETS
        and ask.type == "chat"
        and pin in (None, primary.routes[0].id)
    ):
        # Nothing to weigh: what nearly every request is.
        first = primary.routes[0]
        return Plan(primary.requested_route, primary.targets, (), first, pinned=first if pin is not None else None)
    selections = [primary, *_failover(catalog, ask, caller)]
    ranked = {route.id: route for selection in selections for route in _ranked(selection, ask, wanted, seen)}
    eligible, skipped = _eligible(ranked.values(), ask, wanted, seen.quirks)
    # Where the model was left for another one, the session does not follow: the next request tries it again.
    pinned = next((route for route in eligible if route.id == pin and route in primary.routes), None)
    if pinned is not None:
        eligible.remove(pinned)
        eligible.insert(0, pinned)
    healthy, last_resort, unwell = _healthy(eligible, seen.health)
    skipped += unwell
    beyond = dict.fromkeys(target.route for target in healthy[MAX_TARGETS:])
    skipped += [Skipped(route, f"beyond the first {MAX_TARGETS} targets") for route in beyond]
    # Where the model that was asked for cannot honour the request, it was left for another one.
    preferred = eligible[0] if eligible[0] in primary.routes else next(iter(ranked.values()))
    chosen = tuple(healthy[:MAX_TARGETS])
    checked = frozenset(route for route in eligible if _unsure(route, ask, wanted))
    fetching = frozenset(route for route in eligible if ask.media_param and not route.account.media_by_url)
    return Plan(
        primary.requested_route, chosen, tuple(skipped), preferred, last_resort, checked, fetching, ask.strict, pinned
    )


def selected(
    catalog: Catalog,
    caller: Caller,
    wanted: ModelType,
    name: str,
    region: str | None = None,
    provider: str | None = None,
) -> Selection:
    """What the caller's name for a model comes to. Raises `Problem` where it may not use it, or not for that."""
    found = catalog.resolve(name, region, provider)
    _require_allowed(catalog, found, caller)
    _require_type(catalog, found, caller, wanted)
    return found


def _failover(catalog: Catalog, ask: Ask, caller: Caller) -> Iterable[Selection]:
    named = ask.named
    for name in named.failover or ():
        try:
            # What the request pins for its model, it pins for every name that does not say otherwise.
            selection = catalog.narrowed(name, named.region, named.provider)
            _require_allowed(catalog, selection, caller)
            _require_type(catalog, selection, caller, ask.type)
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
        if allowed.key == selection.key and {r.id for r in selection.routes} <= {r.id for r in allowed.routes}:
            return
    raise Problem("model_not_allowed", f"This API key may not use the model {selection.key!r}.", param="model")


def _require_type(catalog: Catalog, selection: Selection, caller: Caller, wanted: ModelType) -> None:
    model = catalog.models.get(selection.key)
    if model is not None and model.type != wanted:
        said = f"The model {selection.key!r} is for {model.type}, not for {wanted}.{_hint(catalog, caller, wanted)}"
        raise Problem("invalid_model", said, param="model")


def _hint(catalog: Catalog, caller: Caller, wanted: ModelType) -> str:
    """Models that are for it, as far as the caller may know of them; the sandbox's, where there are none."""
    models = (model.key for model in catalog.models.values() if model.type == wanted)
    names = [key for key in models if caller.models is None or key in caller.models][:MAX_HINTS]
    if not names and caller.models is None:
        names = [f"{account.name}::{SANDBOX_MODELS[wanted]}" for account in catalog.accounts.values()
                 if account.kind.name == "sandbox"][:1]  # fmt: skip
    return f" Try {' or '.join(map(repr, names))}." if names else ""


def _ranked(selection: Selection, ask: Ask, wanted: frozenset[str], seen: Seen) -> Iterable[Route]:
    """By the model's policy; routes that can do it by themselves come first, those that must be checked last."""
    found = _by_policy(selection, ask, seen)
    return sorted(found, key=lambda route: _help(route, ask, wanted)) if wanted else found


def _help(route: Route, ask: Ask, wanted: frozenset[str]) -> int:
    """How much must be done for a route: nothing, an emulation, checks, or all that can be."""
    if not wanted <= route.capabilities:
        return 3
    if not is_held(route, ask.prompt.fields, wanted):
        return 2
    return 0 if wanted.isdisjoint(route.emulated) else 1


def _unsure(route: Route, ask: Ask, wanted: frozenset[str]) -> bool:
    """Whether what comes must be checked, because nothing holds the model to what is prescribed."""
    return bool(missing(route.capabilities, wanted)) or not is_held(route, ask.prompt.fields, wanted)


def _by_policy(selection: Selection, ask: Ask, seen: Seen) -> Iterable[Route]:
    match selection.policy:
        case "weighted":
            return sorted(selection.routes, key=lambda route: _lot(route.weight, seen.chance()))
        case "price":
            return sorted(selection.routes, key=lambda route: _price(route, ask))
        case "latency":
            return _fastest(selection.routes, ask.prompt.stream, seen)
        case _:
            return selection.routes


def _lot(weight: float, chance: float) -> float:
    """Sorting by this draws without replacement in proportion to the weights (Efraimidis and Spirakis, 2006)."""
    return -math.log(1 - chance) / weight if weight else math.inf


def _price(route: Route, ask: Ask) -> int:
    """What this request would cost there, as far as that can be told beforehand."""
    tokens = ask.max_tokens or ASSUMED_TOKENS
    return route.tariff.cost(ask.size // BYTES_PER_TOKEN, tokens) if route.tariff is not None else 0


def _fastest(routes: tuple[Route, ...], stream: bool, seen: Seen) -> list[Route]:
    """Unmeasured routes first, so that they are measured; then the fastest; now and then another one leads."""
    ranked = sorted(routes, key=lambda route: seen.paces.of(route, stream=stream) or 0.0)
    if seen.chance() < EXPLORE:
        leader = 1 + int(seen.chance() * (len(ranked) - 1))
        ranked.insert(0, ranked.pop(min(leader, len(ranked) - 1)))
    return ranked


def _eligible(
    routes: Iterable[Route], ask: Ask, wanted: frozenset[str], quirks: Quirks
) -> tuple[list[Route], list[Skipped]]:
    """The routes that can honour the request. Where there is none, raises what speaks against the first."""
    found: list[Route] = []
    skipped: list[Skipped] = []
    problems: list[Problem] = []
    for route in routes:
        obstacle = _obstacle(route, ask, wanted, quirks)
        if obstacle is None:
            found.append(route)
        else:
            skipped.append(Skipped(route, obstacle[0]))
            problems.append(obstacle[1])
    if not found:
        raise problems[0]
    return found, skipped


def _obstacle(route: Route, ask: Ask, wanted: frozenset[str], quirks: Quirks) -> tuple[str, Problem] | None:
    """Why a route cannot honour a request: in the plan's words, and in the caller's."""
    operation = ask.prompt.operation
    wire = route.account.kind.wires.get(operation)
    if wire is None:
        said = f"The provider of {route.id!r} offers no {operation} here."
        return f"offers no {operation}", Problem("invalid_model", said, param="model")
    if (
        operation != "chat"
        and isinstance(wire, Choosy)
        and (unmet := wire.unmet(ask.prompt.fields, model := route.upstream_model))
    ):
        return _unmet(ask, model, unmet)
    native = ask.prompt.native
    if native is not None and native.only is not None and not route.account.kind.speaks_anthropic:
        said = f"The model {ask.model!r} cannot honour {native.only!r}: only Anthropic's own API knows it."
        return f"cannot honour {native.only}", Problem("unsupported_parameter", said, param=native.only)
    lacks = sorted(missing(route.capabilities, wanted), key=lambda name: (name in CHECKABLE, name))
    if not lacks and not is_held(route, ask.prompt.fields, wanted):
        lacks = sorted(PRESCRIBED & wanted)
    if lacks and not (CHECKABLE.issuperset(lacks) and "n" not in wanted and can_check(ask.prompt.fields)):
        param = PARAMETERS[lacks[0]]
        said = f"The model {ask.model!r} cannot honour {param!r} ({lacks[0]})."
        return f"cannot honour {', '.join(lacks)}", Problem("unsupported_parameter", said, param=param)
    account = route.account
    if ask.media_param is not None and not (account.media_by_url or account.media_fetch):
        return "takes media as data URLs only", Problem("media_url_not_allowed", param=ask.media_param)
    if ask.strict:
        for param, action, detail in _changes(route, ask, quirks):
            if action == "dropped":
                said = f"{param} would be dropped: {detail}."
                return f"would drop {param}", Problem("unsupported_parameter", said, param=param)
    return None


def _unmet(ask: Ask, upstream_model: str, unmet: Unmet) -> tuple[str, Problem]:
    if unmet.param == "model":
        said = f"The model {ask.model!r} ({upstream_model}) cannot be asked for {ask.prompt.operation}: {unmet.why}."
        return unmet.why, Problem("invalid_model", said, param="model")
    said = f"The model {ask.model!r} cannot honour {unmet.param!r}: {unmet.why}."
    return f"cannot honour {unmet.param}: {unmet.why}", Problem("unsupported_parameter", said, param=unmet.param)


def _changes(route: Route, ask: Ask, quirks: Quirks) -> Sequence[Adjustment]:
    prompt = replace(ask.prompt, refused=quirks.of(route))
    if ask.media_param is not None and not route.account.media_by_url:
        prompt = unfetched(prompt)  # a wire that takes bytes says nothing about URLs
    try:
        return written(route, prompt).adjustments
    except UpstreamError:
        return ()  # the attempt will say so


def _healthy(routes: list[Route], health: Health) -> tuple[list[Target], bool, list[Skipped]]:
    """The targets among them that are well, else those that were only ejected. Raises `Problem` where all cool down."""
    if not health.troubled:
        return [target for route in routes for target in targets(route)], False, []
    well: list[Target] = []
    ejected: list[Target] = []
    skipped: list[Skipped] = []
    waits: list[tuple[float, Skipped]] = []
    for route in routes:
        standings = {target.key: health.standing(target) for target in targets_of(route)}
        usable = _keys(standings, "up")
        well += targets(route, usable)
        if not usable:
            ejected += [Target(route, key) for key in _keys(standings, "ejected")[:1]]
            soonest = min(standings.values(), key=lambda standing: standing.until)
            seconds = health.remaining(soonest)
            skipped.append(Skipped(route, _reason(soonest, seconds)))
            waits.append((seconds, skipped[-1]))
    if well:
        return well, False, skipped
    if ejected:
        return ejected, True, [each for each in skipped if each.route not in {target.route for target in ejected}]
    wait, first = min(waits, key=lambda found: found[0])
    raise Problem(
        "no_healthy_route",
        f"No route can be used now; the next one to be tried again, {first.route.id}, is {first.reason}.",
        retry_after=max(1, math.ceil(wait)),
    )


def _keys(standings: dict[int, Standing], state: str) -> list[int]:
    """The keys in that state, those that come back first first."""
    found = [key for key, standing in standings.items() if standing.state == state]
    return sorted(found, key=lambda key: standings[key].until)


def _reason(standing: Standing, seconds: float) -> str:
    last = standing.last.name.lower() if standing.last else "failures"
    how = "cooling down" if standing.state == "cooling" else "ejected"
    return f"{how} for {math.ceil(seconds)} s after {last}"
