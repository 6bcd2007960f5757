"""In once, out once: whatever happens to a request, exactly one row says how it ended."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise

from sealgate.errors import CODES, Failure, Problem, StorageError
from sealgate.limits.budgets import Unlimited
from sealgate.limits.ledger import Entry, Outcome, Written, row
from sealgate.receipts.issuer import NO_DRAFT, Draft
from sealgate.relay import usage as usages
from sealgate.relay.ask import Ask
from sealgate.relay.hall import Hall
from sealgate.relay.told import told
from sealgate.relay.turns import FREE, Turn
from sealgate.relay.verdict import Outcome as Attempted
from sealgate.relay.walk import Walk
from sealgate.storage import NewRow

OPERATIONS = {
    "chat.completions": "chat",
    "embeddings": "embeddings",
    "audio.transcriptions": "transcription",
    "audio.translations": "translation",
    "messages": "chat",
    "responses": "chat",
}
"""Ledger endpoint to OpenTelemetry's ``gen_ai.operation.name``."""

COMMIT_SECONDS = 1.0
"""A whole answer's row may take so long beyond the answer's own limit."""

OURS_TO_MEND = {Failure.CREDENTIAL, Failure.QUOTA, Failure.MODEL_GONE, Failure.TLS, Failure.REDIRECT}
"""Failures that stay until somebody mends an account or the catalog: the log says them loudly."""


class Admission:
    """`enter`, then `settle` before the terminal bytes; `leave` where that does not come, or fails.

    ``started`` is monotonic seconds; ``until``, by the event loop's clock, is when a whole answer must be there.
    ``ending`` says why a cancelled request ends: ``client_stalled``, ``gateway_shutting_down``, or None where the
    caller just left. ``turn`` is what its caller's limits gave it, settled with everything else. ``beside`` gives what
    else is written in the commit of an answer that is whole.
    """

    def __init__(
        self,
        hall: Hall,
        entry: Entry,
        started: float,
        ending: Callable[[], str | None],
        until: float = math.inf,
        turn: Turn = FREE,
        draft: Draft = NO_DRAFT,
        beside: Callable[[], Sequence[NewRow]] = tuple,
    ) -> None:
        self.entry = entry
        self.draft = draft
        self.walk: Walk | None = None
        self.lost = False
        """Whether the row, and the receipt with it, may not have been recorded."""
        self.ask: Ask | None = None
        self.purse: Unlimited = hall.budgets.unlimited
        self._hall = hall
        self._started = started
        self._ending = ending
        self._until = until
        self._turn = turn
        self._beside = beside
        self._settled = False

    def enter(self) -> None:
        """Raises `Problem` while the storage fails (rows H3, H4): nothing is begun that could not be recorded."""
        if self._hall.storage.failing:
            raise Problem("storage_unavailable")

    async def settle(self) -> None:
        """Record a whole answer and wait for the commit. Raises `Problem` where it cannot be recorded (row F18)."""
        self._settled = True
        try:
            rows = self.walk.rows() if self.walk is not None else ()
            await self._append(self._close(Outcome.OK, 200, None), (*rows, *self._beside()))
        except StorageError as error:
            self.lost = True
            self._hall.log.error("ledger_unavailable", request_id=self.entry.request_id, error=str(error))
            self.entry.outcome, self.entry.status = Outcome.ERROR, CODES["storage_unavailable"].status
            raise Problem("storage_unavailable") from error
        finally:
            self._measure()

    async def leave(self, error: BaseException) -> None:
        """Settle what was not, as it came to this end."""
        if self._settled:
            return
        self._settled = True
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            # Nobody waits for this answer any more, so nothing may be awaited for it either.
            self.purse.settle_nowait(self._close(*self._cut_off()))
            self._measure()
            self._keep_of_finished()
            return
        if isinstance(error, Problem):
            values = self._close(self._outcome(), error.status, error.code.name)
        else:
            values = self._close(Outcome.ERROR, 500, "internal_error")
        self._measure()
        if self.entry.outcome is Outcome.DENIED:
            # Nothing was done for the caller, so the refusal need not wait for its row.
            self.purse.settle_nowait(values)
            return
        try:
            await self._append(values)
        except StorageError as lost:
            self.lost = True
            # The caller is told of the first error; the operator of both.
            self._hall.log.error("ledger_unavailable", request_id=self.entry.request_id, error=str(lost))

    def _keep_of_finished(self) -> None:
        """A caller may leave a stream at the finish chunk, and go on with the tools that were called."""
        walk = self.walk
        if walk is not None and walk.answer is not None and self.entry.stream and walk.answer.finished:
            for table, values in walk.rows():
                self._hall.storage.append_nowait(table, values)

    def _append(self, values: Written, beside: Sequence[NewRow] = ()) -> Awaitable[None]:
        """Raises `StorageError`, at once or when it is awaited.

        A row that took too long is not waited for; it may still come (as in row H2).
        """
        limit = None
        if self._until != math.inf:
            limit = max(self._until, self._hall.loop.time() + COMMIT_SECONDS)
        return self.purse.settle(values, limit, beside)

    def _cut_off(self) -> tuple[Outcome, int, str | None]:
        """How a request ended whose task was cancelled: its caller is gone, or the server ends."""
        how = self._ending()
        if how == "gateway_shutting_down":
            return Outcome.TRUNCATED, CODES[how].status, how
        return Outcome.CLIENT_DISCONNECTED, 499, how

    def _outcome(self) -> Outcome:
        """How a request that ended in a `Problem` counts."""
        if self.walk is None:
            return Outcome.DENIED
        if self.walk.answer is not None:
            return Outcome.TRUNCATED
        return Outcome.UPSTREAM_FAILED if self.walk.outcomes else Outcome.DENIED

    def _close(self, outcome: Outcome, status: int, code: str | None) -> Written:
        """Fill in the end of the row. There is no receipt before there is a plan."""
        entry, seconds = self.entry, time.monotonic() - self._started
        entry.outcome, entry.status, entry.code = outcome, status, code
        entry.duration_us = int(seconds * 1e6)
        walk = self.walk
        if walk is not None:
            _describe(entry, walk, self._started)
            if walk.answer is None and outcome in (Outcome.CLIENT_DISCONNECTED, Outcome.TRUNCATED):
                _abandoned(entry, walk, self.ask)
        self._turn.settle(self._tokens())
        values = row(entry)
        if walk is None:
            return values
        # Now, since what is known of a provider may change before the row is written.
        served = walk.route if walk.answer is not None else None
        evidence = self._hall.inference.claim(served.account.table) if served is not None else None
        return self.draft.sealed(values, lambda: told(values, walk, evidence))

    def _tokens(self) -> int | None:
        """What the request used, for its turn; None where its prompt was sent and nothing was heard of it."""
        entry = self.entry
        if entry.prompt_tokens is not None:
            return entry.prompt_tokens + (entry.completion_tokens or 0)
        return None if entry.outcome is Outcome.CLIENT_DISCONNECTED and entry.attempts else 0

    def _measure(self) -> None:
        entry, metrics, walk = self.entry, self._hall.metrics, self.walk
        seconds = entry.duration_us / 1e6
        operation = OPERATIONS[entry.endpoint]
        provider, model = entry.provider or "", self._model_label()
        metrics.inference(operation, provider, model, entry.outcome, seconds)
        if walk is None:
            return
        for outcome in walk.outcomes:
            metrics.attempt(outcome.route.provider, outcome.failure.name.lower() if outcome.failure else "ok")
            if outcome.failure in OURS_TO_MEND:
                self._complain(outcome)
        for left, taken in pairwise(walk.outcomes) if len(walk.outcomes) > 1 else ():
            if left.failure is not None and left.route != taken.route:
                metrics.failover(left.route.provider, left.failure.name.lower())
        if walk.answer is not None and entry.first_content_us is not None:
            used = entry.prompt_tokens or 0, entry.completion_tokens or 0
            metrics.answered(operation, provider, model, entry.first_content_us / 1e6, *used)
            if walk.longest_gap:
                metrics.longest_gap(provider, model, walk.longest_gap)

    def _model_label(self) -> str:
        """The route for metrics; a name from outside the catalog makes no series of its own."""
        route = self.walk.route if self.walk is not None else None
        if route is None:
            return ""
        return route.id if route.key in self._hall.catalog.models else f"{route.provider}::*"

    def _complain(self, attempt: Attempted) -> None:
        self._hall.log.error(
            "upstream_refused_us",
            request_id=self.entry.request_id,
            provider=attempt.route.provider,
            routed_model=attempt.route.id,
            failure=attempt.failure.name.lower() if attempt.failure else None,
            upstream_status=attempt.status,
        )


def _describe(entry: Entry, walk: Walk, started: float) -> None:
    """What the walk says about where the answer came from."""
    entry.attempts = walk.attempts
    if walk.route is None or walk.answer is None:
        return
    usage = walk.answer.usage
    entry.routed_model = walk.route.id
    entry.provider = walk.route.provider
    entry.upstream_model = walk.route.upstream_model
    entry.reported_model = walk.answer.reported_model
    entry.failover = walk.failed_over
    entry.prompt_tokens = usage.prompt
    entry.completion_tokens = usage.completion
    entry.cached_tokens = usage.cached
    entry.reasoning_tokens = usage.reasoning
    entry.cache_write_tokens = usage.cache_write
    if (tariff := walk.route.tariff) is not None:
        entry.cost, entry.currency = walk.answer.cost, tariff.currency
    entry.usage_source = "reported" if usage.source == "reported" else "estimated"
    if walk.first_content_at is not None:
        entry.first_content_us = int((walk.first_content_at - started) * 1e6)


def _abandoned(entry: Entry, walk: Walk, ask: Ask | None) -> None:
    """The caller left while a provider was working, before anything came: the prompt was sent, and is paid for."""
    if walk.current is None or ask is None:
        return
    tariff = walk.current.route.tariff
    usage = usages.estimate(ask.size, 0)
    entry.prompt_tokens, entry.usage_source = usage.prompt, "estimated"
    if tariff is not None:
        entry.cost, entry.currency = tariff.cost(usage.prompt, 0, audio_ms=ask.audio_ms), tariff.currency
