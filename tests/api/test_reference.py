"""``/docs``: the reference as a page that needs nothing but itself, read by a parser and by a browser."""

from __future__ import annotations

import asyncio
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tests.gateway import Running, Threaded

from sealgate.api.reference import page

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Outline(HTMLParser):
    """Checks that elements nest, and gathers ids, links and whatever would be fetched from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a":
            self.links.append(str(found["href"]))
        if tag in ("script", "link", "img", "iframe") or "src" in found:
            self.fetched.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def running(gateway: Threaded) -> Running:
    return gateway.running


@pytest.mark.anyio
async def test_the_page_is_well_formed_and_its_links_lead_somewhere(running: Running) -> None:
    reply = await running.get("/docs", {})
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    outline = Outline()
    outline.feed(reply.body.decode())
    assert outline.open == []
    assert len(set(outline.ids)) == len(outline.ids)
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)
    assert outline.links


@pytest.mark.anyio
async def test_row_k7_the_page_runs_and_fetches_nothing(running: Running) -> None:
    reply = await running.get("/docs", {})
    assert reply.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert reply.headers["x-content-type-options"] == "nosniff"
    outline = Outline()
    outline.feed(reply.body.decode())
    assert outline.fetched == []
    assert not re.search(rb"https?://|@import|url\(|javascript:", reply.body)


@pytest.mark.anyio
async def test_the_page_shows_every_endpoint_and_type(running: Running) -> None:
    document = (await running.get("/openapi.json", {})).json
    text = (await running.get("/docs", {})).body.decode()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in text
    for name in document["components"]["schemas"]:
        assert f'<details id="{name}">' in text


def test_row_k7_text_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    schema = {"description": evil, "properties": {evil: {"type": evil, "description": evil}, "b": {"enum": [evil]}}}
    operation = {
        "summary": evil,
        "parameters": [{"name": evil, "in": "query", "description": evil}],
        "responses": {"200": {"content": {evil: {"schema": {"$ref": f"#/x/{evil}"}}}}},
    }
    document = {
        "info": {"title": evil, "version": evil, "description": evil},
        "paths": {f"/{evil}": {"get": operation}},
        "components": {"schemas": {evil: schema}},
    }
    assert "<script" not in page(document)


@pytest.mark.anyio
async def test_a_browser_opens_the_page_without_complaint(gateway: Threaded, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium here to open the page in")
    process = await asyncio.create_subprocess_exec(
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        "--disable-dev-shm-usage", f"--user-data-dir={tmp_path}", "--enable-logging=stderr", "--dump-dom",
        f"{gateway.origin}/docs",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), 100)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    dom = out.decode()
    assert "<title>Sealgate API</title>" in dom
    assert '<details id="ChatCompletion">' in dom
    assert dom.count("<summary>") > 20
    assert "CONSOLE" not in err.decode(), "the page broke its own content security policy"
