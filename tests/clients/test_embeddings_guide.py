"""``docs/guides/embeddings.md`` as a reader writes it into a configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sealgate import config
from sealgate.relay.catalog import build

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "embeddings.md").read_text(encoding="utf-8")
TABLES = re.compile(r"```toml\n(.*?)```", re.DOTALL)


def test_the_guides_configurations_are_such_and_their_models_are_for_embeddings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACME_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "secret")
    tables = TABLES.findall(GUIDE)
    assert len(tables) == 2
    for table in tables:
        path = tmp_path / "sealgate.toml"
        path.write_text(table)
        loaded = config.load(path)
        assert {model.type for model in loaded.models.values()} == {"embedding"}
        for name in loaded.models:
            [route] = build(loaded).resolve(name).routes
            assert "embeddings" in route.account.kind.wires
