"""The entrance: `make help` tells the targets, a missing Python gets a sentence, CI runs what people run."""

import os
import re
import subprocess
from pathlib import Path

import pytest


def _make(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # A `make test` above would hand its own flags down.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=root, env=env, capture_output=True, text=True, check=False)


def test_make_alone_lists_every_target(root: Path) -> None:
    declared = re.search(r"^\.PHONY: (.+)$", (root / "Makefile").read_text(), re.MULTILINE)
    listing = _make(root).stdout

    assert declared
    assert {line.split()[0] for line in listing.splitlines()[1:]} == set(declared[1].split())


@pytest.mark.parametrize("python", ["false", "no-such-python"])
def test_a_python_that_is_missing_or_too_old_gets_a_sentence(root: Path, tmp_path: Path, python: str) -> None:
    answer = _make(root, "run", f"PYTHON={python}", f"VENV={tmp_path / 'env'}")

    assert answer.returncode != 0
    assert "Sealgate needs Python 3.11 or newer" in answer.stdout
    assert "make run PYTHON=" in answer.stdout
    assert not (tmp_path / "env").exists()


def test_a_folder_that_cannot_hold_the_environment_gets_a_sentence(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    answer = _make(root, "run", f"VENV={tmp_path / 'file' / 'env'}")

    assert answer.returncode != 0
    assert "could not be made; the lines above say why" in answer.stdout
    assert "make run VENV=" in answer.stdout


def test_ci_runs_the_three_targets_in_order(root: Path) -> None:
    script = root / ".ci" / "run"

    assert os.access(script, os.X_OK)
    assert re.findall(r"^step ([\w-]+)$", script.read_text(), re.MULTILINE) == ["check", "test", "test-all"]
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md"])
def test_pages_name_only_targets_that_exist(root: Path, page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^ *\$? *)make ([a-z-]+)", (root / page).read_text(), re.MULTILINE))

    assert named <= targets
