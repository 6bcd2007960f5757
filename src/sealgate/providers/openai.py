"""OpenAI's chat completions wire, which most providers and all self-hosted servers speak.

Source: the official Python SDK's types (``openai/types/chat``) and the API reference of chat completions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.formats import sse
from sealgate.formats.waits import retry_after
from sealgate.providers.base import Account, Json, Operation, Prompt, Written
from sealgate.providers.params import adjust
from sealgate.providers.refused import USAGE, limited
from sealgate.providers.statuses import by_status
from sealgate.providers.whole import WholeBody

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoder raises for bytes that are no JSON."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "quota_exceeded",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    }
)
"""Values of ``error.code`` or ``error.type`` that say the money is gone, so that waiting does not help."""

BY_CODE = {
    **dict.fromkeys(QUOTA_CODES, Failure.QUOTA),
    "context_length_exceeded": Failure.CONTEXT_LENGTH,
    "string_above_max_length": Failure.CONTEXT_LENGTH,
    "too_many_prompt_tokens": Failure.CONTEXT_LENGTH,
    "exceed_context_size_error": Failure.CONTEXT_LENGTH,
    "unsupported_schema": Failure.UNSUPPORTED,
    "server_is_overloaded": Failure.OVERLOADED,
    "overloaded_error": Failure.OVERLOADED,
    "service_unavailable_error": Failure.OVERLOADED,
    "rate_limit_exceeded": Failure.RATE_LIMITED,
    "rate_limit_error": Failure.RATE_LIMITED,
    "slow_down": Failure.RATE_LIMITED,
    "invalid_api_key": Failure.CREDENTIAL,
    "model_not_found": Failure.MODEL_GONE,
    "model_not_available": Failure.MODEL_GONE,
    "invalid_model": Failure.MODEL_GONE,
}
"""What a code or type says, whatever the status: some providers answer 200, 400 or 500 for all of these."""

_TOO_LONG = re.compile(
    r"maximum (?:context|prompt) length|model's context length|available context size|the context (?:length|window)"
    r"|`?max_new_tokens`? must be <=|`inputs` must have less",
    re.IGNORECASE,
)
"""How engines say that a prompt is too long, which have no code for it: a route with more room may take it."""
_WRONG_KEY = re.compile(r"incorrect api key|api key (?:is )?(?:not valid|invalid)|invalid api key", re.IGNORECASE)
"""How a key that is wrong is refused with a 400 (xAI): that is no fault of the request."""
_FLAGGED = re.compile(r"usage guidelines|content policy|input was flagged|requires moderation", re.IGNORECASE)
"""How providers say with a 403 that they object to what was asked (xAI, OpenRouter), not to who asks."""
_OF_THE_REQUEST = {Failure.INVALID_REQUEST, Failure.UNPROCESSABLE, Failure.REQUEST_TOO_LARGE}


_NOTHING: Json = {}
_OBJECTS = frozenset({dict})
_OBJECT = ord("{")


class OpenAIWire:
    """Requests and answers pass nearly as they are.

    ``statuses`` are those that mean something else at a provider than elsewhere, where an error comes with them.
    """

    stream_type = "text/event-stream"

    def __init__(self, statuses: Mapping[int, Failure] | None = None) -> None:
        self._statuses = statuses or {}

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        kind = account.kind
        fields, adjustments = adjust(kind, prompt.fields)
        if prompt.refused:
            fields, adjustments = limited(fields, adjustments, prompt.fields, prompt.refused)
        body = {**fields, "model": model}
        if prompt.stream:
            body["stream"] = True
            if kind.asks_usage and USAGE not in prompt.refused:
                # Always asked for: the ledger needs it, whether or not the caller wants to see it.
                body["stream_options"] = {"include_usage": True}
        body.update(self.beside(prompt))
        if prompt.extra_body:
            body.update(prompt.extra_body)
        return Written(_encode(body), adjustments)

    def beside(self, prompt: Prompt) -> Json:  # noqa: ARG002
        """What goes out beside the caller's own parameters."""
        return _NOTHING

    def reader(self, fields: Json, *, stream: bool) -> StreamReader | WholeReader:  # noqa: ARG002
        return StreamReader() if stream else WholeReader()

    def holds(self, fields: Json, model: str) -> bool:  # noqa: ARG002
        return True

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        if 300 <= status < 400:
            return UpstreamError(Failure.REDIRECT, status=status)
        said = _said(_error_of(body))
        failure = _class_of(status, said, self._statuses)
        return UpstreamError(failure, said.text, status=status, retry_after=retry_after(headers), param=said.param)


class StreamReader:
    """``data:`` events, one chunk each, ended by ``data: [DONE]``."""

    def __init__(self) -> None:
        self._events = sse.EventReader()
        self.done = False

    def feed(self, piece: bytes) -> Iterable[Json]:
        data = self._events.only(piece)
        if data and data[0] == _OBJECT:
            return (self._chunk(data),)
        try:
            events = self._events.feed(piece)
        except sse.LineTooLongError as error:
            raise UpstreamError(Failure.BAD_STREAM, str(error)) from None
        if len(events) == 1 and not events[0].data.startswith(b"[DONE]"):
            return (self._chunk(events[0].data, events[0].name),)
        return self._chunks(events) if events else ()

    def end(self) -> Iterable[Json]:
        """An event whose blank line has not come counts where it is whole, as the last of a body may be."""
        if self.done:
            return ()
        return self._chunks(event for event in self._events.feed(b"\n\n") if _is_whole(event.data))

    def _chunks(self, events: Iterable[sse.Event]) -> Iterator[Json]:
        """One by one, so that what came before an error in the same piece is not lost."""
        for event in events:
            if event.data.startswith(b"[DONE]"):
                self.done = True  # what an upstream sends after it is not part of the answer
                return
            yield self._chunk(event.data, event.name)

    def _chunk(self, data: bytes, name: bytes = b"") -> Json:
        try:
            chunk = _decode(data)
        except UNREADABLE:
            raise UpstreamError(Failure.BAD_STREAM, "an event is not a JSON object") from None
        if name == b"error":
            raise _error(chunk.get("error") or chunk)
        if "choices" not in chunk or chunk.get("error"):
            raise_if_error(chunk)
        return chunk


def _is_whole(data: bytes) -> bool:
    if data.startswith(b"[DONE]"):
        return True
    try:
        _decode(data)
    except UNREADABLE:
        return False
    return True


class WholeReader(WholeBody):
    """One JSON document."""

    def end(self) -> Iterable[Json]:
        try:
            answer = _decode(self.body)
        except UNREADABLE:
            raise UpstreamError(Failure.BAD_RESPONSE, "the body is not a JSON object") from None
        if not answer.get("choices") or answer.get("error"):
            raise_if_error(answer)
        choices = answer.get("choices")
        if type(choices) is not list or not _OBJECTS.issuperset(map(type, choices)):
            raise UpstreamError(Failure.BAD_RESPONSE, "the answer has no choices")
        return (answer,)


PATHS: Mapping[Operation, str] = {
    "chat": "/chat/completions",
    "embeddings": "/embeddings",
    "transcriptions": "/audio/transcriptions",
    "translations": "/audio/translations",
}


class BearerHost:
    """``POST {base_url}/chat/completions`` and the like, with ``Authorization: Bearer``."""

    def url(self, account: Account, model: str, *, stream: bool, operation: Operation = "chat") -> str:  # noqa: ARG002
        return account.base_url + PATHS[operation]

    def credential(self, secret: str) -> dict[str, str]:
        return {"authorization": f"Bearer {secret}"}

    def signer(self, account: Account) -> None:  # noqa: ARG002
        return None


def _error_of(body: bytes) -> Any:
    """The error in a body of any of the known shapes, or None."""
    try:
        found = msgspec.json.decode(body)
    except UNREADABLE:
        return None
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return None
    return found.get("error") or found


class Said(NamedTuple):
    """What an error says: a sentence, its code and type as far as they are words, and the parameter it is about."""

    text: str = ""
    codes: tuple[str, ...] = ()
    param: str | None = None


def _said(error: Any) -> Said:
    """Reads an error that may be a text, an object, or nothing."""
    if isinstance(error, str):
        return Said(error)
    if not isinstance(error, dict):
        return Said()
    message = error.get("message") or error.get("detail") or error.get("error")
    param = error.get("param")
    if message and isinstance(message, dict | list):
        param = param or _place(message)
        message = _written(message)
    codes = tuple(value for key in ("code", "type") if isinstance(value := error.get(key), str) and value)
    return Said(str(message or ""), codes, param if isinstance(param, str) else None)


def _written(message: Any) -> str:
    try:
        return json.dumps(message, ensure_ascii=False)
    except RecursionError:
        return ""


def _place(detail: Any) -> str | None:
    """The field that a validator's list is about (FastAPI's ``detail``, which Mistral and Hyperbolic send)."""
    detail = detail.get("detail") if isinstance(detail, dict) else detail
    first = detail[0] if isinstance(detail, list) and detail else None
    loc = first.get("loc") if isinstance(first, dict) else None
    if not isinstance(loc, list):
        return None
    return ".".join(str(part) for part in loc if isinstance(part, str | int) and part != "body") or None


def _class_of(status: int, said: Said, own: Mapping[int, Failure]) -> Failure:
    """The error's code where it is a known one, else the status; the text only where nothing else tells."""
    known = [BY_CODE[code] for code in said.codes if code in BY_CODE]
    if known:
        return Failure.QUOTA if Failure.QUOTA in known else known[0]
    if status == 403 and _FLAGGED.search(said.text):
        return Failure.INVALID_REQUEST
    if status == 400 and _WRONG_KEY.search(said.text):
        return Failure.CREDENTIAL
    failure = own[status] if said.text and status in own else by_status(status)
    return Failure.CONTEXT_LENGTH if failure in _OF_THE_REQUEST and _TOO_LONG.search(said.text) else failure


def raise_if_error(answer: Json) -> None:
    """Raise for the error shapes that come with a 200: OpenAI's, OpenRouter's, and vLLM's older flat one."""
    if error := answer.get("error"):
        raise _error(error)
    if answer.get("object") == "error" or answer.get("type") == "error":
        raise _error(answer)


def _error(error: Any) -> UpstreamError:
    said = _said(error)
    given = error.get("code") if isinstance(error, dict) else None
    status = given if isinstance(given, int) and 400 <= given < 600 else None
    return UpstreamError(_class_of(status or 500, said, {}), said.text, status=status, param=said.param)


WIRE = OpenAIWire()
BEARER = BearerHost()
