"""Server-sent events, read incrementally and written (WHATWG HTML, section 9.2).

The reader takes bytes split anywhere, also inside a UTF-8 sequence or a CRLF pair, and gives each event as soon as its
blank line has arrived.
"""

from __future__ import annotations

import re

import msgspec

MAX_LINE = 8 * 1024 * 1024

KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"

_LF, _CR = b"\n\r"
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event: its name (empty for the default ``message``) and its data lines joined by LF."""

    name: bytes
    data: bytes


class LineTooLongError(ValueError):
    """A line without end passed the cap; the stream cannot be trusted any more."""


def event(payload: bytes) -> bytes:
    """A payload without line breaks as one event."""
    return b"data: " + payload + b"\n\n"


class EventReader:
    """Feed it what arrives; it returns the events that this completed, in order."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._parts: list[bytes] = []
        self._size = 0
        self._name = b""
        self._data: list[bytes] = []
        self._data_size = 0
        self._at_start = True
        self._after_cr = False
        self._between = False
        """Whether nothing is held: the next byte begins an event."""

    def only(self, piece: bytes) -> bytes | None:
        """The data of the next bytes where they are one whole message of one line, which nearly every piece is.

        None: they are not, or not certainly, and have not been taken.
        """
        # Slices and single bytes: methods of bytes parse their arguments each time, which costs more than the search.
        if not self._between or piece[:6] != b"data: " or len(piece) > self._max_line:
            return None
        if piece[-2:] == b"\n\n":
            data = piece[6:-2]
        elif piece[-4:] == b"\r\n\r\n":
            data = piece[6:-4]
        else:
            return None
        return None if _LF in data or _CR in data else data

    def feed(self, piece: bytes) -> list[Event]:
        """Take the next bytes. Raises `LineTooLongError` when a line or an event's data passes the cap."""
        if (data := self.only(piece)) is not None:
            return [Event(b"", data)]
        found = self._feed(piece)
        self._between = not (self._parts or self._data or self._name or self._after_cr or self._at_start)
        return found

    def _feed(self, piece: bytes) -> list[Event]:
        if self._at_start and piece:
            piece = self._without_bom(piece)
        if self._after_cr and piece:
            # The LF of a CRLF pair that was split: its CR has already ended the line.
            piece = piece[1:] if piece[0] == 0x0A else piece
            self._after_cr = False
        if _LF not in piece and _CR not in piece:
            self._keep(piece)
            return []
        if self._parts:
            self._parts.append(piece)
            piece = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        if _CR in piece:
            self._after_cr = piece.endswith(b"\r")
            lines = _LINE_END.split(piece)
        else:
            lines = piece.split(b"\n")
        self._keep(lines.pop())
        return self._events(lines)

    def _without_bom(self, piece: bytes) -> bytes:
        """Drop a byte order mark at the very start, which may itself arrive in pieces."""
        head = b"".join(self._parts) + piece
        self._parts.clear()
        self._size = 0
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._keep(head)
            return b""
        self._at_start = False
        return head.removeprefix(_BOM)

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._parts.append(piece)
            self._size += len(piece)
            if self._size > self._max_line:
                raise LineTooLongError(f"a line is longer than {self._max_line} bytes")

    def _events(self, lines: list[bytes]) -> list[Event]:
        found: list[Event] = []
        for line in lines:
            if not line:
                if self._data:
                    found.append(Event(self._name, b"\n".join(self._data) if len(self._data) > 1 else self._data[0]))
                    self._data = []
                    self._data_size = 0
                self._name = b""
            elif line.startswith(b"data:"):
                self._add_data(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"event:"):
                self._name = line[6:].removeprefix(b" ")
            elif line == b"data":
                self._add_data(b"")
            # Comments, `id`, `retry` and unknown fields carry nothing that is needed here.
        return found

    def _add_data(self, line: bytes) -> None:
        self._data.append(line)
        self._data_size += len(line)
        if self._data_size > self._max_line:
            raise LineTooLongError(f"an event is longer than {self._max_line} bytes")
