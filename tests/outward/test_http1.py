"""What our own client does beyond the contract: its books are right, and its memory is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Limits, Request
from sealgate.outward.http1 import Http1Client

pytestmark = pytest.mark.anyio

LIMITS = Limits(20, 20)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Serve = Callable[..., Awaitable[Any]]


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def client(usual_trust: Any) -> AsyncIterator[Http1Client]:
    client = Http1Client(ssl_context=usual_trust, max_connections=3)
    yield client
    await client.aclose()


async def answering(peer: Any) -> None:
    while True:
        await peer.request()
        await peer.send(ANSWER[:30], ANSWER[30:])


async def fetch(client: Http1Client, request: Request) -> bytes:
    response = await client.send(request, LIMITS)
    parts = []
    try:
        while part := await response.read():
            parts.append(part)
    finally:
        response.close()
    return b"".join(parts)


def places(client: Http1Client) -> int:
    return sum(pool.places for pool in client._pools.values())


async def test_the_books_are_right_after_cancels_at_every_step(client: Http1Client, serve: Serve) -> None:
    """After each cancel, at whatever step, the places counted are the connections that live."""
    server = await serve(answering)
    for turn in range(60):
        task = asyncio.create_task(fetch(client, server.request()))
        for _ in range(turn % 30):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert places(client) == len([each for each in client._live if each.alive]) <= 1


async def test_a_connection_that_died_between_promise_and_use_is_replaced(client: Http1Client, serve: Serve) -> None:
    """Handed over from the queue and lost in the same turn: a new connection, unseen by the caller."""
    server = await serve(answering)
    held = [await client.send(server.request(), LIMITS) for _ in range(3)]
    waiting = asyncio.create_task(fetch(client, server.request()))
    await asyncio.sleep(0)
    connection = held[0].connection
    assert connection is not None
    while await held[0].read():
        pass
    connection.close()
    assert await waiting == b"ok"
    for response in held:
        response.close()
    assert places(client) == 1


async def test_remembered_urls_are_bounded(client: Http1Client, serve: Serve) -> None:
    """A model name in the path does not fill the memory; the pool of the origin stays."""
    server = await serve(answering)
    for number in range(1100):
        client._route(server.url(f"/{number}"))
    assert len(client._routes) <= 1024
    assert await fetch(client, server.request()) == b"ok"
    assert len(client._pools) == 1


async def test_a_closed_client_sends_nothing(client: Http1Client, serve: Serve) -> None:
    """After aclose a request fails, and no connection stays."""
    server = await serve(answering)
    assert await fetch(client, server.request()) == b"ok"
    await client.aclose()
    with pytest.raises(UpstreamError) as caught:
        await fetch(client, server.request())
    assert caught.value.failure is Failure.UNREACHABLE
    assert places(client) == 0
    assert not client._live


async def test_close_while_connecting(client: Http1Client, serve: Serve) -> None:
    """A connection that is ready only after aclose is closed, not used."""
    server = await serve(answering)
    task = asyncio.create_task(fetch(client, server.request()))
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(UpstreamError):
        await task
    assert places(client) == 0


async def test_origins_do_not_share_connections(client: Http1Client, serve: Serve) -> None:
    """Each scheme, host and port has its own connections and its own limit."""
    first, second = await serve(answering), await serve(answering)
    for server in (first, second, first, second):
        assert await fetch(client, server.request()) == b"ok"
    assert (len(first.peers), len(second.peers)) == (1, 1)
