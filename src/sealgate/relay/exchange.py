"""One chat request from a parsed body to its last payload: plan, walk, one settlement. Streamed and whole alike."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

from sealgate.auth.caller import Caller
from sealgate.limits.ledger import Entry
from sealgate.providers.base import Adjustment
from sealgate.relay import plan as plans
from sealgate.relay.admission import Admission
from sealgate.relay.answer import Answer, Label, StreamedAnswer, WholeAnswer
from sealgate.relay.catalog import Route
from sealgate.relay.hall import Hall
from sealgate.relay.plan import Plan
from sealgate.relay.request import Ask
from sealgate.relay.walk import Walk


@asynccontextmanager
async def exchange(
    hall: Hall,
    caller: Caller,
    ask: Ask,
    entry: Entry,
    *,
    started: float,
    seconds: float,
    ending: Callable[[], str | None] = lambda: None,
) -> AsyncGenerator[AsyncGenerator[bytes]]:
    """Gives the payloads: JSON documents, each chunk of a stream as it comes, or the one whole answer.

    When the block is left without an error, the request's row is committed: the terminal bytes may go out. ``seconds``
    is the whole time a whole answer may take. ``ending`` says why a cancelled request ends; see `Admission`. The block
    and the payloads raise `Problem`.
    """
    means, until = hall.means, math.inf
    if not ask.prompt.stream:
        # A whole answer must be there by then; streams have only limits on silence.
        until = asyncio.get_running_loop().time() + seconds - (time.monotonic() - started)
    async with Admission(hall, entry, started, ending, until) as admission:
        plan = plans.make(hall.catalog, ask, caller, means.seen)
        entry.requested_route = plan.requested_route
        answers = AnswerMaker(plan, ask, entry, _usage_on_finish(hall, caller))
        walk = admission.walk = Walk(means, plan, ask.prompt, answers, until, hurried=seconds < means.timeouts.total)
        async with aclosing(walk.payloads()) as payloads:
            yield payloads
        await admission.settle()


def _usage_on_finish(hall: Hall, caller: Caller) -> bool:
    own = caller.settings.usage_on_finish_chunk
    return hall.settings.server.usage_on_finish_chunk if own is None else own


class AnswerMaker:
    """Makes the answer of one attempt, labelled with the route that will serve it."""

    def __init__(self, plan: Plan, ask: Ask, entry: Entry, usage_on_finish: bool) -> None:
        self._plan = plan
        self._ask = ask
        self._entry = entry
        self._usage_on_finish = usage_on_finish

    def __call__(self, route: Route, failover: bool, changed: Sequence[Adjustment] = ()) -> Answer:
        ask = self._ask
        tresor = {
            "requested_route": self._plan.requested_route,
            "routed_model": route.id,
            "failover": failover,
        }
        adjustments = [*ask.adjustments, *changed]
        adjustments += [
            Adjustment(f"tensorzero::extra_headers.{name}", "dropped", "the operator does not let callers set it")
            for name in ask.prompt.extra_headers
            if name not in route.account.allowed_headers
        ]
        if adjustments:
            tresor["adjustments"] = [adjustment._asdict() for adjustment in adjustments]
        label = Label(
            id=f"chatcmpl-{self._entry.id}",
            model=ask.typed.model or ask.model,
            created=self._entry.created_at // 1_000_000,
            episode_id=ask.episode_id,
            tresor=tresor,
        )
        choices = ask.typed.n or 1
        if not ask.prompt.stream:
            return WholeAnswer(label, choices, ask.size)
        return StreamedAnswer(
            label, choices, ask.size,
            include_usage=ask.include_usage, usage_on_finish=self._usage_on_finish and ask.include_usage,
        )  # fmt: skip
