"""The page of faults names its tests, and the codes it promises exist."""

import re
from pathlib import Path

from sealgate.errors import CODES

ROW = re.compile(r"^\| ([A-KP]\d+(?:, [A-KP]\d+)*) \|", re.MULTILINE)
SPAN = re.compile(r"\b([A-KP])(\d+)(?: ?(?:-|to|and) ?\1?(\d+))?\b|rows?_([a-k])(\d+)(?:_to_[a-k](\d+))?")


def _named(text: str) -> set[str]:
    """Rows that a test file speaks of: ``A4``, ``C1 to C8``, ``test_row_c7_…``, ``test_rows_c1_to_c8_…``."""
    found: set[str] = set()
    for match in SPAN.finditer(text):
        letter, first, last = (match[1], match[2], match[3]) if match[1] else (match[4].upper(), match[5], match[6])
        if int(last or first) - int(first) < 40:
            found |= {f"{letter}{number}" for number in range(int(first), int(last or first) + 1)}
    return found


def test_each_row_of_the_page_is_named_by_a_test(root: Path) -> None:
    page = (root / "docs" / "fault-matrix.md").read_text(encoding="utf-8")
    rows = {row for line in ROW.findall(page) for row in line.split(", ")}
    tested = set().union(*(_named(file.read_text(encoding="utf-8")) for file in (root / "tests").rglob("test_*.py")))
    assert len(rows) > 90
    assert not rows - tested, f"no test names these rows: {sorted(rows - tested)}"


def test_each_code_on_the_page_exists(root: Path) -> None:
    page = (root / "docs" / "fault-matrix.md").read_text(encoding="utf-8")
    promised = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", page)) - {"client_disconnected", "content_filter"}
    assert not promised - CODES.keys()
