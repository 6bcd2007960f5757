"""The roof: builds every object once, hands it on, closes in reverse order."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from sealgate import config
from sealgate.api import (
    accounts,
    attestation,
    audio,
    automation,
    billing,
    chat,
    embeddings,
    episodes,
    health,
    me,
    messages,
    models,
    receipts,
    reference,
    responses,
)
from sealgate.api import log as log_doors
from sealgate.api import sessions as session_calls
from sealgate.api.call import Receive, Scope, Send
from sealgate.api.front import Front
from sealgate.api.guard import Guard
from sealgate.api.routes import Routes
from sealgate.auth.keys import CreatedKey, KeyStore, ensure_first_key
from sealgate.auth.pepper import load_pepper
from sealgate.auth.tokens import Tokens
from sealgate.config import Settings
from sealgate.errors import ConfigError, StorageError
from sealgate.limits import ledger
from sealgate.limits.budgets import Budgets
from sealgate.limits.memory import MemoryLimiter
from sealgate.limits.redis import RedisLimiter
from sealgate.limits.shelter import Shelter
from sealgate.outward.documents import Documents
from sealgate.outward.http1 import Http1Client
from sealgate.providers.discover import discover
from sealgate.receipts import software, store
from sealgate.receipts.attestation import Keys, jwks_sha256
from sealgate.receipts.attester import Attester
from sealgate.receipts.inference import Inference
from sealgate.receipts.issuer import Issuer, NoReceipts, Receipts, SealedReceipts, finish_unknown
from sealgate.receipts.keys import SigningKeys
from sealgate.receipts.log import Log, NoLog, open_log
from sealgate.receipts.witnesses import Witnesses
from sealgate.relay import catalog
from sealgate.relay.budget import RetryBudget
from sealgate.relay.hall import Hall
from sealgate.relay.health import Health
from sealgate.relay.kept import Kept
from sealgate.relay.load import Load
from sealgate.relay.pace import Paces
from sealgate.relay.plan import Seen
from sealgate.relay.quirks import Quirks, setting
from sealgate.relay.recall import Recall
from sealgate.relay.turns import Turns
from sealgate.relay.upstreams import Upstreams
from sealgate.relay.walk import Means
from sealgate.sessions.sessions import Sessions
from sealgate.sessions.store import forget as forget_sessions
from sealgate.storage import Storage, audit, open_storage
from sealgate.storage.retention import MOMENT, Retention, Rule
from sealgate.telemetry import logs
from sealgate.telemetry.metrics import Metrics


@dataclass(slots=True)
class Gateway:
    """A gateway that is ready to answer. ``first_key`` is the key that this start made, if it made one."""

    front: Front
    hall: Hall
    keys: KeyStore
    tokens: Tokens
    signing_keys: SigningKeys
    attester: Attester
    witnesses: Witnesses | None
    retention: Retention
    begun: Settings
    """The configuration of the start."""
    first_key: CreatedKey | None
    flush: Callable[[], None]
    """Writes what waits in the log."""
    retired: list[Upstreams] = field(default_factory=list)
    """Of earlier configurations: running requests may still use them."""
    reloading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def drain(self) -> None:
        """From now on readiness is false."""
        self.hall.draining = True

    async def reload(self, load: Callable[[], Settings]) -> None:
        """Take a new configuration, or keep the old one and say why (row I4)."""
        hall = self.hall
        async with self.reloading:
            try:
                settings = await with_discovered(load())
                if settings.receipts.enabled:
                    await self.signing_keys.prepare()
                fresh = catalog.build(settings)
                await self.attester.configure(settings)
                upstreams = Upstreams(settings.providers)
            except (ConfigError, StorageError) as error:
                hall.log.error("reload_refused", error=str(error))
                await self._record("configuration.refused", error=str(error))
                return
            self.retired.append(hall.means.upstreams)
            # What was learned of the old routes and keys is forgotten with them.
            hall.settings, hall.catalog = settings, fresh
            hall.means = means(settings, upstreams, hall.metrics, hall.means.budget, hall.log)
            hall.transparency.describes(software.of(settings))
            hall.inference.configure(settings.providers)
            hall.receipts = issuer(settings, self.signing_keys, hall.transparency, self.attester)
            hall.load.resize(settings.server.max_in_flight)
            hall.turns.configure(settings)
            self.tokens.configure(settings.auth.issuers)
            self.keys.max_active = settings.auth.max_active_keys
            hall.recall.keep_seconds = settings.reasoning.keep_seconds
            hall.kept.keep_days = settings.responses.keep_days
            hall.log.info("reloaded", models=len(fresh.models))
            if waiting := config.changed_at_start(self.begun, settings):
                hall.log.warning(
                    "restart_needed", setting=", ".join(waiting), reason="these are read at the start only"
                )
            await self._record("configuration.reloaded", models=len(fresh.models))

    async def _record(self, action: str, **detail: object) -> None:
        """Into the audit trail; a configuration is taken, or not, whether or not it can be recorded."""
        act = partial(audit.record, actor=audit.SYSTEM, action=action, at=time.time_ns() // 1000, detail=detail)
        try:
            await self.hall.storage.write(act)
        except StorageError as error:
            self.hall.log.error("audit_failed", error=str(error))

    async def aclose(self) -> None:
        """Close everything; the storage last, because it writes what is still queued."""
        for upstreams in (*self.retired, self.hall.means.upstreams):
            await upstreams.aclose()
        await self.hall.turns.aclose()
        await self.tokens.aclose()
        await self.hall.recall.aclose()
        await self.hall.sessions.aclose()
        if self.witnesses is not None:
            await self.witnesses.aclose()
        await self.attester.aclose()
        await self.hall.inference.aclose()
        await self.hall.transparency.aclose()
        await self.signing_keys.aclose()
        await self.keys.aclose()
        await self.hall.budgets.aclose()
        await self.retention.aclose()
        await self.hall.storage.aclose()
        self.flush()


BUILT = 1_735_689_600
"""Unix seconds of 2025-01-01: a clock before that was never set."""


def require_clock(now: float) -> None:
    """Refuse to write rows and check expiries by a clock that was never set (row I11). Raises `ConfigError`."""
    if now < BUILT:
        shown = time.strftime("%Y-%m-%d", time.gmtime(now))
        raise ConfigError(f"this machine's clock says {shown}, long before this version was made; set it first")


async def open_gateway(settings: Settings) -> Gateway:
    """Raises `ConfigError`; then nothing is left open."""
    require_clock(time.time())
    log, access, flush = logs.configure(settings.telemetry.level, settings.telemetry.format)
    settings = await with_discovered(settings)
    fresh, upstreams = catalog.build(settings), Upstreams(settings.providers)
    shared = None if settings.limits.url is None else Shelter(RedisLimiter(settings.limits.url.reveal()), log)
    storage = open_storage(settings.database_url)
    sessions = Sessions(storage)
    try:
        pepper = await load_pepper(storage, settings.data_dir, settings.auth.pepper)
        keys = KeyStore(storage, pepper, max_active_keys=settings.auth.max_active_keys)
        first_key = await ensure_first_key(keys) if settings.auth.required else None
        await keys.start()
        signing_keys = SigningKeys(storage, settings.data_dir)
        if settings.receipts.enabled:
            await signing_keys.prepare()
        await signing_keys.start()
        transparency = await opened_log(settings, storage)
        attester = Attester(partial(attested_keys, signing_keys, transparency), settings.server.tls_cert)
        await attester.configure(settings)
        budgets = Budgets(storage, finish=partial(finish_unknown, signing_keys))
        await budgets.start()
        await sessions.start()
    except BaseException:
        await storage.aclose()
        raise
    metrics = Metrics()
    metrics.watch_ledger(lambda: storage.pending, lambda: storage.lost_appends)
    load = Load(settings.server.max_in_flight, random.random)
    metrics.watch_load(lambda: load.refused, lambda: load.lag, lambda: load.memory)
    ways = means(settings, upstreams, metrics, RetryBudget(), log)
    turns = Turns(shared or MemoryLimiter(), settings, metrics.limited)
    recall = Recall(storage, pepper, log, lambda: time.time_ns() // 1000, settings.reasoning.keep_seconds)
    kept = Kept(storage, pepper, time.time, settings.responses.keep_days)
    hall = Hall(settings, fresh, ways, storage, recall, metrics, log, access, load, turns, budgets, sessions, kept)
    hall.transparency = transparency
    inference = hall.inference = Inference(Documents().get)
    inference.configure(settings.providers)
    inference.start()
    hall.receipts = issuer(settings, signing_keys, transparency, attester)
    attester.start()
    witnesses = watched_log(hall, signing_keys, transparency, attester) if isinstance(transparency, Log) else None
    metrics.watch_routes(lambda: _routes_up(hall), lambda: _active(hall))
    if shared is not None:
        await shared.start()
        metrics.watch_limits(lambda: shared.up)
    tokens = Tokens(storage, keys, settings.auth.issuers, Documents().get)
    tokens.start()
    recall.start()
    metrics.watch_issuers(lambda: tokens.fetches)
    front = Front(hall, routes(hall, keys, tokens, signing_keys, attester))
    days = settings.retention
    rules = [Rule(days.receipt_days, store.forget), Rule(days.ledger_days, ledger.forget)]
    # A session lasts a day at most: of one that began a day earlier than that, the end is old enough too.
    rules.append(Rule(days.ledger_days and days.ledger_days + 1, forget_sessions))
    rules.append(Rule(MOMENT, kept.forget))  # it knows itself what is old, also after a reload
    retention = Retention(storage, rules)
    retention.start()
    return Gateway(front, hall, keys, tokens, signing_keys, attester, witnesses, retention, settings, first_key, flush)


def means(settings: Settings, upstreams: Upstreams, metrics: Metrics, budget: RetryBudget, log: logs.Logger) -> Means:
    def learned(route: catalog.Route, names: Iterable[str]) -> None:
        known = quirks.of(route)
        log.warning("parameter_refused", provider=route.provider, routed_model=route.id, parameters=", ".join(names),
                    setting=setting(route, known))  # fmt: skip

    quirks = Quirks(learned)
    seen = Seen(Health(ejected=metrics.ejection), Paces(), quirks=quirks)
    return Means(upstreams, settings.timeouts, seen, budget, set())


def issuer(settings: Settings, keys: SigningKeys, transparency: Log | NoLog, attester: Attester) -> Receipts:
    """Who issues receipts under this configuration, and while the log is as it is."""
    if not settings.receipts.enabled:
        return NoReceipts()
    if transparency.sealed and transparency.strict:
        return SealedReceipts()
    return Issuer(keys, settings.issuer, software.of(settings), transparency.terms, attester)


def attested_keys(keys: SigningKeys, transparency: Log | NoLog) -> Keys:
    """What evidence of the machine is bound to, besides the certificate."""
    return Keys(jwks_sha256(keys.jwks()), transparency.log.vkey if isinstance(transparency, Log) else None)


async def opened_log(settings: Settings, storage: Storage) -> Log | NoLog:
    """The transparency log, where there is one. Raises `ConfigError`, `StorageError`."""
    if not (settings.receipts.enabled and settings.receipts.log.enabled):
        return NoLog()
    local = settings.database_url.startswith("sqlite")
    configured = settings.receipts.log
    runs = software.of(settings)
    return await open_log(storage, settings.data_dir, configured, settings.issuer, runs, alone=local)


def watched_log(hall: Hall, keys: SigningKeys, log: Log, attester: Attester) -> Witnesses:
    """Let the log's state be seen, receipts follow it, and witnesses sign it."""

    def seal() -> None:
        hall.receipts = issuer(hall.settings, keys, log, attester)

    def entries() -> tuple[bool, dict[str, int]]:
        shown = {"published": log.published, "witnessed": log.witnessed}
        return log.sealed is not None, {name: each.size if each else 0 for name, each in shown.items()}

    log.on_seal = seal
    hall.metrics.watch_log(entries)
    witnesses = Witnesses(log, Documents().post)
    witnesses.start()
    return witnesses


def _routes_up(hall: Hall) -> dict[str, bool]:
    found = (route for model in hall.catalog.models.values() for route in model.routes)
    return {route.id: hall.means.seen.health.of_route(route).state == "up" for route in found}


def _active(hall: Hall) -> dict[str, int]:
    """By provider's name, which several accounts may share."""
    found: Counter[str] = Counter()
    for account in hall.catalog.accounts.values():
        found[account.name] += hall.means.budget.active[account.table]
    return found


def routes(hall: Hall, keys: KeyStore, tokens: Tokens, signing_keys: SigningKeys, attester: Attester) -> Routes:
    """Every endpoint there is."""
    guard = Guard(keys, tokens, hall.load, hall.turns, required=hall.settings.auth.required)
    since = int(time.time())
    table = [*chat.routes(hall, guard), *models.routes(hall, guard, since), *health.routes(hall, guard)]
    table += [*embeddings.routes(hall, guard), *audio.routes(hall, guard)]
    table += [*accounts.routes(keys, guard), *me.routes(hall, guard, since)]
    table += messages.routes(hall, guard)
    table += responses.routes(hall, guard)
    table += [*receipts.routes(hall, guard, signing_keys), *log_doors.routes(hall, guard)]
    table += attestation.routes(hall, guard, attester)
    table += billing.routes(hall, guard)
    table += [*session_calls.routes(hall, guard), *automation.routes(hall, guard, since), *episodes.routes(hall, guard)]
    return Routes([*table, *reference.routes(table, lambda: tokens.logins)])


async def with_discovered(settings: Settings) -> Settings:
    if not settings.discovers:
        return settings
    client = Http1Client()
    try:
        return await discover(settings, client)
    finally:
        await client.aclose()


class Application:
    """The gateway as an ASGI application, opened and closed by its lifespan.

    ``gateway`` is there between the two. The lifespan raises what kept the gateway from opening.
    """

    def __init__(self, settings: Settings) -> None:
        self.gateway: Gateway | None = None
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif self.gateway is not None:
            await self.gateway.front(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self.gateway = await open_gateway(self._settings)
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.gateway.aclose()
        await send({"type": "lifespan.shutdown.complete"})


def asgi() -> Application:
    """For another ASGI server: ``uvicorn --factory sealgate.app:asgi``.

    The receive deadlines, header rules and limits on connections of `sealgate.api.edge` are in ``sealgate serve``
    only; behind another server they are the proxy's job.
    """
    return Application(config.load())
