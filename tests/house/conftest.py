"""What the house tests look at: the root, the source as syntax trees, and the files that belong to the repository."""

import ast
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOUSE = ROOT / "src" / "sealgate"


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def sources() -> dict[str, ast.Module]:
    """Every module of src/sealgate, by its path from there."""
    return {path.relative_to(HOUSE).as_posix(): ast.parse(path.read_text()) for path in sorted(HOUSE.rglob("*.py"))}


@pytest.fixture(scope="session")
def belongings() -> list[Path]:
    """Files that are in the repository or would be added to it; everything below the root where there is no git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
        paths = [ROOT / name for name in listing.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if not _hidden(path)]
    return sorted(path for path in paths if path.is_file())


@pytest.fixture(scope="session")
def rooms() -> ModuleType:
    """scripts/rooms.py, which writes the table that these tests check."""
    spec = importlib.util.spec_from_file_location("rooms", ROOT / "scripts" / "rooms.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _hidden(path: Path) -> bool:
    """Environments, caches and version control, where no git says what belongs."""
    parts = path.relative_to(ROOT).parts
    return "__pycache__" in parts or any(part.startswith(".") for part in parts)
