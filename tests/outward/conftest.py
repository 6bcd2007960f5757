"""A raw TCP upstream that obeys a script per connection, certificates for it, and the clients under test."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sealgate.outward.aiohttp_client import AiohttpClient
from sealgate.outward.client import Client, Request
from sealgate.outward.http1 import Http1Client


class Peer:
    """One accepted connection, seen from the upstream."""

    def __init__(self, index: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.index = index
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next whole request, head and body; asyncio.IncompleteReadError if the client leaves."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head + (await self.reader.readexactly(int(length[0].split(b":")[1])) if length else b"")

    async def send(self, *pieces: bytes) -> None:
        """Each piece in a packet of its own, as far as the loop and the kernel let us."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            if len(pieces) > 1:
                await asyncio.sleep(0)

    def fin(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def left(self) -> None:
        """Wait until the client has closed, cleanly or not."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Peer], Awaitable[None]]


class Server:
    """A listening raw upstream; ``requests`` and ``peers`` are what it has seen so far."""

    def __init__(self, script: Script, scheme: str, host: str) -> None:
        self.script = script
        self.scheme = scheme
        self.host = host
        self.port = 0
        self.peers: list[Peer] = []
        self.requests: list[bytes] = []
        self.errors: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, bind: str, context: ssl.SSLContext | None) -> None:
        self._server = await asyncio.start_server(self._accept, bind, 0, ssl=context, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(len(self.peers), reader, writer)
        self.peers.append(peer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.script(peer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            if "the handler is closed" not in str(error):  # uvloop's word for a connection that has gone
                self.errors.append(error)
        finally:
            writer.transport.abort() if peer.reader.at_eof() else writer.close()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), 0.5)

    def url(self, path: str = "/v1/chat") -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{path}"

    def request(
        self, body: bytes = b'{"a":1}', headers: Mapping[str, str] | None = None, path: str = "/v1/chat"
    ) -> Request:
        return Request("POST", self.url(path), headers or {"content-type": "application/json"}, body)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not self.errors, self.errors


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Server]]]:
    """``await serve(script, host="127.0.0.1", bind="127.0.0.1", context=None)`` gives a running `Server`."""
    servers: list[Server] = []

    async def start(
        script: Script, host: str = "127.0.0.1", bind: str = "127.0.0.1", context: ssl.SSLContext | None = None
    ) -> Server:
        server = Server(script, "https" if context else "http", host)
        await server.start(bind, context)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


IMPLEMENTATIONS: dict[str, tuple[Callable[..., Client], bool]] = {
    "http1": (Http1Client, False),
    "http1-uvloop": (Http1Client, True),
    "aiohttp": (AiohttpClient, False),
}


@pytest.fixture(params=list(IMPLEMENTATIONS))
def implementation(request: pytest.FixtureRequest) -> str:
    """Which client, on which loop. Where aiohttp cannot meet a row it must fail it, so that the list stays true."""
    name: str = request.param
    for mark in request.node.iter_markers("aiohttp_differs"):
        if name == "aiohttp":
            request.node.add_marker(pytest.mark.xfail(reason=mark.args[0], strict=True))
    return name


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if "implementation" in request.fixturenames:
        return "asyncio", {"use_uvloop": IMPLEMENTATIONS[request.getfixturevalue("implementation")][1]}
    return "asyncio"


@pytest.fixture(scope="session")
def usual_trust() -> ssl.SSLContext:
    """The system's authorities, read once: that takes longer than most of these tests."""
    return ssl.create_default_context()


@pytest.fixture
async def make(implementation: str, usual_trust: ssl.SSLContext) -> AsyncIterator[Callable[..., Client]]:
    """Makes clients of the implementation under test and closes them."""
    clients: list[Client] = []

    def build(**options: Any) -> Client:
        options.setdefault("ssl_context", usual_trust)
        client = IMPLEMENTATIONS[implementation][0](**options)
        clients.append(client)
        return client

    yield build
    for client in clients:
        await client.aclose()


@pytest.fixture
def client(make: Callable[..., Client]) -> Client:
    return make()


@dataclass(frozen=True)
class Certificates:
    """PEM files of a throw-away authority: good for ``localhost``, for another name, out of date, and a client's."""

    authority: Path
    localhost: Path
    other: Path
    expired: Path
    person: Path

    def server(self, which: Path) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(which)
        return context

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    binary = shutil.which("openssl")
    if binary is None:
        pytest.skip("the openssl program is needed to make certificates")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run([binary, *words], check=True, capture_output=True, cwd=folder)

    def issue(name: str, subject: str, days: list[str]) -> Path:
        openssl(*["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"], f"{name}.key")
        openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/CN={name}", "-out", f"{name}.csr")
        (folder / f"{name}.ext").write_text(f"subjectAltName={subject}\nauthorityKeyIdentifier=keyid\n")
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-extfile", f"{name}.ext", "-out", f"{name}.crt", *days),
        )
        both = folder / f"{name}.pem"
        both.write_bytes((folder / f"{name}.crt").read_bytes() + (folder / f"{name}.key").read_bytes())
        return both

    openssl(*["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "ca.key"])
    # Python 3.13 and newer ask for what RFC 5280 does: what an authority's key is for, and whose signature it is.
    openssl(
        *["req", "-x509", "-new", "-key", "ca.key", "-days", "2", "-subj", "/CN=authority", "-out", "ca.pem"],
        *["-addext", "keyUsage=critical,keyCertSign,cRLSign"],
    )
    week = ["-days", "2"]
    return Certificates(
        authority=folder / "ca.pem",
        localhost=issue("localhost", "DNS:localhost,IP:127.0.0.1", week),
        other=issue("other", "DNS:other.example", week),
        expired=issue("expired", "DNS:localhost,IP:127.0.0.1", ["-days", "-1"]),
        person=issue("person", "DNS:person.example", week),
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "aiohttp_differs(reason): a row of the contract that aiohttp cannot meet")
