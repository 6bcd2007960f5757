"""``GET /attestation`` and what receipts say of it, through a whole gateway."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from msgspec.structs import replace
from tests.gateway import Reply, Serve
from tests.receipts.kernel import Kernel, snp

from sealgate import app
from sealgate.config import Attestation
from sealgate.errors import ConfigError
from sealgate.formats import jws
from sealgate.receipts.attester import Attester
from sealgate.testing import answer

pytestmark = pytest.mark.anyio


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """This machine is a confidential one, as far as its folder goes."""
    (tmp_path / "tsm").mkdir()
    found = Kernel(tmp_path / "tsm")
    monkeypatch.setattr(app, "Attester", partial(Attester, folders=found))
    return found


def sha(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def claims(reply: Reply) -> Any:
    return json.loads(jws.parse(reply.headers["x-tresor-receipt"]).payload)


async def test_plain_hardware_says_so_to_everybody_and_receipts_claim_nothing(serve: Serve) -> None:
    async with serve({"acme": answer()}) as gateway:
        told = await gateway.get("/attestation?nonce=C0ffee", {})
        keys = (await gateway.get("/.well-known/jwks.json", {})).json
        log = (await gateway.get("/.well-known/sealgate-log.json", {})).json
        reply = await gateway.chat(headers={"x-tresor-receipt": "true"})
    assert (told.status, told.headers["cache-control"]) == (200, "no-store")
    found = told.json
    assert found["mode"] == "none"
    assert found["note"].startswith("Not attested")
    assert {found[name] for name in ("evidence", "evidence_sha256", "provider", "auxiliary", "bound")} == {None}
    assert json.loads(found["statement"]) == {
        "jwks_sha256": sha(rfc8785.dumps(keys)), "log_vkey": log["vkey"], "nonce": "c0ffee",
        "purpose": "sealgate.report_data.v1", "tls_spki_sha256": None,
    }  # fmt: skip
    assert found["report_data"] == sha(found["statement"]) + "00" * 32
    assert (claims(reply)["router_attestation"], claims(reply)["inference_attestation"]) == (None, None)


async def test_a_confidential_machines_report_carries_the_statement_and_is_named_in_receipts(
    serve: Serve, kernel: Kernel
) -> None:
    async with serve({"acme": answer()}, attestation=Attestation(mode="tsm")) as gateway:
        found = (await gateway.get("/attestation", {})).json
        reply = await gateway.chat(headers={"x-tresor-receipt": "true"})
        mine = (await gateway.get("/attestation?nonce=c0ffee", {})).json
        soon = await gateway.get("/attestation?nonce=c0ffee", {})
    data = base64.b64decode(found["evidence"])
    assert data == snp(bytes.fromhex(found["report_data"]))
    assert (found["mode"], found["provider"], found["bound"]) == ("tsm", "sev_guest", True)
    assert base64.b64decode(found["auxiliary"]) == kernel.auxiliary
    assert "Never run on hardware by this project." in found["note"]
    assert claims(reply)["router_attestation"] == {
        "type": "sev_guest", "evidence_sha256": found["evidence_sha256"], "statement_sha256": sha(found["statement"]),
    }  # fmt: skip
    assert found["evidence_sha256"] == sha(data)
    assert json.loads(mine["statement"])["nonce"] == "c0ffee"
    assert base64.b64decode(mine["evidence"]) == snp(bytes.fromhex(mine["report_data"]))
    assert (soon.status, soon.code) == (429, "rate_limit_exceeded")


async def test_a_file_that_speaks_of_other_keys_is_shown_with_that_said(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "evidence"
    file.write_bytes(snp(bytes(64)))
    async with serve({"acme": answer()}, attestation=Attestation(mode="file", file=str(file))) as gateway:
        found = (await gateway.get("/attestation?nonce=c0ffee", {})).json
        file.unlink()
        gone = await gateway.get("/attestation", {})
        reply = await gateway.chat(headers={"x-tresor-receipt": "true"})
    assert (found["mode"], found["bound"], json.loads(found["statement"])["nonce"]) == ("file", False, None)
    assert "does not speak of these keys" in found["note"]
    assert (gone.status, gone.code) == (503, "attestation_unavailable")
    assert claims(reply)["router_attestation"] is None


@pytest.mark.parametrize(
    "query", ["nonce=", "nonce=abc", "nonce=xy", "nonce=aa&nonce=bb", "nonce=" + "00" * 65, "&".join(["a=1"] * 101)]
)
async def test_a_nonce_that_is_none_is_400(serve: Serve, query: str) -> None:
    async with serve({"acme": answer()}) as gateway:
        reply = await gateway.get(f"/attestation?{query}", {})
        longest = await gateway.get("/attestation?nonce=" + "00" * 64, {})
    assert (reply.status, reply.code) == (400, "invalid_parameter")
    assert longest.status == 200


async def test_a_mode_without_evidence_keeps_the_gateway_from_starting(serve: Serve, tmp_path: Path) -> None:
    missing = Attestation(mode="file", file=str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match=r"attestation\.mode is file, and there is no evidence"):
        async with serve({"acme": answer()}, attestation=missing):
            pass


async def test_a_reload_takes_another_source_or_keeps_the_old_one(serve: Serve, tmp_path: Path) -> None:
    async with serve({"acme": answer()}) as gateway:
        settings, inner = gateway.hall.settings, gateway.gateway
        file = tmp_path / "evidence"

        def with_file() -> Any:
            return replace(settings, attestation=Attestation(mode="file", file=str(file)))

        await inner.reload(with_file)
        assert (await gateway.get("/attestation", {})).json["mode"] == "none"
        file.write_bytes(b"evidence")
        await inner.reload(with_file)
        found = (await gateway.get("/attestation", {})).json
        reply = await gateway.chat(headers={"x-tresor-receipt": "true"})
    assert (found["mode"], found["bound"]) == ("file", None)
    assert claims(reply)["router_attestation"] == {"type": "file", "evidence_sha256": sha(b"evidence")}
