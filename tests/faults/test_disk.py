"""A disk that loses what it has taken (row H6)."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from tests.clients.served import Served, served

SOURCE = Path(__file__).parent.parent / "storage/unsynced.c"


@pytest.fixture(scope="session")
def unsynced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is preloaded into a process whose disk will fail."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    made = tmp_path_factory.mktemp("disk") / "unsynced.so"
    done = subprocess.run([compiler, "-shared", "-fPIC", "-o", made, SOURCE, "-ldl"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"it cannot be compiled here: {done.stderr.decode()[:200]}")
    return made


def ask(at: Served) -> tuple[int, str | None]:
    """Status and code of one answer."""
    body = json.dumps({"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}).encode()
    headers = {"authorization": f"Bearer {at.key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{at.url}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]["code"]


def test_h6_a_sync_that_failed_is_the_end_even_where_the_next_would_succeed(unsynced: Path, tmp_path: Path) -> None:
    """Nothing is written behind what the disk has lost: the request is refused, and the process ends and says why."""
    failing = tmp_path / "failing"
    with served(tmp_path, LD_PRELOAD=str(unsynced), UNSYNCED=str(failing)) as at:
        assert ask(at) == (200, None)
        failing.touch()
        assert ask(at) == (503, "storage_unavailable")
        failing.unlink()
        assert at.process.wait(timeout=60) == 1
    assert "the disk has failed to keep what the database wrote" in (tmp_path / "err.txt").read_text()
    with closing(sqlite3.connect(tmp_path / ".sealgate/sealgate.db")) as database:
        assert database.execute("SELECT status FROM ledger ORDER BY created_at").fetchone() == (200,)
    with served(tmp_path) as again:
        assert ask(again) == (200, None)
