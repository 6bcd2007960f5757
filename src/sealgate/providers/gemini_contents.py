"""OpenAI's messages as Gemini's contents: roles, parts, calls and their results, media, thought signatures.

Source: ``google-genai`` (``types.Content``), ai.google.dev/gemini-api/docs/function-calling, …/thought-signatures and
…/file-input-methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sealgate.formats import ids
from sealgate.providers.base import Adjustment, Json
from sealgate.providers.gemini_answer import SIGNED
from sealgate.providers.openai import UNREADABLE

FILES = "https://generativelanguage.googleapis.com/v1beta/"
"""Where AI Studio's uploaded files are; ``file_id`` may be short for one of them."""
UNSIGNED = "skip_thought_signature_validator"
"""What Gemini takes in place of a signature that is lost, where the call came from another model or client."""
TYPES = {
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "heif": "image/heif", "bmp": "image/bmp", "pdf": "application/pdf", "txt": "text/plain",
    "md": "text/markdown", "csv": "text/csv", "html": "text/html", "json": "application/json", "mp3": "audio/mpeg",
    "wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "m4a": "audio/mp4", "mp4": "video/mp4",
    "mov": "video/quicktime", "webm": "video/webm",
}  # fmt: skip
"""Ends of names to media types; Vertex wants one with each address."""
_OTHERS = "it is of another provider"


class Conversation:
    """Messages on their way to ``contents``; what is lost or mended on it is added to ``said``.

    ``modern`` is for models that take media in the results of calls and ask for their signatures back (Gemini 3).
    """

    def __init__(self, said: list[Adjustment], *, modern: bool) -> None:
        self._said = said
        self._modern = modern
        self._system: list[Json] = []
        self._contents: list[Json] = []
        self._names: dict[str, str] = {}
        """The function that each call was of: its result names it again."""
        self._answering = False
        """Whether the last content holds results, which stand alone."""

    def read(self, messages: Iterable[Json]) -> Json:
        """``contents``, and ``systemInstruction`` where there is one."""
        for message in messages:
            self._message(message)
        if not self._contents:
            self._note("messages", "repaired", "a blank user message was added")
            self._add("user", [{"text": " "}])
        found: Json = {"contents": self._contents}
        if self._system:
            found["systemInstruction"] = {"parts": self._system}
        return found

    def _message(self, message: Json) -> None:
        match message["role"]:
            case "system" | "developer" as role:
                if not self._contents:
                    self._system += self._parts(message["content"])
                else:
                    self._note("messages[].role", "renamed", f"{role} in mid-conversation sent as user")
                    self._add("user", self._parts(message["content"]))
            case "user":
                self._add("user", self._parts(message["content"]))
            case "assistant":
                self._add("model", self._spoken(message))
            case "tool":
                self._add("user", self._result(message), answers=True)
            case _:
                part = {
                    "functionResponse": {"name": message["name"], "response": _object(message.get("content") or "")}
                }
                self._add("user", [part], answers=True)

    def _add(self, role: str, parts: list[Json], *, answers: bool = False) -> None:
        """Add parts to the last turn where it is of the same role. The results of one turn's calls go together."""
        if not parts:
            return
        if self._contents and self._contents[-1]["role"] == role and self._answering == answers:
            self._contents[-1]["parts"] += parts
        else:
            self._contents.append({"role": role, "parts": parts})
        self._answering = answers

    # What a message says

    def _parts(self, content: Any) -> list[Json]:
        if isinstance(content, str):
            return [{"text": content}]
        return [self._part(part) for part in content or ()]

    def _part(self, part: Json) -> Json:
        match part["type"]:
            case "text":
                return {"text": part["text"]}
            case "refusal":
                return {"text": part["refusal"]}
            case "image_url":
                return self._image(part["image_url"])
            case "input_audio":
                sound = part["input_audio"]
                return {"inlineData": {"mimeType": f"audio/{sound['format']}", "data": sound["data"]}}
            case _:
                return self._file(part["file"])

    def _image(self, image: Json) -> Json:
        if image.get("detail") not in (None, "auto"):
            self._note("messages[].content[].image_url.detail", "dropped", "the provider takes no such field")
        url = image["url"]
        if url[:5].lower() == "data:":
            return _inline(url)
        kind = _type_of(url)
        if kind is None and not url.startswith(FILES):
            self._note("messages[].content[].image_url", "repaired", "its type is not known; image/jpeg is said")
            kind = "image/jpeg"
        return _at(url, kind)

    def _file(self, file: Json) -> Json:
        if (data := file.get("file_data")) is not None:
            return _inline(data)
        name = str(file["file_id"])
        uri = FILES + name if name.startswith("files/") else name
        return _at(uri, _type_of(file.get("filename") or name))

    # What the model said and called before

    def _spoken(self, message: Json) -> list[Json]:
        signatures = self._signatures(message.get("reasoning_details") or ())
        if message.get("reasoning_content"):
            self._note("messages[].reasoning_content", "dropped", "the provider takes no thoughts back")
        parts = signatures.thoughts
        content = message.get("content") or message.get("refusal")
        said = [part for part in self._parts(content) if part != {"text": ""}] if content else []
        if signatures.text is not None:
            if not said or "text" not in said[-1]:
                said.append({"text": ""})
            said[-1]["thoughtSignature"] = signatures.text
        return parts + said + self._called(message, signatures.calls)

    def _called(self, message: Json, signatures: Mapping[str, str]) -> list[Json]:
        calls = [self._call(call, signatures) for call in message.get("tool_calls") or ()]
        if (older := message.get("function_call")) is not None:
            calls.append({"functionCall": {"name": older["name"], "args": self._arguments(older["arguments"])}})
        if self._modern and calls and not any("thoughtSignature" in part for part in calls):
            self._note("messages[].tool_calls", "repaired", "sent without the signature of the thought behind it")
            calls[0]["thoughtSignature"] = UNSIGNED
        return calls

    def _call(self, call: Json, signatures: Mapping[str, str]) -> Json:
        if (custom := call.get("custom")) is not None:
            name, arguments = custom["name"], {"input": custom["input"]}
        else:
            name, arguments = call["function"]["name"], self._arguments(call["function"]["arguments"])
        self._names[call["id"]] = name
        part: Json = {"functionCall": {**_identity(call["id"]), "name": name, "args": arguments}}
        if signature := signatures.get(call["id"]) or _carried(call):
            part["thoughtSignature"] = signature
        return part

    def _arguments(self, text: str) -> Json:
        if not text.strip():
            return {}
        try:
            found = msgspec.json.decode(text)
        except UNREADABLE:
            found = None
        if isinstance(found, dict):
            return found
        self._note("messages[].tool_calls[].function.arguments", "repaired", "they are no JSON object; sent as text")
        return {"arguments": text}

    def _signatures(self, details: Iterable[Any]) -> Signatures:
        found = Signatures({}, [])
        for detail in details:
            if not isinstance(detail, dict) or detail.get("format") != SIGNED:
                self._note("messages[].reasoning_details", "dropped", _OTHERS)
            elif isinstance(signature := detail.get("signature"), str):
                text = str(detail.get("text") or "")
                found.thoughts.append({"text": text, "thought": True, "thoughtSignature": signature})
            elif isinstance(data := detail.get("data"), str):
                if isinstance(call := detail.get("id"), str):
                    found.calls[call] = data
                else:
                    found.text = data
        return found

    # What its calls came to

    def _result(self, message: Json) -> list[Json]:
        call, content = message["tool_call_id"], message["content"]
        name = self._names.get(call) or message.get("name") or call
        media: list[Json] = []
        if not isinstance(content, str):
            parts = self._parts(content)
            content = "".join(part["text"] for part in parts if "text" in part)
            media = [part for part in parts if "text" not in part]
        result: Json = {**_identity(call), "name": name, "response": _object(content)}
        if media and self._modern:
            return [{"functionResponse": {**result, "parts": media}}]
        return [{"functionResponse": result}, *media]

    def _note(self, param: str, action: str, detail: str) -> None:
        self._said.append(Adjustment(param, action, detail))


class Signatures(msgspec.Struct):
    """What came with a model's turn and goes back with it: by call, with its thoughts, and with its text."""

    calls: dict[str, str]
    thoughts: list[Json]
    text: str | None = None


def _identity(call: str) -> Json:
    """A call's id goes back to a model that gave it; one that this gateway made up was never there."""
    made_up = call.startswith("call_") and ids.uuid7_milliseconds(call[5:]) is not None
    return {} if made_up else {"id": call}


def _carried(call: Json) -> str | None:
    """The signature on a call itself, as Google's own OpenAI surface has it."""
    try:
        found = call["extra_content"]["google"]["thought_signature"]
    except (KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _object(text: str) -> Json:
    """A result as an object, which is what Gemini takes."""
    if text[:1] == "{" or text.lstrip()[:1] == "{":
        try:
            found: Json = msgspec.json.decode(text)
        except UNREADABLE:
            return {"result": text}
        return found
    return {"result": text}


def _inline(url: str) -> Json:
    """A data URL's bytes and their type."""
    head, _, data = url.partition(",")
    return {"inlineData": {"mimeType": head[5:].partition(";")[0], "data": data}}


def _at(uri: str, kind: str | None) -> Json:
    """A file by its address; of its own files Google knows the type."""
    return {"fileData": {"mimeType": kind, "fileUri": uri} if kind else {"fileUri": uri}}


def _type_of(name: str) -> str | None:
    """A media type by the end of a file's name or an address's path."""
    path = name.partition("#")[0].partition("?")[0]
    return TYPES.get(path.rpartition(".")[2].lower())
