"""What an answer in Anthropic's dialect says, in one form, however it came: whole, or as the events of a stream.

The list of its content blocks, each with its type and what it holds; the input of a tool as the value it is. A
receipt's ``response.content`` on Messages is a digest over this form. Standard library only: also ships to people who
check receipts without a server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]

_HOLDS = {
    "text": ("text",),
    "thinking": ("thinking", "signature"),
    "redacted_thinking": ("data",),
    "tool_use": ("id", "name", "input"),
}
"""What of the blocks of these types counts; of all others, everything."""
_PIECES = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def of_message(content: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The ``content`` of a whole message in canonical form."""
    return [_block(each) for each in content]


def of_events(events: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The same of a stream's events."""
    blocks = Blocks()
    for each in events:
        blocks.event(each)
    return blocks.found()


class Blocks:
    """Puts the events of a stream together; or takes a whole message."""

    def __init__(self) -> None:
        self._found: list[Json] = []
        self._whole: dict[int, Json] = {}
        self._pieces: dict[int, dict[str, list[str]]] = {}

    def whole(self, content: Iterable[Mapping[str, Any]]) -> None:
        """These are all the blocks."""
        self._found = of_message(content)

    def event(self, event: Mapping[str, Any]) -> None:
        """The next event."""
        kind = event.get("type")
        if kind == "content_block_start":
            self._whole[event["index"]] = dict(event["content_block"])
            self._pieces[event["index"]] = {}
        elif kind == "content_block_delta":
            delta = event["delta"]
            name = _PIECES.get(delta["type"]) or ("partial_json" if delta["type"] == "input_json_delta" else None)
            if name is not None:
                self._pieces.setdefault(event["index"], {}).setdefault(name, []).append(
                    delta.get(name) or delta.get("partial_json") or ""
                )

    def found(self) -> list[Json]:
        """The blocks as far as they have come."""
        return self._found or [self._joined(index) for index in sorted(self._whole)]

    def _joined(self, index: int) -> Json:
        block = dict(self._whole[index])
        for name, pieces in self._pieces.get(index, {}).items():
            text = "".join(pieces)
            if name == "partial_json":
                block["input"] = _value(text)
            else:
                block[name] = (block.get(name) or "") + text
        return _block(block)


def _value(text: str) -> Any:
    """The input of a tool; one that is no JSON, or not all of it, as the text it is."""
    try:
        return json.loads(text) if text.strip() else {}
    except ValueError:
        return text


def _block(block: Mapping[str, Any]) -> Json:
    holds = _HOLDS.get(str(block.get("type")))
    names = block.keys() if holds is None else ("type", *holds)
    return {name: block[name] for name in names if block.get(name) is not None}
