"""AWS Bedrock: Converse for all of its models, and InvokeModel for Claude, which carries Anthropic's own wire.

Source: the service model ``bedrock-runtime`` of botocore and the Bedrock user guide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from sealgate.errors import Failure, UpstreamError
from sealgate.providers import aws
from sealgate.providers.anthropic import ON_BEDROCK, AnthropicStreamReader, native_reader
from sealgate.providers.anthropic_form import form, holds
from sealgate.providers.anthropic_models import facts
from sealgate.providers.anthropic_native import NativeStreamReader
from sealgate.providers.base import Account, Json, Operation, Prompt, Reader, Written
from sealgate.providers.bedrock_answer import ConverseReader, ConverseStreamReader
from sealgate.providers.bedrock_models import CLAUDE as CLAUDE_MODELS
from sealgate.providers.bedrock_models import SCHEMAS
from sealgate.providers.bedrock_request import converse
from sealgate.providers.openai import UNREADABLE
from sealgate.providers.params import adjust

_encode = msgspec.json.Encoder().encode


class BedrockHost(aws.AwsHost):
    """``POST {base_url}/model/{id}/…``, signed for ``bedrock``, or with a Bedrock API key as bearer."""

    def __init__(self, whole: str, streamed: str) -> None:
        super().__init__("bedrock")
        self._whole = whole
        self._streamed = streamed

    def url(self, account: Account, model: str, *, stream: bool, operation: Operation = "chat") -> str:
        if not model.strip("."):
            raise UpstreamError(Failure.MODEL_GONE, "A model's id is not only dots.")
        # An ARN has slashes; the id is one segment of the path.
        way = "invoke" if operation == "embeddings" else self._streamed if stream else self._whole
        return f"{account.base_url}/model/{quote(model, safe='')}/{way}"


class ConverseWire:
    """One message format for the models of all vendors."""

    stream_type = aws.EVENT_STREAM

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        fields, adjusted = adjust(account.kind, prompt.fields)
        body, said = converse(fields, model, form(prompt.fields))
        if prompt.native is not None and "stop" in fields and CLAUDE_MODELS.search(model):
            body["additionalModelResponseFieldPaths"] = ["/stop_sequence"]  # else nobody says which it was
        for name, value in prompt.extra_body.items():
            given = body.get(name)
            body[name] = {**given, **value} if isinstance(given, dict) and isinstance(value, dict) else value
        return Written(_encode(body), [*adjusted, *said])

    def reader(self, fields: Json, *, stream: bool) -> ConverseReader | ConverseStreamReader:
        return ConverseStreamReader(fields) if stream else ConverseReader(fields)

    def holds(self, fields: Json, model: str) -> bool:
        return holds(fields, formats=bool(SCHEMAS.search(model)), forces=facts(model).forces)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return aws.failure(status, headers, body)


class ClaudeWire:
    """Anthropic's Messages API as the body of InvokeModel; streams have one of its documents in each frame."""

    stream_type = aws.EVENT_STREAM

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:
        found = ON_BEDROCK.write(account, prompt, model, max_output)
        return found if found.reader is None else replace(found, reader=_native_reader)

    def reader(self, fields: Json, *, stream: bool) -> Reader:
        return ClaudeStreamReader(fields) if stream else ON_BEDROCK.reader(fields, stream=False)

    def holds(self, fields: Json, model: str) -> bool:
        return ON_BEDROCK.holds(fields, model)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return aws.failure(status, headers, body)


class ClaudeStreamReader:
    """Frames of InvokeModelWithResponseStream: ``{"bytes": <base64 of a document>}`` and padding."""

    def __init__(self, fields: Json, inner: AnthropicStreamReader | None = None) -> None:
        self._frames = aws.FrameReader()
        self._inner = inner or AnthropicStreamReader(fields)
        self.done = False

    def feed(self, piece: bytes) -> Iterator[Json]:
        """One by one, so that what came before a failure in the same piece is not lost."""
        for frame in self._frames.feed(piece):
            if frame.event == "chunk":
                yield from self._inner.feed_event("", _document(frame.payload))
                self.done = self._inner.done

    def end(self) -> Iterable[Json]:
        return self._inner.end()


def _native_reader(stream: bool) -> Reader:
    return ClaudeStreamReader({}, NativeStreamReader()) if stream else native_reader(stream)


def _document(payload: bytes) -> Json:
    try:
        return _decode(_decode_chunk(payload).document)
    except (*UNREADABLE, msgspec.ValidationError):
        raise UpstreamError(Failure.BAD_STREAM, "a chunk holds no JSON object") from None


class _Chunk(msgspec.Struct):
    document: bytes = msgspec.field(name="bytes")  # read from base64


_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode = msgspec.json.Decoder(dict[str, Any]).decode

CONVERSE = ConverseWire()
CLAUDE = ClaudeWire()
CONVERSE_HOST = BedrockHost("converse", "converse-stream")
CLAUDE_HOST = BedrockHost("invoke", "invoke-with-response-stream")
