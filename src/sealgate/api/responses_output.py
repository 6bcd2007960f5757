"""The output items of one response, and the events that tell of them, out of what the relay says in OpenAI's chunks.

Items follow each other as the official service has them: one ends where another begins. What comes for an item that is
not at hand yet waits until it is. A whole answer is one delta, so both forms are made in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from sealgate.errors import Problem
from sealgate.formats.carried import sealed
from sealgate.formats.freeform import FreeForm
from sealgate.providers.base import Json
from sealgate.relay.reasoning import put_together
from sealgate.relay.responses import Wanted

STATUS = {"length": "incomplete", "content_filter": "incomplete"}
"""Reasons for which an answer ends before it is whole."""

_T = TypeVar("_T", bound="_Item")

_decode_any = msgspec.json.Decoder().decode
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Output:
    """Give it deltas, then the reason why there are no more; it gives events, without their sequence numbers."""

    def __init__(self, call_id: str, wanted: Wanted) -> None:
        self.details: list[Json] = []
        """Pieces of what the provider wants back of its reasoning."""
        self._call_id = call_id
        self._wanted = wanted
        self._over: list[Json] = []
        self._current: _Item | None = None
        self._pending: list[_Item] = []
        """Items that wait until the one at hand is over."""
        self._calls: dict[int, _Call] = {}
        self._late: list[Json] = []
        """Details that belong to what follows the reasoning."""

    def items(self) -> list[Json]:
        """The items as far as they have come."""
        current = [] if self._current is None else [self._current.so_far()]
        return self._over + current

    def take(self, delta: Json, logprobs: Json | None = None) -> Iterator[Json]:
        if text := delta.get("reasoning_content"):
            thought = self._item(_Reasoning)
            thought.add(text)
            yield from self._advance()
        if details := delta.get("reasoning_details"):
            yield from self._signatures(details)
        for name in ("content", "refusal"):
            if text := delta.get(name):
                tokens = (logprobs or {}).get(name) if self._wanted.logprobs else None
                self._item(_Message).say(name, text, tokens or [])
                yield from self._advance()
        if cited := [found for each in delta.get("annotations") or () if (found := _annotation(each))]:
            self._item(_Message).cite(cited)
            yield from self._advance()
        for place, call in enumerate(delta.get("tool_calls") or ()):
            self._call(call, call.get("index", place))
            yield from self._advance()

    def finish(self, reason: str) -> Iterator[Json]:
        """No more comes. What was cut off ends as incomplete."""
        if self._late and self._wanted.encrypted:
            self._pending.append(_Reasoning(self, self._late))
        yield from self._advance(at_once=True)
        yield from self._close(STATUS.get(reason, "completed"))

    # Which item

    def _item(self, kind: type[_T]) -> _T:
        """The last item, where it is of that kind, else a new one."""
        last = self._pending[-1] if self._pending else self._current
        if isinstance(last, kind):
            return last
        made = kind(self)
        self._pending.append(made)
        return made

    def _call(self, delta: Json, number: int) -> None:
        call = self._calls.get(number)
        if call is None:
            call = self._calls[number] = _Call(self, delta)
            self._pending.append(call)
        call.take(delta)

    def _signatures(self, details: list[Json]) -> Iterator[Json]:
        self.details += details
        early = [each for each in details if _is_early(each)]
        self._late += [each for each in details if not _is_early(each)]
        if early and self._wanted.encrypted:
            self._item(_Reasoning).details += early
            yield from self._advance()

    def _advance(self, *, at_once: bool = False) -> Iterator[Json]:
        """Tell of what has come, and go on to the next item where the one at hand can be over."""
        while True:
            if self._current is not None:
                yield from self._current.news()
            if not self._pending or not (at_once or self._pending[0].ready):
                return
            if self._current is not None and not (at_once or self._current.complete):
                return
            yield from self._close("completed")
            self._current = self._pending.pop(0)
            yield from self._current.begin(self._call_id, len(self._over))

    def _close(self, status: str) -> Iterator[Json]:
        if self._current is None:
            return
        yield from self._current.end(status)
        yield self._current.event("response.output_item.done", item=self._current.item(status))
        self._over.append(self._current.item(status))
        self._current = None

    # For the items

    @property
    def encrypted(self) -> bool:
        return self._wanted.encrypted

    @property
    def summary(self) -> bool:
        return self._wanted.summary

    def is_custom(self, name: str) -> bool:
        return name in self._wanted.custom

    def spaced(self, name: str) -> tuple[str | None, str]:
        """The namespace of a tool, and its name."""
        return self._wanted.spaced.get(name, (None, name))


class _Item:
    """One item. It is ``ready`` when it can begin, and ``complete`` when another may follow."""

    prefix = ""
    ready = True
    complete = True

    def __init__(self, output: Output) -> None:
        self.output = output
        self.id = ""
        self.index = 0

    def begin(self, call_id: str, index: int) -> Iterator[Json]:
        self.id, self.index = f"{self.prefix}_{call_id}{index:02x}", index
        yield {"type": "response.output_item.added", "output_index": index, "item": self.blank()}
        yield from self.news()

    def blank(self) -> Json:
        """The item as it begins."""
        raise NotImplementedError

    def news(self) -> Iterator[Json]:
        """Events of what has come since last time."""
        raise NotImplementedError

    def end(self, status: str) -> Iterator[Json]:
        """The last events before it is done."""
        raise NotImplementedError

    def item(self, status: str) -> Json:
        """The item as it is."""
        raise NotImplementedError

    def so_far(self) -> Json:
        """The item while it is not done."""
        return self.item("incomplete")

    def event(self, kind: str, **fields: Any) -> Json:
        if kind != "response.output_item.done":
            fields["item_id"] = self.id
        return {"type": kind, "output_index": self.index, **fields}


class _Reasoning(_Item):
    """What the model thought: shown as its summary where one was asked for, else as it is."""

    prefix = "rs"

    def __init__(self, output: Output, details: Iterable[Json] = ()) -> None:
        super().__init__(output)
        self.details = list(details)
        self._pieces: list[str] = []
        self._told = 0
        summary = output.summary
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
        if self.output.encrypted:
            found["encrypted_content"] = self._sealed()
        return found

    def so_far(self) -> Json:
        """What is wanted back is told when the item is done."""
        return {**super().so_far(), "encrypted_content": None} if self.output.encrypted else super().so_far()

    def _sealed(self) -> str | None:
        return sealed(put_together("reasoning_details", self.details)) if self.details else None

    def _at(self, kind: str, **fields: Any) -> Json:
        fields["summary_index" if self._place == "summary" else "content_index"] = 0
        return self.event(kind, **fields)


class _Message(_Item):
    """What the model said: parts of text and of refusal."""

    prefix = "msg"

    def __init__(self, output: Output) -> None:
        super().__init__(output)
        self._parts: list[_Part] = []
        self._told = 0
        """Parts that have begun."""

    def say(self, name: str, text: str, tokens: list[Json]) -> None:
        if not self._parts or self._parts[-1].name != name:
            self._parts.append(_Part(name))
        self._parts[-1].add(text, tokens)

    def cite(self, annotations: list[Json]) -> None:
        if not self._parts or self._parts[-1].name != "content":
            self._parts.append(_Part("content"))
        self._parts[-1].annotations += annotations

    def blank(self) -> Json:
        return {"id": self.id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}

    def news(self) -> Iterator[Json]:
        for index in range(max(0, self._told - 1), len(self._parts)):
            part = self._parts[index]
            if index == self._told:
                if index:
                    yield from self._end_of(index - 1)
                self._told += 1
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
        content = [part.whole() for part in self._parts[: self._told]]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}


class _Part:
    """A part of a message."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.annotations: list[Json] = []
        self._pieces: list[tuple[str, list[Json]]] = []
        self._told = 0
        self._cited = 0

    def add(self, text: str, tokens: list[Json]) -> None:
        self._pieces.append((text, tokens))

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
        """Events as the arguments of `_Item.event`."""
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


class _Call(_Item):
    """A call of a tool. It begins with its input, since until then its name may still come."""

    def __init__(self, output: Output, delta: Json) -> None:
        super().__init__(output)
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
        text = "".join(self._pieces)
        if self._native or not text.rstrip().endswith("}"):
            return False
        try:
            return isinstance(_decode_any(text), dict)
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
        return self._native or self.output.is_custom(self._name)

    def begin(self, call_id: str, index: int) -> Iterator[Json]:
        self.prefix = "ctc" if self._custom else "fc"
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
        if self._free is not None:
            yield from self._tell(self._free.end())
        elif not self._text and not self._custom and status == "completed":
            yield from self._tell("{}")
        self._over = True
        if self._custom:
            yield self.event("response.custom_tool_call_input.done", input=self._text)
        else:
            name = self.output.spaced(self._name)[1]
            yield self.event("response.function_call_arguments.done", name=name, arguments=self._text)

    def item(self, status: str) -> Json:
        return self._as(self._text, status)

    def _as(self, text: str, status: str) -> Json:
        space, name = self.output.spaced(self._name)
        found: Json = {"id": self.id, "call_id": self._call_id, "name": name}
        if space is not None:
            found["namespace"] = space
        if self._custom:
            return found | {"type": "custom_tool_call", "status": status, "input": text}
        return found | {"type": "function_call", "status": status, "arguments": text}

    def _tell(self, text: str) -> Iterator[Json]:
        if text:
            self._text += text
            kind = "response.custom_tool_call_input" if self._custom else "response.function_call_arguments"
            yield self.event(f"{kind}.delta", delta=text)


def _is_early(detail: Any) -> bool:
    """Whether an entry signs the reasoning itself, and not what follows it."""
    if not isinstance(detail, dict):
        return False
    kind = detail.get("type")
    return kind in ("reasoning.text", "reasoning.summary") or str(detail.get("format")).startswith("anthropic")


def _annotation(given: Any) -> Json | None:
    """A citation in the form of responses; None for what is none."""
    cited = given.get("url_citation") if isinstance(given, dict) else None
    if not isinstance(cited, dict):
        return None
    return {
        "type": "url_citation",
        "start_index": cited.get("start_index") or 0,
        "end_index": cited.get("end_index") or 0,
        "url": cited.get("url") or "",
        "title": cited.get("title") or "",
    }
