"""The pepper: the secret under every key digest, kept outside the database.

Whoever steals the database, or a backup of it, cannot even test guesses against it without the pepper. It is text of
at least 32 characters, used as its UTF-8 bytes: either given in the configuration (replicas share one that way), or
the content of the file ``pepper`` in the data folder, which the first start makes. The two are interchangeable: the
file's content may be given as the setting.

A lost pepper makes every key useless, so one is made only where the database records none, and a file is never
written over. What the database records is a fingerprint, from which the pepper cannot be had.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from functools import partial
from pathlib import Path

from sealgate.auth import records
from sealgate.config import Secret
from sealgate.errors import ConfigError
from sealgate.storage import Storage, secretfile

FILE = "pepper"
FINGERPRINT = "pepper_fingerprint"
"""Name of the `meta` row."""
MIN_CHARACTERS = 32


async def load_pepper(storage: Storage, data_dir: Path, secret: Secret | None = None) -> bytes:
    """The pepper that belongs to this database, made on first use.

    ``secret`` is the configured one; without it the file in ``data_dir`` counts. Raises `ConfigError` where the
    pepper is missing, unreadable, readable by others, too short, or not the one this database was begun with.
    """
    recorded = await storage.read(partial(records.noted, name=FINGERPRINT))
    file = data_dir / FILE
    if secret is not None:
        pepper = _checked(secret.reveal(), "auth.pepper")
    elif file.exists():
        pepper = _read(file)
    elif recorded is None:
        pepper = _make(file)
    else:
        raise ConfigError(
            f"the database holds keys made with a pepper, but there is none in {file}: "
            "put the file back or set auth.pepper, or no key can be checked"
        )
    if recorded is None:
        recorded = await storage.write(partial(records.note_once, name=FINGERPRINT, value=fingerprint(pepper)))
    if not hmac.compare_digest(recorded, fingerprint(pepper)):
        raise ConfigError(
            f"{file if secret is None else 'auth.pepper'} is not the pepper that this database's keys were made with"
        )
    return pepper


def fingerprint(pepper: bytes) -> str:
    """16 hex digits that tell peppers apart and give nothing of them away."""
    return hmac.digest(pepper, b"sealgate pepper fingerprint", "sha256").hex()[:16]


def _read(file: Path) -> bytes:
    return _checked(secretfile.read(file, "pepper file"), str(file))


def _checked(text: str, where: str) -> bytes:
    pepper = text.strip().encode()
    if len(pepper) < MIN_CHARACTERS:
        raise ConfigError(f"{where} is too short: a pepper has at least {MIN_CHARACTERS} characters drawn at random")
    return pepper


def _make(file: Path) -> bytes:
    """Write a new pepper of 32 random bytes; another process's counts where it was faster."""
    pepper = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=")
    return pepper if secretfile.make(file, pepper + b"\n", "pepper file") else _read(file)
