"""How providers say no: an error status, an error in place of a stream's first event, an error in its middle.

The four shapes of an error inside a stream, as gateways and clients meet them:

``openai``      ``data: {"error": {...}}``, then the end of the body
``openrouter``  the same beside ``choices`` whose ``finish_reason`` is ``error``
``vllm``        ``data: {"object": "error", "message": ...}`` without an ``error`` key, then ``[DONE]``
``anthropic``   ``event: error`` with ``{"type": "error", "error": {...}}``
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias, get_args

from sealgate.testing.openai_wire import GOOD, Answer
from sealgate.testing.received import Received
from sealgate.testing.script import Behaviour, Step, json_answer, sse

Shape: TypeAlias = Literal["openai", "openrouter", "vllm", "anthropic"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

_KINDS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", "invalid_value", "The request is not valid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Access is denied."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    413: ("invalid_request_error", "request_too_large", "The request is too large."),
    422: ("invalid_request_error", "unprocessable", "The request could not be processed."),
    429: ("rate_limit_error", "rate_limit_exceeded", "Rate limit reached."),
    503: ("service_unavailable_error", "server_is_overloaded", "The server is overloaded."),
    529: ("overloaded_error", "overloaded", "Overloaded."),
}


def error_body(
    status: int,
    code: str | None = None,
    message: str | None = None,
    *,
    kind: str | None = None,
    param: str | None = None,
) -> dict[str, Any]:
    """OpenAI's error object, with what is not given filled in from the status. ``kind`` is its ``type``."""
    fallback = ("server_error", None, "The server had an error.") if status >= 500 else _KINDS[400]
    usual_kind, usual_code, usual_message = _KINDS.get(status, fallback)
    return {
        "message": message or usual_message,
        "type": kind or usual_kind,
        "param": param,
        "code": code or usual_code,
    }


def error(
    status: int = 500,
    code: str | None = None,
    message: str | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    kind: str | None = None,
    param: str | None = None,
) -> Behaviour:
    """An error status with OpenAI's body: ``error(429, headers={"retry-after": "2"})``."""
    body = {"error": error_body(status, code, message, kind=kind, param=param)}

    def script(received: Received) -> list[Step]:
        return json_answer(body, status, {"x-request-id": f"req_{received.watermark}", **(headers or {})})

    return script


def quota() -> Behaviour:
    """429 of the second kind: the credit is used up, and waiting does not help."""
    text = "You exceeded your current quota, please check your plan and billing details."
    return error(429, "credit_balance_exhausted", text, kind="insufficient_quota")


def error_object(shape: Shape, message: str, code: str) -> dict[str, Any]:
    """The JSON of an error inside a stream."""
    if shape == "vllm":
        return {"object": "error", "message": message, "type": "InternalServerError", "param": None, "code": 500}
    if shape == "anthropic":
        return {"type": "error", "error": {"type": "overloaded_error", "message": message}}
    said = {"error": error_body(500, code, message)}
    if shape == "openrouter":
        delta = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        return {"object": "chat.completion.chunk", **said, "choices": [delta]}
    return said


def error_event(shape: Shape, message: str, code: str) -> list[bytes]:
    """The events of that shape, to the end of the body."""
    said = error_object(shape, message, code)
    if shape == "vllm":
        return [sse(said), sse("[DONE]")]
    return [sse(said, event="error" if shape == "anthropic" else None)]


def error_first(
    shape: Shape = "openai", message: str = "The server is overloaded.", code: str = "server_is_overloaded"
) -> Behaviour:
    """A 200 whose first event is an error; for a request that does not stream, a 200 whose body is the error."""
    return error_mid(shape, 0, message, code)


def error_mid(
    shape: Shape = "openai",
    after: int = 3,
    message: str = "The server is overloaded.",
    code: str = "server_is_overloaded",
    *,
    base: Answer = GOOD,
) -> Behaviour:
    """The first ``after`` events of an answer, then an error in its stead; the body then ends in order.

    A request that does not stream is answered 200 with the error as its body.
    """

    def script(received: Received) -> Iterator[Step]:
        if not received.streams:
            yield from json_answer(error_object(shape, message, code))
            return
        yield from base.stream(received, [*base.events(received)[:after], *error_event(shape, message, code)])

    return script
