"""The evidence of a running gateway: what its receipts name, and what is told to those who ask.

Evidence for the statement without a nonce is collected once and kept until the keys or the source change. A nonce is
bound to a report of its own, one at a time and not more often than once in `INTERVAL` seconds: anybody may ask.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealgate.config import Attestation, Settings
from sealgate.errors import ConfigError
from sealgate.receipts import attestation
from sealgate.receipts.attestation import Evidence, EvidenceError, File, Folders, Keys, Mode, Nothing, Source, Tsm
from sealgate.receipts.watch import ended, repeat

POLL_SECONDS = 5.0
INTERVAL = 1.0
"""Seconds between two reports for nonces."""


class BusyError(Exception):
    """A report for another nonce is being made, or was made just now."""


class Shown(NamedTuple):
    """A statement, and the evidence there is for it."""

    mode: Mode
    statement: bytes
    evidence: Evidence | None = None
    fresh: bool = True

    @property
    def report_data(self) -> bytes:
        return attestation.report_data(self.statement)

    @property
    def bound(self) -> bool | None:
        """Whether the evidence carries the report data; None: there is none, or its form is not read here."""
        return None if self.evidence is None else self.evidence.bound(self.report_data)

    @property
    def claim(self) -> Mapping[str, str] | None:
        """What receipts say. The statement is named only where the evidence was made for it or is seen to carry it."""
        if self.evidence is None:
            return None
        found = {"type": self.evidence.type, "evidence_sha256": self.evidence.sha256}
        if self.fresh or self.bound:
            found["statement_sha256"] = hashlib.sha256(self.statement).hexdigest()
        return found


class Attester:
    """Of one process. ``keys`` gives what a statement binds, ``certificate`` is the file with the server's own."""

    def __init__(
        self,
        keys: Callable[[], Keys],
        certificate: str | None = None,
        *,
        folders: Folders | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.claim: Mapping[str, str] | None = None
        """What a receipt says that begins now."""
        self._keys = keys
        self._certificate = certificate
        self._folders = folders or Folders()
        self._clock = clock
        self._source: Source = Nothing()
        self._spki: str | None = None
        self._standing: Shown | None = None
        self._mark: object = None
        self._asked = self._tried = -math.inf
        self._making = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None

    async def configure(self, settings: Settings) -> None:
        """Take a source into use, now and after a reload. Raises `ConfigError` where it has no evidence to give."""
        source, spki = source_of(settings.attestation, self._folders), certificate_key(self._certificate)
        said = self._statement(None, spki)
        mark = await asyncio.to_thread(source.mark)
        try:
            found = await _collected(source, said)
        except EvidenceError as error:
            raise ConfigError(f"attestation.mode is {source.mode}, and there is no evidence: {error}") from None
        self._source, self._spki = source, spki
        self._keep(found, mark)

    def start(self) -> None:
        """Begin to watch for other keys and other evidence."""
        self._watcher = asyncio.create_task(
            repeat(self.refresh, POLL_SECONDS, "attestation_unavailable"), name="attestation-poll"
        )

    async def aclose(self) -> None:
        """Stop watching."""
        await ended(self._watcher)
        self._watcher = None

    async def shown(self, nonce: str | None = None) -> Shown:
        """The statement with this nonce (hex) and its evidence. Raises `BusyError`, `EvidenceError`.

        Evidence that was made beforehand can bind no nonce; then the statement has none.
        """
        if nonce is None or not self._source.fresh:
            await self.refresh()
            if self._standing is None:
                raise EvidenceError("there is none at the moment")
            return self._standing
        said = self._statement(nonce, self._spki)
        if self._source.mode == "none":
            return Shown("none", said)
        if self._making.locked() or self._clock() - self._asked < INTERVAL:
            raise BusyError
        async with self._making:
            self._asked = self._clock()
            return await _collected(self._source, said)

    async def refresh(self) -> None:
        """Collect again where the keys or the source have changed. Raises `EvidenceError`."""
        if self._is_current():
            return
        async with self._making:
            if self._is_current():
                return
            if self._clock() - self._tried < INTERVAL:
                raise EvidenceError("there is none at the moment")
            self._tried = self._clock()
            self._standing = self.claim = None  # a receipt of this moment names nothing that may be gone
            source, said = self._source, self._statement(None, self._spki)
            mark = source.mark()
            found = await _collected(source, said)
            if source is self._source:
                self._keep(found, mark)

    def _is_current(self) -> bool:
        standing = self._standing
        if standing is None or standing.statement != self._statement(None, self._spki):
            return False
        return self._mark == self._source.mark()

    def _keep(self, found: Shown, mark: object) -> None:
        self._standing, self._mark, self.claim = found, mark, found.claim

    def _statement(self, nonce: str | None, spki: str | None) -> bytes:
        return attestation.statement(self._keys()._replace(tls_spki_sha256=spki), nonce)


async def _collected(source: Source, said: bytes) -> Shown:
    evidence = await asyncio.to_thread(source.collect, attestation.report_data(said))
    return Shown(source.mode, said, evidence, source.fresh)


def source_of(wanted: Attestation, folders: Folders) -> Source:
    """Where evidence comes from under this configuration."""
    if wanted.mode == "tsm":
        return Tsm(folders)
    return Nothing() if wanted.file is None else File(Path(wanted.file))


def certificate_key(file: str | None) -> str | None:
    """The SHA-256, hex, of the public key in the server's certificate; None without one. Raises `ConfigError`."""
    if file is None:
        return None
    from cryptography import x509  # a long import, only for those who end TLS here

    try:
        found = x509.load_pem_x509_certificate(Path(file).read_bytes())
    except OSError as error:
        raise ConfigError(f"server.tls_cert names the file {file}, which cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"server.tls_cert {file} holds no certificate in PEM form") from None
    spki = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()
