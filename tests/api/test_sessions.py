"""Sessions at the door: opened by hand, made without being asked for, pinned, and nobody else's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.gateway import PEPPER, Reply, Running, Serve, model, read_reply

from sealgate.config import Auth, Provider, Secret
from sealgate.config_tables import Issuer as Rules
from sealgate.testing import Issuer, answer, error, http_request
from sealgate.testing.mock import MockProvider
from sealgate.testing.script import json_answer

SETTINGS = "/api/v1/automation/settings"
OPEN = "/api/v1/session/modelsession?model_id="
SHOW = "/api/v1/session"


async def ask(running: Running, method: str, path: str, body: Any = None, credential: str | None = None) -> Reply:
    """One request, with a body or without one."""
    headers = {"authorization": f"Bearer {credential or running.key}"}
    raw = b""
    if body is not None:
        raw, headers["content-type"] = json.dumps(body).encode(), "application/json"
    async with running.client() as client:
        await client.send(http_request(method, path, headers, raw))
        return await read_reply(await client.response())


async def switch_on(running: Running, credential: str | None = None, **fields: Any) -> None:
    reply = await ask(running, "PUT", SETTINGS, {"is_enabled": True, **fields}, credential)
    assert reply.status == 200


@pytest.mark.anyio
async def test_without_settings_and_session_id_there_is_no_session(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as running:
        reply = await running.chat()
        shown = await running.get(SHOW)
        row = await running.row()
    assert "session_id" not in reply.json
    assert row.session_id is None
    assert (shown.status, shown.code) == (404, "session_not_found")


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_session_opened_by_hand_is_named_in_requests_answers_and_rows(serve: Serve, stream: bool) -> None:
    async with serve({"acme": answer("Hi")}) as running:
        opened = await ask(running, "POST", OPEN + "m", {"sessionDuration": 120, "directPayment": False})
        session_id = opened.json["session_id"]
        reply = await running.chat(session_id=session_id, stream=stream)
        shown = await running.get(SHOW)
        row = await running.row()
        sent = running.upstreams["acme"].requests[0].json
    assert opened.json == {
        "success": True,
        "message": "The session is open.",
        "session_id": session_id,
        "api_key_prefix": running.key[: len(opened.json["api_key_prefix"])],
        "model": "m",
    }
    assert len(opened.json["api_key_prefix"]) > len("sk-sealgate-")
    told = reply.chunks[-1] if stream else reply.json
    assert told["session_id"] == session_id == row.session_id
    assert "session_id" not in sent
    assert shown.json | {"created_at": "", "expires_at": ""} == {
        "session_id": session_id,
        "model": "m",
        "type": "manual",
        "created_at": "",
        "expires_at": "",
        "is_active": True,
        "route": "global/acme/m",
    }


@pytest.mark.anyio
async def test_switched_on_a_chat_gets_a_session_and_the_next_one_the_same(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}, {"m": ["acme"], "other": ["acme"]}) as running:
        await switch_on(running)
        first, second = await running.chat(), await running.chat(stream=True)
        shown = (await running.get(SHOW)).json
        other = await running.chat(model="other")
        late = await running.chat(session_id=first.json["session_id"])
        await ask(running, "PUT", SETTINGS, {"is_enabled": False})
        off = await running.chat()
    assert first.json["session_id"] == second.chunks[-1]["session_id"] == shown["session_id"]
    assert (shown["type"], shown["model"]) == ("automated", "m")
    assert other.json["session_id"] != first.json["session_id"]
    assert (late.status, late.code) == (400, "session_expired"), "it was replaced"
    assert "session_id" not in off.json


@pytest.mark.anyio
async def test_two_first_requests_end_in_one_session(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as running:
        await switch_on(running)
        replies = await asyncio.gather(*(running.chat() for _ in range(6)))
    assert len({reply.json["session_id"] for reply in replies}) == 1


@pytest.mark.anyio
async def test_the_route_that_served_is_asked_first_while_it_is_well(serve: Serve) -> None:
    """The first request fails over; with a session the next one begins where that one was served."""
    async with serve({"acme": error(503), "backup": answer("Hi")}) as running:
        await switch_on(running)
        first = await running.chat()
        running.forget()
        second = await running.chat()
        dry = await running.post(
            "/v1/chat/completions?dry_run=true",
            running.ask(session_id=first.json["session_id"]),
            {"authorization": f"Bearer {running.admin_key}"},
        )
        shown = (await running.get(SHOW)).json
        asked = len(running.upstreams["acme"].requests)
    assert (first.tresor["routed_model"], first.tresor["failover"]) == ("global/backup/m", True)
    assert (second.tresor["routed_model"], second.tresor["failover"]) == ("global/backup/m", False)
    assert asked == 1
    assert shown["route"] == "global/backup/m"
    assert [target["route"] for target in dry.json["targets"]] == ["global/backup/m", "global/acme/m"]
    assert dry.json["targets"][0]["reason"] == "the session is there"


@pytest.mark.anyio
async def test_a_pinned_route_that_fails_is_left_and_the_session_goes_with_it(serve: Serve) -> None:
    async with serve({"acme": answer("one"), "backup": answer("two")}) as running:
        await switch_on(running)
        first = await running.chat()
        running.upstreams["acme"].default = error(503)
        second = await running.chat()
        running.upstreams["acme"].default = answer("one")
        running.forget()
        third = await running.chat()
    assert [each.text for each in (first, second, third)] == ["one", "two", "two"]
    assert len({each.json["session_id"] for each in (first, second, third)}) == 1


@pytest.mark.anyio
async def test_a_session_that_cannot_be_had_is_said_so(serve: Serve) -> None:
    """Row B7: another customer's is as one that is not there."""
    async with serve({"acme": answer("Hi")}, {"m": ["acme"], "other": ["acme"]}) as running:
        session_id = (await ask(running, "POST", OPEN + "m")).json["session_id"]
        alias = await running.chat(model="global/acme/m", session_id=session_id)
        mismatch = await running.chat(model="other", session_id=session_id)
        unknown = await running.chat(session_id="01977ed9-7492-7b70-8347-955764f97b3d")
        strange = [await running.chat(session_id=each) for each in ("x", "", "\0", session_id.upper())]
        other = await running.gateway.keys.create(name="foreign", customer="other")
        foreign = await running.chat(session_id=session_id, headers={"authorization": f"Bearer {other.key}"})
        closed = await ask(running, "POST", "/v1/session/closesession")
        again = await ask(running, "POST", "/v1/session/closesession")
        late = await running.chat(session_id=session_id)
        upstream = running.upstreams["acme"].requests
    assert alias.status == 200
    assert (mismatch.status, mismatch.code, mismatch.error["param"]) == (400, "session_model_mismatch", "session_id")
    assert (unknown.status, unknown.code, unknown.error["param"]) == (404, "session_not_found", "session_id")
    assert {each.body for each in (unknown, *strange, foreign)} == {unknown.body}
    assert closed.json == {"success": True, "message": "The session is closed.", "session_id": session_id}
    assert again.json == {"success": True, "message": "There is no active session.", "session_id": None}
    assert (late.status, late.code) == (400, "session_expired")
    assert len(upstream) == 1


@pytest.mark.anyio
async def test_ping_says_how_the_session_is(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as running:
        none = await ask(running, "POST", "/api/v1/session/pingsession")
        session_id = (await ask(running, "POST", OPEN + "m", {})).json["session_id"]
        alive = await ask(running, "POST", "/api/v1/session/pingsession/")
        sessions = running.hall.sessions
        clock = sessions._clock
        sessions._clock = lambda: clock() + 3601
        expired = await ask(running, "POST", "/api/v1/session/pingsession")
        shown = await running.get(SHOW)
        late = await running.chat(session_id=session_id)
    assert none.json == {"status": "no_session", "success": False, "message": "There is no active session."}
    assert (alive.json["status"], alive.json["success"], alive.json["session_id"]) == ("alive", True, session_id)
    assert (expired.json["status"], expired.json["success"], expired.json["session_id"]) == (
        "expired", False, session_id,
    )  # fmt: skip
    assert shown.status == 404
    assert (late.status, late.code) == (400, "session_expired")


@pytest.mark.anyio
async def test_an_expired_session_is_renewed_where_it_was(serve: Serve) -> None:
    async with serve({"acme": answer("one"), "backup": answer("two")}) as running:
        await switch_on(running, session_duration=60)
        running.upstreams["acme"].default = error(503)
        first = await running.chat()
        running.upstreams["acme"].default = answer("one")
        running.forget()
        sessions = running.hall.sessions
        clock = sessions._clock
        sessions._clock = lambda: clock() + 61
        assert await sessions.sweep() == 1
        second = await running.chat()
    assert first.json["session_id"] != second.json["session_id"]
    assert (first.text, second.text) == ("two", "two"), "its cache is warm there"


@pytest.mark.anyio
@pytest.mark.parametrize("mount", ["/v1", "/api/v1"])
async def test_what_is_wrong_with_opening_is_said_in_the_dialect_of_the_mount(serve: Serve, mount: str) -> None:
    async with serve({"acme": answer("Hi")}) as running:
        path = f"{mount}/session/modelsession"
        unnamed = await ask(running, "POST", path, {})
        unknown = await ask(running, "POST", f"{path}?model_id=nothing", {})
        short = await ask(running, "POST", f"{path}?model_id=m", {"sessionDuration": 59})
        text = await ask(running, "POST", f"{path}?model_id=m", {"sessionDuration": "60", "failover": 1})
        narrow = await running.gateway.keys.create(name="narrow", models=["x"])
        refused = await ask(running, "POST", f"{path}?model_id=m", {}, narrow.key)
    assert (unnamed.code, unnamed.error["param"]) == ("invalid_model", "model_id")
    assert (unknown.status, unknown.code) == (404, "model_not_found")
    assert (short.status, short.error["message"]) == (
        400, "The session duration must be between 60 and 86400 seconds.",
    )  # fmt: skip
    assert (refused.status, refused.code) == (403, "model_not_allowed")
    if mount == "/v1":
        assert (text.status, "detail" in text.json, unnamed.status) == (400, False, 400)
    else:
        assert (text.status, unnamed.status) == (422, 422)
        assert unnamed.json["detail"] == [{"loc": ["query", "model_id"], "msg": "is required", "type": "missing"}]
        assert [each["loc"] for each in text.json["detail"]] == [["body", "sessionDuration"], ["body", "failover"]]


@pytest.mark.anyio
async def test_a_refused_request_opens_no_session(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}) as running:
        await switch_on(running)
        reply = await running.chat(model="nothing")
        shown = await running.get(SHOW)
    assert (reply.status, shown.status) == (404, 404)


@pytest.mark.anyio
async def test_a_users_session_hangs_on_the_default_key_else_on_the_user(serve: Serve) -> None:
    async with Issuer() as issuer:
        rules = Rules(issuer=issuer.url, audience=("sealgate",), algorithms=("ES256",), create_users=True)
        auth = Auth(pepper=Secret(PEPPER), issuers={"corp": rules})
        async with serve({"acme": answer("Hi")}, auth=auth) as running:
            ada, bob = issuer.token("ada"), issuer.token("bob")
            await switch_on(running, ada)
            mine = await running.chat(headers={"authorization": f"Bearer {ada}"})
            others = await running.chat(headers={"authorization": f"Bearer {bob}"})
            hung = await ask(running, "POST", OPEN + "m", credential=ada)
            made = await ask(running, "POST", "/v1/auth/keys", {"name": "k"}, ada)
            by_key = await running.chat(headers={"authorization": f"Bearer {made.json['key']}"})
            # A token is believed for a minute about a user who has no key.
            by_token = await running.chat(headers={"authorization": f"Bearer {issuer.token('ada')}"})
            rows = await running.rows(4)
    assert "session_id" not in others.json
    assert mine.json["session_id"] == rows[0].session_id
    assert hung.json["api_key_prefix"] is None
    assert by_key.json["session_id"] == by_token.json["session_id"], "both hang on the default key"
    assert by_key.json["session_id"] != hung.json["session_id"]


VECTOR = json_answer({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}]})
MESSAGE = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_messages_are_chats_and_a_header_says_their_session(serve: Serve, stream: bool) -> None:
    async with serve({"acme": answer("Hi")}) as running:
        off = await ask(running, "POST", "/v1/messages", MESSAGE)
        await switch_on(running)
        first = await ask(running, "POST", "/v1/messages", {**MESSAGE, "stream": stream})
        second = await running.chat()
        named = await ask(running, "POST", "/v1/messages", {**MESSAGE, "session_id": second.json["session_id"]})
        unknown = await ask(running, "POST", "/v1/messages", {**MESSAGE, "session_id": "none"})
        rows = await running.rows(5)
        sent = [request.json for request in running.upstreams["acme"].requests]
    session_id = second.json["session_id"]
    assert "x-tresor-session-id" not in off.headers
    assert [each.headers["x-tresor-session-id"] for each in (first, named)] == [session_id, session_id]
    assert [each.session_id for each in rows] == [None, session_id, session_id, session_id, None]
    assert (unknown.status, unknown.json["error"]["code"]) == (404, "session_not_found")
    assert not any("session_id" in each for each in sent)


@pytest.mark.anyio
async def test_a_messages_session_for_anthropic_itself_is_not_sent_there(serve: Serve) -> None:
    async with MockProvider("anthropic") as mock:
        claude = Provider(kind="anthropic", base_url=mock.base_url, api_key=(Secret(mock.api_key),))
        async with serve({"acme": claude}) as running:
            opened = await ask(running, "POST", OPEN + "m")
            reply = await ask(running, "POST", "/v1/messages", {**MESSAGE, "session_id": opened.json["session_id"]})
        [sent] = mock.requests
    assert (reply.status, reply.headers["x-tresor-session-id"]) == (200, opened.json["session_id"])
    assert "session_id" not in sent.body


@pytest.mark.anyio
async def test_embeddings_have_no_session(serve: Serve) -> None:
    """There is no prompt cache to keep warm; a session that is named all the same stays here, and that is said."""
    models = {"e": model("acme", type="embedding")}
    async with serve({"acme": VECTOR}, models) as running:
        await switch_on(running)
        plain = await ask(running, "POST", "/v1/embeddings", {"model": "e", "input": "x"})
        named = await ask(running, "POST", "/v1/embeddings", {"model": "e", "input": "x", "session_id": "s"})
        rows = await running.rows(2)
        sent = running.upstreams["acme"].requests[-1].json
    assert [each.session_id for each in rows] == [None, None]
    assert "x-tresor-session-id" not in plain.headers
    assert "session_id" not in sent
    assert [each["param"] for each in named.json["tresor"]["adjustments"]] == ["session_id"]
