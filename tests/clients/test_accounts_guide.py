"""``docs/guides/accounts.md`` as a reader runs it: every command works, and the answers are those that are shown."""

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

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "accounts.md"
BLOCK = re.compile(r"```(sh|json)\n(.*?)```", re.DOTALL)
END = "-- end of the block --"
OWN = {"id", "key", "key_prefix", "created_at"}
"""What is another one each time."""


def masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: "…" if name in OWN else masked(inner) for name, inner in value.items()}
    return [masked(each) for each in value] if isinstance(value, list) else value


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_guides_commands_do_what_it_shows(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here to run the guide with")
    blocks = BLOCK.findall(GUIDE.read_text())
    commands = [text for kind, text in blocks if kind == "sh"]
    with served(tmp_path) as gateway:
        script = f"echo {END}\n".join(commands).replace("http://127.0.0.1:3000", gateway.url)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
            env={**os.environ, "PATH": path, "SEALGATE_KEY": gateway.key},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.split(END)
    assert len(said) == len(commands)
    answers = iter(said)
    answer = ""
    compared = 0
    for kind, text in blocks:
        if kind == "sh":
            answer = next(answers)
        else:
            assert masked(json.loads(answer)) == masked(json.loads(text))
            compared += 1
    assert compared == 5
    trail = json.loads(said[-1][said[-1].index("[{") :])
    assert [each["action"] for each in trail if each["actor"]["kind"] == "key"] == [
        "key.created", "key.created", "key.default_set", "key.revoked",
    ]  # fmt: skip
    assert "key.revoked" in said[-1].partition("[{")[0]
