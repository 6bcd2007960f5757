"""Liveness, readiness, status and metrics."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from sealgate import __version__
from sealgate.api.call import Call
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.api.shapes import Health as State
from sealgate.api.shapes import RouteHealthList
from sealgate.errors import Problem, StorageError
from sealgate.providers.base import Json
from sealgate.relay import catalog
from sealgate.relay.hall import Hall
from sealgate.relay.plan import Seen
from sealgate.telemetry.metrics import CONTENT_TYPE


def routes(hall: Hall, guard: Guard) -> list[Route]:
    health = Health(hall, guard)
    return [
        Route("GET", "/health", "public", health.live, "Whether the process answers.", mounted=False, answer=State),
        Route("GET", "/health/ready", "public", health.ready, "Whether to send requests here; 503 with the reasons.",
              mounted=False, answer=State),
        Route("GET", "/health/models", "optional", health.models, "How each route is doing.",
              mounted=False, answer=RouteHealthList),
        Route("GET", "/status", "public", health.status, "Status and version.", mounted=False, answer=State),
        Route("GET", "/metrics", "public", health.metrics, "Metrics as Prometheus text.", mounted=False),
    ]  # fmt: skip


class Health:
    """The endpoints."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._guard = guard

    async def live(self, call: Call) -> None:
        """The process answers: nothing more is claimed."""
        await call.json({"status": "ok"})

    async def ready(self, call: Call) -> None:
        """Whether new requests should be sent here; 503 with the reasons where not."""
        reasons = []
        if self._hall.draining:
            reasons.append("draining")
        try:
            await self._hall.storage.check()
        except StorageError:
            reasons.append("storage_unavailable")
        if self._hall.transparency.strict and self._hall.transparency.sealed:
            reasons.append("log_sealed")
        await call.json({"status": "unavailable", "reasons": reasons} if reasons else {"status": "ok"},
                        503 if reasons else 200)  # fmt: skip

    async def models(self, call: Call) -> None:
        """How each configured route is doing, as this process knows it."""
        public = self._hall.settings.server.models_public
        await (self._guard.optional(call) if public else self._guard.caller(call))
        seen = self._hall.means.seen
        routes = [route for model in self._hall.catalog.models.values() for route in model.routes]
        await call.json({"object": "list", "data": [_standing(seen, route) for route in routes]})

    async def status(self, call: Call) -> None:
        """The version, and how the transparency log is: why it is sealed, if it is, and whether witnesses sign it."""
        log = self._hall.transparency
        state: Json = {"state": log.state}
        if log.state != "off":
            state["standing"] = log.standing
        if log.sealed:
            state["reason"] = log.sealed
        await call.json({"status": "ok", "version": __version__, "log": state})

    async def metrics(self, call: Call) -> None:
        """Prometheus text, for everyone, for administrators, or for nobody, as configured."""
        access = self._hall.settings.telemetry.metrics
        if access == "off":
            raise Problem("unknown_route")
        if access == "key":
            await self._guard.admin(call)
        await call.respond(200, self._hall.metrics.render(), CONTENT_TYPE.encode())


def _standing(seen: Seen, route: catalog.Route) -> Json:
    found = seen.health.of_route(route)
    until = datetime.fromtimestamp(time.time() + seen.health.remaining(found), UTC) if found.state != "up" else None
    return {
        "route": route.id,
        "state": found.state,
        "until": until.isoformat(timespec="milliseconds").replace("+00:00", "Z") if until else None,
        "last_error": found.last.name.lower() if found.last else None,
        "refuses": sorted(route.refuses | seen.quirks.of(route)),
    }
