"""Receipts in the ledger's rows: whose they are, and which of them wait for the log."""

from __future__ import annotations

from functools import partial

import pytest
from tests.storage.rows import make_row

from sealgate.formats import leaves
from sealgate.receipts import store
from sealgate.receipts.store import NOT_LOGGED, Pending
from sealgate.storage import Storage
from sealgate.storage.tables import ledger


@pytest.mark.anyio
async def test_a_receipt_is_its_customers_alone(storage: Storage) -> None:
    row = make_row(1, receipt="a.b.c", receipt_id="x", log_index=NOT_LOGGED)
    await storage.append(ledger, row)
    await storage.append(ledger, make_row(2))
    assert await storage.read(partial(store.receipt, customer_id="acme", ledger_id=row["id"])) == ("a.b.c", NOT_LOGGED)
    assert await storage.read(partial(store.receipt, customer_id="other", ledger_id=row["id"])) is None
    assert await storage.read(partial(store.receipt, customer_id="acme", ledger_id=make_row(2)["id"])) is None


@pytest.mark.anyio
async def test_receipts_wait_for_the_log_in_order_until_they_have_a_place(storage: Storage) -> None:
    for number in (3, 1, 2):
        await storage.append(ledger, make_row(number, receipt=f"head.payload{number}.signature"))
    await storage.append(ledger, make_row(4, receipt="a.b.c", log_index=NOT_LOGGED))
    await storage.append(ledger, make_row(5))
    waiting = await storage.read(partial(store.pending, limit=10))
    assert waiting == [
        Pending(f"{number:032x}", leaves.receipt(f"head.payload{number}".encode())) for number in (1, 2, 3)
    ]
    await storage.write(partial(store.place, ledger_ids=[each.ledger_id for each in waiting[:2]], first=7))
    assert [each.ledger_id for each in await storage.read(partial(store.pending, limit=1))] == [waiting[2].ledger_id]
    found = await storage.read(partial(store.receipt, customer_id="acme", ledger_id=waiting[1].ledger_id))
    assert found is not None
    assert found.log_index == 8


@pytest.mark.anyio
async def test_looking_for_those_that_wait_does_not_walk_the_ledger(storage: Storage) -> None:
    def plan(connection: object) -> str:
        return str(
            connection.exec_driver_sql(  # type: ignore[attr-defined]
                "EXPLAIN QUERY PLAN SELECT id, receipt FROM ledger "
                "WHERE receipt IS NOT NULL AND log_index IS NULL ORDER BY id LIMIT 5"
            ).all()
        )

    if storage.name == "sqlite":
        assert "ix_ledger_unlogged" in await storage.read(plan)
