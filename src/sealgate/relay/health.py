"""What attempts say about a provider, its keys and its routes: who is left alone for a while, and how they come back.

Two things take a place out. A *cooldown* is what the provider itself asked for: a rate limit or a quota, for as long as
it says. An *ejection* is our own conclusion: failures in a row, each time for longer, ended by one request that probes.
Only what failed lately is remembered, so a healthy house costs one look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

from sealgate.errors import Failure, UpstreamError
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
FORGET_SECONDS = 120.0
"""What is no longer left alone is forgotten after this, asked again or not."""
TIDY_SECONDS = 10.0
MAX_PLACES = 10_000

State = Literal["up", "cooling", "ejected"]
Place = tuple[str | int, ...]
"""An account, one of its keys, one of its routes, or a route by one of the keys."""

_UNREACHED = {Failure.UNREACHABLE, Failure.CONNECT_TIMEOUT, Failure.TLS}
"""Nobody was reached: every route of the account stands behind the same address."""
_WELL = {
    Failure.INVALID_REQUEST,
    Failure.UNPROCESSABLE,
    Failure.REQUEST_TOO_LARGE,
    Failure.UNSUPPORTED,
    Failure.PARAMETER,
    Failure.MEDIA,
    Failure.CONTEXT_LENGTH,
    Failure.TOO_LARGE,
    Failure.SCHEMA,
}
"""Failures of the request: whoever refuses one is well, and so is a model that cannot do what is asked."""
UNAUTHORIZED = 401


class Standing(NamedTuple):
    """How a place is doing. ``until`` is in monotonic seconds; ``probe`` asks for one request that tries it."""

    state: State = "up"
    until: float = 0.0
    last: Failure | None = None
    probe: bool = False


WELL = Standing()


class Visit(msgspec.Struct, eq=False):
    """One attempt, as health knows it: from `Health.begin` to `Health.end`."""

    target: Target
    began: float
    probes: bool = False
    """Whether it tries something that was ejected."""


@dataclass(slots=True)
class _Trouble:
    """A place that failed lately. A cooldown and an ejection run beside each other."""

    last: Failure
    at: float
    """When it last failed."""
    failures: int = 0
    """In a row, since it was last taken out."""
    ejections: int = 0
    """In a row."""
    ejected_at: float = 0.0
    ejected_until: float | None = None
    cool_until: float = 0.0
    prober: Visit | None = None

    def standing(self, now: float) -> Standing:
        if now < self.cool_until:
            return Standing("cooling", self.cool_until, self.last)
        if self.ejected_until is None:
            return Standing(last=self.last)
        if now < self.ejected_until or self.prober is not None:
            # One request at a time tries whether it is back; the others go on leaving it alone.
            return Standing("ejected", self.ejected_until, self.last)
        return Standing(last=self.last, probe=True)

    def is_over(self, now: float) -> bool:
        since = max(self.at, self.cool_until, self.ejected_until or 0.0)
        return now > since + FORGET_SECONDS and self.prober is None


class Health:
    """One for each configuration. ``clock`` gives monotonic seconds; ``ejected`` hears a provider's name each time."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, ejected: Callable[[str], None] = lambda _: None
    ) -> None:
        self._clock = clock
        self._ejected = ejected
        self._troubles: dict[Place, _Trouble] = {}
        self._tidy_at = 0.0

    @property
    def troubled(self) -> bool:
        """Whether there is anything to know."""
        if self._troubles and (now := self._clock()) >= self._tidy_at:
            self._tidy_at = now + TIDY_SECONDS
            self._troubles = {place: each for place, each in self._troubles.items() if not each.is_over(now)}
        return bool(self._troubles)

    def standing(self, target: Target) -> Standing:
        """The worst of what is known of the target's account, key and route."""
        now = self._clock()
        found = [trouble.standing(now) for trouble in self._known(target)]
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

    def begin(self, target: Target, *, whatever: bool = False) -> Visit | None:
        """Ask it now, or None where it should be left alone, or to the one who probes it. `end` is due after a yes.

        ``whatever``: nothing else is left.
        """
        visit = Visit(target, self._clock())
        if not self._troubles:
            return visit
        standing = self.standing(target)
        if standing.state != "up" and not whatever:
            return None
        if standing.probe:
            for trouble in self._known(target):
                if trouble.ejected_until is not None and trouble.prober is None:
                    trouble.prober, visit.probes = visit, True
        return visit

    def end(self, visit: Visit) -> None:
        """It is over, with or without a result."""
        if visit.probes:
            for trouble in self._known(visit.target):
                if trouble.prober is visit:
                    trouble.prober = None

    def answered(self, visit: Visit) -> None:
        """Content came: what was ejected is back, on its last chance until an answer is whole."""
        for trouble in self._known(visit.target):
            if trouble.prober is visit:
                trouble.ejected_until, trouble.prober, trouble.failures = None, None, EJECT_AFTER - 1

    def succeeded(self, visit: Visit) -> None:
        """A whole answer came. It says nothing about what happened after it was asked for."""
        now = self._clock()
        for place in _places(visit.target):
            trouble = self._troubles.get(place)
            if trouble is None or now < trouble.cool_until:
                continue
            if trouble.ejected_until is None or visit.began >= trouble.ejected_at:
                del self._troubles[place]

    def failed(self, visit: Visit, error: UpstreamError) -> None:
        """An attempt failed."""
        failure, target = error.failure, visit.target
        if target.route.account.kind.open_catalog:
            return  # the sandbox fails where it was asked to, as often as it is asked to
        account, key, route, route_by_key = _places(target)
        if failure in (Failure.POOL, Failure.MEDIA_FETCH):
            return  # it never got there
        if failure in _WELL:
            self.succeeded(visit)
        elif failure is Failure.QUOTA:
            self._cool(key, error, QUOTA_SECONDS)
        elif failure is Failure.RATE_LIMITED:
            self._cool(route_by_key, error, RATE_SECONDS)
        elif failure is Failure.CREDENTIAL:
            # A 401 means the key whatever was asked for; a 403 may mean this model, or even this request.
            certain = error.status == UNAUTHORIZED
            self._count(key if certain else route_by_key, visit, failure, at_once=certain)
        else:
            self._count(account if failure in _UNREACHED else route, visit, failure)

    def _cool(self, place: Place, error: UpstreamError, usual: float) -> None:
        wish = error.retry_after
        seconds = wish if wish is not None and wish > 0 else usual
        trouble = self._trouble(place, error.failure)
        trouble.cool_until = max(trouble.cool_until, trouble.at + min(seconds, COOLDOWN_MOST))
        trouble.failures = 0

    def _count(self, place: Place, visit: Visit, failure: Failure, *, at_once: bool = False) -> None:
        trouble = self._trouble(place, failure)
        if trouble.ejected_until is not None and trouble.prober is not visit:
            return  # it was under way when the place was taken out, or is a last resort
        trouble.failures += 1
        if trouble.prober is visit or at_once or trouble.failures >= EJECT_AFTER:
            trouble.ejections += 1
            trouble.failures, trouble.prober = 0, None
            trouble.ejected_at = trouble.at
            trouble.ejected_until = trouble.at + min(EJECT_MOST, EJECT_SECONDS * trouble.ejections)
            self._ejected(visit.target.route.provider)

    def _trouble(self, place: Place, failure: Failure) -> _Trouble:
        now = self._clock()
        found = self._troubles.get(place)
        if found is None:
            if len(self._troubles) >= MAX_PLACES:
                del self._troubles[next(iter(self._troubles))]
            found = self._troubles[place] = _Trouble(failure, now)
        found.last, found.at = failure, now
        return found

    def _known(self, target: Target) -> Iterator[_Trouble]:
        return (trouble for place in _places(target) if (trouble := self._troubles.get(place)) is not None)


def targets_of(route: Route) -> Iterable[Target]:
    """The route by each of its account's keys."""
    return (Target(route, key) for key in range(len(route.account.fixed_headers)))


def _places(target: Target) -> tuple[Place, Place, Place, Place]:
    """The account, the key, the route, the route by that key."""
    table, model = target.route.account.table, target.route.upstream_model
    return (table,), (table, target.key), (table, model), (table, target.key, model)
