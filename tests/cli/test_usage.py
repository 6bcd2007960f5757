"""``sealgate usage`` as an operator uses it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from tests.limits.test_reports import served
from typer.testing import CliRunner

from sealgate.cli import app
from sealgate.limits.ledger import row
from sealgate.storage import open_storage
from sealgate.storage.tables import ledger

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usage")
    storage = open_storage(f"sqlite:///{folder}/data/sealgate.db")
    entries = [
        served(0, 1_500_000, key_id="k1"),
        served(1, 2_500_000, key_id="k1", end_user="zoë"),
        served(5, 10**9, customer_id="other", model='=cmd("calc")'),
        served(6, None, customer_id="other", model="[bold]unpriced"),
    ]

    async def fill() -> None:
        for each in entries:
            await storage.append(ledger, row(each))

    asyncio.run(fill())
    storage.close()
    file = folder / "sealgate.toml"
    file.write_text(f'[storage]\ndata_dir = "{folder}/data"\n')
    return file


@pytest.fixture
def run(config: Path) -> Run:
    def invoke(*arguments: str, fails: bool = False) -> Result:
        result = CliRunner().invoke(app, ["usage", *arguments, "--config", str(config)])
        assert result.exit_code == int(fails), result.output
        return result

    return invoke


def test_json_has_every_sum_exactly(run: Run) -> None:
    found = json.loads(run("--format", "json").stdout)
    assert found == [
        {"model": '=cmd("calc")', "requests": 1, "prompt_tokens": 10, "completion_tokens": 1, "cost": "1",
         "currency": "USD"},
        {"model": "m", "requests": 2, "prompt_tokens": 20, "completion_tokens": 2, "cost": "0.004", "currency": "USD"},
        {"model": "[bold]unpriced", "requests": 1, "prompt_tokens": 10, "completion_tokens": 1, "cost": None,
         "currency": "USD"},
    ]  # fmt: skip


def test_one_customer_and_a_span_can_be_asked_for(run: Run) -> None:
    def total(*arguments: str) -> int:
        return sum(each["requests"] for each in json.loads(run("--format", "json", *arguments).stdout))

    assert total("--customer", "acme") == 2
    assert total("--from", "2023-11-15") == 2
    assert total("--to", "2023-11-14T06:00Z") == 1
    assert total("--customer", "nobody") == 0


@pytest.mark.parametrize(("by", "names"), [
    ("key", ["k1", None]), ("day", ["2023-11-15", "2023-11-14"]), ("user", [None, "zoë"]),
])  # fmt: skip
def test_lines_are_about_what_was_asked_for(run: Run, by: str, names: list[str | None]) -> None:
    found = json.loads(run("--format", "json", "--group-by", by).stdout)
    assert sorted(str(each[by]) for each in found) == sorted(map(str, names))


def test_row_k8_no_cell_of_the_csv_is_a_formula(run: Run) -> None:
    rows = list(csv.reader(io.StringIO(run("--format", "csv").stdout)))
    assert rows[0] == ["model", "requests", "prompt_tokens", "completion_tokens", "cost", "currency"]
    assert rows[1] == ['\'=cmd("calc")', "1", "10", "1", "1", "USD"]
    assert rows[3][4] == ""


def test_the_table_shows_names_as_they_are(run: Run) -> None:
    text = run().stdout
    assert "[bold]unpriced" in text
    assert "0.004" in text
    assert "Nothing was used" in run("--customer", "nobody").output


def test_what_is_no_date_and_no_group_is_refused(run: Run) -> None:
    assert "--from soon" in run("--from", "soon", fails=True).output
    assert CliRunner().invoke(app, ["usage", "--group-by", "cost"]).exit_code == 2
