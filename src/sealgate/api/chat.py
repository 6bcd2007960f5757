"""``POST /v1/chat/completions``: the door of a chat, streamed or whole."""

from __future__ import annotations

from urllib.parse import parse_qs

from sealgate.api.call import IN_API, Call
from sealgate.api.controls import Controls
from sealgate.api.desk import HEADERS, OPENAI, Desk, Flag, hold_to
from sealgate.api.forms import in_s3_form, require_json
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.api.shapes import ChatCompletion, ChatCompletionChunk, DryRun
from sealgate.auth.caller import Caller
from sealgate.errors import Problem
from sealgate.providers.base import Json
from sealgate.relay import explain
from sealgate.relay import plan as plans
from sealgate.relay import stay as stays
from sealgate.relay.ask import Ask
from sealgate.relay.hall import Hall
from sealgate.relay.request import read_chat
from sealgate.relay.shapes import ChatRequest

QUERY = (("dry_run", "`true`: say which routes would be asked and what would be sent, and do nothing; admin.", Flag),)


def routes(hall: Hall, guard: Guard) -> list[Route]:
    return [
        Route(
            "POST",
            "/chat/completions",
            "key",
            Chat(hall, guard),
            "Answer a conversation, whole or as server-sent events.",
            body=ChatRequest,
            answer=(ChatCompletion, DryRun),
            events=ChatCompletionChunk,
            header=HEADERS,
            query=QUERY,
        )
    ]


class Chat:
    """The endpoint."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._desk = Desk(hall, guard, "chat.completions", "message")

    async def __call__(self, call: Call) -> None:
        settings = self._hall.settings
        caller, controls = await self._desk.enter(call)
        in_api = call.mount == IN_API
        dry = _dry_run(call.scope["query_string"])
        if dry and not caller.is_admin:
            raise Problem("admin_key_required", "A dry run shows what goes to providers; it needs an admin key.")
        require_json(call, lenient=in_api)
        body = await call.body(settings.server.max_body_bytes)
        ask = _read(body, settings.server.default_model, controls, in_api=in_api)
        hold_to(ask, caller, controls)
        if dry:
            await call.json(await self._unsent(ask, caller))
            return
        await self._desk.answer(call, caller, controls, ask, body, OPENAI)

    async def _unsent(self, ask: Ask, caller: Caller) -> Json:
        """What would be asked and sent, without doing it."""
        hall = self._hall
        seen, catalog = hall.means.seen, hall.catalog
        stay = stays.of(hall.sessions, catalog, caller, ask)
        if (looking := stay.enter()) is not None:
            await looking
        plan = plans.make(catalog, ask, caller, seen, stay.pin)
        asked = catalog.resolve(ask.model, ask.named.region, ask.named.provider)
        return {
            "object": "chat.completion.dry_run",
            **explain.describe(plan, seen, asked, stream=ask.prompt.stream),
            "requests": explain.dry_run(plan, ask.prompt, seen),
        }


def _read(body: bytes, default_model: str | None, controls: Controls, *, in_api: bool) -> Ask:
    try:
        return read_chat(body, default_model, controls.trace)
    except Problem as problem:
        raise (in_s3_form(problem) if in_api else problem) from None


def _dry_run(query: bytes) -> bool:
    if not query:
        return False
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("dry_run", ["false"])
    if given not in (["true"], ["false"]):
        # Running it for real would be the one thing that was not asked for.
        raise Problem("invalid_parameter", "dry_run is true or false.", param="dry_run")
    return given == ["true"]
