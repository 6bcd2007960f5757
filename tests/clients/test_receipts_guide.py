"""``docs/guides/receipts.md`` as a reader runs it: its programs with the official SDK, its commands, what it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import Serve, Threaded
from typer.testing import CliRunner

from sealgate.cli import app
from sealgate.config import Provider

GUIDE = (Path(__file__).parents[2] / "docs/guides/receipts.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
            for line in block.splitlines()]  # fmt: skip
SHOWN = re.findall(r"^(PASS|----)  (\w+)", GUIDE, re.MULTILINE)


@pytest.fixture
def read(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the guide's programs leave behind, run one after the other in an empty folder."""
    monkeypatch.chdir(tmp_path)
    with serve.in_thread({"sandbox": Provider(kind="sandbox")}, {"sandbox": ["sandbox"]}) as gateway:
        monkeypatch.setenv("OPENAI_BASE_URL", gateway.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", gateway.key)
        names: dict[str, Any] = {}
        for program in PROGRAMS:
            exec(compile(program, "receipts.md", "exec"), names)
        names["client"].close()
        yield gateway


def test_the_guides_programs_recompute_what_was_signed_and_its_command_checks_it(read: Threaded) -> None:
    assert len(PROGRAMS) == 3
    [fetch] = [line for line in COMMANDS if line.startswith("curl")]
    [check] = [line for line in COMMANDS if line.startswith("sealgate verify")]
    assert "/.well-known/jwks.json" in fetch
    key_set = read.run(read.running.get("/.well-known/jwks.json", {}))
    Path("jwks.json").write_bytes(key_set.body)
    result = CliRunner().invoke(app, shlex.split(check)[1:])
    assert result.exit_code == 0, result.output
    assert re.findall(r"^(PASS|----)  (\w+)", result.stdout, re.MULTILINE) == SHOWN


def test_the_guides_other_commands_exist() -> None:
    for line in COMMANDS:
        if line.startswith("sealgate signing-keys"):
            assert CliRunner().invoke(app, [*shlex.split(line)[1:3], "--help"]).exit_code == 0
