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
        self._named: list[str] = []
        self._bare: list[bool] = []

    def take(self, deltas: list[Json]) -> list[Json]:
        """The deltas of one chunk. Raises `TypeError` or `AttributeError` for what is no tool call."""
        return [self._one(delta) for delta in deltas]

    def unsaid(self) -> list[Json]:
        """Deltas for calls without any arguments: OpenAI says ``{}`` where some upstreams say nothing."""
        return [{"index": number, "function": {"arguments": "{}"}} for number, bare in enumerate(self._bare) if bare]

    def _one(self, delta: Json) -> Json:
        key, given = delta.get("index"), _id(delta)
        known = self._number(delta, key, given)
        if known is None:
            return self._first(key, given, delta)
        self._given[known] = self._given[known] or given
        fragment = _fragment(delta)
        function = fragment.get("function")
        if function is not None:
            name = (delta.get("function") or {}).get("name")
            if name and name != self._named[known] and self._bare[known]:
                # A name may come late, or in pieces; one that is merely repeated is not said again.
                self._named[known] += name
                function["name"] = name
            self._bare[known] = self._bare[known] and not function["arguments"]
        return {"index": known, **fragment}

    def _number(self, delta: Json, key: Any, given: str | None) -> int | None:
        """Which known call a delta continues: that of its index, else of its id, else the last.

        Another id is another call, and so is a name, where neither index nor id says which one is meant.
        """
        if key is not None:
            known = self._numbers.get(key)
            if known is None and not given and not (delta.get("function") or {}).get("name"):
                # Only some of its deltas have a number (SGLang): it goes on with the call that began without one.
                known = self._numbers.get(None)
        elif given and given in self._given:
            return self._given.index(given)
        else:
            known = self._last(delta, given)
        if known is None:
            return None
        mine = self._given[known]
        return None if given and mine and given != mine else known

    def _last(self, delta: Json, given: str | None) -> int | None:
        last = len(self._given) - 1
        if last < 0 or (not given and self._named[last] and (delta.get("function") or {}).get("name")):
            return None
        return last

    def _first(self, key: Any, given: str | None, delta: Json) -> Json:
        number = self._numbers[key] = len(self._given)
        opening = _opening(delta)
        name = given if given and given not in self._given else _made_id()
        function = opening.get("function")
        self._given.append(given)
        self._named.append(function["name"] if function is not None else opening["custom"].get("name") or "")
        self._bare.append(function is not None and not function["arguments"])
        return {"index": number, "id": name, **opening}


def whole(calls: list[Json]) -> list[Json]:
    """The tool calls of a whole answer. Raises `TypeError` or `AttributeError` for what is none.

    Some servers call all of them ``0``; a result must tell whose it is, so only the first keeps such an id.
    """
    found: dict[str, Json] = {}
    for call in calls:
        opening = _opening(call)
        if "function" in opening and not opening["function"]["arguments"]:
            opening["function"]["arguments"] = "{}"
        given = _id(call)
        name = given if given and given not in found else _made_id()
        found[name] = {"id": name, **opening}
    return list(found.values())


def _id(call: Json) -> str | None:
    """The call's id, unless it says that it has none: Mistral sends the text ``null``."""
    given = call.get("id")
    return None if not given or given == "null" else given


def _made_id() -> str:
    return f"call_{ids.uuid7_hex()}"


def _opening(call: Json) -> dict[str, Any]:
    if isinstance(call.get("custom"), dict):
        return {"type": "custom", "custom": call["custom"]}
    function = call.get("function") or {}
    name = function.get("name") or ""
    if not isinstance(name, str) or not isinstance(call.get("id") or "", str):
        raise TypeError("a tool call's name or id is no text")
    found = {"type": "function", "function": {"name": name, "arguments": _arguments(function.get("arguments"))}}
    if (extra := call.get("extra_content")) is not None:
        found["extra_content"] = extra  # Google's: the signature of the thought behind a call has to come back with it
    return found


def _fragment(call: Json) -> Json:
    if isinstance(call.get("custom"), dict):
        return {"custom": {"input": call["custom"].get("input") or ""}}
    return {"function": {"arguments": _arguments((call.get("function") or {}).get("arguments"))}}


def _arguments(value: Any) -> str:
    """Arguments as JSON text; some servers send them as an object."""
    return value if isinstance(value, str) else "" if value is None else _encode(value).decode()
