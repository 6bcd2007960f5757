"""Good answers and errors on OpenAI's wire (https://developers.openai.com/api/reference/resources/chat).

`answer` looks at the request: it answers whole or as a stream, with usage where the request asked for it, as many
choices as ``n`` says, and log probabilities when wanted. Everything it sends can be set; nothing is checked, so that
absurd answers can be given too.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain
from typing import Any, Literal, TypeAlias

import msgspec

from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Chunk, Send, Sleep, Step, head, sse, whole

GREETING = "Hello! How can I help you today?"

Delta: TypeAlias = tuple[dict[str, Any], list[dict[str, Any]] | None]
"""One stream chunk's ``delta`` and its token log probabilities."""

EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


def tool(name: str, arguments: Mapping[str, Any] | str, *, call_id: str | None = None) -> dict[str, Any]:
    """One call of a function tool, for ``answer(tool_calls=[...])``; text arguments are sent as they are."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": call_id or f"call_{name}", "type": "function", "function": {"name": name, "arguments": text}}


def pieces(text: str | Sequence[str]) -> list[str]:
    """The parts in which a text is streamed: its words with the space after them, unless it comes in parts."""
    return re.findall(r"\S+\s*|\s+", text) if isinstance(text, str) else list(text)


def watermarks(text: str) -> list[str]:
    """The different watermarks found in a text, in the order of their first appearance."""
    return list(dict.fromkeys(re.findall(r"wm-[0-9a-f]{12}", text)))


@dataclass(frozen=True)
class Answer:
    """A chat completion, told in the form the request asks for. A behaviour: give it to a `ScriptedUpstream`."""

    text: str | Sequence[str] | None = None
    """The content. Text is streamed word by word; a list is streamed item by item. Unset: a greeting, or null where
    there are tool calls or a refusal."""
    _: KW_ONLY
    tool_calls: Sequence[Mapping[str, Any]] = ()
    """Calls as `tool` makes them. Their arguments are streamed in fragments of 8 characters."""
    reasoning: str | Sequence[str] | None = None
    """Sent before the content as ``reasoning_content``, the field of DeepSeek, vLLM and others."""
    refusal: str | None = None
    finish_reason: str | None = None
    """Unset: ``tool_calls`` if there are any, else ``stop``."""
    usage: Mapping[str, Any] | Literal["counted"] | None = "counted"
    """``counted``: one token for each word and piece. A mapping is sent as it is. None: never sent at all."""
    usage_at: Literal["end", "finish", "every", "twice"] = "end"
    """Where a stream carries usage: in a chunk of its own as OpenAI does, if the request asks for it (``twice``: two
    of them); or, asked for or not, on the finish chunk or on every chunk as other providers do."""
    logprobs: bool | None = None
    """Log probabilities, one token for each piece of text. Unset: if the request asks for them."""
    n: int | None = None
    """How many choices; unset: as many as the request asks for. A stream interleaves them."""
    model: str | None = None
    """The model that claims to answer; unset: the one asked for."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Response headers, over the usual ones."""
    delay: float = 0.0
    """Seconds before each event of a stream but the first, and before a whole answer."""
    watermark: bool = False
    """Put the request's watermark before the text, in square brackets."""
    newline: str = "\n"
    """Line ends of the stream: ``\\n``, ``\\r\\n`` or ``\\r``."""

    def __call__(self, received: Received) -> Iterator[Step]:
        """The script for this request."""
        if received.streams:
            return self.stream(received, [*self.events(received), self.done()])
        return self.respond(received)

    def respond(self, received: Received) -> Iterator[Step]:
        """The script of a whole answer."""
        if self.delay:
            yield Sleep(self.delay)
        body = msgspec.json.encode(self.completion(received))
        yield from whole(body, "application/json", headers=self.all_headers(received))

    def stream(self, received: Received, events: Iterable[bytes], *end: Step) -> Iterator[Step]:
        """The script of a stream of these events; ``end`` replaces the proper end of the body."""
        yield self.stream_head(received)
        for number, event in enumerate(events):
            if self.delay and number:
                yield Sleep(self.delay)
            yield Chunk(event)
        yield from end or (LAST_CHUNK,)

    def stream_head(self, received: Received) -> Send:
        """The head of a stream."""
        return head(200, {**EVENT_STREAM, **self.all_headers(received)})

    def all_headers(self, received: Received) -> dict[str, str]:
        return {"x-request-id": f"req_{received.watermark}", **self.headers}

    def done(self) -> bytes:
        """The event that ends a stream."""
        return sse("[DONE]", newline=self.newline)

    def events(self, received: Received) -> list[bytes]:
        """The stream's events as bytes, without the last ``[DONE]``."""
        return [sse(item, newline=self.newline) for item in self.chunks(received)]

    def completion(self, received: Received) -> dict[str, Any]:
        """The ``chat.completion`` object."""
        completion = self._envelope(received, "chat.completion")
        choices = range(self._count(received))
        completion["choices"] = [self._choice(index, received) for index in choices]
        if self.usage is not None:
            completion["usage"] = self.all_usage(received)
        return completion

    def chunks(self, received: Received) -> list[dict[str, Any]]:
        """The ``chat.completion.chunk`` objects, in order: roles, deltas, finishes, usage."""
        own_chunk = received.includes_usage and self.usage is not None and self.usage_at in ("end", "twice")
        envelope = self._envelope(received, "chat.completion.chunk")
        if received.includes_usage:
            envelope["usage"] = None
        if self.usage is not None and self.usage_at == "every":
            envelope["usage"] = self.all_usage(received)
        deltas, count = self._deltas(received), self._count(received)
        chunks = [{**envelope, "choices": [_delta_choice(index, delta)]} for delta in deltas for index in range(count)]
        finishes = [{**envelope, "choices": [self._finish_choice(index)]} for index in range(count)]
        if self.usage is not None and self.usage_at == "finish":
            finishes[-1]["usage"] = self.all_usage(received)
        if own_chunk:
            times = 2 if self.usage_at == "twice" else 1
            finishes += [{**envelope, "choices": [], "usage": self.all_usage(received)}] * times
        return chunks + finishes

    def all_usage(self, received: Received) -> dict[str, Any]:
        """The usage object this answer reports, wherever it reports it."""
        if isinstance(self.usage, Mapping):
            return dict(self.usage)
        prompt = _count_words(received.json)
        thought = len(pieces(self.reasoning or ()))
        spoken = sum(1 for delta, _ in self._deltas(received)[1:] if "reasoning_content" not in delta)
        completion = (thought + spoken) * self._count(received)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": thought * self._count(received)},
        }

    def _envelope(self, received: Received, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{received.watermark}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model or received.model or "test-model",
            "system_fingerprint": "fp_testing",
        }

    def _count(self, received: Received) -> int:
        wanted = received.json.get("n") if isinstance(received.json, dict) else None
        return self.n or (wanted if isinstance(wanted, int) else None) or 1

    def _content(self, received: Received) -> list[str]:
        text = self.text
        if text is None and not self.tool_calls and self.refusal is None:
            text = GREETING
        content = pieces(text or ())
        return [f"[{received.watermark}] ", *content] if self.watermark else content

    def _finish(self) -> str:
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    def _wants_logprobs(self, received: Received) -> bool:
        if self.logprobs is not None:
            return self.logprobs
        return isinstance(received.json, dict) and received.json.get("logprobs") is True

    def _choice(self, index: int, received: Received) -> dict[str, Any]:
        content = self._content(received)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(content) if content else None}
        message["refusal"] = self.refusal
        if self.reasoning is not None:
            message["reasoning_content"] = "".join(pieces(self.reasoning))
        if self.tool_calls:
            message["tool_calls"] = [dict(call) for call in self.tool_calls]
        tokens = [_token(piece) for piece in content]
        logprobs = {"content": tokens, "refusal": None} if self._wants_logprobs(received) else None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": self._finish()}

    def _finish_choice(self, index: int) -> dict[str, Any]:
        return {"index": index, "delta": {}, "logprobs": None, "finish_reason": self._finish()}

    def _deltas(self, received: Received) -> list[Delta]:
        """What one choice streams between nothing and its finish, the role first."""
        content = self._content(received)
        wants = self._wants_logprobs(received)
        deltas: list[Delta] = [({"role": "assistant", "content": "" if content else None, "refusal": None}, None)]
        deltas += [({"reasoning_content": piece}, None) for piece in pieces(self.reasoning or ())]
        deltas += [({"content": piece}, [_token(piece)] if wants else None) for piece in content]
        deltas += [({"refusal": piece}, None) for piece in pieces(self.refusal or ())]
        deltas += [(delta, None) for index, call in enumerate(self.tool_calls) for delta in call_deltas(index, call)]
        return deltas


answer = Answer
"""`Answer` under the name that reads well beside the other scripts: ``upstream.enqueue(answer("Hi"))``."""

GOOD = Answer()
"""What is answered where nothing else was said."""


def _delta_choice(index: int, delta: Delta) -> dict[str, Any]:
    fields, tokens = delta
    logprobs = {"content": tokens, "refusal": None} if tokens is not None else None
    return {"index": index, "delta": fields, "logprobs": logprobs, "finish_reason": None}


def call_deltas(index: int, call: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The deltas that stream one tool call: id and name first, then its arguments in fragments."""
    kind = call["type"]
    key = "input" if kind == "custom" else "arguments"
    text = call[kind][key]
    yield {"tool_calls": [{"index": index, "id": call["id"], "type": kind, kind: {**call[kind], key: ""}}]}
    for start in range(0, len(text), 8):
        yield {"tool_calls": [{"index": index, kind: {key: text[start : start + 8]}}]}


def _token(text: str) -> dict[str, Any]:
    return {"token": text, "bytes": list(text.encode()), "logprob": -0.25, "top_logprobs": []}


def _count_words(body: Any) -> int:
    """Words of all texts in a request's messages; at least 1."""
    messages = body.get("messages") if isinstance(body, dict) else None
    contents = [message.get("content") for message in messages or [] if isinstance(message, dict)]
    parts = chain.from_iterable(content if isinstance(content, list) else [content] for content in contents)
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return sum(len(text.split()) for text in texts if isinstance(text, str)) or 1
