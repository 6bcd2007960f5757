"""``docs/guides/sessions.md`` as a reader runs it: every command works, and the answers are those that are shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.clients.served import served

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "sessions.md"
BLOCK = re.compile(r"```(sh|json)\n(.*?)```", re.DOTALL)
END = "-- end of the block --"
OWN = {
    "id", "request_id", "session_id", "receipt_id", "api_key_prefix", "created_at", "updated_at", "expires_at", "usage",
}  # fmt: skip
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
        done = subprocess.run(
            ["sh", "-eu", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
            env={**os.environ, "SEALGATE_KEY": gateway.key},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.split(END)
    shown = [text for kind, text in blocks if kind == "json"]
    assert len(said) == len(commands) == len(shown) == 6
    for real, text in zip(said, shown, strict=True):
        assert masked(json.loads(real)) == masked(json.loads(text))
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["session_id"] == json.loads(said[1])["session_id"]
