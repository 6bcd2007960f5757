"""A conversation in OpenAI's shape as Anthropic's: instructions apart, turns that alternate, blocks in each.

Source: the Messages API reference (platform.claude.com/docs/en/api/messages).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.base import Adjustment, Json

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
FORMAT = "anthropic-claude-v1"
"""What ``reasoning_details`` of this provider are marked with (the form of OpenRouter's API)."""

_OWN = ("cache_control", "citations", "context")
"""What a part may say in the provider's own terms."""
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_IMAGE_TYPES = {"image/jpg": "image/jpeg"}
_THINKING = ("thinking", "redacted_thinking")


class Conversation:
    """What `read` makes of messages. ``said`` tells each adjustment once."""

    def __init__(self) -> None:
        self.system: list[Json] = []
        self.turns: list[Json] = []
        self.said: dict[Adjustment, None] = {}

    def read(self, messages: Iterable[Json]) -> None:
        """Take all messages. Raises `UpstreamError` for media that the provider has no form for."""
        for message in messages:
            self._message(message)
        if not self.turns and self.system:
            self.turns.append({"role": "user", "content": self.system})
            self.system = []
            self._say("messages[].role", "emulated", "instructions alone are sent as the user's turn")
        elif self.turns and self.turns[0]["role"] == "assistant":
            self.turns.insert(0, {"role": "user", "content": [{"type": "text", "text": "(continued)"}]})
            self._say("messages", "emulated", "a user's turn is put before the assistant's")
        self._end_cleanly()

    @property
    def unsigned_calls(self) -> bool:
        """Whether the tool calls that are being answered came without the reasoning that led to them."""
        for turn in reversed(self.turns):
            kinds = {block["type"] for block in turn["content"]}
            if turn["role"] == "user" and "tool_result" not in kinds:
                return False
            if turn["role"] == "assistant":
                return "tool_use" in kinds and turn["content"][0]["type"] not in _THINKING
        return False

    def names_called(self) -> list[str]:
        """The tools that were called so far, in the order of their first call."""
        blocks = (block for turn in self.turns for block in turn["content"])
        return list(dict.fromkeys(block["name"] for block in blocks if block["type"] == "tool_use"))

    def _message(self, message: Json) -> None:
        role = message["role"]
        if "name" in message and role in ("system", "developer", "user", "assistant"):
            self._say("messages[].name", "dropped", "the provider takes no such field")
        if role == "user":
            self._add("user", self._parts(message["content"]))
        elif role == "assistant":
            self._add("assistant", self._assistant(message))
        elif role == "tool":
            self._add("user", [self._result(message["tool_call_id"], message)])
        elif role == "function":
            self._add("user", [self._result(message["name"], message)])
        else:
            self._instructions(list(self._parts(message["content"])))

    def _instructions(self, blocks: list[Json]) -> None:
        if not self.turns:
            self.system += blocks
            return
        self._say("messages[].role", "emulated", "later instructions are sent in the user's turn, in <system> tags")
        tagged = ({**block, "text": f"<system>\n{block['text']}\n</system>"} for block in blocks if "text" in block)
        self._add("user", tagged)

    def _add(self, role: str, blocks: Iterable[Json]) -> None:
        """Put blocks at the end, in the same turn where the role is the same; results of tools go first in a turn."""
        found = list(blocks)
        if not found:
            return
        if not self.turns or self.turns[-1]["role"] != role:
            self.turns.append({"role": role, "content": found})
            return
        content = self.turns[-1]["content"]
        if found[0]["type"] == "tool_result" and content[-1]["type"] != "tool_result":
            place = sum(block["type"] == "tool_result" for block in content)
            content[place:place] = found
        else:
            content += found

    def _end_cleanly(self) -> None:
        """A final assistant turn, which the model goes on with, must not end in white space."""
        if self.turns and self.turns[-1]["role"] == "assistant":
            last = self.turns[-1]["content"][-1]
            if last["type"] == "text" and last["text"] != last["text"].rstrip():
                last["text"] = last["text"].rstrip()
                self._say("messages[].content", "repaired", "white space at the end of the last turn is left out")

    def _say(self, param: str, action: str, detail: str) -> None:
        self.said[Adjustment(param, action, detail)] = None

    # One message

    def _parts(self, content: Any) -> Iterator[Json]:
        if not isinstance(content, list):
            content = [{"type": "text", "text": content}] if content else ()
        for part in content:
            if (block := self._block(part)) is not None:
                for name in _OWN:
                    if name in part and (name == "cache_control" or block["type"] == "document"):
                        block[name] = part[name]
                yield block

    def _block(self, part: Json) -> Json | None:
        kind = part["type"]
        if kind == "image_url":
            if part["image_url"].get("detail") not in (None, "auto"):
                self._say("messages[].image_url.detail", "dropped", "the provider takes no such field")
            return {"type": "image", "source": _source(part["image_url"]["url"])}
        if kind == "file":
            return _document(part["file"])
        text = part.get(kind)  # what is left are texts and refusals
        if not isinstance(text, str):
            raise UpstreamError(Failure.MEDIA, f"The provider takes no parts of type {kind}.", param="messages")
        return {"type": "text", "text": text} if text and not text.isspace() else None

    def _assistant(self, message: Json) -> Iterator[Json]:
        yield from self._reasoning(message)
        yield from self._parts(message.get("content"))
        if refusal := message.get("refusal"):
            yield {"type": "text", "text": refusal}
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {"name": call["custom"]["name"], "arguments": call["custom"]["input"]}
            yield self._call(call["id"], function)
        if function := message.get("function_call"):
            yield self._call(function["name"], function)

    def _call(self, given: str, function: Json) -> Json:
        arguments = function["arguments"]
        try:
            value = msgspec.json.decode(arguments) if arguments.strip() else {}
        except UNREADABLE:
            value = arguments
        if not isinstance(value, dict):
            value = {"arguments": value}
            self._say("messages[].tool_calls", "repaired", "arguments that are no JSON object are sent inside one")
        return {"type": "tool_use", "id": call_id(given), "name": function["name"], "input": value}

    def _result(self, given: str, message: Json) -> Json:
        result: Json = {"type": "tool_result", "tool_use_id": call_id(given)}
        if blocks := list(self._parts(message.get("content"))):
            simple = len(blocks) == 1 and blocks[0].keys() == {"type", "text"}
            result["content"] = blocks[0]["text"] if simple else blocks
        if "cache_control" in message:
            result["cache_control"] = message["cache_control"]
        return result

    def _reasoning(self, message: Json) -> Iterator[Json]:
        details = message.get("reasoning_details")
        found = list(thinking_blocks(details or ()))
        if not found and (details or message.get("reasoning_content")):
            self._say("messages[].reasoning", "dropped", "only reasoning that the provider has signed can be sent back")
        yield from found


def call_id(given: str) -> str:
    """A tool call's id in the characters that the provider takes; ids come from other providers, too."""
    return given if _CALL_ID.fullmatch(given) else f"call_{hashlib.sha256(given.encode()).hexdigest()[:24]}"


def thinking_blocks(details: Iterable[Any]) -> Iterator[Json]:
    """Thinking blocks from ``reasoning_details``: ours, streamed pieces of them, or the provider's own blocks.

    What is none of these, or has no signature, is left out.
    """
    found: dict[str, Json] = {}
    for place, entry in enumerate(details):
        if isinstance(entry, dict):
            _collect(found, place, entry)
    for block in found.values():
        if block["type"] == "redacted_thinking" or block["signature"]:
            yield block


def _collect(found: dict[str, Json], place: int, entry: Json) -> None:
    kind, mark = entry.get("type"), entry.get("format")
    if isinstance(mark, str) and not mark.startswith("anthropic"):
        return
    if kind in ("redacted_thinking", "reasoning.encrypted"):
        if data := _words(entry, "data"):
            found[f"at {place}"] = {"type": "redacted_thinking", "data": data}
    elif kind in ("thinking", "reasoning.text"):
        number = entry.get("index") if kind == "reasoning.text" else None
        name = f"at {place}" if number is None else f"number {number}"
        block = found.setdefault(name, {"type": "thinking", "thinking": "", "signature": ""})
        block["thinking"] += _words(entry, "thinking" if kind == "thinking" else "text")
        block["signature"] = _words(entry, "signature") or block["signature"]


def _words(entry: Json, name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def detail(block: Json, index: int) -> Json:
    """A thinking block as an entry of ``reasoning_details``."""
    if block["type"] == "redacted_thinking":
        return {"type": "reasoning.encrypted", "data": block.get("data") or "", "format": FORMAT, "index": index}
    return {
        "type": "reasoning.text",
        "text": block.get("thinking") or "",
        "signature": block.get("signature") or "",
        "format": FORMAT,
        "index": index,
    }


# Media


def _source(url: str) -> Json:
    if url[:5].lower() != "data:":
        return {"type": "url", "url": url}
    media_type, data = _data_url(url)
    return {"type": "base64", "media_type": _IMAGE_TYPES.get(media_type, media_type), "data": data}


def _data_url(url: str) -> tuple[str, str]:
    head, _, data = url.partition(",")
    return head[5:].partition(";")[0].lower(), data


def _document(file: Json) -> Json:
    """A file as a document; a picture as one. Raises `UpstreamError` for other types."""
    data_url, name = file.get("file_data"), file.get("filename")
    title = {"title": name} if name else {}
    if data_url is None:
        return {"type": "document", "source": {"type": "file", "file_id": file["file_id"]}, **title}
    media_type, data = _data_url(data_url)
    if media_type == "application/pdf":
        return {"type": "document", "source": {"type": "base64", "media_type": media_type, "data": data}, **title}
    if media_type.startswith("image/"):
        return {"type": "image", "source": _source(data_url)}
    if media_type.startswith("text/") or media_type in ("application/json", "application/xml"):
        source = {"type": "text", "media_type": "text/plain", "data": _text(data)}
        return {"type": "document", "source": source, **title}
    raise UpstreamError(Failure.MEDIA, f"The provider takes no files of type {media_type}.", param="messages")


def _text(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise UpstreamError(Failure.MEDIA, "A file of text is not UTF-8 in base64.", param="messages") from None
