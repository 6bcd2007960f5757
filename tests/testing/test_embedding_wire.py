"""Embeddings in the words of each provider: vectors told apart, and calls refused that hold too much."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealgate.testing.embedding_wire import embedded, tokens_of, vector_of
from sealgate.testing.received import Received
from sealgate.testing.script import wire

TEXT = {"parts": [{"text": "a b"}]}
VECTOR = vector_of("a b")


def answered(path: str, body: Any, **options: Any) -> tuple[bytes, Any]:
    """Status line and document of the answer to such a request."""
    received = Received("POST", path, {}, json.dumps(body).encode(), body, 0.0)
    head, _, said = wire(embedded(**options), received).partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], json.loads(said)


@pytest.mark.parametrize(("path", "body", "wanted"), [
    ("/v1/embeddings", {"input": "a b"},
     {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": VECTOR}], "model": "test-model",
      "usage": {"prompt_tokens": 2, "total_tokens": 2}}),
    ("/m:batchEmbedContents", {"requests": [{"content": TEXT}]},
     {"embeddings": [{"values": VECTOR}], "usageMetadata": {"promptTokenCount": 2}}),
    ("/publishers/google/models/m:batchEmbedContents", {"requests": [{"content": TEXT}]},
     {"embeddings": [{"values": VECTOR, "statistics": {"token_count": 2.0}}]}),
    ("/m:embedContent", {"content": TEXT},
     {"embedding": {"values": VECTOR}, "truncated": False, "usageMetadata": {"promptTokenCount": 2}}),
    ("/model/titan-embed-text-v1/invoke", {"inputText": "a b"}, {"embedding": VECTOR, "inputTextTokenCount": 2}),
    ("/model/cohere.embed-english-v3/invoke", {"texts": ["a b"], "input_type": "clustering"},
     {"id": "1", "embeddings": [VECTOR], "response_type": "embeddings_floats"}),
    ("/endpoints/e/invocations", {"inputs": ["a b"]}, [VECTOR]),
    ("/endpoints/e/invocations", {"text_inputs": ["a b"]}, {"embedding": [VECTOR]}),
])  # fmt: skip
def test_each_provider_answers_in_its_own_words(path: str, body: Any, wanted: Any) -> None:
    assert answered(path, body) == (b"HTTP/1.1 200 OK", wanted)


@pytest.mark.parametrize(("path", "body", "status"), [
    ("/m:batchEmbedContents", {"requests": [{"content": TEXT}] * 101}, b"400"),
    ("/m:predict", {"instances": [{"content": "a"}] * 251}, b"400"),
    ("/model/cohere.embed-english-v3/invoke", {"texts": ["a"] * 97, "input_type": "clustering"}, b"400"),
    ("/model/cohere.embed-english-v3/invoke", {"texts": ["a"]}, b"400"),
    ("/model/titan-embed-text-v1/invoke", {"inputText": ["a"]}, b"400"),
    ("/model/titan-embed-text-v1/invoke", {"inputText": "a", "dimensions": 256}, b"400"),
    ("/endpoints/e/invocations", {"inputs": ["a"] * 33}, b"422"),
])  # fmt: skip
def test_what_a_provider_does_not_take_in_one_call_it_refuses(path: str, body: Any, status: bytes) -> None:
    assert answered(path, body)[0].split()[1] == status


def test_vectors_are_told_apart_by_their_inputs_and_have_the_length_asked_for() -> None:
    assert vector_of("a") != vector_of("b")
    assert vector_of([1, 2]) != vector_of("1 2")
    assert len(vector_of("a", 300)) == 300
    assert (tokens_of("one two"), tokens_of([4, 5, 6])) == (2, 3)
