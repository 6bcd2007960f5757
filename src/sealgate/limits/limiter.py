"""How much may still be asked: rules, the arithmetic of their sliding windows, and what every limiter can do.

A window remembers what was used in pieces. A piece gathers what came within a `PIECES`-th of the window, and leaves as
a whole when its last part is as old as the window. So no span of that length ever holds more than the limit, at most
`PIECES` + 2 pieces are kept however much is asked, and nothing leaves later than a `PIECES`-th of the window after its
time: a second of a minute, 24 minutes of a day.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from sealgate.config_tables import Limits
from sealgate.formats import ids

PIECES = 60
MINUTE = 60.0
DAY = 86_400.0
LEASE = 60.0
"""Seconds after which a place of a process that is gone is free again."""


class Kind(enum.StrEnum):
    """What is limited. Closed: metrics have a series for each."""

    REQUESTS_PER_MINUTE = "requests_per_minute"
    REQUESTS_PER_DAY = "requests_per_day"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    CONCURRENCY = "concurrency"


WINDOWS = {Kind.REQUESTS_PER_MINUTE: MINUTE, Kind.REQUESTS_PER_DAY: DAY, Kind.TOKENS_PER_MINUTE: MINUTE}
"""The length of each kind's window, in seconds; places have none."""


class Rule(msgspec.Struct, frozen=True, gc=False):
    """One limit of one caller. ``key`` says whose use is counted; two rules with the same one share the count."""

    key: str
    kind: Kind
    limit: int
    seconds: float
    """The length of its window; 0 for places."""
    of_tokens: bool
    model: str | None = None
    """The model that it is a limit of, where it is not one of all that the caller asks."""


def rules(whose: str, limits: Limits, model: str | None = None) -> tuple[Rule, ...]:
    """The rules of a caller, or of a caller at a model; ``whose`` is unique to them."""
    found = []
    for kind in Kind:
        limit = getattr(limits, kind.value)
        if limit is not None:
            of_tokens = kind is Kind.TOKENS_PER_MINUTE
            found.append(Rule(f"{whose}:{kind.value}", kind, limit, WINDOWS.get(kind, 0.0), of_tokens, model))
    return tuple(found)


class Standing(msgspec.Struct, gc=False):
    """Where a caller stands with one rule. ``reset`` is seconds until more is free; 0 where nothing is used."""

    rule: Rule
    remaining: int
    reset: float


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A request that may go on. Whoever has it must `settle` it, once."""

    id: str
    rules: Sequence[Rule]
    tokens: int
    """What is reserved of windows of tokens."""
    at: float
    """When, by the limiter's own clock."""
    standings: Sequence[Standing]
    limiter: Limiter
    """Who must be told how it ended."""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A request that may not: nothing was taken. ``wait`` is seconds until ``rule`` could let it pass.

    Of several rules in the way it is the one that takes longest. The wait is 0 where that is another request's end,
    and infinite where the request alone is more than the limit.
    """

    rule: Rule
    wait: float
    standings: Sequence[Standing]


Verdict: TypeAlias = Taken | Refused


class StoreGoneError(Exception):
    """A limiter's store does not answer, or not in time; the text says how, for the operator."""


class Limiter(Protocol):
    """Counts what is asked. Every method belongs to the event loop's thread."""

    async def take(self, rules: Sequence[Rule], tokens: int) -> Verdict:
        """Take one request, ``tokens`` of every window of tokens, and a place: all of it or, where a rule says no,
        nothing. What others take at the same time comes before or after.
        """
        ...

    def take_now(self, rules: Sequence[Rule], tokens: int) -> Verdict | None:
        """As `take`, by who need not ask anybody else; None: nothing was taken, the answer has to be waited for."""
        ...

    def settle(self, taken: Taken, tokens: int) -> None:
        """The request has ended with so many tokens: give back its place, and correct what was reserved.

        Less than was reserved is given back to the piece it was taken from; more is used now.
        """
        ...

    async def look(self, rules: Sequence[Rule]) -> Sequence[Standing]:
        """Where the caller stands, taking nothing. Places have no standing."""
        ...

    async def aclose(self) -> None:
        """Tell the store what it has not been told yet."""
        ...


def new_id() -> str:
    return ids.uuid7_hex()


def amount(rule: Rule, tokens: int) -> int:
    """What a request takes of a rule. One that is in debt lets nobody pass, not even for nothing."""
    return max(1, tokens) if rule.of_tokens else 1


class Window:
    """What was used in the last ``seconds``. Times are seconds of any clock that does not go back."""

    __slots__ = ("_closed", "_closes", "_last", "_older", "_opened", "_seconds", "leaves", "used")

    def __init__(self, seconds: float) -> None:
        self.used = 0
        self.leaves = math.inf
        """Before that there is nothing to `forget`."""
        self._seconds = seconds
        self._opened, self._last, self._closes = math.inf, -math.inf, -math.inf
        """First and last time of the newest piece, infinite where there is none; until when it gathers what comes."""
        self._closed: deque[list[float]] = deque()
        """First time, last time, how much, of the other pieces, oldest first."""
        self._older = 0
        """How much these are together: the rest of what is used is in the newest piece."""

    def forget(self, now: float) -> None:
        """Let go what is too old."""
        closed, over = self._closed, now - self._seconds
        while closed and closed[0][1] <= over:
            count = int(closed.popleft()[2])
            self._older -= count
            self.used -= count
        if self._last <= over:
            self.used, self._opened = 0, math.inf
        self.leaves = self._oldest() + self._seconds

    def add(self, now: float, count: int) -> float:
        """Use so much now; seconds until something leaves, as `reset` says it."""
        if now >= self._closes:
            self._open(now)
        self._last = now
        self.used = used = self.used + count
        if not used:
            return 0.0
        return self.leaves - now if self._closed else self._seconds

    def give_back(self, at: float, count: int) -> None:
        """Undo a use of that time, as far as it is still remembered."""
        if at >= self._opened:
            self.used -= min(count, self.used - self._older)
            return
        for piece in reversed(self._closed):
            if piece[0] <= at <= piece[1]:
                undone = min(count, int(piece[2]))
                piece[2] -= undone
                self._older -= undone
                self.used -= undone
                return

    def reset(self, now: float) -> float:
        """Seconds until something leaves, 0 where nothing is used."""
        return self._oldest() + self._seconds - now if self.used else 0.0

    def wait(self, now: float, count: int, limit: int) -> float:
        """Seconds until so much more fits."""
        if count > limit:
            return math.inf
        over = self.used + count - limit
        for _, last, held in (*self._closed, (self._opened, self._last, self.used - self._older)):
            if over <= 0:
                break
            over -= int(held)
            if over <= 0:
                return last + self._seconds - now
        return 0.0

    def _open(self, now: float) -> None:
        """Begin a piece."""
        if self._opened != math.inf:
            self._closed.append([self._opened, self._last, self.used - self._older])
            self._older = self.used
        self._opened = self._last = now
        self._closes = now + self._seconds / PIECES
        self.leaves = self._oldest() + self._seconds

    def _oldest(self) -> float:
        """When the oldest piece had its last part."""
        if self._closed:
            return self._closed[0][1]
        return math.inf if self._opened == math.inf else self._last
