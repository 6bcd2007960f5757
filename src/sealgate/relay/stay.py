"""A request's stay in a session: the one it names, or the one that is kept for a caller who wants that."""

from __future__ import annotations

from sealgate.auth.caller import Caller, account
from sealgate.errors import Problem, StorageError
from sealgate.relay.ask import Ask
from sealgate.relay.catalog import Catalog, Route
from sealgate.sessions.sessions import Sessions
from sealgate.sessions.store import Holder, Session


class Stay:
    """The stay of a request that has no session."""

    __slots__ = ()

    @property
    def session_id(self) -> str | None:
        return None

    @property
    def pin(self) -> str | None:
        """The id of the route at which the session is."""
        return None

    async def enter(self) -> None:
        """Look for the session. Raises `Problem` where the request names one that it cannot have."""

    async def begin(self) -> None:
        """The request will be sent: open a session where one is wanted and there is none. Raises `Problem`."""

    def served(self, routed_model: str | None) -> None:
        """The request was answered, and its row says so: here is where the next one had best go."""


NO_STAY = Stay()


class Kept(Stay):
    """In a session that the request names: ``session_id``; else in one that lasts so many ``seconds``."""

    __slots__ = ("_ask", "_catalog", "_holder", "_model", "_pin", "_routes", "_seconds", "_session", "_sessions")

    def __init__(
        self, sessions: Sessions, catalog: Catalog, holder: Holder, ask: Ask, seconds: int | None = None
    ) -> None:
        self._sessions = sessions
        self._catalog = catalog
        self._holder = holder
        self._ask = ask
        self._seconds = seconds
        self._session: Session | None = None
        self._pin: str | None = None
        self._model = ""
        self._routes: tuple[Route, ...] = ()

    @property
    def session_id(self) -> str | None:
        return None if self._session is None else self._session.id

    @property
    def pin(self) -> str | None:
        return self._pin if self._session is None else self._session.route

    async def enter(self) -> None:
        ask, named = self._ask, self._ask.named
        asked = self._catalog.resolve(ask.model, named.region, named.provider)
        self._model, self._routes = asked.key, asked.routes
        try:
            if ask.session_id is None:
                self._take(self._sessions.remembered(self._holder) or await self._sessions.last(self._holder))
                return
            session = await self._sessions.named(ask.session_id, self._holder.customer_id)
        except StorageError as error:
            raise Problem("storage_unavailable", "The session cannot be read at the moment.") from error
        if session.model != asked.key:
            said = f"The session is for the model {session.model!r}, not for {asked.key!r}."
            raise Problem("session_model_mismatch", said, param="session_id")
        self._session = session

    def _take(self, found: Session | None) -> None:
        """Stay in the session that there is, or where it was if it has just expired: a new one goes on from there."""
        if found is None or found.model != self._model:
            return
        now = self._sessions.now()
        if found.is_active(now):
            self._session = found
        elif found.has_expired(now):
            self._pin = found.route

    async def begin(self) -> None:
        if self._session is None and self._seconds is not None:
            try:
                self._session = await self._sessions.open(self._holder, self._model, self._seconds, reuse=True)
            except StorageError as error:
                raise Problem("storage_unavailable", "No session can be opened at the moment.") from error

    def served(self, routed_model: str | None) -> None:
        if self._session is not None and any(route.id == routed_model for route in self._routes):
            self._session.route = routed_model


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
