"""The pulse of the event loop: how late it is, what holds it up, and how much memory there is.

A timer that should fire every `BEAT` seconds and comes late measures the lag. A thread that sleeps most of the time
sees when it does not come at all and writes where the loop is stuck (row I9): a loop that is blocked cannot say so.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog

from sealgate.telemetry import memory

BEAT = 0.1
MEMORY_BEATS = 10
"""Memory is looked at once in so many beats: every second."""
BLOCKED_SECONDS = 2.0
LOOK = 0.5
"""The thread looks twice a second."""
FRAMES = 12

OnBeat = Callable[[float, float], None]
"""Told the event loop's lag in seconds and the share of memory in use."""


class Pulse:
    """Between `start` and `stop`, which belong to the event loop's thread."""

    def __init__(self, on_beat: OnBeat, blocked_seconds: float = BLOCKED_SECONDS) -> None:
        self.memory = 0.0
        self._on_beat = on_beat
        self._blocked_seconds = blocked_seconds
        self._allowed = memory.allowed()
        self._due = time.monotonic()
        self._beats = 0
        self._told = False
        self._timer: asyncio.TimerHandle | None = None
        self._ended = threading.Event()
        self._watchdog: threading.Thread | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = time.monotonic()
        self._beat()
        self._watchdog = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="sealgate-watchdog", daemon=True
        )
        self._watchdog.start()

    def stop(self) -> None:
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._watchdog is not None:
            self._watchdog.join()

    def excess(self, share: float) -> int:
        """Bytes in use beyond that share of what the process may have."""
        return max(0, int((self.memory - share) * self._allowed))

    def _beat(self) -> None:
        now = time.monotonic()
        lag = max(0.0, now - self._due)
        if self._told:
            self._told = False
            structlog.get_logger().warning("event_loop_goes_on", seconds=round(lag, 3))
        if self._beats % MEMORY_BEATS == 0:
            self.memory = memory.resident() / self._allowed
        self._beats += 1
        self._due = now + BEAT
        self._timer = self._loop.call_later(BEAT, self._beat)
        self._on_beat(lag, self.memory)

    # The thread

    def _watch(self, loop_thread: int) -> None:
        looked, used = time.monotonic(), time.process_time()
        while not self._ended.wait(LOOK):
            now, cpu = time.monotonic(), time.process_time()
            gap, looked = now - looked, now
            worked, used = cpu - used, cpu
            if gap > 2 * LOOK and worked < gap / 2:
                continue  # the whole process was stopped, or the machine asleep: nothing is stuck
            seconds = now - self._due
            if seconds >= self._blocked_seconds and not self._told:
                self._told = True
                frame = sys._current_frames().get(loop_thread)
                structlog.get_logger().error("event_loop_blocked", seconds=round(seconds, 3), trace=_where(frame))


def _where(frame: FrameType | None) -> str:
    """Where a thread is: files, lines and functions, outermost first, without any value."""
    found: list[str] = []
    while frame is not None and len(found) < FRAMES:
        code = frame.f_code
        found.append(f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return " > ".join(reversed(found))
