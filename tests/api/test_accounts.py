"""A customer's own keys over HTTP: shapes, dialects, and what nobody gets (rows B7 and B15)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from inspect import signature
from typing import Any

import msgspec
import pytest
from tests.gateway import PEPPER, Reply, Running, Serve, read_reply

from sealgate.auth.caller import Caller
from sealgate.auth.keys import KeyStore
from sealgate.auth.records import KeyInfo
from sealgate.config import Auth, Secret, SharedLimits
from sealgate.config_tables import Budget, Limits
from sealgate.errors import StorageError
from sealgate.storage import audit
from sealgate.testing import http_request

pytestmark = pytest.mark.anyio
API = "/api/v1/auth/keys"
KEY_FIELDS = ["id", "key_prefix", "name", "created_at", "is_active", "is_default", "expires_at"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass
class Desk:
    """Calls about keys with one credential, an administrator's where none is given."""

    running: Running
    credential: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.credential or self.running.admin_key}"}

    async def ask(self, method: str, path: str = API, body: Any = None, **headers: str) -> Reply:
        raw = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        given = {"content-type": "application/json"} if raw else {}
        async with self.running.client() as client:
            await client.send(http_request(method, path, self.headers | given | headers, raw))
            return await read_reply(await client.response())

    async def create(self, path: str = API, **fields: Any) -> Reply:
        return await self.ask("POST", path, fields)

    async def made(self, **fields: Any) -> Any:
        reply = await self.create(**fields)
        assert reply.status == 200, reply.body
        return reply.json

    async def listed(self) -> list[Any]:
        found: list[Any] = (await self.ask("GET")).json
        return found

    async def named(self, name: str) -> KeyInfo:
        """A key as it is stored."""
        return next(each for each in await self.keys.list() if each.name == name)

    @property
    def keys(self) -> KeyStore:
        return self.running.gateway.keys


def user_of(desk: Desk, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> Desk:
    """A desk of a user who came by a token, of the customer ``default`` unless told otherwise."""
    caller = Caller(**{"customer_id": "default", "key_id": None, "user_id": "ada", **fields})
    real = desk.keys.cached
    monkeypatch.setattr(desk.keys, "cached", lambda raw: caller if raw == b"token-of-ada" else real(raw))
    return Desk(desk.running, "token-of-ada")


@pytest.fixture
def begun(serve: Serve) -> Callable[..., Any]:
    return lambda **tables: serve({}, {}, **tables)


# Shapes


async def test_a_key_is_made_with_the_four_fields_and_works(begun: Any) -> None:
    async with begun() as running:
        desk = Desk(running)
        reply = await desk.create(name="ci")
        made = reply.json
        assert list(made) == ["id", "key", "key_prefix", "name"]
        assert (made["name"], made["key"].startswith(made["key_prefix"])) == ("ci", True)
        assert reply.headers["cache-control"] == "no-store"
        assert (await running.get("/v1/models", {"authorization": f"Bearer {made['key']}"})).status == 200
        caller = await desk.keys.find(made["key"].encode())
        assert (caller.customer_id, caller.is_admin, caller.models) == ("default", False, None)


async def test_all_that_a_key_can_carry_is_kept(begun: Any) -> None:
    async with begun() as running:
        desk = Desk(running)
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
        await desk.made(
            name="full", expires_at=until.isoformat(), models=["m", "n"],
            limits={"requests_per_minute": 40, "concurrency": 2},
            budget={"amount": "25.00", "period": "month"},
        )  # fmt: skip
        found = await desk.named("full")
        assert found.models == ("m", "n")
        assert found.limits == Limits(requests_per_minute=40, concurrency=2)
        assert found.budget is not None
        assert (str(found.budget.amount), found.budget.period, found.budget.rolling) == ("25.00", "month", False)
        assert found.expires_at == int(until.timestamp()) * 1_000_000
        [shown] = [each for each in await desk.listed() if each["name"] == "full"]
        assert shown["expires_at"] == until.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2999-01-31T12:00:00Z", "2999-01-31T12:00:00Z"),
        ("2999-01-31T12:00:00.5+02:00", "2999-01-31T10:00:00Z"),
        ("2999-01-31T12:00:00", "2999-01-31T12:00:00Z"),
        ("2999-01-31t12:00:00z", "2999-01-31T12:00:00Z"),
        (None, None),
    ],
)
async def test_times_are_iso_8601_in_and_out(begun: Any, given: str | None, shown: str | None) -> None:
    async with begun() as running:
        made = await Desk(running).made(expires_at=given)
        [found] = [each for each in await Desk(running).listed() if each["id"] == made["id"]]
        assert (found["expires_at"], found["name"]) == (shown, "unnamed")


async def test_keys_are_listed_oldest_first_in_their_shape(begun: Any) -> None:
    async with begun() as running:
        desk = Desk(running)
        await desk.made(name="third")
        for path in (API, "/v1/auth/keys", API + "/", "/v1/auth/keys/"):
            found = (await desk.ask("GET", path)).json
            assert [each["name"] for each in found] == ["first", "customer", "third"]
            assert all(list(each) == KEY_FIELDS for each in found)
            assert all(TIME.fullmatch(each["created_at"]) for each in found)
            assert [each["is_default"] for each in found] == [True, False, False]


async def test_a_key_that_is_ended_is_shown_so_and_refused_and_ended_again_without_change(begun: Any) -> None:
    async with begun() as running:
        desk = Desk(running)
        made = await desk.made(name="ci")
        headers = {"authorization": f"Bearer {made['key']}"}
        assert (await running.get("/v1/models", headers)).status == 200
        replies = [await desk.ask("DELETE", f"{API}/{made['id']}{end}") for end in ("", "/", "")]
        assert [reply.status for reply in replies] == [200, 200, 200]
        assert len({reply.body for reply in replies}) == 1
        assert list(replies[0].json) == KEY_FIELDS
        assert replies[0].json["is_active"] is False
        assert (await running.get("/v1/models", headers)).code == "invalid_api_key"


async def test_row_b6_a_key_ended_here_is_refused_by_another_process_within_a_second(begun: Any) -> None:
    async with begun() as running:
        desk = Desk(running)
        other = KeyStore(running.hall.storage, PEPPER.encode())
        await other.start()
        try:
            made = await desk.made(name="ci")
            raw = made["key"].encode()
            await other.find(raw)
            assert other.cached(raw) is not None
            await desk.ask("DELETE", f"{API}/{made['id']}")
            assert signature(KeyStore).parameters["poll_seconds"].default <= 0.5, "two looks at the database"
            async with asyncio.timeout(20):
                while other.cached(raw) is not None:  # noqa: ASYNC110 - nothing is told
                    await asyncio.sleep(0.01)
        finally:
            await other.aclose()


# The default key


async def test_the_default_key_is_the_chosen_one_else_the_oldest_active_one(begun: Any) -> None:
    async with begun() as running:
        desk = Desk(running)
        assert (await desk.ask("GET", f"{API}/default")).json["name"] == "first"
        one, two = await desk.made(name="one"), await desk.made(name="two")
        for chosen in (one, two, two):
            reply = await desk.ask("PUT", f"{API}/{chosen['id']}/default")
            assert (list(reply.json), reply.json["id"], reply.json["is_default"]) == (KEY_FIELDS, chosen["id"], True)
            assert (await desk.ask("GET", f"{API}/default/")).json == reply.json
            assert [each["id"] for each in await desk.listed() if each["is_default"]] == [chosen["id"]]
        await desk.ask("DELETE", f"{API}/{two['id']}")
        assert (await desk.ask("GET", f"{API}/default")).json["name"] == "first"
        gone = await desk.ask("PUT", f"{API}/{two['id']}/default")
        assert (gone.status, gone.code) == (409, "key_not_active")


async def test_without_an_active_key_there_is_no_default_key(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with begun() as running:
        user = user_of(Desk(running), monkeypatch, customer_id="nobody")
        reply = await user.ask("GET", f"{API}/default")
        assert (reply.status, reply.code) == (404, "not_found")
        assert await user.listed() == []


# Who may


async def test_a_plain_key_is_refused_by_each_call(begun: Any) -> None:
    async with begun() as running:
        plain = Desk(running, running.key)
        for method, path in (
            ("GET", API), ("POST", API), ("DELETE", f"{API}/x"), ("GET", f"{API}/default"), ("PUT", f"{API}/x/default"),
        ):  # fmt: skip
            reply = await plain.ask(method, path)
            assert (reply.status, reply.code) == (403, "admin_key_required"), (method, path)


async def test_without_authentication_nobody_has_keys(begun: Any) -> None:
    async with begun(auth=Auth(required=False, pepper=Secret(PEPPER))) as running:
        assert (await Desk(running).ask("GET")).code == "admin_key_required"


async def test_a_user_makes_lists_and_ends_keys_but_no_administrators(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begun() as running:
        user = user_of(Desk(running), monkeypatch)
        made = await user.made(name="mine")
        assert [each["name"] for each in await user.listed()] == ["first", "customer", "mine"]
        first = (await user.listed())[0]["id"]
        for method, path in (("DELETE", f"{API}/{first}"), ("PUT", f"{API}/{first}/default")):
            assert (await user.ask(method, path)).code == "admin_key_required"
        assert (await user.ask("PUT", f"{API}/{made['id']}/default")).json["is_default"] is True
        assert (await user.ask("DELETE", f"{API}/{made['id']}")).json["is_active"] is False


async def test_row_b7_a_foreign_id_is_answered_as_an_unknown_one(begun: Any) -> None:
    async with begun() as running:
        desk = Desk(running)
        foreign = await desk.keys.create(name="theirs", customer="acme")
        unknown = foreign.id[:-1] + ("0" if foreign.id[-1] != "0" else "1")
        for method, end in (("DELETE", ""), ("PUT", "/default")):
            replies = [
                await desk.ask(method, f"{API}/{each}{end}")
                for each in (foreign.id, unknown, foreign.key_prefix, "theirs", "default", "%00", "a%2fb")
                if not (each == "default" and not end)
            ]
            assert {reply.status for reply in replies} == {404}
            assert len({reply.body for reply in replies}) == 1
            assert replies[0].code == "not_found"
        assert (await desk.keys.find(foreign.key.encode())).customer_id == "acme"
        assert foreign.id not in str(await desk.listed())


async def test_a_customer_has_at_most_as_many_active_keys_as_is_configured(begun: Any) -> None:
    async with begun(auth=Auth(pepper=Secret(PEPPER), max_active_keys=3)) as running:
        desk = Desk(running)
        replies = await asyncio.gather(*(desk.create(name=f"k{number}") for number in range(4)))
        assert sorted(reply.status for reply in replies) == [200, 409, 409, 409]
        assert {reply.code for reply in replies if reply.status == 409} == {"too_many_keys"}
        await desk.ask("DELETE", f"{API}/{next(each for each in replies if each.status == 200).json['id']}")
        assert (await desk.create(name="again")).status == 200


# What is recorded


async def test_each_act_is_recorded_with_who_did_it_and_from_where(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with begun() as running:
        desk, user = Desk(running), user_of(Desk(running), monkeypatch)
        made = (await desk.ask("POST", API, {"name": "ci"}, **{"x-request-id": "req-1"})).json
        await user.ask("PUT", f"{API}/{made['id']}/default", **{"x-request-id": "req-2"})
        for _ in range(2):
            await user.ask("DELETE", f"{API}/{made['id']}", **{"x-request-id": "req-3"})
        await user.ask("DELETE", f"{API}/unknown")
        await desk.create(name="", limits={"concurrency": 0})
        found = await running.hall.storage.read(lambda connection: audit.listed(connection))
        assert [(each.action, each.actor_kind, each.request_id) for each in found] == [
            ("customer.created", "system", None), ("key.created", "system", None), ("key.created", "system", None),
            ("key.created", "key", "req-1"), ("key.default_set", "user", "req-2"), ("key.revoked", "user", "req-3"),
        ]  # fmt: skip
        first, last = found[1], found[-1]
        assert first.detail["first"] is True
        assert (last.actor_id, last.customer_id, last.object, last.address) == (
            "ada",
            "default",
            made["id"],
            "127.0.0.1",
        )
        assert last.detail == {"name": "ci", "key_prefix": made["key_prefix"]}
        assert found[3].actor_id == (await desk.keys.find(running.admin_key.encode())).key_id
        assert made["key"] not in str(found)


# Never more than its maker has


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"limits": {"requests_per_minute": 41}}, "limits.requests_per_minute"),
        ({"models": ["m", "x"]}, "models"),
    ],
)
async def test_row_b15_a_key_with_more_than_its_maker_is_refused(
    begun: Any, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], param: str
) -> None:
    async with begun() as running:
        user = user_of(
            Desk(running), monkeypatch, limits=Limits(requests_per_minute=40), models=frozenset({"m", "n"})
        )  # fmt: skip
        reply = await user.create(name="more", **fields)
        assert (reply.status, reply.code, reply.error["param"]) == (403, "scope_exceeds_caller", param)
        assert len(await user.listed()) == 2


async def test_row_b15_what_is_not_named_is_handed_down(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with begun() as running:
        user = user_of(
            Desk(running), monkeypatch, limits=Limits(requests_per_minute=40), models=frozenset({"m", "n"})
        )  # fmt: skip
        await user.made(name="bare")
        await user.made(name="less", models=["n"], limits={"requests_per_minute": 4, "concurrency": 1})
        bare, less = await user.named("bare"), await user.named("less")
        assert (bare.limits, bare.models) == (Limits(requests_per_minute=40), ("m", "n"))
        assert (less.limits, less.models) == (Limits(requests_per_minute=4, concurrency=1), ("n",))


async def test_row_b15_who_has_a_budget_cannot_make_keys(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key has a purse of its own, so every new one would fill it again."""
    async with begun() as running:
        user = user_of(Desk(running), monkeypatch, budget=Budget(Decimal(5)))
        reply = await user.create(name="more", budget={"amount": "1"})
        assert (reply.status, reply.code, reply.error["param"]) == (403, "scope_exceeds_caller", "budget")


async def test_row_b15_a_user_does_not_widen_its_own_bounds_by_choosing_a_default_key(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begun() as running:
        desk = Desk(running)
        wide, narrow = await desk.made(name="wide"), await desk.made(name="narrow", limits={"concurrency": 2})
        user = user_of(desk, monkeypatch, limits=Limits(concurrency=3))
        reply = await user.ask("PUT", f"{API}/{wide['id']}/default")
        assert (reply.status, reply.code, reply.error["param"]) == (403, "scope_exceeds_caller", "limits.concurrency")
        assert (await user.ask("PUT", f"{API}/{narrow['id']}/default")).status == 200
        spender = user_of(desk, monkeypatch, budget=Budget(Decimal(5)), default_key_id=narrow["id"])
        assert (await spender.ask("PUT", f"{API}/{wide['id']}/default")).code == "scope_exceeds_caller"
        assert (await spender.ask("PUT", f"{API}/{narrow['id']}/default")).status == 200
        assert (await desk.ask("PUT", f"{API}/{wide['id']}/default")).status == 200


@pytest.mark.parametrize("field", ["is_admin", "admin", "role", "scope", "customer", "customer_id", "key", "settings"])
async def test_row_b15_rights_are_not_taken_from_the_body(begun: Any, field: str) -> None:
    async with begun() as running:
        reply = await Desk(running).create(name="x", **{field: "default"})
        assert (reply.status, reply.code) == (422, "invalid_parameter")
        assert [each["loc"] for each in reply.json["detail"]] == [["body", field]]


# Forms


PLACEHOLDERS = {
    "name": "string", "expires_at": "string", "models": ["string"],
    "limits": {"requests_per_minute": 0, "requests_per_day": 0, "tokens_per_minute": 0, "concurrency": 0},
    "budget": {"amount": "string", "period": "string", "rolling": False},
}  # fmt: skip


async def test_a_generated_samples_placeholders_are_named_one_by_one(begun: Any) -> None:
    async with begun() as running:
        reply = await Desk(running).create(**PLACEHOLDERS)
        assert (reply.status, reply.code, reply.error["status"]) == (422, "invalid_parameter", 422)
        assert [".".join(each["loc"]) for each in reply.json["detail"]] == [
            "body.expires_at", "body.limits.requests_per_minute", "body.limits.requests_per_day",
            "body.limits.tokens_per_minute", "body.limits.concurrency", "body.budget.amount", "body.budget.period",
        ]  # fmt: skip
        assert all(each.keys() == {"loc", "msg", "type"} for each in reply.json["detail"])
        plain = await Desk(running).create("/v1/auth/keys", **PLACEHOLDERS)
        assert (plain.status, plain.code, "detail" in plain.json) == (400, "invalid_parameter", False)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"name": ""}, "name"),
        ({"name": " padded"}, "name"),
        ({"name": "a" * 129}, "name"),
        ({"name": "nul\0"}, "name"),
        ({"name": 5}, "name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": 1900000000}, "expires_at"),
        ({"models": []}, "models"),
        ({"models": [""]}, "models.0"),
        ({"limits": {"requests_per_minute": True}}, "limits.requests_per_minute"),
        ({"limits": {"per_minute": 1}}, "limits.per_minute"),
        ({"budget": {}}, "budget.amount"),
        ({"budget": {"amount": 25}}, "budget.amount"),
        ({"budget": {"amount": "-1"}}, "budget.amount"),
        ({"budget": {"amount": "1e9"}}, "budget.amount"),
        ({"budget": {"amount": "NaN"}}, "budget.amount"),
    ],
)
async def test_a_wrong_form_is_422_or_400_by_its_mount(begun: Any, fields: Any, place: str) -> None:
    async with begun() as running:
        reply = await Desk(running).create(**fields)
        assert (reply.status, reply.code) == (422, "invalid_parameter")
        assert [".".join(map(str, each["loc"][1:])) for each in reply.json["detail"]] == [place]
        assert (await Desk(running).create("/v1/auth/keys", **fields)).status == 400
        assert len(await Desk(running).listed()) == 2


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b"[]", "application/json", 422, "invalid_body"),
        (b"\xff", "application/json", 400, "invalid_encoding"),
        (b'{"name":"x"}', "text/html", 415, "unsupported_media_type"),
        (b'{"name":"x"}', "text/plain;charset=UTF-8", 200, None),
        (b'{"name":"' + b"x" * 70_000 + b'"}', "application/json", 413, "request_too_large"),
    ],
)
async def test_what_is_no_form_at_all_is_refused(
    begun: Any, body: bytes, kind: str, status: int, code: str | None
) -> None:
    async with begun() as running:
        reply = await Desk(running).ask("POST", API, body, **{"content-type": kind})
        assert (reply.status, reply.code) == (status, code)


async def test_another_method_is_405_and_names_those_there_are(begun: Any) -> None:
    async with begun() as running:
        for method, path, allowed in (
            ("PATCH", API, "GET, HEAD, POST"), ("GET", f"{API}/x", "DELETE"), ("POST", f"{API}/default", "GET, HEAD"),
            ("GET", f"{API}/x/default", "PUT"), ("DELETE", f"{API}/x/default", "PUT"),
        ):  # fmt: skip
            for end in ("", "/"):
                reply = await Desk(running).ask(method, path + end)
                assert (reply.status, reply.headers["allow"]) == (405, allowed), (method, path + end)


async def test_row_h1_without_a_database_a_key_is_not_made(begun: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise StorageError("the disk is gone")

    async with begun() as running:
        desk = Desk(running)
        await desk.listed()
        monkeypatch.setattr(running.hall.storage, "write", broken)
        reply = await desk.create(name="x")
        assert (reply.status, reply.code) == (503, "storage_unavailable")
        assert "disk" not in reply.body.decode()
        monkeypatch.undo()


async def test_row_b15_who_is_limited_does_not_begin_again_with_a_new_key(
    begun: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each key is counted for itself, so keys that ended lately count among those that a user may have."""
    auth = Auth(pepper=Secret(PEPPER), max_active_keys=3)
    async with begun(auth=auth, limits=SharedLimits(requests_per_minute=4)) as running:
        user = user_of(Desk(running), monkeypatch, customer_id="ada-and-co")
        for name in ("one", "two", "three"):
            made = await user.made(name=name)
            await user.ask("DELETE", f"{API}/{made['id']}")
        refused = await user.create(name="four")
        more = await user.create(name="more", limits={"requests_per_minute": 5})
        administrators = await Desk(running).create(name="beyond", limits={"requests_per_minute": 5})
    assert (refused.status, refused.code) == (409, "too_many_keys")
    assert (more.status, more.code) == (403, "scope_exceeds_caller")
    assert administrators.status == 200


@pytest.mark.parametrize(
    "fields",
    [{"limits": {"requests_per_minute": 10**30}}, {"budget": {"amount": "1000000000"}}],
    ids=["limit", "budget"],
)
async def test_what_no_store_counts_is_refused(begun: Any, fields: dict[str, Any]) -> None:
    async with begun() as running:
        reply = await Desk(running).create(**fields)
    assert (reply.status, reply.code) == (422, "invalid_parameter")
