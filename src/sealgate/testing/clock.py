"""Time that jumps: minutes of waiting pass at once, on real sockets.

`JumpingClock` is asyncio's own selector loop with another idea of time. It stands still while there is something to
do, and when nothing is left but waiting it jumps to the next timer::

    def test_an_answer_that_never_comes_is_given_up_after_three_minutes():
        async def scene():
            started = asyncio.get_running_loop().time()
            ...
            assert asyncio.get_running_loop().time() - started == 180

        run(scene())

With anyio's pytest plugin, a module's tests run on it when the module says::

    @pytest.fixture
    def anyio_backend():
        return "asyncio", {"loop_factory": JumpingClock}
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

GRACE = 0.02
"""Real seconds for which all sockets must be silent before time jumps."""

LATE, MOST_HELD_UP = 0.003, 100
"""Real seconds by which a look may be late and still tell of silence; how many that do not are borne with."""

SLICE = 0.005
"""Real seconds between two looks at what the threads do, while a job runs."""


class JumpingClock(asyncio.SelectorEventLoop):
    """An event loop whose ``time()`` jumps to the next timer when nothing else is ready.

    *When it jumps.* A timer is next and no socket had anything to say for ``grace`` real seconds (or for the time to
    that timer, if that is less: it is never slower than the real clock). Loopback delivers within microseconds, so
    20 ms are plenty as long as both ends live in this loop.

    *When it does not.* While a job runs in one of the loop's executors (`asyncio.to_thread`, `run_in_executor`, name
    look-ups) time passes at its real pace, so that the job may take as long as it takes. While any thread of this
    process computes or waits for the disk (Linux says so) time stands still: work takes no time. What it cannot see
    is a thread that waits for something else, and other processes: a server in one of them that answers later than
    ``grace`` finds that its client's timeouts have gone off. Keep both ends in one loop, or raise ``grace``.

    *What stands still.* Only the loop's own time (``loop.time()``, `asyncio.sleep`, `asyncio.timeout`, ``call_later``,
    anyio's deadlines) jumps. `time.monotonic` and `time.time` know nothing of it. As time stands still while there is
    work, a task that waits for the time by ``sleep(0)`` in a loop waits for ever.
    """

    def __init__(self, grace: float = GRACE) -> None:
        # A start far from 0 shows arithmetic that forgets to subtract; a small one keeps the sums exact.
        self._now = 1000.0
        self._jobs = 0
        super().__init__(_Selector(self, grace))

    def time(self) -> float:
        """Seconds since an arbitrary moment, jumps included."""
        return self._now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._job_done)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        self._jobs += 1  # joining its threads is real work too
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._jobs -= 1

    def _job_done(self, _: asyncio.Future[Any]) -> None:
        self._jobs -= 1


class _Selector(selectors.DefaultSelector):
    """The real selector, and the place where a loop that has nothing to do comes to wait."""

    def __init__(self, loop: JumpingClock, grace: float) -> None:
        super().__init__()
        self._loop, self._grace = loop, grace

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if self._loop._jobs:
            return self._wait_really(timeout)
        ready = self._wait_for_silence(min(timeout, self._grace))
        if not ready:
            self._loop._now += timeout
        return ready

    def _wait_for_silence(self, grace: float) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; nothing, once the sockets were silent and the threads at rest for so long without a break."""
        looks = 4 if grace > 0.004 else 1  # epoll counts in milliseconds
        silent = held_up = 0
        while silent < looks:
            started = time.monotonic()
            if ready := super().select(grace / looks):
                return ready
            late = time.monotonic() - started > grace / looks + LATE
            if late and held_up < MOST_HELD_UP:
                held_up += 1  # who had no turn for so long may have left others without one too: the network's own work
            else:
                silent = 0 if other_threads_work() else silent + 1
        return []

    def _wait_really(self, timeout: float) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready within ``timeout``, of which only the time counts in which all threads were waiting."""
        end = self._loop._now + timeout
        while (left := end - self._loop._now) > 0:
            started = time.monotonic()
            if ready := super().select(min(left, SLICE)):
                return ready
            if not other_threads_work():
                self._loop._now = min(end, self._loop._now + time.monotonic() - started)
        return []


def other_threads_work() -> bool:
    """Whether a thread of this process besides the caller's is running, ready to run, or waiting for a disk.

    Known on Linux only (``/proc/self/task``, proc(5)); elsewhere the answer is no.
    """
    mine = str(threading.get_native_id())
    with contextlib.suppress(OSError):
        return any(_state(thread) in "RD" for thread in os.listdir("/proc/self/task") if thread != mine)
    return False


def _state(thread: str) -> str:
    """The state letter of a thread of this process; S, asleep, for one that has just ended."""
    try:
        with open(f"/proc/self/task/{thread}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(") ")[2][:1]
    except OSError:
        return "S"


def run(main: Coroutine[Any, Any, T], *, grace: float = GRACE, limit: float = 3600.0) -> T:
    """`asyncio.run` on a `JumpingClock`.

    Raises `TimeoutError` when ``main`` takes more than ``limit`` seconds of the loop's time, which is how a scene that
    can never end ends.
    """

    async def limited() -> T:
        async with asyncio.timeout(limit):
            return await main

    with asyncio.Runner(loop_factory=lambda: JumpingClock(grace)) as runner:
        return runner.run(limited())


class ManualClock:
    """A clock for pure code that takes its clock as an argument: it moves when it is told to.

    >>> clock = ManualClock()
    >>> clock.advance(90)
    >>> clock.time()
    90.0
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = float(start)

    def time(self) -> float:
        """Seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward. Raises `ValueError` for a step back: a monotonic clock takes none."""
        if seconds < 0:
            raise ValueError("a monotonic clock does not go back")
        self._now += seconds
