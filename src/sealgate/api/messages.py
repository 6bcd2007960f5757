"""``POST /v1/messages`` and ``/v1/messages/count_tokens``: the door for those who speak Anthropic's dialect."""

from __future__ import annotations

from collections.abc import Callable

from sealgate.api.anthropic_problems import ANTHROPIC
from sealgate.api.call import IN_API, Call
from sealgate.api.controls import Controls
from sealgate.api.desk import HEADERS, Desk, hold_to
from sealgate.api.forms import in_dialect, require_json
from sealgate.api.guard import Guard
from sealgate.api.messages_answer import MessagesDialect
from sealgate.api.messages_shapes import ClaudeEvent, ClaudeMessage, TokenCount
from sealgate.api.routes import Route
from sealgate.auth.caller import Caller
from sealgate.errors import Problem
from sealgate.relay import usage as usages
from sealgate.relay.ask import Ask
from sealgate.relay.hall import Hall
from sealgate.relay.messages import read_count, read_messages
from sealgate.relay.messages_shapes import CountRequest, MessagesRequest

VERSIONS = (b"2023-06-01", b"2026-10-21")
"""Versions of the API that a caller may ask for; both are answered alike."""
MAX_BETAS = 64
OWN_HEADERS = (
    ("anthropic-version", "2023-06-01 or 2026-10-21; may be left out."),
    ("anthropic-beta", "Betas, by commas; those that set no price go on to providers of this API."),
)
_TAKEN = tuple(each for each in HEADERS if each[0] != "X-Tresor-Timeout-Seconds")


def routes(hall: Hall, guard: Guard) -> list[Route]:
    return [
        Route(
            "POST",
            "/messages",
            "key",
            Messages(hall, guard),
            "Answer a conversation in Anthropic's dialect, whole or as its events.",
            body=MessagesRequest,
            answer=ClaudeMessage,
            events=ClaudeEvent,
            header=(*_TAKEN, *OWN_HEADERS),
            manner=ANTHROPIC,
        ),
        Route(
            "POST",
            "/messages/count_tokens",
            "key",
            Count(hall, guard),
            "Count a conversation's tokens: by Anthropic where it would answer, else an estimate.",
            body=CountRequest,
            answer=TokenCount,
            header=OWN_HEADERS,
            manner=ANTHROPIC,
        ),
    ]


class Messages:
    """The endpoint."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._desk = Desk(hall, guard, "messages", "message")

    async def __call__(self, call: Call) -> None:
        caller, controls = await self._desk.enter(call)
        if controls.timeout is not None:
            raise Problem("invalid_timeout_override", "X-Tresor-Timeout-Seconds is for chat completions only.")
        body, ask = await _read(call, self._hall, caller, controls, read_messages)
        estimate = usages.estimate(ask.size, 0).prompt
        dialect = MessagesDialect(ask.named.model or ask.model, call.id, estimate)
        await self._desk.answer(call, caller, controls, ask, body, dialect, said=dialect.said)


class Count:
    """The endpoint that only counts: nothing is generated, recorded or charged, but it is a request to a provider."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._desk = Desk(hall, guard, "messages", "message")

    async def __call__(self, call: Call) -> None:
        caller, controls = await self._desk.enter(call)
        _, ask = await _read(call, self._hall, caller, controls, read_count)
        await call.json({"input_tokens": await self._desk.count(call, caller, ask)})


async def _read(
    call: Call, hall: Hall, caller: Caller, controls: Controls, read: Callable[..., Ask]
) -> tuple[bytes, Ask]:
    """The body, as bytes and as what it asks for. Raises `Problem`."""
    settings = hall.settings.server
    require_json(call, lenient=call.mount == IN_API)
    version = call.header(b"anthropic-version")
    if version is not None and version not in VERSIONS:
        known = " and ".join(each.decode() for each in VERSIONS)
        raise Problem("invalid_header", f"anthropic-version: this server knows {known}.", param="anthropic-version")
    body = await call.body(settings.max_body_bytes)
    with in_dialect(call):
        ask = read(body, settings.default_model, controls.trace, _betas(call))
    hold_to(ask, caller, controls)
    return body, ask


def _betas(call: Call) -> list[str]:
    """What the header names, each once; it may come several times, as lists may (RFC 9110, 5.3)."""
    lines = [value.decode("latin-1") for name, value in call.headers if name == b"anthropic-beta"]
    named = dict.fromkeys(beta.strip() for line in lines for beta in line.split(","))
    found = [beta for beta in named if beta]
    if len(found) > MAX_BETAS or not all(beta.isascii() and beta.isprintable() for beta in found):
        raise Problem("invalid_header", "anthropic-beta is no list of betas.", param="anthropic-beta")
    return found
