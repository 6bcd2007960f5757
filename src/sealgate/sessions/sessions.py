"""Sessions: one active for each key, remembered here, the same on every replica within a second.

What is remembered is believed until the database says that it has changed, which is asked twice a second, and never
beyond a session's own end: the clock decides about that, whether or not its end was noted already.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import structlog

from sealgate.errors import Problem, StorageError
from sealgate.formats.ids import dashed, uuid7_hex
from sealgate.sessions import store
from sealgate.sessions.automation import Automation, Settings, Who
from sealgate.sessions.store import Holder, Known, News, Session, Wanted
from sealgate.storage import Storage
from sealgate.storage.audit import Actor

POLL_SECONDS = 0.5
SWEEP_SECONDS = 30.0
MAX_KNOWN = 50_000
"""Sessions that are remembered."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_log = structlog.get_logger("sealgate.sessions")


class Sessions:
    """All sessions of one database. ``clock`` gives Unix seconds. Methods raise `StorageError`."""

    def __init__(
        self, storage: Storage, *, clock: Callable[[], float] = time.time, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self.automation = Automation()
        self._storage = storage
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._known: Known | None = None
        self._held: dict[str, Session] = {}
        """By the names of holders."""
        self._named: dict[tuple[str, str], Session] = {}
        """By customer and id. That a session is another customer's is nowhere known, so it is not told by time."""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to watch for changes, and to note which sessions have expired."""
        await self.poll()
        self._tasks = [
            asyncio.create_task(self._repeat(self.poll, self._poll_seconds), name="sessions-poll"),
            asyncio.create_task(self._repeat(self.sweep, SWEEP_SECONDS), name="sessions-sweep"),
        ]

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._tasks = []

    def now(self) -> int:
        """Unix microseconds."""
        return int(self._clock() * 1_000_000)

    # One session

    def remembered(self, holder: Holder) -> Session | None:
        """The holder's active session, if that is known without asking the database."""
        found = self._held.get(holder.name)
        return found if found is not None and found.is_active(self.now()) else None

    async def last(self, holder: Holder) -> Session | None:
        """The holder's session, active or not: the last one there was. Always from the database."""
        found = await self._storage.read(partial(store.current, holder=holder.name))
        return None if found is None else self._remember(found)

    async def named(self, session_id: str, customer_id: str) -> Session:
        """The customer's active session with this id.

        Raises `Problem`: ``session_not_found``, for another customer's as for none, and ``session_expired``.
        """
        found = self._named.get((customer_id, session_id))
        if found is None and _ID.fullmatch(session_id):
            ask = partial(store.by_id, session_id=session_id, customer_id=customer_id)
            found = await self._storage.read(ask)
            if found is not None:
                found = self._remember(found)
        if found is None:
            raise Problem("session_not_found", param="session_id")
        if not found.is_active(self.now()):
            raise Problem("session_expired", param="session_id")
        return found

    async def open(self, holder: Holder, model: str, seconds: int, *, reuse: bool) -> Session:
        """Open a session for ``model``, in the place of the one there is.

        With ``reuse`` the active one is good enough if it is for this model; then it was made without being asked for.
        """
        wanted = Wanted(dashed(uuid7_hex(self.now() * 1000)), holder, model, seconds, self.now(), reuse)
        return self._remember(await self._storage.write(partial(store.open_one, wanted=wanted)))

    async def close(self, holder: Holder) -> Session | None:
        """End the holder's active session; which it was, if there was one."""
        closed = await self._storage.write(partial(store.close, holder=holder.name, now=self.now()))
        if closed is not None and (known := self._named.get((closed.customer_id, closed.id))) is not None:
            self._forget(known)
        return closed

    async def key_prefix(self, holder: Holder) -> str | None:
        """How the holder's key begins, if it has one."""
        if holder.key_id is None:
            return None
        return await self._storage.read(partial(store.key_prefix, key_id=holder.key_id))

    # Settings

    async def settings(self, who: Who) -> Settings | None:
        """What they have set; None for the defaults."""
        return await self._storage.read(partial(store.settings, who=who))

    async def change(self, who: Who, is_enabled: bool | None, duration: int | None, actor: Actor) -> Settings | None:
        """Set what is not None; the settings then, None for the defaults."""
        act = partial(store.change, who=who, is_enabled=is_enabled, duration=duration, now=self.now(), actor=actor)
        changed = await self._storage.write(act)
        if changed is not None:
            self.automation.take([(who, changed)])
        return changed

    # What changes without us

    async def poll(self) -> None:
        """Take note of what has changed in the database."""
        self._take(await self._storage.read(partial(store.news, known=self._known)))

    async def sweep(self) -> int:
        """Note the end of sessions that have expired; returns of how many."""
        count, now = 0, self.now()
        # Most times there is none, and then nothing is written either.
        while await self._storage.read(partial(store.any_due, now=now)):
            count += await self._storage.write(partial(store.end_due, now=now))
        return count

    async def _repeat(self, act: Callable[[], Awaitable[object]], seconds: float) -> None:
        failing = False
        while True:
            await asyncio.sleep(seconds)
            try:
                await act()
                failing = False
            except Exception as error:  # whatever it is: a watch that ended for good would be worse
                if not failing:
                    said = str(error) if isinstance(error, StorageError) else type(error).__name__
                    _log.error("sessions_unavailable", error=said)
                failing = True

    def _take(self, news: News) -> None:
        self._known = news.known
        self.automation.take(news.settings)
        if news.sessions is None:
            self._held, self._named = {}, {}
            return
        for session_id, customer_id, holder, revision in news.sessions:
            for known in (self._named.get((customer_id, session_id)), self._held.get(holder)):
                if known is not None and known.revision < revision:
                    self._forget(known)

    def _remember(self, session: Session) -> Session:
        """One object for each session, so that where it stands is the same for all who look."""
        known = self._named.get((session.customer_id, session.id))
        if known is not None and known.revision >= session.revision:
            return known
        if not session.is_active(self.now()):
            return session
        if len(self._named) >= MAX_KNOWN:
            self._held, self._named = {}, {}
        if (before := self._held.get(session.holder)) is not None:
            self._forget(before)
        self._held[session.holder] = self._named[session.customer_id, session.id] = session
        return session

    def _forget(self, session: Session) -> None:
        self._named.pop((session.customer_id, session.id), None)
        if self._held.get(session.holder) is session:
            del self._held[session.holder]
