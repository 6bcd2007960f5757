"""``docs/guides/budgets.md`` as a reader runs it: every command works, and says what the guide shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.clients.guides import Guide, masked
from tests.clients.served import served

from sealgate.config import load
from sealgate.config_tables import Retention

GUIDE = Guide("budgets")
OWN = {"period_end"}
"""It is another one each month."""


def test_the_guide_shows_the_defaults(tmp_path: Path) -> None:
    settings = GUIDE.of("toml")
    for number, text in enumerate(settings):
        (tmp_path / f"{number}.toml").write_text(text)
    assert len(settings) == 2
    assert load(tmp_path / "1.toml").retention == Retention()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_guides_commands_do_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "sealgate.toml").write_text(GUIDE.of("toml")[0])
    with served(tmp_path) as gateway:
        said = GUIDE.run(tmp_path, gateway)
    compared = 0
    for kind, text, answer in GUIDE.shown(said):
        if kind == "json":
            assert masked(json.loads(answer), OWN) == masked(json.loads(text), OWN)
        elif kind == "text":
            assert answer.strip() == text.strip()
        compared += kind in ("json", "text")
    assert compared == 5
    [cost] = re.findall(r"x-tresor-cost: (\S+)", GUIDE.text)
    assert json.loads((tmp_path / "answer.json").read_text())["tresor"]["cost"] == cost
