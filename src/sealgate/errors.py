"""Every error that can leave this house, declared once.

::

    Exception
    ├── ConfigError            the operator wrote something that cannot work; said at start or reload
    ├── StorageError           the database did not take or give what was asked
    ├── Problem                what a caller is told: a stable code from the table below
    └── UpstreamError          what a failed attempt at a provider says about that route

Two tables live here. ``CODES`` holds every public code with its HTTP status: the envelope,
the reference documentation and the tests all read it. ``Failure`` is the closed list of things an attempt can say;
it decides whether the walk goes on, and which public code is used when no route is left.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TYPES: dict[int, str] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "upstream_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""HTTP status to ``error.type``; every other 4xx is ``invalid_request_error``."""


@dataclass(frozen=True, slots=True)
class Code:
    """One public error code.

    ``message`` is the sentence used when the raiser has nothing more exact to say. ``retry_after`` is sent as the
    ``Retry-After`` header, in seconds. ``should_retry`` False is sent as ``x-should-retry: false``, which stops the
    official SDKs from sending the same request three times.
    """

    name: str
    status: int
    message: str
    retry_after: int | None = None
    should_retry: bool | None = None

    @property
    def type(self) -> str:
        return TYPES.get(self.status, "invalid_request_error")


def _table(*codes: Code) -> dict[str, Code]:
    return {code.name: code for code in codes}


CODES: dict[str, Code] = _table(
    # Transport and HTTP: matrix rows A.
    Code("invalid_http", 400, "The request is not valid HTTP/1.1."),
    Code("ambiguous_length", 400, "Content-Length and Transfer-Encoding were both sent."),
    Code("invalid_host", 400, "Exactly one valid Host header is required."),
    Code("invalid_header", 400, "A request header is malformed."),
    Code("duplicate_header", 400, "A control header was sent more than once."),
    Code("unknown_route", 404, "There is no such endpoint."),
    Code("method_not_allowed", 405, "This endpoint does not take that method."),
    Code("request_timeout", 408, "The request was not received in time."),
    Code("request_too_large", 413, "The request body is larger than this server accepts."),
    Code("uri_too_long", 414, "The request line is longer than 8 KiB."),
    Code("unsupported_encoding", 415, "Compressed request bodies are not accepted."),
    Code("unsupported_media_type", 415, "This endpoint reads application/json."),
    Code("misdirected_request", 421, "This server does not answer for that host name."),
    Code("https_required", 426, "This server answers plain HTTP on its own machine only; use https."),
    Code("headers_too_large", 431, "The request headers are larger than 32 KiB or more than 100."),
    # Who is asking: matrix rows B.
    Code("missing_api_key", 401, "No API key was sent. Use the header 'Authorization: Bearer <key>'."),
    Code("invalid_api_key", 401, "The API key is not valid."),
    Code("invalid_token", 401, "The token is not valid."),
    Code("admin_key_required", 403, "This call needs an administrator's key."),
    Code("scope_exceeds_caller", 403, "A key cannot be given more than its maker has."),
    Code("cross_site_request", 403, "Without keys, requests from web pages of other sites are refused."),
    Code("model_not_allowed", 403, "This API key may not use that model."),
    Code(
        "unpriced_model", 403, "This API key has a budget, and no route of that model has a price.", should_retry=False
    ),
    Code("not_found", 404, "There is no such object."),
    Code("not_yet_logged", 404, "The receipt waits for its place in the log.", retry_after=1),
    Code("too_many_keys", 409, "There are as many active keys as a customer may have. Revoke one first."),
    Code("key_not_active", 409, "The key is revoked or has expired."),
    Code("auth_unavailable", 503, "Keys and tokens cannot be checked at the moment.", retry_after=1),
    # The body: matrix rows C.
    Code("invalid_json", 400, "The body is not valid JSON."),
    Code("invalid_body", 400, "The body must be a JSON object."),
    Code("invalid_encoding", 400, "The body must be UTF-8 without a byte order mark."),
    Code("invalid_number", 400, "A number is out of range."),
    Code("json_too_deep", 400, "The body is nested more than 64 levels deep."),
    Code("too_many_items", 400, "The body has more items than this server accepts."),
    Code("invalid_multipart", 400, "The body is not a well-formed multipart form."),
    Code("invalid_model", 400, "A model name is required."),
    Code("invalid_messages", 400, "The messages are malformed."),
    Code("invalid_parameter", 400, "A parameter has the wrong type or is out of range."),
    Code("unsupported_parameter", 400, "The model cannot honour a parameter."),
    Code("unsupported_schema", 400, "The constraint cannot be satisfied or is not supported."),
    Code("invalid_extra_body", 400, "extra_body may not set this field."),
    Code("invalid_media", 400, "A data URL is malformed."),
    Code("media_url_not_allowed", 400, "This route takes media as data URLs only."),
    Code("media_fetch_failed", 400, "What a URL in the request points to could not be fetched."),
    Code("invalid_nonce", 400, "X-Tresor-Nonce must be 1 to 128 printable ASCII characters."),
    Code("invalid_receipt_header", 400, "X-Tresor-Receipt must be 'true' or 'false'."),
    Code("invalid_timeout_override", 400, "X-Tresor-Timeout-Seconds must be one whole number from 1 to 600."),
    Code("invalid_idempotency_key", 400, "Idempotency-Key must be 1 to 255 characters, sent once."),
    Code("invalid_episode_id", 400, "The episode id must be a UUID of version 7 that is not in the future."),
    # Names, routes, limits: matrix rows D.
    Code("responses_not_kept", 400, "This server keeps no responses: send the whole conversation as input."),
    Code(
        "previous_response_not_found",
        400,
        "There is no such response, or it was not kept: `store: true` keeps one.",
    ),
    Code("model_not_found", 404, "There is no such model."),
    Code("session_not_found", 404, "There is no such session."),
    Code("session_expired", 400, "The session has ended. Open another one."),
    Code("session_model_mismatch", 400, "The session is for another model."),
    Code("conflicting_route", 400, "The region or provider given contradicts the model name."),
    Code("no_matching_route", 404, "No route of this model lies in that region or at that provider."),
    Code("invalid_failover", 400, "failover must be a list of at most 5 known model names."),
    Code("rate_limit_exceeded", 429, "Too many requests.", retry_after=1),
    Code("token_limit_exceeded", 429, "Too many tokens.", retry_after=1),
    Code("concurrency_limit", 429, "Too many requests at the same time.", retry_after=1),
    Code("insufficient_quota", 402, "The budget has no room for this request.", should_retry=False),
    Code("no_healthy_route", 503, "No route of this model can be used at the moment.", retry_after=1),
    Code("overloaded", 503, "The server is at its limit.", retry_after=1),
    # Upstream: matrix rows E and F.
    Code("context_length_exceeded", 400, "The request is longer than the model's context."),
    Code("upstream_invalid_request", 400, "The provider refused the request."),
    Code("upstream_unprocessable", 422, "The provider refused the request."),
    Code("upstream_request_too_large", 413, "The provider refused the request as too large."),
    Code("upstream_rate_limited", 429, "The provider's rate limit is reached.", retry_after=2),
    Code("upstream_quota", 429, "The provider's quota for this gateway is used up.", should_retry=False),
    Code("upstream_auth_failed", 502, "The gateway's credential was refused by the provider.", should_retry=False),
    Code("upstream_unreachable", 502, "The provider could not be reached.", should_retry=False),
    Code("upstream_connect_timeout", 504, "The provider could not be reached in time.", should_retry=False),
    Code("upstream_tls_error", 502, "The provider's certificate was not accepted.", should_retry=False),
    Code("upstream_timeout", 504, "The provider did not answer in time.", should_retry=False),
    Code("upstream_error", 502, "The provider failed.", should_retry=False),
    Code("upstream_overloaded", 503, "The provider is overloaded.", should_retry=False),
    Code("upstream_bad_response", 502, "The provider's answer could not be understood.", should_retry=False),
    Code(
        "upstream_redirect", 502, "The provider answered with a redirect, which is never followed.", should_retry=False
    ),
    Code("upstream_response_too_large", 502, "The provider's answer is too large.", should_retry=False),
    Code("upstream_pool_exhausted", 503, "Too many requests wait for a connection to the provider.", retry_after=1),
    Code(
        "upstream_stream_truncated",
        502,
        "The provider's stream ended before the answer was complete.",
        should_retry=False,
    ),
    Code(
        "upstream_stream_reset",
        502,
        "The connection to the provider broke before the answer was complete.",
        should_retry=False,
    ),
    Code(
        "upstream_stream_timeout",
        504,
        "The provider stopped sending before the answer was complete.",
        should_retry=False,
    ),
    Code("schema_not_satisfied", 502, "The answer did not satisfy the schema, also repaired.", should_retry=False),
    Code("upstream_bad_stream", 502, "The provider's stream could not be understood.", should_retry=False),
    # Ourselves: matrix rows F18, H, I.
    Code(
        "log_sealed",
        503,
        "The transparency log is sealed, and without it this server answers nothing.",
        should_retry=False,
    ),
    Code("storage_unavailable", 503, "The request could not be recorded, so it was not answered.", retry_after=5),
    Code("attestation_unavailable", 503, "There is no evidence at the moment.", retry_after=5),
    Code("gateway_shutting_down", 503, "The server is shutting down.", retry_after=1),
    Code("internal_error", 500, "Something went wrong on the server.", should_retry=False),
)


class ConfigError(Exception):
    """The operator's configuration cannot work; the text says where and what to write instead."""


class StorageError(Exception):
    """The database did not take or give what was asked."""


@dataclass(frozen=True, slots=True)
class Detail:
    """One place in a request that is wrong: ``loc`` is the path in its ``place``, ``kind`` a short machine word."""

    loc: tuple[str | int, ...]
    msg: str
    kind: str = "value_error"
    place: str = "body"


class Problem(Exception):  # noqa: N818 - the field's word for it (RFC 9457)
    """Something a caller is told. ``code`` names a row of ``CODES``; anything else is a programming error."""

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        details: Sequence[Detail] = (),
        attempts: Sequence[Mapping[str, Any]] = (),
        figures: Mapping[str, str] | None = None,
    ) -> None:
        self.code = CODES[code]
        self.message = message or self.code.message
        self.param = param
        self.retry_after = self.code.retry_after if retry_after is None else retry_after
        self.details = details
        self.attempts = attempts
        self.figures = figures or {}
        """Amounts the caller is told, by their names."""
        super().__init__(f"{code}: {self.message}")

    @property
    def status(self) -> int:
        return self.code.status

    def body(self) -> dict[str, Any]:
        """The ``error`` object."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": self.code.type,
            "param": self.param,
            "code": self.code.name,
            "status": self.code.status,
        }
        error |= self.figures
        if self.attempts:
            error["attempts"] = list(self.attempts)
        return error


class Failure(enum.Enum):
    """What a failed attempt says about the route it was made on. The value is the public code if no route is left."""

    UNREACHABLE = "upstream_unreachable"
    CONNECT_TIMEOUT = "upstream_connect_timeout"
    TLS = "upstream_tls_error"
    TIMEOUT = "upstream_timeout"
    RATE_LIMITED = "upstream_rate_limited"
    QUOTA = "upstream_quota"
    CREDENTIAL = "upstream_auth_failed"
    MODEL_GONE = "model_not_found"
    OVERLOADED = "upstream_overloaded"
    SERVER_ERROR = "upstream_error"
    BAD_RESPONSE = "upstream_bad_response"
    REDIRECT = "upstream_redirect"
    TOO_LARGE = "upstream_response_too_large"
    POOL = "upstream_pool_exhausted"
    CONTEXT_LENGTH = "context_length_exceeded"
    INVALID_REQUEST = "upstream_invalid_request"
    UNPROCESSABLE = "upstream_unprocessable"
    REQUEST_TOO_LARGE = "upstream_request_too_large"
    UNSUPPORTED = "unsupported_schema"
    PARAMETER = "unsupported_parameter"
    MEDIA = "invalid_media"
    MEDIA_FETCH = "media_fetch_failed"
    TRUNCATED = "upstream_stream_truncated"
    RESET = "upstream_stream_reset"
    STALLED = "upstream_stream_timeout"
    BAD_STREAM = "upstream_bad_stream"
    SCHEMA = "schema_not_satisfied"

    @property
    def final(self) -> bool:
        """True when the request itself was refused, so that no other route should be asked."""
        return self in _FINAL

    @property
    def of_the_key(self) -> bool:
        """True for what another key of the same account may not meet."""
        return self in _OF_THE_KEY


_FINAL = frozenset(
    {Failure.INVALID_REQUEST, Failure.UNPROCESSABLE, Failure.REQUEST_TOO_LARGE, Failure.UNSUPPORTED, Failure.MEDIA}
)
_OF_THE_KEY = frozenset({Failure.RATE_LIMITED, Failure.QUOTA, Failure.CREDENTIAL})


@dataclass(slots=True)
class UpstreamError(Exception):
    """One attempt failed. ``text`` is the provider's own sentence, sanitised before a caller sees it.

    ``status`` is the provider's HTTP status, ``retry_after`` its wish in seconds, where there were any.
    """

    failure: Failure
    text: str = ""
    status: int | None = None
    retry_after: float | None = None
    param: str | None = None

    def __str__(self) -> str:
        return f"{self.failure.name.lower()}: {self.text}" if self.text else self.failure.name.lower()
