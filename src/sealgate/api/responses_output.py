"""The output items of one response, and the events that tell of them, out of what the relay says in OpenAI's chunks.

Items follow each other as the official service has them: one ends where another begins. What comes for an item that is
not at hand yet waits until it is. A whole answer is one delta, so both forms are made in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from sealgate.api.responses_parts import Call, Item, Message, Reasoning
from sealgate.providers.base import Json
from sealgate.relay.responses import Wanted

STATUS = {"length": "incomplete", "content_filter": "incomplete"}
"""Reasons for which an answer ends before it is whole."""

_T = TypeVar("_T", bound=Item)


class Output:
    """Give it deltas, then the reason why there are no more; it gives events, without their sequence numbers."""

    def __init__(self, call_id: str, wanted: Wanted) -> None:
        self.details: list[Json] = []
        """Pieces of what the provider wants back of its reasoning."""
        self._call_id = call_id
        self._wanted = wanted
        self._over: list[Json] = []
        self._current: Item | None = None
        self._pending: list[Item] = []
        """Items that wait until the one at hand is over."""
        self._calls: dict[int, Call] = {}
        self._late: list[Json] = []
        """Details that belong to what follows the reasoning."""

    def items(self) -> list[Json]:
        """The items as far as they have come."""
        current = [] if self._current is None else [self._current.so_far()]
        return self._over + current

    def take(self, delta: Json, logprobs: Json | None = None) -> Iterator[Json]:
        if text := delta.get("reasoning_content"):
            thought = self._item(Reasoning)
            thought.add(text)
            yield from self._advance()
        if details := delta.get("reasoning_details"):
            yield from self._signatures(details)
        for name in ("content", "refusal"):
            if text := delta.get(name):
                tokens = (logprobs or {}).get(name) if self._wanted.logprobs else None
                self._item(Message).say(name, text, tokens or [])
                yield from self._advance()
        if cited := [found for each in delta.get("annotations") or () if (found := _annotation(each))]:
            self._item(Message).cite(cited)
            yield from self._advance()
        for place, call in enumerate(delta.get("tool_calls") or ()):
            self._call(call, call.get("index", place))
            yield from self._advance()

    def text(self, piece: str) -> tuple[str, int, int] | None:
        """Another piece of the text at hand, which is told at once: its item's id, and the places of item and part.

        None where anything else is to be told with it; then nothing has been taken.
        """
        current = self._current
        if type(current) is not Message or self._pending or not current.goes_on(piece):
            return None
        return current.id, current.index, current.told - 1

    def finish(self, reason: str) -> Iterator[Json]:
        """No more comes. What was cut off ends as incomplete."""
        if self._late and self._wanted.encrypted:
            self._pending.append(Reasoning(self._wanted, self._late))
        yield from self._advance(at_once=True)
        yield from self._close(STATUS.get(reason, "completed"))

    # Which item

    def _item(self, kind: type[_T]) -> _T:
        """The last item, where it is of that kind, else a new one."""
        last = self._pending[-1] if self._pending else self._current
        if isinstance(last, kind):
            return last
        made = kind(self._wanted)
        self._pending.append(made)
        return made

    def _call(self, delta: Json, number: int) -> None:
        call = self._calls.get(number)
        if call is None:
            call = self._calls[number] = Call(self._wanted, delta)
            self._pending.append(call)
        call.take(delta)

    def _signatures(self, details: list[Json]) -> Iterator[Json]:
        self.details += details
        early = [each for each in details if _is_early(each)]
        self._late += [each for each in details if not _is_early(each)]
        if early and self._wanted.encrypted:
            self._item(Reasoning).details += early
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
