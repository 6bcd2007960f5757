"""Tokens over real HTTP, from a real issuer: rows B9 to B14 and B16, and what a token opens."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import jwt as judge
import pytest
from sqlalchemy import select
from tests.gateway import CHAT, PEPPER, Reply, Running, Serve

from sealgate.auth.keyring import INTERVAL, LAST_GOOD
from sealgate.config import Auth, Secret
from sealgate.config_tables import Issuer as Rules
from sealgate.config_tables import Limits
from sealgate.outward.documents import Documents
from sealgate.storage.tables import users
from sealgate.telemetry import logs
from sealgate.testing import (
    Hang,
    Issuer,
    ScriptedUpstream,
    answer,
    error,
    head,
    html,
    http_request,
    huge_body,
    redirect,
    reset,
    silent,
)


@asynccontextmanager
async def gateway(serve: Serve, *issuers: Issuer, **rules: Any) -> AsyncIterator[Running]:
    """A gateway that trusts these issuers, with model ``m``."""
    fields = {"audience": ("sealgate",), "algorithms": ("ES256",), "create_users": True, **rules}
    tables = {f"corp{number}": Rules(issuer=issuer.url, **fields) for number, issuer in enumerate(issuers)}
    async with (
        ScriptedUpstream(default=answer("Hi")) as upstream,
        serve({"acme": upstream}, auth=Auth(pepper=Secret(PEPPER), issuers=tables)) as running,
    ):
        yield running


async def ask(running: Running, token: str, path: str = "/v1/models") -> Reply:
    return await running.get(path, {"authorization": f"Bearer {token}"})


def outcome(reply: Reply) -> tuple[int, str | None]:
    return reply.status, reply.code


def later(running: Running, seconds: float) -> None:
    """Let the keys of all issuers age."""
    for ring in rings(running):
        ring._asked -= seconds
        ring._got -= seconds


def rings(running: Running) -> list[Any]:
    return list(running.gateway.tokens.rings.values())


@pytest.mark.anyio
async def test_a_token_opens_what_a_key_opens_and_its_user_is_a_customer(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        token = issuer.token("alice", email="alice@app.example", name="Alice")
        for headers in ({"authorization": f"Bearer {token}"}, {"authorization": token}, {"x-api-key": token}):
            reply = await running.chat(headers={"authorization": "", **headers})
            assert (reply.status, reply.text) == (200, "Hi")
        rows = await running.rows(3)
        assert {row.key_id for row in rows} == {None}
        [customer] = {row.customer_id for row in rows}
        assert customer.startswith("user-")
        [user] = await running.hall.storage.read(lambda connection: connection.execute(select(users)).all())
        assert (user.issuer, user.sub, user.customer_id, user.email, user.name) == (
            issuer.url, "alice", customer, "alice@app.example", "Alice",
        )  # fmt: skip
        assert issuer.fetches == 1


@pytest.mark.anyio
async def test_a_token_opens_every_endpoint_that_is_not_an_administrators(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        headers = {"authorization": f"Bearer {issuer.token()}", "content-type": "application/json"}
        for route in running.gateway.front._routes.table:
            for path in route.paths:
                async with running.client() as client:
                    await client.send(http_request(route.method, re.sub(r"{\w+}", "m", path), headers))
                    response = await client.response()
                    await response.read()
                if route.access == "admin":
                    assert (response.status, response.json["error"]["code"]) == (403, "admin_key_required"), path
                else:
                    assert response.status not in (401, 403, 500, 503), path


@pytest.mark.anyio
async def test_a_key_that_looks_like_a_token_is_a_key(serve: Serve) -> None:
    """A key of another system may have two dots in it: keys are looked for first."""
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        key = f"{'a1B2' * 8}.{'c3D4' * 8}.{'e5F6' * 8}"
        assert outcome(await ask(running, key)) == (401, "invalid_token")
        await running.gateway.keys.import_plain(key, name="dotted", customer="acme")
        assert (await ask(running, key)).status == 200
        long = issuer.token(padding="p" * 15_000)
        assert 15_000 < len(long) <= 16 * 1024 * 2
        assert (await ask(running, issuer.token(padding="p" * 9_000))).status == 200
        assert outcome(await ask(running, long)) == (401, "invalid_api_key")


@pytest.mark.anyio
async def test_no_token_makes_an_administrator(serve: Serve) -> None:
    """Row B15's half that is a token's: rights, tenants and roles in it are not looked at."""
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        token = issuer.token("root", role="admin", scope="admin", is_admin=True, customer="default", tenant="default")
        headers = {"authorization": f"Bearer {token}"}
        reply = await running.post(CHAT + "?dry_run=true", running.ask(), headers)
        assert outcome(reply) == (403, "admin_key_required")
        assert (await running.post(CHAT, running.ask(), headers)).status == 200
        assert (await running.row()).customer_id.startswith("user-")


BAD = {
    "alg none": lambda issuer: issuer.unsigned(),
    "alg NONE": lambda issuer: issuer.unsigned(algorithm="NoNe"),
    "an unknown alg": lambda issuer: issuer.unsigned(algorithm="ES257"),
    "no signature": lambda issuer: issuer.unsigned(algorithm="ES256"),
    "HS256 with the public key": lambda issuer: issuer.confused(),
    "an algorithm of its own that is not allowed": lambda issuer: _other_algorithm(issuer),
}
CARRYING = {
    "jwk": lambda issuer: issuer.forged(embed=True),
    "jku": lambda issuer: issuer.forged(header={"jku": issuer.url + "/evil"}),
    "x5u": lambda issuer: issuer.forged(header={"x5u": issuer.url + "/evil"}),
    "x5c": lambda issuer: issuer.forged(header={"x5c": ["MIIB"]}),
    "an unknown crit": lambda issuer: issuer.token(header={"crit": ["exp2"], "exp2": 1}),
    "a crit that is not there": lambda issuer: issuer.token(header={"crit": ["exp2"]}),
    "b64": lambda issuer: issuer.token(header={"crit": ["b64"], "b64": False}),
    "a kid that is a path": lambda issuer: issuer.forged(header={"kid": "../../../../dev/null"}),
    "a kid that is SQL": lambda issuer: issuer.forged(header={"kid": "' OR 1=1 --"}),
    "a kid that is no text": lambda issuer: issuer.forged(header={"kid": {"a": 1}}),
}
CLAIMS = {
    "wrong aud": {"aud": "other"},
    "no aud": {"aud": None},
    "aud with something before": {"aud": "xsealgate"},
    "aud in another case": {"aud": "Sealgate"},
    "wrong auds": {"aud": ["other", "another"]},
    "no exp": {"exp": None},
    "exp in the past": {"exp": 1_700_000_000},
    "exp that is text": {"exp": "4102444800"},
    "exp that is true": {"exp": True},
    "nbf in the future": {"nbf": 4_102_444_800},
    "iat in the future": {"iat": 4_102_444_800},
    "no sub": {"sub": None},
    "an empty sub": {"sub": ""},
    "a sub that is a number": {"sub": 7},
    "a sub with NUL": {"sub": "a\0b"},
    "no iss": {"iss": None},
    "an iss that is a list": {"iss": ["x"]},
}


def _other_algorithm(issuer: Issuer) -> str:
    other = Issuer(algorithm="ES384")
    issuer.extra_keys.append(other.keys[-1].as_dict(private=False, kid="e"))
    return judge.encode(issuer.claims(), other.keys[-1].as_pem(private=True), "ES384", {"kid": "e"})


@pytest.mark.anyio
async def test_row_b9_tricks_with_the_algorithm(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        for name, make in BAD.items():
            assert outcome(await ask(running, make(issuer))) == (401, "invalid_token"), name


@pytest.mark.anyio
async def test_row_b10_keys_that_a_token_brings_and_extensions(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        for name, make in CARRYING.items():
            assert outcome(await ask(running, make(issuer))) == (401, "invalid_token"), name
        assert not [request for request in issuer.requests if "evil" in request.path]


@pytest.mark.anyio
async def test_row_b10_an_honest_token_may_name_its_keys_which_are_not_looked_at(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        own = issuer.keys[-1].as_dict(private=False)
        for header in ({"jwk": own}, {"jku": "https://evil.example/"}, {"x5u": "https://evil.example/"}, {"n": "once"}):
            assert (await ask(running, issuer.token(header=header))).status == 200


@pytest.mark.anyio
async def test_row_b11_a_flood_of_unknown_kids_costs_one_fetch_in_half_a_minute(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        assert (await ask(running, issuer.token())).status == 200
        fetches = issuer.fetches
        flood = [issuer.token(header={"kid": f"unknown-{number}"}) for number in range(40)]
        for _ in range(2):
            replies = await asyncio.gather(*(ask(running, token) for token in flood))
            assert {outcome(reply) for reply in replies} == {(401, "invalid_token")}
            assert issuer.fetches == fetches
            later(running, INTERVAL)
            replies = await asyncio.gather(*(ask(running, token) for token in flood))
            assert {outcome(reply) for reply in replies} == {(401, "invalid_token")}
            fetches += 1
            assert issuer.fetches == fetches
        metrics = (await running.get("/metrics")).body.decode()
        assert f'sealgate_issuer_fetches_total{{issuer="corp0",outcome="ok"}} {fetches}.0' in metrics


@pytest.mark.anyio
async def test_row_b12_claims_that_are_not_for_us_or_not_for_now(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        for name, claims in CLAIMS.items():
            assert outcome(await ask(running, issuer.token(**claims))) == (401, "invalid_token"), name


@pytest.mark.anyio
async def test_row_b12_an_issuer_is_known_by_its_exact_name(serve: Serve) -> None:
    """One with a suffix is another one, and is not asked for anything."""
    async with Issuer() as issuer, Issuer() as stranger, gateway(serve, issuer) as running:
        for suffix in ("/", "/x", ".evil.example", "#", "?", " "):
            assert outcome(await ask(running, issuer.token(iss=issuer.url + suffix))) == (401, "invalid_token")
        assert outcome(await ask(running, stranger.token())) == (401, "invalid_token")
        assert stranger.requests == []


@pytest.mark.anyio
async def test_row_b12_the_clock_of_an_issuer_may_be_a_minute_ahead(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        now = issuer.claims()["iat"]
        assert (await ask(running, issuer.token(iat=now + 50, nbf=now + 50))).status == 200
        assert outcome(await ask(running, issuer.token(nbf=now + 75))) == (401, "invalid_token")
        assert outcome(await ask(running, issuer.token(iat=now + 75))) == (401, "invalid_token")


@pytest.mark.anyio
async def test_row_b13_while_the_issuer_is_down_known_keys_go_on_for_a_day(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        assert (await ask(running, issuer.token("alice"))).status == 200
        issuer.broken = error(503)
        old = issuer.token("bob")
        issuer.rotate()
        later(running, INTERVAL)
        reply = await ask(running, issuer.token("carol"))
        assert outcome(reply) == (503, "auth_unavailable")
        assert 1 <= int(reply.headers["retry-after"]) <= INTERVAL
        assert (await ask(running, old)).status == 200
        later(running, LAST_GOOD - 2 * INTERVAL)
        assert (await ask(running, _signed_before(issuer, "dave"))).status == 200
        later(running, 2 * INTERVAL)
        assert outcome(await ask(running, _signed_before(issuer, "erin"))) == (503, "auth_unavailable")
        issuer.broken = None
        later(running, INTERVAL)
        assert (await ask(running, issuer.token("frank"))).status == 200


def _signed_before(issuer: Issuer, sub: str) -> str:
    """A token signed by the key before the last rotation."""
    key = issuer.keys[0]
    return judge.encode(issuer.claims(sub), key.as_pem(private=True), "ES256", {"kid": key.kid})


@pytest.mark.anyio
async def test_row_b13_an_issuer_that_was_never_there_is_no_reason_for_401(serve: Serve) -> None:
    async with Issuer() as issuer:
        issuer.broken = error(503)
        async with gateway(serve, issuer) as running:
            assert outcome(await ask(running, issuer.token())) == (503, "auth_unavailable")
            assert (await running.chat()).status == 200, "keys do not depend on it"


UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "nobody answers": ({"broken": silent()}, "did not answer"),
    "keys that trickle": ({"broken_keys": [head(200, length=9000), Hang()]}, "did not answer"),
    "keys of a mebibyte": ({"broken_keys": huge_body(1 << 20)}, "larger than 256 KiB"),
    "keys elsewhere": ({"broken_keys": redirect()}, "status 30"),
    "a page instead of keys": ({"broken_keys": html()}, "status|not a JSON object"),
    "metadata of another issuer": ({"metadata": {"issuer": "https://evil.example"}}, "those of the issuer"),
    "keys on another host": ({"metadata": {"jwks_uri": "https://evil.example/jwks"}}, "another host"),
    "no address of keys": ({"metadata": {"jwks_uri": None}}, "no jwks_uri"),
    "reset": ({"broken": reset()}, "reset"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", UNUSABLE)
async def test_row_b13_an_issuer_that_cannot_be_used_is_503_and_the_log_says_why(
    serve: Serve, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who comes with a key does not wait for it."""
    fault, why = UNUSABLE[name]
    if why == "did not answer":
        monkeypatch.setattr("sealgate.app.Documents", partial(Documents, seconds=0.2))
    out = io.BytesIO()
    monkeypatch.setattr(logs, "configure", partial(logs.configure, out=out))
    async with Issuer() as issuer:
        for attribute, value in fault.items():
            setattr(issuer, attribute, value)
        async with gateway(serve, issuer) as running:
            waiting = asyncio.create_task(ask(running, issuer.token()))
            assert (await running.chat()).status == 200
            assert outcome(await waiting) == (503, "auth_unavailable")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    [said] = [line for line in lines if line["event"] == "issuer_unavailable"]
    assert said["issuer"] == "corp0"
    assert re.search(why, said["error"]), said["error"]


@pytest.mark.anyio
async def test_row_b14_tokens_with_a_long_common_beginning_are_different_people(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        tokens = [issuer.token(f"{'a' * 200}{number}", padding="p" * 2000) for number in range(3)]
        assert len({token[:300] for token in tokens}) == 1
        for token in tokens * 2:
            assert (await running.chat(headers={"authorization": f"Bearer {token}"})).status == 200
        customers = [row.customer_id for row in await running.rows(6)]
        assert len(set(customers)) == 3
        assert customers[:3] == customers[3:]


@pytest.mark.anyio
async def test_row_b14_the_same_sub_of_two_issuers_is_two_people(serve: Serve) -> None:
    async with Issuer() as one, Issuer() as two, gateway(serve, one, two) as running:
        for issuer in (one, two):
            reply = await running.chat(headers={"authorization": f"Bearer {issuer.token('alice')}"})
            assert reply.status == 200
        assert len({row.customer_id for row in await running.rows(2)}) == 2
        crossed = judge.encode(one.claims(), two.keys[-1].as_pem(private=True), "ES256", {"kid": one.kid})
        assert outcome(await ask(running, crossed)) == (401, "invalid_token")


@pytest.mark.anyio
async def test_row_b16_a_cookie_is_no_credential(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        for value in (running.key, running.admin_key, issuer.token()):
            for name in ("session", "sealgate", "token", "authorization"):
                reply = await running.post(CHAT, running.ask(), {"authorization": "", "cookie": f"{name}={value}"})
                assert outcome(reply) == (401, "missing_api_key")


@pytest.mark.anyio
async def test_all_refusals_of_tokens_are_the_same_bytes_and_the_log_says_why(serve: Serve) -> None:
    """Rows B9 to B12: who sends a bad token learns nothing of what is bad about it."""
    async with Issuer() as issuer, gateway(serve, issuer) as running:
        lines: list[logs.Access] = []
        running.hall.access = lines.append
        bad = [issuer.unsigned(), issuer.forged(), issuer.token(aud="other"), issuer.token(lasts=-5), "a.b.c"]
        replies = [await ask(running, token) for token in bad]
        assert len({reply.body for reply in replies}) == 1
        assert {reply.headers["www-authenticate"] for reply in replies} == {'Bearer error="invalid_token"'}
        assert [line.reason for line in lines] == ["algorithm", "signature", "audience", "exp", "malformed"]
        lines.clear()
        await ask(running, issuer.token())
        [line] = lines
        assert (line.user is not None, line.key, (line.customer or "")[:5]) == (True, None, "user-")


@pytest.mark.anyio
async def test_where_users_are_not_made_an_unknown_one_is_refused(serve: Serve) -> None:
    async with Issuer() as issuer, gateway(serve, issuer, create_users=False) as running:
        assert outcome(await ask(running, issuer.token())) == (401, "invalid_token")
        assert await running.hall.storage.read(lambda connection: connection.execute(select(users)).all()) == []


@pytest.mark.anyio
async def test_users_of_an_issuer_may_share_a_customer_and_be_kept_to_models_and_limits(serve: Serve) -> None:
    limits = Limits(requests_per_minute=40)
    async with (
        Issuer() as issuer,
        gateway(serve, issuer, customer="acme", models=("other",), limits=limits) as running,
    ):
        reply = await running.chat(headers={"authorization": f"Bearer {issuer.token('alice')}"})
        assert outcome(reply) == (403, "model_not_allowed")
        assert (await running.row()).customer_id == "acme"
        caller = await running.gateway.tokens.find(issuer.token("bob").encode())
        assert (caller.customer_id, caller.limits, caller.is_admin) == ("acme", limits, False)
