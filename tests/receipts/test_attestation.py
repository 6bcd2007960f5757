"""Statements, report data, and each source of evidence, by itself."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import rfc8785
from tests.receipts.kernel import MEASUREMENT, Kernel, snp, tdx

from sealgate.receipts import attestation
from sealgate.receipts.attestation import (
    MOST,
    Evidence,
    EvidenceError,
    File,
    Folders,
    Keys,
    Nothing,
    Tsm,
    jwks_sha256,
    report_data,
    snp_report,
    statement,
    tdx_quote,
)

WANTED = report_data(b"{}")


def test_a_statement_is_canonical_json_of_five_members() -> None:
    said = statement(Keys("ab" * 32, "gw.example+key", None), "c0ffee")
    assert said == (
        b'{"jwks_sha256":"' + b"ab" * 32 + b'","log_vkey":"gw.example+key","nonce":"c0ffee",'
        b'"purpose":"sealgate.report_data.v1","tls_spki_sha256":null}'
    )
    assert said == rfc8785.dumps(json.loads(said))


def test_report_data_is_the_statements_digest_and_zeros() -> None:
    assert report_data(b"{}") == hashlib.sha256(b"{}").digest() + bytes(32)


def test_a_key_sets_digest_does_not_depend_on_how_it_is_written() -> None:
    assert jwks_sha256({"keys": [{"b": 1, "a": 2}]}) == jwks_sha256({"keys": [{"a": 2, "b": 1}]})
    assert jwks_sha256({"keys": []}) == hashlib.sha256(b'{"keys":[]}').hexdigest()


def test_of_an_snp_report_the_report_data_and_the_measurement_are_read() -> None:
    assert snp_report(snp(WANTED)) == (WANTED, MEASUREMENT)
    assert Evidence("file", snp(WANTED)).bound(WANTED) is True
    assert Evidence("file", snp(bytes(64))).bound(WANTED) is False


@pytest.mark.parametrize("data", [b"", b"eyJ.eyJ.sig", snp(WANTED)[:-1], snp(WANTED) + b"\0", bytes(0x4A0)])
def test_what_is_no_snp_report_is_not_taken_for_one(data: bytes) -> None:
    assert snp_report(data) is None
    assert Evidence("file", data).bound(WANTED) is None


@pytest.mark.parametrize(("version", "body_type"), [(4, 2), (5, 2), (5, 3)])
def test_of_a_tdx_quote_the_report_data_and_the_measurement_are_read(version: int, body_type: int) -> None:
    quote = tdx(WANTED, version, body_type)
    assert tdx_quote(quote) == (WANTED, MEASUREMENT)
    assert tdx_quote(quote + bytes(50)) == (WANTED, MEASUREMENT), "a source may fill up its buffer"
    assert Evidence("tdx_guest", quote).bound(WANTED) is True
    assert Evidence("tdx_guest", tdx(bytes(64), version, body_type)).bound(WANTED) is False


def _changed(at: int, value: int) -> bytes:
    quote = bytearray(tdx(WANTED, 5, 2))
    quote[at] = value
    return bytes(quote)


@pytest.mark.parametrize(
    "data",
    [
        b"", tdx(WANTED)[:-1], tdx(WANTED)[:632], tdx(WANTED)[:54], tdx(WANTED, 5, 3)[:-1], _changed(0, 3),
        _changed(0, 6), _changed(2, 9), _changed(4, 0), _changed(48, 1), _changed(50, 0), snp(WANTED),
    ],
)  # fmt: skip
def test_what_is_no_tdx_quote_is_not_taken_for_one(data: bytes) -> None:
    assert tdx_quote(data) is None


def test_a_quote_with_other_report_data_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    good = Kernel(tmp_path, report=tdx, provider="tdx_guest")
    assert Tsm(good).collect(WANTED).type == "tdx_guest"
    with pytest.raises(EvidenceError, match="carries other report data"):
        Tsm(Kernel(tmp_path, report=lambda _: tdx(bytes(64)))).collect(WANTED)


def test_plain_hardware_has_no_evidence() -> None:
    assert (Nothing().mode, Nothing().collect(WANTED), Nothing().mark()) == ("none", None, None)


def test_a_file_is_handed_on_as_it_is_and_its_mark_moves_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "evidence"
    path.write_bytes(b"one")
    source = File(path)
    before = source.mark()
    assert source.collect(WANTED) == Evidence("file", b"one", None)
    assert source.mark() == before
    path.write_bytes(b"other")
    assert source.mark() != before
    assert source.collect(WANTED).data == b"other"
    path.unlink()
    assert source.mark() != before


@pytest.mark.parametrize(
    ("data", "why"),
    [(None, "cannot be read: No such file"), (b"", "is empty"), (bytes(MOST + 1), "more than 32768 bytes")],
)
def test_a_file_without_usable_evidence_is_refused(tmp_path: Path, data: bytes | None, why: str) -> None:
    path = tmp_path / "evidence"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(EvidenceError, match=why):
        File(path).collect(WANTED)


def test_the_kernel_is_asked_with_the_report_data_and_its_folder_is_left_clean(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path)
    assert Tsm(kernel).collect(WANTED) == Evidence("sev_guest", snp(WANTED), b"certificates")
    assert kernel.asked == [WANTED]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("auxiliary", [None, b""])
def test_a_provider_without_auxiliary_data_has_none(tmp_path: Path, auxiliary: bytes | None) -> None:
    kernel = Kernel(tmp_path, report=lambda data: b"quote" + data, provider="tdx_guest", auxiliary=auxiliary)
    assert Tsm(kernel).collect(WANTED) == Evidence("tdx_guest", b"quote" + WANTED, None)


@pytest.mark.parametrize("notices", [False, True])
def test_where_somebody_else_wrote_meanwhile_the_report_is_asked_for_again(tmp_path: Path, notices: bool) -> None:
    kernel = Kernel(tmp_path, disturbed=attestation.TRIES - 1, notices=notices)
    assert Tsm(kernel).collect(WANTED).data == snp(WANTED)
    assert kernel.asked == [WANTED] * attestation.TRIES
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("notices", [False, True])
def test_after_some_tries_it_is_given_up(tmp_path: Path, notices: bool) -> None:
    kernel = Kernel(tmp_path, disturbed=attestation.TRIES, notices=notices)
    with pytest.raises(EvidenceError, match="changed by somebody else each time"):
        Tsm(kernel).collect(WANTED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (b"", "outblob is empty"),
        (bytes(MOST + 1), "outblob has more than 32768 bytes"),
        (snp(bytes(64)), "carries other report data"),
    ],
)
def test_a_report_that_cannot_be_right_is_refused(tmp_path: Path, given: bytes, why: str) -> None:
    with pytest.raises(EvidenceError, match=why):
        Tsm(Kernel(tmp_path, report=lambda _: given)).collect(WANTED)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_report_there_may_be_is_taken_whole(tmp_path: Path) -> None:
    assert len(Tsm(Kernel(tmp_path, report=lambda _: bytes(MOST))).collect(WANTED).data) == MOST


def test_a_machine_without_the_kernels_folder_is_said_to_have_none(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"no folder can be made in .*nowhere: No such file or directory"):
        Tsm(Folders(tmp_path / "nowhere")).collect(WANTED)


class Refusing(Kernel):
    """Takes no question, as a device that is not there or a user that may not ask."""

    def write(self, name: str, file: str, data: bytes) -> None:
        (self.root / name / file).unlink()
        Folders.write(self, name, file, data)


def test_a_refused_question_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="the kernel gave no report: No such file or directory"):
        Tsm(Refusing(tmp_path)).collect(WANTED)
    assert list(tmp_path.iterdir()) == []


def test_folders_are_used_as_the_file_system_has_them(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.make("r")
    (tmp_path / "r" / "inblob").write_bytes(b"")
    folders.write("r", "inblob", b"question")
    assert folders.read("r", "inblob") == b"question"
    with pytest.raises(OSError, match="exists"):
        folders.make("r")
    os.unlink(tmp_path / "r" / "inblob")
    folders.remove("r")
    assert list(tmp_path.iterdir()) == []
