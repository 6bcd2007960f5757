"""``docs/guides/budgets.md`` as a reader runs it: every command works, and says what the guide shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.clients.served import served

from sealgate.config import load
from sealgate.config_tables import Retention

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "budgets.md"
BLOCK = re.compile(r"^```(sh|json|text|toml)\n(.*?)^```", re.DOTALL | re.MULTILINE)
END = "-- end of the block --"


def without_dates(value: Any) -> Any:
    """The period's end is another one each month."""
    return {name: "…" if name == "period_end" else each for name, each in value.items()}


def test_the_guide_shows_the_defaults(tmp_path: Path) -> None:
    settings = [text for kind, text in BLOCK.findall(GUIDE.read_text()) if kind == "toml"]
    for number, text in enumerate(settings):
        (tmp_path / f"{number}.toml").write_text(text)
    assert len(settings) == 2
    assert load(tmp_path / "1.toml").retention == Retention()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_guides_commands_do_what_it_shows(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here to run the guide with")
    blocks = BLOCK.findall(GUIDE.read_text())
    commands = [text for kind, text in blocks if kind == "sh"]
    (tmp_path / "sealgate.toml").write_text(next(text for kind, text in blocks if kind == "toml"))
    with served(tmp_path) as gateway:
        script = f"echo; echo '{END}'\n".join(commands).replace("http://127.0.0.1:3000", gateway.url)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
            env={**os.environ, "PATH": path},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = iter(done.stdout.split(END))
    answer, compared = "", 0
    for kind, text in blocks:
        if kind == "sh":
            answer = next(answers)
        elif kind == "json":
            assert without_dates(json.loads(answer)) == without_dates(json.loads(text))
        elif kind == "text":
            assert answer.strip() == text.strip()
        compared += kind in ("json", "text")
    assert compared == 5
    [cost] = re.findall(r"x-tresor-cost: (\S+)", GUIDE.read_text())
    assert json.loads((tmp_path / "answer.json").read_text())["tresor"]["cost"] == cost
