"""``/v1/session``: the caller's session, opened by hand, looked at, and closed."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from sealgate.api import forms
from sealgate.api.call import Call
from sealgate.api.guard import Guard
from sealgate.api.query import Query, wrong
from sealgate.api.routes import Route
from sealgate.auth.caller import account
from sealgate.errors import Problem, StorageError
from sealgate.formats import moments
from sealgate.relay import plan as plans
from sealgate.relay import stay
from sealgate.relay.hall import Hall
from sealgate.sessions.automation import LONGEST, SHORTEST, USUAL, require_duration

QUERY = (("model_id", "The model that the session is for."),)
T = TypeVar("T")


class SessionForm(Struct, forbid_unknown_fields=True):
    """How a session is to be. Without a body, as usual."""

    duration: Annotated[
        int | None,
        Meta(description=f"Seconds, {SHORTEST} to {LONGEST}; without: as in the settings for automation."),
    ] = msgspec.field(default=None, name="sessionDuration")
    direct_payment: Annotated[bool | None, Meta(description="Accepted, has no effect.")] = msgspec.field(
        default=None, name="directPayment"
    )
    failover: Annotated[bool | None, Meta(description="Accepted, has no effect: routes fail over anyway.")] = None


class OpenedSession(Struct):
    """A session that was opened."""

    success: bool
    message: str
    session_id: str
    api_key_prefix: Annotated[str | None, Meta(description="Of the key it hangs on; null: it hangs on a user.")]
    model: str


class ClosedSession(Struct):
    """What came of closing. Where there was no active session, that is no mistake."""

    success: bool
    message: str
    session_id: str | None


class SessionPing(Struct):
    """Whether there is an active session."""

    status: Literal["alive", "expired", "no_session"]
    success: bool
    message: str
    session_id: str | UnsetType = UNSET


class ShownSession(Struct):
    """The active session."""

    session_id: str
    model: str
    type: Literal["automated", "manual"]
    created_at: Annotated[str, Meta(description="ISO 8601, UTC.")]
    expires_at: str
    is_active: bool
    route: Annotated[str | None, Meta(description="Where its last answer came from; null: there was none yet.")]


def routes(hall: Hall, guard: Guard) -> list[Route]:
    found = SessionCalls(hall, guard)
    told = "Open a session, in the place of the active one."
    return [
        Route("GET", "/session", "key", found.show, "The active session.", answer=ShownSession),
        Route(
            "POST", "/session/modelsession", "key", found.open, told,
            body=SessionForm, answer=OpenedSession, query=QUERY,
        ),
        Route("POST", "/session/closesession", "key", found.close, "Close the active session.", answer=ClosedSession),
        Route("POST", "/session/pingsession", "key", found.ping, "Whether there is a session.", answer=SessionPing),
    ]  # fmt: skip


class SessionCalls:
    """The endpoints. They know of no session but the caller's own."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._guard = guard

    async def show(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        sessions = self._hall.sessions
        found = await _had(sessions.last(stay.holder(caller)))
        if found is None or not found.is_active(sessions.now()):
            raise Problem("session_not_found")
        shown = ShownSession(
            session_id=found.id,
            model=found.model,
            type="automated" if found.automated else "manual",
            created_at=moments.iso(found.created_at),
            expires_at=moments.iso(found.expires_at),
            is_active=True,
            route=found.route,
        )
        await call.json(shown)

    async def open(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        hall, holder = self._hall, stay.holder(caller)
        form = await forms.read(call, SessionForm) if _has_body(call) else SessionForm()
        # A number that is none of the durations is no mistake of form, so it is 400 under both mounts.
        require_duration(form.duration, "sessionDuration")
        model = plans.selected(hall.catalog, caller, "chat", _model_id(call)).key
        seconds = form.duration
        if seconds is None:
            settings = await _had(hall.sessions.settings(account(caller)))
            seconds = USUAL if settings is None else settings.session_duration
        prefix = await _had(hall.sessions.key_prefix(holder))
        made = await _had(hall.sessions.open(holder, model, seconds, reuse=False))
        idle = form.direct_payment or form.failover
        message = "The session is open." + (" directPayment and failover have no effect here." if idle else "")
        await call.json(OpenedSession(True, message, made.id, prefix, made.model))

    async def close(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        closed = await _had(self._hall.sessions.close(stay.holder(caller)))
        if closed is None:
            await call.json(ClosedSession(True, "There is no active session.", None))
        else:
            await call.json(ClosedSession(True, "The session is closed.", closed.id))

    async def ping(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        sessions = self._hall.sessions
        found = await _had(sessions.last(stay.holder(caller)))
        now = sessions.now()
        if found is not None and found.is_active(now):
            await call.json(SessionPing("alive", True, "The session is active.", found.id))
        elif found is not None and found.has_expired(now):
            await call.json(SessionPing("expired", False, "The session has expired.", found.id))
        else:
            await call.json(SessionPing("no_session", False, "There is no active session."))


async def _had(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except StorageError as error:
        raise Problem("storage_unavailable", "Sessions cannot be had at the moment.") from error


def _has_body(call: Call) -> bool:
    return call.header(b"transfer-encoding") is not None or (call.header(b"content-length") or b"0") != b"0"


def _model_id(call: Call) -> str:
    with forms.in_dialect(call):
        model = Query(call.scope["query_string"]).text("model_id")
        if model is None:
            raise wrong("model_id", "is required", "invalid_model", "missing")
        if not model or not model.isprintable() or model != model.strip():
            raise wrong("model_id", "is the name of a model", "invalid_model")
        return model
