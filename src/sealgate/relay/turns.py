"""A request's turn: what its caller's limits let it take, and what it gives back when it has ended.

Limits are those of the caller, or the configuration's for callers that have none; and those of each model that may
serve the request, which every caller has to itself. Who has no limits gets `FREE`, which asks nobody.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

from sealgate.auth.caller import Caller, account
from sealgate.config_tables import Limits, Settings
from sealgate.errors import Problem
from sealgate.limits.limiter import Kind, Limiter, Refused, Rule, Standing, Taken, Verdict, rules
from sealgate.relay.ask import Ask
from sealgate.relay.catalog import Route, Target
from sealgate.relay.usage import BYTES_PER_TOKEN

QUEUE_SECONDS = 2.0
"""A request waits so long for a place; as many as there are places may wait (row D5)."""
POLL_SECONDS = 0.25
"""After that it looks again: another process may have given one back."""
SOON = 60
"""The official SDKs come again after a wait of at most so many seconds; sooner than told, where it is longer."""
MAX_KNOWN = 50_000
"""Callers whose rules are remembered."""

_NOTHING = Limits()
"""A key made with no limit set has none of its own, and is not exempt."""
_CODES = {Kind.TOKENS_PER_MINUTE: "token_limit_exceeded", Kind.CONCURRENCY: "concurrency_limit"}
_WORDS = {
    Kind.REQUESTS_PER_MINUTE: "requests a minute",
    Kind.REQUESTS_PER_DAY: "requests a day",
    Kind.TOKENS_PER_MINUTE: "tokens a minute",
    Kind.CONCURRENCY: "requests at the same time",
}


class Turns:
    """Gives every request its turn. ``count`` hears the `Kind` of each limit that was in the way."""

    def __init__(self, limiter: Limiter, settings: Settings, count: Callable[[str], None]) -> None:
        self.limiter = limiter
        self.queues: dict[str, deque[asyncio.Future[None]]] = {}
        """Who waits for a place, by the rule's key; only where somebody does."""
        self._count = count
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take the limits of another configuration. What was used stays used."""
        self.default = settings.limits.own
        self.models = {key: model.limits for key, model in settings.models.items() if model.limits is not None}
        self._places: dict[tuple[str, str], set[str]] = {}
        for key in self.models:
            for route in settings.models[key].routes:
                self._places.setdefault((route.provider, route.model), set()).add(key)
        self._known: dict[int, _Known] = {}
        """By the callers' identities: whoever asks again is the same object for as long as nothing changes."""
        self._at_models: dict[tuple[str, str], tuple[Rule, ...]] = {}

    def turn(self, caller: Caller) -> Turn:
        """For one request of this caller."""
        if caller.limits is None and self.default is None and not self.models:
            return FREE
        known = self._known.get(id(caller))
        if known is None or known.caller is not caller:
            known = self._meet(caller)
        return FREE if known.is_free else Turn(self, known)

    def limits(self, caller: Caller) -> Limits | None:
        """What holds for a caller: its own limits, else the configuration's."""
        own = caller.limits
        return self.default if own is None or own == _NOTHING else own

    async def aclose(self) -> None:
        await self.limiter.aclose()

    def of_models(self, whose: str, routes: Iterable[Route]) -> list[Rule]:
        """The rules of every model that these routes are places of, under whatever name they were asked for."""
        keys: set[str] = set()
        for route in routes:
            if route.key in self.models:
                keys.add(route.key)
            else:
                keys |= self._places.get((route.account.table, route.upstream_model), set())
        return [rule for key in sorted(keys) for rule in self._rules_at(whose, key)]

    async def refused(self, verdict: Refused, wanted: Sequence[Rule], tokens: int) -> Taken | Refused:
        """What a refusal comes to in the end: where only a place is missing, one is waited for."""
        found: Taken | Refused = verdict
        if verdict.rule.kind is Kind.CONCURRENCY:
            found = await self._queue(verdict, wanted, tokens)
        if isinstance(found, Refused):
            self._count(found.rule.kind.value)
        return found

    def left(self, rules: Iterable[Rule]) -> None:
        """Places have become free: whoever waits for one looks again."""
        for rule in rules:
            if not rule.seconds and (queue := self.queues.get(rule.key)):
                next_one = next((each for each in queue if not each.done()), None)
                if next_one is not None:
                    next_one.set_result(None)

    async def _queue(self, refused: Refused, wanted: Sequence[Rule], tokens: int) -> Taken | Refused:
        key, verdict = refused.rule.key, refused
        if len(self.queues.get(key, ())) >= refused.rule.limit:
            return verdict
        loop = asyncio.get_running_loop()
        until = loop.time() + QUEUE_SECONDS
        while (left := until - loop.time()) > 0:
            await self._wait(key, min(left, POLL_SECONDS))
            found = await self.limiter.take(wanted, tokens)
            if isinstance(found, Taken) or found.rule.kind is not Kind.CONCURRENCY:
                return found
            verdict = found
        return verdict

    async def _wait(self, key: str, seconds: float) -> None:
        """Until a place is free and it is this one's turn, or for so long."""
        queue = self.queues.setdefault(key, deque())
        future = asyncio.get_running_loop().create_future()
        queue.append(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            pass
        finally:
            queue.remove(future)
            if not queue:
                self.queues.pop(key, None)

    def _meet(self, caller: Caller) -> _Known:
        limits, whose = self.limits(caller), _whose(caller)
        own = () if limits is None else rules(whose, limits)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        found = self._known[id(caller)] = _Known(caller, whose, own, is_free=limits is None and not self.models)
        return found

    def _rules_at(self, whose: str, model: str) -> tuple[Rule, ...]:
        found = self._at_models.get((whose, model))
        if found is None:
            if len(self._at_models) >= MAX_KNOWN:
                self._at_models.clear()
            found = rules(f"{whose}:{_digest(model)}", self.models[model], model)
            self._at_models[whose, model] = found
        return found


class _Known(NamedTuple):
    """What is the same for all requests of a caller."""

    caller: Caller
    whose: str
    own: tuple[Rule, ...]
    is_free: bool


class Turn:
    """One request's: `take` before anything is asked of a provider, `settle` when it has ended."""

    __slots__ = ("_own", "_prompt", "_taken", "_turns", "_whose", "known")

    def __init__(self, turns: Turns, known: _Known) -> None:
        self._turns = turns
        self._whose = known.whose
        self._own = known.own
        self.known: Sequence[Standing] | None = None
        """Where the caller stands after this request, once that has been asked for."""
        self._taken: Taken | None = None
        self._prompt = 0

    def take(self, targets: Iterable[Target], ask: Ask, /) -> Awaitable[None] | None:
        """Raises `Problem` where a limit says no, at once or when it is awaited; None: there is nothing to wait for.

        Of tokens, the prompt's are reserved as they are estimated, and the most that the answer may have, where the
        request sets that; else the answer's count when they are known.
        """
        turns, wanted = self._turns, self._own
        if turns.models:
            wanted = (*wanted, *turns.of_models(self._whose, (target.route for target in targets)))
        if not wanted:
            return None
        self._prompt = prompt = ask.size // BYTES_PER_TOKEN or 1
        tokens = prompt + (ask.max_tokens or 0) * ask.choices
        verdict = turns.limiter.take_now(wanted, tokens)
        if type(verdict) is not Taken:
            return self._wait(verdict, wanted, tokens)
        self.known, self._taken = verdict.standings, verdict
        return None

    async def _wait(self, verdict: Verdict | None, wanted: Sequence[Rule], tokens: int) -> None:
        turns = self._turns
        if verdict is None:
            verdict = await turns.limiter.take(wanted, tokens)
        if isinstance(verdict, Refused):
            verdict = await turns.refused(verdict, wanted, tokens)
        self.known = verdict.standings
        if isinstance(verdict, Refused):
            raise _problem(verdict)
        self._taken = verdict

    def settle(self, tokens: int | None, /) -> None:
        """The request has ended with so many tokens; None: nobody knows, but the prompt was sent."""
        taken = self._taken
        if taken is None:
            return
        self._taken = None
        used = self._prompt if tokens is None else tokens
        if more := used - taken.tokens:
            for standing in taken.standings:
                if standing.rule.of_tokens:
                    left = standing.remaining - more
                    standing.remaining = left if left > 0 else 0
        taken.limiter.settle(taken, used)
        if self._turns.queues:
            self._turns.left(taken.rules)

    async def standings(self) -> Sequence[Standing]:
        """As ``known``, or where the caller stands now, where the request did not come so far."""
        if self.known is None:
            self.known = await self._turns.limiter.look(self._own) if self._own else ()
        return self.known


class _Free(Turn):
    """The turn of those who have no limits."""

    __slots__ = ()

    def __init__(self) -> None:
        """Nothing else belongs to it."""
        self.known = ()

    def take(self, _targets: Iterable[Target], _ask: Ask) -> None:
        return

    def settle(self, _tokens: int | None) -> None:
        return

    async def standings(self) -> Sequence[Standing]:
        return ()


FREE = _Free()


def _whose(caller: Caller) -> str:
    """A name for whoever's use is counted together, the same on every replica. Users' names stay out of the store.

    A user's token counts with the key whose limits it has; but where users share a customer, each counts alone.
    """
    if caller.user_id is not None:
        if caller.limits_key_id is not None and account(caller)[1] is None:
            return f"key:{caller.limits_key_id}"
        return "user:" + _digest(caller.customer_id, caller.user_id)
    return f"key:{caller.key_id}" if caller.key_id is not None else "customer:" + _digest(caller.customer_id)


def _digest(*parts: str) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()


def _problem(refused: Refused) -> Problem:
    rule, wait = refused.rule, refused.wait
    at = f" of the model '{rule.model}'" if rule.model is not None else ""
    message = f"At most {rule.limit} {_WORDS[rule.kind]} may be asked{at}."
    if wait == math.inf:
        message = f"The request alone may use more than the {rule.limit} tokens a minute that may be asked{at}."
    problem = Problem(
        _CODES.get(rule.kind, "rate_limit_exceeded"), message, retry_after=max(1, math.ceil(round(min(wait, 1e6), 3)))
    )
    if wait > SOON:
        # Whoever comes again sooner, as the SDKs would, is only refused again.
        problem.code = replace(problem.code, should_retry=False)
    if wait == math.inf:
        problem.retry_after = None
    return problem
