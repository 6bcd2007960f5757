"""Reports on both engines: exact, in order, and of one customer."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from tests.limits.test_ledger import make_entry

from sealgate.limits import reports
from sealgate.limits.ledger import Entry, row
from sealgate.limits.periods import DAY
from sealgate.limits.reports import GroupBy, Question, Sum
from sealgate.storage import Storage
from sealgate.storage.tables import ledger

pytestmark = pytest.mark.anyio

BEGIN = 1_700_000_000_000_000 // DAY * DAY
EVERYBODY = Question(None)
ACME = Question("acme")


async def keep(storage: Storage, *entries: Entry) -> None:
    for each in entries:
        await storage.append(ledger, row(each))


def served(number: int, cost: int | None, **fields: Any) -> Entry:
    known = {"routed_model": "eu/acme/m", "model": "m", "prompt_tokens": 10, "completion_tokens": 1}
    currency = None if cost is None else "USD"
    at = BEGIN + number * DAY // 4
    return make_entry(number, **(known | {"cost": cost, "currency": currency, "created_at": at} | fields))


async def sums(storage: Storage, by: GroupBy, asked: Question = ACME, **options: Any) -> list[Sum]:
    return (await storage.read(partial(reports.summed, asked=asked, by=by, currency="USD", **options)))[0]


async def test_pages_are_the_rows_latest_first_each_once(storage: Storage) -> None:
    same = [served(number, number, created_at=BEGIN) for number in range(5)]
    await keep(storage, *same, *(served(number, number) for number in range(5, 13)))
    await keep(storage, served(99, 1, customer_id="other"))
    found: list[str] = []
    for offset in range(0, 15, 3):
        page, total = await storage.read(partial(reports.listed, asked=ACME, limit=3, offset=offset))
        assert total == 13
        found += [each.request_id for each in page]
    assert found == [f"{number:032x}" for number in [*range(12, 4, -1), *range(4, -1, -1)]]


async def test_a_question_says_which_rows(storage: Storage) -> None:
    await keep(storage, *(served(number, 1, model=f"m{number % 2}") for number in range(8)))
    for asked, count in (
        (Question("acme", since=BEGIN + DAY), 4),
        (Question("acme", until=BEGIN + DAY), 4),
        (Question("acme", since=BEGIN + DAY, until=BEGIN + DAY), 0),
        (Question("acme", model="m1"), 4),
        (Question("acme", model="eu/acme/m"), 8),
        (Question("acme", model="' OR 1=1 --"), 0),
        (Question("nobody"), 0),
    ):
        _, total = await storage.read(partial(reports.listed, asked=asked, limit=1, offset=0))
        assert total == count, asked


async def test_sums_are_by_model_key_day_and_user(storage: Storage) -> None:
    await keep(
        storage,
        served(0, 5, model="a", key_id="k1", user_id="u1", end_user="not this"),
        served(1, 7, model="b", key_id="k2", end_user="u2"),
        served(5, 2, model="a", key_id=None),
        served(6, 100, customer_id="other"),
    )
    assert [(each.group, each.requests, each.cost) for each in await sums(storage, "model")] == [
        ("a", 2, 7),
        ("b", 1, 7),
    ]
    assert {(each.group, each.cost) for each in await sums(storage, "key")} == {("k1", 5), ("k2", 7), (None, 2)}
    assert {(each.group, each.cost) for each in await sums(storage, "user")} == {("u1", 5), ("u2", 7), (None, 2)}
    days = await sums(storage, "day")
    assert [(each.group, each.requests, each.prompt_tokens) for each in days] == [
        (BEGIN // DAY + 1, 1, 10), (BEGIN // DAY, 2, 20),
    ]  # fmt: skip
    assert sum(each.cost or 0 for each in await sums(storage, "model", EVERYBODY)) == 114


async def test_sums_are_exact_beyond_what_floating_point_holds(storage: Storage) -> None:
    await keep(storage, served(0, 2**53), served(1, 1), served(2, 2**53))
    [found] = await sums(storage, "model")
    assert found.cost == 2**54 + 1


async def test_currencies_are_never_added_and_rows_without_a_price_make_no_group_of_their_own(storage: Storage) -> None:
    await keep(storage, served(0, 5), served(1, 6, currency="EUR"), served(2, None), served(3, None, model="unpriced"))
    found = {(each.group, each.currency): (each.requests, each.cost) for each in await sums(storage, "model")}
    assert found == {("m", "USD"): (2, 5), ("m", "EUR"): (1, 6), ("unpriced", "USD"): (1, None)}


async def test_groups_come_in_pages_too(storage: Storage) -> None:
    await keep(storage, *(served(number, number, model=f"m{number}") for number in range(7)))
    page = partial(reports.summed, asked=ACME, by="model", currency="USD", limit=2, offset=2)
    found, total = await storage.read(page)
    assert ([each.group for each in found], total) == (["m4", "m3"], 7)
