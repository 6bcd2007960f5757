"""``POST /v1/chat/completions``: the door of a chat, streamed or whole."""

from __future__ import annotations

import asyncio
import math
from urllib.parse import parse_qs

import msgspec

from sealgate.api import controls as control_headers
from sealgate.api.call import JSON, Call, Headers
from sealgate.api.controls import Controls
from sealgate.api.events import EventStream
from sealgate.api.forms import in_s3_form, require_json
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.api.shapes import ChatCompletion, ChatCompletionChunk
from sealgate.auth.caller import Caller
from sealgate.errors import Problem
from sealgate.formats import sse
from sealgate.limits.ledger import Entry
from sealgate.limits.prices import shown
from sealgate.providers.base import Json
from sealgate.receipts.issuer import Draft
from sealgate.relay import explain
from sealgate.relay import plan as plans
from sealgate.relay.ask import Ask
from sealgate.relay.exchange import Exchange
from sealgate.relay.hall import Hall
from sealgate.relay.request import read_chat
from sealgate.relay.shapes import ChatRequest

MAX_RECEIPT_HEADER = 8 * 1024
"""Bytes of a receipt that still goes into a header; proxies refuse longer ones."""

_encode = msgspec.json.Encoder().encode


HEADERS = (
    ("X-Request-ID", "An id of the caller's own, echoed; otherwise one is made."),
    ("X-Tresor-Timeout-Seconds", "Whole answers: seconds the request may take, 1 to 600."),
    ("X-Tresor-Nonce", "1 to 128 printable ASCII characters: the receipt's claim `nonce`."),
    ("X-Tresor-Receipt", "`false`: no receipt; `true`: a whole answer carries it in the header X-Tresor-Receipt too."),
    ("Idempotency-Key", "1 to 255 characters; its form is checked, repeated requests run again."),
    ("X-Sealgate-Strict", "`true`: refuse the request instead of dropping a parameter."),
)
QUERY = (("dry_run", "`true`: only tell which routes would be asked and what would be sent; needs an admin key."),)


def routes(hall: Hall, guard: Guard) -> list[Route]:
    return [
        Route(
            "POST",
            "/chat/completions",
            "key",
            Chat(hall, guard),
            "Answer a conversation, whole or as server-sent events.",
            body=ChatRequest,
            answer=ChatCompletion,
            events=ChatCompletionChunk,
            header=HEADERS,
            query=(
                ("dry_run", "`true`: say which routes would be asked and what would be sent, and do nothing; admin."),
            ),
        )
    ]


class Chat:
    """The endpoint."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._guard = guard

    async def __call__(self, call: Call) -> None:
        hall = self._hall
        caller = await self._guard.admitted(call)
        settings = hall.settings
        controls = control_headers.read(call.headers, max_timeout=settings.timeouts.max_total)
        if (call.header(b"x-stainless-retry-count") or b"0") != b"0":
            hall.metrics.client_retries += 1
        in_api = call.route.startswith("/api/")
        dry = _dry_run(call.scope["query_string"])
        if dry and not caller.is_admin:
            raise Problem("admin_key_required", "A dry run shows what goes to providers; it needs an admin key.")
        require_json(call, lenient=in_api)
        body = await call.body(settings.server.max_body_bytes)
        ask = _read(body, settings.server.default_model, controls, in_api=in_api)
        ask.strict = controls.strict or caller.settings.strict
        _require_compatible(ask, controls)
        if dry:
            await call.json(self._unsent(ask, caller))
            return
        entry = Entry(
            id=call.id,
            request_id=call.request_id,
            customer_id=caller.customer_id,
            key_id=caller.key_id,
            endpoint="chat.completions",
            stream=ask.prompt.stream,
            created_at=call.started_us,
            model=ask.model,
            episode_id=ask.episode_id,
            end_user=ask.named.user,
        )
        draft = hall.receipts.draft(
            call.id,
            kind="message",
            endpoint=call.route,
            model=ask.model,
            body=body,
            fields=ask.fields,
            nonce=controls.nonce,
            wanted=controls.receipt,
        )
        seconds = min(controls.timeout or settings.timeouts.total, controls.client_seconds or math.inf)
        answering = Exchange(
            hall,
            caller,
            ask,
            entry,
            started=call.started,
            seconds=seconds,
            ending=call.ending,
            turn=call.turn,
            draft=draft,
        )
        try:
            if ask.prompt.stream:
                await self._stream(call, answering, draft)
            else:
                await self._whole(call, answering, draft, shown=bool(controls.receipt))
        finally:
            _describe(call, entry)

    def _unsent(self, ask: Ask, caller: Caller) -> Json:
        """What would be asked and sent, without doing it."""
        hall = self._hall
        seen, catalog = hall.means.seen, hall.catalog
        plan = plans.make(catalog, ask, caller, seen)
        asked = catalog.resolve(ask.model, ask.named.region, ask.named.provider)
        return {
            "object": "chat.completion.dry_run",
            **explain.describe(plan, seen, asked, stream=ask.prompt.stream),
            "requests": explain.dry_run(plan, ask.prompt, seen),
        }

    async def _whole(self, call: Call, answering: Exchange, draft: Draft, *, shown: bool) -> None:
        try:
            async with answering as payloads:
                body = b"".join([payload async for payload in payloads])
                draft.written(body)
        finally:
            call.receipt_id = answering.receipt_id
            if shown and draft.jws is not None and len(draft.jws) <= MAX_RECEIPT_HEADER:
                call.extra = (*call.extra, (b"x-tresor-receipt", draft.jws.encode("ascii")))
        await call.respond(200, body, JSON, cost_header(answering.entry))

    async def _stream(self, call: Call, answering: Exchange, draft: Draft) -> None:
        with EventStream(call, self._hall.settings.timeouts.keep_alive, draft.written) as events:
            try:
                try:
                    async with answering as payloads:
                        call.receipt_id = answering.receipt_id
                        try:
                            async for payload in payloads:
                                await events.payload(payload)
                        finally:
                            events.hush()
                finally:
                    call.receipt_id = answering.receipt_id
            except asyncio.CancelledError:
                if not call.connection_ends:
                    raise
                # The drain is over. The caller is still there and must not take this for a whole answer.
                await self._break_off(call, events, Problem("gateway_shutting_down"))
            except Problem as problem:
                await self._break_off(call, events, problem)
            else:
                await events.end(sse.DONE)

    async def _break_off(self, call: Call, events: EventStream, problem: Problem) -> None:
        if not events.started:
            raise problem
        call.fields["code"] = problem.code.name
        await events.end(error_event(problem, call.request_id, call.receipt_id))


def cost_header(entry: Entry) -> Headers:
    """What a whole answer cost, where its route has a price; a stream's head goes out before that is known."""
    return [] if entry.cost is None else [(b"x-tresor-cost", shown(entry.cost).encode())]


def error_event(problem: Problem, request_id: str, receipt_id: str | None = None) -> bytes:
    """What ends a stream that could not be finished; the official SDKs raise on it, and no ``[DONE]`` follows."""
    event: Json = {"error": problem.body(), "request_id": request_id}
    if receipt_id is not None:
        event["receipt_id"] = receipt_id
    return sse.event(_encode(event))


def _read(body: bytes, default_model: str | None, controls: Controls, *, in_api: bool) -> Ask:
    try:
        return read_chat(body, default_model, controls.trace)
    except Problem as problem:
        raise (in_s3_form(problem) if in_api else problem) from None


def _require_compatible(ask: Ask, controls: Controls) -> None:
    if controls.timeout is not None and ask.prompt.stream:
        raise Problem("invalid_timeout_override", "X-Tresor-Timeout-Seconds is for whole answers only.")
    if ask.strict and ask.adjustments:
        first = ask.adjustments[0]
        raise Problem(
            "unsupported_parameter", f"{first.param} would be {first.action}: {first.detail}.", param=first.param
        )


def _dry_run(query: bytes) -> bool:
    if not query:
        return False
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("dry_run", ["false"])
    if given not in (["true"], ["false"]):
        # Running it for real would be the one thing that was not asked for.
        raise Problem("invalid_parameter", "dry_run is true or false.", param="dry_run")
    return given == ["true"]


def _describe(call: Call, entry: Entry) -> None:
    """What the access log says of a chat."""
    call.fields |= {
        "routed_model": entry.routed_model,
        "outcome": entry.outcome.value,
        "attempts": entry.attempts,
        "stream": entry.stream,
        "prompt_tokens": entry.prompt_tokens,
        "completion_tokens": entry.completion_tokens,
    }
