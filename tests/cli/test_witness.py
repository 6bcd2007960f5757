"""``sealgate witness``: a real process that a log asks over HTTP, also after it was killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from sealgate.cli import app
from sealgate.formats import merkle, note
from sealgate.outward.documents import Documents

ORIGIN = "gw.example/receipts/2026"
LOG = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
VKEY = str(note.public(ORIGIN, note.LOG, LOG))
NODES = merkle.of_hashes([merkle.leaf(b"%d" % number) for number in range(9)])


def question(old: int, size: int) -> bytes:
    text = str(note.Checkpoint(ORIGIN, size, merkle.root(size, NODES)))
    signed = note.Note(text, [note.sign(ORIGIN, LOG, text)])
    return f"old {old}\n{note.lines(merkle.consistency(old, size, NODES))}\n{signed}".encode()


def started(folder: Path) -> tuple[subprocess.Popen[str], note.Key, str]:
    """The process, its key, and where it listens."""
    command = [sys.executable, "-m", "sealgate", "witness", "--state", str(folder / "state"), "--key",
               str(folder / "key"), "--log", VKEY, "--name", "w.example", "--listen", "127.0.0.1:0"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONUNBUFFERED": "1"})  # fmt: skip
    key = note.key(cast("IO[str]", process.stdout).readline())
    told = re.search(r"Listening on (\S+)\.", cast("IO[str]", process.stderr).readline())
    assert told is not None
    return process, key, f"http://{told[1]}/add-checkpoint"


def ended(process: subprocess.Popen[str], by: signal.Signals) -> int:
    process.send_signal(by)
    process.communicate(timeout=100)
    return process.returncode


@pytest.mark.anyio
async def test_it_signs_over_http_and_remembers_when_it_was_killed(tmp_path: Path) -> None:
    process, key, url = started(tmp_path)
    try:
        first = await Documents().post(url, question(0, 4))
        other = await Documents().post(url.replace("add-checkpoint", "x"), b"")
    finally:
        killed = ended(process, signal.SIGKILL)
    text = note.parse(question(0, 4).decode().partition("\n\n")[2]).text
    assert (first.status, other.status, killed) == (200, 404, -signal.SIGKILL)
    assert note.signed_by(note.Note(text, note.signatures(first.data.decode())), key) is not None

    process, again, url = started(tmp_path)
    try:
        late = await Documents().post(url, question(0, 9))
        next_one = await Documents().post(url, question(4, 9))
    finally:
        stopped = ended(process, signal.SIGTERM)
    assert (again, stopped) == (key, 0)
    assert (late.status, late.data) == (409, b"4\n")
    assert next_one.status == 200


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"--log": "x"}, "vkey"),
        ({"--log": str(note.public("w", note.WITNESS, LOG))}, "key of a witness"),
        ({"--listen": "nowhere"}, "HOST:PORT"),
        ({"--name": "a b"}, "name"),
    ],
)
def test_what_it_cannot_work_with_is_one_sentence(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    options = {"--state": str(tmp_path / "s"), "--key": str(tmp_path / "k"), "--log": VKEY, "--name": "w"} | changed
    result = CliRunner().invoke(app, ["witness", *(word for pair in options.items() for word in pair)])
    assert result.exit_code == 1
    assert said in result.stderr
    assert not (tmp_path / "s").exists()
