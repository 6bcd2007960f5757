"""Writes the tables of a stored result into docs/performance.md: ``python -m bench.report [FILE]``, else the newest."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench import tables
from bench.machine import ROOT

PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "bench" / "results"
BEGIN = "<!-- bench: begin, written by `python -m bench.report` -->"
END = "<!-- bench: end -->"


def newest() -> Path:
    found = sorted(RESULTS.glob("*.json"), key=lambda file: json.loads(file.read_text())["date"])
    if not found:
        raise SystemExit("there are no results in bench/results; run `make bench` first")
    return found[-1]


def put(page: str, text: str) -> str:
    """``page`` with ``text`` between the markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the page has no lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main() -> None:
    reader = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__)
    reader.add_argument("file", nargs="?", type=Path)
    file = reader.parse_args().file or newest()
    results = json.loads(file.read_text())
    PAGE.write_text(put(PAGE.read_text(), f"{tables.machine(results)}\n\n{tables.everything(results)}"))
    print(f"wrote {file.name} into {PAGE.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
