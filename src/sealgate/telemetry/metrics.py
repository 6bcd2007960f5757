"""Metrics, kept with the Prometheus client in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from sealgate import __version__
from sealgate.telemetry import registry
from sealgate.telemetry.registry import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """All declared metrics. Children are looked up once per label set: the client's own look-up costs more."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._families: dict[str, Any] = {metric.name: self._make(metric) for metric in registry.METRICS}
        self._children: dict[tuple[str, ...], Any] = {}
        self._child(registry.BUILD_INFO, __version__).set(1)
        self.in_flight: Gauge = self._families[registry.IN_FLIGHT.name]

    def _make(self, metric: Metric) -> Any:
        if metric.kind == "histogram":
            return Histogram(metric.name, metric.help, metric.labels, buckets=metric.buckets, registry=self._registry)
        kind = Counter if metric.kind == "counter" else Gauge
        return kind(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=self._registry)

    def _child(self, metric: Metric, *labels: str) -> Any:
        key = (metric.name, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._families[metric.name].labels(*labels)
        return child

    def http_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered HTTP request."""
        self._child(registry.HTTP_DURATION, method, route, str(status)).observe(seconds)

    def inference(self, operation: str, provider: str, model: str, outcome: str, seconds: float) -> None:
        """One model request that came to an end; ``provider`` and ``model`` are empty where none served it."""
        self._child(registry.GENAI_DURATION, operation, provider, model, outcome).observe(seconds)

    def first_content(self, operation: str, provider: str, model: str, seconds: float) -> None:
        """The time to the first content."""
        self._child(registry.FIRST_CONTENT, operation, provider, model).observe(seconds)

    def tokens(self, operation: str, provider: str, model: str, prompt: int, completion: int) -> None:
        """Usage of one answer."""
        self._child(registry.TOKEN_USAGE, operation, provider, model, "input").observe(prompt)
        self._child(registry.TOKEN_USAGE, operation, provider, model, "output").observe(completion)

    def attempt(self, provider: str, outcome: str) -> None:
        """One upstream call."""
        self._child(registry.ATTEMPTS, provider, outcome).inc()

    def watch_ledger(self, pending: Callable[[], int], lost: Callable[[], int]) -> None:
        """Read these at each scrape."""
        counter, seen = self._families[registry.LEDGER_LOST.name], [0]

        def collect() -> float:
            counter.inc(max(0, lost() - seen[0]))
            seen[0] = lost()
            return float(pending())

        self._families[registry.LEDGER_PENDING.name].set_function(collect)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)
