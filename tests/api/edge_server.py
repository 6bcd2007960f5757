"""A server behind the edge in a thread of its own, with an application made to be mistreated, and a raw caller."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import uvloop

from sealgate.api.edge import EdgeLimits, server_config
from sealgate.api.edge_peers import NOBODY, Peers
from sealgate.api.edge_tls import Certificate
from sealgate.api.server import EdgeServer, Hooks

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
HOST = b"Host: gate.example\r\n"
PATIENCE = 20.0
"""Seconds after which something that should have happened has not."""


class Application:
    """ASGI. ``journal`` says what became of each request: ``(path, word)``, or the words of a cancelled one."""

    def __init__(self) -> None:
        self.journal: list[tuple[str, ...]] = []
        self.bodies: list[bytes] = []
        self.scopes: list[dict[str, Any]] = []
        self.gate = threading.Event()
        self.lifespan: list[str] = []
        self.shutdown_seconds = 0.0
        self.startup_error: Exception | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.scopes.append(scope)
        path = scope["path"]
        self.journal.append((path, "began"))
        try:
            await getattr(self, "do_" + path.strip("/").split("/")[0].replace("-", "_"), self.do_echo)(
                scope, receive, send
            )
            self.journal.append((path, "ended"))
        except asyncio.CancelledError:
            connection = scope["extensions"]["sealgate.connection"]
            how = connection.lost_how if connection.lost else "shutting_down" if connection.shutting_down else "?"
            self.journal.append((path, "cancelled", how))
            raise

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        if self.startup_error is not None:
            raise self.startup_error
        self.lifespan.append("startup")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.sleep(self.shutdown_seconds)
        self.lifespan.append("shutdown")
        await send({"type": "lifespan.shutdown.complete"})

    async def _read(self, path: str, receive: Any) -> bytes | None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.journal.append((path, "disconnect"))
                return None
            body += message["body"]
            if not message["more_body"]:
                self.bodies.append(body)
                return body

    async def do_echo(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Say what was understood."""
        body = await self._read(scope["path"], receive)
        if body is None:
            return
        said = {key: scope[key] for key in ("method", "path", "http_version", "client", "scheme")}
        said |= {"raw_path": scope["raw_path"].decode(), "query": scope["query_string"].decode()}
        said |= {"headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]}
        said |= {"body": body.decode("latin-1")}
        text = json.dumps(said).encode()
        await _answer(send, text, [(b"content-length", b"%d" % len(text))])

    async def do_early(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Refuse without looking at the body."""
        await _answer(send, b"no", [(b"content-length", b"2")], 401)

    async def do_gate(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Wait for the test before asking for the body."""
        await asyncio.to_thread(self.gate.wait, PATIENCE)
        await self.do_echo(scope, receive, send)

    async def do_gate_early(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await asyncio.to_thread(self.gate.wait, PATIENCE)
        await self.do_early(scope, receive, send)

    async def do_hang(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Read the body, then never answer."""
        if await self._read(scope["path"], receive) is not None:
            await asyncio.Event().wait()

    async def do_deaf(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Never read and never answer."""
        await asyncio.Event().wait()

    async def do_stream(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Events until cancelled; an honest last one when the server shuts down."""
        await _start(send)
        try:
            while True:
                await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            if scope["extensions"]["sealgate.connection"].shutting_down:
                await send({"type": "http.response.body", "body": b"data: shutting down\n\n"})
            raise

    async def do_flood(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """As much as the caller takes."""
        await _start(send)
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})

    async def do_big(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """One answer larger than every buffer."""
        size = int(scope["query_string"] or b"8000000")
        await _answer(send, b"x" * size, [(b"content-length", b"%d" % size)])

    async def do_raise(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        raise ValueError("a secret")

    async def do_raise_late(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await _start(send)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("a secret")

    async def do_raise_between(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await _start(send)
        raise ValueError("a secret")

    async def do_return(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        return

    async def do_short(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await _answer(send, b"half", [(b"content-length", b"8")])

    async def do_too_much(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Go on after the end."""
        await _answer(send, b"whole", [])
        try:
            await send({"type": "http.response.body", "body": b"more", "more_body": True})
        except RuntimeError as error:
            self.journal.append((scope["path"], str(error)))

    async def do_inject(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await _answer(send, b"", [(b"x", b"a\r\nset-cookie: b")])

    async def do_nothing(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await _answer(send, b"", [], 204)

    async def do_watch(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer, then see how ``receive`` ends."""
        await _answer(send, b"ok", [(b"content-length", b"2")])
        self.journal.append((scope["path"], (await receive())["type"]))


async def _start(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})


async def _answer(send: Any, body: bytes, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Served:
    """`EdgeServer` and `Application` in a thread. Use as a context; leaving it drains and joins."""

    def __init__(
        self,
        limits: EdgeLimits,
        *,
        loop: str = "uvloop",
        hosts: frozenset[str] | None = None,
        drain_seconds: float = 0.05,
        certificate: Certificate | None = None,
        peers: Peers = NOBODY,
        application: Application | None = None,
    ) -> None:
        self.app = application or Application()
        self.refusals: list[str] = []
        self.heard: list[str] = []
        self.port = 0
        self.error: BaseException | None = None
        self.certificate = certificate
        self._peers = peers
        self._ready = threading.Event()
        self._loop_factory = LOOPS[loop]
        self._loop: asyncio.AbstractEventLoop
        self._server: EdgeServer
        self._thread = threading.Thread(target=self._run, args=(limits, hosts, drain_seconds), daemon=True)

    def _run(self, limits: EdgeLimits, hosts: frozenset[str] | None, drain_seconds: float) -> None:
        config = server_config(
            self.app,
            "127.0.0.1",
            0,
            limits,
            hosts=hosts,
            on_refusal=lambda code, peer: self.refusals.append(code),
            peers=self._peers,
            tls=self.certificate,
        )
        hooks = Hooks(on_listening=self._listening, on_drain=lambda: self.heard.append("drain"))

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._server = EdgeServer(config, drain_seconds=drain_seconds, hooks=hooks)
            await self._server.serve()

        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(main())
        except BaseException as error:
            self.error = error
        finally:
            self._ready.set()

    def _listening(self, addresses: list[tuple[str, int]]) -> None:
        self.port = addresses[0][1]
        self._ready.set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        assert self.error is None, self.error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.app.gate.set()
        if self._thread.is_alive():
            self.stop()
            self.join()
        assert self.error is None, self.error

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._server.stop)

    def join(self, seconds: float = PATIENCE) -> None:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the server did not end"

    def open_connections(self) -> int:
        return len(self._server.state.connections)

    def running_tasks(self) -> int:
        return len(self._server.state.tasks)

    @contextmanager
    def caller(self, **options: Any) -> Iterator[Caller]:
        caller = Caller(self.port, **options)
        try:
            yield caller
        finally:
            caller.close()

    def ask(self, *pieces: bytes) -> Answer:
        """Send the pieces over a new connection, a moment apart, and read one answer."""
        with self.caller() as caller:
            caller.send(*pieces)
            return caller.answer()

    def requests(self) -> int:
        """How many requests the application has seen, once none is running."""
        assert until(lambda: not self.running_tasks())
        return len(self.app.scopes)

    def saw(self, *words: str) -> bool:
        """Wait until the application's journal has this entry."""
        return until(lambda: words in self.app.journal)


def until(true: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.003)
    return True


class Answer:
    """One response. ``rest`` is the body; ``whole`` whether it ended as its framing says."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, whole: bool) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.whole = whole

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code, after checking that this is an error of the edge, complete in every part."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code", "status"}
        assert error["status"] == self.status
        assert self.headers["content-type"] == "application/json"
        assert self.headers["connection"] == "close"
        assert len(self.headers["x-request-id"]) == 32
        assert "date" in self.headers
        code: str = error["code"]
        return code


_TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_TRUSTING.check_hostname = False
_TRUSTING.verify_mode = ssl.CERT_NONE


class Caller:
    """A socket, and the least of HTTP that is needed to look at answers."""

    def __init__(
        self, port: int, *, receive_buffer: int | None = None, tls: bool = False, seconds: float = PATIENCE
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        try:
            self.socket.connect(("127.0.0.1", port))
            if tls:
                self.socket = _TRUSTING.wrap_socket(self.socket)
        except BaseException:
            self.socket.close()
            raise

    def send(self, *pieces: bytes) -> None:
        for at, piece in enumerate(pieces):
            if at:
                time.sleep(0.01)
            self.socket.sendall(piece)

    def read(self) -> bytes:
        """What comes next; nothing at the end. A reset raises `ConnectionResetError`."""
        return self.socket.recv(65536)

    def rest(self) -> bytes:
        """Everything until the server ends its side."""
        while piece := self.read():
            self.buffer += piece
        buffer, self.buffer = self.buffer, b""
        return buffer

    def until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            piece = self.read()
            assert piece, f"ended before {mark!r}: {self.buffer!r}"
            self.buffer += piece
        before, _, self.buffer = self.buffer.partition(mark)
        return before + mark

    def head(self) -> tuple[int, dict[str, str]]:
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = [line.split(": ", 1) for line in lines[1:-2]]
        assert len({name for name, _ in pairs}) == len(pairs), pairs
        return int(lines[0].split(" ")[1]), dict(pairs)

    def answer(self, method: str = "GET") -> Answer:
        status, headers = self.head()
        if method == "HEAD" or status in (204, 304):
            return Answer(status, headers, b"", True)
        if "content-length" in headers:
            return self._counted(status, headers, int(headers["content-length"]))
        if "transfer-encoding" in headers:
            return self._chunked(status, headers)
        return Answer(status, headers, self.rest(), True)

    def _counted(self, status: int, headers: dict[str, str], length: int) -> Answer:
        while len(self.buffer) < length:
            piece = self.read()
            if not piece:
                return Answer(status, headers, self.buffer, False)
            self.buffer += piece
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Answer(status, headers, body, True)

    def _chunked(self, status: int, headers: dict[str, str]) -> Answer:
        body = b""
        try:
            while size := int(self.until(b"\r\n"), 16):
                while len(self.buffer) < size + 2:
                    piece = self.read()
                    assert piece
                    self.buffer += piece
                body, self.buffer = body + self.buffer[:size], self.buffer[size + 2 :]
            self.until(b"\r\n")
        except AssertionError:
            return Answer(status, headers, body, False)
        return Answer(status, headers, body, True)

    def ended(self) -> str:
        """How the server ends the connection: ``fin`` or ``rst``; whatever still comes is read and dropped."""
        try:
            while self.read():
                pass
        except ConnectionResetError:
            return "rst"
        return "fin"

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


class Wire(asyncio.Transport):
    """A transport that goes nowhere and remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


def get(path: str = "/", *lines: bytes, host: bytes = HOST, version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET %b %b\r\n%b%b\r\n" % (path.encode(), version, host, b"".join(line + b"\r\n" for line in lines))


def post(path: str, body: bytes, *lines: bytes, length: bool = True) -> bytes:
    """A POST with Content-Length, or without and with what ``lines`` say."""
    extra = [b"Content-Length: %d" % len(body)] if length else []
    lines = (*lines, *extra)
    return b"POST %b HTTP/1.1\r\n%b%b\r\n%b" % (path.encode(), HOST, b"".join(line + b"\r\n" for line in lines), body)
