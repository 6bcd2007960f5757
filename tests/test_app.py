"""The roof: how a gateway is opened, closed and given a new configuration (rows H5, I4, I5, I6)."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from tests.gateway import PEPPER, Running, Serve, model, provider, settings

from sealgate import app
from sealgate.app import BUILT, Application, open_gateway, require_clock
from sealgate.config import Auth, Issuer, Provider, Secret, Settings, SharedLimits
from sealgate.errors import ConfigError, Problem, StorageError
from sealgate.storage import audit
from sealgate.telemetry import logs
from sealgate.testing import Issuer as Desk
from sealgate.testing import RawClient, Received, ScriptedUpstream, Step, WaitFor, answer

Log = Callable[[], list[dict[str, Any]]]
NOWHERE = provider("http://127.0.0.1:9/v1")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    out = io.BytesIO()
    monkeypatch.setattr(logs, "configure", partial(logs.configure, out=out))
    return lambda: [json.loads(line) for line in out.getvalue().splitlines()]


STARTED: list[threading.Thread] = []


@pytest.fixture(autouse=True)
def only_our_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that lives as long as the session may start a thread at any moment, but does so from its own."""
    STARTED.clear()
    start, ours = threading.Thread.start, threading.current_thread()

    def started(thread: threading.Thread) -> None:
        if threading.current_thread() is ours:
            STARTED.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", started)


def threads() -> set[str]:
    return {thread.name for thread in STARTED if thread.is_alive() and thread.name.startswith("sealgate")}


class Lifespan:
    """An ASGI server that does nothing but the lifespan."""

    def __init__(self, application: Application) -> None:
        self.said: list[Any] = []
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._outbox: asyncio.Queue[Any] = asyncio.Queue()
        self.task = asyncio.create_task(application({"type": "lifespan"}, self._inbox.get, self._outbox.put))

    async def say(self, word: str) -> Any:
        await self._inbox.put({"type": word})
        answer = asyncio.create_task(self._outbox.get())
        await asyncio.wait([answer, self.task], return_when=asyncio.FIRST_COMPLETED, timeout=20)
        assert answer.done(), self.task.exception()
        return answer.result()


@pytest.mark.anyio
async def test_the_lifespan_opens_the_gateway_and_closes_it(tmp_path: Path) -> None:
    application = Application(settings(tmp_path, {"acme": NOWHERE}))
    assert application.gateway is None
    lifespan = Lifespan(application)
    assert await lifespan.say("lifespan.startup") == {"type": "lifespan.startup.complete"}
    gateway: Any = application.gateway
    assert gateway is not None
    assert "sealgate-writer" in threads()
    assert await lifespan.say("lifespan.shutdown") == {"type": "lifespan.shutdown.complete"}
    await lifespan.task
    with pytest.raises(StorageError, match="closed"):
        await gateway.hall.storage.read(lambda _: None)
    assert threads() == set()


BROKEN: dict[str, Callable[[Path], Settings]] = {
    "a provider kind there is not": lambda folder: settings(folder, {"acme": Provider(kind="acme")}),
    "a certificate there is not": lambda folder: settings(
        folder, {"acme": Provider(kind="openai", base_url="https://x.example", ca_file=str(folder / "none.pem"))}
    ),
    "a pepper too short": lambda folder: settings(folder, {"acme": NOWHERE}, auth=Auth(pepper=Secret("short"))),
    "a folder that cannot be": lambda folder: settings(folder / "file" / "x", {"acme": NOWHERE}),
    "a database that is none": lambda folder: settings(folder / "damaged", {"acme": NOWHERE}),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", BROKEN)
async def test_what_cannot_be_opened_is_said_and_nothing_is_left_open(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "sealgate.db").write_bytes(b"this is no database" * 500)
    lifespan = Lifespan(Application(BROKEN[name](tmp_path)))
    failed = await lifespan.say("lifespan.startup")
    assert failed["type"] == "lifespan.startup.failed"
    with pytest.raises(ConfigError) as caught:
        await lifespan.task
    assert failed["message"] == str(caught.value)
    assert threads() == set()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "keys-poll"]


@pytest.mark.anyio
async def test_row_h5_a_damaged_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "sealgate.db"
    file.write_bytes(b"this is no database" * 500)
    with pytest.raises(ConfigError):
        await open_gateway(settings(tmp_path, {"acme": NOWHERE}))
    assert file.read_bytes() == b"this is no database" * 500


@pytest.mark.anyio
async def test_the_first_start_makes_a_key_and_no_other_does(tmp_path: Path) -> None:
    made = settings(tmp_path, {"acme": NOWHERE})
    first = await open_gateway(made)
    key = first.first_key
    assert key is not None
    assert (await first.keys.find(key.key.encode())).is_admin
    await first.aclose()
    second = await open_gateway(made)
    assert second.first_key is None
    assert (await second.keys.find(key.key.encode())).is_admin
    await second.aclose()


@pytest.mark.anyio
async def test_without_authentication_no_key_is_made(tmp_path: Path) -> None:
    gateway = await open_gateway(settings(tmp_path, {}, auth=Auth(required=False)))
    assert gateway.first_key is None
    await gateway.aclose()


@pytest.mark.anyio
async def test_an_issuer_that_is_down_does_not_keep_the_gateway_from_opening(tmp_path: Path, log: Log) -> None:
    issuers = {"corp": Issuer(issuer="http://127.0.0.1:9", audience=("sealgate",))}
    gateway = await open_gateway(settings(tmp_path, {}, auth=Auth(pepper=Secret(PEPPER), issuers=issuers)))
    async with asyncio.timeout(20):
        while not gateway.tokens.fetches:  # noqa: ASYNC110 - nobody tells of a fetch
            await asyncio.sleep(0.005)
    assert gateway.tokens.fetches == {("corp", "failed"): 1}
    await gateway.aclose()
    assert [(line["event"], line["issuer"]) for line in log() if line["level"] == "error"] == [
        ("issuer_unavailable", "corp")
    ]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("issuer")]


@pytest.mark.anyio
async def test_without_issuers_no_token_is_taken(tmp_path: Path) -> None:
    gateway = await open_gateway(settings(tmp_path, {}))
    with pytest.raises(Problem) as caught:
        await gateway.tokens.find(b"a.b.c")
    assert caught.value.code.name == "invalid_token"
    await gateway.aclose()


def test_every_path_belongs_to_one_endpoint(serve: Serve) -> None:
    async def main() -> None:
        async with serve({"acme": NOWHERE}) as running:
            table = running.gateway.front._routes.table
            paths = [(route.method, path) for route in table for path in route.paths]
            assert len(set(paths)) == len(paths)
            assert {route.access for route in table} <= {"public", "optional", "key", "account", "admin"}

    asyncio.run(main())


# Reload


async def reload(running: Running, change: Callable[[Settings], Settings]) -> None:
    """As SIGHUP does, with a configuration that has changed like this."""
    await running.gateway.reload(lambda: change(running.hall.settings))


@pytest.mark.anyio
async def test_a_reload_takes_the_new_configuration(serve: Serve, log: Log) -> None:
    async with ScriptedUpstream() as first, ScriptedUpstream() as second, serve({"acme": first}) as running:
        assert (await running.chat(model="new")).status == 404

        def change(old: Settings) -> Settings:
            providers = {"acme": provider(second, api_key="rotated")}
            return msgspec.structs.replace(old, providers=providers, models={"new": model("acme")})

        await reload(running, change)
        assert (await running.chat(model="new")).status == 200
        assert (await running.chat(model="m")).status == 404
        assert second.requests[0].headers["authorization"] == "Bearer rotated"
        assert [each["id"] for each in (await running.get("/v1/models")).json["data"]] == ["new", "global/acme/new"]
        await asyncio.sleep(0.12)  # longer than a line is held back
        assert [line["models"] for line in log() if line["event"] == "reloaded"] == [1]


@pytest.mark.anyio
async def test_rows_i5_and_i6_a_request_finishes_with_what_it_began_with(serve: Serve) -> None:
    go = asyncio.Event()

    def held(received: Received) -> Iterator[Step]:
        for number, step in enumerate(answer()(received)):
            if number == 3:
                yield WaitFor(go)
            yield step

    async with (
        ScriptedUpstream(default=held) as first,
        ScriptedUpstream() as second,
        serve({"acme": first, "backup": second}) as running,
        running.client() as client,
    ):
        await running.begin(client, stream=True)
        response = await client.response()
        assert await response.next_event() is not None
        await reload(running, lambda old: msgspec.structs.replace(old, models={"other": model("backup")}))
        assert (await running.chat(model="m")).status == 404
        go.set()
        assert [event.data async for event in response.events()][-1] == "[DONE]"
        assert (await running.rows(2))[0].routed_model == "global/acme/m"


def _without_provider(old: Settings) -> Settings:
    return msgspec.structs.replace(old, providers={"acme": Provider(kind="acme")})


def _without_certificate(old: Settings) -> Settings:
    row = Provider(kind="openai", base_url="https://x.example/v1", client_cert="none.pem")
    return msgspec.structs.replace(old, providers={**old.providers, "secure": row})


def _with_two_of_a_name(old: Settings) -> Settings:
    models = {"a": model("acme", aliases=("x",)), "b": model("acme", aliases=("x",))}
    return msgspec.structs.replace(old, models=models)


def _that_is_no_toml(_: Settings) -> Settings:
    raise ConfigError("sealgate.toml is not valid TOML: line 3")


@pytest.mark.anyio
@pytest.mark.parametrize("bad", [_without_provider, _without_certificate, _with_two_of_a_name, _that_is_no_toml])
async def test_row_i4_a_bad_configuration_changes_nothing_and_is_said(
    serve: Serve, log: Log, bad: Callable[[Settings], Settings]
) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        before = running.hall.settings, running.hall.catalog, running.hall.means
        await reload(running, bad)
        assert (running.hall.settings, running.hall.catalog, running.hall.means) == before
        assert (await running.chat()).status == 200
        [refused] = [line for line in log() if line["level"] == "error"]
        assert refused["event"] == "reload_refused"
        assert refused["error"]


@pytest.mark.anyio
async def test_a_reload_is_recorded_whether_it_is_taken_or_not(serve: Serve, log: Log) -> None:
    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        await reload(running, lambda old: old)
        await reload(running, _that_is_no_toml)
        found = await running.hall.storage.read(lambda connection: audit.listed(connection, action="configuration"))
        assert [(each.action, each.actor_kind, each.detail) for each in found] == [
            ("configuration.reloaded", "system", {"models": 1}),
            ("configuration.refused", "system", {"error": "sealgate.toml is not valid TOML: line 3"}),
        ]


@pytest.mark.anyio
async def test_a_reload_that_cannot_be_recorded_is_taken_all_the_same(
    serve: Serve, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise StorageError("the disk is gone")

    async with ScriptedUpstream() as upstream, serve({"acme": upstream}) as running:
        monkeypatch.setattr(running.hall.storage, "write", broken)
        await reload(running, lambda old: msgspec.structs.replace(old, models={"new": model("acme")}))
        monkeypatch.undo()
        assert (await running.chat(model="new")).status == 200
        await asyncio.sleep(0.12)  # longer than a line is held back
        assert [line["error"] for line in log() if line["event"] == "audit_failed"] == ["the disk is gone"]


# Behind another server


@pytest.mark.anyio
async def test_another_asgi_server_can_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``uvicorn --factory sealgate.app:asgi``, with everything from the environment."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "SEALGATE_STORAGE__DATA_DIR": str(tmp_path / "data"),
        "SEALGATE_AUTH__REQUIRED": "false",
        "SEALGATE_SERVER__DISCOVER": "false",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "sealgate.toml").write_text(
        '[providers.sandbox]\nkind = "sandbox"\n[models.m]\nroutes = [{ provider = "sandbox", model = "m" }]\n'
    )
    config = uvicorn.Config(app.asgi, factory=True, port=0, lifespan="on", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    async with asyncio.timeout(20):
        while not server.started:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with RawClient("127.0.0.1", port) as client:
        for stream in (False, True):
            ask = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
            await client.post("/v1/chat/completions", ask)
            response = await client.response()
            body = await response.read()
            assert response.status == 200
            assert body.endswith(b"data: [DONE]\n\n") is stream
        await client.post("/v1/chat/completions", b"{")
        assert (await client.response()).status == 400
    server.should_exit = True
    await serving
    assert threads() == set()


@pytest.mark.parametrize("now", [0, -1, 1_700_000_000, BUILT - 1])
def test_row_i11_a_clock_that_was_never_set_is_refused_at_the_start(now: float) -> None:
    with pytest.raises(ConfigError, match="clock says"):
        require_clock(now)


@pytest.mark.parametrize("now", [BUILT, 2_208_988_800, 4_102_444_800])
def test_row_i11_a_clock_past_2038_is_believed(now: float) -> None:
    require_clock(now)


@pytest.mark.anyio
async def test_an_issuer_that_a_reload_brings_is_believed_and_one_that_it_takes_is_not(serve: Serve) -> None:
    async with Desk() as desk, serve({"acme": answer("Hi")}) as running:
        head = {"authorization": f"Bearer {desk.token()}"}
        rules = Issuer(issuer=desk.url, audience=("sealgate",), algorithms=("ES256",), create_users=True)

        async def with_issuers(**issuers: Issuer) -> int:
            auth = msgspec.structs.replace(running.hall.settings.auth, issuers=issuers)
            await reload(running, lambda old: msgspec.structs.replace(old, auth=auth))
            return (await running.get("/v1/auth/me", head)).status

        before = (await running.get("/v1/auth/me", head)).status
        brought = await with_issuers(corp=rules)
        fetches = desk.fetches
        for_others = await with_issuers(corp=msgspec.structs.replace(rules, audience=("other",)))
        again = await with_issuers(corp=rules)
        asked_again = desk.fetches - fetches
        taken = await with_issuers()
    assert (before, brought, for_others, again, taken) == (401, 200, 401, 200, 401)
    assert asked_again == 0, "its keys are where they were"


@pytest.mark.anyio
async def test_a_reload_says_what_only_a_restart_changes(serve: Serve, log: Log) -> None:
    async with serve({"acme": answer("Hi")}) as running:

        def change(old: Settings) -> Settings:
            auth = msgspec.structs.replace(old.auth, max_active_keys=3)
            limits = SharedLimits(url=Secret("redis://:secret@limits.example/0"), requests_per_minute=9)
            return msgspec.structs.replace(old, auth=auth, limits=limits)

        await reload(running, change)
        await reload(running, lambda old: old)
        assert running.gateway.keys.max_active == 3
        await asyncio.sleep(0.12)  # longer than a line is held back
        said = [line for line in log() if line["event"] == "restart_needed"]
        assert [line["setting"] for line in said] == ["limits.url", "limits.url"], "it is still so at the second one"
        assert "secret" not in json.dumps(log())


@pytest.mark.anyio
async def test_what_one_process_is_told_of_sessions_the_next_one_knows(tmp_path: Path) -> None:
    """Also one that runs beside it, and one that is started later."""
    made = settings(tmp_path, {"acme": NOWHERE})
    first, second = await open_gateway(made), await open_gateway(made)
    who = ("default", None)
    await first.hall.sessions.change(who, True, 120, audit.SYSTEM)
    async with asyncio.timeout(20):
        while second.hall.sessions.automation.seconds(who) != 120:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
    for each in (first, second):
        await each.aclose()
    third = await open_gateway(made)
    assert third.hall.sessions.automation.seconds(who) == 120
    await third.aclose()
