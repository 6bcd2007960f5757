"""OpenAI's wire of transcriptions and translations: a form with a file, answered by JSON or by events.

Source: the API references of OpenAI (``audio/transcriptions``, ``audio/translations``), Groq, Mistral and vLLM.

Providers are always asked for JSON: subtitles and plain text are written here from that, so they also come from
providers that have no such format (Groq, Mistral), and what was used is known. The inner language is OpenAI's: one
document with ``text``, or ``transcript.text.delta`` and ``transcript.text.done``.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from sealgate.errors import Failure, UpstreamError
from sealgate.formats import sse
from sealgate.providers.base import Account, Adjustment, Json, Operation, Prompt, Written
from sealgate.providers.openai import UNREADABLE, WIRE, raise_if_error
from sealgate.providers.whole import WholeBody

_decode = msgspec.json.Decoder(Json).decode

BOUNDARY = secrets.token_hex(24).encode()
"""Of every form that this process sends; nobody can know it beforehand and put it into a file."""
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}

WITH_SEGMENTS = frozenset({"verbose_json", "srt", "vtt"})
"""Formats that need to know when what was said."""
GRANULARITIES = "timestamp_granularities"


class Upload(NamedTuple):
    """A file on its way: by a name of ours, with the type that its bytes have."""

    name: str
    content_type: str
    data: bytes | memoryview


class AudioWire:
    """``operation`` decides about ``stream``; ``drops`` are fields that the provider has no use for.

    ``formats`` False: its answers have one form, and segments where they are asked for by `GRANULARITIES`.
    """

    stream_type = "text/event-stream"

    def __init__(self, operation: Operation, *, drops: frozenset[str] = frozenset(), formats: bool = True) -> None:
        self._operation = operation
        self._drops = drops
        self._formats = formats

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:  # noqa: ARG002
        fields = dict(prompt.fields)
        upload: Upload = fields.pop("file")
        said = [Adjustment(name, "dropped", "the provider does not know it") for name in fields if name in self._drops]
        for dropped in said:
            del fields[dropped.param]
        return Written(_form([("model", model), *self._pairs(fields, prompt)], upload), said, FORM)

    def _pairs(self, fields: Json, prompt: Prompt) -> Iterator[tuple[str, str]]:
        wanted = fields.pop("response_format", "json")
        granularities = fields.pop(GRANULARITIES, ()) if wanted == "verbose_json" else ()
        fields.pop(GRANULARITIES, None)
        if self._formats:
            yield "response_format", "verbose_json" if wanted in WITH_SEGMENTS else "json"
        elif wanted in WITH_SEGMENTS:
            granularities = granularities or ("segment",)
        for each in granularities:
            yield f"{GRANULARITIES}[]", each
        if prompt.stream and self._operation == "transcriptions":
            yield "stream", "true"
        for name, value in fields.items():
            for each in value if isinstance(value, list) else (value,):
                yield name, each

    def reader(self, fields: Json, *, stream: bool) -> TranscriptReader | EventsReader:  # noqa: ARG002
        return EventsReader() if stream else TranscriptReader()

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        return WIRE.failure(status, headers, body)

    def holds(self, fields: Json, model: str) -> bool:  # noqa: ARG002
        return True


def _form(pairs: Iterable[tuple[str, str]], upload: Upload) -> bytes:
    """The body, in one copy of the file."""
    lines: list[bytes | memoryview] = []
    for name, value in pairs:
        lines.append(
            b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
            % (BOUNDARY, quoted(name), value.encode("utf-8", "replace"))
        )
    lines.append(
        b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\nContent-Type: %b\r\n\r\n'
        % (BOUNDARY, quoted(upload.name), upload.content_type.encode())
    )
    lines += (upload.data, b"\r\n--%b--\r\n" % BOUNDARY)
    return b"".join(lines)


def quoted(name: str) -> bytes:
    """A name as forms write it (HTML, multipart/form-data encoding algorithm)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").encode("utf-8", "replace")


class TranscriptReader(WholeBody):
    """One JSON document with ``text``."""

    def end(self) -> Iterable[Json]:
        try:
            answer = _decode(self.body)
        except (*UNREADABLE, msgspec.ValidationError):
            raise UpstreamError(Failure.BAD_RESPONSE, "the body is not a JSON object") from None
        raise_if_error(answer)
        self.done = True
        return (answer,)


class EventsReader:
    """Events of OpenAI, of Mistral (``transcription.…``) or of vLLM (chunks with ``choices``).

    Or one document, where a provider knows no streams of transcripts and passes over that one was asked for.
    """

    def __init__(self) -> None:
        self._events = sse.EventReader()
        self._document: TranscriptReader | None = None
        self._begun = False
        self._said: list[str] = []
        self._usage: Any = None
        self._ends = False
        self.done = False

    def feed(self, piece: bytes) -> Iterable[Json]:
        if not self._begun and piece.strip():
            self._begun = True
            if piece.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
                self._document = TranscriptReader()
        if self._document is not None:
            return self._document.feed(piece)
        try:
            events = self._events.feed(piece)
        except sse.LineTooLongError as error:
            raise UpstreamError(Failure.BAD_STREAM, str(error)) from None
        return self._read(events)

    def end(self) -> Iterable[Json]:
        if self._document is not None:
            self.done = True
            return self._document.end()
        return () if self.done else self._read(self._events.feed(b"\n\n"))

    def _read(self, events: Iterable[sse.Event]) -> Iterator[Json]:
        for event in events:
            if self.done:
                return
            if event.data.startswith(b"[DONE]"):
                if self._ends:
                    self.done = True
                    yield {"type": "transcript.text.done", "text": "".join(self._said), "usage": self._usage}
                return
            yield from self._event(event)

    def _event(self, event: sse.Event) -> Iterator[Json]:
        try:
            found = _decode(event.data)
        except (*UNREADABLE, msgspec.ValidationError):
            raise UpstreamError(Failure.BAD_STREAM, "an event is not a JSON object") from None
        if event.name == b"error":
            raise_if_error({"error": found.get("error") or found})
        raise_if_error(found)
        kind = str(found.get("type") or "")
        if kind.endswith("text.delta"):
            said = found.get("delta")
            yield {"logprobs": found.get("logprobs"), **_delta(found.get("text") if said is None else said)}
        elif kind in ("transcript.text.done", "transcription.done"):
            self.done = True
            yield {**found, "type": "transcript.text.done"}
        elif "choices" in found:
            yield from self._chunk(found)
        elif kind.startswith("transcript.text."):
            yield found

    def _chunk(self, chunk: Json) -> Iterator[Json]:
        """vLLM's: as of a chat, and its end is that of a chat too."""
        self._usage = chunk.get("usage") or self._usage
        try:
            for choice in chunk["choices"]:
                if text := (choice.get("delta") or {}).get("content"):
                    self._said.append(text)
                    yield _delta(text)
                self._ends = self._ends or bool(choice.get("finish_reason"))
        except (AttributeError, TypeError) as error:
            raise UpstreamError(Failure.BAD_STREAM, "a chunk has an unknown shape") from error


def _delta(text: Any) -> Json:
    return {"type": "transcript.text.delta", "delta": text}


TRANSCRIPTIONS = AudioWire("transcriptions")
TRANSLATIONS = AudioWire("translations")
VOXTRAL = AudioWire("transcriptions", drops=frozenset({"prompt"}), formats=False)
"""Mistral's."""
