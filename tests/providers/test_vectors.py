"""Embeddings of the wires that are not OpenAI's, through a gateway: parts, dimensions, token ids, usage, bad answers.

Nothing is recorded of them, so `sealgate.testing.embedding_wire` answers as their references say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway import Reply, Running, Serve, model, provider

from sealgate.config import Provider
from sealgate.errors import Failure, UpstreamError
from sealgate.providers.vectors import split
from sealgate.relay.answer import Label
from sealgate.relay.catalog import make_account
from sealgate.relay.embeddings import EmbeddingsAnswer, read_embeddings, unpacked
from sealgate.testing import ScriptedUpstream, answer
from sealgate.testing.embedding_wire import embedded, tokens_of, vector_of

PATH = "/v1/embeddings"
LABEL = Label(id="1", model="m", created=0, episode_id="e", tresor={})


class Place(NamedTuple):
    """A provider's kind with its settings, a model there, and how it is asked."""

    kind: str
    name: str
    path: str
    most: int
    """Texts in one call."""
    length: int | None = None
    """A length of vectors that can be asked for; None where there is one only."""
    settings: tuple[tuple[str, str], ...] = ()
    counts: bool = True
    tokens: bool = False
    """Whether it takes token ids."""


AWS = (("aws_region", "eu-central-1"),)
GCP = (("project", "acme"), ("location", "eu"))
IN_PROJECT = "/projects/acme/locations/eu/publishers/google/models/"
PLACES = {
    "studio": Place("google", "gemini-embedding-001", "/models/gemini-embedding-001:batchEmbedContents", 100, 768),
    "studio-prefixed": Place(
        "google", "models/gemini-embedding-2", "/models/gemini-embedding-2:batchEmbedContents", 100, 768
    ),
    "vertex-gemini": Place(
        "vertex", "gemini-embedding-001", IN_PROJECT + "gemini-embedding-001:batchEmbedContents", 100, 768, GCP
    ),
    "vertex-text": Place("vertex", "text-embedding-005", IN_PROJECT + "text-embedding-005:predict", 250, 256, GCP),
    "vertex-open": Place("vertex", "e5-large-maas", IN_PROJECT + "e5-large-maas:embedContent", 1, 256, GCP),
    "titan-1": Place("bedrock", "amazon.titan-embed-text-v1", "/model/amazon.titan-embed-text-v1/invoke", 1, None, AWS),
    "titan-2": Place(
        "bedrock", "amazon.titan-embed-text-v2:0", "/model/amazon.titan-embed-text-v2%3A0/invoke", 1, 512, AWS
    ),
    "titan-image": Place(
        "bedrock", "amazon.titan-embed-image-v1", "/model/amazon.titan-embed-image-v1/invoke", 1, 384, AWS
    ),
    "cohere-3": Place(
        "bedrock", "cohere.embed-multilingual-v3", "/model/cohere.embed-multilingual-v3/invoke", 96, None, AWS
    ),
    "cohere-4": Place("bedrock", "eu.cohere.embed-v4:0", "/model/eu.cohere.embed-v4%3A0/invoke", 96, 1536, AWS),
    "sagemaker": Place("sagemaker", "bge", "/endpoints/bge/invocations", 2048, 8, AWS, tokens=True),
    "tei": Place(
        "sagemaker", "bge", "/endpoints/bge/invocations", 32, 8, (*AWS, ("carries", "tgi")), counts=False, tokens=True
    ),
    "jumpstart": Place(
        "sagemaker", "bge", "/endpoints/bge/invocations", 32, None, (*AWS, ("carries", "jumpstart")), counts=False
    ),
}
EACH = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())


def configured(place: Place, upstream: ScriptedUpstream) -> Provider:
    return provider(upstream.origin, kind=place.kind, **dict(place.settings))


@asynccontextmanager
async def gateway_at(serve: Serve, place: Place, handler: Any) -> Any:
    """A gateway with a model ``m`` there, and the upstream."""
    async with ScriptedUpstream(handler=handler) as upstream:
        models = {"m": model("it", upstream_model=place.name, type="embedding")}
        async with serve({"it": configured(place, upstream)}, models) as gateway:
            yield gateway, upstream


async def ask(gateway: Running, given: Any, **fields: Any) -> Reply:
    return await gateway.post(PATH, {"model": "m", "input": given, **fields})


def vectors(reply: Reply) -> list[Any]:
    return [each["embedding"] for each in reply.json["data"]]


@EACH
@pytest.mark.anyio
async def test_a_text_and_a_list_come_back_as_vectors_in_order_with_usage(serve: Serve, place: Place) -> None:
    texts = [f"one two {number}" for number in range(3)]
    async with gateway_at(serve, place, embedded()) as (gateway, upstream):
        one, several = await ask(gateway, texts[0]), await ask(gateway, texts)
        rows = await gateway.rows(2)

    assert (one.status, several.status) == (200, 200), one.body
    assert vectors(one) == [vector_of(texts[0])]
    assert vectors(several) == [vector_of(text) for text in texts]
    assert {request.path for request in upstream.requests} == {place.path}
    if place.counts:
        assert one.json["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        assert several.json["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    assert [row.usage_source for row in rows] == ["reported" if place.counts else "estimated"] * 2
    assert all(row.prompt_tokens > 0 for row in rows)


@EACH
@pytest.mark.anyio
async def test_more_texts_than_a_call_holds_are_split_and_none_is_lost(serve: Serve, place: Place) -> None:
    count = min(2 * place.most + 1, 2048)
    texts = [f"text {number}" for number in range(count)]
    async with gateway_at(serve, place, embedded()) as (gateway, upstream):
        reply = await ask(gateway, texts)
        row = await gateway.row()

    assert reply.status == 200, reply.body
    assert vectors(reply) == [vector_of(text) for text in texts]
    assert len(upstream.requests) == -(-count // place.most)
    assert row.attempts == 1
    if place.counts:
        assert row.prompt_tokens == 2 * count


@EACH
@pytest.mark.anyio
async def test_dimensions_are_what_came_or_the_request_is_refused_with_a_reason(serve: Serve, place: Place) -> None:
    wanted = place.length or 256
    async with gateway_at(serve, place, embedded()) as (gateway, upstream):
        reply = await ask(gateway, ["a", "b"], dimensions=wanted)

    if place.length is None:
        assert (reply.status, reply.code, reply.error["param"]) == (400, "unsupported_parameter", "dimensions")
        assert not upstream.requests
    else:
        assert vectors(reply) == [vector_of("a", wanted), vector_of("b", wanted)]


@EACH
@pytest.mark.anyio
async def test_token_ids_go_where_they_are_taken_and_are_refused_elsewhere(serve: Serve, place: Place) -> None:
    async with gateway_at(serve, place, embedded()) as (gateway, upstream):
        one, lists = await ask(gateway, [5, 6, 7]), await ask(gateway, [[5, 6], [7]])

    if place.tokens:
        assert vectors(one) == [vector_of([5, 6, 7])]
        assert vectors(lists) == [vector_of([5, 6]), vector_of([7])]
    else:
        for reply in one, lists:
            assert (reply.status, reply.code, reply.error["param"]) == (400, "unsupported_parameter", "input")
        assert not upstream.requests


@pytest.mark.anyio
async def test_token_ids_are_left_to_the_route_that_takes_them(serve: Serve) -> None:
    async with ScriptedUpstream(handler=embedded()) as upstream:
        providers = {"aws": configured(PLACES["titan-2"], upstream), "acme": provider(upstream)}
        models = {"m": model("aws", "acme", upstream_model=PLACES["titan-2"].name, type="embedding")}
        async with serve(providers, models) as gateway:
            reply = await ask(gateway, [[1, 2], [3]])

    assert (vectors(reply), reply.json["tresor"]["routed_model"]) == (
        [vector_of([1, 2]), vector_of([3])],
        "global/acme/m",
    )


@pytest.mark.anyio
async def test_a_model_of_bedrock_that_is_not_known_is_refused_in_words(serve: Serve) -> None:
    place = PLACES["titan-2"]._replace(name="amazon.nova-lite-v1:0")
    async with gateway_at(serve, place, answer("no")) as (gateway, upstream):
        reply = await ask(gateway, "a")

    assert (reply.status, reply.code) == (400, "invalid_model")
    assert "Titan or Cohere" in reply.error["message"]
    assert not upstream.requests


@EACH
@pytest.mark.anyio
async def test_what_the_provider_has_no_word_for_is_told(serve: Serve, place: Place) -> None:
    async with gateway_at(serve, place, embedded()) as (gateway, upstream):
        reply = await ask(gateway, "a", user="u", own=1)

    sent = upstream.requests[0].json
    told = {each["param"]: each["action"] for each in reply.json["tresor"].get("adjustments", [])}
    if place.kind == "sagemaker" and not dict(place.settings).get("carries"):
        assert (sent["user"], sent["own"], told) == ("u", 1, {})
    else:
        assert "user" not in sent
        assert told.items() >= {"user": "dropped", "own": "dropped"}.items()
    if place.name.startswith("cohere"):
        assert (sent["input_type"], told["input_type"]) == ("search_document", "emulated")


def spoiled() -> Iterator[tuple[str, Any]]:
    yield "fewer", lambda found: found[1:]
    yield "more", lambda found: [*found, found[0]]
    yield "none", lambda found: []
    yield "null", lambda found: [None for _ in found]
    yield "null inside", lambda found: [[*each[:-1], None] for each in found]
    yield "text inside", lambda found: [[*each[:-1], "1"] for each in found]
    yield "truth inside", lambda found: [[*each[:-1], True] for each in found]
    yield "list inside", lambda found: [[each] for each in found]
    yield "empty", lambda found: [[] for _ in found]
    yield "object", lambda found: [{"values": each} for each in found]
    yield "number", lambda found: [1 for _ in found]


@EACH
@pytest.mark.anyio
async def test_vectors_that_are_none_fail_their_route_and_never_become_a_500(serve: Serve, place: Place) -> None:
    """Also where only one of several calls is bad, and whichever encoding is asked for."""
    async with gateway_at(serve, place, embedded()) as (gateway, upstream):
        for name, spoil in spoiled():
            if place.most == 1 and name in ("fewer", "more", "none"):
                continue  # one vector stands alone there
            if name == "number" and ("carries", "jumpstart") in place.settings:
                continue  # one text may be answered by its vector alone
            upstream.handler = embedded(spoil=spoil)
            for given, encoding in (["a", "b"], "float"), ("a", "base64"):
                gateway.forget()
                reply = await ask(gateway, given, encoding_format=encoding)
                assert (reply.status, reply.code) == (502, "upstream_bad_response"), (name, reply.body)


BODIES = [
    *(b"", b"{", b"[]", b"{}", b"null", b'"text"', b"7", b"[null]", b"\xff\xfe", b"[[Infinity]]"),
    b'{"embedding": [NaN, 1.0], "embeddings": [[NaN]], "data": [{"embedding": [NaN]}]}',
    *(b'{"embedding": [1e999]}', b'{"embeddings": null}', b'{"embeddings": {"float": null}}'),
    *(b'{"embeddings": {"int8": [[1]]}}', b'{"embedding": {"values": null}}', b'{"predictions": [null]}'),
    *(b'{"data": [{"index": "x", "embedding": [1]}]}', b'{"data": [{"index": 3, "embedding": [1]}]}'),
    *(b'{"data": "x"}', b'{"data": [{}]}', b'{"embeddings": [[1], [2]]}', b'{"embedding": "x"}', b'{"embedding": {}}'),
]


@EACH
def test_documents_of_another_shape_are_bad_answers_and_nothing_else(place: Place) -> None:
    wire = make_account("it", Provider(kind=place.kind, **dict(place.settings))).kind.wires["embeddings"]
    ask = read_embeddings(b'{"model": "m", "input": "a"}')
    for body in BODIES:
        reader = wire.reader(ask.prompt.fields, stream=False)
        answer = EmbeddingsAnswer(LABEL, ask)
        with pytest.raises(UpstreamError) as caught:
            [answer.take(document) for document in [*reader.feed(body), *reader.end()]]
        assert caught.value.failure is Failure.BAD_RESPONSE, body


def test_a_request_is_split_by_number_and_by_size() -> None:
    def parts(given: Any, most: int, size: int | None = None) -> list[Any]:
        return [each["input"] for each in split({"input": given, "user": "u"}, most, size)]

    assert parts("a", 1) == ["a"]
    assert parts([1, 2, 3], 1) == [[1, 2, 3]], "one list of token ids is one input"
    assert parts([[1], [2], [3]], 2) == [[[1], [2]], [[3]]]
    assert parts(["a", "b", "c"], 3) == [["a", "b", "c"]]
    assert parts(["a", "b", "c"], 2) == [["a", "b"], ["c"]]
    assert parts(["aa", "bb", "cc"], 9, 4) == [["aa", "bb"], ["cc"]]
    assert parts(["aaaaaa", "b", "c"], 9, 4) == [["aaaaaa"], ["b", "c"]]
    assert parts(["ää", "b"], 9, 4) == [["ää"], ["b"]], "bytes are counted"
    assert sum(map(tokens_of, ["a b", [1, 2, 3]])) == 5


KEYS = ("data", "embedding", "embeddings", "predictions", "values", "statistics", "token_count", "usageMetadata")
KEYS += ("promptTokenCount", "float", "index", "usage", "prompt_tokens", "inputTextTokenCount", "meta", "billed_units")
KEYS += ("input_tokens", "error", "model", "message", "code", "status")
LEAVES = st.none() | st.booleans() | st.integers(-2, 2**70) | st.floats(-2, 2) | st.sampled_from(["", "x", "AACAPw=="])
ANY_JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
)
WIRES = [
    make_account("it", Provider(kind=place.kind, **dict(place.settings))).kind.wires["embeddings"]
    for place in PLACES.values()
]


@settings(max_examples=300, deadline=None, database=None)
@given(ANY_JSON, st.sampled_from(WIRES), st.sampled_from(["float", "base64"]))
def test_whatever_comes_is_a_vector_of_numbers_or_an_error_of_the_route(document: Any, wire: Any, form: str) -> None:
    ask = read_embeddings(json.dumps({"model": "m", "input": ["a"], "encoding_format": form}).encode())
    reader, answer = wire.reader(ask.prompt.fields, stream=False), EmbeddingsAnswer(LABEL, ask)
    try:
        for found in [*reader.feed(json.dumps(document).encode()), *reader.end()]:
            answer.take(found)
        [body] = answer.end()
    except UpstreamError:
        return
    vector = json.loads(body)["data"][0]["embedding"]
    numbers = unpacked(vector) if form == "base64" else vector
    assert numbers
    assert all(type(number) in (int, float) for number in numbers)
    usage = json.loads(body)["usage"]
    assert all(type(count) is int and count >= 0 for count in usage.values())
