"""Every metric and every log field, declared once.

Three things read this module, which is the point of its existing: the code that measures (a name that is not here
cannot be used), the reference documentation, and a test that compares what is emitted with what is declared.
Names follow OpenTelemetry's semantic conventions for HTTP and generative AI where those have one. No field or label
ever holds content, a key, a header or a query string; model labels hold configured routes only, so a caller cannot
make new series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family as Prometheus exposes it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


HTTP_DURATION = Metric(
    "http_server_request_duration_seconds",
    "histogram",
    "Time from a request's head to the end of its answer.",
    ("http_request_method", "http_response_status_code", "http_route"),
    SECONDS,
)
IN_FLIGHT = Metric("sealgate_requests_in_flight", "gauge", "Requests being answered now.")
GENAI_DURATION = Metric(
    "gen_ai_server_request_duration_seconds",
    "histogram",
    "Time from a model request to the end of its answer, by the provider that served it.",
    ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_response_model", "outcome"),
    SECONDS,
)
FIRST_CONTENT = Metric(
    "gen_ai_server_time_to_first_token_seconds",
    "histogram",
    "Time from a request to the first content of its answer.",
    ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_response_model"),
    SECONDS,
)
TOKEN_USAGE = Metric(
    "gen_ai_client_token_usage",
    "histogram",
    "Tokens per answer, as the provider reported them.",
    ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_response_model", "gen_ai_token_type"),
    TOKENS,
)
ATTEMPTS = Metric(
    "sealgate_upstream_attempts_total",
    "counter",
    "Calls to providers by how they ended.",
    ("gen_ai_provider_name", "outcome"),
)
SHED = Metric(
    "sealgate_requests_shed_total",
    "counter",
    "Requests refused with 503 because of overload: in_flight, event_loop or memory.",
    ("reason",),
)
LIMITED = Metric(
    "sealgate_requests_limited_total",
    "counter",
    "Requests refused with 429 because of a limit of their caller: requests_per_minute, requests_per_day, "
    "tokens_per_minute or concurrency.",
    ("limit",),
)
LIMITS_SHARED = Metric(
    "sealgate_limits_shared",
    "gauge",
    "With `limits.url`: 1 while the store answers, 0 while each process counts alone.",
)
EDGE_REFUSALS = Metric(
    "sealgate_edge_refusals_total",
    "counter",
    "Requests and connections that ended before an endpoint saw them, or because their caller stopped reading.",
    ("code",),
)
LOOP_LAG = Metric(
    "sealgate_event_loop_lag_seconds", "gauge", "Longest delay of the event loop in the last 10 to 20 seconds."
)
MEMORY_USED = Metric("sealgate_memory_used_ratio", "gauge", "Resident memory as a share of what the process may have.")
FAILOVERS = Metric(
    "sealgate_failovers_total",
    "counter",
    "Times a route was left for another, by the provider that was left and why.",
    ("gen_ai_provider_name", "outcome"),
)
EJECTIONS = Metric(
    "sealgate_ejections_total",
    "counter",
    "Times a provider, a key or a route was left alone after failures in a row.",
    ("gen_ai_provider_name",),
)
ROUTE_UP = Metric(
    "sealgate_route_up",
    "gauge",
    "1 where a configured route is in use, 0 while it cools down or is ejected.",
    ("route",),
)
UPSTREAM_ACTIVE = Metric(
    "sealgate_upstream_in_flight", "gauge", "Calls to providers under way.", ("gen_ai_provider_name",)
)
EVENT_GAP = Metric(
    "sealgate_stream_longest_gap_seconds",
    "histogram",
    "The longest silence between two events of a stream, after its first content.",
    ("gen_ai_provider_name", "gen_ai_response_model"),
    SECONDS,
)
CLIENT_RETRIES = Metric(
    "sealgate_client_retries_total",
    "counter",
    "Chat requests that an SDK says it sends again (`x-stainless-retry-count`).",
)
ISSUER_FETCHES = Metric(
    "sealgate_issuer_fetches_total",
    "counter",
    "Times the keys of a token issuer were fetched, by how that ended: ok or failed.",
    ("issuer", "outcome"),
)
LEDGER_PENDING = Metric("sealgate_ledger_pending", "gauge", "Rows waiting for their commit.")
LEDGER_LOST = Metric("sealgate_ledger_lost_total", "counter", "Rows that could not be written.")
LOG_SEALED = Metric(
    "sealgate_log_sealed", "gauge", "1 where the transparency log is sealed: nothing more is entered. Look at /status."
)
LOG_ENTRIES = Metric(
    "sealgate_log_entries",
    "gauge",
    "Entries of the transparency log under its last checkpoint: published, and witnessed by a quorum.",
    ("standing",),
)
BUILD_INFO = Metric("sealgate_build_info", "gauge", "Always 1; the version is a label.", ("version",))

METRICS = (
    HTTP_DURATION,
    IN_FLIGHT,
    GENAI_DURATION,
    FIRST_CONTENT,
    TOKEN_USAGE,
    ATTEMPTS,
    FAILOVERS,
    EJECTIONS,
    ROUTE_UP,
    UPSTREAM_ACTIVE,
    EVENT_GAP,
    CLIENT_RETRIES,
    SHED,
    LIMITED,
    LIMITS_SHARED,
    EDGE_REFUSALS,
    LOOP_LAG,
    MEMORY_USED,
    ISSUER_FETCHES,
    LEDGER_PENDING,
    LEDGER_LOST,
    LOG_SEALED,
    LOG_ENTRIES,
    BUILD_INFO,
)

LOG_FIELDS: dict[str, str] = {
    "timestamp": "When, in ISO 8601, UTC.",
    "level": "debug, info, warning or error.",
    "event": "What happened, as a short fixed name.",
    "request_id": "The request, as in X-Request-ID.",
    "method": "HTTP method.",
    "route": "The endpoint as declared, never the raw path.",
    "status": "HTTP status; 499 where the caller left.",
    "code": "Public error code.",
    "seconds": "Duration.",
    "client": "The peer's address.",
    "customer": "The customer's id.",
    "key": "The key's id, never the key.",
    "user": "The id of a token's user.",
    "issuer": "The name of a token issuer's table in the configuration.",
    "routed_model": "The route that served.",
    "outcome": "How the answer ended, as in the ledger.",
    "attempts": "Upstream calls made.",
    "prompt_tokens": "Tokens of the prompt.",
    "completion_tokens": "Tokens of the answer.",
    "stream": "Whether it was streamed.",
    "provider": "A provider's name.",
    "failure": "Failure class of an upstream call.",
    "upstream_status": "HTTP status of an upstream call.",
    "error": "An operator's error: configuration, storage, or an exception's type.",
    "trace": "Where an unexpected exception came from: files, lines and functions, no values.",
    "address": "Where the server listens.",
    "models": "How many models are offered.",
    "reason": "Why something was done.",
    "parameters": "Names of request parameters.",
    "count": "How many.",
    "setting": "What to write into the configuration.",
}
"""Field name to description; anything else is dropped before a line is written."""
