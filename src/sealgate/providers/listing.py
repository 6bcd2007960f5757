"""A provider's own list of its models: how it is asked for, and how it is read.

OpenAI's ``GET /models``, which nearly every server has that speaks its wire, and those of Anthropic and Google's AI
Studio. Where models are asked for by names of one's own (deployments, endpoints) no list can say whether a route works,
so none is asked for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sealgate.outward.client import Request
from sealgate.providers.anthropic import AnthropicHost
from sealgate.providers.base import Account
from sealgate.providers.google import StudioHost
from sealgate.providers.openai import UNREADABLE, BearerHost

MAX_NAMES = 500
"""How many names a suggestion is looked for among, the most alike by length first."""
_PARTS = re.compile(r"[:/@]")


def request(account: Account, key: int | None) -> Request | None:
    """What asks for the list, by one of the account's keys or without any; None where there is no list to go by."""
    url = _url(account)
    return None if url is None else Request("GET", url, _headers(account, key), b"")


def _url(account: Account) -> str | None:
    host = account.kind.host
    if isinstance(host, BearerHost):
        return f"{account.base_url}/models"
    if isinstance(host, AnthropicHost):
        return host.url(account, "", stream=False).removesuffix("/messages") + "/models?limit=1000"
    if isinstance(host, StudioHost):
        return f"{account.base_url}/models?pageSize=1000"
    return None


def _headers(account: Account, key: int | None) -> Mapping[str, str]:
    left_out = {"content-type", *(account.kind.host.credential("x") if key is None else ())}
    return {name: value for name, value in account.fixed_headers[key or 0][False].items() if name not in left_out}


def names(body: bytes) -> list[str]:
    """The names in a list: OpenAI's ``{"data": [{"id"}]}``, the bare array that a few send, or Google's ``models``.

    Raises `ValueError` for anything else.
    """
    try:
        document = msgspec.json.decode(body)
    except UNREADABLE:
        raise ValueError("the list of models is not JSON") from None
    rows = document.get("data", document.get("models")) if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise ValueError("the list of models has an unknown shape")
    return [_name(row) for row in rows]


def _name(row: Any) -> str:
    name = row.get("id", row.get("name")) if isinstance(row, dict) else None
    if not isinstance(name, str):
        raise ValueError("a model in the list has no name")
    return name.removeprefix("models/")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant; also one that only has more before or behind it, such as ``:latest``."""
    lower = name.lower()
    ranked = sorted(known, key=lambda other: abs(len(other) - len(name)))
    inside = [other for other in ranked if lower in other.lower()]
    if inside:
        return next((other for other in inside if lower in _PARTS.split(other.lower())), inside[0])
    return next(iter(difflib.get_close_matches(name, ranked[:MAX_NAMES], n=1, cutoff=0.5)), None)
