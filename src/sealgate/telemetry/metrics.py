"""Metrics: counted in plain numbers on the event loop, turned into Prometheus families when somebody asks.

Requests are many and scrapes are few. The client library's own counters lock and walk their buckets at each call, which
costs a tenth of a request's time; it does what it is best at, the exposition.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from sealgate import __version__
from sealgate.telemetry import registry
from sealgate.telemetry.registry import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
Seen = tuple[str | int, ...]
"""Labels as they come; they are written out when somebody asks."""


class _Histogram:
    """Observations of one metric by labels: their sum, and the count in each bucket."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._bounds = (-math.inf, *metric.buckets)
        """A value's place among them is its bucket's place in the series, where the sum stands first."""
        self._series: dict[Seen, list[float]] = {}

    def observe(self, value: float, labels: Seen) -> None:
        self.count(self._series.get(labels) or self.series(labels), value)

    def series(self, labels: Seen) -> list[float]:
        """For `count`, by whoever observes it time and again."""
        return self._series.setdefault(labels, [0.0] * (len(self._bounds) + 1))

    def count(self, series: list[float], value: float) -> None:
        series[bisect_left(self._bounds, value)] += 1
        series[0] += value

    def family(self) -> Family:
        found = HistogramMetricFamily(self.metric.name, self.metric.help, labels=self.metric.labels)
        names = [*(str(float(bound)) for bound in self._bounds[1:]), "+Inf"]
        for labels, (total, *counts) in self._series.items():
            buckets = list(zip(names, accumulate(counts), strict=True))
            found.add_metric([str(label) for label in labels], buckets, sum_value=total)
        return found


class Metrics(Collector):
    """All declared metrics. Every method but `render` belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.client_retries = 0
        self._http = _Histogram(registry.HTTP_DURATION)
        self._inference = _Histogram(registry.GENAI_DURATION)
        self._first_content = _Histogram(registry.FIRST_CONTENT)
        self._tokens = _Histogram(registry.TOKEN_USAGE)
        self._answers: dict[tuple[str, str, str], tuple[list[float], list[float], list[float]]] = {}
        """Of each model that has answered: the series of its first content, of its prompts and of its answers."""
        self._gap = _Histogram(registry.EVENT_GAP)
        self._attempts: dict[Labels, int] = {}
        self._failovers: Counter[Labels] = Counter()
        self._ejections: Counter[Labels] = Counter()
        self._routes: Callable[[], Mapping[str, bool]] = dict
        self._active: Callable[[], Mapping[str, int]] = dict
        self._refusals: Counter[Labels] = Counter()
        self._limited: Counter[Labels] = Counter()
        self._shared: Callable[[], Mapping[Labels, bool]] = dict
        self._shed: Callable[[], Mapping[str, int]] = dict
        self._lag: Callable[[], float] = float
        self._memory: Callable[[], float] = float
        self._fetches: Callable[[], Mapping[Labels, int]] = dict
        self._log: Callable[[], tuple[bool, Mapping[str, int]]] = lambda: (False, {})
        self._pending: Callable[[], int] = int
        self._lost: Callable[[], int] = int
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def http_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered HTTP request."""
        self._http.observe(seconds, (method, status, route))

    def inference(self, operation: str, provider: str, model: str, outcome: str, seconds: float) -> None:
        """One model request that came to an end; ``provider`` and ``model`` are empty where none served it."""
        self._inference.observe(seconds, (operation, provider, model, outcome))

    def answered(self, operation: str, provider: str, model: str, seconds: float, prompt: int, completion: int) -> None:
        """The time to the first content of one answer, and its usage."""
        whose = (operation, provider, model)
        first, read, written = self._answers.get(whose) or self._answers_of(whose)
        self._first_content.count(first, seconds)
        self._tokens.count(read, prompt)
        self._tokens.count(written, completion)

    def _answers_of(self, whose: tuple[str, str, str]) -> tuple[list[float], list[float], list[float]]:
        tokens = self._tokens
        found = self._first_content.series(whose), tokens.series((*whose, "input")), tokens.series((*whose, "output"))
        self._answers[whose] = found
        return found

    def attempt(self, provider: str, outcome: str) -> None:
        """One upstream call."""
        labels = provider, outcome
        self._attempts[labels] = self._attempts.get(labels, 0) + 1

    def failover(self, provider: str, outcome: str) -> None:
        """A route of this provider was left for another, after this outcome."""
        self._failovers[provider, outcome] += 1

    def ejection(self, provider: str) -> None:
        """Something of this provider is left alone for a while."""
        self._ejections[provider,] += 1

    def longest_gap(self, provider: str, model: str, seconds: float) -> None:
        """The longest silence within one stream."""
        self._gap.observe(seconds, (provider, model))

    def edge_refusal(self, code: str) -> None:
        """One request or connection that the edge turned away or cut."""
        self._refusals[code,] += 1

    def limited(self, limit: str) -> None:
        """One request that a limit of its caller refused."""
        self._limited[limit,] += 1

    def watch_routes(self, routes: Callable[[], Mapping[str, bool]], active: Callable[[], Mapping[str, int]]) -> None:
        """Read these at each scrape: whether each route is in use, running upstream calls by provider."""
        self._routes, self._active = routes, active

    def watch_load(
        self, shed: Callable[[], Mapping[str, int]], lag: Callable[[], float], memory: Callable[[], float]
    ) -> None:
        """Read these at each scrape: refused requests by reason, seconds of lag, share of memory in use."""
        self._shed, self._lag, self._memory = shed, lag, memory

    def watch_issuers(self, fetches: Callable[[], Mapping[Labels, int]]) -> None:
        """Read this at each scrape: fetches of issuers' keys by issuer and outcome."""
        self._fetches = fetches

    def watch_limits(self, shared: Callable[[], bool]) -> None:
        """Read this at each scrape: whether limits are counted together with others."""
        self._shared = lambda: {(): shared()}

    def watch_log(self, log: Callable[[], tuple[bool, Mapping[str, int]]]) -> None:
        """Read this at each scrape: whether the log is sealed, and how many of its entries stand how."""
        self._log = log

    def watch_ledger(self, pending: Callable[[], int], lost: Callable[[], int]) -> None:
        """Read these at each scrape."""
        self._pending, self._lost = pending, lost

    def collect(self) -> Iterator[Family]:
        """The families, for the client library."""
        for histogram in (self._http, self._inference, self._first_content, self._tokens, self._gap):
            yield histogram.family()
        yield _counter(registry.ATTEMPTS, self._attempts)
        yield _counter(registry.FAILOVERS, self._failovers)
        yield _counter(registry.EJECTIONS, self._ejections)
        yield _gauges(registry.ROUTE_UP, self._routes())
        yield _gauges(registry.UPSTREAM_ACTIVE, self._active())
        yield _counter(registry.CLIENT_RETRIES, {(): self.client_retries})
        yield _counter(registry.SHED, {(reason,): count for reason, count in self._shed().items()})
        yield _counter(registry.LIMITED, self._limited)
        yield _gauges(registry.LIMITS_SHARED, self._shared())
        yield _counter(registry.EDGE_REFUSALS, self._refusals)
        yield _counter(registry.ISSUER_FETCHES, self._fetches())
        yield _gauge(registry.LOOP_LAG, self._lag())
        yield _gauge(registry.MEMORY_USED, self._memory())
        yield _counter(registry.LEDGER_LOST, {(): self._lost()})
        yield _gauge(registry.IN_FLIGHT, self.in_flight)
        yield _gauge(registry.LEDGER_PENDING, self._pending())
        sealed, entries = self._log()
        yield _gauge(registry.LOG_SEALED, sealed)
        yield _gauges(registry.LOG_ENTRIES, entries)
        yield _gauge(registry.BUILD_INFO, 1, __version__)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)


def _counter(metric: Metric, values: Mapping[Labels, int]) -> Family:
    found = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values.items():
        found.add_metric(labels, value)
    return found


def _gauge(metric: Metric, value: float, *labels: str) -> Family:
    found = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    found.add_metric(labels, value)
    return found


def _gauges(metric: Metric, values: Mapping[str, float] | Mapping[Labels, float]) -> Family:
    """One series for each value of the metric's one label, or of its labels."""
    found = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for label, value in values.items():
        found.add_metric((label,) if isinstance(label, str) else label, value)
    return found
