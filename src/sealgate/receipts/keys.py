"""The keys that sign receipts: made once, kept in files, rotated with an overlap, published as a JWK set.

The database holds the public half of each key and the moment from which it signs; the private half is a file of its
own in the data folder, which replicas share. Which key is which follows from the clock alone::

    next      its moment is still to come; it is published, so that caches know it before the first receipt
    active    the one whose moment came last
    retired   those before it; they stay published, so that old receipts can be checked
    revoked   ended by the operator; they stay published, marked
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import msgspec
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sealgate.errors import ConfigError, StorageError
from sealgate.formats import jws
from sealgate.receipts import log_rows, store
from sealgate.receipts.receipt import Signer, signer
from sealgate.receipts.store import KeyRow
from sealgate.receipts.watch import ended, repeat
from sealgate.storage import Storage, secretfile

FOLDER = "signing-keys"
MAX_AGE = 300
"""Seconds for which a copy of the key set may be used (`Cache-Control`)."""
OVERLAP = 2 * MAX_AGE
"""Seconds for which a new key is published before it signs."""
POLL_SECONDS = 5.0
_WHAT = "signing key"

Status = Literal["next", "active", "retired", "revoked"]

_log = structlog.get_logger("sealgate.receipts")


def statuses(rows: Sequence[KeyRow], now: int) -> dict[str, Status]:
    """Which key is which at that moment (unix microseconds), by ``kid``."""
    begun = [row for row in rows if row.revoked_at is None and row.active_from <= now]
    active = max(begun, key=lambda row: (row.active_from, row.kid), default=None)
    return {row.kid: _status(row, active, now) for row in rows}


def _status(row: KeyRow, active: KeyRow | None, now: int) -> Status:
    if row.revoked_at is not None:
        return "revoked"
    if row.active_from > now:
        return "next"
    return "active" if row is active else "retired"


class SigningKeys:
    """The keys of one running process. ``signer`` may be called from any thread."""

    def __init__(self, storage: Storage, data_dir: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._storage = storage
        self._folder = data_dir / FOLDER
        self._clock = clock
        self._rows: Sequence[KeyRow] = ()
        self._revision = -1
        self._revoked_at: Mapping[str, Mapping[str, int]] = {}
        self._signers: Sequence[tuple[int, Signer]] = ()
        self._poller: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Have a key to sign with: find those that are recorded, or make the first one where none ever was.

        Raises `ConfigError` where a key that is in use or comes next is not at hand: a new one in its place would look
        like somebody else's.
        """
        await self._refresh(strict=True)
        if not self._rows:
            await self._storage.write(partial(store.add_first, row=make(self._folder, self._now())))
            await self._refresh(strict=True)

    async def start(self) -> None:
        """Begin to watch for changes that others make."""
        await self._refresh()
        self._poller = asyncio.create_task(
            repeat(self._refresh, POLL_SECONDS, "signing_keys_unavailable"), name="signing-keys-poll"
        )

    async def aclose(self) -> None:
        """Stop watching."""
        await ended(self._poller)
        self._poller = None

    def signer(self) -> Signer:
        """The key that signs now. Raises `StorageError` where there is none at hand."""
        now = self._now()
        for active_from, found in self._signers:
            if active_from <= now:
                return found
        if self._signers:
            return self._signers[-1][1]  # the clock was set back to before the first of them began
        raise StorageError("no signing key is at hand")

    def jwks(self) -> dict[str, Any]:
        """The JWK set (RFC 7517) that receipts are checked with, the active key first."""
        return key_set(self._rows, self._now(), self._revoked_at)

    async def _refresh(self, *, strict: bool = False) -> None:
        revision, rows = await self._storage.read(store.all_keys)
        if revision == self._revision and not strict:
            return
        self._revoked_at = await self._storage.read(log_rows.revocations)
        self._signers = self._at_hand(rows, strict=strict)
        self._rows, self._revision = rows, revision

    def _at_hand(self, rows: Sequence[KeyRow], *, strict: bool) -> list[tuple[int, Signer]]:
        """Those that can sign, the latest moment first."""
        found: list[tuple[int, Signer]] = []
        states = statuses(rows, self._now())
        for row in sorted(rows, key=lambda row: (row.active_from, row.kid), reverse=True):
            if states[row.kid] == "revoked":
                continue
            try:
                found.append((row.active_from, signer(row.kid, read(self._folder, row.kid))))
            except ConfigError as error:
                if states[row.kid] == "retired":
                    continue  # its file may be gone: nothing is signed with it any more
                if strict:
                    raise
                _log.error("signing_key_unavailable", error=str(error))
        return found

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)


def key_set(
    rows: Sequence[KeyRow], now: int, revoked_at: Mapping[str, Mapping[str, int]] = MappingProxyType({})
) -> dict[str, Any]:
    """The keys as a JWK set with their states, for ``now`` in unix microseconds.

    ``revoked_at``: the entry that says so of a revoked key, by its ``kid`` and by log.
    """
    states = statuses(rows, now)
    order = ("active", "next", "retired", "revoked")
    found = sorted(rows, key=lambda row: (order.index(states[row.kid]), -row.active_from))
    return {
        "keys": [
            {**row.public, "kid": row.kid, "use": "sig", "alg": "ES256", "sealgate_status": states[row.kid]}
            | ({"sealgate_revoked_at": dict(revoked_at[row.kid])} if row.kid in revoked_at else {})
            for row in found
        ]
    }


def make(folder: Path, active_from: int) -> KeyRow:
    """A new key: its file is written, its row is not. Times are unix microseconds. Raises `ConfigError`."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = jws.jwk(key.public_key())
    kid = jws.thumbprint(public)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secretfile.make(folder / f"{kid}.pem", pem, f"{_WHAT} file")
    return KeyRow(kid=kid, public=public, created_at=int(time.time() * 1_000_000), active_from=active_from)


def read(folder: Path, kid: str) -> ec.EllipticCurvePrivateKey:
    """The private half of a key that the database records. Raises `ConfigError` with what to do."""
    file = folder / f"{kid}.pem"
    if not file.exists():
        raise ConfigError(
            f"the database records the {_WHAT} {kid}, but there is no file {file}: put it back from a backup or share "
            "it between replicas; if it is lost for good, end it with: sealgate signing-keys revoke " + kid
        )
    text = secretfile.read(file, f"{_WHAT} file")
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the {_WHAT} file {file} holds no key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or jws.thumbprint(jws.jwk(key.public_key())) != kid:
        raise ConfigError(f"the {_WHAT} file {file} holds another key than its name says")
    return key


async def rotate(storage: Storage, data_dir: Path, now: int, *, overlap: int = OVERLAP) -> KeyRow:
    """Make the next key; it signs once it has been published for ``overlap`` seconds. ``now``: unix microseconds.

    Raises `ConfigError` where one is waiting already, `StorageError`.
    """
    _, rows = await storage.read(store.all_keys)
    waiting = [kid for kid, status in statuses(rows, now).items() if status == "next"]
    if waiting:
        raise ConfigError(f"the {_WHAT} {waiting[0]} is waiting already to become the active one")
    row = make(data_dir / FOLDER, now + overlap * 1_000_000 if rows else now)
    await storage.write(partial(store.add, row=row))
    return row


async def revoke(storage: Storage, data_dir: Path, kid: str, now: int) -> KeyRow | None:
    """End a key for good, and return the one that signs at once in its place, where it was in use.

    Raises `ConfigError` for a key that the database does not record, `StorageError`.
    """
    _, rows = await storage.read(store.all_keys)
    states = statuses(rows, now)
    if kid not in states:
        raise ConfigError(f"the database records no {_WHAT} {kid}")
    successor: KeyRow | None = None
    if states[kid] == "active":
        waiting = [row for row in rows if states[row.kid] == "next"]
        successor = msgspec.structs.replace(waiting[0], active_from=now) if waiting else make(data_dir / FOLDER, now)
    await storage.write(partial(store.revoke, kid=kid, now=now, successor=successor))
    return successor
