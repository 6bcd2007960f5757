"""One chat request from a parsed body to its last payload: plan, walk, one settlement. Streamed and whole alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeAlias

import msgspec

from sealgate.auth.caller import Caller, scope
from sealgate.config_tables import Budget
from sealgate.formats import ids
from sealgate.limits.ledger import Entry
from sealgate.providers.base import Adjustment, Json
from sealgate.receipts.issuer import NO_DRAFT, Draft
from sealgate.relay import plan as plans
from sealgate.relay import reservation, transcripts
from sealgate.relay import stay as stays
from sealgate.relay.admission import Admission
from sealgate.relay.answer import Answer, Label, StreamedAnswer, WholeAnswer
from sealgate.relay.ask import Ask
from sealgate.relay.attempt import NO_EVIDENCE
from sealgate.relay.catalog import Route
from sealgate.relay.embeddings import EmbeddingsAnswer
from sealgate.relay.hall import Hall
from sealgate.relay.plan import Plan
from sealgate.relay.recall import NO_LOOP, Loop
from sealgate.relay.turns import Turn
from sealgate.relay.walk import Give, Walk
from sealgate.storage import NewRow

Relay: TypeAlias = Callable[[Give], Coroutine[Any, Any, None]]


class Exchange:
    """``async with Exchange(...) as relay: await relay(give)``: JSON documents, each chunk of a stream as it comes, or
    the one answer.

    When the block is left without an error, after the last payload, the request's row is committed: the terminal bytes
    may go out. ``seconds`` is the whole time a whole answer may take. ``ending`` says why a cancelled request ends; see
    `Admission`. ``turn`` is the request's, where somebody wants to know how it stands; else one is taken here.
    ``draft`` is its receipt; whoever writes the answer tells it of each piece that went out. ``beside`` gives what is
    written in the same commit. Both the block and ``relay`` raise `Problem`.
    """

    def __init__(
        self,
        hall: Hall,
        caller: Caller,
        ask: Ask,
        entry: Entry,
        started: float,
        seconds: float,
        ending: Callable[[], str | None] = lambda: None,
        turn: Turn | None = None,
        draft: Draft = NO_DRAFT,
        beside: Callable[[], Sequence[NewRow]] = tuple,
    ) -> None:
        until = math.inf
        if not ask.prompt.stream:
            # A whole answer must be there by then; streams have only limits on silence.
            until = hall.loop.time() + seconds - (time.monotonic() - started)
        self.entry = entry
        self._hall = hall
        self._caller = caller
        self._ask = ask
        self._hurried = seconds < hall.means.timeouts.total
        self._until = until
        self._turn = turn or hall.turns.turn(caller)
        self._admission = Admission(hall, entry, started, ending, until, self._turn, draft, beside)
        self._admission.ask = ask
        self._stay = stays.of(hall.sessions, hall.catalog, caller, ask)
        entry.user_id = caller.user_id

    @property
    def receipt_id(self) -> str | None:
        """Of the receipt that there is or will be; None where there is none, or where it could not be recorded."""
        admission = self._admission
        return None if admission.walk is None or admission.lost else admission.draft.id

    async def __aenter__(self) -> Relay:
        self._admission.enter()
        try:
            stay = self._stay
            if (looking := stay.enter()) is not None:
                await looking
            plan = self._plan()
            if (waiting := self._turn.take(plan.targets, self._ask)) is not None:
                await waiting
            if (opening := stay.begin()) is not None:
                await opening
            self.entry.session_id = stay.session_id
            if self._caller.budget is not None:
                plan = await self._reserve(plan, self._caller.budget)
            return self._walk(plan).run
        except BaseException as error:
            await self._admission.leave(error)
            raise

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if error is None:
            await self._admission.settle()
            self._stay.served(self.entry.routed_model)
        else:
            await self._admission.leave(error)

    def _plan(self) -> Plan:
        plan = plans.make(self._hall.catalog, self._ask, self._caller, self._hall.means.seen, self._stay.pin)
        self.entry.requested_route = plan.requested_route
        return plan

    async def _reserve(self, plan: Plan, budget: Budget) -> Plan:
        """The routes that the budget has room for, once that is reserved. Raises `Problem`."""
        hall = self._hall
        admission = self._admission
        purse = hall.budgets.purse(scope(self._caller), budget, self.entry, admission.draft.begun)
        admission.purse = purse
        return await reservation.reserve(purse, self._ask, plan, hall.settings.billing.currency)

    def _walk(self, plan: Plan) -> Walk:
        hall, ask, entry, means = self._hall, self._ask, self._admission.entry, self._hall.means
        loop = hall.recall.loop(self._caller.customer_id, ask.prompt)
        draft = self._admission.draft
        on_finish = ask.include_usage and _usage_on_finish(hall, self._caller)
        answers = AnswerMaker(plan, ask, entry, on_finish, loop, draft)
        walk = Walk(means, plan, ask.prompt, answers, self._until, hurried=self._hurried, loop=loop)
        self._admission.walk = walk
        return walk


def _usage_on_finish(hall: Hall, caller: Caller) -> bool:
    own = caller.settings.usage_on_finish_chunk
    return hall.settings.server.usage_on_finish_chunk if own is None else own


class AnswerMaker(msgspec.Struct, eq=False):
    """Makes the answer of one attempt, labelled with the route that will serve it."""

    plan: Plan
    ask: Ask
    entry: Entry
    usage_on_finish: bool
    loop: Loop = NO_LOOP
    draft: Draft = NO_DRAFT

    def __call__(
        self,
        route: Route,
        failover: bool,
        changed: Sequence[Adjustment],
        sent: bytes,
        evidence: Mapping[str, str] = NO_EVIDENCE,
    ) -> Answer:
        """``sent`` is the body that was sent to this route, ``evidence`` what its answer's head showed of itself."""
        ask, draft = self.ask, self.draft
        draft.forwarded(sent)
        tresor: Json = {
            "requested_route": self.plan.requested_route,
            "routed_model": route.id,
            "failover": failover,
        }
        if draft.id is not None:
            tresor = {"receipt_id": draft.id, **tresor}
        if ask.names:
            changed = [each._replace(param=ask.names.get(each.param, each.param)) for each in changed]
        adjustments = [*ask.adjustments, *self.loop.said, *changed]
        if ask.prompt.extra_headers:
            adjustments += [
                Adjustment(f"tensorzero::extra_headers.{name}", "dropped", "the operator does not let callers set it")
                for name in ask.prompt.extra_headers
                if name not in route.account.allowed_headers
            ]
        if adjustments:
            tresor["adjustments"] = [adjustment._asdict() for adjustment in adjustments]
        if evidence:
            tresor["inference_evidence"] = evidence
        label = Label(
            id=f"chatcmpl-{self.entry.id}",
            model=ask.named.model or ask.model,
            created=self.entry.created_at // 1_000_000,
            episode_id=ask.episode_id or ids.dashed(self.entry.id),
            tresor=tresor,
            tariff=route.tariff,
            session_id=self.entry.session_id,
        )
        answer = self._blank(label)
        answer.thoughts = self.loop.watch()
        return answer

    def _blank(self, label: Label) -> Answer:
        ask = self.ask
        if ask.type == "transcription":
            return transcripts.answer(label, ask)
        if ask.prompt.operation == "embeddings":
            return EmbeddingsAnswer(label, ask)
        if not ask.prompt.stream:
            return WholeAnswer(label, ask.choices, ask.size, ask.stops)
        return StreamedAnswer(
            label, ask.choices, ask.size,
            include_usage=ask.include_usage, usage_on_finish=self.usage_on_finish,
            receipted=self.draft.id is not None, stops=ask.stops,
        )  # fmt: skip
