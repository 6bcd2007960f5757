"""Tokens become callers: what is remembered and for how long, whose limits they have, and two replicas."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from tests.auth.conftest import PEPPER, BreakableStorage, Clock

from sealgate.auth import keyring
from sealgate.auth.caller import scope
from sealgate.auth.keys import KeyStore
from sealgate.auth.tokens import KEYLESS_SECONDS, TokenProblem, Tokens
from sealgate.config_tables import Budget, Limits
from sealgate.config_tables import Issuer as Rules
from sealgate.errors import Problem
from sealgate.outward.documents import Document
from sealgate.storage import open_storage
from sealgate.testing import Issuer

pytestmark = pytest.mark.anyio
ISS = "https://id.corp.example"
SLOW = Limits(requests_per_minute=1)
FAST = Limits(requests_per_minute=100)
PURSE = Budget(amount=Decimal(5))


class Desk(Issuer):
    """An issuer that makes tokens and publishes keys without a network."""

    url = ISS  # type: ignore[assignment]

    async def fetch(self, url: str) -> Document:
        said = self.jwks() if url.endswith("/jwks") else self.discovery()
        return Document(json.dumps(said).encode(), None)


@pytest.fixture
def desk(clock: Clock) -> Desk:
    return Desk(clock=clock)


Make = Callable[..., Tokens]


@pytest.fixture
async def make(
    breakable: BreakableStorage, store: KeyStore, desk: Desk, clock: Clock, ticks: Clock
) -> AsyncIterator[Make]:
    """Makes what turns tokens of the desk into callers; the fields are those of its configuration."""
    made: list[Tokens] = []

    def make(capacity: int = 1000, **fields: Any) -> Tokens:
        rules = Rules(
            **{"issuer": ISS, "audience": ("sealgate",), "algorithms": ("ES256",), "create_users": True, **fields}
        )
        tokens = Tokens(breakable, store, {"corp": rules}, desk.fetch, clock=clock, monotonic=ticks, capacity=capacity)  # type: ignore[arg-type]
        made.append(tokens)
        return tokens

    yield make
    for tokens in made:
        await tokens.aclose()


async def reason(tokens: Tokens, token: str) -> str:
    with pytest.raises(TokenProblem) as caught:
        await tokens.find(token.encode())
    assert caught.value.code.name == "invalid_token"
    return caught.value.reason


async def test_a_token_is_a_user_who_is_no_administrator(make: Make, desk: Desk, clock: Clock) -> None:
    tokens = make(models=("m",), limits=SLOW, budget=PURSE)
    token = desk.token("alice", is_admin=True, lasts=60).encode()
    assert tokens.cached(token) is None
    caller = await tokens.find(token)
    assert tokens.cached(token) is caller
    assert (caller.is_admin, caller.key_id, caller.default_key_id) == (False, None, None)
    assert (caller.models, caller.limits, caller.budget) == (frozenset({"m"}), SLOW, PURSE)
    assert caller.expires_at == (int(clock.now) + 60) * 1_000_000
    assert caller.user_id is not None
    assert caller.customer_id.startswith("user-")


async def test_a_token_is_remembered_until_its_last_microsecond_and_no_longer(
    make: Make, desk: Desk, clock: Clock, breakable: BreakableStorage
) -> None:
    tokens = make()
    token = desk.token(lasts=30)
    await tokens.find(token.encode())
    reads = breakable.reads
    clock.now = int(clock.now) + 29.999
    assert tokens.cached(token.encode()) is not None
    assert (await tokens.find(token.encode())).user_id is not None
    assert breakable.reads <= reads + 1, "only the watch over keys reads"
    clock.now = int(clock.now) + 1
    assert tokens.cached(token.encode()) is None
    assert await reason(tokens, token) == "exp"


async def test_a_clock_that_goes_back_makes_no_token_good_that_had_not_begun(
    make: Make, desk: Desk, clock: Clock
) -> None:
    tokens = make(leeway=0)
    token = desk.token(nbf=int(clock.now) + 10)
    assert await reason(tokens, token) == "nbf"
    clock.now += 10
    assert (await tokens.find(token.encode())).user_id is not None


async def test_tokens_that_begin_alike_are_remembered_apart(make: Make, desk: Desk) -> None:
    """Row B14."""
    tokens = make()
    alike = [desk.token(sub, padding="p" * 500).encode() for sub in ("alice", "bob")]
    first, second = [await tokens.find(token) for token in alike]
    assert (tokens.cached(alike[0]), tokens.cached(alike[1])) == (first, second)
    assert first.user_id != second.user_id
    assert tokens.cached(alike[0][:-1]) is None
    assert tokens.cached(alike[0] + b"A") is None


async def test_memory_is_bounded_and_keeps_what_is_used(make: Make, desk: Desk) -> None:
    tokens = make(capacity=10)
    used = desk.token("used").encode()
    await tokens.find(used)
    for number in range(30):
        await tokens.find(desk.token(f"user-{number}").encode())
        assert tokens.cached(used) is not None
    assert len(tokens._young) + len(tokens._old) <= 11


async def test_bad_tokens_are_not_remembered(make: Make, desk: Desk) -> None:
    tokens = make()
    for token in (desk.forged(), desk.unsigned(), desk.token(aud="x"), "a.b.c"):
        await reason(tokens, token)
    assert (tokens._young, tokens._old) == ({}, {})


async def test_where_users_are_not_made_those_there_are_go_on(make: Make, desk: Desk) -> None:
    await make().find(desk.token("alice").encode())
    closed = make(create_users=False)
    assert (await closed.find(desk.token("alice").encode())).user_id is not None
    assert await reason(closed, desk.token("bob")) == "unknown_user"


async def test_limits_are_the_default_keys_else_the_issuers(
    make: Make, desk: Desk, store: KeyStore, clock: Clock
) -> None:
    tokens = make(limits=SLOW, budget=PURSE)
    token = desk.token(lasts=10_000).encode()
    caller = await tokens.find(token)
    assert (caller.limits, caller.budget) == (SLOW, PURSE)
    key = await store.create(name="mine", customer=caller.customer_id, limits=FAST)
    assert tokens.cached(token) is caller
    clock.now += KEYLESS_SECONDS
    assert tokens.cached(token) is None, "a user without a key is looked up again"
    caller = await tokens.find(token)
    assert (caller.limits, caller.budget, caller.default_key_id) == (FAST, PURSE, key.id)
    await store.revoke(key.id)
    assert tokens.cached(token) is None, "at once, in the process that revoked it"
    caller = await tokens.find(token)
    assert (caller.limits, caller.default_key_id) == (SLOW, None)


async def test_a_budget_is_one_purse_with_the_key_that_it_belongs_to(make: Make, desk: Desk, store: KeyStore) -> None:
    """Who has a token and a key cannot spend the key's budget twice; the issuer's is each user's own."""
    tokens = make(customer="acme", budget=PURSE)
    caller = await tokens.find(desk.token("early").encode())
    assert (scope(caller), caller.budget) == (f"user:acme:{caller.user_id}", PURSE)
    purse = Budget(amount=Decimal(7))
    made = await store.create(name="mine", customer="acme", budget=purse)
    caller = await tokens.find(desk.token("late").encode())
    assert caller.budget == purse
    assert scope(caller) == scope(await store.find(made.key.encode())) == f"key:{made.id}"


async def test_a_key_that_has_expired_lifts_no_limit(make: Make, desk: Desk, store: KeyStore, clock: Clock) -> None:
    tokens = make(limits=SLOW)
    token = desk.token(lasts=10_000).encode()
    customer = (await tokens.find(token)).customer_id
    await store.create(name="mine", customer=customer, limits=FAST, expires_at=clock.microseconds + 100_000_000)
    clock.now += KEYLESS_SECONDS
    assert (await tokens.find(token)).limits == FAST
    clock.now += 39.9
    assert tokens.cached(token) is not None
    clock.now += 0.2
    assert tokens.cached(token) is None
    assert (await tokens.find(token)).limits == SLOW


async def test_users_who_share_a_customer_have_the_limits_of_its_key(make: Make, desk: Desk, store: KeyStore) -> None:
    await store.create(name="ours", customer="acme", limits=FAST)
    tokens = make(customer="acme", limits=SLOW)
    callers = [await tokens.find(desk.token(sub).encode()) for sub in ("alice", "bob")]
    assert {(caller.customer_id, caller.limits) for caller in callers} == {("acme", FAST)}
    assert callers[0].user_id != callers[1].user_id


async def test_a_token_whose_key_was_taken_away_is_refused_although_it_was_seen(
    make: Make, desk: Desk, ticks: Clock
) -> None:
    tokens = make()
    token = desk.token().encode()
    await tokens.find(token)
    desk.rotate(keep=False)
    ticks.now += keyring.INTERVAL
    assert (await tokens.find(desk.token("bob").encode())).user_id is not None
    assert tokens.cached(token) is None
    assert await reason(tokens, token.decode()) == "kid"


async def test_a_token_is_believed_for_a_minute_without_the_database(
    make: Make, desk: Desk, breakable: BreakableStorage, ticks: Clock
) -> None:
    """As keys are: row B8."""
    tokens = make()
    token = desk.token().encode()
    await tokens.find(token)
    breakable.broken = True
    await asyncio.sleep(0.02)
    assert tokens.cached(token) is not None
    with pytest.raises(Problem, match="auth_unavailable"):
        await tokens.find(desk.token("bob").encode())
    ticks.now += 61
    assert tokens.cached(token) is None
    with pytest.raises(Problem, match="auth_unavailable"):
        await tokens.find(token)


@asynccontextmanager
async def replica(url: str, desk: Desk, clock: Clock) -> AsyncIterator[tuple[KeyStore, Tokens]]:
    storage = open_storage(url)
    store = KeyStore(storage, PEPPER, clock=clock, poll_seconds=0.01)
    await store.start()
    rules = Rules(issuer=ISS, audience=("sealgate",), algorithms=("ES256",), create_users=True, limits=SLOW)
    tokens = Tokens(storage, store, {"corp": rules}, desk.fetch, clock=clock)
    try:
        yield store, tokens
    finally:
        await tokens.aclose()
        await store.aclose()
        await storage.aclose()


async def test_two_replicas_know_one_user_and_notice_each_others_keys(any_url: str, desk: Desk, clock: Clock) -> None:
    async with replica(any_url, desk, clock) as (_, one), replica(any_url, desk, clock) as (keys, other):
        fresh = [desk.token("alice", jti=str(number)).encode() for number in range(10)]
        pairs = zip((one, other) * 5, fresh, strict=True)
        callers = await asyncio.gather(*(tokens.find(token) for tokens, token in pairs))
        assert len({(caller.user_id, caller.customer_id) for caller in callers}) == 1
        made = await keys.create(name="mine", customer=callers[0].customer_id, limits=FAST)
        token = desk.token("alice", jti="later").encode()
        assert (await one.find(token)).limits == FAST
        await keys.revoke(made.id)
        async with asyncio.timeout(20):
            while one.cached(token) is not None:  # noqa: ASYNC110 - that it notices by itself is the point
                await asyncio.sleep(0.005)
        assert (await one.find(token)).limits == SLOW


async def test_without_issuers_there_are_no_tokens_and_what_checks_them_is_not_loaded(
    breakable: BreakableStorage, store: KeyStore, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sealgate.auth.keyring", None)
    tokens = Tokens(breakable, store, {}, desk.fetch)  # type: ignore[arg-type]
    tokens.start()
    tokens.configure({})
    assert (tokens.cached(b"a.b.c"), list(tokens.logins), dict(tokens.fetches)) == (None, [], {})
    assert await reason(tokens, "a.b.c") == "no_issuers"
    await tokens.aclose()


async def test_the_first_issuer_may_come_later(
    breakable: BreakableStorage, store: KeyStore, desk: Desk, clock: Clock
) -> None:
    tokens = Tokens(breakable, store, {}, desk.fetch, clock=clock)  # type: ignore[arg-type]
    tokens.start()
    tokens.configure({"corp": Rules(issuer=ISS, audience=("sealgate",), algorithms=("ES256",), create_users=True)})
    assert (await tokens.find(desk.token("alice").encode())).user_id is not None
    await tokens.aclose()


async def test_other_rules_hold_for_tokens_that_were_seen_before(make: Make, desk: Desk) -> None:
    tokens = make(limits=SLOW)
    token = desk.token().encode()
    await tokens.find(token)
    ring = tokens.rings[ISS]
    rules = Rules(issuer=ISS, audience=("sealgate",), algorithms=("ES256",), limits=FAST)
    tokens.configure({"corp": rules})
    assert tokens.cached(token) is None
    assert (await tokens.find(token)).limits == FAST
    assert tokens.rings[ISS] is ring, "its keys are found as before"
    tokens.configure({"corp": Rules(issuer=ISS, audience=("sealgate",), algorithms=("RS256",))})
    assert await reason(tokens, token.decode()) == "algorithm"
    tokens.configure({})
    assert await reason(tokens, token.decode()) == "no_issuers"


async def test_a_token_that_is_being_checked_meanwhile_is_not_believed_by_the_old_rules(make: Make, desk: Desk) -> None:
    tokens = make()
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(url: str) -> Document:
        asked.set()
        await go.wait()
        return await desk.fetch(url)

    tokens.rings[ISS]._fetch = slow
    token = desk.token().encode()
    checking = asyncio.create_task(tokens.find(token))
    await asked.wait()
    tokens.configure({})
    go.set()
    with pytest.raises(TokenProblem):
        await checking
    assert tokens.cached(token) is None
