"""``sealgate init``: a commented file in which nothing is set, and which works."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sealgate import config
from sealgate.cli import app


def test_the_file_is_written_and_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["init"])
    assert result.exit_code == 0
    assert "sealgate serve --config sealgate.toml" in result.stdout
    assert config.load(tmp_path / "sealgate.toml", environ={}) == config.Settings()


def test_a_file_of_any_name_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    assert str(file) in CliRunner().invoke(app, ["init", str(file)]).stdout.replace("\n", "")
    assert file.is_file()


def test_with_its_comments_taken_away_it_is_the_default_configuration(tmp_path: Path) -> None:
    """So the defaults that are shown are the defaults there are; ``""`` stands for what has none."""
    file = tmp_path / "sealgate.toml"
    CliRunner().invoke(app, ["init", str(file)])
    text = file.read_text()
    shown = text[: text.index("# A provider:")]
    bare = re.sub(r"^# (\w+ = (?!\"\"$).+)$", r"\1", shown, flags=re.MULTILINE)
    assert sum(len(table) for table in tomllib.loads(bare).values()) > 20
    file.write_text(bare)
    assert config.load(file, environ={}) == config.Settings()


def test_the_example_works_once_its_key_is_there(tmp_path: Path) -> None:
    file = tmp_path / "sealgate.toml"
    CliRunner().invoke(app, ["init", str(file)])
    text = file.read_text()
    example = text[text.index("# A provider:") :]
    file.write_text(
        "\n".join(line.removeprefix("# ") for line in example.splitlines() if re.match(r"# \[|# \w+ =", line))
    )
    settings = config.load(file, environ={"ACME_KEY": "k"})
    assert settings.models["gemma-4-31b"].routes[0].provider == "acme"


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "sealgate.toml"
    file.write_text("mine")
    result = CliRunner().invoke(app, ["init", str(file)])
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert file.read_text() == "mine"


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["init", str(tmp_path / "none" / "sealgate.toml")])
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
