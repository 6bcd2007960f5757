"""Kept responses: for their customer alone, encrypted, one after the other, until they are too old or deleted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.postgres import PostgresServer

from sealgate.errors import Problem
from sealgate.formats import ids
from sealgate.relay import kept as kept_module
from sealgate.relay.kept import Content, Kept
from sealgate.relay.responses import Before
from sealgate.storage import Storage, open_storage
from sealgate.storage.retention import DAY_SECONDS, MOMENT, Retention, Rule
from sealgate.storage.tables import responses

PEPPER = b"p" * 32
SECRET = "the customer's words"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def name(self) -> str:
        """An id of this moment, which moves on."""
        self.now += 0.01
        return f"{int(self.now * 1000):012x}" + ids.uuid7_hex()[12:]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/kept.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create()


@pytest.fixture
async def storage(url: str, anyio_backend: str) -> AsyncIterator[Storage]:
    opened = open_storage(url)
    yield opened
    await opened.aclose()


async def before(kept: Kept, who: str, name: str | None) -> list[Before]:
    async with kept.before(who, name) as found:
        return found


async def put(kept: Kept, storage: Storage, name: str, text: str, after: str | None = None, who: str = "acme") -> str:
    response = {"id": f"resp_{name}", "output": [], "previous_response_id": after}
    said = [{"type": "message", "role": "user", "content": text}]
    table, row = kept.row(who, name, Content(response, said, [{"data": "d"}]))
    await storage.append(table, row)
    return f"resp_{name}"


def code(found: pytest.ExceptionInfo[Problem]) -> str:
    return found.value.code.name


@pytest.mark.anyio
async def test_a_conversation_is_found_from_its_last_response_the_oldest_first(storage: Storage) -> None:
    clock = Clock()
    kept = Kept(storage, PEPPER, clock, 1)
    first = await put(kept, storage, clock.name(), "one")
    second = await put(kept, storage, clock.name(), "two", first)
    third = await put(kept, storage, clock.name(), "three", second)
    assert [each.input[0]["content"] for each in await before(kept, "acme", third)] == ["one", "two", "three"]
    assert [each.details for each in await before(kept, "acme", first)] == [[{"data": "d"}]]
    assert (await kept.find("acme", second)).response["id"] == second


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["resp_" + "0" * 32, "resp_1", "", "' OR 1=1", "x" * 1000])
async def test_what_is_another_customers_is_what_there_is_not(storage: Storage, name: str) -> None:
    clock = Clock()
    kept = Kept(storage, PEPPER, clock, 1)
    foreign = await put(kept, storage, clock.name(), "one", who="umbrella")
    for asked in (name, foreign):
        with pytest.raises(Problem) as found:
            await kept.find("acme", asked)
        assert code(found) == "not_found"
        with pytest.raises(Problem) as found:
            await before(kept, "acme", asked)
        assert code(found) == "previous_response_not_found"
        with pytest.raises(Problem) as found:
            await kept.drop("acme", asked)
        assert code(found) == "not_found"
    assert await kept.find("umbrella", foreign)


@pytest.mark.anyio
async def test_a_conversation_over_a_deleted_response_has_ended(storage: Storage) -> None:
    clock = Clock()
    kept = Kept(storage, PEPPER, clock, 1)
    first = await put(kept, storage, clock.name(), "one")
    second = await put(kept, storage, clock.name(), "two", first)
    await kept.drop("acme", first)
    with pytest.raises(Problem) as found:
        await before(kept, "acme", second)
    assert code(found) == "previous_response_not_found"
    assert await kept.find("acme", second)
    with pytest.raises(Problem):
        await kept.drop("acme", first)


@pytest.mark.anyio
async def test_what_is_too_old_is_gone_before_it_is_deleted_and_then_is_deleted(storage: Storage) -> None:
    clock = Clock()
    kept = Kept(storage, PEPPER, clock, 2)
    old = await put(kept, storage, clock.name(), "one")
    clock.now += 1.5 * DAY_SECONDS
    young = await put(kept, storage, clock.name(), "two")
    retention = Retention(storage, [Rule(MOMENT, kept.forget)], clock=clock)
    await retention.round()
    assert await rows(storage) == 2
    clock.now += DAY_SECONDS
    with pytest.raises(Problem):
        await kept.find("acme", old)
    assert await kept.find("acme", young)
    await retention.round()
    assert await rows(storage) == 1
    kept.keep_days = 0
    with pytest.raises(Problem) as found:
        await before(kept, "acme", young)
    assert code(found) == "responses_not_kept"
    with pytest.raises(Problem) as found:
        await kept.find("acme", young)
    assert code(found) == "not_found"
    await retention.round()
    assert await rows(storage) == 0


@pytest.mark.anyio
async def test_nothing_of_it_can_be_read_in_the_database(storage: Storage) -> None:
    clock = Clock()
    kept = Kept(storage, PEPPER, clock, 1)
    name = await put(kept, storage, clock.name(), SECRET)
    found: Any = await storage.read(lambda connection: connection.execute(responses.select()).all())
    assert SECRET not in repr(found)
    assert SECRET in json.dumps((await kept.find("acme", name)).input)
    with pytest.raises(Problem):
        await Kept(storage, b"q" * 32, clock, 1).find("acme", name)


@pytest.mark.anyio
async def test_a_conversation_that_is_too_long_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    kept = Kept(storage, PEPPER, clock, 1)
    first = await put(kept, storage, clock.name(), "one")
    second = await put(kept, storage, clock.name(), "two", first)
    monkeypatch.setattr(kept_module, "MAX_CHAIN", 1)
    assert await kept.find("acme", second)
    monkeypatch.setattr(kept_module, "MAX_CHAIN_BYTES", 10)
    with pytest.raises(Problem) as found:
        await before(kept, "acme", second)
    assert code(found) == "request_too_large"


async def rows(storage: Storage) -> int:
    return len(await storage.read(lambda connection: connection.execute(responses.select()).all()))


@pytest.mark.anyio
async def test_conversations_of_all_requests_together_have_one_bound(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one request holds is room for others when it is over, however it ended."""
    monkeypatch.setattr(kept_module, "MAX_HELD", 50_000)
    clock = Clock()
    kept = Kept(storage, PEPPER, clock, 1)
    name = await put(kept, storage, clock.name(), "x" * 20_000)
    async with kept.before("acme", None) as nothing, kept.before("acme", name) as first:
        assert (nothing, len(first)) == ([], 1)
        with pytest.raises(Problem) as caught:
            await before(kept, "acme", name)
    assert (caught.value.code.name, caught.value.retry_after is not None) == ("overloaded", True)
    with pytest.raises(RuntimeError, match="over"):
        async with kept.before("acme", name):
            raise RuntimeError("over")
    assert len(await before(kept, "acme", name)) == 1


@pytest.mark.anyio
async def test_a_thread_that_reads_on_for_a_request_that_is_over_takes_no_room() -> None:
    room = kept_module.Room(100)
    share = kept_module.Share(room, "acme")
    share.take(50)
    share.close()
    with pytest.raises(Problem):
        share.take(10)
    assert room.left == 100


@pytest.mark.anyio
async def test_one_customer_holds_half_of_the_room_at_most(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others go on beside it until there is no room at all; what is over, or was refused, is given back to both."""
    monkeypatch.setattr(kept_module, "MAX_HELD", 90_000)
    clock = Clock()
    kept = Kept(storage, PEPPER, clock, 1)
    names = {who: await put(kept, storage, clock.name(), "x" * 20_000, who=who) for who in ("acme", "other", "third")}

    async def refused(who: str) -> None:
        with pytest.raises(Problem) as caught:
            await before(kept, who, names[who])
        assert code(caught) == "overloaded"

    async with kept.before("acme", names["acme"]), kept.before("acme", names["acme"]):
        await refused("acme")
        with pytest.raises(Problem) as caught:
            await kept.find("acme", names["acme"])
        assert code(caught) == "overloaded"
        async with kept.before("other", names["other"]), kept.before("other", names["other"]):
            await refused("third")
        assert len(await before(kept, "third", names["third"])) == 1
    async with kept.before("acme", names["acme"]), kept.before("acme", names["acme"]):
        await refused("acme")
