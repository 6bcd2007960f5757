"""Liveness, readiness, status and metrics."""

from __future__ import annotations

from sealgate import __version__
from sealgate.api.call import Call
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.api.shapes import Health as State
from sealgate.errors import Problem, StorageError
from sealgate.relay.hall import Hall
from sealgate.telemetry.metrics import CONTENT_TYPE


def routes(hall: Hall, guard: Guard) -> list[Route]:
    health = Health(hall, guard)
    return [
        Route("GET", "/health", "public", health.live, "Whether the process answers.", mounted=False, answer=State),
        Route("GET", "/health/ready", "public", health.ready, "Whether to send requests here; 503 with the reasons.",
              mounted=False, answer=State),
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
        await call.json({"status": "unavailable", "reasons": reasons} if reasons else {"status": "ok"},
                        503 if reasons else 200)  # fmt: skip

    async def status(self, call: Call) -> None:
        await call.json({"status": "ok", "version": __version__})

    async def metrics(self, call: Call) -> None:
        """Prometheus text, for everyone, for administrators, or for nobody, as configured."""
        access = self._hall.settings.telemetry.metrics
        if access == "off":
            raise Problem("unknown_route")
        if access == "key":
            await self._guard.admin(call)
        await call.respond(200, self._hall.metrics.render(), CONTENT_TYPE.encode())
