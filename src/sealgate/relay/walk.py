"""The walk: one target after the other, until one delivers its first content.

After the first content nothing is switched any more. The walk follows the plan and makes no choices; it settles
nothing either, because whoever consumes it must settle exactly once, whatever happens here.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace

from sealgate.config import Timeouts
from sealgate.errors import Failure, Problem, UpstreamError
from sealgate.outward.client import Limits
from sealgate.providers.base import Adjustment, Prompt
from sealgate.providers.refused import LEFT_OUT, NOTHING, refused_by
from sealgate.relay import parts
from sealgate.relay.answer import Answer
from sealgate.relay.attempt import Attempt
from sealgate.relay.budget import RetryBudget
from sealgate.relay.catalog import Route, Target
from sealgate.relay.checked import CheckedAttempt
from sealgate.relay.health import Visit
from sealgate.relay.media import Media
from sealgate.relay.parts import PartedAttempt
from sealgate.relay.plan import Plan, Seen
from sealgate.relay.recall import NO_LOOP, Loop
from sealgate.relay.upstreams import Upstreams
from sealgate.relay.verdict import Outcome, broken, rendered, verdict
from sealgate.storage import NewRow

_BEFORE_CONTENT = {
    Failure.TRUNCATED: Failure.BAD_RESPONSE,
    Failure.BAD_STREAM: Failure.BAD_RESPONSE,
    Failure.STALLED: Failure.TIMEOUT,
}
"""What the same means where the caller has seen nothing of a stream."""
_CUT = {Failure.TRUNCATED, Failure.RESET, Failure.STALLED}
"""Failures of the connection rather than of what came over it."""
_LASTING = {
    Failure.CREDENTIAL,
    Failure.QUOTA,
    Failure.MODEL_GONE,
    Failure.TLS,
    Failure.REDIRECT,
    Failure.CONTEXT_LENGTH,
    Failure.TOO_LARGE,
    Failure.MEDIA_FETCH,
}
"""Classes that the same route would only repeat."""
CLOCK_STEP = 0.002
"""Timers may ring this much early."""
MAX_LESSONS = 4
"""Refusals from which one request learns."""

Give: TypeAlias = Callable[[bytes], Awaitable[None] | None]
"""Takes one payload of an answer: at once, or the walk waits until it is taken."""
AnyAttempt: TypeAlias = Attempt | PartedAttempt | CheckedAttempt


class Means(NamedTuple):
    """What walks use of the house. A reload makes another; a request keeps what it began with."""

    upstreams: Upstreams
    timeouts: Timeouts
    seen: Seen
    budget: RetryBudget
    background: set[asyncio.Task[None]]


class Walk:
    """One request's way over its plan. ``run`` may be called once.

    ``until`` is the moment, by the event loop's clock, at which a whole answer must be there; ``hurried`` says that
    this caller set it earlier than the configuration does.
    """

    def __init__(
        self,
        means: Means,
        plan: Plan,
        prompt: Prompt,
        make_answer: Callable[[Route, bool, Sequence[Adjustment], bytes, Mapping[str, str]], Answer],
        until: float = math.inf,
        *,
        hurried: bool = False,
        loop: Loop = NO_LOOP,
    ) -> None:
        self.plan = plan
        self.outcomes: list[Outcome] = []
        self.answer: Answer | None = None
        """The answer that is going out, once its first content has come."""
        self.route: Route | None = None
        self.first_content_at: float | None = None
        """Monotonic seconds."""
        self.longest_gap = 0.0
        """Seconds between two pieces of a stream, after its first content."""
        self.current: Target | None = None
        """What is being asked now."""
        self._means = means
        self._health = means.seen.health
        self._prompt = prompt
        self._make_answer = make_answer
        self._until = until
        self._hurried = hurried
        self._tool_loop = loop
        self._tries = plan.tries()
        self._position = 0
        self._errors: list[UpstreamError] = []
        self._asked: Target | None = None
        self._charges: list[str] = []
        """The accounts whose retry budgets this attempt is charged to."""
        self._moved_on = False
        self._sent = prompt
        """What the attempt under way was given."""
        self._omitted = NOTHING
        """What the route in question has refused of this request, and no one knew."""
        self._lessons = 0
        self._lesson: UpstreamError | None = None
        self._again = False
        self._media: Media | None = None

    @property
    def attempts(self) -> int:
        """Upstream calls so far, one under way included."""
        return len(self.outcomes) + (self.current is not None)

    @property
    def failed_over(self) -> bool:
        """Whether a preferred route had to be left, now or by what was known of it."""
        return self.route is not None and self.route is not self.plan.preferred

    def rows(self) -> Sequence[NewRow]:
        """What is to be kept of the answer, in the commit of the request's own row."""
        return () if self.answer is None else self._tool_loop.rows(self.answer.thoughts)

    @property
    def refused(self) -> bool:
        """Whether a provider refused the request itself, so that no other was asked."""
        return bool(self.outcomes) and (failure := self.outcomes[-1].failure) is not None and failure.final

    async def run(self, give: Give) -> None:
        """Give what goes to the caller. Raises `Problem` when no target is left or an answer breaks on its way."""
        for target in self._targets():
            visit = self._begin(target)
            if visit is None:
                continue
            self.current = target
            started = heard = monotonic()
            attempt = self._attempt(target)
            try:
                lacks = self._tool_loop.turn_to(target.route)
                if lacks or target.route in self.plan.fetching:
                    attempt = self._attempt(target, await self._completed(target, lacks=lacks))
                    started = heard = monotonic()
                await attempt.open(self._limits(target))
                answer = self._answer(target, attempt)
                while not attempt.over:
                    try:
                        events = await attempt.read()
                    except UpstreamError as error:
                        # Whose every choice has said that it is finished is whole, however the connection ended (F2).
                        if answer.finished and error.failure in _CUT:
                            break
                        raise
                    now = monotonic()
                    if self.answer is not None and now - heard > self.longest_gap:
                        self.longest_gap = now - heard
                    heard = now
                    for event in events:
                        ready = await asyncio.to_thread(answer.take_big, event) if attempt.heavy else answer.take(event)
                        for payload in ready:
                            if self.answer is None:
                                self._commit(answer, visit, attempt, started)
                            if (taken := give(payload)) is not None:
                                await taken
                if not (answer.finished or attempt.marked):
                    raise UpstreamError(Failure.TRUNCATED, "the answer ended before all its choices did")
                for payload in answer.end():
                    if self.answer is None:
                        self._commit(answer, visit, attempt, started)
                    if (taken := give(payload)) is not None:
                        await taken
            except UpstreamError as error:
                self._failed(visit, attempt, error, monotonic() - started)
                self._again = self._learns(error)
                if error.failure.final and not self._again:
                    break
            else:
                self._outcome(Outcome(target.route, None, 200, monotonic() - started))
                if self._health.troubled:
                    self._health.succeeded(visit)
                return
            finally:
                attempt.close()
                self._end(visit)
        raise verdict(self._said, self.outcomes)

    def _targets(self) -> Iterator[Target]:
        """The targets in order; one that is to be asked again, without what it refuses, comes again."""
        for target in self._tries:
            yield target
            while self._again:
                yield target

    def _attempt(self, target: Target, prompt: Prompt | None = None) -> AnyAttempt:
        means, sent = self._means, prompt or self._prompt
        if refused := means.seen.quirks.of(target.route) | self._omitted:
            sent = replace(sent, refused=refused)
        self._sent = sent
        if target.route not in self.plan.checked:
            return parts.attempt(means.upstreams, target, sent, means.background)
        may_repair = partial(self._may_repair, target, monotonic())
        return CheckedAttempt(means.upstreams, target, sent, means.background, may_repair)

    def _may_repair(self, target: Target, since: float) -> bool:
        """Whether an answer that did not satisfy its schema may be asked for again: a retry like any other."""
        account = target.route.account.table
        if not self._means.budget.take(account):
            return False
        self._charges.append(account)
        self.outcomes.append(Outcome(target.route, Failure.SCHEMA, 200, monotonic() - since))
        return True

    def _learns(self, error: UpstreamError) -> bool:
        """Whether an error names parameters that can be left out, so that the same target is asked without them.

        It is a step of its own, and no retry: what it teaches is not met again. Where nothing may be left out, the
        next target may be one that takes all.
        """
        if self._tool_loop.gives_up(error):
            self._lesson = self._errors.pop()
            return True
        names = refused_by(error, self._sent)
        if not names or self._lessons == MAX_LESSONS:
            return False
        if self.plan.strict and (dropped := sorted(names & LEFT_OUT)):
            error.failure, error.param = Failure.PARAMETER, dropped[0]
            error.text = f"{dropped[0]} would be dropped: this model refuses it."
            return False
        self._omitted |= names
        self._lessons += 1
        self._lesson = self._errors.pop()
        return True

    async def _completed(self, target: Target, *, lacks: bool) -> Prompt:
        """The request with what this target needs besides. Raises `UpstreamError`."""
        prompt = await self._media_as_data() if target.route in self.plan.fetching else self._prompt
        return await self._tool_loop.complete(prompt) if lacks else prompt

    def _answer(self, target: Target, attempt: AnyAttempt) -> Answer:
        route, sent, attempt.sent = target.route, attempt.sent, b""  # a long request is not kept as long as its answer
        return self._make_answer(route, route is not self.plan.preferred, attempt.adjustments, sent, attempt.evidence)

    async def _media_as_data(self) -> Prompt:
        """The request for a route that takes bytes. Raises `UpstreamError`."""
        if self._media is None:
            self._media = Media(self._means.upstreams.fetcher, self._prompt)
        return await self._media.as_data(self._until)

    def _begin(self, target: Target) -> Visit | None:
        """Take a place at this target if it comes next; then `_end` is due."""
        again, self._again, before = self._again, False, self._asked
        if not again:
            self._position += 1
            if before is not None and not self._goes_on(before, target):
                return None
        visit = self._health.begin(target, whatever=self.plan.last_resort)
        if visit is None:
            return None
        if not again and before is not None:
            if not self._pay(before, target):
                self._health.end(visit)
                return None
            if target.route is not before.route:
                self._omitted = NOTHING
        self._asked = target
        self._means.budget.active[target.route.account.table] += 1
        return visit

    def _end(self, visit: Visit) -> None:
        self._means.budget.active[visit.target.route.account.table] -= 1
        self._health.end(visit)
        while self._charges:
            self._means.budget.give_back(self._charges.pop())

    def _goes_on(self, before: Target, target: Target) -> bool:
        """Whether to ask a target after an error: the same route again only where the error may pass by itself."""
        failure = self._said[-1].failure
        if target == before:
            return failure not in _LASTING
        return target.route is not before.route or failure.of_the_key

    def _pay(self, before: Target, target: Target) -> bool:
        """Charge one more attempt to the retry budget of the account that was left, if there is room.

        Another key of the same route is free, and so is a request's first step to another provider: that is what
        failover is for.
        """
        if target.route is before.route and target.key != before.key:
            return True
        account = before.route.account.table
        if target.route.account.table != account and not self._moved_on:
            self._moved_on = True
            return True
        if not self._means.budget.take(account):
            return False
        self._charges.append(account)
        return True

    def _limits(self, target: Target) -> Limits:
        timeouts = self._means.timeouts
        if not self._prompt.stream or self._prompt.operation != "chat":
            # A whole answer is silent until it is there.
            return Limits(timeouts.connect, max(timeouts.total, timeouts.max_total), self._until)
        silence = self._patience(target)
        if target.route in self.plan.checked:
            silence = max(silence, timeouts.total)  # it is asked for whole
        return Limits(timeouts.connect, silence, self._until)

    def _patience(self, target: Target) -> float:
        """Seconds of silence before the first content of a stream."""
        timeouts = self._means.timeouts
        # Only a timeout's own way on makes it worth to leave early: another key of the same route is none.
        left = any(each == target or each.route is not target.route for each in self._tries[self._position :])
        return timeouts.first_content if left else timeouts.gap

    def _commit(self, answer: Answer, visit: Visit, attempt: AnyAttempt, started: float) -> None:
        """The first payload decides; from then on nothing is switched."""
        self.answer, self.route = answer, visit.target.route
        self.first_content_at = monotonic()
        means = self._means
        if not attempt.over:
            attempt.set_silence(means.timeouts.gap)
        if self._omitted:
            means.seen.quirks.learn(self.route, self._omitted)
        means.seen.paces.note(self.route, stream=self._prompt.stream, seconds=self.first_content_at - started)
        if visit.probes:
            self._health.answered(visit)

    def _failed(self, visit: Visit, attempt: AnyAttempt, error: UpstreamError, seconds: float) -> None:
        """Note a failed attempt. Raises `Problem` where no other may follow."""
        if self.answer is None:
            error.failure = _BEFORE_CONTENT.get(error.failure, error.failure)
        if error.status is None:
            error.status = attempt.status
        self._errors.append(error.with_traceback(None))  # its frames hold this walk: a circle
        self._outcome(Outcome(visit.target.route, error.failure, error.status, seconds))
        late = asyncio.get_running_loop().time() >= self._until - CLOCK_STEP
        if visit.probes or not (late and self._hurried and seconds < self._means.timeouts.first_content):
            # A caller in more of a hurry than we are says nothing about the provider.
            self._health.failed(visit, error)
        if self.answer is not None and self._prompt.stream:
            raise broken(error.failure, self.outcomes) from error
        self.answer = self.route = None
        if late and not error.failure.final:
            raise Problem(Failure.TIMEOUT.value, attempts=rendered(self.outcomes)) from error

    def _outcome(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.current = None

    @property
    def _said(self) -> Sequence[UpstreamError]:
        """What speaks against the targets; a refusal that was a lesson only where nothing came after it."""
        return self._errors or [error for error in (self._lesson,) if error is not None]
