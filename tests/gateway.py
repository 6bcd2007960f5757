"""A whole gateway in a test: the real application behind the real edge, on a free port, with a database of its own.

::

    @pytest.mark.anyio
    async def test_a_failing_route_is_left(serve: Serve) -> None:
        async with serve({"acme": error(503), "backup": answer("Hi")}) as gateway:   # model "m": acme, then backup
            reply = await gateway.chat(stream=True)
            assert (reply.text, reply.done) == ("Hi", True)
            assert (await gateway.row()).routed_model == "global/backup/m"
        assert gateway.upstreams["acme"].requests[0].streams

`serve` is a fixture; everything a gateway needs is in its arguments, and several can run in one test:

``providers``   name to what is there: a behaviour (it gets a `ScriptedUpstream` of its own, in ``upstreams``), an
                upstream that is there already, a ``base_url``, or a `config.Provider` (see `provider`)
``models``      name to a list of provider names, or to a `config.Model`; unset: ``m`` with a route at each provider
``tables``      the other tables of the configuration by name: ``timeouts=Timeouts(gap=0.1)``, ``server=Server(...)``
``drain``       seconds for which requests may still run when the block is left

It gives a `Running`: where it is, its keys, its ``hall``, calls that read the whole answer into a `Reply`, and the
ledger. `serve.in_thread` gives the same in a thread (on uvloop, as in production) for clients that block.

A start takes a few milliseconds: the database is a copy of one that was migrated once in the session, keys included.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import msgspec
import uvloop
from sqlalchemy import Connection, func, select

from sealgate.api.edge import server_config
from sealgate.api.edge_rules import EdgeLimits
from sealgate.api.server import EdgeServer, Hooks
from sealgate.app import Application, Gateway, open_gateway
from sealgate.auth.keys import KeyStore
from sealgate.auth.pepper import load_pepper
from sealgate.config import Auth, Model, Provider, Route, Secret, Server, Settings, Storage, Telemetry
from sealgate.limits.ledger import Entry, Outcome
from sealgate.relay.hall import Hall
from sealgate.relay.health import Health
from sealgate.relay.pace import Paces
from sealgate.relay.plan import Seen
from sealgate.storage import open_storage
from sealgate.storage.tables import ledger
from sealgate.testing import Behaviour, Event, RawClient, RawResponse, ScriptedUpstream
from sealgate.testing.thread import ThreadedUpstream

Upstream: TypeAlias = Behaviour | ScriptedUpstream | ThreadedUpstream | str | Provider
Models: TypeAlias = Mapping[str, Sequence[str] | Model]

T = TypeVar("T")

CHAT = "/v1/chat/completions"
UPSTREAM_KEY = "upstream-secret-4f1d"
"""The credential that `provider` gives an upstream, unless told otherwise."""
PEPPER = "pepper-of-the-tests-" + "0" * 32
PATIENCE = 20.0
"""Seconds after which something that should have happened has not."""


def provider(upstream: ScriptedUpstream | ThreadedUpstream | str, kind: str = "openai", **fields: Any) -> Provider:
    """A provider at that upstream, or at that ``base_url``; ``api_key`` may be text."""
    base_url = upstream if isinstance(upstream, str) else upstream.base_url
    key = fields.pop("api_key", UPSTREAM_KEY)
    secrets = (Secret(key),) if isinstance(key, str) else key
    return Provider(kind=kind, base_url=base_url, api_key=secrets, **fields)


def model(*providers: str, upstream_model: str = "test-model", **fields: Any) -> Model:
    """A model with a route at each of these providers."""
    return Model(routes=tuple(Route(provider=name, model=upstream_model) for name in providers), **fields)


def settings(folder: Path, providers: Mapping[str, Provider], models: Models | None = None, **tables: Any) -> Settings:
    """The configuration of a gateway whose files are in ``folder``."""
    wanted: Models = {"m": list(providers)} if models is None else models
    tables.setdefault("server", Server(port=0, discover=False))
    tables.setdefault("auth", Auth(pepper=Secret(PEPPER)))
    tables.setdefault("telemetry", Telemetry(format="json"))
    tables.setdefault("storage", Storage(data_dir=str(folder)))
    return Settings(
        providers=dict(providers),
        models={key: found if isinstance(found, Model) else model(*found) for key, found in wanted.items()},
        **tables,
    )


@dataclass
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    events: list[Event] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    complete: bool = True
    """Whether the body ended as HTTP says a body ends."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def done(self) -> bool:
        """Whether the stream says that it is complete."""
        return bool(self.events) and self.events[-1].data == "[DONE]"

    @cached_property
    def documents(self) -> list[Any]:
        """What the events carry, without ``[DONE]``."""
        return [event.json for event in self.events if event.data != "[DONE]"]

    @property
    def chunks(self) -> list[Any]:
        """The chunks of a stream."""
        return [each for each in self.documents if "error" not in each]

    @property
    def error(self) -> Any:
        """The error object of the answer, or of the event that ended the stream; None without one."""
        if self.events:
            return next((each["error"] for each in self.documents if "error" in each), None)
        return self.json.get("error") if self.status >= 400 else None

    @property
    def code(self) -> str | None:
        """The error's code."""
        return self.error["code"] if self.error else None

    @property
    def attempts(self) -> list[tuple[str, str, int | None]]:
        """``error.attempts`` as tuples of route, outcome and status."""
        return [(each["route"], each["outcome"], each["status"]) for each in self.error.get("attempts", [])]

    @property
    def text(self) -> str:
        """The content of the first choice, whole or put together."""
        if not self.events:
            return self.json["choices"][0]["message"]["content"] or ""
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk["choices"] if choice["index"] == 0]
        return "".join(delta.get("content") or "" for delta in deltas)

    @property
    def tresor(self) -> Any:
        """What the gateway says of the answer, wherever it stands."""
        documents = self.chunks if self.events else [self.json]
        found = [each["tresor"] for each in documents if each.get("tresor") and each["choices"]]
        assert len(found) == 1, "an answer has one tresor object; only what it cost may stand on the usage chunk too"
        return found[0]


async def read_reply(response: RawResponse) -> Reply:
    """Read an answer to its end, as events where it is a stream."""
    if "text/event-stream" not in response.headers.get("content-type", ""):
        body = await response.read()
        return Reply(response.status, response.headers, body, complete=response.complete)
    events = [event async for event in response.events()]
    comments = [comment.text for comment in response.comments]
    return Reply(response.status, response.headers, response.body, events, comments, response.complete)


@dataclass
class Running:
    """A gateway that answers. Its coroutines belong to the loop it runs in."""

    host: str
    port: int
    key: str
    """A customer's key."""
    admin_key: str
    gateway: Gateway
    upstreams: dict[str, ScriptedUpstream]
    """Those that were made for this gateway, by the name of their provider."""

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its ``base_url``."""
        return f"{self.origin}/v1"

    @property
    def hall(self) -> Hall:
        return self.gateway.hall

    @property
    def headers(self) -> dict[str, str]:
        """What a request of the customer carries."""
        return {"authorization": f"Bearer {self.key}"}

    def forget(self) -> None:
        """Forget what was learned of the routes, as a reload does."""
        self.hall.means = self.hall.means._replace(seen=Seen(Health(), Paces()))

    # Asking

    def client(self, **options: Any) -> RawClient:
        """A connection of one's own: ``async with gateway.client() as client``."""
        return RawClient(self.host, self.port, timeout=PATIENCE, **options)

    def ask(self, content: str = "Hello", *, model: str = "m", **fields: Any) -> dict[str, Any]:
        """The body of a chat request."""
        return {"model": model, "messages": [{"role": "user", "content": content}], **fields}

    async def begin(self, client: RawClient, **fields: Any) -> None:
        """Send a chat request over that connection."""
        await client.post(CHAT, self.ask(**fields), self.headers)

    async def chat(
        self, content: str = "Hello", *, headers: Mapping[str, str] | None = None, path: str = CHAT, **fields: Any
    ) -> Reply:
        """Ask and read the whole answer; ``fields`` are those of the body."""
        return await self.post(path, self.ask(content, **fields), headers)

    async def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        async with self.client() as client:
            await client.post(path, body, {**self.headers, **(headers or {})})
            return await read_reply(await client.response())

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """``headers`` replace the customer's."""
        async with self.client() as client:
            await client.get(path, self.headers if headers is None else headers)
            return await read_reply(await client.response())

    # The ledger

    async def rows(self, count: int = 1, *, behind: int = 0) -> list[Entry]:
        """All rows in order, once there are ``count``. Fails where there are more, or too few for too long.

        ``behind``: of those only that come behind so many.
        """
        async with asyncio.timeout(PATIENCE):
            while len(found := await self._rows(behind)) < count:  # noqa: ASYNC110 - nobody tells of a row
                await asyncio.sleep(0.005)
        assert len(found) == count, f"{len(found)} rows: {found}"
        return found

    async def row(self) -> Entry:
        """The row of the one request there was."""
        [found] = await self.rows(1)
        return found

    async def counted(self) -> int:
        """How many rows there are."""
        await self.hall.storage.write(lambda _: None)  # behind everything that was queued before
        return await self.hall.storage.read(lambda connection: connection.scalar(select(func.count(ledger.c.id))) or 0)

    async def _rows(self, behind: int = 0) -> list[Entry]:
        storage = self.hall.storage
        await storage.write(lambda _: None)
        return await storage.read(partial(_read_rows, behind=behind))


class Threaded:
    """A `Running` in a thread, for clients that block. Its attributes are the same, its ``row`` and ``rows`` block."""

    def __init__(self, running: Running, loop: asyncio.AbstractEventLoop) -> None:
        self.running = running
        self.loop = loop
        self.key, self.admin_key = running.key, running.admin_key
        self.origin, self.base_url = running.origin, running.base_url
        self.host, self.port, self.hall = running.host, running.port, running.hall
        self.upstreams = running.upstreams

    def rows(self, count: int = 1) -> list[Entry]:
        """See `Running.rows`."""
        return self.run(self.running.rows(count))

    def row(self) -> Entry:
        """See `Running.row`."""
        return self.run(self.running.row())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine in the gateway's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE * 2)


@dataclass(frozen=True)
class Template:
    """A migrated database with an administrator's key and a customer's, and the keys a first start makes."""

    folder: Path
    admin_key: str
    key: str


async def make_template(folder: Path, **tables: Any) -> Template:
    made = settings(folder, {}, **tables)
    storage = open_storage(made.database_url)
    try:
        keys = KeyStore(storage, await load_pepper(storage, made.data_dir, made.auth.pepper))
        first, second = await keys.create_first(), await keys.create(name="customer")
        assert first is not None
    finally:
        await storage.aclose()
    gateway = await open_gateway(made)  # makes the keys that receipts and their log are signed with
    await gateway.aclose()
    return Template(folder, first.key, second.key)


class Serve:
    """Starts gateways; see the module's docstring."""

    def __init__(self, template: Template, folder: Path) -> None:
        self.heeds_lag = False
        """Whether gateways shed load where their event loop is late: a test shares it, and its machine may be busy."""
        self._template = template
        self._folder = folder
        self._started = 0

    @asynccontextmanager
    async def __call__(
        self, providers: Mapping[str, Upstream], models: Models | None = None, *, drain: float = 0.0, **tables: Any
    ) -> AsyncIterator[Running]:
        async with AsyncExitStack() as stack:
            upstreams: dict[str, ScriptedUpstream] = {}
            found = {name: await self._provider(stack, name, it, upstreams) for name, it in providers.items()}
            application = Application(settings(self._copy(), found, models, **tables))
            host, port = await stack.enter_async_context(_listening(application, drain, heeds_lag=self.heeds_lag))
            assert application.gateway is not None
            yield Running(host, port, self._template.key, self._template.admin_key, application.gateway, upstreams)

    async def _provider(
        self, stack: AsyncExitStack, name: str, upstream: Upstream, made: dict[str, ScriptedUpstream]
    ) -> Provider:
        if isinstance(upstream, Provider):
            return upstream
        if not isinstance(upstream, ScriptedUpstream | ThreadedUpstream | str):
            upstream = made[name] = await stack.enter_async_context(ScriptedUpstream(default=upstream))
        return provider(upstream)

    @contextmanager
    def in_thread(
        self, providers: Mapping[str, Upstream], models: Models | None = None, **tables: Any
    ) -> Iterator[Threaded]:
        """The same in a thread of its own."""
        ready: list[Threaded] = []
        told, stop = threading.Event(), asyncio.Event()
        errors: list[BaseException] = []

        async def main() -> None:
            async with self(providers, models, **tables) as running:
                ready.append(Threaded(running, asyncio.get_running_loop()))
                told.set()
                await stop.wait()

        def run() -> None:
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(main())
            except BaseException as error:
                errors.append(error)
            finally:
                told.set()

        thread = threading.Thread(target=run, name="gateway", daemon=True)
        thread.start()
        told.wait()
        try:
            if ready:
                yield ready[0]
        finally:
            if ready and thread.is_alive():
                ready[0].loop.call_soon_threadsafe(stop.set)
            thread.join()
        if errors:
            raise errors[0]

    def _copy(self) -> Path:
        self._started += 1
        return Path(shutil.copytree(self._template.folder, self._folder / f"gateway-{self._started}"))


@asynccontextmanager
async def _listening(application: Application, drain: float, *, heeds_lag: bool) -> AsyncIterator[tuple[str, int]]:
    """Serve on a free port while inside."""
    listening = asyncio.Event()
    hooks = Hooks(
        on_listening=lambda _: listening.set(),
        on_drain=lambda: _drain(application),
        on_beat=lambda lag, memory: _beat(application, lag if heeds_lag else 0.0, memory),
    )
    config = server_config(
        application, "127.0.0.1", 0, EdgeLimits(), on_refusal=lambda code, _: _refused(application, code)
    )
    server = _Server(config, drain_seconds=drain, hooks=hooks)
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(listening.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if not listening.is_set():
            await serving
        yield server.addresses[0]
    finally:
        server.stop()
        await serving


class _Server(EdgeServer):
    """Leaves the signals to the process that runs the tests: to take them and give them back costs as much as a tenth
    of a start."""

    @contextmanager
    def _signals(self) -> Iterator[None]:
        yield


def _beat(application: Application, lag: float, memory: float) -> None:
    if application.gateway is not None:
        application.gateway.hall.load.beat(lag, memory)


def _drain(application: Application) -> None:
    if application.gateway is not None:
        application.gateway.drain()


def _refused(application: Application, code: str) -> None:
    if application.gateway is not None:
        application.gateway.hall.metrics.edge_refusal(code)


def _read_rows(connection: Connection, behind: int) -> list[Entry]:
    wanted = select(ledger).order_by(ledger.c.created_at, ledger.c.id).offset(behind)
    found = connection.execute(wanted).mappings()
    return [msgspec.structs.replace(Entry(**each), outcome=Outcome(each["outcome"])) for each in found]
