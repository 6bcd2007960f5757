"""OpenAI's wire where a provider departs from it in more than names of parameters: OpenRouter, and TGI's streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sealgate.providers.base import Json, Prompt
from sealgate.providers.capabilities import CONTRACT
from sealgate.providers.openai import OpenAIWire, StreamReader, WholeReader

_LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
_BINDING = CONTRACT - _LIMITS
"""What a provider behind OpenRouter may pass over in silence, if it is not told."""


class OpenRouterWire(OpenAIWire):
    """Only providers that take every parameter are asked, where one changes what the answer means.

    Source: openrouter.ai/docs/features/provider-routing (``require_parameters``).
    """

    def beside(self, prompt: Prompt) -> Json:
        wanted = prompt.fields.get("response_format")
        binding = _BINDING.intersection(prompt.fields) - ({"response_format"} if _is_text(wanted) else set())
        return {"provider": {"require_parameters": True}} if binding else {}


def _is_text(form: Any) -> bool:
    return isinstance(form, dict) and form.get("type") == "text"


class TgiWire(OpenAIWire):
    """Streams that end with ``[DONE]`` alone are whole: TGI has sent no reason to some of them.

    Source: huggingface.co/docs/text-generation-inference/messages_api.
    """

    def reader(self, fields: Json, *, stream: bool) -> StreamReader | WholeReader:
        return EndedReader(fields) if stream else WholeReader()


class EndedReader(StreamReader):
    """As OpenAI's streams; a choice without a reason to end has one once the stream's own end has come."""

    def __init__(self, fields: Json) -> None:
        super().__init__()
        self._limit = fields.get("max_completion_tokens") or fields.get("max_tokens")
        self._open: dict[int, str] = {}
        """Choices that have begun, and why they end where nothing else is said."""
        self._length: Any = None

    def feed(self, piece: bytes) -> Iterable[Json]:
        return self._noted(super().feed(piece))

    def end(self) -> Iterable[Json]:
        return self._noted(super().end())

    def _noted(self, chunks: Iterable[Json]) -> Iterator[Json]:
        for chunk in chunks:
            self._note(chunk)
            yield chunk
        if self.done and self._open:
            cut = self._limit is not None and isinstance(self._length, int) and self._length >= self._limit
            yield {
                "choices": [
                    {"index": index, "delta": {}, "finish_reason": "length" if cut else reason}
                    for index, reason in self._open.items()
                ]
            }
            self._open = {}

    def _note(self, chunk: Json) -> None:
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self._length = usage.get("completion_tokens")
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, dict):
                continue
            index = choice.get("index") or 0
            if choice.get("finish_reason"):
                self._open.pop(index, None)
            elif (delta := choice.get("delta")) and isinstance(delta, dict):
                self._open[index] = "tool_calls" if delta.get("tool_calls") else self._open.get(index, "stop")


OPENROUTER = OpenRouterWire()
TGI = TgiWire()
