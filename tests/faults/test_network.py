"""What a network does to a gateway: packets that are dropped, peers that vanish, connections that are reset.

Rows E2, E4, F3, F4, G6, P6. Each scene is played in a network namespace, by the kernel's own means (nft, ``ss -K``);
where there is none, or no nft, the tests are skipped and say why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
from tests.faults.namespace import (
    CONNECT,
    GAP,
    STALL,
    Impossible,
    Namespace,
    Stage,
    local_port,
    namespace,
    scene,
    within,
)
from tests.gateway import read_reply

from sealgate.testing import Behaviour, Received, Sleep, Step, answer, endless, silent, stall_after

SLACK = 5.0
"""Seconds by which a limit may be exceeded: a busy machine takes some of its own."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    try:
        with namespace(tmp_path_factory.mktemp("network"), "tests.faults.test_network") as found:
            yield found
    except Impossible as reason:
        pytest.skip(str(reason))


@pytest.fixture
def ending(network: Namespace) -> Namespace:
    if not network.ends_sockets:
        pytest.skip("this system cannot end sockets from outside: no ss, or a kernel without CONFIG_INET_DIAG_DESTROY")
    return network


def trickle(every: float = 0.05) -> Behaviour:
    """An answer of many events with a pause before each."""

    def script(received: Received) -> Iterator[Step]:
        for step in answer("word " * 400)(received):
            yield Sleep(every)
            yield step

    return script


@scene
async def dropped_syn(stage: Stage) -> None:
    async with stage.upstreams(answer("first"), answer("second")) as [first, _]:
        stage.rule(f"tcp dport {stage.first} tcp flags syn drop")
        since = time.monotonic()
        reply = await stage.ask("both")
        took = time.monotonic() - since
        assert (reply.status, reply.text, reply.tresor["failover"]) == (200, "second", True)
        assert CONNECT <= took < CONNECT + SLACK, took
        streamed = await stage.ask("both", stream=True)
        assert (streamed.status, streamed.text, streamed.done) == (200, "second", True)
        alone = await stage.ask("one")
        assert (alone.status, alone.code) == (504, "upstream_connect_timeout")
        assert first.requests == []


def test_e2_a_dropped_syn_is_a_connect_timeout_and_the_next_route_answers(network: Namespace) -> None:
    network.play(dropped_syn)


@scene
async def silenced_provider(stage: Stage) -> None:
    async with stage.upstreams(trickle()) as [upstream], stage.streaming("one") as (_, response, name):
        stage.blackhole(stage.first)
        since = time.monotonic()
        reply = await read_reply(response)
        took = time.monotonic() - since
        assert (reply.code, reply.done, reply.complete) == ("upstream_stream_timeout", False, True)
        assert GAP - 0.1 <= took < GAP + SLACK, took
        row = await stage.row(name)
        assert (row["outcome"], row["code"]) == ("truncated", "upstream_stream_timeout")
        assert row["completion_tokens"] > 0
        stage.calm()
        await within(20, lambda: upstream.requests[0].peer_left_at is not None)


def test_f4_a_provider_whose_packets_are_dropped_in_the_middle_of_a_stream_is_given_up(network: Namespace) -> None:
    """The caller hears of it by an error event within the limit on silence."""
    network.play(silenced_provider)


@scene
async def silenced_before_content(stage: Stage) -> None:
    async with stage.upstreams(silent(), answer("second")) as [first, _], stage.client() as client:
        await stage.begin(client, "both", stream=True)
        await within(20, lambda: first.requests)
        stage.blackhole(stage.first)
        reply = await read_reply(await client.response())
        assert (reply.text, reply.done) == ("second", True)


def test_e4_a_provider_that_vanishes_before_its_first_content_is_left_for_the_next(network: Namespace) -> None:
    network.play(silenced_before_content)


async def caller_vanishes(stage: Stage, behaviour: Behaviour) -> None:
    async with stage.upstreams(behaviour) as [upstream]:
        async with stage.streaming("one") as (client, _, name):
            stage.blackhole(local_port(client))
            since = time.monotonic()
            row = await stage.row(name)
            took = time.monotonic() - since
        assert (row["outcome"], row["status"]) == ("client_disconnected", 499)
        assert took < STALL + 2 * SLACK, took
        await within(SLACK, lambda: upstream.requests[0].peer_left_at is not None)


@scene
async def quiet_caller_vanishes(stage: Stage) -> None:
    await caller_vanishes(stage, trickle())


@scene
async def busy_caller_vanishes(stage: Stage) -> None:
    await caller_vanishes(stage, endless())


@pytest.mark.parametrize("play", [quiet_caller_vanishes, busy_caller_vanishes])
def test_g6_a_caller_who_vanishes_without_a_word_is_noticed_and_his_provider_stopped(
    network: Namespace, play: Callable[[Stage], object]
) -> None:
    """A trickle ends by TCP_USER_TIMEOUT, a flood by the limit on writes that stall."""
    network.play(play)


async def caller_is_reset(stage: Stage, behaviour: Behaviour, *, stream: bool, at: int) -> None:
    """``at``: events that have come before; the gateway's end of the connection is broken by the kernel."""
    async with stage.upstreams(behaviour) as [upstream], stage.client() as client:
        name = await stage.begin(client, "one", stream=stream)
        await within(20, lambda: upstream.requests)
        if at:
            response = await client.response()
            for _ in range(at):
                assert await response.next_event() is not None
        else:
            await asyncio.sleep(0.02)
        stage.end_sockets(f"sport = {stage.port} and dport = {local_port(client)}")
        await within(SLACK, lambda: upstream.requests[0].peer_left_at is not None)
        row = await stage.row(name)
        assert (row["outcome"], row["status"]) == ("client_disconnected", 499)


@scene
async def caller_is_reset_in_the_middle(stage: Stage) -> None:
    await caller_is_reset(stage, trickle(), stream=True, at=3)


@scene
async def caller_is_reset_before_content(stage: Stage) -> None:
    await caller_is_reset(stage, silent(), stream=True, at=0)


@scene
async def caller_of_a_whole_answer_is_reset(stage: Stage) -> None:
    await caller_is_reset(stage, silent(), stream=False, at=0)


@pytest.mark.parametrize(
    "play", [caller_is_reset_in_the_middle, caller_is_reset_before_content, caller_of_a_whole_answer_is_reset]
)
def test_p6_a_connection_to_a_caller_that_the_kernel_breaks_stops_the_provider_within_a_second(
    ending: Namespace, play: Callable[[Stage], object]
) -> None:
    ending.play(play)


@scene
async def provider_is_reset(stage: Stage) -> None:
    def break_ours() -> None:
        stage.end_sockets(f"dport = {stage.first}")

    def break_theirs() -> None:
        stage.end_sockets(f"sport = {stage.first}")

    def break_by_packet() -> None:
        stage.rule(f"tcp dport {stage.first} reject with tcp reset")

    async with stage.upstreams(trickle()):
        for cut in (break_ours, break_theirs, break_by_packet):
            async with stage.streaming("one") as (_, response, name):
                cut()
                reply = await read_reply(response)
            assert (reply.code, reply.done, reply.complete) == ("upstream_stream_reset", False, True), cut
            row = await stage.row(name)
            assert (row["outcome"], row["code"]) == ("truncated", "upstream_stream_reset")


def test_f3_a_connection_to_a_provider_that_the_kernel_breaks_ends_the_stream_with_an_error(ending: Namespace) -> None:
    """At either end, or by a reset that somebody between them sent."""
    ending.play(provider_is_reset)


@scene
async def provider_is_reset_before_content(stage: Stage) -> None:
    async with stage.upstreams(stall_after(0), answer("second")) as [first, _], stage.client() as client:
        await stage.begin(client, "both", stream=True)
        await within(20, lambda: first.requests)
        stage.end_sockets(f"sport = {stage.first}")
        reply = await read_reply(await client.response())
        assert (reply.text, reply.done, reply.tresor["failover"]) == ("second", True, True)


def test_f3_before_the_first_content_a_broken_connection_is_not_seen(ending: Namespace) -> None:
    ending.play(provider_is_reset_before_content)
