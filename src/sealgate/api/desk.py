"""What every door to a model shares: who asks, the request's row and receipt, and how an answer goes out."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from sealgate.api import controls as control_headers
from sealgate.api.call import JSON, Call, Headers
from sealgate.api.controls import Controls
from sealgate.api.events import EventStream
from sealgate.api.guard import Guard
from sealgate.auth.caller import Caller
from sealgate.errors import Problem
from sealgate.formats import ids, sse
from sealgate.limits.ledger import Entry
from sealgate.limits.prices import shown
from sealgate.providers.base import Json
from sealgate.receipts.issuer import Draft, Order, Said
from sealgate.receipts.receipt import Kind
from sealgate.relay import counting
from sealgate.relay import plan as plans
from sealgate.relay.ask import Ask
from sealgate.relay.exchange import Exchange
from sealgate.relay.hall import Hall
from sealgate.storage import NewRow

MAX_RECEIPT_HEADER = 8 * 1024
"""Bytes of a receipt that still goes into a header; proxies refuse longer ones."""

IN_BODY = "chat.completions"
"""The endpoint whose answers say themselves which session and episode they belong to; of others, headers do."""

Flag = Literal["true", "false"]
Seconds = Annotated[str, Meta(pattern=r"^[1-9][0-9]*$")]
Nonce = Annotated[str, Meta(pattern=r"^[ -~]{1,128}$")]
Idempotency = Annotated[str, Meta(pattern=r"^[ -~]{1,255}$")]

HEADERS = (
    ("X-Request-ID", "An id of the caller's own, echoed; otherwise one is made."),
    ("X-Tresor-Timeout-Seconds", "Whole answers: seconds the request may take, 1 to 600.", Seconds),
    ("X-Tresor-Nonce", "1 to 128 printable ASCII characters: the receipt's claim `nonce`.", Nonce),
    (
        "X-Tresor-Receipt",
        "`false`: no receipt; `true`: a whole answer carries it in the header X-Tresor-Receipt too.",
        Flag,
    ),
    ("Idempotency-Key", "1 to 255 characters; its form is checked, repeated requests run again.", Idempotency),
    ("X-Sealgate-Strict", "`true`: refuse the request instead of dropping a parameter.", Flag),
)
"""Request headers that every door to a model reads."""

_encode = msgspec.json.Encoder().encode


class Dialect(Protocol):
    """How one door says what the relay says in OpenAI's words. One that must remember is made for each request."""

    content_type: bytes
    """Of whole answers."""

    def whole(self, payload: bytes) -> bytes:
        """The body of a whole answer."""

    def events(self, payload: bytes) -> bytes:
        """The events that one payload of a stream becomes, as they are sent; maybe none."""

    def end(self) -> bytes:
        """The terminal event of a stream that is whole: sent when the request's row is committed."""

    def broken(self, problem: Problem, request_id: str, receipt_id: str | None) -> bytes:
        """What ends a stream that could not be finished."""


class OpenAIDialect:
    """The relay's own words."""

    content_type = JSON

    def whole(self, payload: bytes) -> bytes:
        return payload

    def events(self, payload: bytes) -> bytes:
        return sse.event(payload)

    def end(self) -> bytes:
        return sse.DONE

    def broken(self, problem: Problem, request_id: str, receipt_id: str | None) -> bytes:
        """The official SDKs raise on it, and no ``[DONE]`` follows."""
        event: Json = {"error": problem.body(), "request_id": request_id}
        if receipt_id is not None:
            event["receipt_id"] = receipt_id
        return sse.event(_encode(event))


OPENAI = OpenAIDialect()


class Desk:
    """Answers the requests of one endpoint. ``endpoint`` is its name in the ledger, ``kind`` that of its receipts."""

    def __init__(self, hall: Hall, guard: Guard, endpoint: str, kind: Kind) -> None:
        self._hall = hall
        self._guard = guard
        self._endpoint = endpoint
        self._kind = kind

    async def enter(self, call: Call) -> tuple[Caller, Controls]:
        """Who asks, with a place for the request, and what its headers want. Raises `Problem`."""
        hall = self._hall
        caller = await self._guard.admitted(call)
        controls = control_headers.read(call.headers, call.noted, hall.settings.timeouts.max_total)
        if (call.noted.get(b"x-stainless-retry-count") or b"0") != b"0":
            hall.metrics.client_retries += 1
        return caller, controls

    async def answer(
        self,
        call: Call,
        caller: Caller,
        controls: Controls,
        ask: Ask,
        body: bytes | memoryview,
        dialect: Dialect,
        seconds: float | None = None,
        said: Said | None = None,
        beside: Callable[[], Sequence[NewRow]] = tuple,
    ) -> None:
        """Relay the request and send its answer.

        ``body`` is what came, for the receipt, and ``said`` what was answered, where the dialect has a form for that;
        ``seconds`` is how long a whole answer may take where nobody says. ``beside`` gives what is written in the
        commit of the request's row, once the dialect has all of the answer.
        """
        hall = self._hall
        entry = Entry(
            id=call.id,
            request_id=call.request_id,
            customer_id=caller.customer_id,
            key_id=caller.key_id,
            endpoint=self._endpoint,
            stream=ask.prompt.stream,
            created_at=call.started_us,
            model=ask.model,
            episode_id=ask.episode_id,
            end_user=ask.named.user,
        )
        order = Order(self._kind, call.route, ask.model, body, ask.fields, controls.nonce, controls.receipt, said)
        draft = hall.receipts.draft(call.id, order)
        if self._endpoint != IN_BODY:
            episode_id = ask.episode_id or ids.dashed(call.id)
            call.extra = (*call.extra, (b"x-tresor-episode-id", episode_id.encode("ascii")))
        usual = hall.settings.timeouts.total if seconds is None else seconds
        seconds = min(controls.timeout or usual, controls.client_seconds or math.inf)
        # By place: of arguments by name, the making of an object makes a dict.
        exchange = Exchange(hall, caller, ask, entry, call.started, seconds, call.ending, call.turn, draft, beside)
        call.entry = entry
        try:
            if ask.prompt.stream:
                await self._stream(call, exchange, draft, dialect, ask)
            else:
                await self._whole(call, exchange, draft, dialect, shown=bool(controls.receipt))
        except Problem as problem:
            _name_as_asked(problem, ask)
            raise

    async def count(self, call: Call, caller: Caller, ask: Ask) -> int:
        """How many tokens the request's input has. Raises `Problem`.

        Nothing is generated, recorded or charged, but it is a request to a provider.
        """
        hall = self._hall
        try:
            plan = plans.make(hall.catalog, ask, caller, hall.means.seen)
        except Problem as problem:
            _name_as_asked(problem, ask)
            raise
        if (waiting := call.turn.take(plan.targets, ask)) is not None:
            await waiting
        try:
            return await counting.count(hall.means, plan, ask)
        finally:
            call.turn.settle(0)

    async def _whole(self, call: Call, exchange: Exchange, draft: Draft, dialect: Dialect, *, shown: bool) -> None:
        try:
            async with exchange as relay:
                self._tell_session(call, exchange)
                payloads: list[bytes] = []
                await relay(payloads.append)
                body = dialect.whole(payloads[0] if len(payloads) == 1 else b"".join(payloads))
                draft.written(body)
        finally:
            call.receipt_id = exchange.receipt_id
            if shown and draft.jws is not None and len(draft.jws) <= MAX_RECEIPT_HEADER:
                call.extra = (*call.extra, (b"x-tresor-receipt", draft.jws.encode("ascii")))
        await call.respond(200, body, dialect.content_type, _cost_header(exchange.entry))

    def _tell_session(self, call: Call, exchange: Exchange) -> None:
        """In a header, where the answers of this endpoint have no room for it."""
        if exchange.entry.session_id is not None and self._endpoint != IN_BODY:
            call.extra = (*call.extra, (b"x-tresor-session-id", exchange.entry.session_id.encode("ascii")))

    async def _stream(self, call: Call, exchange: Exchange, draft: Draft, dialect: Dialect, ask: Ask) -> None:
        with EventStream(call, self._hall.settings.timeouts.keep_alive, draft.written) as events:
            try:
                try:
                    async with exchange as relay:
                        call.receipt_id = exchange.receipt_id
                        self._tell_session(call, exchange)
                        try:
                            await relay(lambda payload: events.write(dialect.events(payload)))
                        finally:
                            events.hush()
                finally:
                    call.receipt_id = exchange.receipt_id
            except asyncio.CancelledError:
                if not call.connection_ends:
                    raise
                # The drain is over. The caller is still there and must not take this for a whole answer.
                await _break_off(call, events, dialect, Problem("gateway_shutting_down"), ask)
            except Problem as problem:
                await _break_off(call, events, dialect, problem, ask)
            else:
                await events.end(dialect.end())


def hold_to(ask: Ask, caller: Caller, controls: Controls) -> None:
    """Take over what headers and key want of the request. Raises `Problem` where it cannot be so."""
    ask.strict = controls.strict or caller.settings.strict
    if controls.timeout is not None and ask.prompt.stream:
        raise Problem("invalid_timeout_override", "X-Tresor-Timeout-Seconds is for whole answers only.")
    if ask.strict and ask.adjustments:
        first = ask.adjustments[0]
        raise Problem(
            "unsupported_parameter", f"{first.param} would be {first.action}: {first.detail}.", param=first.param
        )


def _name_as_asked(problem: Problem, ask: Ask) -> None:
    """The field that a problem is about, by the name that the caller knows it by."""
    inner = problem.param or ""
    parts = [part for part in ask.names if part[0] == "." and part in inner]
    name = inner.replace(parts[0], ask.names[parts[0]]) if parts else ask.names.get(inner)
    if name is not None:
        problem.param = name
        problem.message = re.sub(rf"(?<!\w){re.escape(inner)}(?!\w)", lambda _: name, problem.message)


async def _break_off(call: Call, events: EventStream, dialect: Dialect, problem: Problem, ask: Ask) -> None:
    if not events.started:
        raise problem
    _name_as_asked(problem, ask)
    call.code = problem.code.name
    await events.end(dialect.broken(problem, call.request_id, call.receipt_id))


def _cost_header(entry: Entry) -> Headers:
    """What a whole answer cost, where its route has a price; a stream's head goes out before that is known."""
    return [] if entry.cost is None else [(b"x-tresor-cost", shown(entry.cost).encode())]
