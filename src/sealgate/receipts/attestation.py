"""Evidence of where the gateway runs, bound to its keys: the statement, and the sources that evidence comes from.

A statement is canonical JSON (RFC 8785) that names the keys of this gateway; the evidence of a machine that can give
any carries the statement's SHA-256 in its 64 bytes of report data, so that keys shown beside it are its own. What is
collected here is handed on as it is: nothing in this project checks its signatures.

Never run on hardware by this project: the folder of the Linux kernel is known from its documentation
(``Documentation/ABI/testing/configfs-tsm-report``) and from tests with a folder that behaves like it, the report of AMD
from its specification (SEV-SNP firmware ABI, document 56860, table "ATTESTATION_REPORT"), the quote of Intel from its
own (TDX DCAP Quoting Library API, appendix A.3 and A.4).
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from sealgate.formats import canonical

PURPOSE = "sealgate.report_data.v1"
REPORT_DATA_BYTES = 64
NONCE_BYTES = 64
MOST = 32 * 1024
"""Bytes of evidence; the kernel gives no more, and a file may have no more."""
TSM_ROOT = Path("/sys/kernel/config/tsm/report")
TRIES = 3

Mode = Literal["none", "file", "tsm"]


class EvidenceError(Exception):
    """No evidence could be had; the text says why, for the operator."""


class Keys(NamedTuple):
    """What a statement binds: digests in hex, and the log's key as its signed notes name it."""

    jwks_sha256: str
    log_vkey: str | None = None
    tls_spki_sha256: str | None = None
    """Of the certificate's public key (DER, SubjectPublicKeyInfo); None where something else speaks TLS."""


class Evidence(NamedTuple):
    """What a source gave; ``type`` is the kernel's word for who made it, or ``file``."""

    type: str
    data: bytes
    auxiliary: bytes | None = None
    """What the kernel gives beside it, such as certificates."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def bound(self, wanted: bytes) -> bool | None:
        """Whether it carries this report data; None where its form is not one that is read here."""
        report = snp_report(self.data) or tdx_quote(self.data)
        return None if report is None else report.report_data == wanted


def jwks_sha256(key_set: Any) -> str:
    """Of a JWK set in canonical form, in hex."""
    return hashlib.sha256(canonical.encode(key_set)).hexdigest()


def statement(keys: Keys, nonce: str | None) -> bytes:
    """The canonical bytes of a statement; ``nonce`` is in hex, at most `NONCE_BYTES` bytes, or None."""
    return canonical.encode({**keys._asdict(), "nonce": nonce, "purpose": PURPOSE})


def report_data(said: bytes) -> bytes:
    """The 64 bytes that bind a statement: its SHA-256, then zeros."""
    return hashlib.sha256(said).digest().ljust(REPORT_DATA_BYTES, b"\0")


class Report(NamedTuple):
    """What is read of a machine's evidence: ``measurement`` is of what it began with. No signature is checked."""

    report_data: bytes
    measurement: bytes


_SNP_BYTES = 0x4A0
_SNP_VERSIONS = range(2, 6)
_SNP_REPORT_DATA = slice(0x50, 0x90)
_SNP_MEASUREMENT = slice(0x90, 0xC0)


def snp_report(data: bytes) -> Report | None:
    """The report data and the measurement of an SEV-SNP report; None where it is none by its size and version."""
    if len(data) != _SNP_BYTES or int.from_bytes(data[:4], "little") not in _SNP_VERSIONS:
        return None
    return Report(data[_SNP_REPORT_DATA], data[_SNP_MEASUREMENT])


_TDX, _TDX_KEYS = 0x81, (2, 3)
_QUOTE_HEAD = 48
_TD_BODIES = {2: 584, 3: 648}
"""Size of a quote's body by its type: a report of TDX 1.0 or 1.5, whose first 584 bytes are alike."""
_TD_MEASUREMENT = slice(136, 184)
_TD_REPORT_DATA = slice(520, 584)


def tdx_quote(data: bytes) -> Report | None:
    """The report data and the first measurement (MRTD) of a TDX quote, version 4 or 5; None where it is none."""
    if len(data) < _QUOTE_HEAD + 6:
        return None
    version, keys, machine = (int.from_bytes(data[start:end], "little") for start, end in ((0, 2), (2, 4), (4, 8)))
    if machine != _TDX or keys not in _TDX_KEYS:
        return None
    if version == 4:
        start, size = _QUOTE_HEAD, _TD_BODIES[2]
    elif version == 5:
        start, size = _QUOTE_HEAD + 6, int.from_bytes(data[_QUOTE_HEAD + 2 : _QUOTE_HEAD + 6], "little")
        if _TD_BODIES.get(int.from_bytes(data[_QUOTE_HEAD : _QUOTE_HEAD + 2], "little")) != size:
            return None
    else:
        return None
    body, rest = data[start : start + size], data[start + size :]
    if len(body) < size or len(rest) < 4 or len(rest) - 4 < int.from_bytes(rest[:4], "little"):
        return None  # cut off: the signature's length stands behind the body, and then the signature
    return Report(body[_TD_REPORT_DATA], body[_TD_MEASUREMENT])


class Source(Protocol):
    """Where evidence comes from. Its methods block, and may be called from any thread."""

    @property
    def mode(self) -> Mode: ...

    @property
    def fresh(self) -> bool:
        """Whether evidence is made for the report data that is asked for, or was made beforehand."""

    def mark(self) -> object:
        """Another one where there may be other evidence than before, for the same report data."""

    def collect(self, wanted: bytes) -> Evidence | None:
        """Evidence for 64 bytes of report data; None where this source has none. Raises `EvidenceError`."""


class Nothing:
    """Plain hardware."""

    mode: Mode = "none"
    fresh = True

    def mark(self) -> None:
        return None

    def collect(self, wanted: bytes) -> None:  # noqa: ARG002
        return None


class File:
    """Evidence that the operator had made and put into a file. It speaks of the report data it was made for."""

    mode: Mode = "file"
    fresh = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self) -> object:
        try:
            found = self._path.stat()
        except OSError as error:
            return error.errno
        return found.st_ino, found.st_size, found.st_mtime_ns

    def collect(self, wanted: bytes) -> Evidence:  # noqa: ARG002
        try:
            data = _read(self._path)
        except OSError as error:
            raise EvidenceError(f"the file {self._path} cannot be read: {error.strerror}") from None
        return Evidence("file", _sized(data, str(self._path)))


class Folders:
    """The kernel's folders, as a file system shows them: a new folder has its files by itself, and takes them along."""

    def __init__(self, root: Path = TSM_ROOT) -> None:
        self.root = root

    def make(self, name: str) -> None:
        (self.root / name).mkdir()

    def write(self, name: str, file: str, data: bytes) -> None:
        # One write call, and to a file that is there: the kernel takes a value as a whole, and so does not truncate.
        opened = os.open(self.root / name / file, os.O_WRONLY)
        try:
            os.write(opened, data)
        finally:
            os.close(opened)

    def read(self, name: str, file: str) -> bytes:
        return _read(self.root / name / file)

    def remove(self, name: str) -> None:
        (self.root / name).rmdir()


class Tsm:
    """The trusted security module of a confidential machine, through Linux (6.7 and later)."""

    mode: Mode = "tsm"
    fresh = True

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def mark(self) -> None:
        return None

    def collect(self, wanted: bytes) -> Evidence:
        name = f"sealgate-{os.getpid()}-{secrets.token_hex(8)}"
        try:
            self._folders.make(name)
        except OSError as error:
            where = self._folders.root
            raise EvidenceError(f"no folder can be made in {where}: {_why(error)}") from None
        try:
            return self._asked(name, wanted)
        except OSError as error:
            raise EvidenceError(f"the kernel gave no report: {_why(error)}") from None
        finally:
            self._leave(name)

    def _asked(self, name: str, wanted: bytes) -> Evidence:
        for _ in range(TRIES):
            try:
                found = self._once(name, wanted)
            except BlockingIOError:  # somebody wrote into the folder meanwhile, and the kernel noticed
                continue
            if found is not None:
                break
        else:
            raise EvidenceError("the folder of the report was changed by somebody else each time")
        if found.bound(wanted) is False:
            raise EvidenceError("the kernel's report carries other report data than was asked for")
        return found

    def _once(self, name: str, wanted: bytes) -> Evidence | None:
        """One report; None where somebody else wrote into the folder between the question and the answer."""
        read = self._folders.read
        self._folders.write(name, "inblob", wanted)
        before = read(name, "generation")
        data = _sized(read(name, "outblob"), "outblob")
        provider = read(name, "provider").decode("ascii", "replace").strip()
        auxiliary = self._auxiliary(name)
        if read(name, "generation") != before:
            return None
        return Evidence(provider or "unknown", data, auxiliary)

    def _auxiliary(self, name: str) -> bytes | None:
        try:
            data = self._folders.read(name, "auxblob")
        except BlockingIOError:
            raise
        except OSError:  # most providers have none, and the kernel says so in several ways
            return None
        return data[:MOST] or None

    def _leave(self, name: str) -> None:
        try:
            self._folders.remove(name)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise EvidenceError(f"the folder of the report cannot be removed: {_why(error)}") from None


def _read(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        pieces = []
        size = 0
        while size <= MOST and (piece := file.read(MOST + 1 - size)):
            pieces.append(piece)
            size += len(piece)
    return b"".join(pieces)


def _sized(data: bytes, name: str) -> bytes:
    if not data:
        raise EvidenceError(f"{name} is empty")
    if len(data) > MOST:
        raise EvidenceError(f"{name} has more than {MOST} bytes")
    return data


def _why(error: OSError) -> str:
    return error.strerror or str(error)
