"""``POST /v1/responses``: the door for those who speak OpenAI's Responses API."""

from __future__ import annotations

from sealgate.api.call import Call
from sealgate.api.desk import HEADERS, Desk, hold_to
from sealgate.api.forms import in_dialect, require_json
from sealgate.api.guard import Guard
from sealgate.api.responses_answer import ResponsesDialect
from sealgate.api.responses_shapes import ResponseEvent, ResponseObject
from sealgate.api.routes import Route
from sealgate.errors import Problem
from sealgate.relay.hall import Hall
from sealgate.relay.responses import Responding
from sealgate.relay.responses_shapes import ResponsesRequest

_TAKEN = tuple(each for each in HEADERS if each[0] != "X-Tresor-Timeout-Seconds")


def routes(hall: Hall, guard: Guard) -> list[Route]:
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
        )
    ]


class Responses:
    """The endpoint."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._desk = Desk(hall, guard, "responses", "message")

    async def __call__(self, call: Call) -> None:
        server = self._hall.settings.server
        caller, controls = await self._desk.enter(call)
        if controls.timeout is not None:
            raise Problem("invalid_timeout_override", "X-Tresor-Timeout-Seconds is for chat completions only.")
        require_json(call, lenient=call.route.startswith("/api/"))
        body = await call.body(server.max_body_bytes)
        with in_dialect(call):
            read = Responding(body, server.default_model, controls.trace)
            if read.previous is not None:
                raise Problem("responses_not_kept", param="previous_response_id")
            ask = read.ask()
        hold_to(ask, caller, controls)
        dialect = ResponsesDialect(
            read.wanted(store=False), ask.named.model or ask.model, call.id, call.started_us // 1_000_000
        )
        await self._desk.answer(call, caller, controls, ask, body, dialect, said=dialect.said)
