"""``docs/guides/attestation.md`` as a reader runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.gateway import Serve

from sealgate.config import Provider

GUIDE = (Path(__file__).parents[2] / "docs/guides/attestation.md").read_text(encoding="utf-8")


def test_the_guides_program_recomputes_what_a_plain_gateway_says(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [program] = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    with serve.in_thread({"sandbox": Provider(kind="sandbox")}, {"sandbox": ["sandbox"]}) as gateway:
        monkeypatch.setenv("OPENAI_BASE_URL", gateway.base_url)
        exec(compile(program, "attestation.md", "exec"), {})
    assert capsys.readouterr().out.startswith("none Not attested")
