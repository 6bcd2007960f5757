"""The reference pages are written from the declarations, and stale ones are noticed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sealgate import config
from sealgate.cli import docs
from sealgate.errors import CODES, Failure
from sealgate.providers.sandbox import MODELS
from sealgate.providers.table import KINDS
from sealgate.relay.responses_shapes import ResponsesRequest
from sealgate.relay.shapes import ChatRequest
from sealgate.telemetry.registry import LOG_FIELDS, METRICS

PAGE = "# Sandbox\n\nBefore.\n\n<!-- generated:sandbox-models -->\nold\n<!-- /generated -->\n\nAfter.\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree with the one page that is only partly written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "sandbox.md").write_text(PAGE)
    return tmp_path


def test_pages_are_written_and_then_fresh(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "docs/reference/errors.md is not what the code says; run: make docs" in said
    assert not (tree / "docs" / "reference").exists(), "--check writes nothing"
    assert docs.main([]) == 0
    assert docs.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_a_page_that_was_edited_is_stale(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs.main([])
    page = tree / "docs" / "reference" / "errors.md"
    page.write_text(page.read_text().replace("invalid_json", "invalid_yaml"))
    assert docs.main(["--check"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_of_a_partly_written_page_the_rest_is_kept(tree: Path) -> None:
    docs.main([])
    page = (tree / "docs" / "sandbox.md").read_text()
    assert page.startswith("# Sandbox\n\nBefore.\n")
    assert page.endswith("<!-- /generated -->\n\nAfter.\n")
    assert "old" not in page
    assert all(f"`{name}`" in page for name in MODELS)


def test_every_declaration_has_its_row(tree: Path) -> None:
    docs.main([])
    text = {path.stem: path.read_text() for path in (tree / "docs" / "reference").glob("*.md")}
    for code in CODES.values():
        assert f"| `{code.name}` | {code.status} |" in text["errors"]
    assert all(f"| {failure.name.lower()} |" in text["errors"] for failure in Failure)
    assert all(f"| `{kind}` |" in text["providers"] for kind in KINDS)
    assert all(f"| `{name}` |" in text["chat-request"] for name in ChatRequest.__struct_encode_fields__)
    assert all(f"| `{name}` |" in text["responses-request"] for name in ResponsesRequest.__struct_encode_fields__)
    assert all(f"| `{metric.name}` |" in text["telemetry"] for metric in METRICS)
    assert all(f"| `{name}` |" in text["telemetry"] for name in LOG_FIELDS)
    for table in (config.Server, config.Timeouts, config.Provider, config.Route, config.Issuer):
        assert all(f"| `{name}` |" in text["configuration"] for name in table.__struct_fields__)


def test_tables_are_tables(tree: Path) -> None:
    """A row has as many cells as its head, whatever stands in them."""
    docs.main([])
    for page in (tree / "docs").rglob("*.md"):
        for block in re.findall(r"(?:^\|.*\n)+", page.read_text(), re.MULTILINE):
            counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(counts) == 1, f"{page.name}: {block[:200]}"


def test_every_setting_is_described(tree: Path) -> None:
    docs.main([])
    empty = re.compile(r"\|\s*\|$", re.MULTILINE)
    assert not empty.search((tree / "docs" / "reference" / "configuration.md").read_text())
    assert not empty.search((tree / "docs" / "reference" / "chat-request.md").read_text())
    assert not empty.search((tree / "docs" / "reference" / "responses-request.md").read_text())
