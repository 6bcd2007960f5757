"""``GET /v1/episodes/{id}``: ids, models, usage; never content; nobody else's."""

from __future__ import annotations

import pytest
from tests.gateway import Serve, model

from sealgate.testing import answer, error
from sealgate.testing.script import json_answer

VECTOR = json_answer({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}]})
EPISODE = "01977ed9-7492-7b70-8347-9564aeb44a24"


@pytest.mark.anyio
async def test_an_episode_lists_its_inferences_and_nothing_they_said(serve: Serve) -> None:
    async with serve({"acme": answer("a secret answer")}) as running:
        first = await running.chat("a secret question", episode_id=EPISODE)
        second = await running.chat(stream=True, **{"tensorzero::episode_id": EPISODE.upper()})
        running.upstreams["acme"].default = error(400)
        third = await running.chat(episode_id=EPISODE)
        await running.chat()
        await running.rows(4)
        reply = await running.get(f"/v1/episodes/{EPISODE}")
        same = await running.get(f"/api/v1/episodes/{EPISODE.replace('-', '').upper()}/")
        page = await running.get(f"/v1/episodes/{EPISODE}?limit=1&offset=1")
    found = reply.json
    assert first.json["episode_id"] == EPISODE == found["episode_id"]
    assert [each["id"] for each in found["inferences"][:2]] == [first.json["id"], second.chunks[0]["id"]]
    assert [each["outcome"] for each in found["inferences"]] == ["ok", "ok", "upstream_failed"]
    assert found["inferences"][0]["usage"] == {
        name: first.json["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    assert found["inferences"][0]["receipt_id"] == first.tresor["receipt_id"]
    assert found["inferences"][0]["routed_model"] == "global/acme/m"
    assert (found["inferences"][2]["usage"], third.status) == (None, 400)
    assert (found["total"], found["limit"], found["offset"], found["has_more"]) == (3, 50, 0, False)
    assert b"secret" not in reply.body
    assert same.body == reply.body
    assert (len(page.json["inferences"]), page.json["has_more"], page.json["total"]) == (1, True, 3)
    assert page.json["inferences"][0] == found["inferences"][1]


@pytest.mark.anyio
async def test_what_there_is_not_and_what_is_anothers_are_the_same(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as running:
        await running.chat(episode_id=EPISODE)
        other = await running.gateway.keys.create(name="foreign", customer="other")
        foreign = await running.get(f"/v1/episodes/{EPISODE}", {"authorization": f"Bearer {other.key}"})
        unknown = [await running.get(f"/v1/episodes/{each}") for each in (EPISODE[:-1] + "5", "x", "%00")]
        nobody = await running.get(f"/v1/episodes/{EPISODE}", {})
    assert (foreign.status, foreign.code) == (404, "not_found")
    assert {each.body for each in unknown} == {foreign.body}
    assert nobody.status == 401


@pytest.mark.anyio
@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "offset=-1", "limit=1&limit=2", "offset="])
async def test_pages_that_cannot_be_are_refused(serve: Serve, query: str) -> None:
    async with serve({"acme": answer("Hi")}) as running:
        reply = await running.get(f"/v1/episodes/{EPISODE}?{query}")
        other = await running.get(f"/api/v1/episodes/{EPISODE}?{query}")
    assert (reply.status, reply.code, reply.error["param"]) == (400, "invalid_parameter", query.partition("=")[0])
    assert (other.status, other.json["detail"][0]["loc"]) == (422, ["query", query.partition("=")[0]])


@pytest.mark.anyio
async def test_every_dialect_says_its_episode_and_is_listed_by_the_id_of_its_answer(serve: Serve) -> None:
    models = {"m": ["acme"], "e": model("vectors", type="embedding")}
    async with serve({"acme": answer("Hi"), "vectors": VECTOR}, models) as running:
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "episode_id": EPISODE}
        message = await running.post("/v1/messages", body)
        vectors = await running.post("/v1/embeddings", {"model": "e", "input": "x", "episode_id": EPISODE})
        late = await running.post("/v1/embeddings", {"model": "e", "input": "x", "episode_id": "x"})
        rows = await running.rows(2)
        found = (await running.get(f"/v1/episodes/{EPISODE}")).json
        sent = running.upstreams["vectors"].requests[0].json
    assert [each["id"] for each in found["inferences"]] == [message.json["id"], rows[1].id]
    assert {message.headers["x-tresor-episode-id"], vectors.headers["x-tresor-episode-id"]} == {EPISODE}
    assert vectors.json["episode_id"] == EPISODE
    assert (late.status, late.code) == (400, "invalid_episode_id")
    assert "episode_id" not in sent


@pytest.mark.anyio
async def test_a_request_that_names_no_episode_begins_one_that_others_can_join(serve: Serve) -> None:
    async with serve({"acme": answer("yes")}) as running:
        began, alone = await running.chat(), await running.chat()
        episode = began.json["episode_id"]
        await running.chat(episode_id=episode)
        await running.rows(3)
        found = (await running.get(f"/v1/episodes/{episode}")).json

    assert episode.replace("-", "") == began.json["id"].removeprefix("chatcmpl-")
    assert alone.json["episode_id"] != episode
    assert found["inferences"][0]["id"] == began.json["id"]
    assert found["total"] == 2
