"""Limits counted in this process: exact, without a server, and gone with the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from sealgate.limits.limiter import Refused, Rule, Standing, Taken, Verdict, Window, amount

Windows: TypeAlias = Sequence[Window | None]
"""Those of some rules, in their order; None for places, which are only counted."""

FEW = 10_000
"""So many windows are kept without looking whether they are still of use."""


class MemoryLimiter:
    """``clock`` gives monotonic seconds, so that a step of the time of day changes nothing (row D13)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, Window] = {}
        self._places: dict[str, int] = {}
        self._many = FEW

    async def take(self, rules: Sequence[Rule], tokens: int) -> Verdict:
        return self.take_now(rules, tokens)

    def take_now(self, rules: Sequence[Rule], tokens: int) -> Verdict:
        """See `Limiter.take`. Nothing here waits, so nothing comes in between."""
        now = self._clock()
        if len(self._windows) >= self._many:
            self._sweep(now)
        windows, places = self._windows, self._places
        for rule in rules:
            if not rule.seconds:
                if places.get(rule.key, 0) >= rule.limit:
                    return self._refuse(rules, tokens, now)
                continue
            window = windows.get(rule.key)
            if window is None:
                window = windows[rule.key] = Window(rule.seconds)
            elif window.leaves <= now:
                window.forget(now)
            if window.used + (tokens or 1 if rule.of_tokens else 1) > rule.limit:
                return self._refuse(rules, tokens, now)
        standings = []
        for rule in rules:
            key = rule.key
            if rule.seconds:
                window = windows[key]
                reset = window.add(now, tokens if rule.of_tokens else 1)
                standings.append(Standing(rule, rule.limit - window.used, reset))
            else:
                places[key] = places.get(key, 0) + 1
        return Taken("", rules, tokens, now, standings, self)

    def settle(self, taken: Taken, tokens: int) -> None:
        more = tokens - taken.tokens
        for rule in taken.rules:
            if not rule.seconds:
                self._leave(rule.key)
            elif more and rule.of_tokens:
                if more > 0:
                    now = self._clock()
                    window = self._window(rule, now)
                    assert window is not None
                    window.add(now, more)
                elif (window := self._windows.get(rule.key)) is not None:
                    window.give_back(taken.at, -more)

    async def look(self, rules: Sequence[Rule]) -> Sequence[Standing]:
        now = self._clock()
        return _standings(rules, [self._window(rule, now) for rule in rules], now)

    async def aclose(self) -> None:
        """Nobody else is to be told."""

    def _window(self, rule: Rule, now: float) -> Window | None:
        """The rule's window as it is now; places have none."""
        window = self._windows.get(rule.key)
        if window is None:
            if not rule.seconds:
                return None
            window = self._windows[rule.key] = Window(rule.seconds)
        elif window.leaves <= now:
            window.forget(now)
        return window

    def _sweep(self, now: float) -> None:
        """Let go the windows in which nothing is used; look again when there are twice as many as are left."""
        for window in self._windows.values():
            window.forget(now)
        self._windows = {key: window for key, window in self._windows.items() if window.used}
        self._many = max(FEW, 2 * len(self._windows))

    def _leave(self, key: str) -> None:
        left = self._places[key] - 1
        if left:
            self._places[key] = left
        else:
            del self._places[key]

    def _refuse(self, rules: Sequence[Rule], tokens: int, now: float) -> Refused:
        windows = [self._window(rule, now) for rule in rules]
        waits = []
        for rule, window in zip(rules, windows, strict=True):
            if window is None:
                if self._places.get(rule.key, 0) >= rule.limit:
                    waits.append((0.0, rule))
            elif wait := window.wait(now, amount(rule, tokens), rule.limit):
                waits.append((wait, rule))
        wait, rule = max(waits, key=lambda each: each[0])
        return Refused(rule, wait, _standings(rules, windows, now))


def _standings(rules: Sequence[Rule], windows: Windows, now: float) -> list[Standing]:
    return [
        Standing(rule, max(0, rule.limit - window.used), window.reset(now))
        for rule, window in zip(rules, windows, strict=True)
        if window is not None
    ]
