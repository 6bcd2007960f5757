"""Embeddings as each provider gives them: by the address and the body of the request, in that provider's own words.

`embedded` answers OpenAI's wire, the Gemini API (AI Studio and Vertex AI), Titan and Cohere on Bedrock, and the
containers of SageMaker. A text gets the same vector everywhere (`vector_of`), so that a test can tell which vector
belongs to which input. A call that holds more inputs than its provider takes is refused as that provider refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from hashlib import sha256
from typing import Any

from sealgate.testing.bedrock_wire import converse_error
from sealgate.testing.gemini_wire import google_error
from sealgate.testing.received import Received
from sealgate.testing.refusals import error
from sealgate.testing.script import Script, json_answer, resolve

Json = dict[str, Any]

LENGTH = 4
"""Numbers of a vector, where the request does not say."""
STUDIO_MOST, VERTEX_MOST, COHERE_MOST, TEI_MOST = 100, 250, 96, 32
"""Inputs that one call may hold."""


def vector_of(item: Any, length: int = LENGTH) -> list[float]:
    """The vector of an input: a text, or token ids. Its numbers are whole 256ths: 32-bit floats hold them exactly."""
    seed = sha256(repr(item).encode()).digest()
    return [(seed[place % 32] - 128 + place // 32) / 256 for place in range(length)]


def tokens_of(item: Any) -> int:
    """How many tokens an input counts as."""
    return len(item.split()) if isinstance(item, str) else len(item)


@dataclass(frozen=True)
class Embedded:
    """A good answer to any of these requests. A behaviour: give it to a `ScriptedUpstream` as its handler."""

    _: KW_ONLY
    counts: bool = True
    """Whether the provider says how many tokens there were, where its wire has a place for that."""
    spoil: Callable[[list[Any]], Sequence[Any]] = list
    """What becomes of the vectors before they are sent."""

    def __call__(self, received: Received) -> Script:
        """The script for this request."""
        return resolve(self._answer(received.path.partition("?")[0], received.json, received), received)

    def _answer(self, path: str, body: Json, received: Received) -> Script:
        if path.endswith(":batchEmbedContents"):
            return self._batch(path, body, received)
        if path.endswith(":embedContent"):
            return self._content(body)
        if path.endswith(":predict"):
            return self._predict(body, received)
        if "inputText" in body:
            return self._titan(path, body, received)
        if "texts" in body:
            return self._cohere(path, body, received)
        if "text_inputs" in body:
            return json_answer({"embedding": self._vectors(body["text_inputs"], None)})
        return self._inputs(body, received) if "inputs" in body else self._openai(body)

    def _vectors(self, items: Sequence[Any], length: int | None) -> list[Any]:
        return list(self.spoil([vector_of(item, length or LENGTH) for item in items]))

    def _openai(self, body: Json) -> Script:
        given = body["input"]
        items = [given] if isinstance(given, str) or isinstance(given[0], int) else given
        found = self._vectors(items, body.get("dimensions"))
        data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(found)]
        used = sum(map(tokens_of, items))
        usage = {"usage": {"prompt_tokens": used, "total_tokens": used}} if self.counts else {}
        return json_answer({"object": "list", "data": data, "model": body.get("model", "test-model"), **usage})

    # Google

    def _batch(self, path: str, body: Json, received: Received) -> Script:
        requests = body["requests"]
        if len(requests) > STUDIO_MOST:
            said = f"* BatchEmbedContentsRequest.requests: at most {STUDIO_MOST} requests can be in one batch"
            return resolve(google_error(400, said), received)
        config = requests[0].get("embedContentConfig", requests[0])
        items = [each["content"]["parts"][0]["text"] for each in requests]
        found = [{"values": each} for each in self._vectors(items, config.get("outputDimensionality"))]
        if not self.counts:
            return json_answer({"embeddings": found})
        if "/publishers/" in path:
            for each, item in zip(found, items, strict=False):
                each["statistics"] = {"token_count": float(tokens_of(item))}
            return json_answer({"embeddings": found})
        return json_answer({"embeddings": found, "usageMetadata": {"promptTokenCount": sum(map(tokens_of, items))}})

    def _content(self, body: Json) -> Script:
        text = body["content"]["parts"][0]["text"]
        [values] = self._vectors([text], body.get("embedContentConfig", {}).get("outputDimensionality"))
        usage = {"usageMetadata": {"promptTokenCount": tokens_of(text)}} if self.counts else {}
        return json_answer({"embedding": {"values": values}, "truncated": False, **usage})

    def _predict(self, body: Json, received: Received) -> Script:
        items = [each["content"] for each in body["instances"]]
        if len(items) > VERTEX_MOST:
            return resolve(google_error(400, f"{len(items)} instance(s) is more than {VERTEX_MOST}"), received)
        length = body.get("parameters", {}).get("outputDimensionality")
        predictions: list[Json] = []
        for place, values in enumerate(self._vectors(items, length)):
            counted: Json = {}
            if self.counts:
                counted = {"statistics": {"token_count": tokens_of(items[place % len(items)]), "truncated": False}}
            predictions.append({"embeddings": {"values": values, **counted}})
        return json_answer({"predictions": predictions, "metadata": {"billableCharacterCount": 1}})

    # Bedrock and SageMaker

    def _titan(self, path: str, body: Json, received: Received) -> Script:
        text = body["inputText"]
        if not isinstance(text, str):
            return _invalid("Malformed input request: #/inputText: expected type: String", received)
        if "text-v1" in path and body.keys() != {"inputText"}:
            return _invalid("Malformed input request: extraneous key is not permitted", received)
        length = body.get("dimensions") or body.get("embeddingConfig", {}).get("outputEmbeddingLength")
        [values] = self._vectors([text], length)
        return json_answer({"embedding": values, **({"inputTextTokenCount": tokens_of(text)} if self.counts else {})})

    def _cohere(self, path: str, body: Json, received: Received) -> Script:
        items = body["texts"]
        if len(items) > COHERE_MOST or "input_type" not in body:
            return _invalid(f"Malformed input request: #/texts: expected maximum item count: {COHERE_MOST}", received)
        found = self._vectors(items, body.get("output_dimension"))
        headers: Mapping[str, str] = {}
        if self.counts:
            headers = {"x-amzn-bedrock-input-token-count": str(sum(map(tokens_of, items)))}
        if re.search(r"embed-v4", path):
            return json_answer(
                {"id": "1", "embeddings": {"float": found}, "response_type": "embeddings_by_type"}, headers=headers
            )
        return json_answer({"id": "1", "embeddings": found, "response_type": "embeddings_floats"}, headers=headers)

    def _inputs(self, body: Json, received: Received) -> Script:
        items = body["inputs"]
        if len(items) > TEI_MOST:
            said = f"batch size {len(items)} > maximum allowed batch size {TEI_MOST}"
            return resolve(error(422, message=said), received)
        return json_answer(self._vectors(items, body.get("dimensions")))


embedded = Embedded
"""`Embedded` under the name that reads well beside the other scripts: ``ScriptedUpstream(handler=embedded())``."""


def _invalid(text: str, received: Received) -> Script:
    return resolve(converse_error("ValidationException", text), received)
