"""``sealgate verify receipt`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.receipts import golden
from typer.testing import CliRunner

from sealgate.cli import app

WHOLE = golden.FINAL[0]


@pytest.fixture
def jwks(tmp_path: Path) -> str:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(golden.key_set()))
    return str(file)


def test_a_receipt_on_standard_input_is_checked(jwks: str) -> None:
    result = CliRunner().invoke(app, ["verify", "receipt", "-", "--jwks", jwks], input=WHOLE["jws"])
    assert result.exit_code == 0
    assert "PASS: L0 signed" in result.stdout


def test_the_exit_code_says_what_came_of_it(jwks: str, tmp_path: Path) -> None:
    file = tmp_path / "receipt.txt"
    file.write_text(WHOLE["jws"])
    arguments = ["verify", "receipt", str(file), "--jwks", jwks]
    assert CliRunner().invoke(app, [*arguments, "--nonce", "another"]).exit_code == 1
    assert CliRunner().invoke(app, arguments[:3]).exit_code == 2


def test_the_help_names_what_else_may_be_checked() -> None:
    shown = CliRunner().invoke(app, ["verify", "receipt", "--help"], env={"COLUMNS": "200"}).stdout
    assert all(option in shown for option in ("--jwks", "--request", "--response", "--proof", "--policy"))
