"""The log at the door: files, identity, proofs, and what receipts and /status say of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.gateway import Running, Serve

from sealgate.config import Receipts
from sealgate.config_log import ReceiptLog
from sealgate.formats import leaves, merkle, note
from sealgate.receipts.log import Log
from sealgate.testing import answer

pytestmark = pytest.mark.anyio
ORIGIN = "gw.example/receipts/2026"


def with_log(**settings: Any) -> Receipts:
    return Receipts(log=ReceiptLog(origin=ORIGIN, **settings))


def log_of(gateway: Running) -> Log:
    found = gateway.hall.transparency
    assert isinstance(found, Log)
    return found


async def test_a_receipt_is_logged_and_its_proof_leads_to_a_signed_checkpoint(serve: Serve) -> None:
    """Row H9 first: before it is logged there is no proof, and it says when to ask again."""
    async with serve({"acme": answer("Hi")}, receipts=with_log()) as gateway:
        log_of(gateway)._tasks[0].cancel()
        receipt_id = (await gateway.chat()).tresor["receipt_id"]
        path = f"/v1/receipts/{receipt_id}"
        early = await gateway.get(path)
        none = await gateway.get(f"{path}/proof")
        await log_of(gateway).tick()
        stored = (await gateway.get(path)).json
        proof = await gateway.get(f"{path}/proof")
        identity = (await gateway.get("/.well-known/sealgate-log.json", {})).json
        other = await gateway.gateway.keys.create(name="foreign", customer="other")
        foreign = await gateway.get(f"{path}/proof", {"authorization": f"Bearer {other.key}"})
    assert early.json["log"] == {"state": "pending"}
    assert (none.status, none.code, none.headers["retry-after"]) == (404, "not_yet_logged", "1")
    assert (foreign.status, foreign.code) == (404, "not_found")
    assert stored["log"]["state"] == "logged"
    assert stored["log"]["standing"] == "unwitnessed"
    assert proof.headers["content-type"].startswith("text/plain")
    shown = note.proof(proof.body.decode())
    told = note.checkpoint(shown.note.text)
    assert note.signed_by(shown.note, note.key(identity["vkey"])) is not None
    assert (told.origin, shown.position) == (ORIGIN, stored["log"]["index"])
    leaf = leaves.hash_of(leaves.of_jws(stored["receipt"]))
    merkle.verify_inclusion(leaf, shown.position, told.size, shown.hashes, told.root)


async def test_keys_and_software_are_entered_before_the_receipts_they_made(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}, receipts=with_log()) as gateway:
        await gateway.chat()
        log = log_of(gateway)
        log._tasks[0].cancel()
        await log.tick()
        assert log.published is not None
        found = [json.loads(entry) for entry in log.files.entries(0, log.published.size)]
        kid = (await gateway.get("/.well-known/jwks.json", {})).json["keys"][0]["kid"]
    assert [(each["t"], each.get("st")) for each in found] == [
        ("key", "add"), ("key", "active"), ("build", None), ("cfg", None), ("receipt", None),
    ]  # fmt: skip
    assert found[0]["kid"] == kid
    assert found[0]["use"] == "receipt-sign"


async def test_the_files_are_for_keys_unless_they_are_public(serve: Serve) -> None:
    for public in (False, True):
        receipts = with_log(public=public, prefix="/receipts/2026")
        async with serve({"acme": answer("Hi")}, receipts=receipts) as gateway:
            await gateway.chat()
            log = log_of(gateway)
            log._tasks[0].cancel()
            await log.tick()
            assert log.published is not None
            size = log.published.size
            nobody = await gateway.get("/receipts/2026/checkpoint", {})
            checkpoint = await gateway.get("/receipts/2026/checkpoint")
            tile = await gateway.get(f"/receipts/2026/tile/0/000.p/{size}")
            entries = await gateway.get(f"/receipts/2026/tile/entries/000.p/{size}")
            strange = [
                await gateway.get(f"/receipts/2026/tile/{path}")
                for path in (f"0/000.p/{size + 1}", "0/000", "0/001", "1/000.p/1", "0/0", "../checkpoint", "entries/x",
                             "0/000.p/256", "0/000.p/0", "64/000", "%2e%2e/checkpoint")
            ]  # fmt: skip
        assert nobody.status == (200 if public else 401)
        assert checkpoint.headers["cache-control"] == "no-cache"
        assert note.checkpoint(note.parse(checkpoint.body.decode()).text).size == size
        assert len(tile.body) == 32 * size
        assert "immutable" in tile.headers["cache-control"]
        assert tile.headers["cache-control"].startswith("public" if public else "private")
        assert entries.body.endswith(b'"t":"receipt","v":1}')
        assert {each.status for each in strange} == {404}


async def test_switched_off_receipts_name_no_log(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}, receipts=Receipts(log=ReceiptLog(enabled=False))) as gateway:
        receipt_id = (await gateway.chat()).tresor["receipt_id"]
        stored = (await gateway.get(f"/v1/receipts/{receipt_id}")).json
        proof = await gateway.get(f"/v1/receipts/{receipt_id}/proof")
        files = [await gateway.get(path) for path in ("/.well-known/sealgate-log.json", "/log/checkpoint")]
        status = (await gateway.get("/status")).json
    assert stored["log"] == {"state": "off"}
    assert (proof.status, proof.code) == (404, "not_found")
    assert [each.code for each in files] == ["unknown_route"] * 2
    assert status["log"] == {"state": "off"}


async def test_while_it_is_sealed_answers_go_on_and_their_receipts_name_no_log(serve: Serve) -> None:
    """Row H17, at the door: the alarm is in /status and in the metrics."""
    async with serve({"acme": answer("Hi")}, receipts=with_log()) as gateway:
        before = (await gateway.get("/status")).json
        await log_of(gateway).seal("for a test")
        reply = await gateway.chat()
        stored = (await gateway.get(f"/v1/receipts/{reply.tresor['receipt_id']}")).json
        status = (await gateway.get("/status")).json
        metrics = (await gateway.get("/metrics")).body.decode()
        ready = await gateway.get("/health/ready")
    assert before["log"] == {"state": "open", "standing": "unwitnessed"}
    assert reply.status == ready.status == 200
    assert stored["log"] == {"state": "off"}
    assert status["log"] == {"state": "sealed", "standing": "unwitnessed", "reason": "for a test"}
    assert "sealgate_log_sealed 1.0" in metrics


async def test_a_strict_log_that_is_sealed_stops_the_traffic(serve: Serve) -> None:
    async with serve({"acme": answer("Hi")}, receipts=with_log(strict=True)) as gateway:
        first = await gateway.chat()
        await log_of(gateway).seal("for a test")
        second = await gateway.chat()
        ready = await gateway.get("/health/ready")
        asked = len(gateway.upstreams["acme"].requests)
    assert first.status == 200
    assert (second.status, second.code) == (503, "log_sealed")
    assert (ready.status, ready.json["reasons"]) == (503, ["log_sealed"])
    assert asked == 1
