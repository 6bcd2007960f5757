"""``GET /v1/auth/me``: the same account by a token and by the user's own keys, a customer's where there is no user."""

from __future__ import annotations

import re

import pytest
from tests.gateway import PEPPER, Serve

from sealgate.config import Auth, Secret
from sealgate.config_tables import Issuer as Rules
from sealgate.errors import StorageError
from sealgate.testing import Issuer

pytestmark = pytest.mark.anyio
PATHS = ("/v1/auth/me", "/api/v1/auth/me", "/v1/auth/me/")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def trusting(issuer: Issuer, **rules: object) -> Auth:
    known = Rules(issuer=issuer.url, audience=("sealgate",), algorithms=("ES256",), create_users=True, **rules)  # type: ignore[arg-type]
    return Auth(pepper=Secret(PEPPER), issuers={"corp": known})


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


async def test_a_key_of_a_customer_is_that_customer(serve: Serve) -> None:
    async with serve({}) as running:
        replies = [await running.get(path) for path in PATHS]
        assert {reply.status for reply in replies} == {200}
        assert len({reply.body for reply in replies}) == 1
        found = replies[0].json
        assert TIME.fullmatch(found.pop("created_at"))
        assert found == {"id": "default", "customer": "default", "name": "default", "auth": "key"}
        assert replies[0].headers["cache-control"] == "no-store"


async def test_a_token_is_its_user_and_so_are_the_keys_that_the_user_made(serve: Serve) -> None:
    async with Issuer() as issuer, serve({}, auth=trusting(issuer)) as running:
        token = issuer.token("alice", email="alice@app.example", name="Alice")
        by_token = (await running.get(PATHS[1], bearer(token))).json
        assert list(by_token) == ["id", "customer", "created_at", "auth", "email", "name"]
        assert (by_token["email"], by_token["name"], by_token["auth"]) == ("alice@app.example", "Alice", "jwt")
        made = await running.post("/api/v1/auth/keys", {"name": "mine"}, bearer(token))
        assert made.status == 200
        assert (await running.get(PATHS[1], bearer(made.json["key"]))).json == {**by_token, "auth": "key"}


async def test_what_a_user_is_called_follows_the_issuer(serve: Serve) -> None:
    async with Issuer() as issuer, serve({}, auth=trusting(issuer)) as running:
        await running.get(PATHS[0], bearer(issuer.token("alice", email="old@app.example", name="Alice")))
        await running.get(PATHS[0], bearer(issuer.token("alice", email="new@app.example")))
        found = (await running.get(PATHS[0], bearer(issuer.token("alice", name={"not": "text"}, jti="x")))).json
        assert (found["email"], found["name"]) == ("new@app.example", "Alice")


async def test_without_email_and_name_there_are_none(serve: Serve) -> None:
    async with Issuer() as issuer, serve({}, auth=trusting(issuer)) as running:
        found = (await running.get(PATHS[0], bearer(issuer.token()))).json
        assert list(found) == ["id", "customer", "created_at", "auth"]


async def test_where_users_share_a_customer_its_keys_are_nobodys(serve: Serve) -> None:
    async with Issuer() as issuer, serve({}, auth=trusting(issuer, customer="acme")) as running:
        by_token = (await running.get(PATHS[0], bearer(issuer.token()))).json
        key = await running.gateway.keys.create(name="shared", customer="acme")
        by_key = (await running.get(PATHS[0], bearer(key.key))).json
        assert (by_token["customer"], by_key["customer"], by_key["id"]) == ("acme", "acme", "acme")
        assert by_token["id"] != "acme"


async def test_without_authentication_it_is_the_default_customer(serve: Serve) -> None:
    async with serve({}, auth=Auth(required=False, pepper=Secret(PEPPER))) as running:
        found = (await running.get(PATHS[0], {})).json
        assert (found["id"], found["auth"]) == ("default", "key")


async def test_without_a_credential_it_is_nobody(serve: Serve) -> None:
    async with serve({}) as running:
        assert (await running.get(PATHS[0], {})).code == "missing_api_key"


async def test_where_the_database_is_gone_it_is_503(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise StorageError("the disk is gone")

    async with serve({}) as running:
        assert (await running.get(PATHS[0])).status == 200
        monkeypatch.setattr(running.hall.storage, "read", broken)
        reply = await running.get(PATHS[0])
        assert (reply.status, reply.code) == (503, "storage_unavailable")
        monkeypatch.undo()
