"""``GET /attestation``: what the machine under the gateway can show of itself, or that it can show nothing."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Annotated, Literal
from urllib.parse import parse_qs

import msgspec
from msgspec import Meta, Struct

from sealgate.api.call import JSON, Call
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.errors import Detail, Problem
from sealgate.formats import moments
from sealgate.receipts.attestation import NONCE_BYTES, EvidenceError, Mode
from sealgate.receipts.attester import Attester, BusyError, Shown
from sealgate.receipts.inference import SOURCE, Held, Result
from sealgate.relay.hall import Hall

_NONCE = re.compile(rf"(?:[0-9a-f]{{2}}){{1,{NONCE_BYTES}}}")
_NOT_STORED = (b"cache-control", b"no-store")

_encode = msgspec.json.Encoder().encode

NOTES: dict[Mode, str] = {
    "none": "Not attested: this gateway has no evidence of the machine it runs on. The statement is its own word.",
    "file": "Evidence from a file of the operator, handed on unchecked; a nonce cannot be bound to it. "
    "Never run on hardware by this project.",
    "tsm": "Evidence from the Linux kernel of this machine, handed on unchecked: check its signatures and measurement "
    "against your own policy. Never run on hardware by this project.",
}
ELSEWHERE = " It carries other report data than this statement's: it does not speak of these keys."


class AttestationAnswer(Struct):
    """A statement about the gateway's keys, and the evidence that carries its digest, where there is any."""

    mode: Mode
    statement: Annotated[
        str,
        Meta(description="Canonical JSON, as text: `jwks_sha256`, `log_vkey`, `nonce`, `purpose`, `tls_spki_sha256`."),
    ]
    report_data: Annotated[str, Meta(description="Hex: SHA-256 of the statement, then 32 zero bytes.")]
    evidence: Annotated[str | None, Meta(description="Base64; null: there is none.")]
    evidence_sha256: Annotated[str | None, Meta(description="Hex, as receipts have it.")]
    provider: Annotated[str | None, Meta(description="Who made it: the kernel's word, such as sev_guest, or file.")]
    auxiliary: Annotated[str | None, Meta(description="Base64: what the kernel gave beside it, such as certificates.")]
    bound: Annotated[
        bool | None,
        Meta(description="Whether the evidence was seen to carry `report_data`; null: its form is not read here."),
    ]
    note: Annotated[str, Meta(description="What this shows and what not, in words.")]


class ProviderEvidence(Struct):
    """What one provider shows of its machines, as its receipts name it."""

    provider: Annotated[str, Meta(description="The name of its table in the configuration.")]
    type: Annotated[str, Meta(description="The operator's word for what it is.")]
    result: Annotated[
        Result, Meta(description="not_checked: there it is, its signatures unread; unavailable: it was not to be had.")
    ]
    source: Annotated[Literal["provider_asserted"], Meta(description="Whose word it is.")]
    evidence: Annotated[str | None, Meta(description="Base64; null: there is none.")]
    evidence_sha256: Annotated[str | None, Meta(description="Hex, as receipts have it.")]
    fetched_at: Annotated[str | None, Meta(description="When it was fetched.")]


class ProviderEvidenceList(Struct):
    """Of all providers that are asked for evidence."""

    object: Literal["list"]
    data: list[ProviderEvidence]
    note: Annotated[str, Meta(description="What this shows and what not, in words.")]


PROVIDERS = (
    "What these providers say of their machines, handed on unchecked: all that is known here is from which address it "
    "came. It does not show that an answer came from such a machine."
)


def routes(hall: Hall, guard: Guard, attester: Attester) -> list[Route]:
    told = "Evidence of the machine the gateway runs on, or that there is none."
    query = (("nonce", f"Hex of 1 to {NONCE_BYTES} bytes, to be bound to a report of its own."),)
    endpoint = Attestation(attester)
    providers, shown = Providers(hall, guard), "What providers show of their machines, as receipts name it."
    return [
        Route("GET", "/attestation", "public", endpoint, told, mounted=False, answer=AttestationAnswer, query=query),
        Route("GET", "/attestation/providers", "key", providers, shown, mounted=False, answer=ProviderEvidenceList),
    ]


class Attestation:
    """The endpoint."""

    def __init__(self, attester: Attester) -> None:
        self._attester = attester

    async def __call__(self, call: Call) -> None:
        nonce = _nonce(call.scope["query_string"])
        try:
            found = await self._attester.shown(nonce)
        except BusyError:
            raise Problem("rate_limit_exceeded", "Reports for nonces are made one at a time, once a second.") from None
        except EvidenceError as error:
            raise Problem("attestation_unavailable") from error
        await call.respond(200, _encode(_answer(found)), JSON, [_NOT_STORED])


class Providers:
    """The evidence of providers, for whoever has a key: receipts hold its digest, and this is what was digested."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._guard = guard

    async def __call__(self, call: Call) -> None:
        await self._guard.caller(call)
        found = [_of_provider(each) for each in self._hall.inference.held()]
        listed = ProviderEvidenceList("list", found, PROVIDERS)
        await call.respond(200, _encode(listed), JSON, [_NOT_STORED])


def _of_provider(held: Held) -> ProviderEvidence:
    evidence = None if held.evidence is None else b64encode(held.evidence).decode()
    fetched = None if held.fetched_at is None else moments.iso(held.fetched_at * 1_000_000)
    return ProviderEvidence(held.provider, held.type, held.result, SOURCE, evidence, held.sha256, fetched)


def _nonce(query: bytes) -> str | None:
    try:
        given = parse_qs(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100).get("nonce", [])
    except ValueError:
        raise _wrong("The query string has too many fields.") from None
    if not given:
        return None
    if len(given) > 1 or not _NONCE.fullmatch(given[0].lower()):
        raise _wrong(f"nonce is the hex of 1 to {NONCE_BYTES} bytes, once.")
    return given[0].lower()


def _wrong(said: str) -> Problem:
    return Problem("invalid_parameter", said, param="nonce", details=[Detail(("nonce",), said, place="query")])


def _answer(found: Shown) -> dict[str, object]:
    evidence, bound = found.evidence, found.bound
    auxiliary = None if evidence is None else evidence.auxiliary
    return {
        "mode": found.mode,
        "statement": found.statement.decode(),
        "report_data": found.report_data.hex(),
        "evidence": None if evidence is None else b64encode(evidence.data).decode(),
        "evidence_sha256": None if evidence is None else evidence.sha256,
        "provider": None if evidence is None else evidence.type,
        "auxiliary": None if auxiliary is None else b64encode(auxiliary).decode(),
        "bound": bound,
        "note": NOTES[found.mode] + (ELSEWHERE if bound is False else ""),
    }
