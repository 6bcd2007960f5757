"""The items of a Responses conversation as the messages of a chat: one turn of the model's for a run of its items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sealgate.errors import Problem
from sealgate.formats.carried import MARK, opened
from sealgate.providers.base import Adjustment, Json
from sealgate.relay.request import DATA_URL, is_plain_https
from sealgate.relay.responses_tools import JOINT, SEARCH, Offered, function_call

PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
    "tool_search_call": "tsc",
    "tool_search_output": "tso",
}
"""Types of items that can be told to any model, and what their ids begin with."""

_encode = msgspec.json.Encoder().encode


class Conversation:
    """Takes items in order and gives messages. Raises `Problem` for what cannot be told to a model."""

    def __init__(self, offered: Offered) -> None:
        self.messages: list[Json] = []
        self.lost: dict[Adjustment, None] = {}
        self.by_url: str | None = None
        """Where the first medium stands that is given by URL."""
        self.media_size = 0
        self._offered = offered
        self._results: dict[str, Json | None] = {}
        """By the id of a call: its result's message, or None where it has none yet. Some upstreams use ids again."""
        self._turn: Json | None = None
        """The model's turn that is being put together; it is the last message."""
        self._shown: list[Json] = []
        """Pictures and files from the results of tools: they follow as a user's message."""

    def instruct(self, text: str) -> None:
        self.messages.append({"role": "system", "content": text})

    def say(self, text: str) -> None:
        self._user({"role": "user", "content": text})

    def take(self, items: Sequence[Json], at: str = "input", details: Sequence[Json] = ()) -> None:
        """The next items. ``details`` is what their provider wants back of the reasoning in them, where that is known
        apart from them."""
        for index, item in enumerate(items):
            place = f"{at}[{index}]"
            match item["type"]:
                case "message":
                    self._message(item, place)
                case "function_call":
                    name = self._offered.name(item["name"], item.get("namespace"))
                    self._call(function_call(item["call_id"], name, item["arguments"]), place)
                case "custom_tool_call":
                    name = self._offered.name(item["name"], item.get("namespace"))
                    self._call(self._offered.custom_call(item["call_id"], name, item["input"]), place)
                case "tool_search_call":
                    self._call(function_call(item["call_id"], SEARCH, _encode(item["arguments"]).decode()), place)
                case "tool_search_output":
                    self._result({**item, "output": self._offered.find(item["tools"])}, place)
                case "reasoning":
                    self._thought(item, place, known=bool(details))
                case _:
                    self._result(item, place)
        if details and self._turn is not None:
            self._turn["reasoning_details"] = list(details)

    def finish(self) -> list[Json]:
        """All messages."""
        self._close()
        self._show()
        return self.messages

    def _close(self) -> None:
        """The model's turn is over."""
        turn, self._turn = self._turn, None
        if turn is None or turn["content"] is not None or "tool_calls" in turn:
            return
        if "refusal" in turn:
            turn["content"] = ""
            return
        self.messages.pop()  # it is still the last one; providers refuse turns that say nothing
        self.lost[Adjustment("input[].reasoning", "dropped", "nothing was said after it")] = None

    def _show(self) -> None:
        if self._shown:
            self.messages.append({"role": "user", "content": self._shown})
            self._shown = []

    def _user(self, message: Json) -> None:
        self._close()
        self._show()
        self.messages.append(message)

    # The model's turns

    def _own(self) -> Json:
        if self._turn is None:
            self._show()
            self._turn = {"role": "assistant", "content": None}
            self.messages.append(self._turn)
        return self._turn

    def _call(self, call: Json, at: str) -> None:
        name = call["id"]
        if self._results.get(name, call) is None:
            where = f"{at}.call_id"
            raise Problem(
                "invalid_parameter", f"{where}: another call that has no result yet has this id.", param=where
            )
        self._results[name] = None
        self._own().setdefault("tool_calls", []).append(call)

    def _thought(self, item: Json, at: str, *, known: bool) -> None:
        texts = [part["text"] for part in item.get("content") or item.get("summary") or ()]
        kept, sealed = None, item.get("encrypted_content")
        if sealed:
            kept = opened(sealed)
            if not kept:
                why = "it is broken" if sealed.startswith(MARK) else "it was sealed elsewhere"
                self.lost[Adjustment(f"{at}.encrypted_content", "dropped", why)] = None
        turn = self._own()
        if text := JOINT.join(texts):
            turn["reasoning_content"] = turn.get("reasoning_content", "") + text
        if kept and not known:
            turn.setdefault("reasoning_details", []).extend(kept)

    def _said(self, item: Json, at: str) -> None:
        text, refusal = self._own_words(item["content"], at)
        turn = self._own()
        if turn["content"] is not None and "tool_calls" not in turn:
            self._close()
            turn = self._own()
        if text or not refusal:
            turn["content"] = text if turn["content"] is None else turn["content"] + JOINT + text
        if refusal:
            turn["refusal"] = refusal

    def _own_words(self, content: Any, at: str) -> tuple[str, str]:
        if isinstance(content, str):
            return content, ""
        for place, part in enumerate(content):
            if part["type"] not in ("output_text", "input_text", "refusal"):
                where = f"{at}.content[{place}]"
                raise Problem("unsupported_parameter", f"{where}: the model says text only.", param=where)
        texts = [part["text"] for part in content if part["type"] != "refusal"]
        return "".join(texts), "".join(part["refusal"] for part in content if part["type"] == "refusal")

    # Everybody else's

    def _message(self, item: Json, at: str) -> None:
        if item.get("phase"):
            self.lost[Adjustment("input[].phase", "dropped", "other models know no phases")] = None
        if item["role"] == "assistant":
            self._said(item, at)
            return
        content = item["content"]
        self._user({"role": item["role"], "content": content if isinstance(content, str) else self._parts(content, at)})

    def _parts(self, content: list[Json], at: str) -> str | list[Json]:
        parts = [self._part(part, f"{at}.content[{place}]") for place, part in enumerate(content)]
        if len(parts) == 1 and parts[0]["type"] == "text":
            return str(parts[0]["text"])
        return parts

    def _part(self, part: Json, at: str) -> Json:
        if part.get("prompt_cache_breakpoint") is not None:
            why = "providers have caches of their own"
            self.lost[Adjustment("input[].prompt_cache_breakpoint", "dropped", why)] = None
        match part["type"]:
            case "input_text" | "output_text":
                return {"type": "text", "text": part["text"]}
            case "input_image":
                return {"type": "image_url", "image_url": self._image(part, at)}
            case "input_file":
                return {"type": "file", "file": self._file(part, at)}
            case "input_audio":
                self.media_size += len(part["input_audio"]["data"])
                return {"type": "input_audio", "input_audio": part["input_audio"]}
            case _:
                return {"type": "text", "text": part["refusal"]}

    def _image(self, part: Json, at: str) -> Json:
        url = part.get("image_url")
        if url is None:
            raise Problem("unsupported_parameter", f"{at}: a picture needs image_url.", param=at)
        where = f"{at}.image_url"
        if url[:5].lower() == "data:":
            self._check_data(url, where)
        elif is_plain_https(url):
            self.by_url = self.by_url or where
        else:
            raise Problem("media_url_not_allowed", "Media must be a data URL or a plain https URL.", param=where)
        return {"url": url} if part.get("detail") is None else {"url": url, "detail": part["detail"]}

    def _file(self, part: Json, at: str) -> Json:
        if part.get("file_url") is not None:
            where = f"{at}.file_url"
            raise Problem("unsupported_parameter", f"{where}: a file must be sent as file_data.", param=where)
        found = {name: part[name] for name in ("file_data", "file_id", "filename") if part.get(name) is not None}
        if not found.keys() & {"file_data", "file_id"}:
            raise Problem("invalid_media", f"{at}: a file needs file_data.", param=at)
        if "file_data" in found:
            self._check_data(found["file_data"], f"{at}.file_data")
        if part.get("detail") is not None:
            self.lost[Adjustment("input[].input_file.detail", "dropped", "other models do not know it")] = None
        return found

    def _check_data(self, url: str, at: str) -> None:
        if not DATA_URL.match(url[:512]):
            raise Problem("invalid_media", "A data URL must read data:<type>/<subtype>;base64,<data>.", param=at)
        self.media_size += len(url)

    # Results

    def _result(self, item: Json, at: str) -> None:
        call, output, where = item["call_id"], item["output"], f"{at}.call_id"
        if call not in self._results:
            raise Problem("invalid_parameter", f"{where}: there is no call of that id before it.", param=where)
        before = self._results[call]
        if before is not None and item["type"] != "custom_tool_call_output":
            raise Problem("invalid_parameter", f"{where}: this call has a result already.", param=where)
        text = output if isinstance(output, str) else self._shows(output, call, at)
        if before is not None:
            # Custom tools tell of their progress; whatever has come in between, providers want one result of a call.
            before["content"] = JOINT.join(each for each in (before["content"], text) if each)
            return
        self._close()
        message = self._results[call] = {"role": "tool", "tool_call_id": call, "content": text}
        self.messages.append(message)

    def _shows(self, output: list[Json], call: str, at: str) -> str:
        parts = [self._part(part, f"{at}.output[{place}]") for place, part in enumerate(output)]
        texts = [part["text"] for part in parts if part["type"] == "text"]
        media = [part for part in parts if part["type"] != "text"]
        if media:
            self._shown += [{"type": "text", "text": f"What the tool call {call} has shown:"}, *media]
            why = "pictures and files are sent behind the results"
            self.lost[Adjustment("function_call_output", "emulated", why)] = None
            texts = texts or ["(shown below)"]
        return JOINT.join(texts)


def named(items: Sequence[Json], request_id: str) -> list[Json]:
    """Items as they are listed: each with an id, messages with a list of parts."""
    return [_named(item, f"{request_id}i{index:03x}") for index, item in enumerate(items)]


def _named(item: Json, name: str) -> Json:
    found = {name: value for name, value in item.items() if value is not None}
    kind = item["type"]
    found.setdefault("id", f"{PREFIXES[kind]}_{name}")
    if kind == "message":
        found.setdefault("status", "completed")
        if isinstance(text := item["content"], str):
            part = "output_text" if item["role"] == "assistant" else "input_text"
            found["content"] = [{"type": part, "text": text} | ({"annotations": []} if part == "output_text" else {})]
    return found


def with_types(items: Sequence[Any]) -> list[Any]:
    """Items with the types that may be left out. Raises `Problem` for those that cannot be told to any model."""
    return [_with_type(item, f"input[{index}]") for index, item in enumerate(items)]


def _with_type(item: Any, at: str) -> Any:
    if not isinstance(item, Mapping):
        return item
    kind = item.get("type")
    if kind is None and "role" in item:
        return {**item, "type": "message"}
    if kind == "item_reference" or (kind is None and "id" in item):
        why = "An item cannot be named by its id: send the item itself, or previous_response_id."
        raise Problem("unsupported_parameter", f"{at}: {why}", param=at)
    if isinstance(kind, str) and kind not in PREFIXES:
        raise Problem("unsupported_parameter", f"{at}: items of type {kind[:64]!r} are not supported.", param=at)
    return item
