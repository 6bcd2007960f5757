"""One active session for each key, on both engines, in races and with two replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from tests.sessions.conftest import Clock

from sealgate.errors import Problem, StorageError
from sealgate.sessions import store
from sealgate.sessions.sessions import Sessions
from sealgate.sessions.store import Holder, Session
from sealgate.storage import Storage, open_storage
from sealgate.storage.audit import SYSTEM
from sealgate.storage.retention import oldest_id
from sealgate.storage.tables import sessions as table

ADA = Holder("acme", "key-of-ada", None)
BOB = Holder("umbrella", None, "bob")


@pytest.fixture
async def both(url: str, storage: Storage, clock: Clock) -> AsyncIterator[tuple[Sessions, Sessions]]:
    """Two replicas; on SQLite two writers of one file. They look for news when a test says so."""
    replicas = [open_storage(url) for _ in range(2)]
    one, other = (Sessions(replica, clock=clock) for replica in replicas)
    await one.poll()
    await other.poll()
    yield one, other
    for replica in replicas:
        replica.close()


async def open_rows(storage: Storage) -> int:
    """Sessions of the whole table whose end is not noted."""
    query = select(func.count()).select_from(table).where(table.c.ended_at.is_(None))
    return await storage.read(lambda connection: int(connection.execute(query).scalar_one()))


@pytest.mark.anyio
async def test_first_requests_at_two_replicas_at_once_end_in_one_session(
    both: tuple[Sessions, Sessions], storage: Storage
) -> None:
    async with asyncio.timeout(20):
        found = await asyncio.gather(*(both[i % 2].open(ADA, "m", 60, reuse=True) for i in range(20)))
    assert len({each.id for each in found}) == 1
    assert await open_rows(storage) == 1


@pytest.mark.anyio
async def test_opening_by_hand_at_two_replicas_at_once_leaves_one_active_session(
    both: tuple[Sessions, Sessions], storage: Storage, clock: Clock
) -> None:
    async with asyncio.timeout(20):
        found = await asyncio.gather(*(both[i % 2].open(ADA, f"m{i}", 60, reuse=False) for i in range(20)))
    assert len({each.id for each in found}) == 20
    assert await open_rows(storage) == 1
    last = await both[0].last(ADA)
    assert last is not None
    assert last.is_active(both[0].now())


@pytest.mark.anyio
async def test_the_database_itself_refuses_a_second_open_session(
    both: tuple[Sessions, Sessions], storage: Storage
) -> None:
    made = await both[0].open(ADA, "m", 60, reuse=True)
    columns = {column.name: getattr(made, column.name) for column in table.columns}
    with pytest.raises(StorageError) as raised:
        await storage.write(lambda connection: connection.execute(table.insert().values(**columns | {"id": "another"})))
    assert isinstance(raised.value.__cause__, IntegrityError)


@pytest.mark.anyio
async def test_another_replica_notices_a_closed_session_at_its_next_look(both: tuple[Sessions, Sessions]) -> None:
    one, other = both
    made = await one.open(ADA, "m", 60, reuse=True)
    assert (await other.named(made.id, "acme")).id == made.id
    assert other.remembered(ADA) is not None
    assert (await one.close(ADA)) is not None
    assert one.remembered(ADA) is None
    await other.poll()
    assert other.remembered(ADA) is None
    with pytest.raises(Problem) as refused:
        await other.named(made.id, "acme")
    assert refused.value.code.name == "session_expired"
    assert await other.close(ADA) is None


@pytest.mark.anyio
async def test_what_one_made_itself_is_not_forgotten_at_the_next_look(both: tuple[Sessions, Sessions]) -> None:
    made = await both[0].open(ADA, "m", 60, reuse=True)
    await both[1].open(BOB, "m", 60, reuse=True)
    await both[0].poll()
    assert both[0].remembered(ADA) is made
    replaced = await both[1].open(ADA, "other", 60, reuse=True)
    await both[0].poll()
    assert both[0].remembered(ADA) is None
    assert (await both[0].last(ADA)) == replaced


@pytest.mark.anyio
async def test_more_changes_than_are_told_make_one_forget_all(
    both: tuple[Sessions, Sessions], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_CHANGES", 3)
    await both[0].open(ADA, "m", 60, reuse=True)
    for number in range(4):
        await both[1].open(Holder("c", f"key-{number}", None), "m", 60, reuse=True)
    await both[0].poll()
    assert both[0].remembered(ADA) is None


@pytest.mark.anyio
async def test_the_clock_ends_a_session_whether_or_not_that_was_noted(
    both: tuple[Sessions, Sessions], clock: Clock, storage: Storage
) -> None:
    one, _ = both
    made = await one.open(ADA, "m", 60, reuse=True)
    clock.now += 59.9
    assert (await one.open(ADA, "m", 60, reuse=True)).id == made.id
    clock.now += 0.1
    assert one.remembered(ADA) is None
    assert await open_rows(storage) == 1
    renewed = await one.open(ADA, "m", 60, reuse=True)
    assert (renewed.id != made.id, await open_rows(storage)) == (True, 1)
    ended = await storage.read(lambda connection: store.by_id(connection, made.id))
    assert ended is not None
    assert (ended.ended_at, ended.has_expired(one.now())) == (made.expires_at, True)


@pytest.mark.anyio
async def test_the_sweep_notes_ends_in_bounded_pieces(
    both: tuple[Sessions, Sessions], clock: Clock, storage: Storage
) -> None:
    one, _ = both
    for number in range(5):
        await one.open(Holder("c", f"key-{number}", None), "m", 60, reuse=True)
    clock.now += 60
    kept = await one.open(ADA, "m", 60, reuse=True)
    assert await storage.write(lambda connection: store.end_due(connection, one.now(), most=2)) == 2
    assert await one.sweep() == 3
    assert await one.sweep() == 0
    assert await open_rows(storage) == 1
    assert one.remembered(ADA) is kept


@pytest.mark.anyio
async def test_a_closed_session_is_not_one_that_expired(both: tuple[Sessions, Sessions], clock: Clock) -> None:
    one, _ = both
    await one.open(ADA, "m", 60, reuse=True)
    await one.close(ADA)
    clock.now += 100
    last = await one.last(ADA)
    assert last is not None
    assert not last.has_expired(one.now())


@pytest.mark.anyio
async def test_a_foreign_session_and_one_there_is_not_are_the_same(both: tuple[Sessions, Sessions]) -> None:
    one, _ = both
    made = await one.open(ADA, "m", 60, reuse=True)
    for session_id, customer in ((made.id, "umbrella"), (made.id[:-1] + "x", "acme"), ("\0", "acme")):
        with pytest.raises(Problem) as refused:
            await one.named(session_id, customer)
        assert refused.value.code.name == "session_not_found"


@pytest.mark.anyio
async def test_settings_made_at_one_replica_hold_at_the_other_after_its_next_look(
    both: tuple[Sessions, Sessions],
) -> None:
    one, other = both
    who = ("acme", None)
    assert await one.settings(who) is None
    assert await one.change(who, None, None, SYSTEM) is None
    assert not one.automation
    changed = await one.change(who, True, None, SYSTEM)
    assert changed is not None
    assert (changed.is_enabled, changed.session_duration) == (True, 3600)
    assert one.automation.seconds(who) == 3600
    assert other.automation.seconds(who) is None
    await other.poll()
    assert other.automation.seconds(who) == 3600
    await other.change(who, False, 60, SYSTEM)
    await one.poll()
    assert not one.automation
    assert one.automation.seconds(("acme", "ada")) is None


@pytest.mark.anyio
async def test_whoever_starts_later_knows_the_settings_at_once(
    both: tuple[Sessions, Sessions], storage: Storage, clock: Clock
) -> None:
    await both[0].change(("acme", "ada"), True, 120, SYSTEM)
    late = Sessions(storage, clock=clock)
    await late.start()
    assert late.automation.seconds(("acme", "ada")) == 120
    await late.aclose()


@pytest.mark.anyio
async def test_watching_goes_on_after_the_database_was_away(storage: Storage, clock: Clock) -> None:
    watched = Sessions(storage, clock=clock, poll_seconds=0.001)
    await watched.start()
    read, failed = storage.read, asyncio.Event()

    async def broken(_: object) -> None:
        failed.set()
        raise StorageError("away")

    storage.read = broken  # type: ignore[method-assign, assignment]
    async with asyncio.timeout(5):
        await failed.wait()
    storage.read = read  # type: ignore[method-assign]
    await Sessions(storage, clock=clock).change(("acme", None), True, None, SYSTEM)
    async with asyncio.timeout(5):
        while not watched.automation:  # noqa: ASYNC110 - nobody tells of a look
            await asyncio.sleep(0.001)
    await watched.aclose()


def test_holders_are_told_apart() -> None:
    names = {Holder("c", "x", None).name, Holder("c", None, "x").name, Holder("x", None, None).name}
    assert len(names) == 3
    assert Holder("c", "x", "u").name == Holder("c", "x", None).name


def test_a_session_is_active_until_it_ends() -> None:
    fields = {"id": "s", "customer_id": "c", "holder": "h", "key_id": None, "user_id": None, "model": "m"}
    session = Session(**fields, automated=True, created_at=0, expires_at=10, ended_at=None, route=None, revision=1)
    assert (session.is_active(9), session.is_active(10), session.has_expired(9)) == (True, False, False)


@pytest.mark.anyio
async def test_sessions_that_ended_long_ago_are_forgotten(both: tuple[Sessions, Sessions], clock: Clock) -> None:
    """And no younger ones: their ids are not written as those of requests are."""
    one = both[0]
    for number in range(5):
        await one.open(Holder("acme", f"k{number}", None), "m", 60, reuse=True)
        clock.now += 1
    before = oldest_id(clock.now - 3)
    first = await one._storage.write(lambda connection: store.forget(connection, "", before, 1))
    assert first is not None
    last = await one._storage.write(lambda connection: store.forget(connection, first, before, 10))
    assert last is not None
    assert await one._storage.write(lambda connection: store.forget(connection, last, before, 10)) is None
    left = [await one.last(Holder("acme", f"k{number}", None)) for number in range(5)]
    assert [each is not None for each in left] == [False, False, True, True, True]
