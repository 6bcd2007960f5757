"""What an answer says, in one form, however it came: whole or in pieces, as bytes or as an SDK's objects.

A receipt's ``response.content`` is a digest over this form. Standard library only: also ships to people who check
receipts without a server.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

Json = dict[str, Any]


def of_completion(choices: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The ``choices`` of a whole chat completion in canonical form, ordered by index."""
    found = [_choice(each) for each in choices]
    found.sort(key=_index)
    return found


def of_chunks(chunks: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The same of a stream's chunks."""
    joined = Joined()
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            joined.delta(choice.get("index") or 0, choice.get("delta") or {})
            if choice.get("finish_reason"):
                joined.finish(choice.get("index") or 0, choice["finish_reason"])
    return joined.choices()


def of_vectors(data: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The ``data`` of an embeddings answer in canonical form; a vector as it was sent, numbers or base64."""
    return sorted(
        ({name: each[name] for name in ("embedding", "index")} for each in data), key=lambda each: each["index"]
    )


def packed(vectors: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The same with base64 in place of numbers (32-bit floats, little-endian): SDKs ask for that, and unpack it."""
    return [{**each, "embedding": _base64(each["embedding"])} for each in vectors]


def _base64(vector: Any) -> Any:
    if not isinstance(vector, list):
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def of_transcript(documents: Sequence[Mapping[str, Any]]) -> list[Json]:
    """What was said, of a whole transcript or of a stream's events."""
    whole = next((each["text"] for each in documents if isinstance(each.get("text"), str)), None)
    if whole is None:
        whole = "".join(each["delta"] for each in documents if each.get("type") == "transcript.text.delta")
    return [{"index": 0, "text": whole}]


class Joined:
    """Puts the deltas of a stream together."""

    def __init__(self) -> None:
        self._choices: dict[int, _Pieces] = {}

    def delta(self, index: int, delta: Mapping[str, Any]) -> None:
        pieces = self._choices.setdefault(index, _Pieces())
        for name, value in delta.items():
            if name in _TEXTS and isinstance(value, str):
                pieces.texts.setdefault(name, []).append(value)
            elif name == "tool_calls":
                for call in value or ():
                    pieces.call(call)

    def finish(self, index: int, reason: str) -> None:
        self._choices.setdefault(index, _Pieces()).reason = reason

    def choices(self) -> list[Json]:
        return [self._choices[index].choice(index) for index in sorted(self._choices)]


_TEXTS = ("content", "reasoning_content", "refusal")


class _Pieces:
    """One choice while its deltas come."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.reason: str | None = None
        self._calls: dict[int, Json] = {}

    def call(self, delta: Mapping[str, Any]) -> None:
        """A piece of a tool call: id and type come once, the texts inside are put together."""
        found = self._calls.setdefault(delta.get("index") or 0, {})
        for name in ("id", "type"):
            if delta.get(name):
                found[name] = delta[name]
        for kind in _CALLED:
            for name, value in (delta.get(kind) or {}).items():
                if isinstance(value, str):
                    inner = found.setdefault(kind, {})
                    inner[name] = inner.get(name, "") + value

    def choice(self, index: int) -> Json:
        message: Json = {name: "".join(texts) for name, texts in self.texts.items()}
        message["tool_calls"] = [self._calls[place] for place in sorted(self._calls)]
        return _choice({"index": index, "finish_reason": self.reason, "message": message})


_CALLED = ("function", "custom")
"""What a tool call calls, and where its name and its input stand."""


_BESIDE = ("reasoning_content", "refusal")
_index = itemgetter("index")


def _choice(choice: Mapping[str, Any]) -> Json:
    given = choice.get("message") or {}
    message: Json = {"content": _text(given, "content"), "role": "assistant"}
    for name in _BESIDE:
        if name in given and (text := _text(given, name)):
            message[name] = text
    if calls := given.get("tool_calls"):
        message["tool_calls"] = [_call(each) for each in calls]
    found: Json = {"index": choice["index"], "message": message}
    if choice.get("finish_reason"):
        found["finish_reason"] = choice["finish_reason"]
    return found


def _call(call: Mapping[str, Any]) -> Json:
    found: Json = {name: call[name] for name in ("id", "type") if call.get(name)}
    for kind, text in (("function", "arguments"), ("custom", "input")):
        if inner := call.get(kind):
            found[kind] = {"name": _text(inner, "name") or "", text: _text(inner, text) or ""}
    return found


def _text(given: Mapping[str, Any], name: str) -> str | None:
    """A text that is not empty; what a provider sends under that name in another type is no part of the form."""
    value = given.get(name)
    return value if isinstance(value, str) and value else None
