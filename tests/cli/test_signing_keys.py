"""``sealgate signing-keys`` as an operator uses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sealgate.cli.signing_keys import app
from sealgate.receipts.keys import FOLDER


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "sealgate.toml"
    file.write_text(f'[storage]\ndata_dir = "{tmp_path / "data"}"\n')
    return file


def run(config: Path, *arguments: str, fails: bool = False) -> Result:
    result = CliRunner().invoke(app, [*arguments, "--config", str(config)])
    assert result.exit_code == int(fails), result.output
    return result


def test_keys_are_made_rotated_listed_and_revoked(config: Path, tmp_path: Path) -> None:
    """The first one signs at once; the next one waits; revoking the first lets it sign."""
    assert "makes one" in run(config, "list").stderr
    first = run(config, "rotate").stdout.strip()
    second = run(config, "rotate").stdout.strip()
    assert [line.split()[:2] for line in run(config, "list").stdout.splitlines()] == [
        [first, "active"], [second, "next"],
    ]  # fmt: skip
    assert {file.stem for file in (tmp_path / "data" / FOLDER).iterdir()} == {first, second}
    assert "is waiting already" in run(config, "rotate", fails=True).stderr
    said = run(config, "revoke", first).stderr
    assert f"{second} signs from now on" in said
    assert [line.split()[:2] for line in run(config, "list").stdout.splitlines()] == [
        [first, "revoked"], [second, "active"],
    ]  # fmt: skip


def test_an_unknown_key_cannot_be_revoked(config: Path) -> None:
    assert "records no signing key x" in run(config, "revoke", "x", fails=True).stderr
