"""What led a model to call tools: taken from its answer, and put back where a caller's history lacks it.

Some providers want the reasoning behind a call back with the call's result, signed as they gave it, and many clients
leave it out. Nothing here does I/O; `sealgate.relay.recall` keeps and finds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sealgate.providers.base import Json

_TEXTS = {"reasoning.text": "text", "reasoning.summary": "summary"}
"""Types of entries that may come in pieces, and which of their fields does."""


class Thoughts:
    """The reasoning of one answer, gathered from what goes to the caller: its messages, or their deltas."""

    def __init__(self, needs: Collection[str]) -> None:
        self._needs = needs
        self._found: dict[int, dict[str, list[Any]]] = {}
        self._calls: dict[int, str] = {}

    def take(self, index: int, said: Mapping[str, Any]) -> None:
        """A message of the choice ``index``, or a delta of it."""
        for name in self._needs:
            value = said.get(name)
            if value:
                pieces = self._found.setdefault(index, {}).setdefault(name, [])
                pieces.extend(value if isinstance(value, list) else (value,))
        calls = said.get("tool_calls")
        if calls and index not in self._calls:
            self._calls[index] = calls[0].get("id") or ""

    def states(self) -> Iterator[tuple[str, Json]]:
        """The id of the first call of each choice that calls, and the fields to put back; none where none came."""
        for index, call in self._calls.items():
            found = self._found.get(index, {})
            yield call, {name: put_together(name, pieces) for name, pieces in found.items()}


def put_together(name: str, pieces: list[Any]) -> Any:
    """The value of the field ``name`` out of its pieces: a text, or a list of entries."""
    if name != "reasoning_details":
        return "".join(piece for piece in pieces if isinstance(piece, str))
    found: list[Any] = []
    texts: list[str] = []
    """Pieces of the last entry's text."""
    for piece in pieces:
        if not (found and _continues(found[-1], piece)):
            _close(found, texts)
            found.append(dict(piece) if isinstance(piece, dict) else piece)
        else:
            found[-1] |= {key: value for key, value in piece.items() if value is not None}
        if (field := _text_field(piece)) is not None:
            texts.append(piece[field])
    _close(found, texts)
    return found


def _text_field(piece: Any) -> str | None:
    """The field of an entry that may come in pieces."""
    kind = piece.get("type") if isinstance(piece, dict) else None
    field = _TEXTS.get(kind) if isinstance(kind, str) else None
    return field if field is not None and isinstance(piece.get(field), str) else None


def _continues(last: Any, piece: Any) -> bool:
    """Whether an entry is a further piece of the last one, as OpenRouter streams them."""
    if not isinstance(last, dict) or not isinstance(piece, dict) or piece.get("type") not in list(_TEXTS):
        return False
    same = all(last.get(key) == piece.get(key) for key in ("type", "index", "format"))
    return same and piece.get("index") is not None and not last.get("signature")


def _close(found: list[Any], texts: list[str]) -> None:
    """The last entry has come to its end."""
    if len(texts) > 1:
        found[-1][_TEXTS[found[-1]["type"]]] = "".join(texts)
    texts.clear()


class OpenLoop(NamedTuple):
    """Where a conversation stands that goes on with the results of tools, or begins anew."""

    opener: Json
    """The user's message that the tools are called for; empty where there is none."""
    calls: tuple[int, ...]
    """Messages with calls since then, the latest first."""


def open_loop(messages: Sequence[Json]) -> OpenLoop:
    """The loop at the end of a conversation: what came after the user's last word.

    A user's message right behind a tool's result is part of the result: some clients show pictures that way.
    """
    calls: list[int] = []
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        role = message["role"]
        if role == "assistant" and message.get("tool_calls"):
            calls.append(index)
        elif role == "user" and (index == 0 or messages[index - 1]["role"] != "tool"):
            return OpenLoop(message, tuple(calls))
    return OpenLoop({}, tuple(calls))


def digest(opener: Json) -> str:
    """Which conversation it is, as far as its opening tells.

    Only of the text: marks for caches wander from message to message, and a text becomes a list of parts for one.
    """
    content = opener.get("content")
    texts = [part.get("text") for part in content] if isinstance(content, list) else [content]
    return hashlib.sha256("".join(text for text in texts if isinstance(text, str)).encode()).hexdigest()


def lacking(messages: Sequence[Json], calls: Sequence[int], needs: Collection[str]) -> Sequence[int]:
    """Those of ``calls`` without their reasoning; none where the latest has it, because then the client keeps it."""
    found = [index for index in calls if not _has(messages[index], needs)]
    return found if found and found[0] == calls[0] else ()


def _has(message: Json, needs: Collection[str]) -> bool:
    # Google's OpenAI surface has its signatures on the calls themselves.
    return any(message.get(name) for name in needs) or any("extra_content" in call for call in message["tool_calls"])
