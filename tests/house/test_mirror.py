"""The tests mirror the source, name for name, so that a reader finds the test of a module without searching."""

from pathlib import Path

ELSEWHERE = {
    "house": "rules about the repository itself",
    "conformance": "every behaviour at every row of the provider table, through a whole gateway",
    "clients": "official SDKs against a whole gateway",
    "faults": "what the machine and the network do to a running gateway",
    "matrix": "rows of the fault matrix against a whole gateway",
    "replay": "recorded answers of real providers through a whole gateway",
    "proxies": "nginx and HAProxy before the gateway, as the documentation configures them",
}
"""Test folders that stand for no single module, and what they hold instead."""


def _test_files(root: Path) -> list[Path]:
    return [path.relative_to(root / "tests") for path in sorted((root / "tests").rglob("test_*.py"))]


def _subjects(path: Path) -> list[Path]:
    """What tests/x/test_y.py may be the test of: a module, a package, or what `python -m x` runs."""
    name = path.stem.removeprefix("test_")
    return [path.parent / f"{name}.py", path.parent / name / "__init__.py", path.parent / f"__{name}__.py"]


def test_every_test_file_names_a_module(root: Path) -> None:
    house = root / "src" / "sealgate"
    strays = [
        f"tests/{path} has no src/sealgate/{_subjects(path)[0]}"
        for path in _test_files(root)
        if path.parts[0] not in ELSEWHERE and not any((house / subject).is_file() for subject in _subjects(path))
    ]

    assert not strays, strays


def test_test_folders_are_not_packages(root: Path) -> None:
    packages = [str(path.relative_to(root)) for path in (root / "tests").rglob("__init__.py")]

    assert not packages, f"tests are imported by path; take these away: {packages}"
