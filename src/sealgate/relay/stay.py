"""A request's stay in a session: the one it names, or the one that is kept for a caller who wants that."""

from __future__ import annotations

from collections.abc import Awaitable

from sealgate.auth.caller import Caller, account
from sealgate.errors import Problem, StorageError
from sealgate.relay.ask import Ask
from sealgate.relay.catalog import Catalog
from sealgate.sessions.sessions import Sessions
from sealgate.sessions.store import Holder, Session


class Stay:
    """The stay of a request that has no session."""

    __slots__ = ()

    session_id: str | None = None
    pin: str | None = None
    """The id of the route at which the session is."""

    def enter(self) -> Awaitable[None] | None:
        """Look for the session. Raises `Problem` where the request names one that it cannot have.

        At once or when it is awaited, here as in `begin`; None: there is nothing to wait for.
        """
        return None

    def begin(self) -> Awaitable[None] | None:
        """The request will be sent: open a session where one is wanted and there is none. Raises `Problem`."""
        return None

    def served(self, routed_model: str | None) -> None:
        """The request was answered, and its row says so: here is where the next one had best go."""


NO_STAY = Stay()


class Kept(Stay):
    """In a session that the request names: ``session_id``; else in one that lasts so many ``seconds``."""

    __slots__ = ("_ask", "_asked", "_catalog", "_holder", "_seconds", "_session", "_sessions", "pin", "session_id")

    def __init__(
        self, sessions: Sessions, catalog: Catalog, holder: Holder, ask: Ask, seconds: int | None = None
    ) -> None:
        self._sessions = sessions
        self._catalog = catalog
        self._holder = holder
        self._ask = ask
        self._seconds = seconds
        self._session: Session | None = None
        self.session_id = self.pin = None

    def enter(self) -> Awaitable[None] | None:
        ask, named = self._ask, self._ask.named
        self._asked = self._catalog.resolve(ask.model, named.region, named.provider)
        if ask.session_id is not None:
            return self._find(ask.session_id)
        found = self._sessions.remembered(self._holder)
        if found is None:
            return self._find_last()
        self._take(found)
        return None

    async def _find_last(self) -> None:
        try:
            found = await self._sessions.last(self._holder)
        except StorageError as error:
            raise _unreadable() from error
        if found is not None:
            self._take(found)

    async def _find(self, session_id: str) -> None:
        asked = self._asked
        try:
            session = await self._sessions.named(session_id, self._holder.customer_id)
        except StorageError as error:
            raise _unreadable() from error
        if session.model != asked.key:
            said = f"The session is for the model {session.model!r}, not for {asked.key!r}."
            raise Problem("session_model_mismatch", said, param="session_id")
        self._stay_in(session)

    def _take(self, found: Session) -> None:
        """Stay in the session that there is, or where it was if it has just expired: a new one goes on from there."""
        if found.model != self._asked.key:
            return
        now = self._sessions.now()
        if found.is_active(now):
            self._stay_in(found)
        elif found.has_expired(now):
            self.pin = found.route

    def _stay_in(self, session: Session) -> None:
        self._session, self.session_id, self.pin = session, session.id, session.route

    def begin(self) -> Awaitable[None] | None:
        return None if self._session is not None or self._seconds is None else self._open(self._seconds)

    async def _open(self, seconds: int) -> None:
        try:
            self._stay_in(await self._sessions.open(self._holder, self._asked.key, seconds, reuse=True))
        except StorageError as error:
            raise Problem("storage_unavailable", "No session can be opened at the moment.") from error

    def served(self, routed_model: str | None) -> None:
        session = self._session
        if (
            session is not None
            and session.route != routed_model
            and any(route.id == routed_model for route in self._asked.routes)
        ):
            session.route = routed_model


def _unreadable() -> Problem:
    return Problem("storage_unavailable", "The session cannot be read at the moment.")


def of(sessions: Sessions, catalog: Catalog, caller: Caller, ask: Ask) -> Stay:
    """For one request. Who neither names a session nor wants any kept has `NO_STAY`."""
    if ask.session_id is not None:
        return Kept(sessions, catalog, holder(caller), ask)
    if (
        not sessions.automation
        or ask.type != "chat"
        or (seconds := sessions.automation.seconds(account(caller))) is None
    ):
        return NO_STAY
    return Kept(sessions, catalog, holder(caller), ask, seconds)


def holder(caller: Caller) -> Holder:
    """On what the caller's sessions hang: its key, for a token's user the default key; else the user."""
    return Holder(caller.customer_id, caller.key_id or caller.default_key_id, caller.user_id)
