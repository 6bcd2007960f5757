"""``/v1/automation/settings``: whether sessions are made for an account without being asked for, and for how long."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from sealgate.api import forms
from sealgate.api.call import Call
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.auth import users
from sealgate.auth.caller import Caller, account
from sealgate.errors import Problem, StorageError
from sealgate.formats import moments
from sealgate.relay.hall import Hall
from sealgate.sessions.automation import LONGEST, SHORTEST, USUAL, Settings, require_duration

BOUNDS = f"Seconds, {SHORTEST} to {LONGEST}."


class AutomationForm(Struct, forbid_unknown_fields=True):
    """What is to change; the rest stays as it is."""

    is_enabled: Annotated[bool | None, Meta(description="Whether a chat without `session_id` gets a session.")] = None
    session_duration: Annotated[int | None, Meta(description=BOUNDS)] = None


class AutomationSettings(Struct):
    """How sessions are made for an account: a customer's; a user's, where several users share a customer."""

    is_enabled: bool
    session_duration: Annotated[int, Meta(description=BOUNDS)]
    created_at: Annotated[str, Meta(description="ISO 8601, UTC; the account's own where nothing was ever set.")]
    updated_at: str


def routes(hall: Hall, guard: Guard, since: int) -> list[Route]:
    """``since``, Unix seconds, is how old an account is that is kept nowhere."""
    found = Automation(hall, guard, since)
    path, answer = "/automation/settings", AutomationSettings
    return [
        Route("GET", path, "key", found.get, "The settings for sessions.", answer=answer),
        Route("PUT", path, "key", found.put, "Change the settings for sessions.", body=AutomationForm, answer=answer),
    ]


class Automation:
    """The endpoints."""

    def __init__(self, hall: Hall, guard: Guard, since: int) -> None:
        self._hall = hall
        self._guard = guard
        self._since = since

    async def get(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        try:
            await self._answer(call, caller, await self._hall.sessions.settings(account(caller)))
        except StorageError as error:
            raise Problem("storage_unavailable", "The settings cannot be read at the moment.") from error

    async def put(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        form = await forms.read(call, AutomationForm)
        # A number that is none of the durations is no mistake of form, so it is 400 under both mounts.
        require_duration(form.session_duration, "session_duration")
        try:
            after = await self._hall.sessions.change(
                account(caller), form.is_enabled, form.session_duration, call.actor
            )  # fmt: skip
            await self._answer(call, caller, after)
        except StorageError as error:
            raise Problem("storage_unavailable", "The settings cannot be changed at the moment.") from error

    async def _answer(self, call: Call, caller: Caller, found: Settings | None) -> None:
        settings = found or await self._defaults(caller)
        shown = {
            "is_enabled": settings.is_enabled,
            "session_duration": settings.session_duration,
            "created_at": moments.iso(settings.created_at),
            "updated_at": moments.iso(settings.updated_at),
        }
        await call.json(shown)

    async def _defaults(self, caller: Caller) -> Settings:
        """They have held for as long as there has been the account."""
        ask = partial(users.account, customer_id=caller.customer_id, user_id=caller.user_id)
        made = (await self._hall.storage.read(ask)).created_at
        begun = self._since * 1_000_000 if made is None else made
        return Settings(is_enabled=False, session_duration=USUAL, created_at=begun, updated_at=begun)
