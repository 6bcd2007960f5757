"""``sealgate models``: what the gateway would offer, without starting it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sealgate.cli import app

CONFIG = """
[server]
discover = false
[providers.acme]
kind = "openai"
base_url = "https://llm.acme.example/v1"
api_key = "canary-key"
region = "eu"
[providers.home]
kind = "vllm"
base_url = "http://127.0.0.1:9/v1"
[models."gemma-4-31b"]
aliases = ["gemma4"]
routes = [{ provider = "acme", model = "g" }, { provider = "home", model = "g" }]
[models.bge]
type = "embedding"
routes = [{ provider = "home", model = "bge" }]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "sealgate.toml"
    found.write_text(CONFIG)
    return found


def test_models_as_one_json_document(file: Path) -> None:
    result = CliRunner().invoke(app, ["models", "--config", str(file), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [
        {
            "model": "gemma-4-31b", "type": "chat", "routes": ["eu/acme/gemma-4-31b", "global/home/gemma-4-31b"],
            "aliases": ["gemma4"],
        },
        {"model": "bge", "type": "embedding", "routes": ["global/home/bge"], "aliases": []},
    ]  # fmt: skip


def test_models_as_a_table(file: Path) -> None:
    text = CliRunner().invoke(app, ["models", "--config", str(file)]).stdout
    for word in ("gemma-4-31b", "eu/acme/gemma-4-31b", "gemma4", "embedding", "acme::MODEL, home::MODEL"):
        assert word in text
    assert "canary-key" not in text


def test_without_a_configuration_there_is_the_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sealgate.toml").write_text("[server]\ndiscover = true\n")
    found = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    assert {"model": "sandbox", "type": "chat", "routes": ["local/sandbox/sandbox"], "aliases": []} in found


def test_a_configuration_that_cannot_work_is_said(file: Path) -> None:
    file.write_text(CONFIG.replace('kind = "vllm"', 'kind = "vlm"'))
    result = CliRunner().invoke(app, ["models", "--config", str(file)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "did you mean 'vllm'?" in result.stderr
