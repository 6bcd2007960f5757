"""OpenAI's wire: choices as one `chat.completion`, or as the events of a stream, one token each.

Source: the official SDK's ``openai/types/chat/chat_completion.py`` and ``chat_completion_chunk.py``. An event is put
together from bytes made once per answer, because a stream has many and all but the token is the same in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from sealgate.providers.sandbox.answer import Called, Choice

Json = dict[str, Any]

FINGERPRINT = "fp_sandbox_1"
DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.encode


class Head(NamedTuple):
    """What all parts of one answer share. ``created`` is in whole seconds since 1970."""

    id: str
    created: int
    model: str


def whole(head: Head, choices: list[Choice], usage: Json | None) -> Json:
    """The answer as one object; without ``usage`` where that is None."""
    answer: Json = {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [_choice(choice) for choice in choices],
        "system_fingerprint": FINGERPRINT,
    }
    if usage is not None:
        answer["usage"] = usage
    return answer


def _choice(choice: Choice) -> Json:
    text = "".join(choice.content)
    message: Json = {"role": "assistant", "content": None if choice.calls or choice.refused else text}
    message["refusal"] = text if choice.refused else None
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls and choice.calls[0].call.tool.kind == "legacy":
        message["function_call"] = _call(choice.calls[0])["function"]
    elif choice.calls:
        message["tool_calls"] = [_call(each) for each in choice.calls]
    return {
        "index": choice.index,
        "message": message,
        "logprobs": _logprobs(choice.refused, choice.logprobs) if choice.logprobs is not None else None,
        "finish_reason": choice.finish,
        **_stopped(choice),
    }


def _stopped(choice: Choice) -> Json:
    """vLLM's name for the stop text that ended a choice; OpenAI has none."""
    return {} if choice.stopped is None else {"stop_reason": choice.stopped}


def _call(called: Called) -> Json:
    call, text = called.call, "".join(called.pieces)
    if call.tool.kind == "custom":
        return {"id": call.id, "type": "custom", "custom": {"name": call.tool.name, "input": text}}
    return {"id": call.id, "type": "function", "function": {"name": call.tool.name, "arguments": text}}


def _logprobs(refused: bool, entries: list[Json]) -> Json:
    return {"content": None if refused else entries, "refusal": entries if refused else None}


class Stream:
    """The events of one answer, in order: roles, tokens (choices take turns), finishes, usage, ``[DONE]``."""

    def __init__(self, head: Head, choices: list[Choice], usage: Json, *, include_usage: bool) -> None:
        start: Json = {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "system_fingerprint": FINGERPRINT,
        }
        self._open = b"data: " + _encode(start)[:-1] + b',"choices":['
        self._close = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._plain = b',"logprobs":null,"finish_reason":null}' + self._close
        self._choices = choices
        self._usage = _encode(usage) if include_usage else None

    def roles(self) -> Iterator[bytes]:
        """The first event of each choice."""
        for choice in self._choices:
            content = b"null" if choice.calls or choice.refused else b'""'
            yield self._start(choice) + b'{"role":"assistant","content":' + content + b"}" + self._plain

    def tokens(self) -> Iterator[bytes]:
        """One event for each token, and one for the head of each tool call."""
        if len(self._choices) == 1:
            yield from self._choice(self._choices[0])
            return
        running = [self._choice(choice) for choice in self._choices]
        while running:
            still = []
            for events in running:
                event = next(events, None)
                if event is not None:
                    yield event
                    still.append(events)
            running = still

    def ends(self) -> Iterator[bytes]:
        """The finish of each choice, the usage where it was asked for, and ``[DONE]``."""
        for choice in self._choices:
            ended = _encode({"logprobs": None, "finish_reason": choice.finish, **_stopped(choice)})[1:]
            yield self._start(choice) + b"{}," + ended + self._close
        if self._usage is not None:
            yield self._open + b'],"usage":' + self._usage + b"}\n\n"
        yield DONE

    def _start(self, choice: Choice) -> bytes:
        return self._open + b'{"index":%d,"delta":' % choice.index

    def _choice(self, choice: Choice) -> Iterator[bytes]:
        start, plain = self._start(choice), self._plain
        opened = start + b'{"reasoning_content":'
        for token in choice.reasoning:
            yield opened + _encode(token) + b"}" + plain
        opened = start + (b'{"refusal":' if choice.refused else b'{"content":')
        if choice.logprobs is None:
            for token in choice.content:
                yield opened + _encode(token) + b"}" + plain
        else:
            for token, entry in zip(choice.content, choice.logprobs, strict=True):
                marks = _encode(_logprobs(choice.refused, [entry]))
                yield opened + _encode(token) + b'},"logprobs":' + marks + b',"finish_reason":null}' + self._close
        for number, called in enumerate(choice.calls):
            yield from self._called(start, number, called)

    def _called(self, start: bytes, number: int, called: Called) -> Iterator[bytes]:
        """A tool call: id and name first, then its arguments in pieces."""
        call = called.call
        if call.tool.kind == "legacy":
            yield start + _encode({"function_call": {"name": call.tool.name, "arguments": ""}}) + self._plain
            before, after = b'{"function_call":{"arguments":', b"}}"
        else:
            kind, field = ("custom", "input") if call.tool.kind == "custom" else ("function", "arguments")
            opening = {"index": number, "id": call.id, "type": kind, kind: {"name": call.tool.name, field: ""}}
            yield start + _encode({"tool_calls": [opening]}) + self._plain
            before = b'{"tool_calls":[{"index":%d,"%s":{"%s":' % (number, kind.encode(), field.encode())
            after = b"}}]}"
        before = start + before
        after += self._plain
        for piece in called.pieces:
            yield before + _encode(piece) + after
