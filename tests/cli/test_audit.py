"""``sealgate audit`` as an operator uses it."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sealgate.cli import app

OSIRIS = "sk-osiris-00c1d2e3f405162738495a6b7c8d9e0f"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    file = tmp_path / "sealgate.toml"
    file.write_text(f'[storage]\ndata_dir = "{tmp_path}/data"\n')

    def invoke(*arguments: str, stdin: str | None = None, fails: bool = False) -> Result:
        result = CliRunner().invoke(app, [*arguments, "--config", str(file)], input=stdin)
        assert result.exit_code == int(fails), result.output
        return result

    return invoke


def trail(run: Run, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("audit", "--json", *options).stdout)
    return found


def test_what_an_operator_does_is_recorded_with_the_name_of_the_account(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "mallory")
    monkeypatch.setenv("LOGNAME", "mallory")
    made = json.loads(run("keys", "create", "--name", "ci", "--customer", "acme", "--json").stdout)
    run("keys", "import", "--name", "old", "--customer", "acme", stdin=OSIRIS)
    run("keys", "default", "old", "--customer", "acme")
    run("keys", "revoke", "ci")
    run("keys", "revoke", "ci")

    found = trail(run)
    assert [(each["action"], each["customer"]) for each in found] == [
        ("customer.created", "acme"), ("key.created", "acme"), ("key.imported", "acme"), ("key.default_set", "acme"),
        ("key.revoked", "acme"),
    ]  # fmt: skip
    me = {"kind": "cli", "id": pwd.getpwuid(os.getuid()).pw_name}
    assert all(each["actor"] == me for each in found)
    assert found[-1]["object"] == made["id"]
    assert made["key"] not in str(found)
    assert OSIRIS not in str(found)


def test_the_trail_is_narrowed(run: Run) -> None:
    for name in ("a", "b"):
        run("keys", "create", "--name", name, "--customer", name)
    run("keys", "revoke", "a")

    assert [each["action"] for each in trail(run, "--customer", "a")] == [
        "customer.created", "key.created", "key.revoked",
    ]  # fmt: skip
    assert [each["detail"]["name"] for each in trail(run, "--action", "key.created")] == ["a", "b"]
    assert len(trail(run, "--action", "key")) == 3
    assert [each["action"] for each in trail(run, "--limit", "1")] == ["key.revoked"]
    assert len(trail(run, "--since", "1h")) == 5
    assert trail(run, "--since", "2999-01-01") == []


def test_people_get_a_table_and_nothing_where_there_is_nothing(run: Run) -> None:
    assert "Nothing is recorded" in run("audit").stderr
    run("keys", "create", "--name", "[bold]ci")

    shown = run("audit").stdout
    assert "key.created" in shown
    assert "[bold]ci" in shown


def test_an_act_or_a_time_that_does_not_exist_is_refused(run: Run) -> None:
    assert "key.revoked" in run("audit", "--action", "key.sold", fails=True).stderr
    assert "--since" in run("audit", "--since", "yesterday", fails=True).stderr
