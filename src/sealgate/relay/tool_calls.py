"""Tool calls as OpenAI writes them, whatever their numbers, ids and arguments look like upstream."""

from __future__ import annotations

from typing import Any

import msgspec

from sealgate.formats import ids
from sealgate.providers.base import Json

_encode = msgspec.json.Encoder().encode


class ToolCalls:
    """Streamed tool calls of one choice: numbered in order, with id and name on their first delta only."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._given: list[str | None] = []
        self._named: list[bool] = []

    def take(self, deltas: list[Json]) -> list[Json]:
        """The deltas of one chunk. Raises `TypeError` or `AttributeError` for what is no tool call."""
        return [self._one(delta) for delta in deltas]

    def _one(self, delta: Json) -> Json:
        key, given = delta.get("index"), delta.get("id")
        known = self._number(key, given)
        if known is None:
            return self._first(key, given, delta)
        self._given[known] = self._given[known] or given
        fragment = _fragment(delta)
        name = (delta.get("function") or {}).get("name")
        if name and not self._named[known]:
            self._named[known] = True
            fragment["function"]["name"] = name
        return {"index": known, **fragment}

    def _number(self, key: Any, given: str | None) -> int | None:
        """Which known call a delta continues: that of its index, or the last; another id is another call."""
        known = self._numbers.get(key) if key is not None else len(self._given) - 1
        if known is None or known < 0:
            return None
        mine = self._given[known]
        return None if given and mine and given != mine else known

    def _first(self, key: Any, given: str | None, delta: Json) -> Json:
        number = self._numbers[key] = len(self._given)
        opening = _opening(delta)
        self._given.append(given)
        self._named.append("custom" in opening or bool(opening["function"]["name"]))
        return {"index": number, "id": given or _made_id(), **opening}


def whole(call: Json) -> Json:
    """One tool call of a whole answer. Raises `TypeError` or `AttributeError` for what is none."""
    opening = _opening(call)
    if "function" in opening and not opening["function"]["arguments"]:
        opening["function"]["arguments"] = "{}"
    return {"id": call.get("id") or _made_id(), **opening}


def _made_id() -> str:
    return f"call_{ids.uuid7_hex()}"


def _opening(call: Json) -> dict[str, Any]:
    if isinstance(call.get("custom"), dict):
        return {"type": "custom", "custom": call["custom"]}
    function = call.get("function") or {}
    name = function.get("name") or ""
    if not isinstance(name, str) or not isinstance(call.get("id") or "", str):
        raise TypeError("a tool call's name or id is no text")
    return {"type": "function", "function": {"name": name, "arguments": _arguments(function.get("arguments"))}}


def _fragment(call: Json) -> Json:
    if isinstance(call.get("custom"), dict):
        return {"custom": {"input": call["custom"].get("input") or ""}}
    return {"function": {"arguments": _arguments((call.get("function") or {}).get("arguments"))}}


def _arguments(value: Any) -> str:
    """Arguments as JSON text; some servers send them as an object."""
    return value if isinstance(value, str) else "" if value is None else _encode(value).decode()
