"""The guides as their readers run them: the code blocks of a page of ``docs/guides``, and its commands in one shell.

::

    guide = Guide("budgets")
    with served(tmp_path) as gateway:
        said = guide.run(tmp_path, gateway)         # what each block of commands printed
    for kind, text, answer in guide.shown(said):    # what the page shows, and what was printed before it
        ...
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import pytest
from tests.clients.served import Served

FOLDER = Path(__file__).parents[2] / "docs" / "guides"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ORIGIN = "http://127.0.0.1:3000"
"""Where the guides say that the gateway is."""
END = "-- end of the block --"


class Guide:
    """One page. ``blocks`` are kind and text of each code block, in their order."""

    def __init__(self, name: str) -> None:
        self.text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        self.blocks: list[tuple[str, str]] = BLOCK.findall(self.text)

    def of(self, kind: str) -> list[str]:
        """The blocks of that language."""
        return [text for found, text in self.blocks if found == kind]

    def run(self, folder: Path, gateway: Served | None, **environ: str) -> list[str]:
        """Run all commands in that folder, against that gateway; what each block of them has printed."""
        if shutil.which("curl") is None:
            pytest.skip("there is no curl here to run the guide with")
        script = f"echo; echo '{END}'\n".join(self.of("sh"))
        if gateway is not None:
            script = script.replace(ORIGIN, gateway.url)
            environ.setdefault("SEALGATE_KEY", gateway.key)
        done = shell(script, folder, **environ)
        assert done.returncode == 0, done.stderr
        said = done.stdout.split(END)
        assert len(said) == len(self.of("sh"))
        return said

    def shown(self, said: list[str]) -> Iterator[tuple[str, str, str]]:
        """Kind and text of each other block, with what the commands before it have printed."""
        answers, answer = iter(said), ""
        for kind, text in self.blocks:
            if kind == "sh":
                answer = next(answers)
            else:
                yield kind, text, answer


def shell(script: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run commands in that folder, with the programs of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-eu", "-c", script], cwd=folder, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PATH": path, **environ},
    )  # fmt: skip


def masked(value: Any, own: Set[str]) -> Any:
    """A document without what is another one each time: the fields of those names."""
    if isinstance(value, dict):
        return {name: "…" if name in own else masked(inner, own) for name, inner in value.items()}
    return [masked(each, own) for each in value] if isinstance(value, list) else value
