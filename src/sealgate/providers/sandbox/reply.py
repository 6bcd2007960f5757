"""One request to one reply: status, headers, the pieces of the body, and how it ends. No I/O, no waiting.

Where a fault falls into an answer, it comes after half of its tokens, at most five, at least one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import msgspec

from sealgate.errors import Failure
from sealgate.providers.sandbox import faults, sounds, vectors
from sealgate.providers.sandbox.answer import Choice, choices, usage
from sealgate.providers.sandbox.models import MODELS, Behaviour, Pace, behaviour
from sealgate.providers.sandbox.refused import RefusedError, error_body
from sealgate.providers.sandbox.request import Ask, decode, model_name, read
from sealgate.providers.sandbox.wire import DONE, Head, Stream, whole

Json = dict[str, Any]

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}
BEFORE_FAULT = 5

_encode = msgspec.json.encode


@dataclass(slots=True)
class Reply:
    """What goes out. ``tokens`` is how many a whole answer took to make, for its pace; 0 where the pace is per piece.

    After the pieces the body ends properly, or with ``ending``, or never where ``silent`` is set.
    """

    status: int
    headers: dict[str, str]
    pieces: Iterable[bytes]
    tokens: int = 0
    ending: Failure | None = None
    silent: bool = False
    pace: Pace | None = None


@dataclass(slots=True)
class _Answer:
    """An answer that is ready to be written either way."""

    ask: Ask
    head: Head
    choices: list[Choice] = field(default_factory=list)
    usage: Json = field(default_factory=dict)

    def stream(self) -> Stream:
        return Stream(self.head, self.choices, self.usage, include_usage=self.ask.include_usage)

    def whole(self) -> Json:
        return whole(self.head, self.choices, self.usage)


def reply(body: bytes, created: int, serial: int) -> Reply:
    """The reply to a chat request. ``created`` in seconds since 1970; ``serial`` makes the answer's id unique."""
    try:
        fields = decode(body)
        wanted = behaviour(model_name(fields))
        early = _without_answer(wanted, fields.get("stream") is True)
        if early is not None:
            return early
        ask = read(fields)
        made = choices(ask, wanted.kind)
    except RefusedError as refused:
        return _whole(refused.body(), status=refused.status)
    head = Head(f"chatcmpl-{ask.talk.fingerprint:016x}{serial:08x}", created, ask.model)
    answer = _Answer(ask, head, made, usage(ask, made))
    found = _streamed(answer, wanted.kind) if ask.stream else _at_once(answer, wanted.kind)
    found.pace = wanted.pace
    return found


def _without_answer(wanted: Behaviour, stream: bool) -> Reply | None:
    """The reply of a model that answers nothing, None for all others."""
    if wanted.kind == "fail":
        headers, body = faults.failing(wanted.status)
        return _whole(body, status=wanted.status, headers=headers)
    if wanted.kind == "fail-quota":
        return _whole(faults.out_of_quota(), status=429)
    if wanted.kind == "html":
        return _whole(faults.HTML, headers={"content-type": "text/html; charset=utf-8"})
    if wanted.kind == "silent":
        return Reply(200, dict(EVENTS if stream else JSON), (), silent=True)
    if wanted.kind == "error-first":
        return Reply(200, dict(EVENTS), (_event(faults.MIDDLE),)) if stream else _whole(faults.MIDDLE)
    return None


def _at_once(answer: _Answer, kind: str) -> Reply:
    """A whole answer, or what the fault makes of it."""
    if kind == "empty":
        nothing = [Choice(choice.index) for choice in answer.choices]
        return _whole(_encode(whole(answer.head, nothing, None)))
    if kind == "not-json":
        return _whole(faults.NOT_JSON)
    found = answer.whole()
    if kind == "error-mid":
        for choice in answer.choices:
            choice.content = choice.content[: max(1, len(choice.content) // 2)]
            choice.finish = "error"
        found = {**answer.whole(), **msgspec.json.decode(faults.MIDDLE)}
    body = _encode(found)
    half = body[: len(body) // 2]
    if kind == "truncate":
        return Reply(200, dict(JSON), (half,))
    if kind == "cut":
        return Reply(200, {**JSON, "content-length": str(len(body))}, (half,), ending=Failure.TRUNCATED)
    made = _whole(body)
    made.tokens = answer.usage["completion_tokens"]
    return made


def _streamed(answer: _Answer, kind: str) -> Reply:
    """A stream of events, or what the fault makes of it."""
    stream = answer.stream()
    if kind == "empty":
        bare = Stream(answer.head, [Choice(choice.index) for choice in answer.choices], {}, include_usage=False)
        return Reply(200, dict(EVENTS), chain(bare.roles(), bare.ends()))
    last = _FAULTS.get(kind)
    if last is None:
        return Reply(200, dict(EVENTS), chain(stream.roles(), stream.tokens(), stream.ends()))
    size = sum(len(choice.content) + sum(1 + len(each.pieces) for each in choice.calls) for choice in answer.choices)
    some = islice(stream.tokens(), max(1, min(BEFORE_FAULT, size // 2)))
    return Reply(200, dict(EVENTS), chain(stream.roles(), some, last), ending=Failure.RESET if kind == "cut" else None)


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


_FAULTS: dict[str, tuple[bytes, ...]] = {
    "cut": (),
    "truncate": (),
    "error-mid": (_event(faults.MIDDLE),),
    "not-json": (_event(faults.NOT_JSON), DONE),
}
"""Faults that fall into a stream, and the events that come instead of its rest."""


def _whole(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, {**(headers or JSON), "content-length": str(len(body))}, (body,))


def models(created: int) -> Reply:
    """The list that ``GET /models`` gives: the names of the table that are names."""
    names = [name for name in MODELS if "<" not in name]
    data = [{"id": name, "object": "model", "created": created, "owned_by": "sealgate"} for name in names]
    return _whole(_encode({"object": "list", "data": data}))


def embeddings(body: bytes) -> Reply:
    """The reply to a request for embeddings."""
    try:
        fields = decode(body)
        early = _without_answer(behaviour(model_name(fields)), stream=False)
        return early or _whole(vectors.answer(fields))
    except RefusedError as refused:
        return _whole(refused.body(), status=refused.status)


async def transcript(body: bytes, content_type: str, task: str) -> Reply:
    """The reply to a form with a sound, which is listened to first; ``task`` is ``transcribe`` or ``translate``."""
    try:
        form = sounds.read(body, content_type)
        stream = form.fields.get("stream") == "true"
        early = _without_answer(behaviour(model_name(form.fields)), stream)
        if early is not None:
            return early
        form = await sounds.heard(form)
        if stream:
            return Reply(200, dict(EVENTS), sounds.events(form))
        return _whole(sounds.answer(form, task))
    except RefusedError as refused:
        return _whole(refused.body(), status=refused.status)


def unknown(path: str) -> Reply:
    """The reply to a path that the sandbox does not serve."""
    message = f"The sandbox answers chat completions, embeddings and transcriptions only, not {path!r}."
    return _whole(error_body(message, "invalid_request_error", "unknown_url"), status=404)
