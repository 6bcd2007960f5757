"""Whether an answer is right. Pure: bytes and moments in, delays out, `WrongAnswerError` for anything that is off.

A program that answers fast and wrong fails the bench, so every answer and every event is decoded and compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from bench import shape


class WrongAnswerError(Exception):
    """An answer that is not what the canned upstream sent."""


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Message(msgspec.Struct):
    role: str
    content: str


class WholeChoice(msgspec.Struct):
    index: int
    message: Message
    finish_reason: str


class Whole(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[WholeChoice]
    usage: Usage


class Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None


class Choice(msgspec.Struct):
    index: int
    delta: Delta
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


_whole = msgspec.json.Decoder(Whole).decode
_chunk = msgspec.json.Decoder(Chunk).decode


def judge_whole(status: int, body: bytes) -> None:
    if status != 200:
        raise WrongAnswerError(f"status {status}: {body[:300]!r}")
    try:
        answer = _whole(body)
    except msgspec.DecodeError as error:
        raise WrongAnswerError(f"{error}: {body[:300]!r}") from None
    _require(answer.object == "chat.completion", "object", answer.object)
    _require(answer.model == shape.MODEL, "model", answer.model)
    _require(len(answer.choices) == 1, "number of choices", len(answer.choices))
    _require(answer.choices[0].message == Message("assistant", shape.TEXT), "message", answer.choices[0].message)
    _require(answer.choices[0].finish_reason == "stop", "finish_reason", answer.choices[0].finish_reason)
    _require_usage(answer.usage)


def _require(good: bool, what: str, found: object) -> None:
    if not good:
        raise WrongAnswerError(f"{what} is {found!r:.300}")


def _require_usage(usage: Usage) -> None:
    _require(usage == Usage(**shape.USAGE), "usage", usage)


@dataclass(slots=True)
class Delays:
    """Nanoseconds from the upstream's write to the caller's read, for events of one kind each."""

    role: list[int] = field(default_factory=list)
    content: list[int] = field(default_factory=list)
    finish: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)

    def add(self, other: Delays) -> None:
        self.role += other.role
        self.content += other.content
        self.finish += other.finish
        self.end += other.end


class StreamJudge:
    """Reads one stream: ``feed`` pieces of its body with their moment, then ``end`` once."""

    def __init__(self) -> None:
        self.number = 0
        self.contents: list[int] = []
        self.arrived: dict[str, int] = {}
        self._rest = b""
        self._usage = False

    def feed(self, piece: bytes, now: int) -> None:
        events = (self._rest + piece).split(b"\n\n")
        self._rest = events.pop()
        for event in events:
            if event.startswith(b"data: "):
                self._event(event[6:], now)
            elif not event.startswith(b":"):
                raise WrongAnswerError(f"not an event: {event[:300]!r}")

    def end(self) -> None:
        _require(not self._rest, "rest of the stream", self._rest)
        _require("end" in self.arrived, "the end of the stream without [DONE], after contents", len(self.contents))

    def _event(self, data: bytes, now: int) -> None:
        _require("end" not in self.arrived, "an event after [DONE]", data)
        if data == b"[DONE]":
            self._done(now)
            return
        try:
            chunk = _chunk(data)
        except msgspec.DecodeError as error:
            raise WrongAnswerError(f"{error}: {data[:300]!r}") from None
        _require(chunk.object == "chat.completion.chunk", "object", chunk.object)
        _require(chunk.model == shape.MODEL, "model", chunk.model)
        if chunk.choices:
            self._choice(chunk.choices[0], now)
        else:
            self._take_usage(chunk.usage)

    def _done(self, now: int) -> None:
        _require(self._usage, "the usage chunk", "missing")
        self.arrived["end"] = now

    def _choice(self, choice: Choice, now: int) -> None:
        delta = choice.delta
        _require("finish" not in self.arrived, "a choice after the finish", choice)
        if not self.arrived:
            _require(delta.role == "assistant", "the first delta", delta)
            self.arrived["role"] = now
        if delta.content:
            self._content(delta.content, now)
        if choice.finish_reason is not None:
            _require(choice.finish_reason == "stop", "finish_reason", choice.finish_reason)
            _require(len(self.contents) == shape.CONTENTS, "number of contents", len(self.contents))
            self.arrived["finish"] = now

    def _content(self, text: str, now: int) -> None:
        try:
            sent, stream, place = shape.mark(text)
        except ValueError as error:
            raise WrongAnswerError(str(error)) from None
        _require(place == len(self.contents), f"place of content {len(self.contents)}", place)
        _require(self.number in (0, stream), "a content of another stream", stream)
        self.number = stream
        self.contents.append(now - sent)

    def _take_usage(self, usage: Usage | None) -> None:
        if usage is None or "finish" not in self.arrived or self._usage:
            raise WrongAnswerError("a chunk without choices that is not the one usage chunk behind the finish")
        _require_usage(usage)
        self._usage = True


def delays(streams: list[StreamJudge], sent: dict[str, dict[str, int]]) -> Delays:
    """All delays of finished streams; ``sent`` is the canned upstream's answer to ``GET /sent``."""
    found = Delays()
    for stream in streams:
        times, arrived = sent[str(stream.number)], stream.arrived
        found.role.append(arrived["role"] - times["role"])
        found.content += stream.contents
        found.finish.append(arrived["finish"] - times["finish"])
        found.end.append(arrived["end"] - times["end"])
    return found
