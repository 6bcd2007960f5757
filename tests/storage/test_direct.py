"""Functions that get the driver itself: on both engines, alone, beside rows, and where one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, func, select
from tests.storage.conftest import Gate, hold
from tests.storage.rows import make_row

from sealgate.errors import StorageError
from sealgate.storage import Storage
from sealgate.storage.alone import alone_direct
from sealgate.storage.direct import Direct, percents, read
from sealgate.storage.tables import ledger, meta

pytestmark = pytest.mark.anyio
NOTE = "INSERT INTO meta (name, value) VALUES (?, ?)"


def note(name: str, value: str = "v") -> Any:
    return lambda direct: direct.run(NOTE, (name, value))


async def notes(storage: Storage) -> set[str]:
    query = select(meta.c.name).where(meta.c.value == "v")
    return set(await storage.read(lambda connection: connection.execute(query).scalars().all()))


async def test_it_changes_finds_and_inserts(storage: Storage) -> None:
    def act(direct: Direct) -> Any:
        alone_direct(direct)
        direct.insert(ledger, make_row(1))
        return (
            direct.run(NOTE, ("a", "v")),
            direct.first("SELECT value FROM meta WHERE name = ?", ("a",)),
            direct.all("SELECT name FROM meta WHERE value = ?", ("v",)),
        )

    changed, first, every = await storage.submit_direct(act)
    assert (changed, tuple(first), [tuple(each) for each in every]) == (1, ("v",), [("a",)])
    found = await storage.read(lambda connection: read(connection, "SELECT count(*) FROM ledger WHERE id <> ?", ("x",)))
    assert found[0][0] == 1


async def test_one_that_fails_undoes_only_its_own_work(storage: Storage) -> None:
    """Together with rows and with functions that SQLAlchemy runs, whichever are in one transaction."""

    def bad(direct: Direct) -> None:
        direct.run(NOTE, ("half", "v"))
        raise ValueError("no")

    def slow(connection: Connection) -> int:
        return int(connection.execute(select(func.count()).select_from(ledger)).scalar_one())

    for beside in ([], [slow]):
        futures = [
            storage.submit_direct(note(f"one-{len(beside)}")),
            storage.submit_direct(bad),
            storage.submit_direct(note(f"two-{len(beside)}")),
            storage.submit_direct(note(f"one-{len(beside)}")),
            *(storage.submit(each) for each in beside),
        ]
        row = asyncio.ensure_future(storage.append(ledger, make_row(10 + len(beside))))
        results = await asyncio.gather(*futures, row, return_exceptions=True)
        kinds = [type(each) for each in results]
        assert kinds == [int, ValueError, int, StorageError, *(int for _ in beside), type(None)]
    assert await notes(storage) == {"one-0", "two-0", "one-1", "two-1"}
    assert not storage.failing


async def test_what_is_to_be_prepared_is_so_before_the_transaction_and_as_often_as_it_says(storage: Storage) -> None:
    class Prepared:
        said: list[str] = []  # noqa: RUF012 - one object

        def prepare(self) -> bool:
            self.said.append("prepared")
            return self.said == ["prepared"]

        def __call__(self, direct: Direct) -> None:
            self.said.append("done")

    act = Prepared()
    await storage.submit_direct(act)
    assert act.said == ["prepared", "prepared", "done"]


async def test_nobody_has_to_wait_for_it(storage: Storage) -> None:
    storage.submit_direct(note("late"))
    await storage.write(lambda _: None)
    assert await notes(storage) == {"late"}


def test_values_are_marked_as_the_driver_wants_it() -> None:
    assert percents("UPDATE t SET a = ? WHERE b = ?") == "UPDATE t SET a = %s WHERE b = %s"


async def test_amounts_for_one_key_become_one_statement_also_where_another_job_fails(storage: Storage) -> None:
    add = "INSERT INTO spending (spent, scope, period, bucket) VALUES (?, ?, ?, ?)"  # a second one would be refused

    def bad(direct: Direct) -> None:
        direct.add(add, 100, ("a", "total", 0))
        raise ValueError("no")

    def one(direct: Direct) -> None:
        direct.add(add, 1, ("b", "total", 0))
        direct.add(add, 2, ("b", "total", 0))
        direct.add(add, 0, ("c", "total", 0))

    results = await asyncio.gather(*map(storage.submit_direct, (bad, one)), return_exceptions=True)
    assert [type(each) for each in results] == [ValueError, type(None)]
    ask = "SELECT scope, spent FROM spending WHERE spent > ?"
    found = await storage.read(lambda connection: read(connection, ask, (0,)))
    assert [tuple(each) for each in found] == [("b", 3)]


async def test_the_lock_is_asked_for_once_in_a_transaction_and_again_in_the_next(storage: Storage) -> None:
    asked = []

    def act(direct: Direct) -> None:
        asked.append(direct.locked)
        alone_direct(direct)
        assert direct.locked == direct.shared

    def both(direct: Direct) -> None:
        act(direct)
        act(direct)

    await storage.submit_direct(both)
    await storage.submit_direct(act)
    shared = not storage.name.startswith("the SQLite")
    assert asked == [False, shared, False]


async def test_what_is_submitted_idly_comes_with_the_next_commit_before_what_was_put_after_it(storage: Storage) -> None:
    order: list[str] = []
    idle = storage.submit_idle(lambda _: order.append("idle"))
    await asyncio.sleep(0.02)
    before, waited = storage.commits, idle.done()

    await storage.submit_direct(lambda _: order.append("next"))
    await idle

    assert (waited, order, storage.commits - before) == (False, ["idle", "next"], 1)


async def test_what_is_idle_is_done_at_once_when_it_shall_hurry_and_at_the_end(storage: Storage) -> None:
    storage.hurry()  # there is nothing, and nothing comes of it
    idle = storage.submit_idle(note("hurried"))
    storage.hurry()
    storage.hurry()
    await idle

    assert await notes(storage) == {"hurried"}
    last = storage.submit_idle(note("last"))
    await storage.aclose()
    await last
    with pytest.raises(StorageError):
        storage.submit_idle(note("late"))


async def test_where_a_row_is_missing_each_looks_for_himself(storage: Storage, gate: Gate) -> None:
    await storage.submit_direct(note("here"))
    held = await hold(storage, gate)
    alone: list[bool] = []

    def gone(name: str) -> Callable[[Direct], int]:
        def act(direct: Direct) -> int:
            alone.append(not direct.together)
            if direct.together:
                direct.remove("DELETE FROM meta WHERE name IN", name)
                return 1
            return direct.run("DELETE FROM meta WHERE name = ?", (name,))

        return act

    waiting = [storage.submit_direct(gone(name)) for name in ("here", "missing")]
    gate.opened.set()
    await held
    both = await asyncio.gather(*waiting)
    assert (both, alone) == ([1, 0], [False, False, True, True])
    assert await notes(storage) == set()
