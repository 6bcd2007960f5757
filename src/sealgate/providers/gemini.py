"""Gemini's wire (``generateContent``), as AI Studio and Vertex AI speak it."""

from __future__ import annotations

from collections.abc import Mapping

from sealgate.errors import UpstreamError
from sealgate.providers.base import Account, Json, Prompt, Written
from sealgate.providers.capabilities import schema_in
from sealgate.providers.gemini_answer import StreamReader, WholeReader
from sealgate.providers.gemini_errors import failure
from sealgate.providers.gemini_request import body_of, understood
from sealgate.providers.params import adjust


class GeminiWire:
    """What a kind's row leaves of the caller's fields, in Gemini's terms."""

    stream_type = "text/event-stream"

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        fields, adjusted = adjust(account.kind, prompt.fields)
        body, said = body_of(fields, prompt, model)
        return Written(body, [*adjusted, *said])

    def reader(self, fields: Json, *, stream: bool) -> StreamReader | WholeReader:  # noqa: ARG002
        return StreamReader() if stream else WholeReader()

    def holds(self, fields: Json, model: str) -> bool:  # noqa: ARG002
        """By the page of ``responseJsonSchema``: what is not among its keywords is passed over in silence."""
        form = fields.get("response_format") or {}
        schema = form["json_schema"].get("schema") if form.get("type") == "json_schema" else None
        if "guided_json" in fields:
            schema = schema_in(fields["guided_json"])
        return schema is None or understood(schema)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return failure(status, headers, body)


GEMINI = GeminiWire()
