"""``docs/guides/moving.md`` as a reader runs it: the file it shows becomes the one it shows, and its keys are taken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "moving.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_guides_file_becomes_what_it_shows_and_its_keys_are_taken(tmp_path: Path) -> None:
    if shutil.which("openssl") is None or shutil.which("sha256sum") is None:
        pytest.skip("the guide's commands for keys need openssl and sha256sum")
    (tmp_path / "config.yaml").write_text(blocks("yaml")[0])
    commands = "".join(blocks("sh")).replace("pip install", "true")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", commands], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PATH": path, "AZURE_KEY_EU": "x", "OPENAI_API_KEY": "x"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sealgate.toml").read_text() == blocks("toml")[0]
    assert blocks("text")[0] in done.stderr
    for word in ("global/azure/gpt-4o", "global/openai/gpt-4o", "gpt-4", "reports", "acme", "tr-", "sk-osiris-"):
        assert word in done.stdout
    assert done.stdout.count("moved-") == 3
