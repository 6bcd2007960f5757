"""``/openapi.json`` and ``/docs``: the reference as a document, and as a page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from html import escape
from typing import Any

import msgspec

from sealgate.api.call import Call
from sealgate.api.openapi import document
from sealgate.api.routes import Route
from sealgate.auth.tokens import Login

HTML = b"text/html; charset=utf-8"
HEADERS = [
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"x-content-type-options", b"nosniff"),
]
STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--key:#2a6f97}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:0}h2{margin-top:2.5rem}code,pre{font:14px/1.45 ui-monospace,monospace}
details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0;padding:.5rem .8rem}
summary{cursor:pointer}summary b{display:inline-block;width:3.6rem;color:var(--key)}
table{border-collapse:collapse;width:100%;margin:.5rem 0}td,th{text-align:left;vertical-align:top;
padding:.25rem .6rem .25rem 0;border-top:1px solid var(--line)}td:nth-child(3){opacity:.85}
.muted{opacity:.7}pre{background:var(--soft);padding:.8rem;border-radius:6px;overflow-x:auto}
"""


def routes(table: list[Route], logins: Callable[[], Sequence[Login]] = tuple) -> list[Route]:
    """The reference to a table of endpoints; ``logins`` says where tokens come from."""
    reference = Reference(table, logins)
    return [
        Route("GET", "/openapi.json", "public", reference.openapi, "This document.", mounted=False),
        Route("GET", "/docs", "public", reference.docs, "This document as a page.", mounted=False),
    ]


class Reference:
    """Both endpoints; made when they are first asked for, because the schemas take their time."""

    def __init__(self, table: list[Route], logins: Callable[[], Sequence[Login]]) -> None:
        self._table = table
        self._logins = logins
        self._shown: list[Login] | None = None

    @property
    def _document(self) -> dict[str, Any]:
        """Made again where an issuer has said something new of itself."""
        logins = list(self._logins())
        if self._shown != logins:
            self._shown, self._made = logins, document(self._table, logins)
        return self._made

    @cached_property
    def _page(self) -> bytes:
        return page(self._document).encode()

    async def openapi(self, call: Call) -> None:
        await call.respond(200, msgspec.json.encode(self._document))

    async def docs(self, call: Call) -> None:
        await call.respond(200, self._page, HTML, list(HEADERS))


def page(document: dict[str, Any]) -> str:
    """The document as HTML, without script and without anything from elsewhere."""
    info, schemas = document["info"], document["components"]["schemas"]
    operations = "".join(
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    )
    types = "".join(_type(name, schema) for name, schema in sorted(schemas.items()))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head><body>'
        f'<h1>{escape(info["title"])}</h1><p class="muted">{escape(info["version"])} · {escape(info["description"])} '
        f"The same as data: <code>/openapi.json</code></p><h2>Endpoints</h2>{operations}<h2>Types</h2>{types}"
        "</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
        f"<td>{escape(one.get('description', ''))}</td></tr>"
        for one in operation.get("parameters", [])
    )
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    takes = f"<p>Takes {_kind(body['schema'])}</p>" if body else ""
    gives = " or ".join(
        f"{_kind(content['schema'])} <span class=muted>as {escape(media)}</span>"
        for media, content in operation["responses"]["200"].get("content", {}).items()
    )
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation['summary'])}</summary>"
        f"<table>{rows}</table>{takes}{f'<p>Gives {gives}</p>' if gives else ''}</details>"
    )


def _type(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    rows = "".join(
        f"<tr><td><code>{escape(key)}</code>{'' if key in required else ' <span class=muted>optional</span>'}</td>"
        f"<td>{_kind(inner)}</td><td>{escape(inner.get('description', ''))}</td></tr>"
        for key, inner in schema.get("properties", {}).items()
    )
    return (
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code> {escape(schema.get("description", ""))}'
        f"</summary><table>{rows}</table></details>"
    )


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(str(schema.get("type", "anything")))
