"""The key that signs a log's checkpoints, and the log that goes by it.

Made once, with the log itself, and kept in a file of its own beside the signing keys; replicas share it. The database
records its public half, so a missing file is noticed at the start instead of made anew: with two keys it is two logs.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealgate.errors import ConfigError
from sealgate.formats import note
from sealgate.receipts import log_rows as rows
from sealgate.receipts.log_rows import LogRow
from sealgate.storage import Storage, secretfile

FOLDER = "log-keys"
_WHAT = "log key file"


class Identity(NamedTuple):
    """A log and the key that speaks for it."""

    log: LogRow
    private: Ed25519PrivateKey

    def sign(self, text: str) -> str:
        """A note with this text and the log's signature."""
        return str(note.Note(text, [note.sign(self.log.origin, self.private, text)]))


async def identify(storage: Storage, data_dir: Path, origin: str | None, issuer: str) -> Identity:
    """The configured log, or without a name the latest one; begun now where there is none.

    Raises `ConfigError` where the key that the database records is not at hand, `StorageError`.
    """
    find = rows.latest if origin is None else partial(rows.by_origin, origin=origin)
    found = await storage.read(find)
    if found is None:
        name = origin or named_after(issuer)
        vkey = make(data_dir / FOLDER, name)
        begin = partial(rows.begin, origin=name, vkey=str(vkey), now=time.time_ns() // 1000)
        found = await storage.write(begin)
    return Identity(found, read(data_dir / FOLDER, note.key(found.vkey)))


def named_after(issuer: str) -> str:
    """The name of the log of a gateway at this address."""
    return f"{urlsplit(issuer).netloc or 'sealgate'}/receipts"


def make(folder: Path, name: str) -> note.Key:
    """A new key; its file is written. Raises `ConfigError`."""
    private = Ed25519PrivateKey.generate()
    public = note.public(name, note.LOG, private)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    secretfile.make(folder / f"{public.id.hex()}.pem", pem, _WHAT)
    return public


def read(folder: Path, public: note.Key) -> Ed25519PrivateKey:
    """The private half of a log's key. Raises `ConfigError` with what to do."""
    file = folder / f"{public.id.hex()}.pem"
    if not file.exists():
        raise ConfigError(
            f"the database records the log {public.name}, but there is no {_WHAT} {file}: put it back from a backup or "
            "share it between replicas; if it is lost for good, begin another log with another receipts.log.origin"
        )
    private = private_key(file, _WHAT)
    if private.public_key().public_bytes_raw() != public.public:
        raise ConfigError(f"the {_WHAT} {file} holds another key than the log {public.name} has")
    return private


def private_key(file: Path, what: str) -> Ed25519PrivateKey:
    """The Ed25519 key in a PEM file. Raises `ConfigError`."""
    text = secretfile.read(file, what)
    try:
        private = serialization.load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"the {what} {file} holds no key: {error}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"the {what} {file} holds no Ed25519 key")
    return private
