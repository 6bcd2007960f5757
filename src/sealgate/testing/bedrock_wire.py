"""Good answers and errors of AWS Bedrock's Converse, and the frames of AWS's event stream.

`converse` answers whole or as a stream, as the address asks; `converse_error` is an error by name, `stream_exception`
one in the middle of a stream. Everything can be set and nothing is checked, so that absurd answers can be given too.
A `ScriptedUpstream` plays it as a ``handler``: ``ScriptedUpstream(handler=converse("Hi"))``.
"""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import msgspec

from sealgate.testing.openai_wire import GREETING, pieces
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Behaviour, Chunk, Sleep, Step, head, json_answer

Json = dict[str, Any]

EVENT_STREAM = {"content-type": "application/vnd.amazon.eventstream"}
USAGE: Mapping[str, Any] = {"inputTokens": 10, "outputTokens": 7, "totalTokens": 17}
_STATUS = {
    "ValidationException": 400, "ServiceQuotaExceededException": 400, "AccessDeniedException": 403,
    "ResourceNotFoundException": 404, "ModelTimeoutException": 408, "ModelErrorException": 424,
    "ThrottlingException": 429, "ModelNotReadyException": 429, "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}  # fmt: skip

_encode = msgspec.json.Encoder().encode


def frame(payload: bytes, headers: Mapping[str, str]) -> bytes:
    """One frame: lengths and their checksum, headers (all of them text), payload, checksum of everything before."""
    lines = b""
    for name, value in headers.items():
        key, text = name.encode(), value.encode()
        lines += struct.pack(f">B{len(key)}sBH", len(key), key, 7, len(text)) + text
    prelude = struct.pack(">II", 16 + len(lines) + len(payload), len(lines))
    message = prelude + struct.pack(">I", crc32(prelude)) + lines + payload
    return message + struct.pack(">I", crc32(message))


def event(name: str, value: Mapping[str, Any] | bytes) -> bytes:
    """A frame that carries an event: an object as JSON, or bytes as they are."""
    raw = isinstance(value, bytes)
    kind = "application/octet-stream" if raw else "application/json"
    payload = value if isinstance(value, bytes) else _encode(value)
    return frame(payload, {":event-type": name, ":content-type": kind, ":message-type": "event"})


def exception(name: str, text: str = "The request failed.", **more: Any) -> bytes:
    """A frame that says that the stream has failed: ``exception("throttlingException")``."""
    named = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(_encode({"message": text, **more}), named)


def reasoning(text: str, signature: str = "signature-of-the-tests") -> Json:
    """A block of reasoning, for ``converse(blocks=[...])``."""
    return {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}


def tool_use(name: str, arguments: Mapping[str, Any], *, call_id: str | None = None) -> Json:
    """A call of a tool."""
    return {"toolUse": {"toolUseId": call_id or f"tooluse_{name}", "name": name, "input": dict(arguments)}}


@dataclass(frozen=True)
class Converse:
    """An answer, told in the form the address asks for."""

    text: str | None = None
    """One block of text. Unset: a greeting, unless there are ``blocks``."""
    _: KW_ONLY
    blocks: Sequence[Mapping[str, Any]] = ()
    """Content blocks as they stand in a whole answer. They come after the text."""
    stop_reason: str | None = None
    """Unset: ``tool_use`` where a tool is called, else ``end_turn``."""
    stop_sequence: str | None = None
    """Told as Claude's models do: where the request asks for that field of theirs."""
    usage: Mapping[str, Any] | None = field(default_factory=lambda: dict(USAGE))
    """None: a stream has no ``metadata`` event."""
    delay: float = 0.0
    """Seconds before each event of a stream but the first, and before a whole answer."""

    def __call__(self, received: Received) -> Iterator[Step]:
        """The script for this request."""
        if received.path.partition("?")[0].endswith("-stream"):
            return self.stream(received, self.events(received))
        return self._whole(received)

    def stream(self, received: Received, frames: Iterable[bytes]) -> Iterator[Step]:
        """The script of a stream of these frames."""
        yield head(200, {**EVENT_STREAM, "x-amzn-requestid": received.watermark})
        for number, each in enumerate(frames):
            if self.delay and number:
                yield Sleep(self.delay)
            yield Chunk(each)
        yield LAST_CHUNK

    def document(self, received: Received | None = None) -> Json:
        """The whole answer."""
        message = {"role": "assistant", "content": self._content()}
        return {"output": {"message": message}, **self._stop(received), "usage": self.usage, "metrics": {}}

    def events(self, received: Received | None = None) -> list[bytes]:
        """The frames of a stream, in order."""
        frames = [event("messageStart", {"role": "assistant"})]
        for index, block in enumerate(self._content()):
            at = {"contentBlockIndex": index}
            opening, deltas = _in_pieces(block)
            frames += [event("contentBlockStart", {**at, "start": opening})] if opening else []
            frames += [event("contentBlockDelta", {**at, "delta": delta}) for delta in deltas]
            frames.append(event("contentBlockStop", at))
        frames.append(event("messageStop", self._stop(received)))
        return frames + ([event("metadata", {"usage": self.usage, "metrics": {}})] if self.usage is not None else [])

    def _whole(self, received: Received) -> Iterator[Step]:
        if self.delay:
            yield Sleep(self.delay)
        yield from json_answer(self.document(received), headers={"x-amzn-requestid": received.watermark})

    def _content(self) -> list[Json]:
        text = GREETING if self.text is None and not self.blocks else self.text
        said = [{"text": text}] if text is not None else []
        return [*said, *(dict(block) for block in self.blocks)]

    def _stop(self, received: Received | None) -> Json:
        called = any("toolUse" in block for block in self.blocks)
        told: Json = {"stopReason": self.stop_reason or ("tool_use" if called else "end_turn")}
        if self.stop_sequence is not None:
            told["stopReason"] = "stop_sequence"
            asked = received is not None and received.json.get("additionalModelResponseFieldPaths") == [
                "/stop_sequence"
            ]
            told |= {"additionalModelResponseFields": {"stop_sequence": self.stop_sequence}} if asked else {}
        return told


converse = Converse
"""`Converse` under the name that reads well beside the other scripts: ``upstream.enqueue(converse("Hi"))``."""


def converse_error(
    name: str = "InternalServerException", text: str = "The request failed.", status: int | None = None
) -> Behaviour:
    """An error status: ``converse_error("ThrottlingException")``."""

    def script(received: Received) -> list[Step]:
        named = {"x-amzn-errortype": name, "x-amzn-requestid": received.watermark}
        return json_answer({"message": text}, status or _STATUS.get(name, 500), named)

    return script


def stream_exception(
    after: int = 3,
    name: str = "throttlingException",
    text: str = "The request failed.",
    *,
    base: Converse | None = None,
) -> Behaviour:
    """The first ``after`` frames of an answer, then an exception in their stead; the body then ends in order."""

    def script(received: Received) -> Iterator[Step]:
        answer = base or Converse()
        return answer.stream(received, [*answer.events()[:after], exception(name, text)])

    return script


def _in_pieces(block: Json) -> tuple[Json | None, list[Json]]:
    """How a block begins in a stream, where that is said at all, and the deltas that complete it."""
    if "text" in block:
        return None, [{"text": piece} for piece in pieces(block["text"])]
    if "toolUse" in block:
        use = dict(block["toolUse"])
        given = _encode(use.pop("input")).decode()
        parts = [given[start : start + 8] for start in range(0, len(given), 8)] if given != "{}" else []
        return {"toolUse": use}, [{"toolUse": {"input": part}} for part in parts]
    thought = block.get("reasoningContent", {})
    if "reasoningText" in thought:
        said = thought["reasoningText"]
        texts = [{"reasoningContent": {"text": piece}} for piece in pieces(said["text"])]
        return None, [*texts, {"reasoningContent": {"signature": said["signature"]}}]
    return None, [{"reasoningContent": thought}]
