"""Scenes that prove something only where the machine lets the event loop turn in time.

That a limit in time is *not* reached cannot be shown while the whole process stands still for longer than that limit:
then it is reached, and rightly. So the loop's lateness is measured beside the scene, and a scene that failed while the
loop was late is played again, since it was another scene than the one that was meant. One that failed although the loop
was in time has failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

TICK = 0.005
PLAYS = 40


class Lateness:
    """How late the running loop has been since this was made: ``most``, in seconds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._most = 0.0
        self._due = self._loop.time()
        self._tick()

    def _tick(self) -> None:
        self._look()
        self._due = self._loop.time() + TICK
        self._timer = self._loop.call_at(self._due, self._tick)

    def _look(self) -> None:
        self._most = max(self._most, self._loop.time() - self._due)

    def end(self) -> float:
        self._timer.cancel()
        self._look()
        return self._most


async def punctually(scene: Callable[[], Awaitable[T]], slack: float) -> T:
    """The result of a scene. Where it fails, the loop was never later than ``slack`` seconds meanwhile."""
    for _ in range(PLAYS):
        lateness = Lateness()
        try:
            return await scene()
        except Exception:
            if lateness.end() <= slack:
                raise
        finally:
            lateness.end()
    raise AssertionError(f"the loop was later than {slack} s in each of {PLAYS} plays: nothing is known")
