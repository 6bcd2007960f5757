"""``docs/guides/audio.md`` as a reader runs it."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path

import pytest
from tests.clients.guides import ORIGIN, Guide, shell
from tests.clients.served import served

from sealgate import config
from sealgate.providers.sandbox.hearing import can_hear

GUIDE = Guide("audio")


@pytest.mark.long
@pytest.mark.timeout(120)
def test_the_guides_command_is_answered_by_the_sandbox(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl here to run the guide with")
    command = next(text for text in GUIDE.of("sh") if "curl" in text)
    with wave.open(str(tmp_path / "meeting.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    with served(tmp_path) as gateway:
        done = shell(command.replace(ORIGIN, gateway.url), tmp_path, SEALGATE_KEY=gateway.key)

    answer = json.loads(done.stdout)
    found = "in the format wav, 1.00 seconds, 8000 Hz, 1 channel, 16,044 bytes."
    described = f"The sandbox cannot hear. It was given a sound {found}"
    assert answer["text"] == ("" if can_hear() else described), "silence has no words"
    assert answer["usage"] == {"type": "duration", "seconds": 1}


def test_the_guides_configuration_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [table] = GUIDE.of("toml")
    path = tmp_path / "sealgate.toml"
    path.write_text(table)
    monkeypatch.setenv("ACME_KEY", "secret")
    assert config.load(path).models["whisper"].type == "transcription"
