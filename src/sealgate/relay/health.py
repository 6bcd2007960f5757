"""What attempts say about a provider, its keys and its routes: who is left alone for a while, and how they come back.

Two things take a place out. A *cooldown* is what the provider itself asked for: a rate limit or a quota, for as long as
it says. An *ejection* is our own conclusion: failures in a row, each time for longer, ended by one request that probes.
Only what failed lately is remembered, so a healthy house costs one look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sealgate.errors import Failure
from sealgate.relay.catalog import Route, Target

EJECT_AFTER = 5
"""Failures in a row."""
EJECT_SECONDS = 5.0
"""Times the number of ejections in a row."""
EJECT_MOST = 60.0
RATE_SECONDS = 1.0
"""A cooldown where the provider does not say how long."""
QUOTA_SECONDS = 300.0
COOLDOWN_MOST = 3600.0
MAX_PLACES = 10_000

State = Literal["up", "cooling", "ejected"]
Place = tuple[str | int, ...]
"""An account, one of its keys, or a route by one of its keys."""

_OF_THE_ACCOUNT = {Failure.UNREACHABLE, Failure.CONNECT_TIMEOUT, Failure.TLS}
"""Nobody was reached: every route of the account stands behind the same address."""
_AT_ONCE = {Failure.CREDENTIAL}
"""No use in asking five times."""
_NO_FAULT = {
    Failure.INVALID_REQUEST,
    Failure.UNPROCESSABLE,
    Failure.REQUEST_TOO_LARGE,
    Failure.UNSUPPORTED,
    Failure.MEDIA,
    Failure.CONTEXT_LENGTH,
    Failure.TOO_LARGE,
    Failure.POOL,
}
"""Failures of the request, or of ours: whoever refuses a request is well."""


class Standing(NamedTuple):
    """How a place is doing. ``until`` is in monotonic seconds; ``probe`` asks for one request that tries it."""

    state: State = "up"
    until: float = 0.0
    last: Failure | None = None
    probe: bool = False


WELL = Standing()


@dataclass(slots=True)
class _Trouble:
    """A place that failed lately."""

    last: Failure
    state: State = "up"
    until: float = 0.0
    failures: int = 0
    ejections: int = 0
    probed: bool = False

    def standing(self, now: float) -> Standing:
        if self.state == "up" or (self.state == "cooling" and now >= self.until):
            return Standing(last=self.last)
        if self.state == "ejected" and now >= self.until:
            # One request at a time tries whether it is back; the others go on leaving it alone.
            return Standing("ejected", self.until, self.last) if self.probed else Standing(last=self.last, probe=True)
        return Standing(self.state, self.until, self.last)


class Health:
    """One for each configuration. ``clock`` gives monotonic seconds; ``ejected`` hears a provider's name each time."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, ejected: Callable[[str], None] = lambda _: None
    ) -> None:
        self._clock = clock
        self._ejected = ejected
        self._troubles: dict[Place, _Trouble] = {}

    @property
    def troubled(self) -> bool:
        """Whether there is anything to know."""
        return bool(self._troubles)

    def standing(self, target: Target) -> Standing:
        """The worst of what is known of the target's account, key and route."""
        now = self._clock()
        found = [trouble.standing(now) for place in _places(target) if (trouble := self._troubles.get(place))]
        blocked = [standing for standing in found if standing.state != "up"]
        if blocked:
            return max(blocked, key=lambda standing: standing.until)
        return next((standing for standing in found if standing.probe), found[-1] if found else WELL)

    def of_route(self, route: Route) -> Standing:
        """The best standing that one of the route's keys gives it."""
        return min((self.standing(target) for target in targets_of(route)), key=lambda found: found.until)

    def remaining(self, standing: Standing) -> float:
        """Seconds until then."""
        return max(0.0, standing.until - self._clock())

    def claim(self, target: Target) -> bool:
        """Whether to ask it now. What is being probed is left to the one who probes; `release` is due after a yes."""
        standing = self.standing(target)
        if standing.probe:
            for place in _places(target):
                if (trouble := self._troubles.get(place)) and trouble.state == "ejected":
                    trouble.probed = True
        return standing.state == "up"

    def release(self, target: Target) -> None:
        """The one who asked has gone, with or without a result."""
        for place in _places(target):
            if trouble := self._troubles.get(place):
                trouble.probed = False

    def answered(self, target: Target) -> None:
        """Content came: what was ejected is back, on its last chance until an answer is whole."""
        now = self._clock()
        for place in _places(target):
            trouble = self._troubles.get(place)
            if trouble is not None and trouble.state == "ejected" and now >= trouble.until:
                trouble.state, trouble.probed, trouble.failures = "up", False, EJECT_AFTER - 1

    def succeeded(self, target: Target) -> None:
        """A whole answer came. A cooldown that began meanwhile stays."""
        now = self._clock()
        for place in _places(target):
            trouble = self._troubles.get(place)
            if trouble is not None and not (trouble.state == "cooling" and now < trouble.until):
                del self._troubles[place]

    def failed(self, target: Target, failure: Failure, retry_after: float | None = None) -> None:
        """An attempt failed; ``retry_after`` is the provider's wish in seconds."""
        if target.route.account.kind.open_catalog:
            return  # the sandbox fails where it was asked to, as often as it is asked to
        if failure in _NO_FAULT:
            self.succeeded(target)
        elif failure is Failure.QUOTA:
            self._cool(_places(target)[1], failure, QUOTA_SECONDS if retry_after is None else retry_after)
        elif failure is Failure.RATE_LIMITED:
            self._cool(_places(target)[2], failure, RATE_SECONDS if retry_after is None else retry_after)
        else:
            self._count(target, failure)

    def _cool(self, place: Place, failure: Failure, seconds: float) -> None:
        trouble = self._trouble(place, failure)
        until = self._clock() + min(seconds, COOLDOWN_MOST)
        trouble.until = max(trouble.until, until) if trouble.state == "cooling" else until
        trouble.state, trouble.failures, trouble.probed = "cooling", 0, False

    def _count(self, target: Target, failure: Failure) -> None:
        account, _, route = _places(target)
        trouble = self._trouble(account if failure in _OF_THE_ACCOUNT else route, failure)
        now = self._clock()
        if trouble.state == "cooling" and now < trouble.until:
            return
        if trouble.state == "ejected" and now < trouble.until:
            return  # it was under way when the place was taken out
        trouble.failures += 1
        if trouble.state == "ejected" or trouble.failures >= EJECT_AFTER or failure in _AT_ONCE:
            trouble.ejections += 1
            trouble.state, trouble.failures, trouble.probed = "ejected", 0, False
            trouble.until = now + min(EJECT_MOST, EJECT_SECONDS * trouble.ejections)
            self._ejected(target.route.provider)

    def _trouble(self, place: Place, failure: Failure) -> _Trouble:
        found = self._troubles.get(place)
        if found is None:
            if len(self._troubles) >= MAX_PLACES:
                del self._troubles[next(iter(self._troubles))]
            found = self._troubles[place] = _Trouble(failure)
        found.last = failure
        return found


def targets_of(route: Route) -> Iterable[Target]:
    """The route by each of its account's keys."""
    return (Target(route, key) for key in range(len(route.account.fixed_headers)))


def _places(target: Target) -> tuple[Place, Place, Place]:
    account = target.route.account
    table, route = account.table, (account.table, target.key, target.route.upstream_model)
    return (table,), (table, target.key), route
