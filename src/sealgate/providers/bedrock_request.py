"""From a request in OpenAI's shape to the body of Bedrock's Converse.

Source: the service model ``bedrock-runtime`` of botocore (``ConverseRequest``), and the Bedrock user guide. What models
differ in is decided by the model's id; an id that says nothing (an ARN of a profile) gets what all of them take.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.anthropic_form import ANSWER_TOOL, Form, cites, in_words, must_call, native
from sealgate.providers.anthropic_models import facts
from sealgate.providers.base import Adjustment, Json
from sealgate.providers.bedrock_models import CLAUDE, EFFORT, GPT, NOVA, REASONING_NOVA, SCHEMAS, TOP_K

_TOOL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_DATA_URL = re.compile(r"data:([^;,]*)[^,]*,", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9 \-()\[\]]+")
_IMAGES = frozenset({"png", "jpeg", "gif", "webp"})
_VIDEOS = {"x-matroska": "mkv", "quicktime": "mov", "mp4": "mp4", "webm": "webm", "x-flv": "flv", "mpeg": "mpeg",
           "x-ms-wmv": "wmv", "3gpp": "three_gp"}  # fmt: skip
_DOCUMENTS = {
    "application/pdf": "pdf", "text/csv": "csv", "application/msword": "doc", "text/html": "html", "text/plain": "txt",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls", "text/markdown": "md",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}  # fmt: skip
_INFERENCE = {"max_tokens": "maxTokens", "max_completion_tokens": "maxTokens", "temperature": "temperature",
              "top_p": "topP"}  # fmt: skip

TERMS = {name: f"`inferenceConfig.{to}`" for name, to in _INFERENCE.items()} | {
    "messages": "`messages`, `system`", "stop": "`inferenceConfig.stopSequences`", "tools": "`toolConfig.tools`",
}  # fmt: skip
"""Where parameters stand in the body."""
DEPENDS = {
    "top_k": "`additionalModelRequestFields`, as the model calls it; not known to every model",
    "reasoning_effort": "`outputConfig.effort` or `additionalModelRequestFields`; not known to every model",
    "parallel_tool_calls": "`additionalModelRequestFields.tool_choice`; Claude only",
    "response_format": "`outputConfig.textFormat`, or a tool that must be called, or words, by the model",
}
"""What the model decides."""

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def converse(fields: Json, model: str, wanted: Form | None) -> tuple[Json, list[Adjustment]]:
    """The body of a Converse request, and what in it is not as the caller sent it. Raises `UpstreamError`.

    ``wanted`` is the form that the answer must have.
    """
    said: list[Adjustment] = []
    conversation = Conversation(said)
    for message in fields["messages"]:
        conversation.add(message)
    body: Json = {"messages": conversation.turns()}
    inference = {to: fields[name] for name, to in _INFERENCE.items() if name in fields}
    if (stop := fields.get("stop")) is not None:
        inference["stopSequences"] = [stop] if isinstance(stop, str) else stop
    if inference:
        body["inferenceConfig"] = inference
    body.update(_tools(fields, wanted, conversation.called, model, said))
    if system := [*conversation.system, *body.pop("system", ())]:
        body["system"] = system
    if extra := _additional(fields, body, model, said):
        body["additionalModelRequestFields"] = extra
    return body, said


# Messages


class Conversation:
    """Messages as turns: user and assistant take turns, and the results of tools come first in a user's turn."""

    def __init__(self, said: list[Adjustment]) -> None:
        self.system: list[Json] = []
        self.called: dict[str, None] = {}
        """Names of the tools that were called, in order."""
        self._said = said
        self._turns: list[Json] = []
        self._names: set[str] = set()

    def add(self, message: Json) -> None:
        role = message["role"]
        if role == "assistant":
            self._extend("assistant", self._assistant(message))
        elif role in ("tool", "function"):
            self._extend("user", [self._result(message)])
        elif role == "user":
            self._extend("user", self._parts(message.get("content")))
        elif not self._turns:
            self.system += self._parts(message.get("content"))
        else:
            # Later instructions stay where they are said: at the top they would read as if said from the start.
            self._say("messages[].role", "renamed", f"a later {role} message is sent as the user's")
            self._extend("user", self._parts(message.get("content")))

    def turns(self) -> list[Json]:
        """The turns, each document with the text beside it that Converse demands."""
        for turn in self._turns:
            blocks = turn["content"]
            if not any("text" in block for block in blocks) and (names := [b for b in blocks if "document" in b]):
                blocks.append({"text": names[0]["document"]["name"]})
                self._say("messages[].content", "emulated", "a document's name is sent as the text beside it")
        return self._turns

    def _extend(self, role: str, blocks: list[Json]) -> None:
        if not blocks:
            return
        if self._turns and self._turns[-1]["role"] == role:
            self._turns[-1]["content"] += blocks
        else:
            self._turns.append({"role": role, "content": blocks})

    def _say(self, param: str, action: str, detail: str) -> None:
        adjustment = Adjustment(param, action, detail)
        if adjustment not in self._said:
            self._said.append(adjustment)

    def _assistant(self, message: Json) -> list[Json]:
        details = message.get("reasoning_details") or ()
        blocks = _reasoning(details)
        if not blocks and (details or message.get("reasoning_content")):
            self._say("messages[].reasoning", "dropped", "only reasoning that the provider has signed can be sent back")
        blocks += self._parts(message.get("content"))
        if message.get("refusal"):
            blocks.append({"text": message["refusal"]})
        for call in message.get("tool_calls") or ():
            blocks.append(self._call(call.get("id", ""), call.get("function") or {}))
        if function := message.get("function_call"):
            blocks.append(self._call(function["name"], function))
        return blocks

    def _call(self, call_id: str, function: Json) -> Json:
        name = function.get("name", "")
        self.called[name] = None
        text = function.get("arguments") or "{}"
        try:
            given = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._say("messages[].tool_calls", "repaired", "arguments that are no JSON object are sent in one")
            given = {"arguments": text}
        return {"toolUse": {"toolUseId": _tool_id(call_id), "name": name, "input": given}}

    def _result(self, message: Json) -> Json:
        call_id = message.get("tool_call_id") or message.get("name", "")
        return {"toolResult": {"toolUseId": _tool_id(call_id), "content": self._parts(message.get("content"))}}

    def _parts(self, content: Any) -> list[Json]:
        """Content as blocks. Texts without a letter are left out: Converse refuses them."""
        if content is None or isinstance(content, str):
            return [{"text": content}] if content and not content.isspace() else []
        return [block for part in content for block in self._part(part)]

    def _part(self, part: Json) -> list[Json]:
        kind = part["type"]
        if kind in ("text", "refusal"):
            return self._parts(part[kind])
        if kind == "image_url":
            return [_image(part["image_url"]["url"])]
        if kind == "input_audio":
            audio = part["input_audio"]
            return [{"audio": {"format": audio["format"], "source": {"bytes": audio["data"]}}}]
        if kind == "file":
            block = self._file(part["file"])
            for name in ("context", "citations"):
                if name in part and "document" in block:
                    block["document"][name] = part[name]
            return [block]
        raise UpstreamError(Failure.MEDIA, f"Converse takes no {kind}", param="messages")

    def _file(self, file: Json) -> Json:
        if not file.get("file_data"):
            raise UpstreamError(Failure.MEDIA, "Converse takes files as data, not by file_id", param="messages")
        media, data = _data(file["file_data"])
        if media.startswith("image/"):
            return _image(file["file_data"])
        if media.startswith("video/"):
            kind = _VIDEOS.get(media.removeprefix("video/"), media.removeprefix("video/"))
            return {"video": {"format": kind, "source": {"bytes": data}}}
        stem, _, ending = (file.get("filename") or "document").rpartition(".")
        known = _DOCUMENTS.get(media) or (ending.lower() if ending.lower() in _DOCUMENTS.values() else None)
        if known is None:
            raise UpstreamError(Failure.MEDIA, f"Converse takes no files of type {media}", param="messages")
        return {"document": {"format": known, "name": self._name(stem or ending), "source": {"bytes": data}}}

    def _name(self, wish: str) -> str:
        """A document's name in the signs that are allowed, different from all others."""
        plain = " ".join(_NOT_IN_NAMES.sub(" ", wish).split())[:180] or "document"
        name, number = plain, 1
        while name in self._names:
            number += 1
            name = f"{plain} ({number})"
        self._names.add(name)
        return name


def _reasoning(details: Iterable[Any]) -> list[Json]:
    """What the model thought before, as it gave it; without its signature it would be refused."""
    texts: dict[str, Json] = {}
    blocks: list[Json] = []
    for place, detail in enumerate(details):
        if not isinstance(detail, dict) or not _is_own(detail.get("format")):
            continue
        kind, data = detail.get("type"), detail.get("data")
        if kind in ("reasoning.encrypted", "redacted_thinking") and isinstance(data, str):
            wrapped = data if detail.get("format") == "bedrock" else base64.b64encode(data.encode()).decode()
            blocks.append({"reasoningContent": {"redactedContent": wrapped}})
        elif kind in ("reasoning.text", "thinking"):
            key = str(detail.get("index", f"own {place}"))
            if key not in texts:
                texts[key] = {"text": "", "signature": ""}
                blocks.append({"reasoningContent": {"reasoningText": texts[key]}})
            texts[key]["text"] += _word(detail, "text") or _word(detail, "thinking")
            texts[key]["signature"] += _word(detail, "signature")
    return [b for b in blocks if b["reasoningContent"].get("reasoningText", {"signature": True})["signature"]]


def _is_own(mark: Any) -> bool:
    """Whether reasoning of this format was given by a model of Bedrock's: what others have signed is refused."""
    return not isinstance(mark, str) or mark == "bedrock" or mark.startswith("anthropic")


def _word(detail: Json, name: str) -> str:
    value = detail.get(name)
    return value if isinstance(value, str) else ""


def _tool_id(given: str) -> str:
    """An id that Converse takes; the same one for a call and its result."""
    return given if _TOOL_ID.fullmatch(given) else f"call_{hashlib.sha256(given.encode()).hexdigest()[:32]}"


def _data(url: str) -> tuple[str, str]:
    """Media type and base64 data of a data URL."""
    found = _DATA_URL.match(url)
    if found is None:
        raise UpstreamError(Failure.MEDIA, "Converse takes media as data, not by URL", param="messages")
    return found[1].lower(), url[found.end() :]


def _image(url: str) -> Json:
    media, data = _data(url)
    kind = media.removeprefix("image/").replace("jpg", "jpeg")
    if kind not in _IMAGES:
        raise UpstreamError(Failure.MEDIA, f"Converse takes no images of type {media}", param="messages")
    return {"image": {"format": kind, "source": {"bytes": data}}}


# Tools and the answer's form


def _tools(fields: Json, wanted: Form | None, called: Iterable[str], model: str, said: list[Adjustment]) -> Json:
    """``toolConfig`` and ``outputConfig``; ``system`` where only words prescribe the answer's form."""
    choice, strict = fields.get("tool_choice"), bool(SCHEMAS.search(model))
    offered = [_tool(tool["function"], said, strict=strict) for tool in fields.get("tools", ()) if "function" in tool]
    if choice == "none" and offered and not called:
        offered, choice = [], None
        said.append(Adjustment("tools", "dropped", "tool_choice is none"))
    if called and not offered:
        # Converse refuses a history with calls of tools that nobody declares.
        offered, choice = [_declared(name) for name in called], "none"
        said.append(Adjustment("tools", "emulated", "the tools called before are declared"))
    found: Json = {}
    if wanted is not None:
        closed = native(wanted.schema) if strict and not cites(fields) else None
        if closed is not None:
            found["outputConfig"] = {"textFormat": _text_format(fields, *closed, said)}
        elif offered and must_call(fields):
            said.append(Adjustment("response_format", "emulated", "a tool must be called, so there is no text to form"))
        elif not facts(model).forces:
            found["system"] = [{"text": in_words(wanted)}]
            said.append(Adjustment("response_format", "emulated", "asked for in words"))
        else:
            # Where others may be called, one of all must be: a call, or the answer in its form.
            may_call = offered and choice != "none"
            offered = [*offered, _answer_tool(fields, wanted)]
            choice = "required" if may_call else {"function": {"name": ANSWER_TOOL}}
            said.append(Adjustment("response_format", "emulated", "by a tool that must be called"))
    if offered:
        found["toolConfig"] = {"tools": offered, **_choice(choice, offered)}
    return found


def _tool(function: Json, said: list[Adjustment], *, strict: bool) -> Json:
    spec: Json = {
        "name": function["name"],
        "inputSchema": {"json": function.get("parameters") or {"type": "object", "properties": {}}},
    }
    if function.get("description"):
        spec["description"] = function["description"]
    if function.get("strict"):
        if strict:
            spec["strict"] = True
        else:
            said.append(Adjustment("tools[].function.strict", "dropped", "the model does not know it"))
    return {"toolSpec": spec}


def _declared(name: str) -> Json:
    return {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}}


def _choice(choice: Any, offered: Sequence[Json]) -> Json:
    """``toolChoice``, which only some models know: it is left out where it would say what holds anyway."""
    if choice == "required":
        return {"toolChoice": {"any": {}}}
    if isinstance(choice, dict) and choice.get("function"):
        named: Json = {"any": {}} if len(offered) == 1 else {"tool": {"name": choice["function"]["name"]}}
        return {"toolChoice": named}
    return {}


def _answer_tool(fields: Json, wanted: Form) -> Json:
    told = _told(fields).get("description") or "Gives the answer. Call it once, with the whole answer."
    return {"toolSpec": {"name": ANSWER_TOOL, "description": told, "inputSchema": {"json": wanted.schema}}}


def _text_format(fields: Json, schema: Json, bounds: Iterable[str], said: list[Adjustment]) -> Json:
    """``textFormat``; it takes the schema as text, and no bounds of numbers and lengths."""
    if bounds:
        detail = f"told to the model in words: {', '.join(sorted(set(bounds)))}"
        said.append(Adjustment("response_format", "emulated", detail))
    named = {name: text for name in ("name", "description") if (text := _told(fields).get(name))}
    return {"type": "json_schema", "structure": {"jsonSchema": {"schema": _encode(schema).decode(), **named}}}


def _told(fields: Json) -> Json:
    found: Json = (fields.get("response_format") or {}).get("json_schema") or {}
    return found


# What Converse has no field for


def _additional(fields: Json, body: Json, model: str, said: list[Adjustment]) -> Json:
    """``additionalModelRequestFields``: what the model itself knows, by the model's own names."""
    extra: Json = {}
    if (top_k := fields.get("top_k")) is not None:
        _top_k(top_k, model, extra, said)
    if (effort := fields.get("reasoning_effort")) is not None:
        _effort(effort, model, body, extra, said)
    choice = _own_choice(fields, body, model, said)
    if choice:
        extra["tool_choice"] = choice
    return extra


def _top_k(value: int, model: str, extra: Json, said: list[Adjustment]) -> None:
    name = next((name for pattern, name in TOP_K if pattern.search(model)), None)
    if name is not None:
        extra[name] = value
        said.append(Adjustment("top_k", "renamed", f"sent as additionalModelRequestFields.{name}"))
    elif NOVA.search(model):
        extra["inferenceConfig"] = {"topK": value}
        said.append(Adjustment("top_k", "renamed", "sent as additionalModelRequestFields.inferenceConfig.topK"))
    else:
        said.append(Adjustment("top_k", "dropped", "the model does not know it"))


def _effort(level: str, model: str, body: Json, extra: Json, said: list[Adjustment]) -> None:
    sent = {"minimal": "low"}.get(level, level)
    if level != "none" and EFFORT.search(model):
        body.setdefault("outputConfig", {})["effort"] = sent
        said.append(Adjustment("reasoning_effort", "renamed", f"{sent} as outputConfig.effort"))
    elif level != "none" and GPT.search(model):
        extra["reasoning_effort"] = sent = {"xhigh": "high", "max": "high"}.get(sent, sent)
        said.append(Adjustment("reasoning_effort", "renamed", f"{sent} as additionalModelRequestFields"))
    elif level != "none" and REASONING_NOVA.search(model):
        sent = {"xhigh": "high", "max": "high"}.get(sent, sent)
        extra["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": sent}
        said.append(Adjustment("reasoning_effort", "renamed", f"{sent} as reasoningConfig"))
    else:
        said.append(Adjustment("reasoning_effort", "dropped", "the model does not know it"))


def _own_choice(fields: Json, body: Json, model: str, said: list[Adjustment]) -> Json | None:
    """Claude's own ``tool_choice`` beside Converse's, which knows neither ``none`` nor one call at a time."""
    config, alone = body.get("toolConfig"), fields.get("parallel_tool_calls")
    claude = bool(CLAUDE.search(model))
    if config and "toolChoice" not in config and (fields.get("tool_choice") == "none" or not fields.get("tools")):
        if not claude and fields.get("tools"):
            # What was called before needs its tools, and what has tools may be called: another route has to answer.
            text = "This model cannot be kept from calling tools once the conversation has calls."
            raise UpstreamError(Failure.PARAMETER, text, param="tool_choice")
        return {"type": "none"} if claude else None
    if alone is None:
        return None
    if alone or not config or not claude:
        why = "it asks for what happens anyway" if alone or not config else "the model does not know it"
        said.append(Adjustment("parallel_tool_calls", "dropped", why))
        return None
    said.append(Adjustment("parallel_tool_calls", "renamed", "sent as tool_choice.disable_parallel_tool_use"))
    # Two places that both say which tool are refused.
    own: Json = {} if "toolChoice" in config else {"type": "auto"}
    return {**own, "disable_parallel_tool_use": True}
