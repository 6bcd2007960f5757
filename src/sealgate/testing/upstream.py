"""A provider that does exactly what a test tells it to: raw TCP on loopback, one script for each request.

::

    async with ScriptedUpstream() as upstream:
        upstream.enqueue(error(503), answer("Hello"))     # the next two requests
        upstream.on_model("broken", cut_after(2))         # every request for this model
        client = AsyncOpenAI(base_url=upstream.base_url, api_key="test")
        ...
        assert upstream.requests[0].json["model"] == "gpt-5"
        left = await upstream.wait_peer_left(1)           # how and when the client went away

No HTTP library stands between the script and the socket, so that it can send what none of them would.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeAlias

from sealgate.testing.connection import Connection
from sealgate.testing.openai_wire import GOOD
from sealgate.testing.received import Received
from sealgate.testing.refusals import error
from sealgate.testing.script import Behaviour, Script, json_answer, resolve
from sealgate.testing.thread import ThreadedUpstream

Handler: TypeAlias = Callable[[Received], Behaviour | None]
"""Looks at a request and says what to do; None leaves it to the default."""

OPERATIONS = ("/chat/completions", "/embeddings", "/audio/transcriptions", "/audio/translations")


class ScriptedUpstream:
    """A server on 127.0.0.1 that plays a script for each request and remembers everything.

    Which one, in this order: the next of those given to `enqueue`; the one given to `on_model` for the model in the
    body; what ``handler`` says; else ``default`` where something is asked of a model, a list of models on
    ``GET /models`` (which never uses up a queued script), and 404 anywhere else.

    ``close_after_idle`` closes a kept connection after so many seconds without a request. ``tls`` makes it an
    https server. It runs on the loop it is entered in; see `in_thread` for tests without one. If a handler or a
    script raised, so does leaving the ``async with`` block.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        default: Behaviour = GOOD,
        handler: Handler | None = None,
        models: Iterable[str] = ("test-model",),
        close_after_idle: float | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.default = default
        self.handler = handler
        self.models = list(models)
        """Names listed by ``GET /v1/models``; `on_model` adds to them."""
        self.requests: list[Received] = []
        """Every request, in the order they were complete."""
        self.malformed: list[str] = []
        """Why bytes that came were refused as not being HTTP."""
        self.accepted = 0
        """TCP connections accepted so far."""
        self.host = "127.0.0.1"
        self.port = port
        self._idle = close_after_idle
        self._tls = tls
        self._queue: deque[Behaviour] = deque()
        self._by_model: dict[str, Behaviour] = {}
        self._open: set[Connection] = set()
        self._errors: list[Exception] = []
        self._changes: set[asyncio.Future[None]] = set()

    @classmethod
    def in_thread(cls, **options: Any) -> ThreadedUpstream:
        """The same in a thread, for tests without a loop: ``with ScriptedUpstream.in_thread() as upstream:``."""
        return ThreadedUpstream(cls(**options))

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self, self._idle), self.host, self.port, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        tasks = [connection.task for connection in self._open]
        for connection in list(self._open):
            connection.drop()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._until(lambda: not self._open, None)
        if self._errors and exc is None:
            raise self._errors[0]

    # Where it is

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its ``base_url``."""
        return f"{self.origin}/v1"

    @property
    def open_connections(self) -> int:
        """TCP connections open now."""
        return len(self._open)

    # What it will do

    def enqueue(self, *behaviours: Behaviour) -> None:
        """Play these for the next requests, one each, whatever they ask for."""
        self._queue.extend(behaviours)

    def on_model(self, name: str, behaviour: Behaviour) -> None:
        """Play this for every request whose JSON body names that model, and list the model."""
        self._by_model[name] = behaviour
        if name not in self.models:
            self.models.append(name)

    # What it saw

    async def wait_for_requests(self, count: int = 1, timeout: float = 20.0) -> list[Received]:
        """Wait until at least ``count`` requests have come in all; the answer is all of them.

        Raises `TimeoutError`, saying how many came.
        """
        try:
            await self._until(lambda: len(self.requests) >= count, timeout)
        except TimeoutError:
            raise TimeoutError(f"{len(self.requests)} of {count} requests came in {timeout} s") from None
        return self.requests

    async def wait_peer_left(self, index: int = -1, timeout: float = 20.0) -> Received:
        """Wait until the sender of ``requests[index]`` has left its connection.

        Raises `TimeoutError`; also when the upstream itself ended the connection, because then nobody left it.
        """
        try:
            await self._until(
                lambda: (
                    -len(self.requests) <= index < len(self.requests) and self.requests[index].peer_left_at is not None
                ),
                timeout,
            )
        except TimeoutError:
            raise TimeoutError(f"the peer of request {index} did not leave in {timeout} s") from None
        return self.requests[index]

    async def _until(self, holds: Callable[[], bool], timeout: float | None) -> None:
        async with asyncio.timeout(timeout):
            while not holds():
                change = asyncio.get_running_loop().create_future()
                self._changes.add(change)
                try:
                    await change
                finally:
                    self._changes.discard(change)

    # What its connections tell it

    def opened(self, connection: Connection) -> int:
        self._open.add(connection)
        self.accepted += 1
        return self.accepted

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        self.changed()

    def received(self, request: Received) -> None:
        self.requests.append(request)
        self.changed()

    def changed(self) -> None:
        for change in self._changes:
            if not change.done():
                change.set_result(None)

    def failed(self, error: Exception) -> None:
        self._errors.append(error)

    def refused(self, reason: str) -> None:
        self.malformed.append(reason)
        self.changed()

    def script_for(self, request: Received) -> Script:
        return resolve(self._choose(request), request)

    def _choose(self, request: Received) -> Behaviour:
        path = request.path.partition("?")[0]
        lists = request.method == "GET" and path.endswith("/models")
        if self._queue and not lists:
            return self._queue.popleft()
        if request.model in self._by_model:
            return self._by_model[request.model]
        if self.handler is not None and (chosen := self.handler(request)) is not None:
            return chosen
        if lists:
            return json_answer(self._list_models())
        if path.endswith(OPERATIONS):
            return self.default
        return error(404, "unknown_url", f"Unknown request URL: {request.method} {path}.")

    def _list_models(self) -> dict[str, Any]:
        entries = [{"id": name, "object": "model", "created": 0, "owned_by": "sealgate"} for name in self.models]
        return {"object": "list", "data": entries}
