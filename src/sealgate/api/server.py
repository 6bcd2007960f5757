"""Run the application behind the edge: listen, obey signals, drain, and end with the application's own shutdown.

Uvicorn's graceful limit skips the lifespan's shutdown and its signal handling ends the process by the signal, so
neither is used: of Uvicorn this takes the settings and the protocol.

On SIGTERM or SIGINT (row I1): ``on_drain`` is called, the sockets close, running requests may finish for
``drain_seconds``; then their tasks are cancelled with ``Connection.shutting_down`` set, which leaves them `LAST_WORDS`
seconds to end their streams honestly; then the lifespan shuts down. A second signal (I2) goes there at once, and leaves
the lifespan `LAST_WORDS` seconds; where that does not do, `run` ends the process without it, with exit code 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from operator import itemgetter
from typing import Any

import structlog
import uvicorn
from uvicorn.server import ServerState

from sealgate.api.edge_connection import EdgeConnection
from sealgate.api.edge_cycle import App, Message
from sealgate.api.listeners import Listeners, raise_limit
from sealgate.api.pulse import OnBeat, Pulse
from sealgate.telemetry import logs

__all__ = ["EdgeServer", "Hooks", "run", "serve"]

LAST_WORDS = 2.0
HURRIED_WORDS = 0.25
"""Seconds for cancelled requests to end: after the drain, and after a second signal."""

POLL = 0.02

CUT_MEMORY = 0.92
"""Share of memory above which callers that do not read lose their connection, the largest buffer first (row D7)."""
CUT_SECONDS = 1.0
"""How long they must not have read, and how often memory is made that way."""


def _nothing() -> None: ...


def _unheard(addresses: list[tuple[str, int]]) -> None: ...


def _unfelt(lag: float, memory: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the application wants to hear of, in the event loop; none may block.

    ``on_listening`` gets the bound addresses, ``on_drain`` says to turn readiness off, ``on_reload`` is SIGHUP.
    ``on_beat`` gets the event loop's lag in seconds and the share of memory in use, ten times a second.
    """

    on_listening: Callable[[list[tuple[str, int]]], None] = _unheard
    on_drain: Callable[[], None] = _nothing
    on_reload: Callable[[], None] = _nothing
    on_beat: OnBeat = _unfelt


class EdgeServer:
    """One listening server in the running loop. `stop` does what the signals do."""

    def __init__(self, config: uvicorn.Config, *, drain_seconds: float = 120, hooks: Hooks | None = None) -> None:
        self.config = config
        self.drain_seconds = drain_seconds
        self.hooks = hooks or Hooks()
        self.state = ServerState()
        self.addresses: list[tuple[str, int]] = []
        self._draining = asyncio.Event()
        self._hurried = asyncio.Event()
        self._listeners: Listeners | None = None
        self._pulse = Pulse(self._beat)
        self._cut_next = 0.0
        self._cut = False
        protocol = config.http
        assert isinstance(protocol, type)
        assert issubclass(protocol, EdgeConnection), "the configuration is not the edge's"
        self._protocol = protocol

    def stop(self) -> None:
        """Drain; called again: end now."""
        if self._draining.is_set():
            self._hurried.set()
        else:
            self._draining.set()
            self._hook(self.hooks.on_drain)

    async def serve(self) -> bool:
        """Run until stopped; False where the application had no time to end.

        Raises OSError, naming the address, where it cannot listen; and what the application's startup raised.
        """
        if not self.config.loaded:
            self.config.load()
        sockets = _bind(self.config.host, self.config.port)
        lifespan = _Lifespan(self.config.loaded_app)
        clock = asyncio.ensure_future(self._keep_date())
        try:
            with self._signals():
                if await self._unless(self._draining, lifespan.startup()):
                    try:
                        await self._listen(sockets, lifespan.state)
                        await self._draining.wait()
                        await self._drain()
                    finally:
                        await self._end(lifespan)
        finally:
            clock.cancel()
            await lifespan.abandon()
            for sock in sockets:
                sock.close()
        return not self._cut

    async def _listen(self, sockets: list[socket.socket], app_state: dict[str, Any]) -> None:
        config, protocol = self.config, self._protocol

        def connect() -> EdgeConnection:
            return protocol(config=config, server_state=self.state, app_state=app_state)

        tls: dict[str, Any] = {}
        if config.ssl is not None:
            seconds = protocol.shared.limits.handshake_seconds
            tls = {"ssl": config.ssl, "ssl_handshake_timeout": seconds, "ssl_shutdown_timeout": seconds}
        self._listeners = Listeners(sockets, connect, self._count, backlog=config.backlog, **tls)
        try:
            await self._listeners.open()
        except OSError as error:
            raise _cannot_listen(sockets[0].getsockname(), error) from error
        self.addresses += [sock.getsockname()[:2] for sock in sockets]
        self._hook(lambda: self.hooks.on_listening(self.addresses))
        self._pulse.start()

    def _beat(self, lag: float, memory: float) -> None:
        self._hook(lambda: self.hooks.on_beat(lag, memory))
        if memory > CUT_MEMORY:
            self._cut_stalled()
        if self._listeners is not None and self._listeners.paused:
            self._let_go()
            self._listeners.look()

    def _cut_stalled(self) -> None:
        """Make memory: cut callers that do not read until what waits for them makes up for what is too much."""
        now = asyncio.get_running_loop().time()
        if now < self._cut_next:
            return
        self._cut_next = now + CUT_SECONDS
        stalled = [(connection.stalled(CUT_SECONDS), connection) for connection in self._connections()]
        excess = self._pulse.excess(CUT_MEMORY)
        for waiting, connection in sorted(stalled, key=itemgetter(0), reverse=True):
            if not waiting or excess <= 0:
                break
            excess -= waiting
            connection.cut()

    def _let_go(self) -> None:
        """While descriptors are short, none is kept for a caller that may or may not ask again."""
        for connection in self._connections():
            if connection.resting:
                connection.shutdown()

    async def _drain(self) -> None:
        """Stop accepting, let running requests finish, then make them."""
        self._stop_accepting()
        for connection in self._connections():
            connection.shutdown()
        await self._until_quiet(self.drain_seconds, hurry=True)
        for connection in self._connections():
            connection.end_now()
        await self._until_quiet(HURRIED_WORDS if self._hurried.is_set() else LAST_WORDS, hurry=False)

    async def _end(self, lifespan: _Lifespan) -> None:
        self._pulse.stop()
        self._stop_accepting()
        for connection in self._connections():
            connection.transport.abort()
        for task in list(self.state.tasks):
            task.cancel()
        await asyncio.sleep(0)  # each hears of it before the application's own end
        await self._shut_down(lifespan)

    async def _shut_down(self, lifespan: _Lifespan) -> None:
        """The lifespan may take its time until a second signal comes, and then `LAST_WORDS` more."""
        ending = asyncio.ensure_future(lifespan.shutdown())
        if not await self._unless(self._hurried, ending):
            _, late = await asyncio.wait([ending], timeout=LAST_WORDS)
            if late:
                self._cut = True
                structlog.get_logger().error("shutdown_cut", seconds=LAST_WORDS)
                ending.cancel()
                return
        ending.result()

    def _stop_accepting(self) -> None:
        if self._listeners is not None:
            self._listeners.close()

    def _connections(self) -> list[EdgeConnection]:
        known: set[Any] = {*self.state.connections, *self._protocol.shared.overflow}
        return list(known)

    def _count(self) -> int:
        return len(self.state.connections) + len(self._protocol.shared.overflow)

    async def _until_quiet(self, seconds: float, *, hurry: bool) -> None:
        """Wait until no request runs and nothing waits to be sent, at most ``seconds``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self.state.tasks or any(connection.busy for connection in self._connections()):
            if loop.time() >= end or (hurry and self._hurried.is_set()):
                return
            await asyncio.sleep(POLL)

    async def _unless(self, event: asyncio.Event, work: asyncio.Future[None]) -> bool:
        """Await ``work``; False where the event came first, which leaves it running."""
        other: asyncio.Future[Any] = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait([work, other], return_when=asyncio.FIRST_COMPLETED)
        finally:
            other.cancel()
        if not work.done():
            return False
        work.result()
        return True

    async def _keep_date(self) -> None:
        """A new list each second: the edge renders it once for as long as it is the same one."""
        while True:
            date = [(b"date", formatdate(usegmt=True).encode())] if self.config.date_header else []
            self.state.default_headers = date + self.config.encoded_headers
            await asyncio.sleep(1)

    def _hook(self, hook: Callable[[], None]) -> None:
        try:
            hook()
        except Exception as error:
            structlog.get_logger().error("hook_failed", error=type(error).__name__, trace=logs.where(error))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP while inside, and then as before; only the main thread can have them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before: dict[int, Any] = {}
        wanted = {"SIGTERM": self.stop, "SIGINT": self.stop, "SIGHUP": lambda: self._hook(self.hooks.on_reload)}
        for name, action in wanted.items():
            with contextlib.suppress(AttributeError, NotImplementedError):  # not on every system
                number = getattr(signal, name)
                handler = signal.getsignal(number)
                loop.add_signal_handler(number, action)
                before[number] = handler
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler or signal.SIG_DFL)


class _Lifespan:
    """ASGI's lifespan, whose failures are raised as they are."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def startup(self) -> asyncio.Future[None]:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._task = asyncio.ensure_future(self._run(scope))
        return asyncio.ensure_future(self._say("lifespan.startup"))

    async def shutdown(self) -> None:
        if self._task is not None and not self._task.done():
            await self._say("lifespan.shutdown")

    async def abandon(self) -> None:
        """Cancel what is left of the application's lifespan."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=LAST_WORDS)

    async def _run(self, scope: dict[str, Any]) -> None:
        await self._app(scope, self._inbox.get, self._outbox.put)

    async def _say(self, word: str) -> None:
        """Send one message and wait for its answer, or for the application's failure, which is raised."""
        assert self._task is not None
        await self._inbox.put({"type": word})
        answer = asyncio.ensure_future(self._outbox.get())
        either: list[asyncio.Future[Any]] = [answer, self._task]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and answer.result()["type"] == f"{word}.complete":
            return
        if answer.done():  # a failure is announced before it is raised
            await asyncio.wait([self._task], timeout=LAST_WORDS)
        answer.cancel()
        if self._task.done():
            self._task.result()
        raise RuntimeError(f"the application did not answer {word}")


def _bind(host: str, port: int) -> list[socket.socket]:
    """A bound socket for each address of ``host``. Raises OSError, naming the address."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise _cannot_listen((host, port), error) from error
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            if port == 0 and sockets:  # one free port for all of them
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            sockets.append(_bound(family, kind, protocol, address))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bound(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _cannot_listen(address, error) from error
    return sock


def _cannot_listen(address: Any, error: OSError) -> OSError:
    host = f"[{address[0]}]" if ":" in str(address[0]) else address[0]
    reason = (error.strerror or str(error)).lower()
    return OSError(error.errno, f"cannot listen on {host}:{address[1]}: {reason}")


async def serve(config: uvicorn.Config, *, drain_seconds: float = 120, hooks: Hooks | None = None) -> bool:
    """Serve in the running loop until a signal. See `EdgeServer.serve`."""
    return await EdgeServer(config, drain_seconds=drain_seconds, hooks=hooks).serve()


def run(config: uvicorn.Config, *, drain_seconds: float = 120, hooks: Hooks | None = None) -> None:
    """Serve in a new loop until a signal; returns when the shutdown is complete, and ends the process if it cannot be.

    A thread of the application that is stuck, in a write to the database say, would hold up any other way out.
    """
    raise_limit()
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        if not runner.run(serve(config, drain_seconds=drain_seconds, hooks=hooks)):
            os._exit(1)
