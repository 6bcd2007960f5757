"""What the generated pages are made of."""

from __future__ import annotations

from collections.abc import Sequence

NOTE = "<!-- Written by `make docs` from the code; edits here are lost. -->\n\n"


def table(*head: str, rows: Sequence[tuple[str, ...]]) -> str:
    """A table; bars in its cells are escaped."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
