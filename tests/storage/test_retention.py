"""Retention on both engines: old rows go and young ones stay, in small pieces, while others write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, select
from tests.storage.rows import make_row

from sealgate.limits import ledger as rows
from sealgate.receipts import store
from sealgate.storage import Storage, retention
from sealgate.storage.retention import BATCH, Retention, Rule, oldest_id
from sealgate.storage.tables import ledger

pytestmark = pytest.mark.anyio

NOW = 1_772_625_600.0
DAY = 86_400


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(retention, "REST", 0)


def name(days: float, number: int = 0) -> str:
    """The id of a request that is so many days old."""
    return f"{oldest_id(NOW - days * DAY)}7{number:019x}"


async def keep(storage: Storage, days: Sequence[float], **fields: object) -> None:
    for number, age in enumerate(days):
        await storage.append(ledger, make_row(0, id=name(age, number), **fields))


async def ages(storage: Storage) -> list[int]:
    """Of what is left, in whole days."""

    def ask(connection: Connection) -> list[str]:
        return list(connection.execute(select(ledger.c.id).order_by(ledger.c.id.desc())).scalars())

    return [round((NOW - int(found[:12], 16) / 1000) / DAY) for found in await storage.read(ask)]


async def test_rows_go_when_they_are_old_enough_and_not_before(storage: Storage) -> None:
    await keep(storage, [500, 401, 400.001, 399.999, 30, 0])
    await Retention(storage, [Rule(400, rows.forget)], clock=lambda: NOW).round()
    assert await ages(storage) == [0, 30, 400]


async def test_nothing_goes_where_everything_is_kept(storage: Storage) -> None:
    await keep(storage, [5000])
    await Retention(storage, [Rule(0, rows.forget)], clock=lambda: NOW).round()
    assert await ages(storage) == [5000]


async def test_a_batch_is_small_and_others_write_in_between(storage: Storage) -> None:
    for number in range(2 * BATCH + 10):
        storage.append_nowait(ledger, make_row(0, id=name(500, number)))
    sizes: list[int] = []

    def counted(connection: Connection, after: str, before: str, most: int) -> str | None:
        had = len(connection.execute(select(ledger.c.id)).all())
        last = rows.forget(connection, after, before, most)
        sizes.append(had - len(connection.execute(select(ledger.c.id)).all()))
        return last

    commits = storage.commits
    await asyncio.gather(
        Retention(storage, [Rule(400, counted)], clock=lambda: NOW).round(),
        *(storage.append(ledger, make_row(0, id=name(0, number))) for number in range(5)),
    )
    assert sizes == [BATCH, BATCH, 10, 0]
    assert storage.commits - commits >= 4
    assert await ages(storage) == [0] * 5


async def test_row_h21_a_receipt_goes_and_its_row_stays_and_one_that_waits_for_the_log_is_left(
    storage: Storage,
) -> None:
    await keep(storage, [200], receipt="a.b.c", receipt_id="r", log_index=5)
    await keep(storage, [150], receipt="a.b.c", receipt_id="r", log_index=None)
    await keep(storage, [10], receipt="a.b.c", receipt_id="r", log_index=6)
    await keep(storage, [500])
    await Retention(storage, [Rule(100, store.forget), Rule(400, rows.forget)], clock=lambda: NOW).round()
    found = await storage.read(
        lambda connection: connection.execute(select(ledger.c.receipt, ledger.c.receipt_id).order_by(ledger.c.id)).all()
    )
    assert [tuple(each) for each in found] == [(None, None), ("a.b.c", "r"), ("a.b.c", "r")]
    assert await storage.read(lambda connection: store.receipt(connection, "acme", name(200))) is None


async def test_what_stays_is_looked_at_once(storage: Storage) -> None:
    await keep(storage, [200, 150], receipt="a.b.c", log_index=5)
    seen: list[str] = []

    def noted(connection: Connection, after: str, before: str, most: int) -> str | None:
        seen.append(after)
        return store.forget(connection, after, before, most)

    keeper = Retention(storage, [Rule(100, noted)], clock=lambda: NOW)
    await keeper.round()
    await keeper.round()
    assert seen == ["", name(150, 1), name(150, 1)]


async def test_it_begins_and_ends_with_the_house(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FIRST_SECONDS", 0.0)
    await keep(storage, [500])
    keeper = Retention(storage, [Rule(400, rows.forget)], clock=lambda: NOW)
    keeper.start()
    async with asyncio.timeout(5):
        while await ages(storage):  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
    await keeper.aclose()
    await keeper.aclose()


async def test_two_replicas_may_tidy_up_at_once(storage: Storage) -> None:
    await keep(storage, [500 + number for number in range(20)])
    both = [Retention(storage, [Rule(400, rows.forget)], clock=lambda: NOW) for _ in range(2)]
    await asyncio.gather(*(each.round() for each in both))
    assert await ages(storage) == []
