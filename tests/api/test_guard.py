"""Who may come in, over real HTTP: rows B1 to B5 and A16, and the access that each endpoint declares."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.gateway import CHAT, PEPPER, Running, Serve, Threaded

from sealgate.api.routes import Route
from sealgate.auth.keys import KeyStore
from sealgate.config import Auth, Secret, Server
from sealgate.errors import StorageError
from sealgate.testing import Received, ScriptedUpstream, Step, WaitFor, answer, http_request


@pytest.fixture(scope="module")
def running(gateway: Threaded) -> Running:
    return gateway.running


def endpoints(running: Running) -> list[tuple[Route, str]]:
    """Every endpoint there is, and a path of it."""
    table = running.gateway.front._routes.table
    return [(route, re.sub(r"{\w+}", "m", path)) for route in table for path in route.paths]


async def ask(running: Running, route: Route, path: str, headers: dict[str, str]) -> tuple[int, str | None]:
    """Status and error code, whatever the method."""
    if route.method == "GET":
        reply = await running.get(path, headers)
    else:
        async with running.client() as client:
            await client.send(http_request(route.method, path, headers | {"content-type": "application/json"}))
            response = await client.response()
            await response.read()
            return response.status, response.json["error"]["code"] if response.status >= 400 else None
    return reply.status, reply.code


@pytest.mark.anyio
async def test_row_b1_without_a_key_each_endpoint_does_what_it_declares(running: Running) -> None:
    for route, path in endpoints(running):
        status, code = await ask(running, route, path, {})
        if route.access in ("public", "optional"):
            assert status == 200, path
        else:
            assert (status, code) == (401, "missing_api_key"), path


@pytest.mark.anyio
async def test_row_b3_with_a_wrong_key_each_endpoint_does_what_it_declares(running: Running) -> None:
    """``optional`` means that a credential may be missing, not that it may be wrong."""
    wrong = {"authorization": "Bearer sk-sealgate-" + "A" * 43}
    for route, path in endpoints(running):
        status, code = await ask(running, route, path, wrong)
        assert (status, code) == ((200, None) if route.access == "public" else (401, "invalid_api_key")), path


@pytest.mark.anyio
async def test_a_customers_key_opens_what_is_not_an_administrators(running: Running) -> None:
    for route, path in endpoints(running):
        status, code = await ask(running, route, path, running.headers)
        if route.access in ("admin", "account"):
            assert (status, code) == (403, "admin_key_required"), path
        else:
            assert status not in (401, 403), path


@pytest.mark.anyio
async def test_row_b1_a_caller_without_a_key_is_refused_before_its_body_is_read(running: Running) -> None:
    head = http_request("POST", CHAT, {"content-type": "application/json", "content-length": "1000000"})
    async with running.client() as client:
        await client.send(head)  # and not a byte of the body
        response = await client.response()
        assert (response.status, response.headers["www-authenticate"]) == (401, "Bearer")
        await response.read()
        assert response.json["error"]["code"] == "missing_api_key"
        assert await client.wait_end() in ("fin", "rst")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "RIGHT", "content-length": str(33 * 1024 * 1024)}, 413),
        ({"authorization": "RIGHT", "content-type": "text/html"}, 415),
        ({"authorization": "RIGHT", "x-tresor-nonce": ""}, 400),
    ],
)
async def test_rows_b1_and_a16_no_100_continue_where_the_answer_is_known(
    running: Running, headers: dict[str, str], status: int
) -> None:
    headers = {"content-type": "application/json", "content-length": "20", "expect": "100-continue"} | headers
    if headers.get("authorization") == "RIGHT":
        headers["authorization"] = f"Bearer {running.key}"
    async with running.client() as client:
        await client.send(http_request("POST", CHAT, headers))
        response = await client.response()
        assert (response.status, client.interim) == (status, [])


@pytest.mark.anyio
async def test_row_a16_100_continue_where_the_body_is_wanted(running: Running) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    headers = running.headers | {"content-type": "application/json", "expect": "100-continue"}
    async with running.client() as client:
        await client.send(http_request("POST", CHAT, headers | {"content-length": str(len(body))}))
        interim = await client.take_until(b"\r\n\r\n")
        assert interim == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(body)
        assert (await client.response()).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ("authorization: Basic dXNlcjpwYXNz", "invalid_api_key"),
        ("authorization: Bearer a b", "invalid_api_key"),
        ("authorization: Bearer KEY\r\nauthorization: Bearer KEY", "invalid_api_key"),
        ("x-api-key: KEY\r\nx-api-key: KEY", "invalid_api_key"),
        ("authorization: Bearer KEY\r\nx-api-key: other", "invalid_api_key"),
        ("authorization: Bearer " + "k" * 513, "invalid_api_key"),
        ("authorization: Bearer schl\u00fcssel", "invalid_api_key"),
        ("authorization: Bearer a.b.c", "invalid_token"),
        ("authorization: Bearer sk-sealgate-a.b.c", "invalid_api_key"),
        ("authorization: Bearer ' OR 1=1 --", "invalid_api_key"),
        ("authorization: Bearer '--%s{}{0}", "invalid_api_key"),
        ("authorization: Bearer", "missing_api_key"),
        ("authorization: ", "missing_api_key"),
    ],
)
async def test_rows_b2_to_b4_what_is_no_key_is_refused_alike(running: Running, lines: str, code: str) -> None:
    lines = lines.replace("KEY", running.key)
    async with running.client() as client:
        await client.send(f"GET /v1/models HTTP/1.1\r\nhost: h\r\n{lines}\r\n\r\n".encode("latin-1"))
        response = await client.response()
        await response.read()
    assert response.status == 401
    assert response.json["error"]["code"] == code


@pytest.mark.anyio
async def test_rows_b2_to_b4_all_wrong_keys_get_the_same_bytes(running: Running) -> None:
    wrong = ["wrong", "sk-sealgate-" + "A" * 43, running.key[:-1] + ("A" if running.key[-1] != "A" else "B"), "a.b"]
    replies = [await running.get("/v1/models", {"authorization": f"Bearer {key}"}) for key in wrong]
    assert len({reply.body for reply in replies}) == 1
    assert {reply.status for reply in replies} == {401}


@pytest.mark.anyio
async def test_a_key_comes_in_any_of_the_known_ways(running: Running) -> None:
    key = running.key
    for headers in (
        {"authorization": f"Bearer {key}"},
        {"authorization": f"bEaReR {key}"},
        {"authorization": key},
        {"x-api-key": key},
        {"authorization": f"Bearer {key}", "x-api-key": key},
    ):
        async with running.client() as client:
            await client.post(CHAT, running.ask(), headers)
            assert (await client.response()).status == 200, headers


@pytest.mark.anyio
async def test_row_b5_a_model_that_the_key_may_not_use(serve: Serve) -> None:
    async with ScriptedUpstream() as one, serve({"acme": one}, {"m": ["acme"], "other": ["acme"]}) as running:
        made = await _keys(running).create(name="narrow", models=["other"])
        running.key = made.key
        reply = await running.chat()
        assert (reply.status, reply.code, reply.error["param"]) == (403, "model_not_allowed", "model")
        assert (await running.chat(model="other")).status == 200
        assert (await running.chat(model="other", failover=["m"])).code == "invalid_failover"
        assert (await running.chat(model="unknown")).status == 404
        assert [(row.status, row.outcome.value) for row in await running.rows(4)] == [
            (403, "denied"), (200, "ok"), (400, "denied"), (404, "denied"),
        ]  # fmt: skip
        assert len(one.requests) == 1


@pytest.mark.anyio
async def test_row_b6_a_revoked_key_is_refused_and_its_stream_may_finish(serve: Serve) -> None:
    go = asyncio.Event()

    def held(received: Received) -> list[Step]:
        steps = list(answer("one two three")(received))
        return [*steps[:3], WaitFor(go), *steps[3:]]

    async with ScriptedUpstream(default=held) as one, serve({"acme": one}) as running:
        made = await _keys(running).create(name="short")
        running.key = made.key
        async with running.client() as client:
            await running.begin(client, stream=True)
            response = await client.response()
            assert await response.next_event() is not None
            await _keys(running).revoke(made.id)
            assert (await running.chat()).code == "invalid_api_key"
            go.set()
            assert [event.data async for event in response.events()][-1] == "[DONE]"


@pytest.mark.anyio
async def test_row_b8_where_keys_cannot_be_checked_nobody_comes_in(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise StorageError("the disk is gone")

    async with ScriptedUpstream() as one, serve({"acme": one}) as running:
        monkeypatch.setattr(running.hall.storage, "read", broken)
        reply = await running.chat()
        assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "auth_unavailable", "1")
        assert "disk" not in reply.body.decode()
        monkeypatch.undo()


@pytest.mark.anyio
async def test_without_authentication_everyone_is_the_default_customer(serve: Serve) -> None:
    """Allowed by the configuration on a loopback address only; whatever is sent as a key is not looked at."""
    open_to_all = Auth(required=False, pepper=Secret(PEPPER))
    async with ScriptedUpstream() as one, serve({"acme": one}, auth=open_to_all) as running:
        for headers in ({}, {"authorization": "Bearer anything"}, {"authorization": "Basic a b"}):
            async with running.client() as client:
                await client.post(CHAT, running.ask(), headers)
                assert (await client.response()).status == 200
        assert {(row.customer_id, row.key_id) for row in await running.rows(3)} == {("default", None)}


@pytest.mark.anyio
async def test_models_may_ask_for_a_key_too(serve: Serve) -> None:
    closed = Server(port=0, discover=False, models_public=False)
    async with ScriptedUpstream() as one, serve({"acme": one}, server=closed) as running:
        for path in ("/v1/models", "/v1/models/m"):
            assert (await running.get(path, {})).code == "missing_api_key"
            assert (await running.get(path)).status == 200


def _keys(running: Running) -> KeyStore:
    return running.gateway.keys
