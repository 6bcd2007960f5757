"""Jumping time: minutes pass at once, and never while there is work."""

import asyncio
import contextlib
import socket
import sys
import threading
import time
from typing import Any

import anyio
import pytest

from sealgate.testing import (
    JumpingClock,
    ManualClock,
    RawClient,
    ScriptedUpstream,
    Sleep,
    answer,
    delayed,
    endless,
    json_answer,
    run,
)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_hours_of_waiting_take_no_time_and_are_counted_exactly():
    async def scene() -> float:
        started = now()
        await asyncio.sleep(1800)
        return now() - started

    began = time.monotonic()
    assert run(scene()) == 1800
    assert time.monotonic() - began < 30


def test_timers_go_off_in_their_order_at_their_times():
    async def scene() -> list[tuple[str, float]]:
        started, seen = now(), []

        async def sleeper(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, now() - started))

        async with asyncio.TaskGroup() as group:
            for name, seconds in [("c", 90), ("a", 0.5), ("b", 60)]:
                group.create_task(sleeper(name, seconds))
        return seen

    assert run(scene()) == [("a", 0.5), ("b", 60), ("c", 90)]


def test_asyncio_and_anyio_deadlines_jump_too():
    async def scene() -> float:
        started = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        with anyio.move_on_after(40):
            await anyio.sleep_forever()
        return now() - started

    assert run(scene()) == 70


def test_time_stands_still_while_sockets_talk():
    async def scene() -> float:
        async with ScriptedUpstream() as upstream, RawClient(upstream.host, upstream.port, timeout=0.5) as client:
            started = now()
            for _ in range(20):
                await client.post("/v1/chat/completions", {"stream": True})
                await (await client.response()).read()
            return now() - started

    assert run(scene()) == 0


def test_a_deadline_falls_due_between_two_events_of_a_slow_server():
    async def scene() -> tuple[int, float]:
        upstream = ScriptedUpstream(default=answer("a b c d", delay=70))
        async with upstream, RawClient(upstream.host, upstream.port, timeout=1000) as client:
            started, events = now(), 0
            await client.post("/v1/chat/completions", {"stream": True})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(180):
                    async for _ in (await client.response()).events():
                        events += 1
            return events, now() - started

    assert run(scene()) == (3, 180)


def test_a_job_in_a_thread_is_waited_for_in_real_time():
    async def scene() -> tuple[str, float]:
        started = now()
        async with asyncio.timeout(5):
            await asyncio.to_thread(time.sleep, 0.05)
        return "done", now() - started

    done, took = run(scene(), grace=0.001)
    assert done == "done"
    assert 0 < took < 4, "what counts is the time in which no other thread worked"


def test_timers_go_on_at_a_real_pace_while_a_thread_works():
    def ask(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as peer:
            peer.sendall(b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n")
            return b"".join(iter(lambda: peer.recv(65536), b""))

    async def scene() -> bytes:
        async with ScriptedUpstream() as upstream:
            upstream.handler = lambda _: delayed(0.03, json_answer("late"))
            return await asyncio.to_thread(ask, upstream.port)

    assert run(scene(), grace=0.001).endswith(b'"late"')


def test_short_waits_are_not_slower_than_real_ones():
    async def scene() -> None:
        for _ in range(20):
            await asyncio.sleep(0.0005)

    began = time.monotonic()
    run(scene(), grace=0.5)
    assert time.monotonic() - began < 5


def test_another_thread_can_wake_the_loop():
    async def scene() -> str:
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        timer = loop.call_later(100, woken.set)
        waker = asyncio.create_task(asyncio.to_thread(lambda: loop.call_soon_threadsafe(woken.set)))
        await woken.wait()
        timer.cancel()
        await waker
        return "woken" if now() < 1050 else "late"

    assert run(scene()) == "woken"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what threads do")
def test_time_stands_still_while_another_thread_computes():
    async def scene() -> float:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def compute() -> None:
            end = time.thread_time() + 0.04
            while time.thread_time() < end:
                pass
            loop.call_soon_threadsafe(done.set)

        started = now()
        worker = threading.Thread(target=compute)
        worker.start()
        async with asyncio.timeout(100):
            await done.wait()
        worker.join()
        return now() - started

    assert run(scene(), grace=0.008) == 0


def test_a_scene_that_never_ends_is_ended():
    async def scene() -> None:
        upstream = ScriptedUpstream(default=endless(base=answer(delay=100)))
        async with upstream, RawClient(upstream.host, upstream.port, timeout=1000) as client:
            await client.post("/v1/chat/completions", {"stream": True})
            await (await client.response()).read()

    with pytest.raises(TimeoutError):
        run(scene(), limit=500)
    with pytest.raises(TimeoutError):
        run(asyncio.sleep(61), limit=60)
    assert run(asyncio.sleep(59, "in time"), limit=60) == "in time"


class TestUnderAnyio:
    """A module's or a class's tests run on the jumping clock when their backend fixture says so."""

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, Any]]:
        return "asyncio", {"loop_factory": JumpingClock}

    @pytest.mark.anyio
    async def test_the_tests_loop_jumps(self, upstream: ScriptedUpstream, client: RawClient):
        assert isinstance(asyncio.get_running_loop(), JumpingClock)
        upstream.enqueue([Sleep(9), *json_answer("late")])
        started = now()
        await client.post("/v1/chat/completions", {})
        assert (await client.response()).head.at - started == 9


def test_a_manual_clock_moves_when_told_and_never_back():
    clock = ManualClock(5)
    clock.advance(0.5)
    clock.advance(0)
    assert clock.time() == 5.5
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
