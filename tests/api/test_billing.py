"""Billing over HTTP: the customer's own requests, page by page, and what is left of the caller's budget."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from tests.gateway import Reply, Running, Serve, Threaded
from tests.limits.test_reports import BEGIN, served

from sealgate.api.billing import Balance, UsagePage
from sealgate.config import Billing, Model, Route
from sealgate.config_tables import Budget
from sealgate.limits.ledger import row
from sealgate.storage.tables import ledger
from sealgate.testing import answer, error

USAGE = "/api/v1/billing/usage"
BALANCE = "/api/v1/billing/balance"
PRICED = Route("acme", "x", input_per_mtok=Decimal(1), output_per_mtok=Decimal(10))
PRICES = {"m": Model(routes=(PRICED,)), "broken": Model(routes=(Route("broken", "x"),))}
SPENT = {"prompt_tokens": 1000, "completion_tokens": 200}


@pytest.fixture(scope="module")
def house(gateway_template: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    """Twelve requests of the customer ``default``, and one of another."""
    start = Serve(gateway_template, tmp_path_factory.mktemp("billing"))
    with start.in_thread({"acme": answer()}, {"m": Model(routes=(PRICED,))}, billing=Billing("EUR")) as found:
        entries = [served(n, n * 10**9, customer_id="default", currency="EUR", key_id=f"k{n % 2}") for n in range(12)]
        for each in [*entries, served(99, 7, customer_id="other", model="secret")]:
            found.run(found.hall.storage.append(ledger, row(each)))
        yield found


@pytest.fixture
def running(house: Threaded) -> Running:
    return house.running


def page(reply: Reply) -> Any:
    assert reply.status == 200, reply.body
    msgspec.json.decode(reply.body, type=UsagePage)
    return reply.json


@pytest.mark.anyio
async def test_usage_comes_in_pages_latest_first(running: Running) -> None:
    found = page(await running.get(f"{USAGE}?limit=5&offset=10"))
    assert {name: found[name] for name in ("total", "limit", "offset", "has_more", "currency")} == {
        "total": 12, "limit": 5, "offset": 10, "has_more": False, "currency": "EUR",
    }  # fmt: skip
    assert found["items"] == [
        {
            "request_id": f"{number:032x}", "created_at": f"2023-11-14T0{number * 6}:00:00Z", "model": "m",
            "routed_model": "eu/acme/m", "prompt_tokens": 10, "completion_tokens": 1, "cost": str(number),
            "outcome": "unknown", "receipt_id": None,
        }
        for number in (1, 0)
    ]  # fmt: skip
    first = page(await running.get(USAGE))
    assert (len(first["items"]), first["limit"], first["offset"], first["has_more"]) == (12, 50, 0, False)
    assert page(await running.get(f"{USAGE}?limit=11"))["has_more"] is True
    assert page(await running.get(f"{USAGE}?offset=9007199254740992"))["items"] == []


@pytest.mark.anyio
async def test_both_mounts_answer_alike(running: Running) -> None:
    assert (await running.get(USAGE)).json == (await running.get("/v1/billing/usage/")).json


@pytest.mark.anyio
@pytest.mark.parametrize(("query", "total"), [
    ("from=2023-11-15", 8), ("to=2023-11-15", 4), ("from=2023-11-15T00:00:00Z&to=2023-11-16", 4),
    ("from=2023-11-15T02:00:00%2B02:00", 8), ("from=2023-11-15T02:00:00+02:00", 8), ("model=m", 12),
    ("model=secret", 0), ("model=eu/acme/m", 12), ("unknown=1", 12),
])  # fmt: skip
async def test_usage_can_be_narrowed(running: Running, query: str, total: int) -> None:
    assert page(await running.get(f"{USAGE}?{query}"))["total"] == total


@pytest.mark.anyio
async def test_usage_can_be_summed(running: Running) -> None:
    assert page(await running.get(f"{USAGE}?group_by=model"))["items"] == [
        {"model": "m", "requests": 12, "prompt_tokens": 120, "completion_tokens": 12, "cost": "66", "currency": "EUR"}
    ]
    keys = page(await running.get(f"{USAGE}?group_by=key&limit=1"))
    assert (keys["items"][0]["key"], keys["items"][0]["cost"], keys["total"], keys["has_more"]) == ("k1", "36", 2, True)
    days = page(await running.get(f"{USAGE}?group_by=day&from=2023-11-15"))["items"]
    assert [(each["day"], each["cost"]) for each in days] == [("2023-11-16", "38"), ("2023-11-15", "22")]
    assert [each["user"] for each in page(await running.get(f"{USAGE}?group_by=user"))["items"]] == [None]


@pytest.mark.anyio
@pytest.mark.parametrize(("query", "param"), [
    ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=-1", "limit"), ("limit=five", "limit"), ("limit=", "limit"),
    ("limit=5&limit=6", "limit"), ("offset=-1", "offset"), ("offset=99999999999999999999", "offset"),
    ("limit=%D9%A5", "limit"), ("from=yesterday", "from"), ("to=2023-13-01", "to"), ("from=", "from"),
    ("group_by=cost", "group_by"), ("group_by=", "group_by"),
])  # fmt: skip
async def test_a_bad_query_is_told_in_the_dialect_of_its_mount(running: Running, query: str, param: str) -> None:
    plain, s3 = await running.get(f"/v1/billing/usage?{query}"), await running.get(f"{USAGE}?{query}")
    assert (plain.status, plain.code, plain.error["param"]) == (400, "invalid_parameter", param)
    assert (s3.status, s3.code) == (422, "invalid_parameter")
    assert [each["loc"] for each in s3.json["detail"]] == [["query", param]]


@pytest.mark.anyio
async def test_row_p16_another_customers_usage_is_not_there_not_even_for_an_administrator(running: Running) -> None:
    other = await running.gateway.keys.create(name="other", customer="other")
    found = page(await running.get(USAGE, {"authorization": f"Bearer {other.key}"}))
    assert [each["model"] for each in found["items"]] == ["secret"]
    for headers in ({"authorization": f"Bearer {running.admin_key}"}, running.headers):
        for query in ("", "&group_by=model", "&model=secret", "&customer=other", "&customer_id=other"):
            assert b"secret" not in (await running.get(f"{USAGE}?limit=1000{query}", headers)).body


@pytest.mark.anyio
async def test_what_was_asked_just_now_is_there(serve: Serve) -> None:
    async with serve({"acme": answer("Hi", usage=SPENT), "broken": error(500)}, PRICES) as gateway:
        reply = await gateway.chat()
        await gateway.chat(model="broken")
        found = page(await gateway.get(USAGE))["items"]
    assert [(each["outcome"], each["cost"], each["completion_tokens"]) for each in found] == [
        ("upstream_failed", "0", None), ("ok", "0.003", 200),
    ]  # fmt: skip
    assert found[1]["request_id"] == reply.headers["x-request-id"]
    assert found[1]["receipt_id"] == reply.json["tresor"].get("receipt_id")


@pytest.mark.anyio
async def test_the_balance_is_what_is_left_of_the_callers_budget(serve: Serve) -> None:
    async with serve({"acme": answer("Hi", usage=SPENT)}, {"m": PRICES["m"]}) as gateway:
        made = await gateway.gateway.keys.create(name="rich", budget=Budget(Decimal("1.5"), "month"))
        headers = {"authorization": f"Bearer {made.key}"}
        before = (await gateway.get(BALANCE, headers)).json
        await gateway.chat(headers=headers)
        reply = await gateway.get(BALANCE, headers)
        without = (await gateway.get(BALANCE)).json
    found = msgspec.json.decode(reply.body, type=Balance)
    assert (before["available"], found.available, found.reserved, found.currency) == ("1.5", "1.497", "0", "USD")
    assert found.period_end is not None
    assert found.period_end.endswith("-01T00:00:00Z")
    assert without == {"available": None, "reserved": "0", "currency": "USD", "period_end": None}


@pytest.mark.anyio
async def test_a_ledger_that_cannot_be_read_is_a_503(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        await gateway.get(USAGE)
        await gateway.hall.storage.aclose()
        for path in (USAGE, f"{USAGE}?group_by=day"):
            reply = await gateway.get(path)
            assert (reply.status, reply.code) == (503, "storage_unavailable")


def test_the_begin_of_the_rows_is_a_day() -> None:
    assert BEGIN == 1_699_920_000_000_000
