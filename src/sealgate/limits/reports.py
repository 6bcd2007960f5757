"""What was used and what it cost, out of the ledger: the rows themselves, or sums of them.

Every question names the customer, except the operator's own. Sums are of integers, so they are exact.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, and_, func, literal, or_, select, true

from sealgate.limits.periods import DAY
from sealgate.storage.tables import ledger

GroupBy = Literal["model", "key", "day", "user"]

_GROUPS: dict[GroupBy, ColumnElement[Any]] = {
    "model": ledger.c.model,
    "key": ledger.c.key_id,
    "day": ledger.c.created_at // literal(DAY, BigInteger),
    "user": func.coalesce(ledger.c.user_id, ledger.c.end_user),
}
"""A user is who a token named, or the request's own ``user``."""


class Question(NamedTuple):
    """Which rows; times are unix microseconds, ``until`` is the first moment that is not meant any more.

    ``customer_id`` None means everybody and is for the operator. ``model`` is a name as a caller wrote it, or a route.
    """

    customer_id: str | None
    since: int | None = None
    until: int | None = None
    model: str | None = None


class Used(NamedTuple):
    """One request. ``cost`` is in nano-units; None where nothing was served, or nobody had priced what was."""

    request_id: str
    created_at: int
    model: str
    routed_model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: int | None
    outcome: str
    receipt_id: str | None


class Sum(NamedTuple):
    """All requests of one group; ``group`` of a day is its number since 1970. ``cost`` None: nothing had a price."""

    group: str | int | None
    currency: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int | None


_ROW = [ledger.c[name] for name in Used._fields]


def listed(connection: Connection, asked: Question, limit: int, offset: int) -> tuple[list[Used], int]:
    """One page of the rows, the latest first, and how many there are in all."""
    where = _where(asked)
    total = int(connection.execute(select(func.count()).select_from(ledger).where(where)).scalar_one())
    if offset >= total:
        return [], total
    page = select(*_ROW).where(where).order_by(ledger.c.created_at.desc(), ledger.c.id.desc())
    return [Used(*found) for found in connection.execute(page.limit(limit).offset(offset))], total


def summed(
    connection: Connection, asked: Question, by: GroupBy, currency: str, limit: int | None = None, offset: int = 0
) -> tuple[list[Sum], int]:
    """One page of the groups, the dearest first, days the latest first; and how many there are in all.

    Amounts in different currencies are never added. ``currency`` is where rows without a price are counted.
    """
    groups = _groups(asked, by, currency)
    found = [
        Sum(each.grouped, each.money, int(each.requests), int(each.prompt), int(each.completion), _int(each.cost))
        for each in connection.execute(groups)
    ]
    found.sort(key=lambda each: (str(each.group or ""), each.currency))
    found.sort(key=lambda each: (each.group if by == "day" else each.cost) or 0, reverse=True)
    return found[offset : None if limit is None else offset + limit], len(found)


def _groups(asked: Question, by: GroupBy, currency: str) -> Select[Any]:
    group = _GROUPS[by].label("grouped")
    money = func.coalesce(ledger.c.currency, currency).label("money")
    # By position: to PostgreSQL two expressions with parameters are never the same one.
    return (
        select(
            group,
            money,
            func.count().label("requests"),
            func.coalesce(func.sum(ledger.c.prompt_tokens), 0).label("prompt"),
            func.coalesce(func.sum(ledger.c.completion_tokens), 0).label("completion"),
            func.sum(ledger.c.cost).label("cost"),
        )
        .where(_where(asked))
        .group_by("grouped", "money")
    )


def _where(asked: Question) -> ColumnElement[bool]:
    at = ledger.c.created_at
    found: list[ColumnElement[bool]] = [true()]
    if asked.customer_id is not None:
        found.append(ledger.c.customer_id == asked.customer_id)
    if asked.since is not None:
        found.append(at >= asked.since)
    if asked.until is not None:
        found.append(at < asked.until)
    if asked.model is not None:
        found.append(or_(ledger.c.model == asked.model, ledger.c.routed_model == asked.model))
    return and_(*found)


def _int(value: Any) -> int | None:
    return None if value is None else int(value)  # PostgreSQL's sums are decimals
