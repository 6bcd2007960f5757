"""What a receipt says of the software: a digest of the installed files, and one of the routing policy in effect.

Both are plain SHA-256 over canonical JSON (RFC 8785), base64url: the files as ``{"path": "hex SHA-256", …}`` of every
``*.py`` below the package, the policy as `policy` gives it. They let two parties see that they mean the same; they do
not prove what ran.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sealgate import __version__
from sealgate.config import Settings
from sealgate.formats import canonical, jws
from sealgate.receipts.receipt import Software

_SECRET = ("api_key", "proxy", "ca_file", "client_cert", "evidence_url")
"""Settings of a provider that are secrets, may hold some, or are places on this machine."""


def of(settings: Settings) -> Software:
    """What runs, with this configuration."""
    return Software(__version__, build(), fingerprint(policy(settings)))


def fingerprint(value: Any) -> str:
    """The digest of a document's canonical form."""
    return jws.b64(hashlib.sha256(canonical.encode(value)).digest())


@cache
def build() -> str:
    """The digest of the files that are installed, as this process found them first."""
    root = Path(__file__).parent.parent
    files = sorted(root.rglob("*.py"))
    return fingerprint(
        {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    )


def policy(settings: Settings) -> Any:
    """What decides where requests go: providers without their secrets, models with their routes and prices."""
    providers = {
        name: {key: value for key, value in _plain(row).items() if key not in _SECRET}
        for name, row in settings.providers.items()
    }
    for row in providers.values():
        if row.get("base_url"):
            row["base_url"] = _without_user(row["base_url"])
    return {"models": {name: _plain(row) for name, row in settings.models.items()}, "providers": providers}


def _plain(row: Any) -> dict[str, Any]:
    """A table as JSON; a secret in it is named by its type alone."""
    found: dict[str, Any] = msgspec.to_builtins(row, enc_hook=repr)
    return found


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
