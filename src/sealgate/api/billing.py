"""``/v1/billing``: what a customer's requests used and cost, and what is left of a budget."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, get_args

from msgspec import UNSET, Meta, Struct, UnsetType

from sealgate.api import forms
from sealgate.api.call import Call
from sealgate.api.guard import Guard
from sealgate.api.query import Query, wrong
from sealgate.api.routes import Route
from sealgate.auth.caller import scope
from sealgate.errors import Problem, StorageError
from sealgate.formats import moments
from sealgate.limits import reports
from sealgate.limits.periods import DAY
from sealgate.limits.prices import shown
from sealgate.limits.reports import GroupBy, Question, Sum, Used
from sealgate.providers.base import Json
from sealgate.relay.hall import Hall

MOST = 1000
"""Items of one page."""
FURTHEST = 2**53
GROUPS: tuple[GroupBy, ...] = get_args(GroupBy)
QUERY = (
    ("limit", f"Items of a page, 1 to {MOST}; 50 without it."),
    ("offset", "Items to leave out, from the first."),
    ("from", "Only from then on: ISO 8601, a date is its beginning in UTC."),
    ("to", "Only before then."),
    ("model", "Only this model, as it was asked for, or this route."),
    ("group_by", f"Sums instead of single requests: {', '.join(GROUPS)}."),
)


class UsageItem(Struct):
    """One request; or with ``group_by`` one group, named by a field of that name, with sums."""

    prompt_tokens: int | None
    completion_tokens: int | None
    cost: Annotated[str | None, Meta(description="A decimal string; null where nothing had a price.")]
    request_id: str | UnsetType = UNSET
    created_at: Annotated[str | UnsetType, Meta(description="ISO 8601, UTC.")] = UNSET
    model: str | UnsetType = UNSET
    routed_model: str | UnsetType | None = UNSET
    outcome: str | UnsetType = UNSET
    receipt_id: str | UnsetType | None = UNSET
    key: Annotated[str | UnsetType | None, Meta(description="The key's id; null: requests without a key.")] = UNSET
    day: Annotated[str | UnsetType, Meta(description="A date in UTC.")] = UNSET
    user: Annotated[str | UnsetType | None, Meta(description="Who a token named, else the request's own `user`.")] = (
        UNSET
    )
    requests: int | UnsetType = UNSET
    currency: str | UnsetType = UNSET


class UsagePage(Struct):
    """One page of what was used."""

    items: list[UsageItem]
    total: Annotated[int, Meta(description="Items on all pages.")]
    limit: int
    offset: int
    has_more: bool
    currency: str


class Balance(Struct):
    """What is left of the caller's budget."""

    available: Annotated[str | None, Meta(description="A decimal string; null without a budget.")]
    reserved: Annotated[str, Meta(description="Held back for requests that are being answered.")]
    currency: str
    period_end: Annotated[
        str | None, Meta(description="When the budget begins anew, ISO 8601; null: never, or bit by bit.")
    ]


def routes(hall: Hall, guard: Guard) -> list[Route]:
    billing = Billing(hall, guard)
    return [
        Route("GET", "/billing/usage", "key", billing.usage, "What was used.", answer=UsagePage, query=QUERY),
        Route("GET", "/billing/balance", "key", billing.balance, "What is left of the budget.", answer=Balance),
    ]


class Billing:
    """The endpoints. Every question names the caller's own customer."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._guard = guard

    async def usage(self, call: Call) -> None:
        caller = await self._guard.caller(call)
        with forms.in_dialect(call):
            query = _Query(call.scope["query_string"])
            limit, offset = query.number("limit", 50, 1, MOST), query.number("offset", 0, 0, FURTHEST)
            by = query.group()
            asked = Question(caller.customer_id, query.moment("from"), query.moment("to"), query.text("model"))
        currency = self._hall.settings.billing.currency
        if by is None:
            rows, total = await self._read(partial(reports.listed, asked=asked, limit=limit, offset=offset))
            items = [_row(each) for each in rows]
        else:
            ask = partial(reports.summed, asked=asked, by=by, currency=currency, limit=limit, offset=offset)
            sums, total = await self._read(ask)
            items = [_group(by, each) for each in sums]
        more = offset + len(items) < total
        page = {"items": items, "total": total, "limit": limit, "offset": offset, "has_more": more}
        await call.json({**page, "currency": currency})

    async def balance(self, call: Call) -> None:
        caller, currency = await self._guard.caller(call), self._hall.settings.billing.currency
        if caller.budget is None:
            await call.json(Balance(None, "0", currency, None))
            return
        try:
            found = await self._hall.budgets.balance(scope(caller), caller.budget)
        except StorageError as error:
            raise _unreadable() from error
        end = None if found.end is None else moments.iso(found.end)
        await call.json(Balance(shown(found.available), shown(found.reserved), currency, end))

    async def _read(self, ask: Any) -> Any:
        try:
            return await self._hall.storage.read(ask)
        except StorageError as error:
            raise _unreadable() from error


def _group(by: GroupBy, found: Sum) -> Json:
    """A group as JSON, named by what it was made by."""
    name = moments.iso(int(found.group or 0) * DAY)[:10] if by == "day" else found.group
    return {
        by: name,
        "requests": found.requests,
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
        "cost": None if found.cost is None else shown(found.cost),
        "currency": found.currency,
    }


def _row(found: Used) -> Json:
    # What was never served costs nothing; what has no price costs nobody knows what.
    cost = 0 if found.cost is None and found.routed_model is None else found.cost
    changed = {"created_at": moments.iso(found.created_at), "cost": None if cost is None else shown(cost)}
    return found._asdict() | changed


def _unreadable() -> Problem:
    return Problem("storage_unavailable", "The ledger cannot be read at the moment.")


class _Query(Query):
    """What of the ledger is asked for."""

    def moment(self, name: str) -> int | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            # A plus sign that was not escaped has become a space.
            return moments.parse(text.replace(" ", "+") if text[-6:-5] == " " else text)
        except (ValueError, OverflowError):
            raise wrong(name, "is a date or a time in ISO 8601, as 2030-01-31 or 2030-01-31T12:00:00Z") from None

    def group(self) -> GroupBy | None:
        text = self.text("group_by")
        if text is None:
            return None
        for each in GROUPS:
            if each == text:
                return each
        raise wrong("group_by", f"is one of {', '.join(GROUPS)}")
