"""The rows behind sessions and automation settings. SQL of this room; each function runs in a transaction.

What changes a session does so alone, counts the topic's revision and notes it in the row, so that every replica can ask
for what has changed since it last looked. Times are Unix microseconds, durations seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, insert, select, update

from sealgate.sessions.automation import Settings, Who
from sealgate.storage import audit, bump, revision
from sealgate.storage.alone import alone
from sealgate.storage.audit import Actor
from sealgate.storage.tables import automation, keys, ledger, sessions

SESSIONS = "sessions"
AUTOMATION = "automation"
"""Topics of `sealgate.storage.revisions`."""
MOST_CHANGES = 1000
"""Changed sessions told one by one; after more of them, whoever remembers sessions forgets them all."""
AT_ONCE = 200
"""Rows changed in one transaction, for which all other writes wait."""

_last_answer = (
    select(ledger.c.routed_model)
    .where(ledger.c.session_id == sessions.c.id, ledger.c.outcome == "ok")
    .order_by(ledger.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_COLUMNS = [column for column in sessions.columns if column.name != "route"]
_SESSION = select(*_COLUMNS, func.coalesce(_last_answer, sessions.c.route).label("route"))
_OPEN = sessions.c.ended_at.is_(None)


class Holder(msgspec.Struct, frozen=True, gc=False):
    """On what a session hangs: the key, else the user, else the customer itself where nobody has a key."""

    customer_id: str
    key_id: str | None
    user_id: str | None

    @property
    def name(self) -> str:
        if self.key_id is not None:
            return f"key:{self.key_id}"
        return f"user:{self.user_id}" if self.user_id is not None else f"customer:{self.customer_id}"


class Session(msgspec.Struct, kw_only=True):
    """A session. ``route`` is where its last answer came from, as far as is known here; the rest does not change."""

    id: str
    customer_id: str
    holder: str
    key_id: str | None
    user_id: str | None
    model: str
    """The catalog's name of the model."""
    automated: bool
    created_at: int
    expires_at: int
    ended_at: int | None
    route: str | None
    revision: int

    def is_active(self, now: int) -> bool:
        return self.ended_at is None and self.expires_at > now

    def has_expired(self, now: int) -> bool:
        """Whether it came to its end by itself, rather than being closed or replaced."""
        return self.expires_at <= (now if self.ended_at is None else self.ended_at)


class Wanted(NamedTuple):
    """A session to be opened. ``reuse``: the one that is active will do, if it is for this model."""

    id: str
    holder: Holder
    model: str
    seconds: int
    now: int
    reuse: bool


class Changed(NamedTuple):
    """A session that has changed."""

    id: str
    customer_id: str
    holder: str
    revision: int


class Known(NamedTuple):
    """Revisions of the two topics."""

    sessions: int
    automation: int


class News(NamedTuple):
    """What has changed since some revisions. ``sessions`` is None where that is too much to tell."""

    known: Known
    sessions: Sequence[Changed] | None
    settings: Sequence[tuple[Who, Settings]]


# Sessions


def current(connection: Connection, holder: str) -> Session | None:
    """The holder's open session, which may have expired; else the last one it had."""
    mine = _SESSION.where(sessions.c.holder == holder)
    found = connection.execute(mine.where(_OPEN)).mappings().first()
    if found is None:
        newest = mine.order_by(sessions.c.created_at.desc(), sessions.c.id.desc()).limit(1)
        found = connection.execute(newest).mappings().first()
    return None if found is None else _session(found)


def by_id(connection: Connection, session_id: str, customer_id: str | None = None) -> Session | None:
    """The session with that id, of that customer where one is named; None for a foreign one as for none."""
    query = _SESSION.where(sessions.c.id == session_id)
    if customer_id is not None:
        query = query.where(sessions.c.customer_id == customer_id)
    found = connection.execute(query).mappings().first()
    return None if found is None else _session(found)


def open_one(connection: Connection, wanted: Wanted) -> Session:
    """The holder's active session for that model, from now on: the one there is, or a new one in its place.

    Where the last one just expired, the new one begins at the route where that one was.
    """
    alone(connection)
    name = wanted.holder.name
    last = current(connection, name)
    same = last is not None and last.model == wanted.model and wanted.reuse
    if last is not None and same and last.is_active(wanted.now):
        return last
    if last is not None and last.ended_at is None:
        _end(connection, sessions.c.id == last.id, min(wanted.now, last.expires_at))
    made = Session(
        id=wanted.id,
        customer_id=wanted.holder.customer_id,
        holder=name,
        key_id=wanted.holder.key_id,
        user_id=wanted.holder.user_id,
        model=wanted.model,
        automated=wanted.reuse,
        created_at=wanted.now,
        expires_at=wanted.now + wanted.seconds * 1_000_000,
        ended_at=None,
        route=last.route if last is not None and same and last.has_expired(wanted.now) else None,
        revision=bump(connection, SESSIONS),
    )
    connection.execute(insert(sessions).values(**msgspec.structs.asdict(made)))
    return made


def close(connection: Connection, holder: str, now: int) -> Session | None:
    """End the holder's active session; which it was, or None where there was none."""
    alone(connection)
    found = current(connection, holder)
    if found is None or not found.is_active(now):
        return None
    _end(connection, sessions.c.id == found.id, now)
    return found


def any_due(connection: Connection, now: int) -> bool:
    """Whether there are sessions that have expired and are still open."""
    return (
        connection.execute(select(sessions.c.id).where(_OPEN, sessions.c.expires_at <= now).limit(1)).first()
        is not None
    )


def end_due(connection: Connection, now: int, most: int = AT_ONCE) -> int:
    """End sessions that have expired, at the moment when they did; returns how many."""
    alone(connection)
    due = select(sessions.c.id).where(_OPEN, sessions.c.expires_at <= now).order_by(sessions.c.expires_at).limit(most)
    return _end(connection, sessions.c.id.in_(due), sessions.c.expires_at)


def forget(connection: Connection, after: str, before: str, most: int) -> str | None:
    """Delete old sessions: a step of `sealgate.storage.retention`."""
    # Their ids are written with dashes, and a dash comes before every digit.
    bound = f"{before[:8]}-{before[8:]}"
    old = select(sessions.c.id).where(sessions.c.id > after, sessions.c.id < bound).order_by(sessions.c.id).limit(most)
    found: Sequence[str] = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
    if not found:
        return None
    connection.execute(delete(sessions).where(sessions.c.id.in_(found)))
    return found[-1]


def _end(connection: Connection, which: ColumnElement[bool], at: Any) -> int:
    ended = update(sessions).where(which).values(ended_at=at, revision=bump(connection, SESSIONS))
    return connection.execute(ended).rowcount


def key_prefix(connection: Connection, key_id: str) -> str | None:
    """How a key begins."""
    return connection.execute(select(keys.c.key_prefix).where(keys.c.id == key_id)).scalar()


def _session(row: RowMapping) -> Session:
    return Session(**{**row, "automated": bool(row["automated"])})


# Automation


def settings(connection: Connection, who: Who) -> Settings | None:
    """What somebody has set; None for the defaults."""
    found = connection.execute(select(automation).where(*_whose(who))).mappings().first()
    return None if found is None else _settings(found)


def change(
    connection: Connection, who: Who, is_enabled: bool | None, duration: int | None, now: int, actor: Actor
) -> Settings | None:
    """Set what is not None; the settings then, or None where they are the defaults still. Only a change is recorded."""
    alone(connection)
    known = settings(connection, who)
    before = known or Settings(created_at=now, updated_at=now)
    after = msgspec.structs.replace(
        before,
        is_enabled=before.is_enabled if is_enabled is None else is_enabled,
        session_duration=before.session_duration if duration is None else duration,
    )
    if after == before:
        return known
    after.updated_at = now
    values = msgspec.structs.asdict(after) | {"revision": bump(connection, AUTOMATION)}
    if known is None:
        connection.execute(insert(automation).values(customer_id=who[0], user_id=who[1] or "", **values))
    else:
        connection.execute(update(automation).where(*_whose(who)).values(**values))
    detail = {"is_enabled": after.is_enabled, "session_duration": after.session_duration}
    audit.record(
        connection, actor, "automation.changed", at=now, customer=who[0], about=who[1] or who[0], detail=detail
    )
    return after


def _whose(who: Who) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return automation.c.customer_id == who[0], automation.c.user_id == (who[1] or "")


def _settings(row: RowMapping) -> Settings:
    return Settings(
        is_enabled=bool(row["is_enabled"]),
        session_duration=row["session_duration"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


# What has changed


def news(connection: Connection, known: Known | None) -> News:
    """What has changed since ``known``; without it, where things stand, with the settings of all who have any."""
    now = Known(revision(connection, SESSIONS), revision(connection, AUTOMATION))
    changed: Sequence[Changed] | None = ()
    told: list[tuple[Who, Settings]] = []
    if known is not None and known.sessions != now.sessions:
        columns = (sessions.c.id, sessions.c.customer_id, sessions.c.holder, sessions.c.revision)
        query = select(*columns).where(sessions.c.revision > known.sessions).limit(MOST_CHANGES)
        changed = [Changed(*row) for row in connection.execute(query)]
        if len(changed) == MOST_CHANGES:
            changed = None
    if known is None or known.automation != now.automation:
        since = select(automation).where(automation.c.revision > (0 if known is None else known.automation))
        for row in connection.execute(since).mappings():
            told.append(((row["customer_id"], row["user_id"] or None), _settings(row)))
    return News(now, changed, told)
