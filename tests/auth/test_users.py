"""Users in the database, on both engines: who is who, made once, and whose limits they have."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from tests.auth.conftest import PEPPER

from sealgate.auth import users
from sealgate.auth.claims import Identity
from sealgate.auth.keys import KeyStore
from sealgate.formats.ids import uuid7_hex
from sealgate.storage import Storage, open_storage

pytestmark = pytest.mark.anyio
ISS = "https://id.corp.example/"
NOW = 1_900_000_000_000_000


def who(sub: str = "alice", issuer: str = ISS, email: str | None = None, name: str | None = None) -> Identity:
    return Identity(issuer, sub, email, name, NOW + 1)


async def enter(storage: Storage, someone: Identity, customer: str | None = None, now: int = NOW) -> users.User:
    customer = customer or users.customer_of(someone.issuer, someone.sub)
    return await storage.write(partial(users.enter, who=someone, new_id=uuid7_hex(), customer_id=customer, now=now))


async def standing(storage: Storage, sub: str = "alice", customer: str = "acme", now: int = NOW) -> Any:
    return await storage.read(partial(users.standing, issuer=ISS, sub=sub, customer_id=customer, now=now))


async def test_a_user_is_made_once_and_its_email_and_name_follow(any_storage: Storage) -> None:
    made = await enter(any_storage, who(email="old@corp.example", name="Alice"))
    assert (made.email, made.name, made.created_at) == ("old@corp.example", "Alice", NOW)
    again = await enter(any_storage, who(email="new@corp.example"), now=NOW + 5)
    assert again == made._replace(email="new@corp.example")
    assert (await standing(any_storage))[0] == again


async def test_users_are_told_apart_by_issuer_and_by_every_letter(any_storage: Storage) -> None:
    people = [
        who("alice"),
        who("Alice"),
        who("alice "),
        who("alice", ISS[:-1]),
        who("álice"),
        who("' OR 1=1 --"),
        who("%"),
    ]
    made = [await enter(any_storage, each) for each in people]
    assert len({user.id for user in made}) == len({user.customer_id for user in made}) == len(people)
    assert (await standing(any_storage, "ALICE"))[0] is None


def test_a_users_customer_follows_from_who_it_is() -> None:
    assert users.customer_of(ISS, "alice") == users.customer_of(ISS, "alice")
    pairs = [(ISS, "alice"), (ISS, "bob"), (ISS + "a", "lice"), ("https://other.example", "alice")]
    assert len({users.customer_of(*pair) for pair in pairs}) == 4


async def test_replicas_that_see_somebody_for_the_first_time_at_once_make_one_user(any_url: str) -> None:
    replicas = [open_storage(any_url) for _ in range(2)]
    try:
        found = await asyncio.gather(*(enter(replicas[number % 2], who("alice")) for number in range(20)))
        assert len(set(found)) == 1
        customers = await replicas[0].read(
            lambda connection: connection.exec_driver_sql("SELECT id FROM customers").all()
        )
        assert [row[0] for row in customers] == [found[0].customer_id]
    finally:
        for replica in replicas:
            await replica.aclose()


async def test_a_user_moves_with_the_configuration(any_storage: Storage) -> None:
    first = await enter(any_storage, who())
    assert not users.differs(first, who(), first.customer_id)
    assert users.differs(first, who(), "acme")
    moved = await enter(any_storage, who(), "acme")
    assert moved == first._replace(customer_id="acme")


def test_only_what_a_token_says_can_differ() -> None:
    user = users.User("u", "c", "a@b.example", None, 1)
    assert not users.differs(user, who(), "c")
    assert not users.differs(user, who(email="a@b.example"), "c")
    assert users.differs(user, who(email="other@b.example"), "c")
    assert users.differs(user, who(name="Alice"), "c")


async def test_the_default_key_is_the_chosen_one_else_the_oldest_that_is_active(any_storage: Storage) -> None:
    clock = [NOW / 1e6]
    keys = KeyStore(any_storage, PEPPER, clock=lambda: clock[0])

    async def default() -> str | None:
        key = (await standing(any_storage, now=int(clock[0] * 1e6)))[1]
        return None if key is None else key.name

    assert await default() is None
    made = []
    for number in range(3):
        ends = int((clock[0] + 100) * 1e6) if number == 0 else None
        made.append(await keys.create(name=f"key-{number}", customer="acme", expires_at=ends))
        clock[0] += 1
    await keys.create(name="foreign", customer="other")
    assert await default() == "key-0"
    clock[0] += 100
    assert await default() == "key-1", "one that has expired counts for nothing"
    await keys.revoke(made[1].id)
    assert await default() == "key-2", "nor does one that was revoked"
    newer = await keys.create(name="newer", customer="acme")
    await keys.set_default(newer.id, (await keys.find(newer.key.encode())))
    assert await default() == "newer"
    await keys.revoke(newer.id)
    assert await default() == "key-2"


async def test_an_account_is_the_users_where_the_customer_is(any_storage: Storage) -> None:
    own, shared = await enter(any_storage, who("alice", name="Alice")), await enter(any_storage, who("bob"), "acme")

    async def account(customer: str, user: str | None = None) -> users.Account:
        return await any_storage.read(partial(users.account, customer_id=customer, user_id=user))

    mine = users.Account(own.id, own.customer_id, None, "Alice", NOW)
    assert await account(own.customer_id, own.id) == await account(own.customer_id) == mine
    assert (await account("acme", shared.id)).id == shared.id
    assert await account("acme") == users.Account("acme", "acme", None, "acme", NOW)
    assert await account("nobody") == users.Account("nobody", "nobody", None, None, None)
