"""``docs/guides/responses.md`` as a reader runs it, with the official SDK against a gateway of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.gateway import Serve

from sealgate.config import Provider

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "responses.md"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_guides_code_runs_as_it_stands(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = BLOCK.findall(GUIDE.read_text())
    assert len(blocks) == 4
    with serve.in_thread({"box": Provider(kind="sandbox", region="local")}, {"sandbox": ["box"]}) as gateway:
        code = "\n".join(blocks).replace("http://127.0.0.1:3000", gateway.origin)
        names = {"KEY": gateway.key}
        exec(compile(code, str(GUIDE), "exec"), names)
        names["client"].close()  # type: ignore[attr-defined]
        assert [row.outcome.value for row in gateway.rows(4)] == ["ok"] * 4
    said = capsys.readouterr().out.strip().splitlines()
    assert said[0].split()[-2] == "completed"
    assert said[-2] == "completed"
    assert int(said[-1]) > 0
    calls = [item for item in names["items"] if getattr(item, "type", None) == "function_call"]  # type: ignore[attr-defined]
    assert calls
