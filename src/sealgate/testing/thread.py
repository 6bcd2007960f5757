"""A scripted upstream in a thread of its own, for tests that have no event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sealgate.testing.received import Received
from sealgate.testing.script import Behaviour

if TYPE_CHECKING:
    from sealgate.testing.upstream import Handler, ScriptedUpstream

T = TypeVar("T")


class ThreadedUpstream:
    """`ScriptedUpstream` for plain code: the same names, and its waits block.

    Handlers and scripts run in the upstream's thread. To hold one until the test says go, use
    ``WaitFor(threading.Event())``.
    """

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.upstream = upstream
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scripted-upstream", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._error is not None and exc is None:
            raise self._error

    @property
    def host(self) -> str:
        return self.upstream.host

    @property
    def port(self) -> int:
        return self.upstream.port

    @property
    def origin(self) -> str:
        return self.upstream.origin

    @property
    def base_url(self) -> str:
        return self.upstream.base_url

    @property
    def requests(self) -> list[Received]:
        return self.upstream.requests

    @property
    def accepted(self) -> int:
        return self.upstream.accepted

    @property
    def open_connections(self) -> int:
        return self.upstream.open_connections

    @property
    def handler(self) -> Handler | None:
        return self.upstream.handler

    @handler.setter
    def handler(self, handler: Handler | None) -> None:
        self.upstream.handler = handler

    def enqueue(self, *behaviours: Behaviour) -> None:
        """See `ScriptedUpstream.enqueue`."""
        self.upstream.enqueue(*behaviours)

    def on_model(self, name: str, behaviour: Behaviour) -> None:
        """See `ScriptedUpstream.on_model`."""
        self.upstream.on_model(name, behaviour)

    def wait_for_requests(self, count: int = 1, timeout: float = 20.0) -> list[Received]:
        """See `ScriptedUpstream.wait_for_requests`; blocks."""
        return self._wait(self.upstream.wait_for_requests(count, timeout))

    def wait_peer_left(self, index: int = -1, timeout: float = 20.0) -> Received:
        """See `ScriptedUpstream.wait_peer_left`; blocks."""
        return self._wait(self.upstream.wait_peer_left(index, timeout))

    def _wait(self, waiting: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(waiting, self._loop).result()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # told to the thread that owns this one
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self.upstream:
            self._ready.set()
            await self._stop.wait()
