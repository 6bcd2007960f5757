"""The room table of ARCHITECTURE.md is the tree, no more and no less."""

import re
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def rows(root: Path, rooms: ModuleType) -> dict[str, str]:
    return rooms.listed((root / "ARCHITECTURE.md").read_text())


def test_every_module_has_its_row(root: Path, rooms: ModuleType, rows: dict[str, str]) -> None:
    wanted = [rooms.row(root, name) for name in rooms.missing(rows, rooms.modules(root))]

    assert not wanted, "add these rows to ARCHITECTURE.md, or run `python scripts/rooms.py`:\n" + "\n".join(wanted)


def test_no_row_names_a_module_that_does_not_exist(root: Path, rooms: ModuleType, rows: dict[str, str]) -> None:
    gone = rooms.stale(rows, rooms.modules(root))

    assert not gone, f"take these rows out of ARCHITECTURE.md, or run `python scripts/rooms.py`: {gone}"


def test_every_row_says_a_job(rows: dict[str, str]) -> None:
    silent = [name for name, job in rows.items() if len(job.split()) < 2]

    assert not silent, f"say in one sentence what these rooms do, in ARCHITECTURE.md: {silent}"


def test_the_text_names_only_modules_that_exist(root: Path, rooms: ModuleType) -> None:
    named = set(re.findall(r"\b((?:\w+/)*\w+\.py)\b", (root / "ARCHITECTURE.md").read_text()))
    known = set(rooms.modules(root))

    assert named <= known | {path for path in named if (root / path).is_file()}


def test_rewriting_completes_prunes_and_sorts_but_keeps_written_jobs(tmp_path: Path, rooms: ModuleType) -> None:
    house = tmp_path / "src" / "sealgate"
    for name, text in {
        "__init__.py": '"""A package without a job of its own."""\n',
        "errors.py": '"""All errors. And more."""\n',
        "formats/__init__.py": "def made() -> None: ...\n",
        "formats/sse.py": '"""Reads\nevents.\n\nLong."""\n',
        "storage/migrations/versions/one.py": "",
    }.items():
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        (house / name).write_text(text)
    (tmp_path / ".importlinter").write_text(
        "[importlinter:contract:arrow]\nlayers =\n  (storage)\n  errors | (formats)\n"
    )
    page = (
        "text\n\n| room | job |\n|---|---|\n| `gone.py` | x |\n| `errors.py` | By hand |\n"
        "| `storage/migrations/` | All steps |\n\nmore\n"
    )

    assert rooms.rewrite(tmp_path, page) == (
        "text\n\n| room | job |\n|---|---|\n| `formats/__init__.py` |  |\n| `formats/sse.py` | Reads events |\n"
        "| `errors.py` | By hand |\n| `storage/migrations/` | All steps |\n\nmore\n"
    )
