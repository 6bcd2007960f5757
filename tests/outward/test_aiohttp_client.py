"""What the aiohttp implementation is for: requests through an HTTP proxy."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.aiohttp_client import AiohttpClient
from sealgate.outward.client import Limits

pytestmark = pytest.mark.anyio

LIMITS = Limits(20, 20)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[..., Awaitable[Any]]


@pytest.fixture
async def make(usual_trust: Any) -> AsyncIterator[Callable[..., AiohttpClient]]:
    clients: list[AiohttpClient] = []

    def build(**options: Any) -> AiohttpClient:
        clients.append(AiohttpClient(**{"ssl_context": usual_trust, **options}))
        return clients[-1]

    yield build
    for client in clients:
        await client.aclose()


async def answering(peer: Any) -> None:
    while True:
        await peer.request()
        await peer.send(ANSWER)


async def fetch(client: AiohttpClient, request: Any) -> bytes:
    response = await client.send(request, LIMITS)
    body = await response.read()
    assert await response.read() == b""
    return body


def tunnel(port: int, seen: list[bytes]) -> Callable[[Any], Awaitable[None]]:
    """A CONNECT proxy to one port of this machine."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def script(peer: Any) -> None:
        seen.append(await peer.reader.readuntil(b"\r\n\r\n"))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer), return_exceptions=True)
        finally:
            writer.close()

    return script


async def test_plain_requests_go_to_the_proxy_whole(make: Any, serve: Serve) -> None:
    """With http the proxy gets the absolute URL and the credentials of its own URL."""
    seen: list[bytes] = []

    async def script(peer: Any) -> None:
        seen.append(await peer.request())
        await peer.send(ANSWER)
        await peer.left()

    proxy = await serve(script)
    server = await serve(answering)
    client = make(proxy=f"http://user:pass@127.0.0.1:{proxy.port}")
    assert await fetch(client, server.request()) == b"ok"
    assert seen[0].startswith(b"POST " + server.url().encode() + b" HTTP/1.1\r\n")
    assert b"\r\nProxy-Authorization: Basic " + base64.b64encode(b"user:pass") in seen[0]
    assert server.peers == []


async def test_tls_goes_through_a_tunnel_and_is_verified_at_its_end(make: Any, serve: Serve, certificates: Any) -> None:
    """With https the proxy only sees CONNECT; certificate and name are the upstream's; the tunnel is kept."""
    server = await serve(answering, host="localhost", context=certificates.server(certificates.localhost))
    seen: list[bytes] = []
    proxy = await serve(tunnel(server.port, seen))
    client = make(proxy=f"http://127.0.0.1:{proxy.port}", ssl_context=certificates.trusting())
    for _ in range(2):
        assert await fetch(client, server.request(headers={"authorization": "Bearer secret"})) == b"ok"
    assert len(seen) == 1
    assert seen[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % server.port)
    assert b"secret" not in seen[0]


async def test_a_wrong_certificate_behind_the_proxy_is_refused(make: Any, serve: Serve, certificates: Any) -> None:
    """A proxy cannot stand in for the upstream."""
    server = await serve(answering, host="localhost", context=certificates.server(certificates.other))
    proxy = await serve(tunnel(server.port, []))
    client = make(proxy=f"http://127.0.0.1:{proxy.port}", ssl_context=certificates.trusting())
    with pytest.raises(UpstreamError) as caught:
        await client.send(server.request(), LIMITS)
    assert caught.value.failure is Failure.TLS


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", b""])
async def test_a_proxy_that_refuses_makes_the_upstream_unreachable(
    make: Any, serve: Serve, certificates: Any, answer: bytes
) -> None:
    """407 to CONNECT, or no answer at all."""

    async def script(peer: Any) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        if answer:
            await peer.send(answer)

    proxy = await serve(script)
    server = await serve(answering, host="localhost", context=certificates.server(certificates.localhost))
    client = make(proxy=f"http://127.0.0.1:{proxy.port}", ssl_context=certificates.trusting())
    with pytest.raises(UpstreamError) as caught:
        await client.send(server.request(), LIMITS)
    assert caught.value.failure in (Failure.UNREACHABLE, Failure.RESET)
    assert server.peers == []


async def test_a_proxy_that_is_not_there(make: Any, serve: Serve) -> None:
    """A refused proxy is unreachable, and the upstream is not asked directly."""
    server = await serve(answering)
    with pytest.raises(UpstreamError) as caught:
        await make(proxy="http://127.0.0.1:1").send(server.request(), LIMITS)
    assert caught.value.failure is Failure.UNREACHABLE
    assert server.peers == []
