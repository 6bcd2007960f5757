"""``sealgate import``: a file of another gateway becomes ours, nothing is lost unsaid, and no key is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sealgate import config
from sealgate.cli import app

SAMPLES = Path(__file__).parent / "moving" / "samples"
SECRETS = ("sk-canary-in-plain-text-0123456789", "sk-lf-canary", "sk-1234", "u:p@h")


def run(*arguments: str | Path, fails: bool = False) -> Result:
    result = CliRunner().invoke(app, ["import", *map(str, arguments)])
    assert result.exit_code == int(fails), result.output
    return result


def document(result: Result) -> Any:
    assert result.stderr == ""
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", ["litellm.yaml", "tensorzero.toml"])
def test_the_file_is_the_golden_one_and_serves_its_models(name: str, tmp_path: Path) -> None:
    output = tmp_path / "sealgate.toml"
    found = document(run(SAMPLES / name, "--output", output, "--json"))
    golden = SAMPLES / f"{Path(name).stem}.golden"
    assert output.read_text() == golden.read_text()
    settings = config.load(output, environ=dict.fromkeys(found["variables"], "x"))
    assert list(settings.models) == found["models"]
    assert list(settings.providers) == found["providers"]
    listed = CliRunner().invoke(
        app, ["models", "--config", str(output), "--json"], env=dict.fromkeys(found["variables"], "x")
    )
    assert [each["model"] for each in json.loads(listed.stdout)] == found["models"]


@pytest.mark.parametrize("name", ["litellm.yaml", "tensorzero.toml"])
def test_the_report_for_people_names_all_that_is_not_carried(name: str, tmp_path: Path) -> None:
    found = document(run(SAMPLES / name, "--output", tmp_path / "a.toml", "--json"))
    result = run(SAMPLES / name, "--output", tmp_path / "b.toml")
    assert result.stdout == ""
    for each in found["not_carried"]:
        assert f"    {each['key']}\n" in result.stderr
        assert f"- {each['reason']}\n" in result.stderr
    for note in found["notes"]:
        assert f"- {note}\n" in result.stderr


def test_no_secret_of_the_source_is_shown_or_written(tmp_path: Path) -> None:
    output = tmp_path / "sealgate.toml"
    people = run(SAMPLES / "litellm.yaml", "--output", output)
    machines = run(SAMPLES / "litellm.yaml", "--output", tmp_path / "b.toml", "--json")
    for secret in SECRETS:
        assert secret in (SAMPLES / "litellm.yaml").read_text()
        assert secret not in people.output + machines.output + output.read_text()


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "sealgate.toml"
    output.write_text("mine")
    result = run(SAMPLES / "litellm.yaml", "--output", output, fails=True)
    assert "exists already and is left as it is" in result.stderr
    assert output.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.json", "{}", "ends in .yaml or .yml, one of TensorZero in .toml"),
        ("a.yaml", "model_list: []\nx: {", "is not valid YAML at line"),
        ("a.yaml", "a: 1", "has no models as LiteLLM writes them"),
        ("a.toml", "[server]\nport = 1", "has no models as TensorZero writes them"),
        ("a.toml", "a = ", "is not valid TOML"),
        ("a.yaml", "- 1", "holds no settings"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(name: str, text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    result = run(tmp_path / name, "--output", tmp_path / "out.toml", fails=True)
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out.toml").exists()


def test_a_file_that_is_not_there_or_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in run(tmp_path / "no.yaml", fails=True).stderr
    result = run(SAMPLES / "litellm.yaml", "--output", tmp_path / "no" / "out.toml", fails=True)
    assert "cannot be written: No such file" in result.stderr


def test_an_address_of_the_source_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "model_list: [{model_name: m, litellm_params: {model: azure/d, api_base: os.environ/ACME_BASE, "
        "api_key: os.environ/ACME_KEY}}]"
    )
    monkeypatch.setenv("ACME_BASE", "https://acme.openai.azure.com")
    monkeypatch.setenv("ACME_KEY", "canary-of-the-environment")
    run(file, "--output", tmp_path / "set.toml")
    assert 'base_url = "https://acme.openai.azure.com"' in (tmp_path / "set.toml").read_text()
    assert "canary-of-the-environment" not in (tmp_path / "set.toml").read_text()
    monkeypatch.delenv("ACME_BASE")
    said = run(file, "--output", tmp_path / "unset.toml").stderr
    assert "Set base_url of [providers.azure]" in said
    assert "the variable is not set where this was converted\n    model_list[0].litellm_params.api_base" in said
