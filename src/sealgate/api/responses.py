"""``POST /v1/responses``: the door for those who speak OpenAI's Responses API; and the answers that are kept."""

from __future__ import annotations

from functools import partial

from sealgate.api import forms
from sealgate.api.call import IN_API, Call
from sealgate.api.controls import Controls
from sealgate.api.desk import HEADERS, Desk, hold_to
from sealgate.api.guard import Guard
from sealgate.api.query import Query, wrong
from sealgate.api.responses_answer import ResponsesDialect
from sealgate.api.responses_shapes import DeletedResponse, InputItems, InputTokens, ResponseEvent, ResponseObject
from sealgate.api.routes import Route
from sealgate.auth.caller import Caller
from sealgate.errors import Problem
from sealgate.providers.base import Json
from sealgate.relay.hall import Hall
from sealgate.relay.kept import MAX_BYTES, Content
from sealgate.relay.responses import Responding
from sealgate.relay.responses_items import named
from sealgate.relay.responses_shapes import InputTokensRequest, ResponsesRequest
from sealgate.storage import NewRow

USUAL, MOST = 20, 100
"""Input items on a page."""
PAGE = (
    ("limit", f"How many to list, 1 to {MOST}; {USUAL} where nothing is said."),
    ("order", "`desc`, the latest first, where nothing is said; or `asc`."),
    ("after", "The id of the item after which to begin."),
)
_TAKEN = tuple(each for each in HEADERS if each[0] != "X-Tresor-Timeout-Seconds")


def routes(hall: Hall, guard: Guard) -> list[Route]:
    kept = KeptResponses(hall, guard)
    return [
        Route(
            "POST",
            "/responses",
            "key",
            Responses(hall, guard),
            "Answer a conversation as a response, whole or as its events.",
            body=ResponsesRequest,
            answer=ResponseObject,
            events=ResponseEvent,
            header=_TAKEN,
        ),
        Route("POST", "/responses/input_tokens", "key", InputTokenCount(hall, guard),
              "Count a request's input tokens: by Anthropic where it would answer, else an estimate.",
              body=InputTokensRequest, answer=InputTokens),
        Route("GET", "/responses/{id}", "key", kept.get, "A response of the caller's own, while it is kept.",
              answer=ResponseObject),
        Route("DELETE", "/responses/{id}", "key", kept.delete, "Delete a response of the caller's own.",
              answer=DeletedResponse),
        Route("GET", "/responses/{id}/input_items", "key", kept.input_items, "What was asked for a response.",
              answer=InputItems, query=PAGE),
    ]  # fmt: skip


class Responses:
    """The endpoint."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._desk = Desk(hall, guard, "responses", "message")

    async def __call__(self, call: Call) -> None:
        kept = self._hall.kept
        caller, controls = await self._desk.enter(call)
        body, read = await _read(call, self._hall, controls)
        async with kept.before(caller.customer_id, read.previous) as before:
            store = read.keeps(most=MAX_BYTES if kept.keep_days else 0)
            with forms.in_dialect(call):
                ask = read.ask(before)
            hold_to(ask, caller, controls)
            dialect = ResponsesDialect(
                read.wanted(store=store), ask.named.model or ask.model, call.id, call.started_us // 1_000_000
            )
            beside = partial(self._row, call, caller, read, dialect) if store else tuple
            await self._desk.answer(call, caller, controls, ask, body, dialect, said=dialect.said, beside=beside)

    def _row(self, call: Call, caller: Caller, read: Responding, dialect: ResponsesDialect) -> list[NewRow]:
        content = Content(dialect.response, named(read.items, call.id), dialect.details)
        return [self._hall.kept.row(caller.customer_id, call.id, content)]


class InputTokenCount:
    """The endpoint that only counts."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._desk = Desk(hall, guard, "responses", "message")

    async def __call__(self, call: Call) -> None:
        caller, controls = await self._desk.enter(call)
        _, read = await _read(call, self._hall, controls, InputTokensRequest)
        async with self._hall.kept.before(caller.customer_id, read.previous) as before:
            with forms.in_dialect(call):
                ask = read.ask(before)
            hold_to(ask, caller, controls)
            found = await self._desk.count(call, caller, ask)
        await call.json({"object": "response.input_tokens", "input_tokens": found})


async def _read(
    call: Call, hall: Hall, controls: Controls, shape: type[ResponsesRequest] = ResponsesRequest
) -> tuple[bytes, Responding]:
    """The body, as bytes and as what it asks for. Raises `Problem`."""
    server = hall.settings.server
    if controls.timeout is not None:
        raise Problem("invalid_timeout_override", "X-Tresor-Timeout-Seconds is for chat completions only.")
    forms.require_json(call, lenient=call.mount == IN_API)
    body = await call.body(server.max_body_bytes)
    with forms.in_dialect(call):
        return body, Responding(body, server.default_model, controls.trace, shape)


class KeptResponses:
    """The endpoints of what is kept. What is another customer's is answered as what there is not (row B7)."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._guard = guard

    async def get(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        with forms.in_dialect(call):
            if Query(call.scope["query_string"]).text("stream") not in (None, "false"):
                raise wrong("stream", "cannot be had of a response that is there already", "unsupported_parameter")
        await call.json((await self._hall.kept.find(caller.customer_id, call.path_value)).response)

    async def delete(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        await self._hall.kept.drop(caller.customer_id, call.path_value)
        await call.json({"id": call.path_value, "object": "response", "deleted": True})

    async def input_items(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        with forms.in_dialect(call):
            query = Query(call.scope["query_string"])
            limit, order, after = query.number("limit", USUAL, 1, MOST), query.text("order"), query.text("after")
            if order not in (None, "asc", "desc"):
                raise wrong("order", "is asc or desc")
        items = list((await self._hall.kept.find(caller.customer_id, call.path_value)).input)
        with forms.in_dialect(call):
            page = _page(items if order == "asc" else items[::-1], limit, after)
        await call.json(page)


def _page(items: list[Json], limit: int, after: str | None) -> Json:
    """Raises `Problem`."""
    names = [item["id"] for item in items]
    if after is not None and after not in names:
        raise wrong("after", "is the id of no item here")
    start = 0 if after is None else names.index(after) + 1
    shown = items[start : start + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": start + limit < len(items),
    }
