"""Embeddings on AWS Bedrock: Titan's and Cohere's own bodies for InvokeModel, chosen by the model's id.

Titan takes one text in a call, Cohere 96. Source: the Bedrock user guide (Titan Embeddings Text, Titan Multimodal
Embeddings G1, Cohere Embed v3 and v4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from sealgate.errors import UpstreamError
from sealgate.providers import aws, vectors
from sealgate.providers.base import Account, Adjustment, Json, Prompt, Unmet, Written
from sealgate.providers.vectors import Read, VectorsReader

COUNTED = "x-amzn-bedrock-input-token-count"
"""The header in which Bedrock says what it bills, where the body does not."""
INPUT_TYPE = "search_document"
"""Cohere demands to be told what vectors are for. OpenAI's request has no word for it, so it is what most are for."""
_COHERE_OWN = ("input_type", "truncate", "max_tokens")

_encode = msgspec.json.Encoder().encode


class Form(NamedTuple):
    """How models of one family are asked."""

    most: int
    """Texts in one call."""
    lengths: frozenset[int]
    """The ``dimensions`` that there are; none where they cannot be chosen."""
    known: frozenset[str]
    """The fields of a request that are sent, beside its inputs."""
    body: Callable[[Json], Json]


def _titan(fields: Json) -> Json:
    return {"inputText": vectors.texts(fields)[0]}


def _titan_2(fields: Json) -> Json:
    return _titan(fields) | {name: fields[name] for name in ("dimensions", "normalize") if name in fields}


def _titan_image(fields: Json) -> Json:
    length = fields.get("dimensions")
    return _titan(fields) | ({} if length is None else {"embeddingConfig": {"outputEmbeddingLength": length}})


def _cohere(fields: Json) -> Json:
    own = {name: fields[name] for name in _COHERE_OWN if name in fields}
    return {"texts": vectors.texts(fields), "input_type": INPUT_TYPE, **own}


def _cohere_4(fields: Json) -> Json:
    body = _cohere(fields) | {"embedding_types": ["float"]}
    return body | ({"output_dimension": fields["dimensions"]} if "dimensions" in fields else {})


_NONE: frozenset[int] = frozenset()
_DIMENSIONS = frozenset({"dimensions"})
_OF_COHERE = frozenset(_COHERE_OWN)
FORMS = (
    (re.compile(r"titan-embed-(?:text-v1|g1-text)"), Form(1, _NONE, frozenset(), _titan)),
    (
        re.compile(r"titan-embed-text-v2"),
        Form(1, frozenset({256, 512, 1024}), _DIMENSIONS | {"normalize"}, _titan_2),
    ),
    (re.compile(r"titan-embed-image"), Form(1, frozenset({256, 384, 1024}), _DIMENSIONS, _titan_image)),
    (re.compile(r"cohere\.embed-[a-z-]+-v3"), Form(96, _NONE, _OF_COHERE, _cohere)),
    (
        re.compile(r"cohere\.embed-v4"),
        Form(96, frozenset({256, 512, 1024, 1536}), _DIMENSIONS | _OF_COHERE, _cohere_4),
    ),
)
"""By what stands in a model's id, which may be a profile's or an ARN."""


def form_of(model: str) -> Form | None:
    """How a model is asked; None where its id does not say that."""
    return next((form for pattern, form in FORMS if pattern.search(model)), None)


class InvokedEmbeddings:
    """Bodies that each family has of its own."""

    about = (
        "By InvokeModel, in the body of the model's family, which its id tells: Titan Text Embeddings (v1: no "
        "`dimensions`; v2: 256, 512, 1024, and Titan's own `normalize`), Titan Multimodal Embeddings (texts; 256, 384, "
        "1024), Cohere Embed v3 (no `dimensions`) and v4 (256, 512, 1024, 1536). Texts only, no token ids. Titan takes "
        f"one text in a call, Cohere 96; longer lists go in several calls. Cohere's `input_type` is `{INPUT_TYPE}` "
        "unless the request has one, and its `truncate` may be set, too."
    )

    stream_type = "application/json"

    def unmet(self, fields: Json, model: str) -> Unmet | None:
        form = form_of(model)
        if form is None:
            return Unmet("model", "its id names no Titan or Cohere model of embeddings")
        if vectors.holds_tokens(fields):
            return vectors.ONLY_TEXTS
        return vectors.dimensions_among(fields, form.lengths)

    def parts(self, fields: Json, model: str) -> Sequence[Json]:
        form = form_of(model)
        return (fields,) if form is None else vectors.split(fields, form.most)

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        fields, form = prompt.fields, form_of(model)
        assert form is not None, "a plan has no route whose model is unknown"
        said = vectors.dropped(fields, form.known)
        body = form.body(fields)
        if "texts" in body and "input_type" not in fields:
            said.append(Adjustment("input_type", "emulated", f"demanded there; sent as {INPUT_TYPE}"))
        return Written(_encode(body), said)

    def reader(self, fields: Json, *, stream: bool) -> VectorsReader:  # noqa: ARG002
        return VectorsReader(_read)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return aws.failure(status, headers, body)

    def holds(self, fields: Json, model: str) -> bool:  # noqa: ARG002
        return True


def _read(document: Any, headers: Mapping[str, str]) -> Read:
    """Titan's one vector, or Cohere's, which come in a list or by their type."""
    if "embedding" in document:
        return Read([document["embedding"]], document.get("inputTextTokenCount", _counted(headers)))
    found, billed = document["embeddings"], ((document.get("meta") or {}).get("billed_units") or {})
    counted = billed.get("input_tokens", _counted(headers))
    return Read(found["float"] if isinstance(found, dict) else found, vectors.total([counted]))


def _counted(headers: Mapping[str, str]) -> int | None:
    said = headers.get(COUNTED, "")
    return int(said) if said.isascii() and said.isdigit() else None


INVOKED = InvokedEmbeddings()
