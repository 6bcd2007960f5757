"""One HTTP request at the door, and the one answer it gets. A thin skin over ASGI, without state of its own kind."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from sealgate.api import problems, rates
from sealgate.auth.caller import Caller
from sealgate.errors import Problem
from sealgate.formats import ids
from sealgate.limits.ledger import Entry
from sealgate.relay.turns import FREE, Turn
from sealgate.storage.audit import Actor

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"
IN_API = "/api/v1"
"""The mount under which malformed bodies are refused in another form; see `sealgate.api.forms`."""
CONNECTION = "sealgate.connection"
"""The ASGI extension under which `sealgate.api.edge` says what became of the connection."""
NOTED = "sealgate.noted"
"""The scope's key under which `sealgate.api.edge` gives the first value of each header."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
_LAST = {408: b"close", 413: b"close", 426: b"upgrade, close"}
"""Statuses after which a connection ends, and its ``Connection`` header (of an upgrade: RFC 9110, 7.8)."""
_encode = msgspec.json.Encoder().encode


class ClientGoneError(Exception):
    """The caller left before the body was complete."""


class Call:
    """A request being answered. ``route`` is its endpoint's path, ``mount`` the part of it that all of an API have.

    ``code`` is the error that its caller was told, ``reason`` the log's word for why, ``entry`` the ledger's row of it,
    where there is one; the access log tells of all three. ``extra`` are headers of every answer to it, ``admitted`` is
    whether its caller holds a place for it, ``turn`` what its caller's limits are asked through, ``receipt_id`` names
    the receipt that there will be, ``manner`` is how its endpoint says what went wrong.
    """

    __slots__ = (
        "admitted", "caller", "code", "entry", "extra", "headers", "id", "manner", "mount", "noted",
        "path_value", "reason", "receipt_id", "receive", "request_id", "route", "scope", "send", "started",
        "started_us", "status", "turn",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.started = time.monotonic()
        self.started_us = time.time_ns() // 1000
        self.id = ids.uuid7_hex()
        self.headers: Headers = scope["headers"]
        self.noted: dict[bytes, bytes] = scope.get(NOTED) or dict(reversed(self.headers))
        """The first value of each header, by its name in lower case."""
        given = self.noted.get(b"x-request-id")
        self.request_id = self.id if given is None else _given_id(given) or self.id
        self.status = 0
        self.route = self.mount = ""
        self.path_value = ""
        self.caller: Caller | None = None
        self.admitted = False
        self.turn: Turn = FREE
        self.extra: Iterable[tuple[bytes, bytes]] = ()
        self.receipt_id: str | None = None
        self.manner: problems.Manner = problems.OPENAI
        self.code: str | None = None
        self.reason: str | None = None
        self.entry: Entry | None = None

    def header(self, name: bytes) -> bytes | None:
        """The first header of that name (lower case), or None."""
        return self.noted.get(name)

    @property
    def actor(self) -> Actor:
        """Who asks, as the audit trail names it; once the guard has let it in."""
        caller, client = self.caller, self.scope.get("client")
        by = (client[0] if client else None, self.request_id)
        if caller is None or (caller.user_id is None and caller.key_id is None):
            return Actor("anonymous", None, *by)
        return Actor("user", caller.user_id, *by) if caller.user_id else Actor("key", caller.key_id, *by)

    @property
    def client_left(self) -> bool:
        """Whether the caller's connection is gone, where the server tells."""
        connection = self.scope.get("extensions", {}).get(CONNECTION)
        return connection is not None and bool(connection.lost)

    @property
    def connection_ends(self) -> bool:
        """Whether the server is ending this connection although its caller is still there."""
        connection = self.scope.get("extensions", {}).get(CONNECTION)
        return connection is not None and bool(connection.shutting_down) and not connection.lost

    def ending(self) -> str | None:
        """Why this request is being cancelled, where the server tells; None where the caller just left."""
        connection = self.scope.get("extensions", {}).get(CONNECTION)
        if connection is None:
            return None
        if connection.lost:
            return "client_stalled" if connection.lost_how == "client_stalled" else None
        return "gateway_shutting_down" if connection.shutting_down else None

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises `Problem` when it is larger than ``limit``, `ClientGoneError` when it never ends."""
        declared = self.noted.get(b"content-length")
        if declared is not None and int(declared) > limit:
            raise _too_large(limit)
        message = await self.receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            # Nearly every body comes in one message.
            first: bytes = message.get("body", b"")
            if len(first) > limit:
                raise _too_large(limit)
            return first
        pieces: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece = message.get("body", b"")
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            if not message.get("more_body"):
                return b"".join(pieces)
            message = await self.receive()

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head."""
        self.status = status
        headers.append((b"x-request-id", self.request_id.encode()))
        headers.append((b"x-process-time", b"%.6f" % (time.monotonic() - self.started)))
        if self.receipt_id is not None:
            headers.append((b"x-tresor-receipt-id", self.receipt_id.encode()))
        if self.manner is not problems.OPENAI:
            headers += self.manner.headers(self.request_id)
        headers += self.extra
        if self.turn is not FREE:
            standings = self.turn.known
            if standings is None:
                standings = await self.turn.standings()
            headers += rates.headers(standings, time.time())
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def respond(
        self, status: int, body: bytes, content_type: bytes = JSON, headers: Headers | None = None
    ) -> None:
        """Send a whole answer."""
        found: Headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
        if headers:
            found += headers
        await self.start(status, found)
        await self.send({"type": "http.response.body", "body": body})

    async def json(self, value: Any, status: int = 200) -> None:
        """Send a value as JSON."""
        await self.respond(status, _encode(value))

    async def problem(self, problem: Problem) -> None:
        """Send an error; under ``/api/v1`` a malformed body gets S3's form too."""
        self.code = problem.code.name
        with_detail = bool(problem.details) and problem.status == 422
        body = _encode(self.manner.envelope(problem, self.request_id, with_detail=with_detail))
        headers = problems.headers(problem, body)
        if problem.status in _LAST:
            headers.append((b"connection", _LAST[problem.status]))
        await self.start(problem.status, headers)
        await self.send({"type": "http.response.body", "body": body})


def _given_id(given: bytes) -> str | None:
    """The caller's own name for the request, where it can be written everywhere."""
    return given.decode("ascii") if _REQUEST_ID.fullmatch(given) else None


def _too_large(limit: int) -> Problem:
    return Problem("request_too_large", f"The request body is larger than {limit} bytes.")
