"""The small package ``sealgate-verify``: built, installed without the gateway, and run."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.receipts import golden

pytest.importorskip("uv", reason="the installer is in requirements/dev.lock, which `make test` installs")
pytest.importorskip("hatchling", reason="the build backend is in requirements/build.lock, which `make test` installs")

WHOLE = golden.FINAL[0]
OUTSIDE = {"cryptography"}
"""What it may import besides the standard library and itself."""


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which it was installed, and nothing of the gateway."""
    folder = tmp_path_factory.mktemp("verify")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=root / "packages/verify", capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    [wheel] = folder.glob("*.whl")
    site = folder / "site"
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-index", "--no-deps"]
    subprocess.run([*command, "--target", str(site), str(wheel)], check=True)
    return site


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In an interpreter that sees cryptography, but for which ``import sealgate`` fails."""
    program = (
        "import sys; sys.modules['sealgate'] = None; sys.path.insert(0, sys.argv.pop(1));"
        "from sealgate_verify.__main__ import main; main()"
    )
    command = [sys.executable, "-c", program, str(installed), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_checks_a_receipt_without_the_gateway(installed: Path, tmp_path: Path) -> None:
    contents = {"receipt": WHOLE["jws"], "jwks": json.dumps(golden.key_set()), "request": WHOLE["request"],
                "response": WHOLE["response"], "other": golden.FINAL[1]["response"]}  # fmt: skip
    for name, text in contents.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    given = [str(tmp_path / "receipt"), "--jwks", str(tmp_path / "jwks"), "--request", str(tmp_path / "request")]
    passed = run(installed, *given, "--response", str(tmp_path / "response"), "--nonce", "n-1")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "PASS: L0 signed" in passed.stdout
    failed = run(installed, *given, "--response", str(tmp_path / "other"))
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert run(installed, given[0]).returncode == 2


def test_it_holds_the_gateways_own_files_and_imports_nothing_else(root: Path, installed: Path) -> None:
    for file in (installed / "sealgate_verify").rglob("*.py"):
        name = file.relative_to(installed / "sealgate_verify")
        if len(name.parts) > 1:
            assert file.read_bytes() == (root / "src/sealgate" / name).read_bytes()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names.append(node.module or "")
            for each in names:
                assert each.split(".")[0] in sys.stdlib_module_names | OUTSIDE, f"{name} imports {each}"


def test_it_has_the_version_of_the_gateway(root: Path) -> None:
    versions = [
        tomllib.loads((root / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        for folder in (".", "packages/verify")
    ]
    assert versions[0] == versions[1]
