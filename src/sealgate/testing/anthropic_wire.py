"""Good answers and errors of Anthropic's Messages API (https://platform.claude.com/docs/en/api/messages).

`message` answers whole or as a stream, as the request asks; `message_error` is an error by status, `stream_error` one
in the middle of a stream. Everything can be set and nothing is checked, so that absurd answers can be given too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import msgspec

from sealgate.testing.openai_wire import EVENT_STREAM, GREETING, pieces
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Behaviour, Chunk, Sleep, Step, head, json_answer, sse

Json = dict[str, Any]

USAGE: Mapping[str, Any] = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 7,
    "service_tier": "standard",
}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def thinking(text: str, signature: str = "signature-of-the-tests") -> Json:
    """A block of thinking, for ``message(blocks=[...])``."""
    return {"type": "thinking", "thinking": text, "signature": signature}


def tool_use(name: str, arguments: Mapping[str, Any], *, call_id: str | None = None) -> Json:
    """A call of a tool."""
    return {"type": "tool_use", "id": call_id or f"toolu_{name}", "name": name, "input": dict(arguments)}


@dataclass(frozen=True)
class Message:
    """A message, told in the form the request asks for. A behaviour: give it to a `ScriptedUpstream`."""

    text: str | None = None
    """One block of text. Unset: a greeting, unless there are ``blocks``."""
    _: KW_ONLY
    blocks: Sequence[Mapping[str, Any]] = ()
    """Content blocks as they stand in a whole message. They come after the text."""
    stop_reason: str | None = None
    """Unset: ``tool_use`` where a tool is called, else ``end_turn``."""
    stop_sequence: str | None = None
    stop_details: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] = field(default_factory=lambda: dict(USAGE))
    """Of the whole answer. A stream says all but the output at its start."""
    model: str | None = None
    """The model that claims to answer; unset: the one asked for."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before each event of a stream but the first, and before a whole answer."""
    pings: bool = True
    """Whether a stream has a ``ping`` behind its start."""

    def __call__(self, received: Received) -> Iterator[Step]:
        """The script for this request."""
        if received.streams:
            return self.stream(received, self.events(received))
        return self._whole(received)

    def stream(self, received: Received, events: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
        """The script of a stream of these events."""
        yield head(200, {**EVENT_STREAM, **self._headers(received)})
        for number, event in enumerate(events):
            if self.delay and number:
                yield Sleep(self.delay)
            yield Chunk(sse(event, event=event["type"]))
        yield LAST_CHUNK

    def document(self, received: Received) -> Json:
        """The whole ``message``."""
        return {
            "id": f"msg_{received.watermark}",
            "type": "message",
            "role": "assistant",
            "model": self.model or received.model or "test-model",
            "content": self._content(),
            "stop_reason": self._reason(),
            "stop_sequence": self.stop_sequence,
            "stop_details": self.stop_details,
            "usage": dict(self.usage),
        }

    def events(self, received: Received) -> list[Json]:
        """The events of a stream, in order."""
        whole = self.document(received)
        started = {**whole, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
        started["usage"] = {**self.usage, "output_tokens": 1} if self.usage else {}
        events: list[Json] = [{"type": "message_start", "message": started}]
        events += [{"type": "ping"}] if self.pings else []
        for index, block in enumerate(whole["content"]):
            opening, deltas = _in_pieces(block)
            events.append({"type": "content_block_start", "index": index, "content_block": opening})
            events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            events.append({"type": "content_block_stop", "index": index})
        ended = {name: whole[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
        events.append({"type": "message_delta", "delta": ended, "usage": dict(self.usage)})
        return [*events, {"type": "message_stop"}]

    def _whole(self, received: Received) -> Iterator[Step]:
        if self.delay:
            yield Sleep(self.delay)
        yield from json_answer(self.document(received), headers=self._headers(received))

    def _headers(self, received: Received) -> dict[str, str]:
        return {"request-id": f"req_{received.watermark}", **self.headers}

    def _content(self) -> list[Json]:
        text = GREETING if self.text is None and not self.blocks else self.text
        said = [{"type": "text", "text": text}] if text is not None else []
        return [*said, *(dict(block) for block in self.blocks)]

    def _reason(self) -> str:
        called = any(block["type"] == "tool_use" for block in self.blocks)
        return self.stop_reason or ("tool_use" if called else "stop_sequence" if self.stop_sequence else "end_turn")


message = Message
"""`Message` under the name that reads well beside the other scripts: ``upstream.enqueue(message("Hi"))``."""


def message_error(
    status: int = 500,
    kind: str | None = None,
    text: str = "The request failed.",
    *,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """An error status: ``message_error(529)``, ``message_error(429, headers={"retry-after": "2"})``."""

    def script(received: Received) -> list[Step]:
        said = {"type": "error", "error": error_body(status, kind, text, details), "request_id": received.watermark}
        return json_answer(said, status, {"request-id": f"req_{received.watermark}", **(headers or {})})

    return script


def stream_error(after: int = 4, kind: str = "overloaded_error", text: str = "Overloaded", *,
                 base: Message | None = None) -> Behaviour:  # fmt: skip
    """The first ``after`` events of an answer, then an error in their stead; the body then ends in order."""

    def script(received: Received) -> Iterator[Step]:
        answer = base or Message()
        said = {"type": "error", "error": error_body(529, kind, text)}
        return answer.stream(received, [*answer.events(received)[:after], said])

    return script


def error_body(status: int, kind: str | None, text: str, details: Mapping[str, Any] | None = None) -> Json:
    """The ``error`` object."""
    said: Json = {"type": kind or _TYPES.get(status, "api_error"), "message": text}
    return said if details is None else {**said, "details": dict(details)}


def _in_pieces(block: Json) -> tuple[Json, list[Json]]:
    """How a block begins in a stream, and the deltas that complete it."""
    kind = block["type"]
    if kind == "text":
        cited = [{"type": "citations_delta", "citation": each} for each in block.get("citations", ())]
        said = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        return {"type": "text", "text": ""}, cited + said
    if kind == "thinking":
        thought = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*thought, signed]
    if kind in ("tool_use", "server_tool_use") and block["input"]:
        text = msgspec.json.encode(block["input"]).decode()
        parts = ["", *(text[start : start + 8] for start in range(0, len(text), 8))]
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return block, []
