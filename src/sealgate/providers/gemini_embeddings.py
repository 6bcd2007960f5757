"""Gemini's embeddings: ``batchEmbedContents`` of AI Studio; that, ``embedContent`` or ``predict`` of Vertex AI.

Which of them a model of Vertex takes says its name, as it does for Google's own library: Gemini's are batched, open
models take one text in a call, and the older text models are asked by ``predict``.

Source: ``google-genai`` (``models.embed_content`` and its converters), ai.google.dev/api/embeddings, and the references
of Vertex AI (``publishers.models.embedContent``, text embeddings API).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sealgate.errors import UpstreamError
from sealgate.providers import vectors
from sealgate.providers.base import Account, Json, Prompt, Unmet, Written
from sealgate.providers.gemini_errors import failure, refused
from sealgate.providers.vectors import Read, VectorsReader

MOST = 100
"""Texts in one call of ``batchEmbedContents``."""
MOST_INSTANCES = 250
MOST_BYTES = 40_000
"""Of one ``predict``: texts, and bytes of them; it takes 20000 tokens, of at least two bytes each on average."""
CONFIG = {"task_type": "taskType", "title": "title", "dimensions": "outputDimensionality"}
"""What a caller may set, in Google's words; ``task_type`` and ``title`` are Google's own."""

_encode = msgspec.json.Encoder().encode


def method_of(model: str) -> str:
    """How Vertex AI is asked for vectors of a model."""
    name = model.rpartition("/")[2]
    if "maas" in name:
        return "embedContent"
    return "batchEmbedContents" if "gemini" in name else "predict"


class _Embeddings:
    """What both surfaces share."""

    stream_type = "application/json"

    def unmet(self, fields: Json, model: str) -> Unmet | None:  # noqa: ARG002
        return vectors.ONLY_TEXTS if vectors.holds_tokens(fields) else None

    def reader(self, fields: Json, *, stream: bool) -> VectorsReader:  # noqa: ARG002
        return VectorsReader(_read)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return failure(status, headers, body)

    def holds(self, fields: Json, model: str) -> bool:  # noqa: ARG002
        return True


class StudioEmbeddings(_Embeddings):
    """AI Studio's."""

    about = (
        f"By `batchEmbedContents`, {MOST} texts in a call; longer lists go in several calls. Texts only, no token ids. "
        "`dimensions` is `outputDimensionality`; Google's own `task_type` and `title` may stand beside it."
    )

    def parts(self, fields: Json, model: str) -> Sequence[Json]:  # noqa: ARG002
        return vectors.split(fields, MOST)

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        fields = prompt.fields
        named = model if "/" in model else f"models/{model}"
        each = {"model": named, **_config(fields)}
        body = {"requests": [{**each, "content": _content(text)} for text in vectors.texts(fields)]}
        return Written(_encode(body), vectors.dropped(fields, CONFIG))


class VertexEmbeddings(_Embeddings):
    """Vertex AI's. Texts that are too long are refused, where Google would cut them off in silence."""

    about = (
        f"Gemini's models by `batchEmbedContents` ({MOST} texts in a call), open models (`…-maas`) by `embedContent` "
        f"(one text), all others by `predict` ({MOST_INSTANCES} texts, {MOST_BYTES} bytes); longer lists go in several "
        "calls. Texts only, no token ids. `autoTruncate` is off: a text that is too long is an error. `dimensions` is "
        "`outputDimensionality`; Google's own `task_type` and `title` may stand beside it."
    )

    def parts(self, fields: Json, model: str) -> Sequence[Json]:
        match method_of(model):
            case "embedContent":
                return vectors.split(fields, 1)
            case "batchEmbedContents":
                return vectors.split(fields, MOST)
            case _:
                return vectors.split(fields, MOST_INSTANCES, MOST_BYTES)

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        fields = prompt.fields
        given = vectors.texts(fields)
        config = {**_config(fields), "autoTruncate": False}
        match method_of(model):
            case "embedContent":
                body: Json = {"content": _content(given[0]), "embedContentConfig": config}
            case "batchEmbedContents":
                body = {"requests": [{"content": _content(text), "embedContentConfig": config} for text in given]}
            case _:
                body = _instances(given, fields)
        return Written(_encode(body), vectors.dropped(fields, CONFIG))


def _config(fields: Json) -> Json:
    return {to: fields[name] for name, to in CONFIG.items() if name in fields}


def _content(text: str) -> Json:
    return {"role": "user", "parts": [{"text": text}]}


def _instances(given: Sequence[str], fields: Json) -> Json:
    own = {name: fields[name] for name in ("task_type", "title") if name in fields}
    parameters: Json = {"autoTruncate": False}
    if "dimensions" in fields:
        parameters["outputDimensionality"] = fields["dimensions"]
    return {"instances": [{**own, "content": text} for text in given], "parameters": parameters}


# Answers


def _read(document: Any, headers: Mapping[str, str]) -> Read:  # noqa: ARG001
    if document.get("error") is not None:
        raise refused(document["error"])
    if "predictions" in document:
        found = [each["embeddings"] for each in document["predictions"]]
    else:
        found = document["embeddings"] if "embeddings" in document else [document["embedding"]]
    return Read([each["values"] for each in found], _tokens(document, found))


def _tokens(document: Json, found: Sequence[Json]) -> int | None:
    """As the whole is counted, else as each text is."""
    counts = document.get("usageMetadata")
    if isinstance(counts, dict) and "promptTokenCount" in counts:
        return vectors.total([counts["promptTokenCount"]])
    told = [each.get("statistics") or {} for each in found]
    return vectors.total([each.get("token_count", each.get("tokenCount")) for each in told])


STUDIO_EMBEDDINGS = StudioEmbeddings()
VERTEX_EMBEDDINGS = VertexEmbeddings()
