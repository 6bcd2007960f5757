"""From a request to its receipt: what a draft gathers, and what becomes of it when its process dies."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from tests.gateway import Serve, model
from tests.receipts import golden

from sealgate.config import Model, Route
from sealgate.config_tables import Budget
from sealgate.errors import StorageError
from sealgate.formats import ids, jws
from sealgate.limits.budgets import STALE_SECONDS, Budgets
from sealgate.receipts import receipt
from sealgate.receipts.issuer import NO_DRAFT, Issuer, NoReceipts, Order, finish_unknown
from sealgate.receipts.receipt import LogTerms, Outcome, Software, Told
from sealgate.receipts.store import NOT_LOGGED
from sealgate.receipts.verify import Documents, verify
from sealgate.testing import silent

BODY = b'{"model":"m","messages":[]}'
TOLD = Told(Outcome.COMPLETE, 200, "auto/auto/m", (), (), "eu/acme/m", usage_source="upstream", choices=list)


class Row:
    """What a row has of a receipt."""

    receipt_id: str | None = None
    receipt: str | None = None
    log_index: int | None = None


class Keys:
    """One key; or none at hand."""

    def __init__(self, *, missing: bool = False) -> None:
        self.missing = missing

    def signer(self) -> receipt.Signer:
        if self.missing:
            raise StorageError("no signing key is at hand")
        return golden.signer()


def issuer(**given: Any) -> Issuer:
    keys: Any = Keys()
    return Issuer(keys, "https://gw.example", Software("0.1.0", None, None), **given)


def draft(of: Issuer | NoReceipts, **given: Any) -> Any:
    fields = {"kind": "message", "endpoint": "/v1/chat/completions", "model": "m", "body": BODY,
              "fields": json.loads(BODY), **given}  # fmt: skip
    return of.draft(ids.uuid7_hex(), Order(**fields))


def made(row: Any) -> Any:
    """What all steps give, the first of which a seal is."""
    while callable(row):
        row = row()
    return row


def claims(token: str) -> Any:
    return json.loads(jws.parse(token).payload)


def test_what_is_written_after_the_seal_is_not_signed() -> None:
    """The terminal event, that is."""
    found = draft(issuer())
    found.written(b"data: {}\n\n")
    signed = found.sealed(Row(), lambda: TOLD)
    found.written(b"data: [DONE]\n\n")
    response = Documents(response=b"data: {}\n\ndata: [DONE]\n\n")
    assert verify(made(signed).receipt, golden.key_set(), documents=response).ok


def test_a_row_that_is_written_a_second_time_has_the_same_receipt() -> None:
    signed = draft(issuer()).sealed(Row(), lambda: TOLD)
    assert made(signed).receipt == made(signed).receipt


def test_without_a_log_none_is_promised_and_with_one_the_receipt_waits_for_its_place() -> None:
    alone = made(draft(issuer()).sealed(Row(), lambda: TOLD))
    logged = made(draft(issuer(log=LogTerms("gw.example/receipts", 60))).sealed(Row(), lambda: TOLD))
    assert (alone.log_index, claims(alone.receipt)["log"]) == (NOT_LOGGED, None)
    assert (logged.log_index, claims(logged.receipt)["log"]) == (
        None,
        {"mmd": 60, "origin": "gw.example/receipts"},
    )


def test_no_two_receipts_share_a_salt() -> None:
    of = issuer()
    salts = {claims(made(draft(of).sealed(Row(), lambda: TOLD)).receipt)["salt"] for _ in range(600)}
    assert len(salts) == 600


def test_who_declines_and_whose_gateway_issues_none_have_no_draft() -> None:
    assert draft(issuer(), wanted=False) is NO_DRAFT
    assert draft(NoReceipts()) is NO_DRAFT
    row: dict[str, Any] = {}
    assert NO_DRAFT.sealed(row, lambda: TOLD) is row


def test_what_is_not_json_has_no_canonical_digest() -> None:
    found = draft(issuer(), fields=None)
    assert claims(made(found.sealed(Row(), lambda: TOLD)).receipt)["request"]["jcs"] is None


@pytest.mark.parametrize("missing", [False, True])
def test_row_h1_a_request_whose_process_died_has_a_receipt_of_unknown_outcome(missing: bool) -> None:
    """With the digests of the request and none of an answer; without a key at hand the row has no receipt."""
    found = draft(issuer(), nonce="n")
    row = {"receipt": found.begun(), "requested_route": "auto/auto/m", "prompt_tokens": 7, "completion_tokens": 9}
    keys: Any = Keys(missing=missing)
    finish_unknown(keys, row)
    if missing:
        assert (row["receipt"], row.get("receipt_id")) == (None, None)
        return
    assert row["receipt_id"] == found.id
    verdict = verify(str(row["receipt"]), golden.key_set(), documents=Documents(BODY, b"{}"))
    assert verdict.ok, verdict.checks
    assert {check.name: check.mark for check in verdict.checks}["response"] == "----"
    told = claims(str(row["receipt"]))
    assert told["response"] == {"status": None, "outcome": "unknown", "bytes": None, "wire": None, "content": None}
    assert (told["jti"], told["nonce"], told["prompt_tokens"], told["usage_source"]) == (found.id, "n", 7, "estimated")


def test_row_h1_a_request_that_declined_has_none() -> None:
    row = {"receipt": NO_DRAFT.begun()}
    keys: Any = Keys()
    finish_unknown(keys, row)
    assert row == {"receipt": None}


def priced() -> Model:
    route = Route(provider="acme", model="x", input_per_mtok=Decimal(1), output_per_mtok=Decimal(1))
    return Model(routes=(route,))


@pytest.mark.anyio
async def test_row_h1_the_receipt_of_a_dead_process_is_fetched_by_the_id_that_the_caller_has(serve: Serve) -> None:
    """Here the process does not die; another one takes it for dead."""
    async with serve({"acme": silent()}, {"m": priced(), "free": model("acme")}) as gateway:
        budget = Budget(amount=Decimal(1))
        key = (await gateway.gateway.keys.create(name="limited", budget=budget)).key
        headers = {"authorization": f"Bearer {key}"}
        async with gateway.client() as client:
            await client.post("/v1/chat/completions", gateway.ask(), headers)
            await gateway.upstreams["acme"].wait_for_requests()
            keys = gateway.gateway.signing_keys
            other = Budgets(
                gateway.hall.storage,
                clock=lambda: time.time() + STALE_SECONDS + 1,
                finish=lambda row: finish_unknown(keys, row),
            )
            await other.tend()
            row = await gateway.row()
            fetched = await gateway.get(f"/v1/receipts/{ids.dashed(row.id)}", headers)
        verdict = verify(
            fetched.json["receipt"],
            (await gateway.get("/.well-known/jwks.json", {})).json,
            documents=Documents(request=json.dumps(gateway.ask()).encode()),
        )
    assert (row.outcome.value, row.receipt_id) == ("unknown", ids.dashed(row.id))
    assert verdict.ok, verdict.checks
    assert verdict.claims is not None
    assert verdict.claims["response"]["outcome"] == "unknown"
