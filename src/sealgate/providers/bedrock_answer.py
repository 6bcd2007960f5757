"""From the answers of Bedrock's Converse and ConverseStream to OpenAI's shape.

Source: the service model ``bedrock-runtime`` of botocore (``ConverseResponse``, ``ConverseStreamOutput``).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.anthropic_answer import stopped, taken_out
from sealgate.providers.anthropic_form import ANSWER_TOOL, form
from sealgate.providers.aws import Frame, FrameReader
from sealgate.providers.base import Json
from sealgate.providers.openai import UNREADABLE
from sealgate.providers.whole import WholeBody

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

CLAUDE_FORMAT = "anthropic-claude-v1"
OWN_FORMAT = "bedrock"
"""What ``reasoning_details`` are marked with: for whom they are readable."""

UNKNOWN_SHAPE = (AttributeError, KeyError, TypeError)


def usage_of(given: Any) -> Json | None:
    """OpenAI's ``usage``. Converse counts what came from a cache, or went into one, beside the input."""
    if not isinstance(given, dict):
        return None
    read, written = given.get("cacheReadInputTokens") or 0, given.get("cacheWriteInputTokens") or 0
    prompt, completion = given["inputTokens"] + read + written, given["outputTokens"]
    found: Json = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    details = {name: count for name, count in (("cached_tokens", read), ("cache_write_tokens", written)) if count}
    if details:
        found["prompt_tokens_details"] = details
    return found


def detail_of(thought: Json, index: int) -> Json | None:
    """An entry of ``reasoning_details``: what must come back unchanged. Reasoning without a signature need not."""
    if data := thought.get("redactedContent"):
        return {"type": "reasoning.encrypted", **_portable(data), "index": index}
    said = thought.get("reasoningText") or {}
    if not said.get("signature"):
        return None
    text, signature = said.get("text") or "", said["signature"]
    return {"type": "reasoning.text", "text": text, "signature": signature, "format": CLAUDE_FORMAT, "index": index}


def _portable(data: str) -> Json:
    """Redacted reasoning as its maker gives it, so that it may go back by another door; Bedrock wraps it in base64."""
    try:
        return {"data": base64.b64decode(data, validate=True).decode("ascii"), "format": CLAUDE_FORMAT}
    except ValueError:
        return {"data": data, "format": OWN_FORMAT}


def cited(citations: Iterable[Json], start: int, end: int) -> list[Json]:
    """Citations of a piece of text, from its first character to behind its last, as OpenAI's ``url_citation``."""
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": start,
                "end_index": end,
                "title": citation.get("title") or citation["location"].get("web", {}).get("domain") or "",
                "url": _place(citation["location"]) or citation.get("source") or "",
            },
        }
        for citation in citations
        if citation.get("location")
    ]


def _place(location: Json) -> str:
    """A page of the web, or a place in a document of the request as `anthropic_answer` writes it."""
    kind, where = next(iter(location.items()))
    if kind == "web":
        return str(where.get("url") or "")
    if "documentIndex" not in where:
        return ""
    document, first = f"document:{where['documentIndex']}", where.get("start")
    if kind == "documentPage" and first is not None:
        return f"{document}#page={first}"
    if kind == "documentChar" and first is not None:
        return f"{document}#char={first},{where.get('end', first)}"
    return document


# Whole


class ConverseReader(WholeBody):
    """One JSON document."""

    def __init__(self, fields: Json) -> None:
        super().__init__()
        self._form = form(fields)

    def end(self) -> Iterable[Json]:
        try:
            answer = _decode(self.body)
        except UNREADABLE:
            raise UpstreamError(Failure.BAD_RESPONSE, "the body is not a JSON object") from None
        try:
            blocks = answer["output"]["message"]["content"]
            message, reason = self._message(blocks), answer["stopReason"]
            if reason == "tool_use" and "tool_calls" not in message:
                reason = "stop"
            choice = {"index": 0, "message": message, "finish_reason": reason, **_stopped(answer)}
            return ({"choices": [choice], "usage": usage_of(answer.get("usage"))},)
        except UNKNOWN_SHAPE:
            raise UpstreamError(Failure.BAD_RESPONSE, "the answer is none of Converse") from None

    def _message(self, blocks: list[Json]) -> Json:
        texts: list[str] = []
        thoughts: list[str] = []
        formatted: list[str] = []
        length = 0
        lists: dict[str, list[Json]] = {"tool_calls": [], "reasoning_details": [], "annotations": []}
        for block in blocks:
            if (text := block.get("text")) is not None:
                texts.append(text)
                length += len(text)
            elif given := block.get("citationsContent"):
                said = "".join(part.get("text", "") for part in given.get("content") or ())
                texts.append(said)
                lists["annotations"] += cited(given.get("citations") or (), length, length + len(said))
                length += len(said)
            elif thought := block.get("reasoningContent"):
                thoughts.append((thought.get("reasoningText") or {}).get("text") or "")
                if detail := detail_of(thought, len(lists["reasoning_details"])):
                    lists["reasoning_details"].append(detail)
            elif (use := block.get("toolUse")) and use.get("type") != "server_tool_use":
                arguments = _encode(use.get("input") or {}).decode()
                if self._form is not None and use["name"] == ANSWER_TOOL:
                    formatted.append(arguments)
                else:
                    function = {"name": use["name"], "arguments": arguments}
                    lists["tool_calls"].append({"id": use["toolUseId"], "type": "function", "function": function})
        content = taken_out("".join(formatted or texts), self._form)
        message: Json = {"role": "assistant", "content": content or None}
        message |= {name: found for name, found in lists.items() if found}
        if reasoning := "".join(thoughts):
            message["reasoning_content"] = reasoning
        return message


# Streamed


class ConverseStreamReader:
    """Frames of ConverseStream. Only what a caller is to see becomes a chunk."""

    def __init__(self, fields: Json) -> None:
        self._frames = FrameReader()
        self._form = form(fields)
        self._waits = self._form is not None
        """Whether text is held back: until it is seen to be the answer, or to its end where that is in a holder."""
        self._calls: dict[int, int] = {}
        """Number of a tool call by the number of its block, which counts all blocks."""
        self._bare: set[int] = set()
        """Calls for which no argument has come yet."""
        self._others: set[int] = set()
        """Blocks that are nobody's business: tools that run at the provider, and their results."""
        self._answers: set[int] = set()
        """Blocks of the tool that stands for a schema."""
        self._thoughts: dict[int, dict[str, str]] = {}
        self._citations: dict[int, list[Json]] = {}
        self._starts: dict[int, int] = {}
        """Where the text of a block begins in the answer."""
        self._length = 0
        self._details = 0
        self._held = ""
        self._stopped = False
        self._counted = False
        self.done = False
        self._handlers: dict[str, Callable[[Json], Json | None]] = {
            "contentBlockDelta": self._delta,
            "contentBlockStart": self._start,
            "contentBlockStop": self._stop,
            "messageStop": self._finish,
            "metadata": self._metadata,
        }

    def feed(self, piece: bytes) -> Iterator[Json]:
        """One by one, so that what came before a failure in the same piece is not lost."""
        for frame in self._frames.feed(piece):
            handler = self._handlers.get(frame.event)
            if handler is not None and (chunk := self._read(handler, frame)) is not None:
                yield chunk

    def end(self) -> Iterable[Json]:
        return ()

    def _read(self, handler: Callable[[Json], Json | None], frame: Frame) -> Json | None:
        try:
            return handler(_decode(frame.payload))
        except UNREADABLE:
            raise UpstreamError(Failure.BAD_STREAM, "an event is not a JSON object") from None
        except UNKNOWN_SHAPE:
            raise UpstreamError(Failure.BAD_STREAM, f"{frame.event} has an unknown shape") from None

    def _start(self, event: Json) -> Json | None:
        number, start = event["contentBlockIndex"], event["start"]
        use = start.get("toolUse")
        if use is None or use.get("type") == "server_tool_use":
            self._others.add(number)
            return None
        if self._form is not None and use["name"] == ANSWER_TOOL:
            self._answers.add(number)
            self._held = ""  # what was said before the answer is not part of it
            return None
        call = self._calls[number] = len(self._calls)
        self._bare.add(number)
        function = {"name": use["name"], "arguments": ""}
        return _chunk(
            {"tool_calls": [{"index": call, "id": use["toolUseId"], "type": "function", "function": function}]}
        )

    def _delta(self, event: Json) -> Json | None:
        number, delta = event["contentBlockIndex"], event["delta"]
        if (text := delta.get("text")) is not None:
            self._starts.setdefault(number, self._length)
            self._length += len(text)
            return self._text(text) if self._waits else _chunk({"content": text})
        if (use := delta.get("toolUse")) is not None:
            return self._arguments(number, use["input"])
        if (thought := delta.get("reasoningContent")) is not None:
            return self._thought(number, thought)
        if (citation := delta.get("citation")) is not None:
            self._citations.setdefault(number, []).append(citation)
        return None

    def _text(self, text: str) -> Json | None:
        """Text where a form was asked for: it goes out if it is JSON, and waits if it may be talk before the answer."""
        self._held += text
        if self._in_holder or not self._held.lstrip().startswith(("{", "[")):
            return None
        self._waits, held, self._held = False, self._held, ""
        return _chunk({"content": held})

    @property
    def _in_holder(self) -> bool:
        return self._form is not None and self._form.held

    def _arguments(self, number: int, text: str) -> Json | None:
        if number in self._answers:
            if self._in_holder:
                self._held += text
                return None
            return _chunk({"content": text}) if text else None
        if number in self._others or not text:
            return None
        self._bare.discard(number)
        return _chunk({"tool_calls": [{"index": self._calls[number], "function": {"arguments": text}}]})

    def _thought(self, number: int, thought: Json) -> Json | None:
        """Reasoning goes out as it comes, and once more as a whole, with its signature, when its block has ended."""
        held = self._thoughts.setdefault(number, {"text": "", "signature": "", "redactedContent": ""})
        for name in held:
            held[name] += thought.get(name) or ""
        text = thought.get("text")
        return _chunk({"reasoning_content": text}) if text else None

    def _stop(self, event: Json) -> Json | None:
        number = event["contentBlockIndex"]
        if (held := self._thoughts.pop(number, None)) is not None:
            detail = detail_of({"reasoningText": held, "redactedContent": held["redactedContent"]}, self._details)
            self._details += detail is not None
            return _chunk({"reasoning_details": [detail]}) if detail else None
        if citations := self._citations.pop(number, None):
            found = cited(citations, self._starts.get(number, self._length), self._length)
            return _chunk({"annotations": found}) if found else None
        if number in self._bare:
            self._bare.discard(number)
            return _chunk({"tool_calls": [{"index": self._calls[number], "function": {"arguments": "{}"}}]})
        return None

    def _finish(self, event: Json) -> Json | None:
        delta = {"content": taken_out(self._held, self._form)} if self._held else {}
        self._stopped = True
        self.done = self._counted
        choice = {"index": 0, "delta": delta, "finish_reason": self._reason(event["stopReason"]), **_stopped(event)}
        return {"choices": [choice]}

    def _reason(self, said: str) -> str:
        return "stop" if said == "tool_use" and not self._calls else said

    def _metadata(self, event: Json) -> Json | None:
        self._counted = True
        self.done = self._stopped
        usage = usage_of(event.get("usage"))
        return None if usage is None else {"choices": [], "usage": usage}


def _stopped(told: Json) -> Json:
    """The stop text that ended an answer, where the model says it and was asked to."""
    return stopped((told.get("additionalModelResponseFields") or {}).get("stop_sequence"))


def _chunk(delta: Json) -> Json:
    return {"choices": [{"index": 0, "delta": delta}]}
