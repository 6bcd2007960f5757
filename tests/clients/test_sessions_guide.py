"""``docs/guides/sessions.md`` as a reader runs it: every command works, and the answers are those that are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.clients.guides import Guide, masked
from tests.clients.served import served

OWN = {
    "id", "request_id", "session_id", "receipt_id", "api_key_prefix", "created_at", "updated_at", "expires_at", "usage",
}  # fmt: skip
"""What is another one each time."""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_guides_commands_do_what_it_shows(tmp_path: Path) -> None:
    guide = Guide("sessions")
    with served(tmp_path) as gateway:
        said = guide.run(tmp_path, gateway)
    shown = [(text, answer) for kind, text, answer in guide.shown(said) if kind == "json"]
    assert len(said) == len(shown) == 6
    for text, answer in shown:
        assert masked(json.loads(answer), OWN) == masked(json.loads(text), OWN)
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["session_id"] == json.loads(said[1])["session_id"]
