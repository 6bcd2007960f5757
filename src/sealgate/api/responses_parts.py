"""What a response is made of while it comes: its items, each with the events that tell of it.

An item takes what the relay gives for it and says it in two forms: as events, once each, and as the item so far.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from sealgate.errors import Problem
from sealgate.formats.carried import sealed
from sealgate.formats.freeform import FreeForm
from sealgate.providers.base import Json
from sealgate.relay.reasoning import put_together
from sealgate.relay.responses import Wanted
from sealgate.relay.responses_tools import SEARCH

_decode_any = msgspec.json.Decoder().decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Item(ABC):
    """One item. It is ``ready`` when it can begin, and ``complete`` when another may follow."""

    prefix = ""
    ready = True
    complete = True

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.id = ""
        self.index = 0

    def begin(self, call_id: str, index: int) -> Iterator[Json]:
        self.id, self.index = f"{self.prefix}_{call_id}{index:02x}", index
        yield {"type": "response.output_item.added", "output_index": index, "item": self.blank()}
        yield from self.news()

    @abstractmethod
    def blank(self) -> Json:
        """The item as it begins."""

    @abstractmethod
    def news(self) -> Iterator[Json]:
        """Events of what has come since last time."""

    @abstractmethod
    def end(self, status: str) -> Iterator[Json]:
        """The last events before it is done."""

    @abstractmethod
    def item(self, status: str) -> Json:
        """The item as it is."""

    def so_far(self) -> Json:
        """The item while it is not done."""
        return self.item("incomplete")

    def event(self, kind: str, **fields: Any) -> Json:
        if kind != "response.output_item.done":
            fields["item_id"] = self.id
        return {"type": kind, "output_index": self.index, **fields}


class Reasoning(Item):
    """What the model thought: shown as its summary where one was asked for, else as it is."""

    prefix = "rs"

    def __init__(self, wanted: Wanted, details: Iterable[Json] = ()) -> None:
        super().__init__(wanted)
        self.details = list(details)
        self._pieces: list[str] = []
        self._told = 0
        summary = wanted.summary
        self._place = "summary" if summary else "content"
        self._part = "summary_text" if summary else "reasoning_text"
        self._head = "response.reasoning_summary" if summary else "response.reasoning"
        self._parts = "response.reasoning_summary_part" if summary else "response.content_part"

    def add(self, text: str) -> None:
        self._pieces.append(text)

    def blank(self) -> Json:
        return {"id": self.id, "type": "reasoning", "summary": []}

    def news(self) -> Iterator[Json]:
        for piece in self._pieces[self._told :]:
            if not self._told:
                yield self._at(f"{self._parts}.added", part={"type": self._part, "text": ""})
            self._told += 1
            yield self._at(f"{self._head}_text.delta", delta=piece)

    def end(self, status: str) -> Iterator[Json]:  # noqa: ARG002
        if self._told:
            text = "".join(self._pieces)
            yield self._at(f"{self._head}_text.done", text=text)
            yield self._at(f"{self._parts}.done", part={"type": self._part, "text": text})

    def item(self, status: str) -> Json:  # noqa: ARG002
        found = self.blank()
        if self._told:
            found[self._place] = [{"type": self._part, "text": "".join(self._pieces[: self._told])}]
        if self.wanted.encrypted:
            found["encrypted_content"] = self._sealed()
        return found

    def so_far(self) -> Json:
        """What is wanted back is told when the item is done."""
        return {**super().so_far(), "encrypted_content": None} if self.wanted.encrypted else super().so_far()

    def _sealed(self) -> str | None:
        return sealed(put_together("reasoning_details", self.details)) if self.details else None

    def _at(self, kind: str, **fields: Any) -> Json:
        fields["summary_index" if self._place == "summary" else "content_index"] = 0
        return self.event(kind, **fields)


class Message(Item):
    """What the model said: parts of text and of refusal."""

    prefix = "msg"

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted)
        self._parts: list[Part] = []
        self.told = 0
        """Parts that have begun."""

    def say(self, name: str, text: str, tokens: list[Json]) -> None:
        if not self._parts or self._parts[-1].name != name:
            self._parts.append(Part(name))
        self._parts[-1].add(text, tokens)

    def goes_on(self, text: str) -> bool:
        """Take a piece of text as told already, where it belongs to the part at hand."""
        if self.told != len(self._parts) or not self._parts or self._parts[-1].name != "content":
            return False
        self._parts[-1].told(text)
        return True

    def cite(self, annotations: list[Json]) -> None:
        if not self._parts or self._parts[-1].name != "content":
            self._parts.append(Part("content"))
        self._parts[-1].annotations += annotations

    def blank(self) -> Json:
        return {"id": self.id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}

    def news(self) -> Iterator[Json]:
        for index in range(max(0, self.told - 1), len(self._parts)):
            part = self._parts[index]
            if index == self.told:
                if index:
                    yield from self._end_of(index - 1)
                self.told += 1
                yield self.event("response.content_part.added", content_index=index, part=part.blank())
            for event in part.news():
                yield self.event(content_index=index, **event)

    def end(self, status: str) -> Iterator[Json]:  # noqa: ARG002
        if self._parts:
            yield from self._end_of(len(self._parts) - 1)

    def _end_of(self, index: int) -> Iterator[Json]:
        part = self._parts[index]
        yield self.event(content_index=index, **part.done())
        yield self.event("response.content_part.done", content_index=index, part=part.whole())

    def item(self, status: str) -> Json:
        content = [part.whole() for part in self._parts[: self.told]]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}


class Part:
    """A part of a message."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.annotations: list[Json] = []
        self._pieces: list[tuple[str, list[Json]]] = []
        self._told = 0
        self._cited = 0

    def add(self, text: str, tokens: list[Json]) -> None:
        self._pieces.append((text, tokens))

    def told(self, text: str) -> None:
        """A piece that somebody else has told."""
        self._pieces.append((text, []))
        self._told += 1

    def blank(self) -> Json:
        if self.name == "refusal":
            return {"type": "refusal", "refusal": ""}
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}

    def whole(self) -> Json:
        text = "".join(piece for piece, _ in self._pieces)
        if self.name == "refusal":
            return {"type": "refusal", "refusal": text}
        tokens = [token for _, each in self._pieces for token in each]
        return {"type": "output_text", "annotations": self.annotations, "logprobs": tokens, "text": text}

    def news(self) -> Iterator[Json]:
        """Events as the arguments of `Item.event`."""
        for text, tokens in self._pieces[self._told :]:
            if self.name == "refusal":
                yield {"kind": "response.refusal.delta", "delta": text}
            else:
                yield {"kind": "response.output_text.delta", "delta": text, "logprobs": tokens}
        self._told = len(self._pieces)
        for index in range(self._cited, len(self.annotations)):
            kind = "response.output_text.annotation.added"
            yield {"kind": kind, "annotation_index": index, "annotation": self.annotations[index]}
        self._cited = len(self.annotations)

    def done(self) -> Json:
        whole = self.whole()
        if self.name == "refusal":
            return {"kind": "response.refusal.done", "refusal": whole["refusal"]}
        return {"kind": "response.output_text.done", "text": whole["text"], "logprobs": whole["logprobs"]}


class Call(Item):
    """A call of a tool. It begins with its input, since until then its name may still come."""

    def __init__(self, wanted: Wanted, delta: Json) -> None:
        super().__init__(wanted)
        self._call_id = delta.get("id") or ""
        self._native = "custom" in delta
        self._name = ""
        self._pieces: list[str] = []
        self._text = ""
        """What has been told of the input."""
        self._free: FreeForm | None = None
        self._taken = 0
        self._over = False

    @property
    def ready(self) -> bool:  # type: ignore[override]
        return bool(self._pieces)

    @property
    def complete(self) -> bool:  # type: ignore[override]
        """Whether its arguments are all there."""
        if self._native or not self._pieces or not self._pieces[-1].rstrip().endswith("}"):
            return False
        try:
            return isinstance(_decode_any("".join(self._pieces)), dict)
        except _UNREADABLE:
            return False

    def take(self, delta: Json) -> None:
        called = delta.get("custom") or delta.get("function") or {}
        text = called.get("input" if self._native else "arguments") or ""
        if self._over and text.strip():
            raise Problem("upstream_bad_response", "The provider went on with a tool call that was over.")
        self._name += called.get("name") or ""
        if text and not self._over:
            self._pieces.append(text)

    @property
    def _custom(self) -> bool:
        return self._native or self._name in self.wanted.custom

    @property
    def _search(self) -> bool:
        """Of its input nothing is told before it is whole, as the official service has it."""
        return self.wanted.search and self._name == SEARCH

    @property
    def _shown(self) -> tuple[str | None, str]:
        """The namespace of the tool, and its name, as the caller knows them."""
        return self.wanted.spaced.get(self._name, (None, self._name))

    def begin(self, call_id: str, index: int) -> Iterator[Json]:
        self.prefix = "tsc" if self._search else "ctc" if self._custom else "fc"
        if self._custom and not self._native:
            self._free = FreeForm()
        yield from super().begin(call_id, index)

    def blank(self) -> Json:
        return self._as("", "in_progress")

    def news(self) -> Iterator[Json]:
        new = self._pieces[self._taken :]
        self._taken = len(self._pieces)
        for piece in new:
            yield from self._tell(piece if self._free is None else self._free.feed(piece))

    def end(self, status: str) -> Iterator[Json]:
        if self._search:
            self._over = True
            return
        if self._free is not None:
            yield from self._tell(self._free.end())
        elif not self._text and not self._custom and status == "completed":
            yield from self._tell("{}")
        self._over = True
        if self._custom:
            yield self.event("response.custom_tool_call_input.done", input=self._text)
        else:
            name = self._shown[1]
            yield self.event("response.function_call_arguments.done", name=name, arguments=self._text)

    def item(self, status: str) -> Json:
        return self._as(self._text, status)

    def so_far(self) -> Json:
        return self._as("" if self._search else self._text, "incomplete")

    def _as(self, text: str, status: str) -> Json:
        if self._search:
            found: Json = {"id": self.id, "type": "tool_search_call", "status": status, "call_id": self._call_id}
            return {**found, "execution": "client", "arguments": _value(text)}
        space, name = self._shown
        found = {"id": self.id, "call_id": self._call_id, "name": name}
        if space is not None:
            found["namespace"] = space
        if self._custom:
            return found | {"type": "custom_tool_call", "status": status, "input": text}
        return found | {"type": "function_call", "status": status, "arguments": text}

    def _tell(self, text: str) -> Iterator[Json]:
        if text:
            self._text += text
        if text and not self._search:
            kind = "response.custom_tool_call_input" if self._custom else "response.function_call_arguments"
            yield self.event(f"{kind}.delta", delta=text)


def _value(text: str) -> Any:
    """Arguments as the value they are; what is no JSON, as the text it is."""
    try:
        return _decode_any(text) if text.strip() else {}
    except _UNREADABLE:
        return text
