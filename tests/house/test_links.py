"""The pages lead somewhere: every relative link in a Markdown file names a file of the repository."""

import re
from collections.abc import Iterator
from pathlib import Path

LINK = re.compile(r"\]\(([^)\s]+)\)")


def _dead(page: Path) -> Iterator[str]:
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in LINK.findall(prose):
        name = target.split("#")[0]
        if name and "://" not in name and not name.startswith("mailto:") and not (page.parent / name).exists():
            yield f"{page.name} -> {target}"


def test_every_relative_link_leads_to_a_file(belongings: list[Path]) -> None:
    dead = [link for page in belongings if page.suffix == ".md" for link in _dead(page)]

    assert not dead, dead
