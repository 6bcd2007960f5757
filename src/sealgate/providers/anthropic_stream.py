"""Streams of the Messages API as OpenAI's chunks.

A stream is a sequence of documents; `AnthropicStreamReader.feed_event` takes one after the other, whatever they came
in: server-sent events here, frames of another kind elsewhere. Blocks are numbered over all kinds; only calls of the
caller's tools are tool calls of the answer. What the provider's own tools did is not shown.

Source: platform.claude.com/docs/en/build-with-claude/streaming.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.formats import sse
from sealgate.providers.anthropic_answer import (
    WRONG_SHAPE,
    Block,
    Chunks,
    Usage,
    cited,
    finish,
    refusal_in,
    stopped,
    taken_out,
    tier_in,
)
from sealgate.providers.anthropic_errors import error_in
from sealgate.providers.anthropic_form import form
from sealgate.providers.anthropic_messages import UNREADABLE, detail
from sealgate.providers.anthropic_stops import Watch, stops
from sealgate.providers.base import Json

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class AnthropicStreamReader:
    """The documents of one stream, from ``message_start`` to ``message_stop``."""

    def __init__(self, fields: Json) -> None:
        self.done = False
        self._events = sse.EventReader()
        self._form = form(fields)
        self._held = self._form is not None and self._form.held
        watched = stops(fields)[1]
        self._watch = Watch(watched) if watched and self._form is None else None
        self._plain = not self._held and self._watch is None
        self._blocks: dict[Any, Block] = {}
        self._usage = Usage()
        self._length = 0
        self._calls = 0
        self._details = 0
        self._finished = False

    def feed(self, piece: bytes) -> Chunks:
        try:
            events = self._events.feed(piece)
        except sse.LineTooLongError as error:
            raise UpstreamError(Failure.BAD_STREAM, str(error)) from None
        if len(events) == 1:
            return self._event(events[0])
        return self._each(events) if events else ()

    def end(self) -> Chunks:
        return ()

    def feed_event(self, name: bytes | str, document: Json) -> Chunks:
        """Chunks for the next document, or `UpstreamError`; ``name`` is its event's, for one that has no type."""
        if self.done:
            return ()
        try:
            kind = document.get("type")
            if kind == "content_block_delta":
                return self._delta(document)
            if kind is None:
                kind = name if isinstance(name, str) else name.decode("utf-8", "replace")
            read = _READ.get(kind)
            if read is not None:
                return read(self, document)
        except WRONG_SHAPE as error:
            raise UpstreamError(Failure.BAD_STREAM, "an event has an unknown shape") from error
        if kind == "error" or "error" in document:
            raise error_in(document)
        return ()  # pings, and what is not known yet

    def _each(self, events: Iterable[sse.Event]) -> Iterator[Json]:
        """One by one, so that what came before an error in the same piece is not lost."""
        for event in events:
            yield from self._event(event)

    def _event(self, event: sse.Event) -> Chunks:
        if self.done:
            return ()
        try:
            document = _decode(event.data)
        except UNREADABLE:
            if event.data.startswith(b"[DONE]"):  # some who pass these streams on end them like OpenAI's
                self.done = True
                return ()
            raise UpstreamError(Failure.BAD_STREAM, "an event is not a JSON object") from None
        return self.feed_event(event.name, document)

    # Documents by their type

    def _message_start(self, document: Json) -> Chunks:
        message = document["message"]
        self._usage.note(message.get("usage"))
        begun = self._usage.render()
        counted = {"usage": {**begun, "so_far": True}} if begun else {}
        return ({"model": message.get("model"), "choices": [], **counted, **tier_in(message.get("usage"))},)

    def _block_start(self, document: Json) -> Chunks:
        given = document["content_block"]
        block = self._blocks[document.get("index")] = Block(given)
        kind = block.kind
        if kind == "text":
            block.start = self._length
            block.citations = list(given.get("citations") or ())
            return self._text(block, given.get("text") or "")
        if kind == "thinking":
            block.signature = given.get("signature") or ""
            return self._thought(block, given.get("thinking") or "")
        if kind == "tool_use" and not block.answers(self._form):
            block.number = self._calls
            self._calls += 1
            function = {"name": given["name"], "arguments": ""}
            return _said({"tool_calls": [{"index": block.number, "id": given["id"], "type": "function",
                                          "function": function}]})  # fmt: skip
        return ()

    def _delta(self, document: Json) -> Chunks:
        delta = document["delta"]
        kind = delta["type"]
        block = self._blocks.get(document.get("index")) or self._unannounced(document, kind)
        if kind == "text_delta":
            text = delta["text"]
            if not self._plain or block.kind != "text":
                return self._text(block, text)
            self._length += len(text)
            return ({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},) if text else ()
        if kind == "input_json_delta":
            return self._fragment(block, delta["partial_json"])
        if kind == "thinking_delta":
            return self._thought(block, delta["thinking"])
        if kind == "signature_delta":
            block.signature += delta["signature"]
        elif kind == "citations_delta":
            block.citations.append(delta["citation"])
        return ()

    def _unannounced(self, document: Json, kind: str) -> Block:
        """A block whose start never came: some who pass these streams on leave out that of text."""
        if kind not in ("text_delta", "thinking_delta"):
            raise KeyError(kind)
        block = self._blocks[document.get("index")] = Block({"type": kind.removesuffix("_delta")})
        block.start = self._length
        return block

    def _block_stop(self, document: Json) -> Chunks:
        block = self._blocks.pop(document.get("index"), None)
        if block is None:
            return ()
        if block.kind == "text":
            return self._close_text(block)
        if block.kind == "tool_use":
            return self._close_call(block)
        if block.kind in ("thinking", "redacted_thinking"):
            self._details += 1
            return _said({"reasoning_details": [detail(block.thinking(), self._details - 1)]})
        return ()

    def _message_delta(self, document: Json) -> Chunks:
        self._usage.note(document.get("usage"))
        delta = document.get("delta") or {}
        chunk: Json = {"choices": [], "usage": self._usage.render()}
        reason = delta.get("stop_reason")
        if reason is None or self._finished:
            return (chunk,)
        self._finished = True
        ended = finish(reason, called=self._calls > 0)
        at = stopped(delta.get("stop_sequence"))
        chunk["choices"] = [{"index": 0, "delta": {}, "finish_reason": ended, **at}]
        refusal = refusal_in(delta) if reason == "refusal" else None
        return (*(_said({"refusal": refusal}) if refusal else ()), chunk)

    def _message_stop(self, document: Json) -> Chunks:  # noqa: ARG002
        self.done = True
        return ()

    # Parts of blocks

    def _text(self, block: Block, text: str) -> Chunks:
        if block.kind != "text" or not text:
            return ()
        if self._held:
            block.pieces.append(text)
            return ()
        if self._watch is not None:
            return self._watched(self._watch, self._watch.take(text))
        self._length += len(text)
        return _said({"content": text})

    def _watched(self, watch: Watch, text: str) -> Chunks:
        self._length += len(text)
        said = list(_said({"content": text})) if text else []
        if watch.hit:
            # The answer is over for the caller. How long it was is not known then: the provider says that at its end.
            self.done = self._finished = True
            said.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", **stopped(watch.hit)}]})
        return said

    def _thought(self, block: Block, text: str) -> Chunks:
        if not text:
            return ()
        block.pieces.append(text)
        return _said({"reasoning_content": text})

    def _fragment(self, block: Block, text: str) -> Chunks:
        if block.kind != "tool_use" or not text:
            return ()
        if block.number is None and self._held:
            block.pieces.append(text)
            return ()
        block.begun = True
        if block.number is None:
            self._length += len(text)
            return _said({"content": text})
        return _said({"tool_calls": [{"index": block.number, "function": {"arguments": text}}]})

    def _close_text(self, block: Block) -> Chunks:
        said: list[Json] = []
        if self._watch is not None:
            said += self._watched(self._watch, self._watch.rest())
        if block.pieces:
            text = taken_out("".join(block.pieces), self._form)
            self._length += len(text)
            said += _said({"content": text})
        if block.citations:
            said += _said({"annotations": cited(block.citations, block.start, self._length)})
        return said

    def _close_call(self, block: Block) -> Chunks:
        """Arguments that came with the block's start, or none at all, which is an empty object."""
        if block.begun:
            return ()
        text = "".join(block.pieces) or _encode(block.given.get("input") or {}).decode()
        if block.number is not None:
            return _said({"tool_calls": [{"index": block.number, "function": {"arguments": text}}]})
        text = taken_out(text, self._form)
        self._length += len(text)
        return _said({"content": text})


_READ = {
    "message_start": AnthropicStreamReader._message_start,
    "content_block_start": AnthropicStreamReader._block_start,
    "content_block_stop": AnthropicStreamReader._block_stop,
    "message_delta": AnthropicStreamReader._message_delta,
    "message_stop": AnthropicStreamReader._message_stop,
}


def _said(delta: Json) -> tuple[Json]:
    return ({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},)
