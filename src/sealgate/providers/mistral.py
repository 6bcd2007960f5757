"""Messages as Mistral takes them: parts, reasoning and ids of its own form, and no field that it does not know.

Source: ``client/models`` of the package mistralai, 3.7.0. A field it does not know is a 422 there, and a tool call's id
must be nine letters and digits, so ids that another provider made are rewritten, the same one always the same way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

from sealgate.providers.base import Adjustment, Change, Json

NOT_TAKEN = "the provider takes no such field"
ID_LENGTH = 9
SIGNED = "mistral-v1"
"""``format`` of the entries in ``reasoning_details`` that carry the signature of a part of thinking."""
_ID = re.compile(r"[a-zA-Z0-9]{9}")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_KNOWN = frozenset({"role", "content", "tool_calls", "tool_call_id", "prefix"})

_REASONING = ("reasoning_content", "reasoning_details")
_OF_CALLS = frozenset({"id", "type", "function", "index"})


def messages() -> Change:
    """The conversation in Mistral's form."""

    def apply(name: str, given: Json, body: Json) -> Iterable[Adjustment]:  # noqa: ARG001
        said: dict[tuple[str, str, str], None] = {}

        def say(field: str, action: str, detail: str) -> None:
            said[f"messages[].{field}", action, detail] = None

        body[name] = [_message(message, say) for message in body[name]]
        return [Adjustment(*each) for each in said]

    detail = "role `developer` as `system`; files, sound, reasoning and ids in its own form; without fields of others"
    return Change("renamed", detail, apply)


Say = Callable[[str, str, str], None]


def _message(message: Json, say: Say) -> Json:
    role = message.get("role")
    found = {name: value for name, value in message.items() if name in _KNOWN or (name == "name" and role == "tool")}
    if role == "developer":
        found["role"] = "system"
        say("role", "renamed", "developer sent as system")
    for name in message:
        if name not in found and name not in _REASONING and message[name]:
            say(name, "dropped", NOT_TAKEN)
    if isinstance(found.get("content"), list):
        found["content"] = [_part(part) for part in found["content"]]
    signature = _signature(message.get("reasoning_details") or (), say)
    thoughts = message.get("reasoning_content") or ""
    if thoughts or signature:
        found["content"] = [_thinking(thoughts, signature), *_as_parts(found.get("content"))]
        say("reasoning_content", "renamed", "sent as a part of the content")
    if calls := found.get("tool_calls"):
        for name in {name: None for call in calls for name in call if name not in _OF_CALLS}:
            say(f"tool_calls[].{name}", "dropped", NOT_TAKEN)
        found["tool_calls"] = [_call(call) for call in calls]
    if "tool_call_id" in found:
        found["tool_call_id"] = _id(found["tool_call_id"])
    return found


def _call(call: Json) -> Json:
    return {name: value for name, value in call.items() if name in _OF_CALLS} | {"id": _id(call.get("id"))}


def _part(part: Json) -> Json:
    """One part of a message. Fields of others in it are left out; what it shows is the same."""
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": part.get("text")}
    if kind == "refusal":
        return {"type": "text", "text": part.get("refusal")}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part["input_audio"]["data"]}
    if kind == "file":
        return _file(part["file"])
    return part


def _file(file: Json) -> Json:
    if file.get("file_data") is None:
        return {"type": "file", "file_id": file.get("file_id")}
    found = {"type": "document_url", "document_url": file["file_data"]}
    return found | ({"document_name": file["filename"]} if file.get("filename") else {})


def _thinking(text: str, signature: str | None) -> Json:
    found = {"type": "thinking", "thinking": [{"type": "text", "text": text}], "closed": True}
    return found if signature is None else {**found, "signature": signature}


def _signature(details: Iterable[Any], say: Say) -> str | None:
    """Mistral's own, the last one where there are several; what others have signed is of no use here."""
    found = None
    for entry in details:
        if isinstance(entry, dict) and entry.get("format") == SIGNED and isinstance(entry.get("signature"), str):
            found = entry["signature"]
        else:
            say("reasoning_details", "dropped", NOT_TAKEN)
    return found


def _as_parts(content: Any) -> list[Json]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _id(given: Any) -> Any:
    """An id of nine letters and digits, the given one where it is such."""
    if not isinstance(given, str) or _ID.fullmatch(given):
        return given
    number = int.from_bytes(hashlib.sha256(given.encode("utf-8", "replace")).digest())
    letters = ""
    for _ in range(ID_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        letters += _DIGITS[digit]
    return letters
