"""Server-sent events out of bytes, with the time each was complete.

A reader of its own, so that the tests of the gateway's reader do not ask the accused
(https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``at`` is when its last byte had been read, in seconds of the reader's event loop."""

    data: str
    at: float
    name: str = "message"
    id: str | None = None
    retry: int | None = None

    @property
    def json(self) -> Any:
        """The data as JSON. Raises `ValueError` where it is none, as on ``[DONE]``."""
        return json.loads(self.data)


@dataclass(frozen=True, slots=True)
class Comment:
    """A line that begins with a colon: a keep-alive, mostly."""

    text: str
    at: float


_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventReader:
    """Takes events out of bytes that come in pieces of any size. Does no I/O."""

    def __init__(self) -> None:
        self.comments: list[Comment] = []
        self._buffer = bytearray()
        self._skip_newline = False
        self._fields: dict[str, str] = {}
        self._data: list[str] = []
        self._started = False

    @property
    def unfinished(self) -> bool:
        """Whether part of an event is held that no blank line has ended."""
        return bool(self._buffer or self._data or self._fields)

    def feed(self, data: bytes, at: float) -> list[Event]:
        """The events completed by ``data``."""
        found = []
        for line in self._lines(data):
            event = self._take(line, at)
            if event is not None:
                found.append(event)
        return found

    def _lines(self, data: bytes) -> list[str]:
        # A CR at the end of a piece ends its line at once; an LF that comes next belongs to it.
        if not data:
            return []
        if self._skip_newline:
            data = data.removeprefix(b"\n")
        searched = len(self._buffer)
        self._buffer += data
        lines, start = [], 0
        for match in _LINE_END.finditer(self._buffer, searched):
            lines.append(self._decode(bytes(self._buffer[start : match.start()])))
            start = match.end()
        self._skip_newline = start == len(self._buffer) and self._buffer[-1:] == b"\r"
        del self._buffer[:start]
        return lines

    def _decode(self, line: bytes) -> str:
        text = line.decode("utf-8", "replace")
        if not self._started:
            self._started = True
            text = text.removeprefix("\ufeff")
        return text

    def _take(self, line: str, at: float) -> Event | None:
        if not line:
            return self._finish(at)
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            self.comments.append(Comment(value, at))
        elif field == "data":
            self._data.append(value)
        else:
            self._fields[field] = value
        return None

    def _finish(self, at: float) -> Event | None:
        fields, data = self._fields, self._data
        self._fields, self._data = {}, []
        if not data:
            return None
        retry = fields.get("retry", "")
        return Event(
            "\n".join(data),
            at,
            fields.get("event") or "message",
            fields.get("id"),
            int(retry) if retry.isascii() and retry.isdigit() else None,
        )
