"""How much is being answered, and who is turned away when that is too much.

There is room for a number of requests: `bound`, and less while the event loop lags or memory runs out. Who comes while
the room is full is refused, unless he holds less than his fair share of it: then he gets one of a few places in
reserve, so that nobody's flood shuts the others out. What the callers are told is ``overloaded`` (row D6).

The room follows the pressure as TCP follows losses: while there is any, it is a little less than what is in flight;
afterwards it grows back within a second or two, because all who were sent away come again at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from sealgate.errors import Problem

Reason = Literal["in_flight", "event_loop", "memory"]

MOST_LAG = 0.25
"""Seconds by which the event loop may be late."""
MOST_MEMORY = 0.85
"""Share of the memory that the process may have."""
FEWEST = 8
"""Room that is always left: a short stop of an idle server turns nobody away."""
RESERVE = 8
"""One in so many places on top is for those who hold less than their share."""
SHRUNK, GROWN = 0.95, 1.4
"""What a beat under pressure leaves of what is in flight; by how much a good one widens the room again."""
RETRY_SECONDS = 3
"""Callers are asked to come back after 1 to so many seconds, at random, so that they do not come together."""
LAG_BEATS = 100
"""Beats for which the longest lag is remembered, at least."""


class Load:
    """Counts the requests of each customer. ``chance`` gives numbers from 0 to below 1."""

    def __init__(self, bound: int, chance: Callable[[], float]) -> None:
        self.in_flight = 0
        self.refused: dict[str, int] = {"in_flight": 0, "event_loop": 0, "memory": 0}
        """Requests so far, by `Reason`."""
        self.memory = 0.0
        """The share of memory in use, as last heard."""
        self._bound = bound
        self._chance = chance
        self._room = float(bound)
        self._reason: Reason = "in_flight"
        self._held: dict[str, int] = {}
        self._lags = [0.0, 0.0]
        self._beats = 0

    @property
    def room(self) -> int:
        """How many requests may run at once now, the reserve not counted."""
        return int(self._room)

    @property
    def lag(self) -> float:
        """The longest lag of the event loop in the last `LAG_BEATS` to twice as many beats, in seconds."""
        return max(self._lags)

    def enter(self, customer: str) -> None:
        """Take a place for a request; `leave` gives it back. Raises `Problem` ``overloaded``."""
        held = self._held.get(customer, 0)
        if self.in_flight >= self._room and not self._has_claim(customer, held):
            self.refused[self._reason] += 1
            raise Problem("overloaded", retry_after=1 + int(self._chance() * RETRY_SECONDS))
        self._held[customer] = held + 1
        self.in_flight += 1

    def leave(self, customer: str) -> None:
        """The request has ended, however it ended."""
        self.in_flight -= 1
        held = self._held[customer] - 1
        if held:
            self._held[customer] = held
        else:
            del self._held[customer]

    def beat(self, lag: float, memory: float) -> None:
        """Hear how late the event loop is, in seconds, and the share of memory in use; many times a second."""
        self.memory = memory
        self._note(lag)
        pressure: Reason | None = "event_loop" if lag > MOST_LAG else "memory" if memory > MOST_MEMORY else None
        if pressure is not None:
            self._reason = pressure
            self._room = max(min(FEWEST, self._bound), min(self._room, self.in_flight * SHRUNK))
        elif self._room < self._bound:
            self._room = min(self._bound, self._room * GROWN + 1)
        else:
            self._reason = "in_flight"

    def resize(self, bound: int) -> None:
        """Take another bound; what runs goes on."""
        self._room = float(bound) if self._room == self._bound else min(self._room, bound)
        self._bound = bound

    def _has_claim(self, customer: str, held: int) -> bool:
        """Whether a customer may have a place in reserve: he holds less than the room divided by those who are here."""
        active = len(self._held) + (customer not in self._held)
        return held * active < self._room and self.in_flight < self._room + max(1.0, self._bound / RESERVE)

    def _note(self, lag: float) -> None:
        self._beats += 1
        if self._beats >= LAG_BEATS:
            self._beats = 0
            self._lags = [self._lags[1], 0.0]
        self._lags[1] = max(self._lags[1], lag)
