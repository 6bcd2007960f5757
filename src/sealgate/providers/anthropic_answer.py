"""Whole answers of the Messages API as OpenAI's completions, and what streams of it have in common with them.

Source: the Messages API reference (platform.claude.com/docs/en/api/messages).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.anthropic_errors import error_in
from sealgate.providers.anthropic_form import ANSWER_TOOL, HELD, Form, form
from sealgate.providers.anthropic_messages import UNREADABLE, detail
from sealgate.providers.anthropic_stops import Watch, stops
from sealgate.providers.base import Json
from sealgate.providers.whole import WholeBody

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # the turn is not over, and nobody goes on with it
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_TIERS = {"standard": "default", "priority": "priority"}
WRONG_SHAPE = (KeyError, TypeError, AttributeError)
Chunks = Iterable[Json]


class AnthropicWholeReader(WholeBody):
    """One ``message`` document."""

    def __init__(self, fields: Json) -> None:
        super().__init__()
        self._form = form(fields)
        self._watched = stops(fields)[1] if self._form is None else []

    def end(self) -> Chunks:
        try:
            document = _decode(self.body)
        except UNREADABLE:
            raise UpstreamError(Failure.BAD_RESPONSE, "the body is not a JSON object") from None
        if document.get("type") == "error" or "error" in document:
            raise error_in(document)
        try:
            return (self._completion(document),)
        except WRONG_SHAPE as error:
            raise UpstreamError(Failure.BAD_RESPONSE, "the answer has an unknown shape") from error

    def _completion(self, document: Json) -> Json:
        message = _Message(self._form, Watch(self._watched))
        for given in document["content"] or ():
            message.add(Block(given))
        reason = "stop_sequence" if message.stopped else document.get("stop_reason")
        at = message.stopped or document.get("stop_sequence")
        usage = Usage()
        usage.note(document.get("usage"))
        said = message.render(refusal_in(document) if reason == "refusal" else None)
        ended = None if reason is None else finish(reason, called="tool_calls" in said)
        return {
            "model": document.get("model"),
            "choices": [{"index": 0, "message": said, "finish_reason": ended, **stopped(at)}],
            "usage": usage.render(),
            **tier_in(document.get("usage")),
        }


class _Message:
    """The blocks of a whole answer, put together."""

    def __init__(self, wanted: Form | None, watch: Watch) -> None:
        self._form = wanted
        self._watch = watch
        self._texts: list[str] = []
        self._length = 0
        self._reasoning: list[str] = []
        self._lists: Json = {"annotations": [], "reasoning_details": [], "tool_calls": []}

    @property
    def stopped(self) -> str:
        """The text at which the caller wanted it to stop, once it has come; nothing is added after it."""
        return self._watch.hit

    def add(self, block: Block) -> None:
        if self.stopped:
            return
        given, lists = block.given, self._lists
        if block.kind == "text":
            start = self._length
            text = taken_out(given["text"], self._form)
            self._say(self._watch.take(text) + ("" if self.stopped else self._watch.rest()))
            if not self.stopped:
                lists["annotations"] += cited(given.get("citations") or (), start, self._length)
        elif block.kind in ("thinking", "redacted_thinking"):
            self._reasoning.append(given.get("thinking") or "")
            lists["reasoning_details"].append(detail(given, len(lists["reasoning_details"])))
        elif block.kind == "tool_use":
            arguments = _encode(given.get("input") or {}).decode()
            if block.answers(self._form):
                self._say(taken_out(arguments, self._form))
            else:
                function = {"name": given["name"], "arguments": arguments}
                lists["tool_calls"].append({"id": given["id"], "type": "function", "function": function})

    def render(self, refusal: str | None) -> Json:
        found: Json = {"role": "assistant", "content": "".join(self._texts) or None}
        if reasoning := "".join(self._reasoning):
            found["reasoning_content"] = reasoning
        found.update((name, entries) for name, entries in self._lists.items() if entries)
        if refusal:
            found["refusal"] = refusal
        return found

    def _say(self, text: str) -> None:
        self._texts.append(text)
        self._length += len(text)


class Block:
    """One content block as far as it has come."""

    __slots__ = ("begun", "citations", "given", "kind", "number", "pieces", "signature", "start")

    def __init__(self, given: Json) -> None:
        self.given = given
        self.kind = given["type"]
        self.pieces: list[str] = []
        self.citations: list[Json] = []
        self.signature = ""
        self.start = 0
        self.number: int | None = None
        """Which tool call of the answer it is; None for the answer itself, given as a tool's arguments."""
        self.begun = False

    def answers(self, wanted: Form | None) -> bool:
        """Whether it is the prescribed answer, not a call of the caller's tools."""
        return wanted is not None and self.given.get("name") == ANSWER_TOOL

    def thinking(self) -> Json:
        if self.kind == "redacted_thinking":
            return self.given
        return {"type": self.kind, "thinking": "".join(self.pieces), "signature": self.signature}


class Usage:
    """Token counts, which an answer gives in parts: the last word of each counts, and none of them ever shrinks."""

    _NAMES = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def note(self, usage: Any) -> None:
        if not isinstance(usage, dict):
            return
        for name in self._NAMES:
            self._keep(name, usage.get(name))
        if isinstance(details := usage.get("output_tokens_details"), dict):
            self._keep("thinking_tokens", details.get("thinking_tokens"))

    def _keep(self, name: str, value: Any) -> None:
        if isinstance(value, int) and not isinstance(value, bool):
            self._counts[name] = max(value, self._counts.get(name, 0))

    def render(self) -> Json | None:
        """OpenAI's ``usage``: what was read from a cache and written to it is a part of the prompt there."""
        if "input_tokens" not in self._counts:
            return None
        count = self._counts.get
        written, cached = count("cache_creation_input_tokens", 0), count("cache_read_input_tokens", 0)
        prompt, completion = count("input_tokens", 0) + written + cached, count("output_tokens", 0)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
            "completion_tokens_details": {"reasoning_tokens": count("thinking_tokens", 0)},
        }


def finish(reason: str, *, called: bool) -> str:
    """OpenAI's word for a ``stop_reason``; one that is not known stays. Calls of the provider's tools end nothing."""
    if reason == "tool_use" and not called:
        return "stop"
    return _FINISH.get(reason, reason)


def stopped(at: Any) -> Json:
    """What a choice says of the stop text that has ended it."""
    return {"stop_sequence": at} if at else {}


def taken_out(text: str, wanted: Form | None) -> str:
    """The value that was asked for, out of the object that was put around it; other text stays."""
    if wanted is None or not wanted.held:
        return text
    try:
        value = _decode(text)[HELD]
    except (*UNREADABLE, KeyError):
        return text  # broken off, or said instead
    return value if wanted.plain and isinstance(value, str) else _encode(value).decode()


def cited(citations: Iterable[Json], start: int, end: int) -> list[Json]:
    """Citations of a piece of text, from its first character to behind its last, as OpenAI's ``url_citation``."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": start,
                "end_index": end,
                "title": citation.get("title") or citation.get("document_title") or "",
                "url": citation.get("url") or citation.get("source") or _place(citation),
            },
        }
        for citation in citations
    ]


def _place(citation: Json) -> str:
    """Where in a document of the request: fragments as of RFC 5147 for text and RFC 8118 for PDF."""
    where = f"document:{citation.get('document_index', 0)}"
    if (first := citation.get("start_page_number")) is not None:
        return f"{where}#page={first}"
    if (first := citation.get("start_char_index")) is not None:
        return f"{where}#char={first},{citation.get('end_char_index', first)}"
    return where


def refusal_in(holder: Json) -> str | None:
    """Why an answer was refused, as far as that is said."""
    details = holder.get("stop_details") or {}
    return details.get("explanation") or details.get("category")


def tier_in(usage: Any) -> Json:
    """OpenAI's ``service_tier``, where it has a word for what was used."""
    tier = _TIERS.get(str(usage.get("service_tier"))) if isinstance(usage, dict) else None
    return {"service_tier": tier} if tier else {}
