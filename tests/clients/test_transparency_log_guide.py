"""``docs/guides/transparency-log.md`` as a reader runs it: what it fetches, the check, and what that shows."""

from __future__ import annotations

import asyncio
import re
import shlex
import tomllib
from pathlib import Path

import msgspec
import pytest
from tests.gateway import Serve
from typer.testing import CliRunner

from sealgate.cli import app
from sealgate.config import Provider, Receipts

GUIDE = (Path(__file__).parents[2] / "docs/guides/transparency-log.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
            for line in block.splitlines()]  # fmt: skip
SHOWN = re.findall(r"^(PASS|----)  (\w+)", GUIDE, re.MULTILINE)


@pytest.mark.anyio
async def test_what_the_guide_fetches_is_there_and_its_check_shows_what_it_says(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serve({"sandbox": Provider(kind="sandbox")}, {"sandbox": ["sandbox"]}) as gateway:
        receipt_id = (await gateway.chat(model="sandbox")).tresor["receipt_id"]
        await gateway.hall.transparency.tick()  # type: ignore[union-attr]
        for line in [each for each in COMMANDS if each.startswith("curl")]:
            words = shlex.split(line.replace("$ID", receipt_id))
            reply = await gateway.get(words[-1].removeprefix("http://127.0.0.1:3000"))
            assert reply.status == 200, (words, reply.body)
            await asyncio.to_thread(Path(words[2]).write_bytes, reply.body)
    [check] = [line for line in COMMANDS if line.startswith("sealgate verify")]
    result = await asyncio.to_thread(CliRunner().invoke, app, shlex.split(check)[1:])
    assert result.exit_code == 0, result.output
    assert re.findall(r"^(PASS|----)  (\w+)", result.stdout, re.MULTILINE) == SHOWN
    assert "PASS: L1 logged; unwitnessed" in result.stdout


def test_the_guides_configuration_loads() -> None:
    [text] = re.findall(r"^```toml\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    log = msgspec.convert(tomllib.loads(text)["receipts"], Receipts).log
    assert (log.origin, log.needed) == ("gw.example/receipts/2026", 1)
