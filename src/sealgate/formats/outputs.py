"""What an answer of the Responses API says, in one form, however it came: whole, or as the events of a stream.

The list of its output items, each with its type and what it says, without ids and states. A receipt's
``response.content`` on Responses is a digest over this form. Standard library only: also ships to people who check
receipts without a server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

_HOLDS = {
    "function_call": ("call_id", "namespace", "name", "arguments"),
    "custom_tool_call": ("call_id", "namespace", "name", "input"),
    "tool_search_call": ("call_id", "execution", "arguments"),
    "reasoning": ("encrypted_content",),
    "message": (),
}
"""What of the items of these types counts beside their parts; of all others, everything."""
_PARTS = {"message": ("content",), "reasoning": ("summary", "content")}
_PLACES = {
    "response.output_text.delta": ("content", "text", {"type": "output_text"}),
    "response.refusal.delta": ("content", "refusal", {"type": "refusal"}),
    "response.reasoning_text.delta": ("content", "text", {"type": "reasoning_text"}),
    "response.reasoning_summary_text.delta": ("summary", "text", {"type": "summary_text"}),
}
_WHOLE_TEXTS = {
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}


def of_output(output: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The ``output`` of a whole response in canonical form."""
    return [_item(each) for each in output]


def of_events(events: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The same of a stream's events, as far as they have come."""
    items: dict[int, Json] = {}
    for event in events:
        kind = event.get("type")
        if kind in ("response.output_item.added", "response.output_item.done"):
            items[event["output_index"]] = dict(event["item"])
        elif kind in _PLACES:
            _add_to_part(items[event["output_index"]], event)
        elif kind in _WHOLE_TEXTS:
            item, name = items[event["output_index"]], _WHOLE_TEXTS[kind]
            item[name] = (item.get(name) or "") + event["delta"]
    return of_output(items[index] for index in sorted(items))


def agree(documents: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the response in a stream's last event says what the events before it have said."""
    response = documents[-1].get("response") if documents else None
    output = response.get("output") if isinstance(response, Mapping) else None
    return output is None or of_output(output) == of_events(documents[:-1])


def _add_to_part(item: Json, event: Mapping[str, Any]) -> None:
    place, name, blank = _PLACES[event["type"]]
    parts = item[place] = [dict(part) for part in item.get(place) or ()]
    index = event["summary_index"] if place == "summary" else event["content_index"]
    while len(parts) <= index:
        parts.append(dict(blank))
    parts[index][name] = parts[index].get(name, "") + event["delta"]


def _item(item: Mapping[str, Any]) -> Json:
    kind = str(item.get("type"))
    if kind not in _HOLDS:
        return {name: item[name] for name in item if item[name] is not None and name not in ("id", "status")}
    found: Json = {"type": kind}
    found |= {name: item[name] for name in _HOLDS[kind] if item.get(name) is not None}
    for place in _PARTS.get(kind, ()):
        parts = [_part(part) for part in item.get(place) or ()]
        if said := [part for part in parts if len(part) > 1]:
            found[place] = said
    return found


def _part(part: Mapping[str, Any]) -> Json:
    """Its type and its text, where that is not empty."""
    found: Json = {"type": part.get("type")}
    return found | {name: part[name] for name in ("text", "refusal") if part.get(name)}
