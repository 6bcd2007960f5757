"""Answers in Anthropic's dialect: what the relay says in OpenAI's words, as a ``message`` or as its events.

An answer of a provider that speaks this dialect itself is passed on as it came, but for the message's id and the name
of its model. Source: platform.claude.com/docs/en/api/messages and /build-with-claude/streaming.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from sealgate.api.anthropic_problems import body as problem_body
from sealgate.api.call import JSON
from sealgate.errors import Problem
from sealgate.formats.blocks import Blocks
from sealgate.formats.carried import sealed
from sealgate.providers.base import Json
from sealgate.relay.finish import STOPPED

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_any = msgspec.json.Decoder().decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class MessagesDialect:
    """One answer to one request. ``prompt_tokens`` is an estimate, for a stream's beginning: nobody has counted yet."""

    content_type = JSON

    def __init__(self, model: str, call_id: str, prompt_tokens: int) -> None:
        self._model = model
        self._prompt_tokens = prompt_tokens
        self._id = f"msg_{call_id}"
        self._blocks = Blocks()
        self._events: _Events | _Passed | None = None

    def said(self) -> list[Json]:
        """The blocks so far, in the form that receipts digest: see `sealgate.formats.blocks`."""
        return self._blocks.found()

    # Whole

    def whole(self, payload: bytes) -> bytes:
        completion = _decode(payload)
        [choice] = completion["choices"]
        message = choice["message"]
        own = message.get("anthropic")
        told = self._passed_on(own) if own is not None else self._told(message, choice, completion["usage"])
        self._blocks.whole(told["content"])
        return _encode({"id": self._id, "type": "message", "role": "assistant", "model": self._model, **told})

    def _passed_on(self, own: Json) -> Json:
        return {"content": [], "stop_reason": None, "stop_sequence": None, **own}

    def _told(self, message: Json, choice: Json, counts: Json) -> Json:
        content = [*_thoughts(message), *_texts(message), *map(_call, message.get("tool_calls") or ())]
        return {"content": content, **_stop(choice), "usage": usage(counts)}

    # Streamed

    def events(self, payload: bytes) -> bytes:
        chunk = _decode(payload)
        choice = chunk["choices"][0] if chunk["choices"] else None
        delta = choice["delta"] if choice is not None else {}
        own = delta.get("anthropic")
        if self._events is None:
            if own is None and not delta.keys() - {"role"} and not (choice and choice["finish_reason"]):
                return b""  # the role alone does not tell yet which of the two it will be
            self._events = _Events(self._start()) if own is None else _Passed(self._id, self._model)
        found = list(self._events.take(delta, choice, chunk.get("usage")))
        for each in found:
            self._blocks.event(each)
        return b"".join(map(event, found))

    def _start(self) -> Json:
        counts = {
            "input_tokens": self._prompt_tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": 0,
        }  # fmt: skip
        message: Json = {
            "id": self._id, "type": "message", "role": "assistant", "model": self._model, "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": counts,
        }  # fmt: skip
        return {"type": "message_start", "message": message}

    def end(self) -> bytes:
        return event({"type": "message_stop"})

    def broken(self, problem: Problem, request_id: str, receipt_id: str | None) -> bytes:
        """The official SDKs raise on it, and no ``message_stop`` follows."""
        told = problem_body(problem, request_id)
        if receipt_id is not None:
            told["receipt_id"] = receipt_id
        return event(told)


def event(document: Json) -> bytes:
    """One event, named by its type."""
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), _encode(document))


def usage(counts: Json) -> Json:
    """OpenAI's ``usage`` as Anthropic counts: what a cache had, or was given, is no part of ``input_tokens``."""
    details = counts.get("prompt_tokens_details") or {}
    cached, written = details.get("cached_tokens", 0), details.get("cache_write_tokens", 0)
    found: Json = {
        "input_tokens": counts["prompt_tokens"] - cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": counts["completion_tokens"],
    }
    if thought := (counts.get("completion_tokens_details") or {}).get("reasoning_tokens"):
        found["output_tokens_details"] = {"thinking_tokens": thought}
    return found


def _stop(choice: Json) -> Json:
    """Why a choice ended. Which stop sequence it was is known where the provider tells: `relay.finish.stopped_at`."""
    reason = choice["finish_reason"]
    if reason == "stop" and STOPPED in choice:
        return {"stop_reason": "stop_sequence", "stop_sequence": choice[STOPPED]}
    return {"stop_reason": STOP_REASONS.get(reason, "end_turn"), "stop_sequence": None}


# Blocks of whole answers


def _thoughts(message: Json) -> Iterable[Json]:
    """Anthropic's own thinking as it was signed; others' in one block, with what they want back for a signature."""
    text, details = message.get("reasoning_content") or "", message.get("reasoning_details") or []
    if details and all(map(_is_anthropics, details)):
        return [_signed(entry) for entry in details]
    if not text and not details:
        return ()
    if not text:
        return ({"type": "redacted_thinking", "data": sealed(details)},)
    return ({"type": "thinking", "thinking": text, "signature": sealed(details) if details else ""},)


def _is_anthropics(entry: Any) -> bool:
    return isinstance(entry, dict) and str(entry.get("format")).startswith("anthropic") and (
        bool(entry.get("data")) if entry.get("type") == "reasoning.encrypted" else entry.get("type") == "reasoning.text"
    )  # fmt: skip


def _signed(entry: Json) -> Json:
    if entry["type"] == "reasoning.encrypted":
        return {"type": "redacted_thinking", "data": entry["data"]}
    return {"type": "thinking", "thinking": entry.get("text") or "", "signature": entry.get("signature") or ""}


def _texts(message: Json) -> Iterator[Json]:
    for name in ("content", "refusal"):
        if message.get(name):
            yield {"type": "text", "text": message[name]}


def _call(call: Json) -> Json:
    function = call.get("function") or {}
    return {
        "type": "tool_use", "id": call["id"], "name": function.get("name") or "",
        "input": arguments(function.get("arguments") or ""),
    }  # fmt: skip


def arguments(text: str) -> Json:
    """A call's input; what is no JSON object is put into one."""
    try:
        value = _decode_any(text) if text.strip() else {}
    except _UNREADABLE:
        value = text
    return value if isinstance(value, dict) else {"arguments": value}


# Streams


class _Passed:
    """The events of a provider that speaks this dialect, under our id and the caller's name of the model."""

    def __init__(self, message_id: str, model: str) -> None:
        self._labels = {"id": message_id, "model": model}

    def take(self, delta: Json, choice: Json | None, counts: Json | None) -> Iterable[Json]:  # noqa: ARG002
        found = delta.get("anthropic") or []
        for each in found:
            if each["type"] == "message_start":
                each["message"] |= self._labels
        return found


class _Events:
    """The events of an answer that came in OpenAI's words. Blocks follow each other: one ends where another begins."""

    def __init__(self, start: Json) -> None:
        self._start: Json | None = start
        self._index = -1
        self._kind: str | None = None
        """Of the block that is open; None where none is."""
        self._number: int | None = None
        """Which call the open block is."""
        self._calls: dict[int, _Call] = {}
        """In the order in which they came. One that comes before another is over begins when that is, or at the end."""
        self._details: list[Any] = []
        self._stop: Json | None = None

    def take(self, delta: Json, choice: Json | None, counts: Json | None) -> Iterator[Json]:
        if self._start is not None:
            yield self._start
            self._start = None
        if text := delta.get("reasoning_content"):
            yield from self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._delta({"type": "thinking_delta", "thinking": text})
        if details := delta.get("reasoning_details"):
            yield from self._signatures(details)
        for name in ("content", "refusal"):
            if text := delta.get(name):
                yield from self._open("text", {"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": text})
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)
        if choice is not None and choice["finish_reason"]:
            self._stop = _stop(choice)
            yield from self._finish()
        if counts is not None and self._stop is not None:
            yield {"type": "message_delta", "delta": self._stop, "usage": usage(counts)}

    def _open(self, kind: str, block: Json) -> Iterator[Json]:
        """Go on with the open block where it is of that kind, else begin another."""
        if self._kind == kind and kind != "tool_use":
            return
        yield from self._close()
        self._index += 1
        self._kind = kind
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _delta(self, delta: Json) -> Json:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _close(self) -> Iterator[Json]:
        if self._kind is None:
            return
        if self._kind == "thinking" and self._details:
            yield self._delta({"type": "signature_delta", "signature": _signature(self._details)})
            self._details = []
        yield {"type": "content_block_stop", "index": self._index}
        self._kind = self._number = None

    def _signatures(self, details: list[Any]) -> Iterator[Json]:
        """What a provider wants back goes with the thinking it belongs to, else in a block of its own."""
        if details[0].get("type") == "reasoning.encrypted" and all(map(_is_anthropics, details)):
            for entry in details:
                yield from self._alone(_signed(entry))
        elif self._kind == "thinking":
            self._details += details
            if _is_anthropics(details[-1]):
                yield from self._close()
        else:
            yield from self._alone({"type": "redacted_thinking", "data": sealed(details)})

    def _alone(self, block: Json) -> Iterator[Json]:
        yield from self._open(block["type"], block)
        yield from self._close()

    def _call(self, delta: Json) -> Iterator[Json]:
        """A call begins with its first argument: until then its name may grow, and other calls may come before it."""
        number, function = delta["index"], delta.get("function") or {}
        text = function.get("arguments") or ""
        call = self._calls.get(number)
        if call is None:
            call = self._calls[number] = _Call(delta.get("id") or "")
        if not call.begun:
            call.name += function.get("name") or ""
        if not text:
            return
        if number == self._number:
            call.pieces.append(text)
            yield self._delta({"type": "input_json_delta", "partial_json": text})
        elif not call.begun:
            call.pieces.append(text)
            if self._number is None or self._calls[self._number].complete:
                yield from self._begin(number, call)
        elif text.strip() != "{}":
            raise Problem("upstream_bad_response", "The provider went on with a tool call that was over.")

    def _begin(self, number: int, call: _Call) -> Iterator[Json]:
        yield from self._open("tool_use", {"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
        self._number, call.begun = number, True
        if call.pieces:
            yield self._delta({"type": "input_json_delta", "partial_json": "".join(call.pieces)})

    def _finish(self) -> Iterator[Json]:
        for number, call in self._calls.items():
            if not call.begun:
                yield from self._begin(number, call)
        yield from self._close()


class _Call:
    """A tool call as far as it has come."""

    __slots__ = ("begun", "id", "name", "pieces")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        self.pieces: list[str] = []
        self.begun = False
        """Whether the caller has heard of it."""

    @property
    def complete(self) -> bool:
        """Whether its arguments are all there."""
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        try:
            return isinstance(_decode_any("".join(self.pieces)), dict)
        except _UNREADABLE:
            return False


def _signature(details: list[Any]) -> str:
    """Anthropic's own, or all that another provider wants back."""
    if len(details) == 1 and _is_anthropics(details[0]):
        return str(details[0].get("signature") or "")
    return sealed(details)
