"""`POST /v1/embeddings` of a whole gateway: upstreams that answer in every way, and the official SDK."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from openai import OpenAI
from tests.gateway import Reply, Running, Serve, model

from sealgate.config import Provider
from sealgate.providers.embeddings import EmbeddingsReader
from sealgate.providers.sandbox.vectors import vector
from sealgate.providers.whole import HEAVY
from sealgate.receipts import receipt, verify
from sealgate.relay import embeddings
from sealgate.relay.embeddings import EmbeddingsAnswer, packed, unpacked
from sealgate.testing import Behaviour, error
from sealgate.testing.script import json_answer

PATH = "/v1/embeddings"


def vectors(*found: Any, usage: Any = None, indexes: list[int] | None = None) -> Behaviour:
    data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(found)]
    for item, index in zip(data, indexes or [], strict=False):
        item["index"] = index
    said = {"prompt_tokens": 5, "total_tokens": 5} if usage is None else usage
    return lambda _: json_answer({"object": "list", "data": data, "model": "theirs", "usage": said})


async def ask(gateway: Running, **fields: Any) -> Reply:
    return await gateway.post(PATH, {"model": "m", "input": "Hi", **fields})


MODEL = {"m": model("acme", type="embedding")}


@pytest.mark.anyio
async def test_a_vector_passes_with_usage_the_route_and_a_receipt(serve: Serve) -> None:
    async with serve({"acme": vectors([0.5, -1.0])}, MODEL) as gateway:
        reply = await ask(gateway, dimensions=2, user="u", own="kept")
        row = await gateway.row()

    assert reply.status == 200
    assert reply.json["data"] == [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]
    assert (reply.json["object"], reply.json["model"]) == ("list", "m")
    assert reply.json["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert reply.json["tresor"]["routed_model"] == "global/acme/m"
    assert reply.headers["x-tresor-receipt-id"] == reply.json["tresor"]["receipt_id"]
    assert (row.endpoint, row.outcome.value, row.prompt_tokens, row.completion_tokens) == ("embeddings", "ok", 5, 0)
    sent = gateway.upstreams["acme"].requests[0]
    assert sent.path == "/v1/embeddings"
    assert sent.json == {"model": "test-model", "input": "Hi", "dimensions": 2, "user": "u", "own": "kept"}


@pytest.mark.anyio
@pytest.mark.parametrize("came", [[0.5, -1.0], packed([0.5, -1.0])], ids=["numbers", "base64"])
async def test_the_caller_gets_the_encoding_it_asked_for_whatever_came(serve: Serve, came: Any) -> None:
    async with serve({"acme": vectors(came)}, MODEL) as gateway:
        numbers = await ask(gateway)
        text = await ask(gateway, encoding_format="base64")

    assert numbers.json["data"][0]["embedding"] == [0.5, -1.0]
    assert unpacked(text.json["data"][0]["embedding"]) == [0.5, -1.0]


@pytest.mark.anyio
@pytest.mark.parametrize("inputs", [1, 200], ids=["small", "large"])
async def test_large_answers_are_read_and_written_outside_of_the_event_loop(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, inputs: int
) -> None:
    """Other requests' events do not wait for them; a small one is not worth a thread."""
    found = [[number / 7 + place for place in range(600)] for number in range(inputs)]
    threads: list[tuple[str, int]] = []

    def noting(kind: type, name: str) -> None:
        inner = getattr(kind, name)

        def noted(self: Any, *given: Any) -> Any:
            threads.append((name, threading.get_ident()))
            return inner(self, *given)

        monkeypatch.setattr(kind, name, noted)

    def canonical(value: Any) -> bytes | None:
        threads.append(("canonical", threading.get_ident()))
        return receipt.canonical_or_none(value)

    noting(EmbeddingsReader, "end")
    noting(EmbeddingsAnswer, "take")
    monkeypatch.setattr(embeddings, "canonical_or_none", canonical)
    async with serve({"acme": vectors(*found)}, MODEL) as gateway:
        reply = await ask(gateway, input=["Hi"] * inputs)
        row = await gateway.row()
        keys = (await gateway.get("/v1/verify/jwks.json")).json

    assert (len(reply.body) > HEAVY) is (inputs > 1)
    assert [each["embedding"] for each in reply.json["data"]] == found
    assert [name for name, _ in threads] == (["end", "take"] if inputs == 1 else ["end", "take", "canonical"])
    assert [thread == threading.get_ident() for _, thread in threads] == [inputs == 1] * len(threads)
    assert row.receipt is not None
    rewritten = json.dumps(reply.json, indent=1).encode()
    verdict = verify.verify(row.receipt, keys, documents=verify.Documents(response=rewritten))
    assert [check.mark for check in verdict.checks if check.name == "response"] == ["PASS"]


@pytest.mark.anyio
async def test_vectors_are_put_in_the_order_of_their_indexes(serve: Serve) -> None:
    async with serve({"acme": vectors([2.0], [1.0], indexes=[1, 0])}, MODEL) as gateway:
        reply = await ask(gateway, input=["one", "two"])

    assert [item["embedding"] for item in reply.json["data"]] == [[1.0], [2.0]]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "bad",
    [
        vectors([1.0], [2.0]),
        vectors(),
        vectors(None),
        vectors([]),
        vectors("no base64"),
        lambda _: json_answer({"object": "list"}),
        lambda _: json_answer([1]),
        error(503),
        error(401),
    ],
)
async def test_an_answer_without_one_vector_for_each_input_is_left_for_the_next_route(
    serve: Serve, bad: Behaviour
) -> None:
    both = {"m": model("acme", "backup", type="embedding")}
    async with serve({"acme": bad, "backup": vectors([1.0])}, both) as gateway:
        reply = await ask(gateway)
        row = await gateway.row()

    assert (reply.status, reply.json["tresor"]["failover"]) == (200, True)
    assert (row.attempts, row.routed_model) == (2, "global/backup/m")


@pytest.mark.anyio
async def test_when_every_route_fails_the_error_has_its_class(serve: Serve) -> None:
    async with serve({"acme": error(503)}, MODEL) as gateway:
        reply = await ask(gateway)
        row = await gateway.row()

    assert (reply.status, reply.json["error"]["code"]) == (503, "upstream_overloaded")
    assert row.outcome.value == "upstream_failed"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": ["a", ""]}, "input"),
    ({"input": ["a", 1]}, "input"),
    ({"input": [[]]}, "input"),
    ({"input": [-1]}, "input"),
    ({"input": [True]}, "input"),
    ({"input": None}, "input"),
    ({"input": {"text": "a"}}, "input"),
    ({"encoding_format": "int8"}, "encoding_format"),
    ({"dimensions": 0}, "dimensions"),
    ({"dimensions": "4"}, "dimensions"),
    ({"model": 5}, "model"),
    ({"failover": ["a"] * 6}, "failover"),
]


@pytest.mark.anyio
async def test_what_is_no_request_for_embeddings_is_a_400_that_names_the_field(serve: Serve) -> None:
    async with serve({"acme": vectors([1.0])}, MODEL) as gateway:
        for fields, param in REFUSED:
            reply = await ask(gateway, **fields)
            assert (reply.status, reply.json["error"]["param"]) == (400, param), fields
        in_api = await gateway.post("/api/v1/embeddings", {"model": "m", "input": []})
        many = await ask(gateway, input=["a"] * 2049)
        late = await gateway.post(PATH, {"model": "m", "input": "a"}, {"x-tresor-timeout-seconds": "5"})

    assert (in_api.status, in_api.json["detail"][0]["loc"]) == (422, ["body", "input"])
    assert (many.status, many.json["error"]["code"]) == (400, "too_many_items")
    assert (late.status, late.json["error"]["code"]) == (400, "invalid_timeout_override")
    assert not gateway.upstreams["acme"].requests


@pytest.mark.anyio
async def test_a_model_is_asked_only_for_what_it_is_for(serve: Serve) -> None:
    providers = {"acme": vectors([1.0]), "talker": Provider(kind="anthropic", base_url="http://127.0.0.1:9")}
    models = {"m": model("acme"), "v": model("acme", type="embedding")}
    async with serve(providers, models) as gateway:
        chat_model = await ask(gateway)
        chat = await gateway.chat(model="v")
        no_wire = await ask(gateway, model="talker::claude")

    assert (chat_model.status, chat_model.json["error"]["code"]) == (400, "invalid_model")
    assert (chat.status, chat.json["error"]["code"]) == (400, "invalid_model")
    assert (no_wire.status, no_wire.json["error"]["code"]) == (400, "invalid_model")
    assert "no embeddings" in no_wire.json["error"]["message"]


@pytest.mark.anyio
async def test_a_caller_in_a_hurry_is_not_waited_for_longer(serve: Serve) -> None:
    async with serve({"acme": vectors([1.0])}, MODEL) as gateway:
        reply = await gateway.post(PATH, {"model": "m", "input": "a"}, {"x-stainless-read-timeout": "0.000001"})

    assert (reply.status, reply.json["error"]["code"]) == (504, "upstream_timeout")


def test_the_official_sdk_reads_what_the_sandbox_makes(serve: Serve) -> None:
    """It asks for base64 by itself, and unpacks it."""
    with serve.in_thread({"sandbox": Provider(kind="sandbox", region="local")}, {"m": ["sandbox"]}) as gateway:
        client = OpenAI(api_key=gateway.key, base_url=gateway.base_url)
        texts = ["the cat sat on the mat", "a cat on a mat", "quarterly revenue grew"]
        found = client.embeddings.create(model="sandbox::vectors", input=texts, dimensions=64)
        again = client.embeddings.create(
            model="sandbox::vectors", input=texts[0], dimensions=64, encoding_format="float"
        )

    cat, mat, money = (item.embedding for item in found.data)
    assert [len(vector) for vector in (cat, mat, money)] == [64, 64, 64]
    assert again.data[0].embedding == pytest.approx(cat, abs=1e-6)
    assert found.usage.prompt_tokens == found.usage.total_tokens > 0
    near = sum(a * b for a, b in zip(cat, mat, strict=True))
    far = sum(a * b for a, b in zip(cat, money, strict=True))
    assert near > far + 0.2
    assert sum(value * value for value in cat) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("text", ["Hi", "!!", "", " ", "a b c", "the cat sat on the mat", "ÄÖÜ"])
@pytest.mark.parametrize("dimensions", [1, 2, 3, 256])
def test_no_vector_of_the_sandbox_is_nothing_but_zeros(text: str, dimensions: int) -> None:
    found = vector(text, dimensions)
    assert len(found) == dimensions
    assert sum(value * value for value in found) == pytest.approx(1, abs=1e-5)
    assert found == vector(text, dimensions)


@pytest.mark.anyio
async def test_who_asks_a_chats_model_is_told_of_one_that_is_for_it(serve: Serve) -> None:
    sandbox = Provider(kind="sandbox")
    async with serve({"sandbox": sandbox}, {"m": model("sandbox")}) as gateway:
        alone = await ask(gateway)
    async with serve({"sandbox": sandbox}, {"m": model("sandbox"), "e": model("sandbox", type="embedding")}) as both:
        other = await ask(both)
    assert (alone.status, alone.code) == (400, "invalid_model")
    assert "'sandbox::embed'" in alone.error["message"]
    assert "Try 'e'." in other.error["message"]
