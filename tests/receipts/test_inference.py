"""What providers show of their machines: fetched where the operator says, told as nothing more than it is."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from base64 import b64decode
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.gateway import Serve, provider

from sealgate.config_routes import Provider
from sealgate.formats import canonical, jws
from sealgate.receipts import inference, report
from sealgate.receipts.inference import Inference
from sealgate.receipts.verify import verify
from sealgate.testing import ScriptedUpstream, answer, error
from sealgate.testing.script import Send, whole, wire

pytestmark = pytest.mark.anyio

URL = "https://models.example/report"


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.005)


class Came(NamedTuple):
    data: bytes


class Web:
    """What is at addresses; what is not there fails."""

    def __init__(self, **there: bytes) -> None:
        self.there = {f"https://{name}.example/report": data for name, data in there.items()}
        self.asked: list[str] = []

    async def get(self, url: str) -> Came:
        self.asked.append(url)
        if url not in self.there:
            raise OSError("nobody there")
        return Came(self.there[url])


def asking(name: str = "models", kind: str | None = None) -> Provider:
    return Provider(kind="compatible", evidence_url=f"https://{name}.example/report", evidence_type=kind)


async def test_evidence_is_named_by_its_digest_as_the_providers_unchecked_word() -> None:
    web = Web(models=b"quote")
    found = Inference(web.get, clock=lambda: 1_795_000_000.5)
    found.configure({"secure": asking(kind="tdx"), "plain": Provider(kind="openai")})
    assert found.claim("plain") is None
    assert found.claim("secure") == {
        "type": "tdx", "result": "unavailable", "source": "provider_asserted", "evidence_sha256": None,
    }  # fmt: skip
    await found.refresh()
    assert found.claim("secure") == {
        "type": "tdx", "result": "not_checked", "source": "provider_asserted",
        "evidence_sha256": hashlib.sha256(b"quote").hexdigest(),
    }  # fmt: skip
    (held,) = found.held()
    assert (held.provider, held.evidence, held.fetched_at) == ("secure", b"quote", 1_795_000_000)
    assert web.asked == [URL]


@pytest.mark.parametrize("gone", [lambda web: web.there.clear(), lambda web: web.there.update({URL: b""})])
async def test_evidence_that_is_gone_is_no_longer_named(gone: Callable[[Web], None]) -> None:
    web = Web(models=b"quote")
    found = Inference(web.get)
    found.configure({"secure": asking()})
    await found.refresh()
    gone(web)
    await found.refresh()
    claim = found.claim("secure")
    assert claim is not None
    assert (claim["result"], claim["evidence_sha256"], found.held()[0].evidence) == ("unavailable", None, None)


async def test_another_configuration_forgets_what_it_does_not_name() -> None:
    web = Web(models=b"quote", other=b"other")
    found = Inference(web.get)
    found.configure({"a": asking(), "b": asking()})
    await found.refresh()
    found.configure({"a": asking(kind="tdx"), "b": asking("other")})
    assert [(each.type, each.result) for each in found.held()] == [("tdx", "not_checked"), ("document", "unavailable")]
    found.configure({})
    assert (found.claim("a"), found.held()) == (None, [])


async def test_an_answer_for_an_older_configuration_is_not_kept() -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def get(url: str) -> Came:
        arrived.set()
        await go.wait()
        return Came(url.encode())

    found = Inference(get)
    found.configure({"a": asking()})
    asked = asyncio.create_task(found.refresh())
    await arrived.wait()
    found.configure({"a": asking("other")})
    go.set()
    await asked
    assert found.held()[0].evidence is None


async def test_it_asks_by_itself_at_once_and_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "AGAIN_SECONDS", 0.01)
    web = Web()
    found = Inference(web.get)
    found.configure({"a": asking()})
    found.start()
    await until(lambda: len(web.asked) >= 2)
    web.there[URL] = b"quote"
    await until(lambda: found.held()[0].evidence)
    web.there["https://other.example/report"] = b"other"
    found.configure({"a": asking(), "b": asking("other")})
    await until(lambda: all(each.evidence for each in found.held()))
    await found.aclose()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"evidence_url": "http://models.example/report"}, "https"),
        ({"evidence_url": "nonsense"}, "URL"),
        ({"evidence_type": "tdx"}, "evidence_type is for an evidence_url"),
        ({"evidence_url": URL, "evidence_headers": ("X-Report",)}, "names one of them"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Provider(kind="compatible", **fields)


QUOTE = b'{"quote":"00"}'


def showing(data: bytes | None) -> ScriptedUpstream:
    """A provider that shows this, or nothing."""
    if data is None:
        return ScriptedUpstream()
    return ScriptedUpstream(handler=lambda _: whole(data, "application/json"))


@pytest.mark.parametrize("shown", [QUOTE, None])
async def test_receipts_name_what_the_provider_that_answered_showed(serve: Serve, shown: bytes | None) -> None:
    async with showing(shown) as report_server, ScriptedUpstream(default=answer()) as upstream:
        row = provider(upstream, evidence_url=f"{report_server.base_url}/report", evidence_type="tdx")
        async with serve({"secure": row}) as gateway:
            held = gateway.hall.inference.held
            await until(lambda: report_server.requests and (shown is None or held()[0].evidence))
            reply = await gateway.chat(headers={"x-tresor-receipt": "true"})
            keys = (await gateway.get("/.well-known/jwks.json", {})).json
            told = (await gateway.get("/attestation/providers")).json
            closed = await gateway.get("/attestation/providers", {})
        assert "authorization" not in report_server.requests[0].headers
    verdict = verify(reply.headers["x-tresor-receipt"], keys)
    assert verdict.claims is not None
    claim = verdict.claims["inference_attestation"]
    assert claim == {
        "type": "tdx", "result": "not_checked" if shown else "unavailable", "source": "provider_asserted",
        "evidence_sha256": hashlib.sha256(shown).hexdigest() if shown else None,
    }  # fmt: skip
    check = next(each for each in verdict.checks if each.name == "upstream")
    assert (check.mark, check.text) == (
        "----", f"not checked, nothing here reads evidence of type 'tdx'; the signer says of it: {claim['result']}, "
        "provider_asserted",
    )  # fmt: skip
    assert "L3" not in "\n".join(report.lines(verdict))
    (listed,) = told["data"]
    assert (listed["provider"], listed["evidence_sha256"]) == ("secure", claim["evidence_sha256"])
    assert (None if listed["evidence"] is None else b64decode(listed["evidence"])) == shown
    assert closed.status == 401


async def test_a_refused_request_and_a_provider_that_is_not_asked_have_none(serve: Serve) -> None:
    async with serve({"acme": error(400)}) as gateway:
        reply = await gateway.chat(headers={"x-tresor-receipt": "true"})
        stored = (await gateway.get(f"/v1/receipts/{reply.headers['x-tresor-receipt-id']}")).json
        listed = (await gateway.get("/attestation/providers")).json
    assert b'"inference_attestation":null' in jws.parse(stored["receipt"]).payload
    assert listed["data"] == []


def with_header(*lines: bytes) -> ScriptedUpstream:
    """A provider whose good answers have these lines in their heads."""
    added = b"".join(b"\r\n" + line for line in lines)
    return ScriptedUpstream(
        handler=lambda received: [Send(wire(answer(), received).replace(b"\r\n", added + b"\r\n", 1))]
    )


HEADERS = ("X-Report", "X-Machine")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        ((b"X-Report: q 1", b"X-Other: 2", b"x-machine: m"), {"x-report": "q 1", "x-machine": "m"}),
        ((b"x-report: \xe4",), {"x-report": "\xe4"}),
        ((b"X-Report: 1", b"X-Machine: m", b"x-report: 2"), {"x-report": "1, 2", "x-machine": "m"}),
        ((b"X-Other: 2",), None),
        ((b"X-Report: " + b"r" * 5000, b"X-Machine: " + b"m" * 5000), None),
    ],
)
async def test_evidence_in_an_answers_head_is_shown_and_named_by_its_digest_unverified(
    serve: Serve, stream: bool, lines: tuple[bytes, ...], shown: dict[str, str] | None
) -> None:
    async with (
        with_header(*lines) as upstream,
        serve({"secure": provider(upstream, evidence_headers=list(HEADERS))}) as gateway,
    ):
        reply = await gateway.chat(stream=stream)
        documents = reply.documents if stream else [reply.json]
        tresor = next(each["tresor"] for each in documents if "tresor" in each)
        stored = (await gateway.get(f"/v1/receipts/{tresor['receipt_id']}")).json["receipt"]
        keys = (await gateway.get("/.well-known/jwks.json", {})).json
    assert tresor.get("inference_evidence") == shown
    verdict = verify(stored, keys)
    assert verdict.ok
    assert verdict.claims is not None
    assert verdict.claims["inference_attestation"] == {
        "type": "headers", "result": "not_checked" if shown else "unavailable", "source": "provider_asserted",
        "evidence_sha256": hashlib.sha256(canonical.encode(shown)).hexdigest() if shown else None,
    }  # fmt: skip
    assert next(each.mark for each in verdict.checks if each.name == "upstream") == "----"


@pytest.mark.parametrize("name", ["Set-Cookie", "X Report", "", "x" * 65])
def test_headers_that_are_none_or_hold_secrets_cannot_be_evidence(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "compatible", "evidence_headers": [name]}, Provider)


async def test_a_receipt_names_what_was_known_when_the_request_ended_not_when_its_row_was_written(serve: Serve) -> None:
    known = Inference(Web(models=b"quote").get)
    known.configure({"acme": asking()})
    await known.refresh()
    may, inside = threading.Event(), threading.Event()

    def hold(_: Any) -> None:
        inside.set()
        may.wait(20)

    async with ScriptedUpstream(default=answer()) as upstream, serve({"acme": provider(upstream)}) as gateway:
        await gateway.hall.inference.aclose()
        gateway.hall.inference = known
        held = asyncio.ensure_future(gateway.hall.storage.write(hold))
        await asyncio.to_thread(inside.wait, 20)
        reply, claim = asyncio.ensure_future(gateway.chat()), known.claim("acme")
        await until(lambda: gateway.hall.storage.pending)
        known.configure({})
        may.set()
        await held
        assert (await reply).status == 200
        receipt = jws.parse((await gateway.row()).receipt or "")
    assert claim is not None
    assert claim["result"] == "not_checked"
    assert msgspec.json.decode(receipt.payload)["inference_attestation"] == claim
