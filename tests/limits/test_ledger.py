"""The ledger: an entry goes in whole, comes back whole, and only to its customer."""

from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection

from sealgate.limits.ledger import LABEL, Entry, Outcome, by_id, count, row
from sealgate.storage import Storage
from sealgate.storage.tables import ledger

pytestmark = pytest.mark.anyio


def make_entry(number: int = 1, **changes: Any) -> Entry:
    fields = {
        "id": f"{number:032x}",
        "request_id": f"{number:032x}",
        "customer_id": "acme",
        "endpoint": "/v1/chat/completions",
        "created_at": 1_700_000_000_000_000 + number,
    }
    return Entry(**(fields | changes))


FULL = make_entry(
    key_id="k1",
    stream=True,
    model="gemma-4-31b",
    requested_route="eu/acme",
    routed_model="eu/acme/gemma-4-31b",
    provider="acme",
    upstream_model="google/gemma-4-31b-it",
    outcome=Outcome.TRUNCATED,
    status=200,
    code="upstream_stream_truncated",
    attempts=2,
    failover=True,
    prompt_tokens=11,
    completion_tokens=12,
    cached_tokens=13,
    reasoning_tokens=14,
    usage_source="estimated",
    first_content_us=15,
    duration_us=2**40,
    episode_id="0192",
    session_id="s1",
    end_user="zoë",
    user_id="u1",
    cache_write_tokens=16,
    cost=2**40,
    currency="EUR",
)


async def lookup(storage: Storage, customer: str, request: str) -> Entry | None:
    return await storage.read(lambda connection: by_id(connection, customer, request))


def test_the_fields_of_an_entry_are_the_columns_of_the_table() -> None:
    assert sorted(Entry.__struct_fields__) == sorted(ledger.c.keys())


def test_fields_that_may_be_missing_are_the_columns_that_may_be_null() -> None:
    optional = {field.name for field in msgspec.structs.fields(Entry) if field.default is None}

    assert optional == {column.name for column in ledger.c if column.nullable}


def test_the_outcomes_are_closed() -> None:
    """Reports, receipts and the documentation count on these words."""
    assert [outcome.value for outcome in Outcome] == [
        "ok",
        "denied",
        "client_disconnected",
        "upstream_failed",
        "truncated",
        "error",
        "unknown",
    ]


async def test_a_full_entry_comes_back_as_it_was(storage: Storage) -> None:
    await storage.append(ledger, row(FULL))

    assert await lookup(storage, "acme", FULL.id) == FULL


async def test_an_entry_about_which_little_is_known_can_be_written_with_any_outcome(storage: Storage) -> None:
    for number, outcome in enumerate(Outcome):
        entry = make_entry(number, outcome=outcome)

        await storage.append(ledger, row(entry))

        assert await lookup(storage, "acme", entry.id) == entry


async def test_a_request_is_found_by_the_id_its_caller_gave_it_latest_first(storage: Storage) -> None:
    for number in (2, 3, 1):
        await storage.append(ledger, row(make_entry(number, request_id="mine")))

    found = await lookup(storage, "acme", "mine")

    assert found is not None
    assert found.id == make_entry(3).id
    assert await lookup(storage, "acme", make_entry(1).id) is not None


async def test_a_foreign_request_is_not_found(storage: Storage) -> None:
    await storage.append(ledger, row(make_entry(1)))
    await storage.append(ledger, row(make_entry(2, request_id="mine")))

    for wanted in (make_entry(1).id, make_entry(2).id, "mine", "unknown", ""):
        assert await lookup(storage, "other", wanted) is None


async def test_a_caller_cannot_hide_or_take_another_customers_request_by_its_id(storage: Storage) -> None:
    """A caller may send any X-Request-ID, the id of somebody else's request too."""
    await storage.append(ledger, row(make_entry(1, customer_id="victim")))
    await storage.append(ledger, row(make_entry(2, customer_id="thief", request_id=make_entry(1).id)))

    mine = await lookup(storage, "thief", make_entry(1).id)
    theirs = await lookup(storage, "victim", make_entry(1).id)

    assert (mine and mine.id, theirs and theirs.id) == (make_entry(2).id, make_entry(1).id)


async def test_count_counts_a_customers_requests_in_a_time(storage: Storage) -> None:
    for number in range(10):
        outcome = Outcome.OK if number % 2 else Outcome.DENIED
        await storage.append(ledger, row(make_entry(number, outcome=outcome)))
    await storage.append(ledger, row(make_entry(99, customer_id="other")))
    start = make_entry(0).created_at

    def counts(connection: Connection) -> list[int]:
        return [
            count(connection, "acme"),
            count(connection, "acme", since=start + 3),
            count(connection, "acme", until=start + 3),
            count(connection, "acme", since=start + 3, until=start + 7, outcome=Outcome.OK),
            count(connection, "other"),
            count(connection, "nobody"),
        ]

    assert await storage.read(counts) == [10, 7, 3, 2, 1, 0]


HOSTILE = {
    "a\0b": "a\ufffdb",
    "ü\0\ud800": "ü\ufffd?",
    "x" * 100_000: "x" * LABEL,
    "🦭" * 1000: "🦭" * LABEL,
    "'; DROP TABLE ledger; --": "'; DROP TABLE ledger; --",
    "%s %(x)s ? :x": "%s %(x)s ? :x",
}
"""What a caller may send, and what is kept of it."""


async def test_no_text_of_a_caller_can_stop_its_row(storage: Storage) -> None:
    """PostgreSQL takes no NUL and neither engine takes half a surrogate pair; a caller's JSON may hold both."""
    for number, (sent, kept) in enumerate(HOSTILE.items()):
        entry = make_entry(number, model=sent, end_user=sent, requested_route=sent)

        await storage.append(ledger, row(entry))

        found = await lookup(storage, "acme", entry.id)
        assert found is not None
        assert {found.model, found.end_user, found.requested_route} == {kept}
