"""Names and what they stand for: models, routes and accounts, built from the configuration once."""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sealgate import config
from sealgate.errors import ConfigError, Problem
from sealgate.limits.prices import Tariff
from sealgate.outward.head import check_field, parse_url
from sealgate.providers.base import Account, Kind, Operation
from sealgate.providers.capabilities import effective
from sealgate.providers.refused import refusable
from sealgate.providers.table import KINDS
from sealgate.relay import tariffs

AUTO = "auto"
COMPAT = "tensorzero::"
RESERVED = frozenset({AUTO, COMPAT.rstrip(":")})
"""Words with a meaning of their own in model names."""
MAX_COMPARED = 40
MAX_KEYS = 3
"""Keys of one account that one request may try."""
MAX_FOUND = 10_000
"""Names whose routes are remembered."""
COMPAT_PREFIXES = (COMPAT + "function_name::", COMPAT + "model_name::", COMPAT)
ACCOUNT_SETTINGS = (
    "deployment",
    "api_version",
    "aws_region",
    "project",
    "location",
    "endpoint",
    "carries",
    "anthropic_version",
    "api_model",
)
OPTIONAL_SETTINGS = ("tokens_per_second", *ACCOUNT_SETTINGS)
"""Settings that mean something for some kinds only."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One concrete place where a model runs. Compared by identity: a catalog makes each once."""

    account: Account
    key: str
    upstream_model: str
    weight: float = 1
    prices: config.Route | None = None
    """As the operator wrote them."""
    tariff: Tariff | None = None
    """What answers cost; None where that is not known."""
    capabilities: frozenset[str] = frozenset()
    """What it can honour of the parameters that change what an answer means."""
    max_output_tokens: int | None = None
    emulated: frozenset[str] = frozenset()
    """Which of these the gateway does in its place."""
    refuses: frozenset[str] = frozenset()
    """Parameters that the operator says its model does not take."""

    region: str = field(init=False)
    provider: str = field(init=False)
    id: str = field(init=False)
    """What callers see it as: ``region/provider/key``."""
    urls: dict[tuple[Operation, bool], str] = field(init=False, repr=False, default_factory=dict)
    """Where its requests go, as far as some went, by what is asked for and whether it streams."""

    def __post_init__(self) -> None:
        account = self.account
        object.__setattr__(self, "region", account.region)
        object.__setattr__(self, "provider", account.name)
        object.__setattr__(self, "id", f"{account.region}/{account.name}/{self.key}")


class Target(NamedTuple):
    """What one attempt is made at: a route, by one of its account's keys."""

    route: Route
    key: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """A model callers can name, and its routes as written."""

    key: str
    type: str
    routes: tuple[Route, ...]
    policy: config.Policy = "order"
    aliases: tuple[str, ...] = ()
    context_tokens: int | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a name came to: the normalised primary route and the routes it allows.

    ``key`` is what a key's list of allowed models is held against: the catalog's name, or ``provider::model``.
    """

    requested_route: str
    key: str
    routes: tuple[Route, ...]
    policy: config.Policy = "order"
    common: frozenset[str] = frozenset()
    """What all of them can honour by themselves."""
    targets: tuple[Target, ...] = ()
    """The routes by their keys, in this order, where there is nothing to choose."""


@dataclass(slots=True)
class Catalog:
    """All that can be named."""

    models: dict[str, Model]
    accounts: dict[str, Account]
    names: dict[str, Model] = field(default_factory=dict)
    folded: dict[str, Model | None] = field(default_factory=dict)
    """Names with dots, dashes and letter case made alike; None where that is not unique."""
    regions: frozenset[str] = frozenset()
    providers: Mapping[str, tuple[Account, ...]] = field(default_factory=dict)
    _found: dict[tuple[str, str | None, str | None], Selection] = field(default_factory=dict)
    """What names came to before; a catalog never changes."""

    def __post_init__(self) -> None:
        by_name: dict[str, list[Account]] = {}
        for account in self.accounts.values():
            by_name.setdefault(account.name, []).append(account)
        self.providers = {name: tuple(found) for name, found in by_name.items()}
        self.regions = frozenset(account.region for account in self.accounts.values())
        for model in self.models.values():
            for name in (model.key, *model.aliases):
                self._refuse_collision(name, model)
                self.names[name] = model
        for name, model in self.names.items():
            known = self.folded.setdefault(fold(name), model)
            if known is not model:
                self.folded[fold(name)] = None

    def _refuse_collision(self, name: str, model: Model) -> None:
        other = self.names.get(name)
        if other is not None and other is not model:
            raise ConfigError(f"the name '{name}' is used by both models '{other.key}' and '{model.key}'")
        if name.startswith(COMPAT):
            raise ConfigError(f"the model name '{name}' collides with the prefix {COMPAT}")
        if self._compound(name) is not None:
            raise ConfigError(f"the model name '{name}' reads as region/provider/model; choose another")
        if "::" in name and name.partition("::")[0] in self.providers:
            raise ConfigError(f"the model name '{name}' reads as provider::model; choose another")

    def resolve(self, name: str, region: str | None = None, provider: str | None = None) -> Selection:
        """The routes a name and the hints allow. Raises `Problem`."""
        asked = (name, region, provider)
        found = self._found.get(asked)
        if found is None:
            found = self._resolve(*asked)
            if len(self._found) >= MAX_FOUND:
                self._found.clear()
            self._found[asked] = found
        return found

    def narrowed(self, name: str, region: str | None = None, provider: str | None = None) -> Selection:
        """As `resolve`, but what the name itself pins stands above the hints. Raises `Problem`."""
        while True:
            try:
                return self.resolve(name, region, provider)
            except Problem as problem:
                if problem.code.name != "conflicting_route":
                    raise
                region, provider = (None, provider) if problem.param == "region" else (region, None)

    def _resolve(self, name: str, region: str | None, provider: str | None) -> Selection:
        name = _without_compat(name)
        if model := self.names.get(name):
            return _narrow(model.key, model.routes, region or AUTO, provider or AUTO, model.policy)
        if parts := self._compound(name):
            return self._resolve_compound(*parts, region, provider)
        if selection := self._resolve_direct(name, region, provider):
            return selection
        if model := self.folded.get(fold(name)):
            return _narrow(model.key, model.routes, region or AUTO, provider or AUTO, model.policy)
        raise self._unknown(name)

    def _compound(self, name: str) -> tuple[str, str, str] | None:
        """Region, provider and model key, where the name has three parts and the first two are known."""
        parts = name.split("/", 2)
        if len(parts) < 3 or not all(parts):
            return None
        region, provider, key = parts
        if (region == AUTO or region in self.regions) and (provider == AUTO or provider in self.providers):
            return region, provider, key
        return None

    def _resolve_compound(
        self, region: str, provider: str, key: str, region_hint: str | None, provider_hint: str | None
    ) -> Selection:
        region = _agree(region, region_hint, "region")
        provider = _agree(provider, provider_hint, "provider")
        model = self.names.get(key) or self.folded.get(fold(key))
        routes = model.routes if model else ()
        opened = tuple(
            _direct(account, key)
            for account in self.providers.get(provider, ())
            if account.kind.open_catalog and region in (AUTO, account.region)
        )
        if opened and not any(route.account in {o.account for o in opened} for route in routes):
            routes += opened
        if not routes:
            raise self._unknown(key)
        policy = model.policy if model else "order"
        selection = _narrow(model.key if model else key, routes, region, provider, policy)
        return selection if model else replace(selection, key=f"{provider}::{key}")

    def _resolve_direct(self, name: str, region: str | None, provider: str | None) -> Selection | None:
        """``provider::model``, and ``sandbox/model`` for the providers that take any name."""
        table, separator, upstream = name.partition("::")
        accounts = self.providers.get(table, ())
        if not separator:
            table, separator, upstream = name.partition("/")
            accounts = tuple(a for a in self.providers.get(table, ()) if a.kind.open_catalog)
        if not separator or not upstream or not accounts:
            return None
        _agree(table, provider, "provider")
        routes = tuple(_direct(account, upstream) for account in accounts)
        selection = _narrow(upstream, routes, region or AUTO, table)
        # An allow list means it only where it says so: the same name elsewhere may be another model at another price.
        return replace(selection, key=f"{table}::{upstream}")

    def _unknown(self, name: str) -> Problem:
        close = difflib.get_close_matches(name, _alike(name, self.names), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(repr(other) for other in close)}?" if close else ""
        shown = name if len(name) <= 100 else name[:100] + "…"
        return Problem("model_not_found", f"There is no model {shown!r}.{hint}", param="model")


def _alike(name: str, known: Iterable[str]) -> list[str]:
    """A few names worth comparing: looking at all of them closely would take long where there are many."""
    ranked = sorted(known, key=lambda other: (other[:2].lower() != name[:2].lower(), abs(len(other) - len(name))))
    return ranked[:MAX_COMPARED]


def fold(name: str) -> str:
    """A name with dots and dashes made alike, in lower case."""
    return name.lower().replace(".", "-")


def _without_compat(name: str) -> str:
    for prefix in COMPAT_PREFIXES:
        if name.startswith(prefix) and len(name) > len(prefix):
            return name[len(prefix) :]
    return name


def _agree(part: str, hint: str | None, what: str) -> str:
    """The explicit part, or the hint where the part is ``auto``."""
    if hint is None or hint in (AUTO, part):
        return part
    if part == AUTO:
        return hint
    raise Problem("conflicting_route", f"The {what} {hint!r} contradicts {part!r} in the model name.", param=what)


def _narrow(
    key: str, routes: tuple[Route, ...], region: str, provider: str, policy: config.Policy = "order"
) -> Selection:
    kept = tuple(route for route in routes if region in (AUTO, route.region) and provider in (AUTO, route.provider))
    if not kept:
        raise Problem("no_matching_route", f"The model {key!r} has no route {region}/{provider}.", param="model")
    if len(kept) == 1:
        policy = "order"
    found = tuple(target for route in kept for target in targets(route))
    common = frozenset.intersection(*(route.capabilities - route.emulated for route in kept))
    return Selection(f"{region}/{provider}/{key}", key, kept, policy, common, found)


def targets(route: Route, keys: Sequence[int] | None = None) -> list[Target]:
    """A route by the first few of its account's keys; ``keys`` are those that may be used, all where unset."""
    usable = range(len(route.account.fixed_headers)) if keys is None else keys
    return [Target(route, key) for key in usable[:MAX_KEYS]]


def build(settings: config.Settings) -> Catalog:
    """The catalog of a configuration. Raises `ConfigError`."""
    accounts = {table: make_account(table, row) for table, row in settings.providers.items()}
    models = {key: _model(key, row, accounts, settings.billing.currency) for key, row in settings.models.items()}
    built = Catalog(models, accounts)
    if settings.server.default_model is not None:
        try:
            built.resolve(settings.server.default_model)
        except Problem as problem:
            raise ConfigError(f"server.default_model: {problem.message}") from None
    return built


def make_account(table: str, row: config.Provider) -> Account:
    kind = KINDS.get(row.kind)
    if kind is None:
        close = difflib.get_close_matches(row.kind, list(KINDS), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else f"; it is one of {', '.join(sorted(KINDS))}"
        raise ConfigError(f"[providers.{table}]: this version has no provider kind '{row.kind}'{hint}")
    _refuse_meaningless(table, row, kind)
    base_url = (row.base_url or _own_address(table, row, kind)).rstrip("/")
    if not base_url:
        raise ConfigError(f"[providers.{table}]: kind '{kind.name}' needs a base_url")
    account = Account(
        table=table,
        name=row.name or table,
        region=row.region,
        kind=kind,
        base_url=base_url,
        secrets=tuple(secret.reveal() for secret in row.api_key),
        media_by_url=row.media == "pass",
        media_fetch=row.media_fetch,
        retries=row.retries,
        **{name: getattr(row, name) for name in ACCOUNT_SETTINGS},
        allowed_headers=frozenset(name.lower() for name in row.extra_headers),
        evidence_headers=tuple(name.lower() for name in row.evidence_headers),
    )
    if row.media is None:
        account = replace(account, media_by_url=account.kind.media_by_url)
    if account.kind.host.signer(account) is not None:
        _require_extra(table, kind)
    _refuse_unsendable(account)
    return account


def _own_address(table: str, row: config.Provider, kind: Kind) -> str:
    """The kind's own address, with the account's settings filled in."""
    address = kind.addresses.get(row.location or "", kind.base_url or "")
    for name in ACCOUNT_SETTINGS:
        if f"{{{name}}}" in address:
            value = getattr(row, name)
            if value is None:
                raise ConfigError(f"[providers.{table}]: kind '{kind.name}' needs '{name}', or a base_url")
            address = address.replace(f"{{{name}}}", value)
    return address


def _refuse_unsendable(account: Account) -> None:
    """What would fail at every request fails at the start."""
    place = f"[providers.{account.table}]"
    if RESERVED & {account.name, account.region}:
        raise ConfigError(f"{place}: '{AUTO}' and 'tensorzero' mean something in model names; choose another name")
    try:
        if account.kind.name != "sandbox":
            parse_url(account.base_url)
        if "?" in account.base_url or "#" in account.base_url:
            raise ValueError("it may have no query and no fragment")
    except ValueError as error:
        raise ConfigError(f"{place}: base_url cannot be used: {error}") from None
    try:
        for fixed in account.fixed_headers:
            for name, value in fixed[True].items():
                check_field(name, value)
        for name in account.allowed_headers:
            check_field(name, "x")
    except ValueError as error:
        raise ConfigError(f"{place}: api_key or extra_headers cannot be sent as a header: {error}") from None


def _refuse_meaningless(table: str, row: config.Provider, kind: Kind) -> None:
    """A setting without effect would be a silent lie."""
    if row.deployment and kind.name == "azure" and not row.api_version:
        raise ConfigError(
            f"[providers.{table}]: 'deployment' needs 'api_version'; without it the model is the deployment"
        )
    for name in OPTIONAL_SETTINGS:
        if getattr(row, name) not in (None, False) and name not in kind.reads:
            raise ConfigError(f"[providers.{table}]: '{name}' means nothing for kind '{kind.name}' in this version")
    for name, rows in kind.variants.items():
        if (value := getattr(row, name)) is not None and value not in rows:
            raise ConfigError(f"[providers.{table}]: '{name}' is one of {', '.join(sorted(rows))} for '{kind.name}'")


def _require_extra(table: str, kind: Kind) -> None:
    """What signs a provider's requests is missed at the start, not by a caller; a key needs nothing."""
    if kind.extra is None:
        return
    name, module = kind.extra
    try:
        importlib.import_module(module)
    except ImportError:
        raise ConfigError(
            f"[providers.{table}]: kind '{kind.name}' needs a library that is not there: pip install 'sealgate[{name}]'"
        ) from None


def _model(key: str, row: config.Model, accounts: Mapping[str, Account], currency: str) -> Model:
    routes = tuple(_route(key, route, row, accounts[route.provider], currency) for route in row.routes)
    _refuse_twins(key, routes)
    _refuse_incomparable(key, row, routes)
    weighted = any(route.weight != 1 for route in row.routes)
    policy = row.policy or ("weighted" if weighted else "order")
    return Model(key, row.type, routes, policy, row.aliases, row.context_tokens, row.max_output_tokens)


def _direct(account: Account, name: str) -> Route:
    """A route that no configuration names."""
    able = effective(account, model=name)
    native = account.kind.native(name)
    return Route(account, name, name, tariff=tariffs.own(account), capabilities=able, emulated=able - native)


def _route(key: str, row: config.Route, model: config.Model, account: Account, currency: str) -> Route:
    what = "capabilities"
    try:
        able = effective(account, model.capabilities, row.model)
        what = "refuses"
        refuses = refusable(row.refuses)
    except ValueError as error:
        raise ConfigError(f"[models.'{key}']: {what}: {error}") from None
    native = account.kind.native(row.model) if model.capabilities is None else frozenset(model.capabilities)
    return Route(
        refuses=refuses,
        capabilities=able,
        emulated=able - native,
        max_output_tokens=model.max_output_tokens,
        account=account,
        key=key,
        upstream_model=row.model,
        weight=row.weight,
        prices=row,
        tariff=tariffs.of(key, row, model, account, currency),
    )


def _refuse_twins(key: str, routes: Iterable[Route]) -> None:
    seen: set[str] = set()
    for route in routes:
        if route.id in seen:
            raise ConfigError(f"the model '{key}' has two routes called {route.id}; name the providers apart")
        seen.add(route.id)


def _refuse_incomparable(key: str, row: config.Model, routes: Iterable[Route]) -> None:
    """A policy that has nothing to go by would be a silent lie."""
    if not all(math.isfinite(route.weight) for route in row.routes):
        raise ConfigError(f"the model '{key}' has a route whose weight is no finite number from 0 up")
    if row.policy == "price" and any(route.tariff is None for route in routes):
        raise ConfigError(f"the model '{key}' has policy 'price', so each of its routes needs a price")
    if row.policy == "weighted" and not any(route.weight for route in row.routes):
        raise ConfigError(f"the model '{key}' has policy 'weighted', so one of its routes needs a weight above 0")
