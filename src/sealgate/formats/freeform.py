"""The text inside ``{"input": "..."}``, read while it comes: how a tool of free-form input is called as a function.

Providers that know functions only are offered such a tool as one with this single argument. What a model writes there
is the tool's input, and whoever watches the answer wants it piece by piece, not when the JSON is whole.
"""

from __future__ import annotations

import json
import re

_HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_BEGUN = re.compile(r'(?:\s*(?:\{\s*(?:"(?:i(?:n(?:p(?:u(?:t(?:"\s*(?::\s*)?)?)?)?)?)?)?)?)?)?')
"""What could still become a `_HEAD`."""
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_PLAIN = re.compile(r'[^"\\]+')
_HEX = re.compile(r"[0-9a-fA-F]{4}")
_PATIENCE = 256
"""Characters within which a head must have come: nobody writes more white space than that."""


class FreeForm:
    """Give it the pieces of the JSON; it gives the pieces of the text. `end` gives the rest.

    JSON of another form is kept until the end: then ``input`` counts where there is such a text, else all of it as it
    is, so that nothing a model said is lost.
    """

    def __init__(self) -> None:
        self._rest = ""
        """Not understood yet."""
        self._state = "head"
        """``head``, ``text``, ``over``, or ``other``."""
        self._high: int | None = None
        """The first half of a surrogate pair, until the second comes."""

    def feed(self, piece: str) -> str:
        self._rest += piece
        if self._state == "head":
            self._look()
        if self._state == "text":
            return self._text()
        if self._state == "over":
            self._rest = ""
        return ""

    def end(self) -> str:
        """What is left when no more comes."""
        if self._state in ("head", "other"):
            return _of_other(self._rest)
        return "" if self._high is None else "\ufffd"

    def _look(self) -> None:
        if found := _HEAD.match(self._rest):
            self._state, self._rest = "text", self._rest[found.end() :]
        elif len(self._rest) > _PATIENCE or not _BEGUN.fullmatch(self._rest):
            self._state = "other"

    def _text(self) -> str:
        found: list[str] = []
        at, text = 0, self._rest
        while at < len(text):
            if plain := _PLAIN.match(text, at):
                found += self._unpaired(), plain[0]
                at = plain.end()
            elif text[at] == '"':
                found.append(self._unpaired())
                self._state, at = "over", len(text)
            else:
                read = self._escape(text, at, found)
                if not read:
                    break
                at += read
        self._rest = text[at:]
        return "".join(found)

    def _escape(self, text: str, at: int, found: list[str]) -> int:
        """Read one escape; how long it is, or 0 where it is not all there."""
        if len(text) < at + 2:
            return 0
        if text[at + 1] != "u":
            # An unknown escape is no JSON; the character counts as it stands.
            found += self._unpaired(), _ESCAPES.get(text[at + 1], text[at + 1])
            return 2
        if len(text) < at + 6:
            return 0
        digits = text[at + 2 : at + 6]
        if not _HEX.fullmatch(digits):
            found += self._unpaired(), "\\u"
            return 2
        self._unit(int(digits, 16), found)
        return 6

    def _unit(self, unit: int, found: list[str]) -> None:
        """One UTF-16 code unit."""
        if self._high is not None and 0xDC00 <= unit < 0xE000:
            found.append(chr(0x10000 + ((self._high - 0xD800) << 10) + (unit - 0xDC00)))
            self._high = None
            return
        found.append(self._unpaired())
        if 0xD800 <= unit < 0xDC00:
            self._high = unit
        else:
            found.append("\ufffd" if 0xDC00 <= unit < 0xE000 else chr(unit))

    def _unpaired(self) -> str:
        """What stands for half of a pair whose other half did not come."""
        half, self._high = self._high, None
        return "" if half is None else "\ufffd"


def wrapped(text: str) -> str:
    """A free-form input as the arguments of a function."""
    return json.dumps({"input": text}, ensure_ascii=False)


def _of_other(text: str) -> str:
    try:
        found = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        return text
    if found == {}:
        return ""
    given = found.get("input") if isinstance(found, dict) else None
    return given.encode("utf-8", "replace").decode() if isinstance(given, str) else text
