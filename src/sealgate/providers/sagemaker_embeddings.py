"""Embeddings in SageMaker's envelope, in what the endpoint's container speaks.

OpenAI's wire (vLLM, SGLang, LMI); ``inputs`` (Text Embeddings Inference, Hugging Face's containers); or ``text_inputs``
(the older models of JumpStart). Answers are read in any of these forms.

Source: ``InvokeEndpoint`` of the service model ``sagemaker-runtime``; the API of Text Embeddings Inference (``embed``);
the example notebooks of SageMaker JumpStart for text embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.providers import aws, vectors
from sealgate.providers.base import Account, Json, Prompt, Unmet, Written
from sealgate.providers.embeddings import EmbeddingsWire
from sealgate.providers.openai import raise_if_error
from sealgate.providers.vectors import Read, VectorsReader

MOST = 32
"""Texts in one call: what Text Embeddings Inference takes unless it is told otherwise."""
_OWN = frozenset({"truncate", "truncation_direction", "prompt_name", "normalize", "dimensions"})
"""Fields of Text Embeddings Inference."""
_OF_JUMPSTART = frozenset({"mode"})

_encode = msgspec.json.Encoder().encode


class CarriedEmbeddings(EmbeddingsWire):
    """OpenAI's."""

    about = "In OpenAI's form, in one call, as it came."

    def reader(self, fields: Json, *, stream: bool) -> VectorsReader:  # type: ignore[override]  # noqa: ARG002
        return VectorsReader(_read)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return aws.failure(status, headers, body)


class InputsEmbeddings(CarriedEmbeddings):
    """``inputs``; token ids are taken, too."""

    about = (
        f"As `inputs` of Text Embeddings Inference, {MOST} in a call; longer lists go in several calls. Token ids are "
        "taken. It does not say how many tokens there were: they are estimated."
    )

    def parts(self, fields: Json, model: str) -> Sequence[Json]:  # noqa: ARG002
        return vectors.split(fields, MOST)

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        fields = prompt.fields
        given = fields["input"]
        one = isinstance(given, str) or isinstance(given[0], int)
        own = {name: fields[name] for name in sorted(_OWN & fields.keys())}
        return Written(_encode({"inputs": [given] if one else given, **own}), vectors.dropped(fields, _OWN))


class TextInputsEmbeddings(CarriedEmbeddings):
    """``text_inputs``."""

    about = (
        f"As `text_inputs`, {MOST} in a call; longer lists go in several calls. Texts only, no token ids, no "
        "`dimensions`. It does not say how many tokens there were: they are estimated."
    )

    def unmet(self, fields: Json, model: str) -> Unmet | None:  # noqa: ARG002
        if vectors.holds_tokens(fields):
            return vectors.ONLY_TEXTS
        return vectors.dimensions_among(fields, ())

    def parts(self, fields: Json, model: str) -> Sequence[Json]:  # noqa: ARG002
        return vectors.split(fields, MOST)

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        fields = prompt.fields
        own = {name: fields[name] for name in sorted(_OF_JUMPSTART & fields.keys())}
        return Written(_encode({"text_inputs": vectors.texts(fields), **own}), vectors.dropped(fields, _OF_JUMPSTART))


def _read(document: Any, headers: Mapping[str, str]) -> Read:  # noqa: ARG001
    if isinstance(document, list):
        return Read(document)
    raise_if_error(document)
    if "data" in document:
        return _listed(document)
    found = document.get("embeddings", document.get("embedding"))
    if found is None:
        raise UpstreamError(Failure.BAD_RESPONSE, "the answer has no vectors")
    # One text may be answered by its vector alone.
    return Read([found] if found and isinstance(found[0], int | float) else found)


def _listed(document: Json) -> Read:
    """OpenAI's form; its vectors may come in any order."""
    data = document["data"]
    places = [each.get("index", place) for place, each in enumerate(data)]
    if sorted(places) != list(range(len(data))):
        raise UpstreamError(Failure.BAD_RESPONSE, "the vectors' indexes are not those of the inputs")
    ordered = sorted(zip(places, data, strict=True), key=lambda each: each[0])
    usage = document.get("usage")
    return Read([each["embedding"] for _, each in ordered], usage.get("prompt_tokens") if usage else None)


CARRIED_EMBEDDINGS = CarriedEmbeddings()
INPUTS = InputsEmbeddings()
TEXT_INPUTS = TextInputsEmbeddings()
