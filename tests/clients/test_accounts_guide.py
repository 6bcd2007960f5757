"""``docs/guides/accounts.md`` as a reader runs it: every command works, and the answers are those that are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.clients.guides import Guide, masked
from tests.clients.served import served

OWN = {"id", "key", "key_prefix", "created_at"}
"""What is another one each time."""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_guides_commands_do_what_it_shows(tmp_path: Path) -> None:
    guide = Guide("accounts")
    with served(tmp_path) as gateway:
        said = guide.run(tmp_path, gateway)
    compared = 0
    for kind, text, answer in guide.shown(said):
        if kind == "json":
            assert masked(json.loads(answer), OWN) == masked(json.loads(text), OWN)
            compared += 1
    assert compared == 5
    trail = json.JSONDecoder().raw_decode(said[-1][said[-1].index("[{") :])[0]
    assert [each["action"] for each in trail if each["actor"]["kind"] == "key"] == [
        "key.created", "key.created", "key.default_set", "key.revoked",
    ]  # fmt: skip
    assert "key.revoked" in said[-1].partition("[{")[0]
