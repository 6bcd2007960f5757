"""What a receipt says of the software: reproducible, and without secrets."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import sealgate
from sealgate.config import Model, Provider, Route, Secret, Settings
from sealgate.receipts import software


def settings(**provider: object) -> Settings:
    fields = {"kind": "openai", "api_key": (Secret("sk-1"),), "base_url": "https://me:pw@llm.example/v1", **provider}
    return Settings(
        providers={"acme": Provider(**fields)},  # type: ignore[arg-type]
        models={"m": Model(routes=(Route(provider="acme", model="x"),))},
    )


def test_the_policy_has_no_secret_in_it() -> None:
    text = repr(software.policy(settings(proxy="http://me:pw@proxy.example")))
    assert "https://llm.example/v1" in text
    assert all(secret not in text for secret in ("sk-1", "pw", "proxy.example"))


def test_the_digest_follows_the_policy_and_not_the_credentials() -> None:
    first = software.of(settings())
    assert software.of(settings(api_key=(Secret("sk-2"),))) == first
    assert software.of(settings(region="eu")).config != first.config


def test_the_build_is_the_installed_files() -> None:
    root = Path(sealgate.__file__).parent
    hashes = {file.relative_to(root).as_posix(): sha256(file.read_bytes()).hexdigest() for file in root.rglob("*.py")}
    assert software.build() == software.fingerprint(hashes)
