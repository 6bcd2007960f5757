"""The messages of a request, read once: who spoke last, what was said and shown, and how many tokens it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sealgate.providers.sandbox import tokens
from sealgate.providers.sandbox.chance import digest
from sealgate.providers.sandbox.media import describe_audio, describe_file, describe_image
from sealgate.providers.sandbox.refused import RefusedError

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
PER_MESSAGE = 4
"""Tokens a message costs besides its text: its role and its borders."""
PER_MEDIUM = 64
"""Tokens an image, a file or a sound costs; the sandbox does not look inside, so all cost the same."""

_MEDIA: dict[str, Callable[[dict[str, Any], str], str]] = {
    "image_url": describe_image,
    "file": describe_file,
    "input_audio": describe_audio,
}


@dataclass(slots=True)
class Conversation:
    """What the answer depends on. ``seen`` describes the media of the last user message, ``results`` holds tool
    name and result text of the tool messages that end the conversation."""

    last_role: str = ""
    text: str = ""
    seen: list[str] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)
    tokens: int = 0
    fingerprint: int = 0


def read_messages(messages: Any) -> Conversation:
    """Read the ``messages`` of a request. Raises `RefusedError`."""
    if not isinstance(messages, list) or not messages:
        raise RefusedError("'messages' must be a list with at least one message.", param="messages")
    reader = _Reader()
    for index, message in enumerate(messages):
        reader.add(message, index)
    return reader.done()


class _Reader:
    def __init__(self) -> None:
        self.talk = Conversation()
        self.texts: list[str] = []
        self.names: dict[str, str] = {}

    def add(self, message: Any, index: int) -> None:
        param = f"messages[{index}]"
        if not isinstance(message, dict):
            raise RefusedError("A message must be an object.", param=param, code="invalid_type")
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise RefusedError("A message needs a known 'role'.", param=f"{param}.role")
        talk = self.talk
        talk.tokens += PER_MESSAGE
        self.texts.append(role)
        content = message.get("content")
        seen: list[str] = []
        text = content if isinstance(content, str) else self._content(content, role, param, seen)
        talk.tokens += tokens.count(text)
        self.texts.append(text)
        talk.last_role = role
        if role == "user":
            talk.text, talk.seen = text, seen
        if role in ("tool", "function"):
            talk.results.append((self._tool_name(message), text))
            return
        talk.results = []
        if role == "assistant" and message.get("tool_calls"):
            self._calls(message["tool_calls"], param)

    def done(self) -> Conversation:
        self.talk.fingerprint = digest(*(text.encode() for text in self.texts))
        return self.talk

    def _content(self, content: Any, role: str, param: str, seen: list[str]) -> str:
        """The text of content that is not a plain string; descriptions of media go to ``seen``."""
        if content is None:
            if role == "assistant":
                return ""
            raise RefusedError(f"A message of role '{role}' needs 'content'.", param=f"{param}.content")
        if not isinstance(content, list):
            raise RefusedError(
                "'content' must be a string or a list of parts.", param=f"{param}.content", code="invalid_type"
            )
        texts = []
        for number, part in enumerate(content):
            where = f"{param}.content[{number}]"
            if not isinstance(part, dict):
                raise RefusedError("A content part must be an object.", param=where, code="invalid_type")
            texts.append(self._part(part, where, seen))
        return "\n".join(text for text in texts if text)

    def _part(self, part: dict[str, Any], where: str, seen: list[str]) -> str:
        kind = part.get("type")
        if kind in ("text", "refusal"):
            text = part.get(kind)
            if not isinstance(text, str):
                raise RefusedError(f"'{kind}' must be a string.", param=f"{where}.{kind}", code="invalid_type")
            return text
        describe = _MEDIA.get(kind) if isinstance(kind, str) else None
        if describe is None:
            raise RefusedError("The type of this content part is not known to the sandbox.", param=f"{where}.type")
        seen.append(describe(part, where))
        self.talk.tokens += PER_MEDIUM
        self.texts.append(seen[-1])
        return ""

    def _calls(self, calls: Any, param: str) -> None:
        """Remember the names of an assistant's tool calls, and count what they cost."""
        if not isinstance(calls, list):
            raise RefusedError("'tool_calls' must be a list.", param=f"{param}.tool_calls", code="invalid_type")
        for call in calls:
            kind = call.get("type", "function") if isinstance(call, dict) else None
            body = call.get(kind) if isinstance(kind, str) else None
            if not isinstance(body, dict):
                raise RefusedError("A tool call must be an object with its function.", param=f"{param}.tool_calls")
            name, said = body.get("name"), body.get("arguments", body.get("input"))
            for text in (name, said):
                if isinstance(text, str):
                    self.talk.tokens += tokens.count(text)
                    self.texts.append(text)
            if isinstance(name, str) and isinstance(call.get("id"), str):
                self.names[call["id"]] = name

    def _tool_name(self, message: dict[str, Any]) -> str:
        call = message.get("tool_call_id")
        name = self.names.get(call) if isinstance(call, str) else None
        given = message.get("name")
        return name or (given if isinstance(given, str) else "")
