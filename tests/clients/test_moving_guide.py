"""``docs/guides/moving.md`` as a reader runs it: the file it shows becomes the one it shows, and its keys are taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.clients.guides import Guide, shell

GUIDE = Guide("moving")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_guides_file_becomes_what_it_shows_and_its_keys_are_taken(tmp_path: Path) -> None:
    if shutil.which("openssl") is None or shutil.which("sha256sum") is None:
        pytest.skip("the guide's commands for keys need openssl and sha256sum")
    (tmp_path / "config.yaml").write_text(GUIDE.of("yaml")[0])
    commands = "".join(GUIDE.of("sh")).replace("pip install", "true")
    done = shell(commands, tmp_path, AZURE_KEY_EU="x", OPENAI_API_KEY="x")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sealgate.toml").read_text() == GUIDE.of("toml")[0]
    assert GUIDE.of("text")[0] in done.stderr
    for word in ("global/azure/gpt-4o", "global/openai/gpt-4o", "gpt-4", "reports", "acme", "tr-", "sk-osiris-"):
        assert word in done.stdout
    assert done.stdout.count("moved-") == 3
