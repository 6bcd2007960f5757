"""AWS Bedrock: Converse for all of its models.

Source: the service model ``bedrock-runtime`` of botocore and the Bedrock user guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.providers import aws
from sealgate.providers.base import Account, Json, Prompt, Written
from sealgate.providers.bedrock_answer import ConverseReader, ConverseStreamReader
from sealgate.providers.bedrock_request import converse
from sealgate.providers.params import adjust

_encode = msgspec.json.Encoder().encode


class BedrockHost(aws.AwsHost):
    """``POST {base_url}/model/{id}/…``, signed for ``bedrock``, or with a Bedrock API key as bearer."""

    def __init__(self, whole: str, streamed: str) -> None:
        super().__init__("bedrock")
        self._whole = whole
        self._streamed = streamed

    def url(self, account: Account, model: str, *, stream: bool) -> str:
        if not model.strip("."):
            raise UpstreamError(Failure.MODEL_GONE, "A model's id is not only dots.")
        # An ARN has slashes; the id is one segment of the path.
        return f"{account.base_url}/model/{quote(model, safe='')}/{self._streamed if stream else self._whole}"


class ConverseWire:
    """One message format for the models of all vendors."""

    stream_type = aws.EVENT_STREAM

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        fields, adjusted = adjust(account.kind, prompt.fields)
        body, said = converse(fields, model)
        for name, value in prompt.extra_body.items():
            given = body.get(name)
            body[name] = {**given, **value} if isinstance(given, dict) and isinstance(value, dict) else value
        return Written(_encode(body), [*adjusted, *said])

    def reader(self, fields: Json, *, stream: bool) -> ConverseReader | ConverseStreamReader:
        return ConverseStreamReader(fields) if stream else ConverseReader(fields)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return aws.failure(status, headers, body)


CONVERSE = ConverseWire()
CONVERSE_HOST = BedrockHost("converse", "converse-stream")
