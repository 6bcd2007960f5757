"""The toxic proxy: each harm it does, and that it does no other."""

import asyncio

import pytest

from sealgate.testing import (
    LAST_CHUNK,
    Hang,
    RawClient,
    ScriptedUpstream,
    Send,
    Sleep,
    ToxicProxy,
    Toxics,
    answer,
    chunk,
    head,
    refusing,
    reset,
    run,
)

pytestmark = pytest.mark.anyio

BODY = bytes(range(256)) * 40
SIZED = [Send(b"HTTP/1.1 200 OK\r\ncontent-length: 10240\r\n\r\n"), Send(BODY)]
HEAD = len(SIZED[0].wire)


async def test_without_toxics_it_passes_everything_on(upstream: ScriptedUpstream):
    upstream.enqueue(SIZED, answer("through"))
    async with ToxicProxy(upstream.host, upstream.port) as proxy, RawClient(proxy.host, proxy.port) as client:
        await client.get("/")
        assert await (await client.response()).read() == BODY
        await client.post("/v1/chat/completions", {"padding": "x" * 100_000})
        assert b"through" in await (await client.response()).read()
        assert len(upstream.requests[1].json["padding"]) == 100_000
        assert proxy.base_url == f"http://127.0.0.1:{proxy.port}/v1"
        assert (proxy.accepted, upstream.accepted) == (1, 1)


async def test_slices_are_writes_of_their_own(upstream: ScriptedUpstream):
    upstream.enqueue([head(close_delimited=True), Send(bytes(50)), Hang()])
    proxy = ToxicProxy(upstream.host, upstream.port, down=Toxics(slice=5))
    async with proxy, RawClient(proxy.host, proxy.port) as client:
        await client.get("/")
        response = await client.response()
        while len(response.body) < 50:
            await response.next_piece()
        assert 10 <= len(response.pieces) <= 12
        assert max(len(piece.data) for piece in response.pieces) <= 5


def test_latency_delays_bytes_in_both_directions_without_slowing_them():
    async def scene() -> list[float]:
        async with ScriptedUpstream() as upstream, ToxicProxy(upstream.host, upstream.port) as proxy:
            proxy.up, proxy.down = Toxics(latency=2), Toxics(latency=3)
            upstream.enqueue([head(), chunk("a"), Sleep(1), chunk("b"), Sleep(1), chunk("c"), LAST_CHUNK])
            async with RawClient(proxy.host, proxy.port) as client:
                started = asyncio.get_running_loop().time()
                await client.get("/")
                response = await client.response()
                await response.read()
                return [piece.at - started for piece in response.pieces]

    assert run(scene()) == [5, 6, 7]


def test_bandwidth_is_bytes_per_second():
    async def scene() -> float:
        async with ScriptedUpstream() as upstream, ToxicProxy(upstream.host, upstream.port) as proxy:
            proxy.down = Toxics(bandwidth=10_240)
            upstream.enqueue(SIZED)
            async with RawClient(proxy.host, proxy.port) as client:
                await client.get("/")
                response = await client.response()
                await response.read()
                return response.pieces[-1].at - response.head.at

    assert run(scene()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("count", [0, 1, HEAD, HEAD + 5000])
@pytest.mark.parametrize(("toxic", "ending"), [("cut_after", "fin"), ("reset_after", "rst")])
async def test_counted_bytes_pass_and_then_the_connection_ends(
    upstream: ScriptedUpstream, count: int, toxic: str, ending: str
):
    upstream.enqueue([*SIZED, Hang()])
    down = Toxics(**{toxic: count}, slice=1000)
    proxy = ToxicProxy(upstream.host, upstream.port, down=down)
    async with proxy, RawClient(proxy.host, proxy.port) as client:
        await client.get("/")
        assert await client.wait_end() == ending
        assert len(client.buffer) == count
        assert (await upstream.wait_peer_left(0)).abandoned


def test_a_held_direction_passes_neither_bytes_nor_the_end():
    async def scene() -> tuple[int, bool]:
        upstream = ScriptedUpstream(default=[Sleep(5), *SIZED])
        async with upstream:
            proxy = ToxicProxy(upstream.host, upstream.port, down=Toxics(hold_after=100))
            async with proxy, RawClient(proxy.host, proxy.port) as client:
                await client.post("/chat/completions", {})
                with pytest.raises(TimeoutError):
                    await client.wait_end()
                proxy.up = Toxics(hold_after=0)
                client.half_close()
                with pytest.raises(TimeoutError):
                    await upstream.wait_peer_left(0, timeout=100)
                return len(client.buffer), upstream.requests[0].answered_at is not None

    assert run(scene()) == (100, True)


async def test_the_first_limit_counts():
    assert Toxics(cut_after=5, reset_after=3, hold_after=9).limit() == (3, "reset")
    assert Toxics().limit() is None


async def test_resets_pass_through_in_both_directions(upstream: ScriptedUpstream):
    upstream.enqueue(reset(), [Hang()])
    async with ToxicProxy(upstream.host, upstream.port) as proxy:
        async with RawClient(proxy.host, proxy.port) as client:
            await client.get("/")
            assert await client.wait_end() == "rst"
        async with RawClient(proxy.host, proxy.port) as client:
            await client.get("/")
            await upstream.wait_for_requests(2)
            client.rst()
            assert (await upstream.wait_peer_left(1)).peer_left_how == "rst"


async def test_all_connections_can_be_broken_at_once(upstream: ScriptedUpstream):
    upstream.default = [Hang()]
    async with ToxicProxy(upstream.host, upstream.port) as proxy, RawClient(proxy.host, proxy.port) as client:
        await client.post("/chat/completions", {})
        await upstream.wait_for_requests(1)
        proxy.reset_all()
        assert await client.wait_end() == "rst"
        assert (await upstream.wait_peer_left(0)).peer_left_how == "rst"


async def test_a_server_that_is_not_there_is_a_reset():
    with refusing() as base_url:
        proxy = ToxicProxy("127.0.0.1", int(base_url.split(":")[2].split("/")[0]))
        async with proxy, RawClient(proxy.host, proxy.port) as client:
            assert await client.wait_end() == "rst"
