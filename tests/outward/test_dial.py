"""Connecting: the address race, verification, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.dial import dial, verifying_context
from sealgate.outward.head import Origin

pytestmark = pytest.mark.anyio

Serve = Callable[..., Awaitable[Any]]


class Probe(asyncio.Protocol):
    transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return "asyncio", {"use_uvloop": request.param}


async def wait_for_left(peer: Any) -> None:
    await peer.left()


async def test_a_dead_address_does_not_delay_the_living(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an address that refuses in front, the next one is used at once."""
    server = await serve(wait_for_left)
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        ports = (sock.getsockname()[1], server.port)

        async def two(host: Any, *rest: Any, **options: Any) -> Any:
            if host != "two.example":
                return await look_up(host, *rest, **options)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

        monkeypatch.setattr(loop, "getaddrinfo", two)
        probe = Probe()
        await dial(Origin("http", "two.example", 80), lambda: probe, verifying_context(None), 2)
    assert probe.transport.get_extra_info("peername")[1] == server.port
    probe.transport.abort()
    await asyncio.sleep(0)


async def test_small_packets_are_not_held_back(serve: Serve) -> None:
    """TCP_NODELAY is set."""
    server = await serve(wait_for_left)
    probe = Probe()
    await dial(Origin("http", "127.0.0.1", server.port), lambda: probe, verifying_context(None), 2)
    sock = probe.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    probe.transport.abort()
    await asyncio.sleep(0)


async def test_an_impossible_name_is_unreachable() -> None:
    """A name that no resolver can take is an answer, not a crash."""
    with pytest.raises(UpstreamError) as caught:
        await dial(Origin("http", "a" * 70 + ".example", 80), Probe, verifying_context(None), 2)
    assert caught.value.failure is Failure.UNREACHABLE


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are counted in /proc")
async def test_cancelled_handshakes_leave_no_descriptor(serve: Serve) -> None:
    """Fifty cancelled TLS handshakes, at different moments, leave no socket open."""
    server = await serve(wait_for_left)
    context = verifying_context(None)
    origin = Origin("https", "127.0.0.1", server.port)
    before = len(os.listdir("/proc/self/fd"))
    for turn in range(50):
        task = asyncio.create_task(dial(origin, Probe, context, 20))
        for _ in range(turn % 25):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(20):
        while len(os.listdir("/proc/self/fd")) > before + 1:  # noqa: ASYNC110 - the server's end goes later
            await asyncio.sleep(0.005)


async def test_only_verifying_contexts_are_taken() -> None:
    """The default verifies; a context that does not check chain or name is refused."""
    context = verifying_context(None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert verifying_context(context) is context
    nameless = ssl.create_default_context()
    nameless.check_hostname = False
    with pytest.raises(ValueError, match="verified"):
        verifying_context(nameless)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
async def test_rows_e4_f4_a_provider_that_vanishes_is_noticed_by_the_system_too(serve: Serve) -> None:
    """What it never acknowledges breaks the connection after ten seconds, and an idle connection is probed."""
    server = await serve(wait_for_left)
    probe = Probe()
    await dial(Origin("http", "127.0.0.1", server.port), lambda: probe, verifying_context(None), 2)
    sock = probe.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    probe.transport.abort()
    await asyncio.sleep(0)


async def test_i8_without_a_descriptor_left_nobody_else_is_blamed(serve: Serve) -> None:
    """Failing for want of our own descriptors is a full pool, which says nothing about the provider."""
    server = await serve(wait_for_left)
    lowest, limits = os.dup(0), resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with pytest.raises(UpstreamError) as caught:
            await dial(Origin("http", "127.0.0.1", server.port), asyncio.Protocol, verifying_context(None), 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.failure is Failure.POOL
