"""Checking, making, importing and ending API keys (rows B2, B3, B4, B6, B8, B14 and B17)."""

import asyncio
import hashlib
import itertools
import random
import statistics
import string
from collections.abc import AsyncIterator, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, select, update

from sealgate.auth.caller import Caller, KeySettings
from sealgate.auth.keys import KeyStore, ensure_first_key
from sealgate.auth.records import MAX_SALTS
from sealgate.config_tables import Budget, Limits
from sealgate.errors import Problem, StorageError
from sealgate.storage import Storage, open_storage, revision
from sealgate.storage.tables import keys, metadata

pytestmark = pytest.mark.anyio
PEPPER = b"a pepper for tests, of 32 or more characters"
HOUR = 3_600_000_000


def drawn(length: int, alphabet: str = "0123456789abcdef", seed: int = 7) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


SEED_FORMATS = ["tr-" + drawn(96), "sk-osiris-" + drawn(32), "sk-Xy3Zw9." + drawn(64)]


@pytest.fixture
async def any_store(any_storage: Storage) -> AsyncIterator[KeyStore]:
    """A started store on each engine, with real clocks."""
    made = KeyStore(any_storage, PEPPER)
    await made.start()
    yield made
    await made.aclose()


async def refusal(store: KeyStore, credential: str | bytes) -> Problem:
    raw = credential.encode() if isinstance(credential, str) else credential
    assert store.cached(raw) is None
    with pytest.raises(Problem) as caught:
        await store.find(raw)
    return caught.value


async def until(condition: Callable[[], Any], seconds: float = 1.0) -> None:
    """Wait for something that another task will do."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.005)


# Making a key and being known by it.


async def test_a_key_that_was_made_names_its_caller(any_store: KeyStore) -> None:
    made = await any_store.create(
        name="ci",
        customer="acme",
        admin=True,
        models=["b", "a", "b"],
        settings=KeySettings(strict=True, usage_on_finish_chunk=False),
    )

    assert await any_store.find(made.key.encode()) == Caller(
        customer_id="acme",
        key_id=made.id,
        is_admin=True,
        models=frozenset({"a", "b"}),
        settings=KeySettings(strict=True, usage_on_finish_chunk=False),
        expires_at=None,
    )
    assert made.models == ("b", "a")
    assert made.key.startswith(made.key_prefix)
    assert len(made.key) == 55


async def test_a_key_found_once_is_known_without_the_database(store: KeyStore, breakable: Any) -> None:
    made = await store.create(name="ci")
    assert store.cached(made.key.encode()) is None

    found = await store.find(made.key.encode())

    reads = breakable.reads
    assert store.cached(made.key.encode()) is found
    assert await store.find(made.key.encode()) is found
    assert breakable.reads <= reads + 1  # a poll may have run meanwhile


async def test_a_plain_key_may_use_every_model_and_is_no_administrators(store: KeyStore) -> None:
    made = await store.create(name="ci")

    caller = await store.find(made.key.encode())
    assert (caller.customer_id, caller.is_admin, caller.models) == ("default", False, None)
    assert caller.settings == KeySettings()


async def test_a_key_is_not_shown_by_its_repr(store: KeyStore) -> None:
    made = await store.create(name="ci")

    assert made.key not in repr(made)
    assert made.key not in f"{[made]} {made}"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "a" * 129}, "name"),
        ({"name": "tab\there"}, "name"),
        ({"name": " padded "}, "name"),
        ({"name": "\udcff"}, "name"),
        ({"customer": ""}, "customer"),
        ({"customer": "nul\0"}, "customer"),
        ({"models": []}, "models"),
        ({"models": [""]}, "model"),
        ({"expires_at": 1}, "expires_at"),
        ({"expires_at": 253_402_300_800_000_000}, "expires_at"),
        ({"expires_at": 2**64}, "expires_at"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(store: KeyStore, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(Problem) as caught:
        await store.create(**{"name": "ci", **wrong})

    assert (caught.value.code.name, caught.value.param) == ("invalid_parameter", param)
    assert await store.list() == []


async def test_a_customer_has_at_most_ten_active_keys(any_store: KeyStore) -> None:
    for number in range(10):
        await any_store.create(name=str(number))

    with pytest.raises(Problem, match="There are 10 active keys, the most allowed"):
        await any_store.create(name="one too many")
    await any_store.create(name="of another", customer="acme")
    await any_store.create(name="by the operator", beyond_limit=True)
    assert len(await any_store.list("default")) == 11


async def test_revoked_and_expired_keys_do_not_count(breakable: Any, clock: Any) -> None:
    store = KeyStore(breakable, PEPPER, clock=clock, max_active_keys=2)
    await store.create(name="revoked")
    await store.create(name="expires", expires_at=clock.microseconds + HOUR)
    await store.revoke("revoked")
    await store.create(name="third")
    with pytest.raises(Problem, match="most allowed"):
        await store.create(name="fourth")

    clock.now += 3600

    assert (await store.create(name="fourth")).is_active


async def test_keys_are_listed_oldest_first_and_for_one_customer(any_store: KeyStore) -> None:
    first = await any_store.create(name="one", customer="acme")
    second = await any_store.create(name="two", expires_at=4 * 10**15)
    third = await any_store.create(name="three", customer="acme", models=["m"])

    listed = await any_store.list()

    assert [info.id for info in listed] == [first.id, second.id, third.id]
    assert [info.id for info in await any_store.list("acme")] == [first.id, third.id]
    assert await any_store.list("nobody") == []
    assert listed[1].expires_at == 4 * 10**15
    assert listed[2].models == ("m",)
    assert not any(hasattr(info, "key") for info in listed)


async def test_the_first_start_makes_one_administrators_key(any_store: KeyStore) -> None:
    made = await ensure_first_key(any_store)

    assert made is not None
    assert (await any_store.find(made.key.encode())).is_admin
    assert made.customer_id == "default"
    assert await ensure_first_key(any_store) is None


async def test_there_is_no_first_key_after_any_key_even_a_revoked_one(store: KeyStore) -> None:
    made = await store.create(name="ci", customer="acme")
    await store.revoke(made.id)

    assert await ensure_first_key(store) is None


async def test_replicas_that_start_at_once_make_one_first_key(any_url: str) -> None:
    storages = [open_storage(any_url) for _ in range(3)]

    made = await asyncio.gather(*(ensure_first_key(KeyStore(storage, PEPPER)) for storage in storages))

    assert len([key for key in made if key]) == 1
    assert len(await KeyStore(storages[0], PEPPER).list()) == 1
    for storage in storages:
        await storage.aclose()


# Refusing (B2, B3, B4, B14).


TRICKS = [
    b"' OR 1=1 --",
    b"') UNION SELECT * FROM keys --",
    b"sk-sealgate-%",
    b"sk-sealgate-' OR lookup LIKE '%",
    b"%s%s%s%n",
    b"{}{0.__class__}",
    b"$1",
    b"${jndi:ldap://x}",
    b"*",
    b"",
    b"-",
    b"sk-sealgate-",
    b"sk-sealgate-" + b"-" * 43,
    b"x" * 16384,
    b"\xff\xfe",
    b"a\x00b",
]


async def test_tricks_with_sql_and_formats_are_unknown_keys(any_store: KeyStore) -> None:
    await any_store.create(name="ci")

    assert {(await refusal(any_store, trick)).code.name for trick in TRICKS} == {"invalid_api_key"}
    assert len(await any_store.list()) == 1


async def test_unknown_wrong_revoked_expired_and_malformed_keys_are_answered_alike(store: KeyStore, clock: Any) -> None:
    live, revoked = await store.create(name="live"), await store.create(name="revoked")
    expired = await store.create(name="expired", expires_at=clock.microseconds + 10)
    await store.revoke("revoked")
    clock.now += 1
    wrong = live.key[:-1] + ("A" if live.key[-1] != "A" else "E")

    refused = [revoked.key, expired.key, wrong, "sk-sealgate-" + "A" * 43, "tr-" + "ab" * 48, "nonsense"]
    bodies = [(problem := await refusal(store, key)).body() | {"after": problem.retry_after} for key in refused]

    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["code"] == "invalid_api_key"
    assert bodies[0]["status"] == 401


async def test_keys_that_share_their_first_54_characters_are_told_apart(store: KeyStore) -> None:
    """CVE-2026-35030 was a cache under a prefix of the credential."""
    made = await store.create(name="ci")
    await store.find(made.key.encode())

    for last in string.ascii_letters + string.digits + "-_":
        other = made.key[:-1] + last
        assert (store.cached(other.encode()) is not None) == (other == made.key)


async def test_a_key_under_another_pepper_is_unknown(breakable: Any, store: KeyStore) -> None:
    made = await store.create(name="ci")

    assert (await refusal(KeyStore(breakable, b"another" * 6), made.key)).code.name == "invalid_api_key"


async def test_bad_credentials_leave_nothing_in_memory(store: KeyStore) -> None:
    for number in range(50):
        await refusal(store, f"sk-sealgate-{number:043}")

    assert not store._young
    assert not store._old


async def test_a_key_expires_in_memory_too(store: KeyStore, clock: Any) -> None:
    made = await store.create(name="ci", expires_at=clock.microseconds + 10 * 1_000_000)
    assert (await store.find(made.key.encode())).expires_at == made.expires_at

    clock.now += 9.99
    assert store.cached(made.key.encode()) is not None
    clock.now += 0.02

    assert (await refusal(store, made.key)).code.name == "invalid_api_key"


async def test_what_is_stored_unreadably_is_never_taken_for_everything(store: KeyStore, storage: Storage) -> None:
    """A list of models that cannot be read must not become "all models"."""
    made = await store.create(name="ci", models=["only-this"])
    await storage.write(lambda connection: connection.execute(update(keys).values(models="{broken")))

    assert (await refusal(store, made.key)).code.name == "auth_unavailable"


# Ending a key (B6).


@pytest.mark.parametrize("by", ["id", "key_prefix", "name", "key"])
async def test_a_key_is_revoked_by_anything_that_names_it(store: KeyStore, by: str) -> None:
    made, other = await store.create(name="ci"), await store.create(name="other")
    await store.find(made.key.encode())
    await store.find(other.key.encode())

    ended = await store.revoke(getattr(made, by))

    assert (ended.id, ended.is_active) == (made.id, False)
    assert (await refusal(store, made.key)).code.name == "invalid_api_key"
    assert (await store.find(other.key.encode())).key_id == other.id


async def test_an_imported_key_is_revoked_by_itself(store: KeyStore) -> None:
    made = await store.import_plain(SEED_FORMATS[0], name="moved")

    assert (await store.revoke(SEED_FORMATS[0])).id == made.id


async def test_revoking_again_changes_nothing(store: KeyStore, clock: Any) -> None:
    made = await store.create(name="ci")
    ended = await store.revoke(made.id)
    clock.now += 100

    assert await store.revoke(made.id) == ended


async def test_revoking_what_there_is_not_is_not_found(any_store: KeyStore) -> None:
    await any_store.create(name="ci")

    for which in ("nothing", "", "%", "\0", "\udcff", "' OR 1=1 --", "sk-sealgate-"):
        with pytest.raises(Problem) as caught:
            await any_store.revoke(which)
        assert caught.value.code.name == "not_found"
    assert (await any_store.list())[0].is_active


async def test_another_customers_key_is_not_found(store: KeyStore) -> None:
    """Row B7: foreign is as unknown."""
    made = await store.create(name="ci", customer="acme")
    answers = []
    for which in (made.id, made.key_prefix, made.name, made.key, "unknown"):
        with pytest.raises(Problem) as caught:
            await store.revoke(which, customer="default")
        answers.append(caught.value.body())

    assert all(answer == answers[0] for answer in answers)
    assert (await store.find(made.key.encode())).customer_id == "acme"


async def test_a_name_that_means_several_keys_is_refused_with_their_ids(store: KeyStore) -> None:
    one, two = await store.create(name="ci"), await store.create(name="ci")

    with pytest.raises(Problem, match=f"means 2 keys: .*{one.id}.*{two.id}"):
        await store.revoke("ci")
    await store.revoke(one.id)

    assert (await store.revoke("ci")).id == two.id


async def test_a_revoke_elsewhere_is_noticed_within_a_second(any_url: str) -> None:
    """With the default pace of polling, on each engine."""
    here, there = open_storage(any_url), open_storage(any_url)
    store, other = KeyStore(here, PEPPER), KeyStore(there, PEPPER)
    await store.start()
    made, kept = await store.create(name="ci"), await store.create(name="kept")
    await store.find(made.key.encode())
    await store.find(kept.key.encode())

    await other.revoke(made.id)
    await until(lambda: store.cached(made.key.encode()) is None, 1.0)

    assert (await refusal(store, made.key)).code.name == "invalid_api_key"
    assert (await store.find(kept.key.encode())).key_id == kept.id
    await store.aclose()
    await here.aclose()
    await there.aclose()


async def test_a_new_key_elsewhere_is_good_at_once_and_empties_no_memory(any_url: str) -> None:
    here, there = open_storage(any_url), open_storage(any_url)
    store, other = KeyStore(here, PEPPER, poll_seconds=0.01), KeyStore(there, PEPPER)
    await store.start()
    old = await store.create(name="old")
    await store.find(old.key.encode())
    before = await here.read(lambda connection: revision(connection, "keys"))

    new = await other.create(name="new")

    assert (await store.find(new.key.encode())).key_id == new.id
    assert await here.read(lambda connection: revision(connection, "keys")) == before
    assert store.cached(old.key.encode()) is not None
    await store.aclose()
    await here.aclose()
    await there.aclose()


async def test_a_revoke_in_the_middle_of_a_look_up_is_not_forgotten(breakable: Any) -> None:
    """The row was read before the revocation, and must not enter the memory after it."""
    store = KeyStore(breakable, PEPPER, poll_seconds=60)
    await store.start()
    made = await store.create(name="ci")
    breakable.after_read = lambda: store.revoke(made.id)

    await store.find(made.key.encode())

    assert (await refusal(store, made.key)).code.name == "invalid_api_key"
    await store.aclose()


# A database that is gone (B8).


async def test_known_keys_are_believed_for_a_minute_without_the_database(
    store: KeyStore, breakable: Any, ticks: Any
) -> None:
    known, unseen = await store.create(name="known"), await store.create(name="unseen")
    caller = await store.find(known.key.encode())
    breakable.broken = True

    ticks.now += 59.9
    assert await store.find(known.key.encode()) is caller
    problem = await refusal(store, unseen.key)
    assert (problem.code.name, problem.status, problem.retry_after) == ("auth_unavailable", 503, 1)
    assert (await refusal(store, "sk-sealgate-" + "A" * 43)).code.name == "auth_unavailable"

    ticks.now += 0.2
    assert (await refusal(store, known.key)).code.name == "auth_unavailable"


async def test_a_database_that_comes_back_is_believed_again(store: KeyStore, breakable: Any, ticks: Any) -> None:
    made = await store.create(name="ci")
    await store.find(made.key.encode())
    breakable.broken = True
    ticks.now += 61
    assert (await refusal(store, made.key)).code.name == "auth_unavailable"

    breakable.broken = False
    await until(lambda: store.cached(made.key.encode()) is not None)

    assert (await store.find(made.key.encode())).key_id == made.id


async def test_polls_that_succeed_keep_a_key_known_for_ever(store: KeyStore, breakable: Any, ticks: Any) -> None:
    made = await store.create(name="ci")
    caller = await store.find(made.key.encode())
    for _ in range(3):
        ticks.now += 59
        reads = breakable.reads
        await until(lambda reads=reads: breakable.reads > reads + 1)
        assert store.cached(made.key.encode()) is caller


async def test_a_key_revoked_while_the_database_was_gone_ends_when_it_is_back(
    store: KeyStore, breakable: Any, storage: Storage
) -> None:
    made = await store.create(name="ci")
    await store.find(made.key.encode())
    breakable.broken = True
    await KeyStore(storage, PEPPER).revoke(made.id)
    assert store.cached(made.key.encode()) is not None

    breakable.broken = False
    await until(lambda: store.cached(made.key.encode()) is None)

    assert (await refusal(store, made.key)).code.name == "invalid_api_key"


async def test_a_database_that_never_answers_is_gone(
    store: KeyStore, breakable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await store.create(name="ci")
    monkeypatch.setattr("sealgate.auth.keys.ASK_SECONDS", 0.02)
    breakable.stalled = True

    assert (await refusal(store, made.key)).code.name == "auth_unavailable"


async def test_a_store_that_does_not_watch_believes_nothing(breakable: Any) -> None:
    """Without the poll a revocation elsewhere would go unnoticed."""
    store = KeyStore(breakable, PEPPER)
    made = await store.create(name="ci")
    await store.find(made.key.encode())
    assert store.cached(made.key.encode()) is None

    await store.start()
    await store.find(made.key.encode())
    assert store.cached(made.key.encode()) is not None
    await store.aclose()

    assert store.cached(made.key.encode()) is None


async def test_a_start_without_the_database_fails(breakable: Any) -> None:
    breakable.broken = True

    with pytest.raises(StorageError):
        await KeyStore(breakable, PEPPER).start()


async def test_trouble_with_the_poll_is_said_once_and_its_end_too(
    store: KeyStore, breakable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[str, str]] = []

    class Log:
        def error(self, event: str, **fields: Any) -> None:
            said.append((event, fields["error"]))

        def info(self, event: str) -> None:
            said.append((event, ""))

    monkeypatch.setattr("sealgate.auth.keys._log", Log())
    breakable.broken = True
    reads = breakable.reads
    await until(lambda: breakable.reads > reads + 3)
    breakable.broken = False
    await until(lambda: len(said) > 1)

    assert said == [("keys_unavailable", "the database is gone"), ("keys_available_again", "")]


# Memory.


async def test_memory_is_bounded_and_keeps_what_is_used(breakable: Any) -> None:
    store = KeyStore(breakable, PEPPER, capacity=4)
    await store.start()
    made = [(await store.create(name=str(number))).key.encode() for number in range(8)]
    for key in made:
        await store.find(key)
        assert store.cached(made[0]) is not None
        assert len(store._young) + len(store._old) <= 4

    assert store.cached(made[1]) is None
    assert (await store.find(made[1])).key_id
    await store.aclose()


# Importing.


async def test_keys_of_other_systems_go_on_working_when_given_in_plain(any_store: KeyStore) -> None:
    for key in SEED_FORMATS:
        made = await any_store.import_plain(key, name="moved", customer="acme", models=["m"])

        caller = await any_store.find(key.encode())
        assert (caller.key_id, caller.customer_id, caller.models) == (made.id, "acme", frozenset({"m"}))
        assert key.startswith(made.key_prefix)
        assert (await refusal(any_store, key[:-1] + "_")).code.name == "invalid_api_key"


async def test_keys_of_other_systems_go_on_working_when_only_their_hashes_are_known(any_store: KeyStore) -> None:
    for key in SEED_FORMATS:
        made = await any_store.import_hash(hashlib.sha256(key.encode()).hexdigest(), name="moved")

        assert (await any_store.find(key.encode())).key_id == made.id


async def test_a_hash_salted_by_a_prefix_goes_on_working(any_url: str) -> None:
    """Another process, which has been running since before, knows the prefix after its next poll."""
    here, there = open_storage(any_url), open_storage(any_url)
    store, running = KeyStore(here, PEPPER), KeyStore(there, PEPPER, poll_seconds=0.01)
    await running.start()
    salted = hashlib.sha256(b"salt:" + SEED_FORMATS[1].encode()).hexdigest()

    made = await store.import_hash(salted, name="moved", prefix="salt:")

    assert (await store.find(SEED_FORMATS[1].encode())).key_id == made.id
    assert (await refusal(store, b"salt:" + SEED_FORMATS[1].encode())).code.name == "invalid_api_key"
    await until(lambda: running._state and running._state.salts)
    assert (await running.find(SEED_FORMATS[1].encode())).key_id == made.id
    await running.aclose()
    await here.aclose()
    await there.aclose()


async def test_there_are_few_prefixes_and_one_may_serve_many_keys(store: KeyStore) -> None:
    def salted(prefix: str, number: int) -> str:
        return hashlib.sha256(f"{prefix}tr-{number:096x}".encode()).hexdigest()

    for number in range(MAX_SALTS * 2):
        prefix = f"salt{number % MAX_SALTS}"
        await store.import_hash(salted(prefix, number), name=str(number), prefix=prefix)

    with pytest.raises(Problem, match=f"{MAX_SALTS} import prefixes"):
        await store.import_hash(salted("another", 99), name="x", prefix="another")
    for number in range(MAX_SALTS * 2):
        assert await store.find(f"tr-{number:096x}".encode())
    assert len(await store.list()) == MAX_SALTS * 2


async def test_a_key_is_stored_once_in_whatever_form_it_is_imported(store: KeyStore, clock: Any) -> None:
    """Stored twice, it could be revoked once and still be good."""
    own = await store.create(name="own")
    clock.now += 1
    key = SEED_FORMATS[0]
    await store.import_hash(hashlib.sha256(b"salt:" + key.encode()).hexdigest(), name="salted", prefix="salt:")
    digest = hashlib.sha256(own.key.encode()).hexdigest()

    with pytest.raises(Problem, match=r"known as 'own' .* already"):
        await store.import_plain(own.key, name="again")
    with pytest.raises(Problem, match=r"known as 'own' .* already"):
        await store.import_hash(digest, name="again")
    with pytest.raises(Problem, match=r"known as 'salted' .* already"):
        await store.import_plain(key, name="again")
    assert [info.name for info in await store.list()] == ["own", "salted"]


async def test_a_revoked_key_cannot_be_imported_back(store: KeyStore) -> None:
    await store.import_plain(SEED_FORMATS[0], name="moved")
    await store.revoke("moved")

    with pytest.raises(Problem, match="a revoked key cannot come back"):
        await store.import_plain(SEED_FORMATS[0], name="moved")
    assert (await refusal(store, SEED_FORMATS[0])).code.name == "invalid_api_key"


async def test_a_key_revoked_in_one_form_is_refused_in_the_other(store: KeyStore) -> None:
    """Two hashes of one key cannot be told to be so when they are imported; the revoked one counts."""
    key = SEED_FORMATS[2].encode()
    await store.import_hash(hashlib.sha256(key).hexdigest(), name="plain hash")
    await store.import_hash(hashlib.sha256(b"salt:" + key).hexdigest(), name="salted hash", prefix="salt:")
    assert await store.find(key)

    await store.revoke("salted hash")

    assert (await refusal(store, key)).code.name == "invalid_api_key"


async def test_an_own_key_of_another_gateway_can_be_imported(store: KeyStore) -> None:
    foreign = "sk-sealgate-" + drawn(43, string.ascii_letters + string.digits)

    made = await store.import_plain(foreign, name="moved")

    assert (await store.find(foreign.encode())).key_id == made.id


async def test_weak_and_slowly_hashed_keys_are_not_imported(store: KeyStore) -> None:
    with pytest.raises(Problem, match="at least 128 bits"):
        await store.import_plain("hunter2", name="weak")
    with pytest.raises(Problem, match="bcrypt"):
        await store.import_hash("$2b$12$LQv3c1yqBWVHxkd0LHAkCOYz6TtxMQJqhN8", name="slow")
    assert await store.list() == []


# Theft of the database .


def everything_in(connection: Connection) -> bytes:
    rows = [repr(tuple(row)) for table in metadata.sorted_tables for row in connection.execute(select(table))]
    return "\n".join(rows).encode()


async def test_a_stolen_database_holds_neither_keys_nor_hashes_nor_the_pepper(any_storage: Storage) -> None:
    store = KeyStore(any_storage, PEPPER)
    given = [(await store.create(name="own")).key, SEED_FORMATS[0], SEED_FORMATS[2]]
    await store.import_plain(given[1], name="plain")
    await store.import_hash(hashlib.sha256(given[2].encode()).hexdigest(), name="hash")

    dump = await any_storage.read(everything_in)

    for key in given:
        digest = hashlib.sha256(key.encode()).digest()
        for secret in (key[24:], digest.hex(), digest.hex()[16:], repr(digest)[2:-1]):
            assert secret.encode() not in dump
    assert PEPPER not in dump
    assert b"own" in dump


async def test_the_files_of_a_stolen_database_hold_no_key(storage: Storage, tmp_path: Path) -> None:
    made = await KeyStore(storage, PEPPER).create(name="a name that is there")

    files = [tmp_path / name for name in ("sealgate.db", "sealgate.db-wal")]
    content = b"".join(file.read_bytes() for file in files)

    assert b"a name that is there" in content
    assert made.key[24:].encode() not in content
    assert hashlib.sha256(made.key.encode()).digest() not in content


# Time (B17).


async def refusal_times(
    store: KeyStore, clock: Any, seconds: Callable[[], float], rounds: int
) -> dict[str, list[float]]:
    """How long each kind of refusal takes, asked in turns and in random order, so that all meet the same noise."""
    live, revoked = await store.create(name="live"), await store.create(name="revoked")
    expired = await store.create(name="expired", expires_at=clock.microseconds + 10)
    await store.revoke("revoked")
    clock.now += 1
    kinds = {
        "unknown": b"sk-sealgate-" + b"A" * 43,
        "wrong secret": live.key[:30].encode() + b"A" * 25,
        "revoked": revoked.key.encode(),
        "expired": expired.key.encode(),
        "of another shape": b"tr-" + drawn(96).encode(),
        "malformed": b"' OR 1=1 --",
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    order = list(kinds)
    for _ in range(rounds):
        random.shuffle(order)
        for kind in order:
            begin = seconds()
            try:
                await store.find(kinds[kind])
            except Problem:  # `pytest.raises` would cost as much as a part of what is measured
                times[kind].append(seconds() - begin)
    assert {kind: len(found) for kind, found in times.items()} == dict.fromkeys(kinds, rounds), "all are refused"
    return times


def spread(times: dict[str, list[float]]) -> float:
    """The slowest kind's median over the fastest's."""
    medians = [statistics.median(values) for values in times.values()]
    return max(medians) / min(medians)


async def test_every_kind_of_refusal_takes_as_long(breakable: Any, clock: Any, seconds: Callable[[], float]) -> None:
    """Wide bounds, for busy machines: an early return or a saved query would be far outside of them."""
    store = KeyStore(breakable, PEPPER, clock=clock)

    assert spread(await refusal_times(store, clock, seconds, 250)) < 1.3


def effect(one: Sequence[float], other: Sequence[float]) -> float:
    """How likely a value of ``one`` is below a value of ``other``, ties counted half (Mann and Whitney): 0.5 is alike.

    It goes by ranks, so the few that waited for a busy machine weigh no more than any others.
    """
    ranked = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    below = rank = 0.0
    for _, same in itertools.groupby(ranked, key=lambda each: each[0]):
        sides = [side for _, side in same]
        ties = sides.count(0)
        below += (len(sides) - ties) * (rank + ties / 2)
        rank += ties
    return below / (len(one) * len(other))


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [([1, 2], [3, 4], 1.0), ([3, 4], [1, 2], 0.0), ([1, 1], [1, 1], 0.5), ([1, 3], [2, 4], 0.75), ([1], [1, 2], 0.75)],
)
def test_the_effect_is_the_share_of_pairs(one: list[float], other: list[float], wanted: float) -> None:
    pairs = [(a < b) + (a == b) / 2 for a in one for b in other]
    assert effect(one, other) == wanted == sum(pairs) / len(pairs)


NOTICEABLE = 0.06
"""How far from a coin's toss an effect is called a small one (Vargha and Delaney, 2000)."""


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_ten_thousand_refusals_of_each_kind_cannot_be_told_apart_by_time(
    breakable: Any, clock: Any, seconds: Callable[[], float]
) -> None:
    """Each kind against each other one; where a tenth more time would not be noticed, the machine is too busy."""
    times = await refusal_times(KeyStore(breakable, PEPPER, clock=clock), clock, seconds, 10_000)

    if min(effect(values, [value * 1.1 for value in values]) for values in times.values()) < 0.5 + NOTICEABLE:
        pytest.skip("this machine is too busy for a tenth to be noticed")
    pairs = {(one, other): effect(times[one], times[other]) for one, other in itertools.combinations(times, 2)}
    assert {pair: found for pair, found in pairs.items() if abs(found - 0.5) >= NOTICEABLE} == {}


async def test_limits_and_budgets_of_an_earlier_version_that_no_store_counts_are_the_most_there_may_be(
    store: KeyStore,
) -> None:
    made = await store.create(
        name="huge", limits=Limits(requests_per_minute=10**30), budget=budget_of(10**12)
    )  # fmt: skip
    caller = await store.find(made.key.encode())
    assert caller.limits == Limits(requests_per_minute=10**12)
    assert caller.budget is not None
    assert caller.budget.amount == 10**9
    assert [each.name for each in await store.list()] == ["huge"]
    assert (await store.revoke("huge")).is_active is False


def budget_of(amount: int) -> Budget:
    """As it was made before there was a bound."""
    budget = Budget(Decimal(1))
    msgspec.structs.force_setattr(budget, "amount", Decimal(amount))
    return budget
