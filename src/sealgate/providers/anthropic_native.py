"""Requests that came in Anthropic's own dialect, sent as they came, and answers read so that nothing of them is lost.

Of a request only that is changed which cannot be taken: parameters that the model refuses, and what another provider
left in the conversation. The answer is read as always, in OpenAI's shape, which everything behind it lives by; beside
it, in each delta or message, stands what came, under ``anthropic``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sealgate.formats.carried import MARK
from sealgate.providers.anthropic_answer import AnthropicWholeReader, Chunks
from sealgate.providers.anthropic_messages import call_id
from sealgate.providers.anthropic_request import SAMPLING
from sealgate.providers.anthropic_stream import AnthropicStreamReader
from sealgate.providers.base import Adjustment, Json, Prompt

OF_ANSWERS = ("content", "stop_reason", "stop_sequence", "stop_details", "container", "context_management", "usage")
"""What of a whole answer goes to the caller."""
_THINKING = ("thinking", "redacted_thinking")


def can_take(prompt: Prompt, *, formats: bool) -> bool:
    """Whether a request can go out as it came: it did come so, and the model takes the form it prescribes."""
    return prompt.native is not None and (formats or "response_format" not in prompt.fields)


class NativeBody:
    """One request's body, but for what names the model, the version and the way of the answer."""

    def __init__(self, body: Json) -> None:
        self.body = dict(body)
        self.said: dict[Adjustment, None] = {}

    def write(self, *, sampling: bool, refused: frozenset[str]) -> Json:
        """``sampling`` is whether the model takes ``temperature`` and its like, ``refused`` what else it refuses."""
        body = self.body
        if not sampling:
            for name in SAMPLING:
                if body.pop(name, None) is not None:
                    self._say(name, "dropped", "the model takes no such field")
        self._leave_out(refused)
        if (older := body.pop("output_format", None)) is not None:
            body["output_config"] = {"format": older, **body.get("output_config", {})}
        body["messages"] = [self._turn(turn) for turn in body["messages"]]
        if (body.get("thinking") or {}).get("type") == "enabled" and _unsigned(body["messages"]):
            del body["thinking"]
            self._say("thinking", "dropped", "the tool calls that are answered came without signed thinking")
        return body

    def _say(self, param: str, action: str, detail: str) -> None:
        self.said[Adjustment(param, action, detail)] = None

    def _leave_out(self, refused: frozenset[str]) -> None:
        """What the caller is told already under OpenAI's names."""
        body = self.body
        for name in SAMPLING:
            if name in refused:
                body.pop(name, None)
        if "user" in refused:
            body.pop("metadata", None)
        if "reasoning_effort" in refused:
            body.pop("thinking", None)
            if "effort" in (config := body.get("output_config", {})):
                body["output_config"] = {name: value for name, value in config.items() if name != "effort"}
        if "parallel_tool_calls" in refused and "tool_choice" in body:
            choice = body["tool_choice"]
            body["tool_choice"] = {name: value for name, value in choice.items() if name != "disable_parallel_tool_use"}

    def _turn(self, turn: Json) -> Json:
        if isinstance(turn["content"], str):
            return turn
        blocks = [mended for block in turn["content"] if (mended := self._block(block)) is not None]
        return {**turn, "content": blocks or [{"type": "text", "text": "(left out)"}]}

    def _block(self, block: Json) -> Json | None:
        """A block as it came, but for what another provider has made of it."""
        kind = block["type"]
        if kind in _THINKING and _foreign(block):
            self._say("thinking", "dropped", "only thinking that Anthropic has signed can be sent back")
            return None
        if kind == "tool_use" and call_id(block["id"]) != block["id"]:
            return {**block, "id": call_id(block["id"])}
        if kind == "tool_result" and call_id(block["tool_use_id"]) != block["tool_use_id"]:
            return {**block, "tool_use_id": call_id(block["tool_use_id"])}
        return block


def _foreign(block: Json) -> bool:
    if block["type"] == "redacted_thinking":
        return bool(block["data"].startswith(MARK))
    signature = block.get("signature") or ""
    return not signature or signature.startswith(MARK)


def _unsigned(turns: list[Json]) -> bool:
    """Whether the calls that are being answered came without the thinking that led to them."""
    if len(turns) < 2 or turns[-2]["role"] != "assistant" or isinstance(turns[-2]["content"], str):
        return False
    blocks = turns[-2]["content"]
    return any(block["type"] == "tool_use" for block in blocks) and blocks[0]["type"] not in _THINKING


class NativeWholeReader(AnthropicWholeReader):
    """One ``message`` document."""

    def __init__(self) -> None:
        super().__init__({})

    def _completion(self, document: Json) -> Json:
        found = super()._completion(document)
        own = {name: document[name] for name in OF_ANSWERS if name in document}
        found["choices"][0]["message"]["anthropic"] = own
        return found


class NativeStreamReader(AnthropicStreamReader):
    """The documents of one stream. What has no content yet waits for what has, since content decides."""

    def __init__(self) -> None:
        super().__init__({})
        self._waiting: list[Json] = []

    def feed_event(self, name: bytes | str, document: Json) -> Chunks:
        over = self.done
        chunks = list(super().feed_event(name, document))
        kind = document.get("type")
        if over or kind not in _PASSED:
            return chunks
        self._waiting.append(document)
        if kind in _WITHOUT_CONTENT and not any(map(_says_something, chunks)):
            return chunks
        passed, self._waiting = self._waiting, []
        return _beside(chunks, passed)


_WITHOUT_CONTENT = ("message_start", "content_block_start")
"""Unless a block is content by its beginning, as calls of tools and redacted thinking are."""
_PASSED = (*_WITHOUT_CONTENT, "content_block_delta", "content_block_stop", "message_delta")


def _says_something(chunk: Json) -> bool:
    return any(choice["delta"].keys() - {"role"} for choice in chunk["choices"])


def _beside(chunks: list[Json], passed: list[Json]) -> Iterator[Json]:
    """The chunks, the first of them with what came; one of its own where there is none."""
    place = next((chunk["choices"][0] for chunk in chunks if chunk["choices"]), None)
    if place is None:
        place = {"index": 0, "delta": {}, "finish_reason": None}
        if chunks:
            chunks[0]["choices"] = [place]
        else:
            chunks.append({"choices": [place]})
    delta: dict[str, Any] = place["delta"]
    delta["anthropic"] = passed
    yield from chunks
