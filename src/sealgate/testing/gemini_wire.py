"""Good answers and errors of the Gemini API, as AI Studio and Vertex AI give them (https://ai.google.dev/api).

`generated` answers whole or as a stream, as the address asks; `google_error` is an error by status, `generation_broken`
one in the middle of a stream. Everything can be set and nothing is checked, so that absurd answers can be given too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from sealgate.testing.openai_wire import EVENT_STREAM, GREETING, pieces
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Behaviour, Chunk, Sleep, Step, head, json_answer, sse

Json = dict[str, Any]

USAGE: Mapping[str, Any] = {"promptTokenCount": 10, "candidatesTokenCount": 7, "totalTokenCount": 17}
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "PERMISSION_DENIED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_ASKED = re.compile(r"/([^/:]+):(stream)?[gG]enerateContent")


def thought(text: str, signature: str | None = None) -> Json:
    """A part of thinking, for ``generated(parts=[...])``."""
    return _signed({"text": text, "thought": True}, signature)


def function_call(
    name: str, arguments: Mapping[str, Any], *, call_id: str | None = None, signature: str | None = None
) -> Json:
    """A part that calls a function; without an id, as older models do."""
    call = {"name": name, "args": dict(arguments)}
    return _signed({"functionCall": call | ({"id": call_id} if call_id else {})}, signature)


def retry_info(delay: str) -> Json:
    """A detail of an error: how long to wait, like ``"12s"``."""
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def quota_failure(quota_id: str, value: str = "50") -> Json:
    """A detail of an error: which quota is exhausted, like ``"GenerateRequestsPerDayPerProjectPerModel"``."""
    violation = {"quotaMetric": "generativelanguage.googleapis.com/requests", "quotaId": quota_id, "quotaValue": value}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


@dataclass(frozen=True)
class Generated:
    """A response, told in the form the address asks for. A behaviour: give it to a `ScriptedUpstream`."""

    text: str | None = None
    """One part of text, streamed word by word. Unset: a greeting, unless there are ``parts``."""
    _: KW_ONLY
    parts: Sequence[Mapping[str, Any]] = ()
    """Parts as they stand in a whole response. They come before the text; each is one event of a stream."""
    finish_reason: str | None = "STOP"
    """None: never said."""
    usage: Mapping[str, Any] | None = field(default_factory=lambda: dict(USAGE))
    """Said with every event of a stream, as AI Studio does."""
    n: int | None = None
    """How many candidates; unset: as many as the request asks for."""
    candidate: Mapping[str, Any] = field(default_factory=dict)
    """More members of the last candidate: ``groundingMetadata``, ``logprobsResult``."""
    model: str | None = None
    """The model that claims to answer; unset: the one asked for."""
    as_array: bool = False
    """Stream as one JSON array, as where no ``alt=sse`` is asked for."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before each event of a stream but the first, and before a whole answer."""

    def __call__(self, received: Received) -> Iterator[Step]:
        """The script for this request."""
        if (asked := _ASKED.search(received.path)) and asked[2]:
            return self.stream(self.events(received))
        return self._whole(received)

    def stream(self, events: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
        """The script of a stream of these events."""
        yield head(200, {**({"content-type": "application/json"} if self.as_array else EVENT_STREAM), **self.headers})
        for number, event in enumerate(events):
            if self.delay and number:
                yield Sleep(self.delay)
            yield Chunk(_element(event, number) if self.as_array else sse(event, newline="\r\n"))
        if self.as_array:
            yield Chunk(b"]")
        yield LAST_CHUNK

    def document(self, received: Received) -> Json:
        """The whole response."""
        last = {"finishReason": self.finish_reason} if self.finish_reason else {}
        parts = [*self.parts, *({"text": text} for text in self._text())]
        return self._response(received, [
            {"content": {"parts": parts, "role": "model"}, **last, **self.candidate, "index": index}
            for index in range(self._count(received))
        ])  # fmt: skip

    def events(self, received: Received) -> list[Json]:
        """The events of a stream, in order: one part each, of one candidate after the other, and how they ended."""
        text = "".join(self._text())
        said = [*self.parts, *({"text": piece} for piece in pieces(text))]
        candidates = range(self._count(received))
        events = [
            self._response(received, [{"content": {"parts": [part], "role": "model"}, "index": index}])
            for part in said for index in candidates
        ]  # fmt: skip
        last = {"finishReason": self.finish_reason} if self.finish_reason else {}
        ends = [{"content": {"role": "model"}, **last, **self.candidate, "index": index} for index in candidates]
        return [*events, self._response(received, ends)]

    def _whole(self, received: Received) -> Iterator[Step]:
        if self.delay:
            yield Sleep(self.delay)
        yield from json_answer(self.document(received), headers=self.headers)

    def _text(self) -> list[str]:
        text = GREETING if self.text is None and not self.parts else self.text
        return [] if text is None else [text]

    def _count(self, received: Received) -> int:
        config = received.json.get("generationConfig", {}) if isinstance(received.json, dict) else {}
        return self.n or config.get("candidateCount") or 1

    def _response(self, received: Received, candidates: list[Json]) -> Json:
        asked = _ASKED.search(received.path)
        found: Json = {"candidates": candidates, "responseId": received.watermark}
        found["modelVersion"] = self.model or (asked[1] if asked else "test-model")
        return found if self.usage is None else {**found, "usageMetadata": dict(self.usage)}


generated = Generated
"""`Generated` under the name that reads well beside the other scripts: ``upstream.enqueue(generated("Hi"))``."""


def google_error(
    status: int = 500, text: str = "The request failed.", *details: Mapping[str, Any], word: str | None = None,
    in_list: bool = False, headers: Mapping[str, str] | None = None,
) -> Behaviour:  # fmt: skip
    """An error status: ``google_error(503)``, ``google_error(429, "Later.", retry_info("2s"))``."""
    said = {"error": error_body(status, text, *details, word=word)}
    return json_answer([said] if in_list else said, status, headers)


def generation_broken(
    after: int = 2, status: int = 503, text: str = "Overloaded.", *, base: Generated | None = None
) -> Behaviour:
    """The first ``after`` events of an answer, then an error in their stead; the body then ends in order."""

    def script(received: Received) -> Iterator[Step]:
        answer = base or Generated()
        return answer.stream([*answer.events(received)[:after], {"error": error_body(status, text)}])

    return script


def error_body(status: int, text: str, *details: Mapping[str, Any], word: str | None = None) -> Json:
    """The ``error`` object (``google.rpc.Status``)."""
    said: Json = {"code": status, "message": text, "status": word or _STATUS.get(status, "INTERNAL")}
    return {**said, "details": [dict(detail) for detail in details]} if details else said


def _signed(part: Json, signature: str | None) -> Json:
    return part if signature is None else {**part, "thoughtSignature": signature}


def _element(event: Mapping[str, Any], number: int) -> bytes:
    return (b",\r\n" if number else b"[") + sse(event).removeprefix(b"data: ").rstrip(b"\n")
