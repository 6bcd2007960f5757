"""Receipts at the door: where their ids are, who may fetch them, and what they say of each way a request can end."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import Reply, Running, Serve, make_template, read_reply

from sealgate.api.edge_rules import EdgeLimits
from sealgate.config import Receipts, Timeouts
from sealgate.errors import StorageError
from sealgate.formats import jws
from sealgate.receipts.verify import Documents, Verdict, digest, verify
from sealgate.testing import answer, cut_after, error, silent, stall_after, tool

Json = dict[str, Any]


async def fetched(gateway: Running, receipt_id: str) -> Json:
    reply = await gateway.get(f"/v1/receipts/{receipt_id}")
    assert reply.status == 200, reply.body
    return reply.json


async def checked(gateway: Running, receipt_id: str, *, request: Any = None, reply: Reply | None = None) -> Verdict:
    """The stored receipt, checked with the published keys against what was sent and got."""
    keys = (await gateway.get("/.well-known/jwks.json", {})).json
    documents = Documents(
        request=None if request is None else json.dumps(request).encode(),
        response=None if reply is None else reply.body,
    )
    return verify((await fetched(gateway, receipt_id))["receipt"], keys, documents=documents)


def marks(verdict: Verdict) -> dict[str, str]:
    return {check.name: check.mark for check in verdict.checks}


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_has_a_receipt_that_speaks_of_exactly_this_request_and_answer(
    serve: Serve, stream: bool
) -> None:
    async with serve({"acme": answer("Grüße 👋")}) as gateway:
        reply = await gateway.chat("Wie geht's?", stream=stream, temperature=0.5, headers={"x-tresor-nonce": "n-1"})
        row = await gateway.row()
        receipt_id = reply.tresor["receipt_id"]
        verdict = await checked(
            gateway, receipt_id, request=gateway.ask("Wie geht's?", stream=stream, temperature=0.5), reply=reply
        )
    assert reply.headers["x-tresor-receipt-id"] == receipt_id == row.receipt_id
    assert verdict.ok, verdict.checks
    assert (marks(verdict)["request"], marks(verdict)["response"]) == ("PASS", "PASS")
    claims = verdict.claims
    assert claims is not None
    assert (claims["jti"], claims["nonce"], claims["receipt_type"]) == (receipt_id, "n-1", "message")
    assert (claims["requested_route"], claims["routed_model"]) == ("auto/auto/m", "global/acme/m")
    assert (claims["prompt_tokens"], claims["completion_tokens"]) == (row.prompt_tokens, row.completion_tokens)
    assert claims["usage_source"] == "upstream"
    assert claims["response"]["outcome"] == "complete"
    assert claims["attempts"] == [{"route": "global/acme/m", "outcome": "ok", "status": 200}]


def rewritten(reply: Reply) -> bytes:
    """The same answer in other bytes, as somebody has it who kept an SDK's objects."""
    if not reply.events:
        return json.dumps(reply.json, indent=1).encode()
    return b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in reply.documents) + b"data: [DONE]\n\n"


SAID = {
    "text": (answer("Grüße 👋 \u2028"), {}),
    "long": (answer(["ab "] * 200), {}),
    "reasoning": (answer("Hi", reasoning=["h", "m"]), {}),
    "refusal": (answer(refusal="No."), {}),
    "calls": (answer(None, tool_calls=[tool("now", {"zone": "UTC"}), tool("bare", {})]), {}),
    "choices": (answer("Hi"), {"n": 3}),
    "length": (answer("Hi", finish_reason="length"), {"logprobs": True}),
}


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", SAID)
async def test_what_was_said_can_be_recomputed_from_an_sdks_objects(serve: Serve, name: str, stream: bool) -> None:
    behaviour, fields = SAID[name]
    async with serve({"acme": behaviour}) as gateway:
        reply = await gateway.chat(stream=stream, **fields)
        keys = (await gateway.get("/.well-known/jwks.json", {})).json
        stored = await fetched(gateway, reply.tresor["receipt_id"])
    verdict = verify(stored["receipt"], keys, documents=Documents(response=rewritten(reply)))
    response = next(check for check in verdict.checks if check.name == "response")
    assert (response.mark, response.text.split(";")[0]) == (
        "PASS", "this answer was sent (response.content), written in other bytes",
    )  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_without_receipt_nothing_is_stored_and_nothing_is_said(serve: Serve, stream: bool) -> None:
    """Row H10: the ledger's row stays."""
    async with serve({"acme": answer()}) as gateway:
        reply = await gateway.chat(stream=stream, headers={"x-tresor-receipt": "false"})
        row = await gateway.row()
    assert "receipt_id" not in reply.tresor
    assert "x-tresor-receipt-id" not in reply.headers
    assert (row.receipt_id, row.receipt, row.log_index) == (None, None, None)


@pytest.mark.anyio
async def test_switched_off_there_are_none_and_their_keys_are_not_made(tmp_path: Path) -> None:
    (first := tmp_path / "first").mkdir()
    serve = Serve(await make_template(first, receipts=Receipts(enabled=False)), tmp_path)
    async with serve({"acme": answer()}, receipts=Receipts(enabled=False)) as gateway:
        reply = await gateway.chat(headers={"x-tresor-receipt": "true"})
        keys = await gateway.get("/v1/verify/jwks.json", {})
        row = await gateway.row()
    assert (reply.status, "receipt_id" in reply.tresor, row.receipt) == (200, False, None)
    assert "x-tresor-receipt" not in reply.headers
    assert keys.json == {"keys": []}


@pytest.mark.anyio
async def test_a_whole_answer_carries_its_receipt_in_a_header_where_that_was_asked_for(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        whole = await gateway.chat(headers={"x-tresor-receipt": "true"})
        streamed = await gateway.chat(stream=True, headers={"x-tresor-receipt": "true"})
        stored = await fetched(gateway, whole.tresor["receipt_id"])
    assert whole.headers["x-tresor-receipt"] == stored["receipt"]
    assert "x-tresor-receipt" not in streamed.headers


@pytest.mark.anyio
async def test_row_h8_a_foreign_receipt_and_one_there_is_not_are_the_same(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        receipt_id = (await gateway.chat()).tresor["receipt_id"]
        mine = await gateway.gateway.keys.create(name="another of mine")
        other = await gateway.gateway.keys.create(name="foreign", customer="other")
        path = f"/v1/receipts/{receipt_id}"
        same_customer = await gateway.get(path, {"authorization": f"Bearer {mine.key}"})
        foreign = await gateway.get(path, {"authorization": f"Bearer {other.key}"})
        unknown = await gateway.get("/v1/receipts/01a1fec5-d6c9-721a-b24d-821a21c3586b")
        strange = [await gateway.get(f"/v1/receipts/{each}") for each in ("x", receipt_id.upper(), f"{receipt_id}/x")]
        nobody = await gateway.get(path, {})
        both_mounts = await gateway.get(f"/api{path}/")
    assert same_customer.json["id"] == both_mounts.json["id"] == receipt_id
    assert (foreign.status, foreign.code) == (404, "not_found")
    assert {each.body for each in (unknown, *strange)} == {foreign.body}
    assert nobody.status == 401


@pytest.mark.anyio
async def test_the_key_set_is_public_and_may_be_kept_for_a_while(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        first, second = await gateway.get("/.well-known/jwks.json", {}), await gateway.get("/v1/verify/jwks.json", {})
    assert first.body == second.body
    assert first.headers["cache-control"] == "public, max-age=300"
    [key] = first.json["keys"]
    assert key["kid"] == jws.thumbprint(key)
    assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")
    assert key["sealgate_status"] == "active"
    assert "d" not in key


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_after_a_failover_the_receipt_names_both_and_digests_what_the_second_was_sent(
    serve: Serve, stream: bool
) -> None:
    async with serve({"acme": error(503), "backup": answer("Hi")}) as gateway:
        reply = await gateway.chat(stream=stream)
        claims = (await checked(gateway, reply.tresor["receipt_id"], reply=reply)).claims
        sent = gateway.upstreams["backup"].requests[0].body
    assert claims is not None
    assert (claims["failover"], claims["routed_model"]) == (True, "global/backup/m")
    assert [(each["route"], each["outcome"]) for each in claims["attempts"]] == [
        ("global/acme/m", "overloaded"), ("global/backup/m", "ok"),
    ]  # fmt: skip
    assert claims["forwarded"] == {"wire": digest(claims, "forwarded.wire", sent), "rewritten": True}


@pytest.mark.anyio
async def test_a_broken_stream_has_a_receipt_of_what_came_before_the_break(serve: Serve) -> None:
    async with serve({"acme": cut_after(2)}) as gateway:
        reply = await gateway.chat(stream=True)
        event = reply.documents[-1]
        verdict = await checked(gateway, event["receipt_id"], reply=reply)
    assert not reply.done
    assert (verdict.ok, marks(verdict)["response"]) == (True, "PASS"), verdict.checks
    assert verdict.claims is not None
    assert verdict.claims["response"]["outcome"] == "truncated_upstream"
    assert verdict.claims["response"]["status"] == 200
    assert reply.headers["x-tresor-receipt-id"] == event["receipt_id"]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "status", "outcome"),
    [(error(400), 400, "refused"), (error(500), 502, "error"), (silent(), 504, "timeout")],
)
async def test_a_request_that_no_provider_answered_has_a_receipt_too(
    serve: Serve, behaviour: Any, status: int, outcome: str, stream: bool
) -> None:
    limit = 0.1 if status == 504 else 20.0
    timeouts = Timeouts(total=limit, gap=limit, first_content=limit, max_total=limit)
    async with serve({"acme": behaviour}, timeouts=timeouts) as gateway:
        reply = await gateway.chat(stream=stream)
        verdict = await checked(gateway, reply.headers["x-tresor-receipt-id"], reply=reply)
    assert reply.status == status
    claims = verdict.claims
    assert claims is not None
    assert (claims["response"]["outcome"], claims["response"]["status"], claims["response"]["bytes"]) == (
        outcome, status, 0,
    )  # fmt: skip
    assert (claims["forwarded"], claims["routed_model"], claims["response"]["content"]) == (None, None, None)
    assert (claims["prompt_tokens"], claims["usage_source"]) == (None, None)
    assert len(claims["attempts"]) == 1
    assert verdict.ok, verdict.checks


@pytest.mark.anyio
async def test_a_request_without_a_plan_has_no_receipt(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        unknown = await gateway.chat(model="unknown")
        malformed = await gateway.post("/v1/chat/completions", {"model": "m"})
    assert (unknown.status, malformed.status) == (404, 400)
    assert "x-tresor-receipt-id" not in unknown.headers
    assert "x-tresor-receipt-id" not in malformed.headers


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_is_in_the_receipt(serve: Serve, stream: bool) -> None:
    async with serve({"acme": stall_after(2) if stream else silent()}) as gateway:
        async with gateway.client() as client:
            await gateway.begin(client, stream=stream)
            await gateway.upstreams["acme"].wait_for_requests()
            if stream:
                response = await client.response()
                receipt_id = response.headers["x-tresor-receipt-id"]
        row = await gateway.row()
        assert row.receipt_id is not None
        assert not stream or row.receipt_id == receipt_id
        claims = (await checked(gateway, row.receipt_id)).claims
    assert claims is not None
    assert claims["response"]["outcome"] == "client_disconnected"
    assert claims["response"]["status"] == (200 if stream else None)
    assert claims["attempts"] == [{"route": "global/acme/m", "outcome": "cut_off", "status": 200 if stream else None}]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_row_f18_a_receipt_that_could_not_be_signed_is_not_promised(
    serve: Serve, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is not given either: 503, or an error event in place of ``[DONE]``."""

    def missing(_: Any) -> Any:
        raise StorageError("no signing key is at hand")

    async with serve({"acme": answer()}) as gateway:
        monkeypatch.setattr("sealgate.receipts.keys.SigningKeys.signer", missing)
        reply = await gateway.chat(stream=stream)
    assert (reply.code, reply.done if stream else False) == ("storage_unavailable", False)
    if stream:
        assert "receipt_id" not in reply.documents[-1]
    else:
        assert "x-tresor-receipt-id" not in reply.headers


@pytest.mark.anyio
async def test_comments_that_keep_a_stream_alive_are_in_the_digest(serve: Serve) -> None:
    async with serve({"acme": answer(["a", "b"], delay=0.05)}, timeouts=Timeouts(keep_alive=0.01)) as gateway:
        reply = await gateway.chat(stream=True)
        verdict = await checked(gateway, reply.tresor["receipt_id"], reply=reply)
    assert reply.comments
    response = next(check for check in verdict.checks if check.name == "response")
    assert (response.mark, response.text.split(";")[0]) == ("PASS", "these bytes were sent")


@pytest.mark.anyio
async def test_no_comment_comes_between_the_signature_and_the_end(serve: Serve) -> None:
    """However long the commit takes: bytes that are not signed may only be the terminal event."""
    async with serve({"acme": answer()}, timeouts=Timeouts(keep_alive=0.01)) as gateway:
        held = asyncio.Event()
        append = gateway.hall.storage.append

        async def slow(*args: Any, **kwargs: Any) -> None:
            await asyncio.sleep(0.08)
            await append(*args, **kwargs)
            held.set()

        gateway.hall.storage.append = slow  # type: ignore[method-assign]
        reply = await gateway.chat(stream=True)
        verdict = await checked(gateway, reply.tresor["receipt_id"], reply=reply)
    assert held.is_set()
    assert (reply.done, verdict.ok) == (True, True), verdict.checks


@pytest.mark.anyio
async def test_a_stream_that_the_gateways_end_cuts_has_a_receipt_of_that(serve: Serve) -> None:
    """Its caller is told, and what the caller got is what the receipt speaks of."""
    async with AsyncExitStack() as stack:
        async with serve({"acme": stall_after(3)}, drain=0.05) as gateway:
            keys = (await gateway.get("/.well-known/jwks.json", {})).json
            client = await stack.enter_async_context(gateway.client())
            await gateway.begin(client, stream=True)
            response = await client.response()
            for _ in range(3):
                await response.next_event()
            url = gateway.hall.settings.database_url
        reply = await read_reply(response)
    assert reply.code == "gateway_shutting_down"
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        ((token, place),) = connection.execute("SELECT receipt, log_index FROM ledger").fetchall()
    assert place is None, "it waits for the next start to be logged"
    verdict = verify(token, keys, documents=Documents(response=reply.body))
    assert (verdict.ok, marks(verdict)["response"]) == (True, "PASS"), verdict.checks
    assert verdict.claims is not None
    assert (verdict.claims["response"]["outcome"], verdict.claims["response"]["status"]) == ("shutdown", 200)
    assert verdict.claims["jti"] == reply.documents[-1]["receipt_id"]
    assert verdict.claims["attempts"] == [{"route": "global/acme/m", "outcome": "cut_off", "status": 200}]


@pytest.mark.anyio
async def test_a_caller_that_stops_reading_is_in_the_receipt(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.gateway.EdgeLimits", partial(EdgeLimits, write_stall_seconds=0.2))
    async with serve({"acme": answer(["x" * 20_000] * 500)}) as gateway:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await asyncio.to_thread(deaf.connect, (gateway.host, gateway.port))
            body = json.dumps(gateway.ask(stream=True)).encode()
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {gateway.key}\r\n"
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            deaf.sendall(head.encode() + body)
            async with asyncio.timeout(20):
                while not (rows := await gateway._rows()):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)
        assert rows[0].receipt_id is not None
        claims = (await checked(gateway, rows[0].receipt_id)).claims
    assert claims is not None
    assert (claims["response"]["outcome"], claims["response"]["status"]) == ("client_stalled", 200)
    assert 0 < claims["response"]["bytes"] < 500 * 20_000, "as far as the transport took it"
    assert claims["usage_source"] == "estimated"
