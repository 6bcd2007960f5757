"""OpenAI's embeddings wire, which the providers and servers that speak OpenAI's chat mostly speak too.

Source: the API reference of embeddings. ``encoding_format`` is not sent: some servers do not know it, some answer with
numbers whatever it says, and the relay gives callers what they asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.base import Account, Json, Prompt, Written
from sealgate.providers.openai import UNREADABLE, WIRE, raise_if_error
from sealgate.providers.whole import WholeBody, decoded

_encode = msgspec.json.Encoder().encode


class EmbeddingsWire:
    """Requests and answers pass nearly as they are."""

    stream_type = "application/json"

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        return Written(_encode({**prompt.fields, "model": model}), ())

    def reader(self, fields: Json, *, stream: bool) -> EmbeddingsReader:  # noqa: ARG002
        return EmbeddingsReader()

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return WIRE.failure(status, headers, body)

    def holds(self, fields: Json, model: str) -> bool:  # noqa: ARG002
        return True


class EmbeddingsReader(WholeBody):
    """One JSON document with ``data``."""

    def end(self) -> Iterable[Json]:
        try:
            answer = decoded(self.body)
        except UNREADABLE:
            answer = None
        if not isinstance(answer, dict):
            raise UpstreamError(Failure.BAD_RESPONSE, "the body is not a JSON object")
        raise_if_error(answer)
        self.done = True
        return (answer,)


EMBEDDINGS = EmbeddingsWire()
