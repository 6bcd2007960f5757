"""The ledger: one row per request, filled while the request runs and written once, before its last bytes go out."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, delete, func, select

from sealgate.storage.retention import some
from sealgate.storage.tables import ledger

LABEL = 256
"""The most characters kept of a text that somebody else chose."""


class Outcome(enum.StrEnum):
    """How a request ended. Closed: reports and receipts may count on it."""

    OK = "ok"
    """The whole answer was had from a provider and recorded."""
    DENIED = "denied"
    """Refused before any provider was asked."""
    CLIENT_DISCONNECTED = "client_disconnected"
    """The caller left first."""
    UPSTREAM_FAILED = "upstream_failed"
    """No route gave any content."""
    TRUNCATED = "truncated"
    """The answer broke off after its first content."""
    ERROR = "error"
    """Our own failure."""
    UNKNOWN = "unknown"
    """A crash came between the provider's answer and its record."""


class Entry(msgspec.Struct, kw_only=True, gc=False, omit_defaults=True):
    """One request's row while it is being filled; the fields are the columns, in the table's order.

    Times of day are unix microseconds UTC, durations microseconds. The defaults are those of a request about which
    nothing more is known, so an entry can be written whatever happens.
    """

    id: str
    """The request's UUIDv7 in hex. Being ordered by time, it makes the primary key cheap to extend."""
    request_id: str
    """What callers see as X-Request-ID: the same as ``id`` unless they sent their own, which costs an index entry."""
    customer_id: str
    key_id: str | None = None
    endpoint: str
    stream: bool = False
    created_at: int
    model: str = ""
    """As the caller wrote it."""
    requested_route: str | None = None
    routed_model: str | None = None
    provider: str | None = None
    upstream_model: str | None = None
    """What the provider was asked for."""
    reported_model: str | None = None
    """What it says has answered; many answer for a name with a dated one."""
    outcome: Outcome = Outcome.UNKNOWN
    status: int = 0
    """The HTTP status of how it ended; 499 where the caller left. A stream that broke off was begun with 200."""
    code: str | None = None
    """The public error code."""
    attempts: int = 0
    failover: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_source: Literal["reported", "estimated"] | None = None
    first_content_us: int | None = None
    """From the request's arrival to the first content of the answer."""
    duration_us: int = 0
    episode_id: str | None = None
    """None where the request began the episode, which then bears the request's id in its dashed form."""
    session_id: str | None = None
    end_user: str | None = None
    """The request's ``user``, under a name that SQL does not need quoted."""
    user_id: str | None = None
    """Who asked, where a token said so."""
    cache_write_tokens: int | None = None
    cost: int | None = None
    """In 10**-9 of the currency; None where nothing was served, or the route that served has no price."""
    currency: str | None = None
    receipt_id: str | None = None
    """``id`` in the form of a UUID, where a receipt was issued."""
    receipt: str | None = None
    """The signed receipt; it is filled in when the row is written."""
    log_index: int | None = None
    """The receipt's place in the transparency log: None while it waits, -1 where none was promised."""


Written: TypeAlias = "Entry | Callable[[], Written]"
"""A row to be written, or what makes it, step by step, in the thread that writes."""


def row(entry: Entry) -> Entry:
    """The entry as it is written, for ``storage.append(ledger, row(entry))``: a copy of what both databases take."""
    values: dict[str, Any] = {"outcome": str(entry.outcome), "model": _label(entry.model)}
    if entry.requested_route is not None:
        values["requested_route"] = _label(entry.requested_route)
    if entry.reported_model is not None:
        values["reported_model"] = _label(entry.reported_model)
    if entry.end_user is not None:
        values["end_user"] = _label(entry.end_user)
    return replace(entry, **values)


def by_id(connection: Connection, customer_id: str, request_id: str) -> Entry | None:
    """The customer's request with this id, ours or the latest with that id of the caller's own; None for a foreign one.

    An id of the caller's own may have been sent more than once.
    """
    mine = select(ledger).where(ledger.c.customer_id == customer_id)
    found = connection.execute(mine.where(ledger.c.id == request_id)).mappings().first()
    if found is None:
        # The second condition looks idle; with it the partial index answers.
        sent = mine.where(ledger.c.request_id == request_id, ledger.c.request_id != ledger.c.id)
        found = connection.execute(sent.order_by(ledger.c.created_at.desc()).limit(1)).mappings().first()
    return None if found is None else _entry(dict(found))


def count(
    connection: Connection,
    customer_id: str,
    *,
    since: int | None = None,
    until: int | None = None,
    outcome: Outcome | None = None,
) -> int:
    """How many requests the customer made, from ``since`` to before ``until`` (unix microseconds)."""
    query = select(func.count()).select_from(ledger).where(ledger.c.customer_id == customer_id)
    if since is not None:
        query = query.where(ledger.c.created_at >= since)
    if until is not None:
        query = query.where(ledger.c.created_at < until)
    if outcome is not None:
        query = query.where(ledger.c.outcome == outcome.value)
    return int(connection.execute(query).scalar_one())


def forget(connection: Connection, after: str, before: str, most: int) -> str | None:
    """Delete old rows: a step of `sealgate.storage.retention`."""
    found: Sequence[str] = connection.execute(some(after, before, most)).scalars().all()
    if not found:
        return None
    connection.execute(delete(ledger).where(ledger.c.id.in_(found)))
    return found[-1]


def _entry(values: dict[str, Any]) -> Entry:
    values["outcome"] = Outcome(values["outcome"])
    return Entry(**values)


def _label(text: str) -> str:
    """A caller's text in a form both databases take: bounded, without NUL or half a surrogate pair."""
    return _clean(text[:LABEL])


@lru_cache(1024)
def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
