"""Evidence while a gateway runs: kept, collected again when something changes, bound to nonces at a bounded rate."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.receipts.kernel import Kernel, snp

from sealgate.config import Attestation, Settings
from sealgate.errors import ConfigError
from sealgate.receipts import attester as module
from sealgate.receipts.attestation import EvidenceError, Folders, Keys, report_data
from sealgate.receipts.attester import INTERVAL, Attester, BusyError, certificate_key

pytestmark = pytest.mark.anyio


class House:
    """An attester with keys and a clock that a test moves."""

    def __init__(self, folders: Folders | None = None) -> None:
        self.jwks = "00" * 32
        self.now = 100.0
        self.attester = Attester(lambda: Keys(self.jwks), folders=folders, clock=lambda: self.now)

    async def open(self, mode: Any, file: Path | None = None) -> Attester:
        await self.attester.configure(
            Settings(attestation=Attestation(mode=mode, file=None if file is None else str(file)))
        )
        return self.attester


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_plain_hardware_has_a_statement_with_any_nonce_and_claims_nothing() -> None:
    attester = await House().open("none")
    for _ in range(3):
        shown = await attester.shown("c0ffee")
        assert (shown.mode, shown.evidence, shown.bound) == ("none", None, None)
        assert json.loads(shown.statement)["nonce"] == "c0ffee"
    assert json.loads((await attester.shown()).statement)["nonce"] is None
    assert attester.claim is None


async def test_the_kernel_is_asked_once_for_all_who_send_no_nonce(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    attester = await House(kernel).open("tsm")
    shown = [await attester.shown() for _ in range(5)][-1]
    assert kernel.asked == [shown.report_data]
    assert (shown.bound, shown.evidence and shown.evidence.data) == (True, snp(shown.report_data))
    assert attester.claim == {
        "type": "sev_guest", "evidence_sha256": sha(snp(shown.report_data)), "statement_sha256": sha(shown.statement),
    }  # fmt: skip


async def test_a_nonce_is_bound_to_a_report_of_its_own_at_most_once_a_second(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    house = House(kernel)
    attester = await house.open("tsm")
    found = await asyncio.gather(*(attester.shown(nonce) for nonce in ("aa", "bb", "cc")), return_exceptions=True)
    [shown] = [each for each in found if not isinstance(each, BaseException)]
    assert sum(isinstance(each, BusyError) for each in found) == 2
    assert json.loads(shown.statement)["nonce"] == "aa"
    assert kernel.asked[1:] == [report_data(shown.statement)]
    with pytest.raises(BusyError):
        await attester.shown("dd")
    house.now += INTERVAL
    assert json.loads((await attester.shown("dd")).statement)["nonce"] == "dd"
    assert attester.claim == (await attester.shown()).claim


async def test_after_a_change_of_keys_there_is_evidence_for_the_new_ones(tmp_path: Path) -> None:
    house = House(Kernel(tmp_path))
    attester = await house.open("tsm")
    before = attester.claim
    house.jwks = "11" * 32
    await attester.refresh()
    shown = await attester.shown()
    assert json.loads(shown.statement)["jwks_sha256"] == "11" * 32
    assert before != attester.claim == shown.claim


async def test_without_evidence_any_more_receipts_name_none_and_the_kernel_is_not_asked_at_every_call(
    tmp_path: Path,
) -> None:
    kernel = Kernel(tmp_path)
    house = House(kernel)
    attester = await house.open("tsm")
    house.jwks, kernel.report = "11" * 32, lambda _: b""
    for _ in range(3):
        with pytest.raises(EvidenceError):
            await attester.shown()
    assert (attester.claim, len(kernel.asked)) == (None, 2)
    house.now += INTERVAL
    kernel.report = snp
    await attester.shown()
    assert attester.claim is not None


async def test_a_file_of_an_unknown_form_is_claimed_without_a_statement_and_binds_no_nonce(tmp_path: Path) -> None:
    file = tmp_path / "evidence"
    file.write_bytes(b"a token of somebody's")
    attester = await House().open("file", file)
    shown = await attester.shown("c0ffee")
    assert (json.loads(shown.statement)["nonce"], shown.bound) == (None, None)
    assert attester.claim == {"type": "file", "evidence_sha256": sha(b"a token of somebody's")}


async def test_a_file_that_carries_the_statement_is_claimed_with_it_until_the_keys_change(tmp_path: Path) -> None:
    file = tmp_path / "evidence"
    file.write_bytes(b"not yet")
    house = House()
    attester = await house.open("file", file)
    wanted = (await attester.shown()).report_data
    file.write_bytes(snp(wanted))
    shown = await attester.shown()
    assert (shown.bound, shown.claim) == (True, attester.claim)
    assert attester.claim is not None
    assert attester.claim["statement_sha256"] == sha(shown.statement)
    house.jwks, house.now = "11" * 32, house.now + INTERVAL
    shown = await attester.shown()
    assert shown.bound is False
    assert attester.claim == {"type": "file", "evidence_sha256": sha(snp(wanted))}


async def test_a_source_without_evidence_is_refused_and_the_one_before_stays(tmp_path: Path) -> None:
    house = House(Folders(tmp_path / "nowhere"))
    file = tmp_path / "evidence"
    file.write_bytes(b"x")
    attester = await house.open("file", file)
    claim = attester.claim
    with pytest.raises(ConfigError, match=r"attestation\.mode is tsm, and there is no evidence: no folder can be made"):
        await house.open("tsm")
    assert attester.claim == claim
    assert (await attester.shown()).mode == "file"


async def test_the_watch_sees_a_changed_file_and_survives_a_lost_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    file = tmp_path / "evidence"
    file.write_bytes(b"one")
    house = House()
    attester = await house.open("file", file)

    async def until(digest: str | None) -> None:
        async with asyncio.timeout(5):
            while (attester.claim or {}).get("evidence_sha256") != digest:
                house.now += INTERVAL
                await asyncio.sleep(0.001)

    attester.start()
    file.unlink()
    await until(None)
    file.write_bytes(b"other")
    await until(sha(b"other"))
    await attester.aclose()


async def test_a_certificate_is_known_by_its_public_key_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "cert.pem"
    bad.write_text("no certificate")
    assert certificate_key(None) is None
    with pytest.raises(ConfigError, match="holds no certificate"):
        certificate_key(str(bad))
    with pytest.raises(ConfigError, match="cannot be read"):
        certificate_key(str(tmp_path / "nothing.pem"))
