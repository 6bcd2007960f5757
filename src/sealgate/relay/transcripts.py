"""Transcriptions and translations: the form's fields, and answers in the format that the caller asked for.

OpenAI's reference is the inner language: readers give one document with ``text``, or events with deltas and an end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sealgate.errors import Failure, Problem, UpstreamError
from sealgate.formats import sound
from sealgate.formats.sound import Sound
from sealgate.providers.audio import GRANULARITIES, WITH_SEGMENTS, Upload
from sealgate.providers.base import Adjustment, Json, Operation, Prompt
from sealgate.relay import form
from sealgate.relay.answer import Answer, Label
from sealgate.relay.ask import Ask
from sealgate.relay.shapes import OF_CHAT, Directed, of_chat
from sealgate.relay.usage import BYTES_PER_TOKEN, Usage

Format = Literal["json", "text", "verbose_json", "srt", "vtt"]
Granularity = Literal["word", "segment"]

TOKENS_PER_SECOND = 10
"""Tokens that a second of sound is counted as where nobody counts them (OpenAI's gpt-4o-transcribe)."""

NO_WORDS = "the provider says of no word when it was spoken."
NO_TIMES = "it goes with the format verbose_json"

_encode = msgspec.json.Encoder().encode


class TranscriptionRequest(Directed, kw_only=True):
    """The fields of ``POST /v1/audio/transcriptions`` beside the file."""

    language: Annotated[
        Annotated[str, Meta(max_length=64)] | None, Meta(description="What is spoken, as ISO 639-1; where it is known.")
    ] = None
    prompt: Annotated[str | None, Meta(description="Words and names that may come, or what was said before.")] = None
    response_format: Annotated[Format, Meta(description="The answer's form; the default is `json`.")] = "json"
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="Sampling temperature from 0 to 1.")
    ] = None
    timestamp_granularities: Annotated[
        list[Granularity] | None,
        Meta(description="With `verbose_json`: `word`, `segment` or both; repeated as `…[]` or as a list with commas."),
    ] = None
    stream: Annotated[bool, Meta(description="Answer by server-sent events; with `json` and `text`.")] = False
    user: Annotated[str | None, Meta(description="The caller's own user; usage can be grouped by it.")] = None


class _Asked(TranscriptionRequest, kw_only=True):
    """Callers cannot name other models here; the routes of the one they name may follow each other."""

    failover: list[str] | None = None


_FIELDS = frozenset(TranscriptionRequest.__struct_fields__)
_LISTS = frozenset({GRANULARITIES})
_CARRIED = ("language", "prompt", "temperature", "response_format", GRANULARITIES)


def read_transcription(
    operation: Operation,
    pairs: Iterable[tuple[str, str]],
    file: bytes | memoryview | None,
    filename: str,
    default_model: str | None = None,
    trace: Mapping[str, str] | None = None,
) -> Ask:
    """Check a form. Raises `Problem`. ``filename`` is the caller's: a hint at the format where the bytes give none."""
    typed, given, more = _typed(pairs)
    model = typed.model or default_model
    if not model:
        raise Problem("invalid_model", param="model")
    if typed.stream and typed.response_format in WITH_SEGMENTS:
        said = f"stream goes with the formats json and text, not with {typed.response_format}."
        raise Problem("invalid_parameter", said, param="stream")
    upload, found = _upload(file, filename)
    adjustments = [Adjustment(name, "dropped", OF_CHAT) for name in more if of_chat(name)]
    fields: Json = {name: values for name, values in more.items() if not of_chat(name)}
    if typed.response_format != "verbose_json" and given.pop(GRANULARITIES, None):
        adjustments.append(Adjustment(GRANULARITIES, "dropped", NO_TIMES))  # one of the SDKs always asks
    fields |= {name: given[name] for name in _CARRIED if given.get(name) not in (None, "")}
    fields["response_format"] = typed.response_format
    size = sum(len(str(value)) for value in fields.values())
    return Ask(
        named=typed,
        model=model,
        type="transcription",
        prompt=Prompt({**fields, "file": upload}, typed.stream, {}, {}, trace or {}, operation=operation),
        adjustments=adjustments,
        size=size,
        sound=found if found.milliseconds else None,
        audio_ms=found.milliseconds or sound.assumed(len(upload.data)),
    )


def _upload(file: bytes | memoryview | None, filename: str) -> tuple[Upload, Sound]:
    if file is None:
        raise Problem("invalid_parameter", "file: this field is required.", param="file")
    if not len(file):
        raise Problem("invalid_media", "The file is empty.", param="file")
    found = sound.look(file, filename)
    if found is None:
        said = f"The file is no sound of a known format: {', '.join(sorted(sound.TYPES))}."
        raise Problem("invalid_media", said, param="file")
    return Upload(f"audio.{found.format}", sound.TYPES[found.format], file), found


def _typed(pairs: Iterable[tuple[str, str]]) -> tuple[_Asked, Json, dict[str, list[str]]]:
    """The fields that are known, as their types and as they came; and all others."""
    given: Json = {}
    more: dict[str, list[str]] = {}
    for name, value in pairs:
        plain = name.removesuffix("[]")
        if plain == "failover":
            raise Problem("invalid_failover", "Transcriptions take no failover.", param="failover")
        if plain != name and (plain in _FIELDS or plain == "file") and plain not in _LISTS:
            raise Problem("invalid_parameter", f"{name}: this field is no list.", param=name)
        if plain in _LISTS:
            given.setdefault(plain, []).extend(each.strip() for each in value.split(",") if each.strip())
        elif name in given or (name in more and not name.endswith("[]")):
            raise Problem("invalid_parameter", f"{name}: this field was sent twice.", param=name)
        elif name in _FIELDS:
            given[name] = value
        else:
            more.setdefault(name, []).append(value)
    told = {name: value for name, value in given.items() if value != ""}
    for name in told:
        try:
            msgspec.convert({name: _plain(name, told[name])}, _Asked, strict=False)
        except msgspec.ValidationError as error:
            code = "invalid_model" if name == "model" else "invalid_parameter"
            raise Problem(code, f"{name}: {form.told(error, ()).msg}.", param=name) from None
    plain_fields = {name: _plain(name, value) for name, value in told.items()}
    return msgspec.convert(plain_fields, _Asked, strict=False), told, more


def _plain(name: str, value: Any) -> Any:
    """Numbers that are none (``nan``) are not within any bounds."""
    if name == "temperature":
        try:
            number = float(value)
        except ValueError:
            return value
        return number if math.isfinite(number) else -1
    return value


class Heard(Answer):
    """What every transcript has: how long the sound was, and what that comes to."""

    def __init__(self, label: Label, ask: Ask) -> None:
        super().__init__(label, 1, ask.size)
        self.text = ""
        self._told_ms: int | None = None
        """As the provider says."""
        self._measured = ask.sound is not None
        self._audio_ms = ask.audio_ms
        self._finished = False

    @property
    def finished(self) -> bool:
        return self._finished

    @property
    def milliseconds(self) -> int:
        """Length of the sound: as the provider counts it, as its header says, or guessed from its size."""
        return self._audio_ms if self._told_ms is None else self._told_ms

    @property
    def usage(self) -> Usage:
        if self.reported is not None:
            return self.reported
        tariff = self.label.tariff
        if tariff is not None and (tariff.input or tariff.output):
            prompt = self._request_bytes // BYTES_PER_TOKEN + -(-self.milliseconds * TOKENS_PER_SECOND // 1000)
            return Usage(prompt, -(-self.characters // BYTES_PER_TOKEN), source="estimated")
        return Usage(0, 0, source="reported" if self._told_ms is not None or self._measured else "estimated")

    @property
    def cost(self) -> int | None:
        tariff, usage = self.label.tariff, self.usage
        if tariff is None:
            return None
        return tariff.cost(usage.prompt, usage.completion, usage.cached, 0, 0, audio_ms=self.milliseconds)

    def said(self) -> list[Json]:
        return [{"index": 0, "text": self.text}]

    def shown_usage(self) -> Json:
        """In OpenAI's form: tokens where they were counted, else seconds."""
        usage = self.reported
        if usage is None:
            seconds = self.milliseconds / 1000
            return {"type": "duration", "seconds": int(seconds) if seconds.is_integer() else seconds}
        return {
            "type": "tokens",
            "input_tokens": usage.prompt,
            "output_tokens": usage.completion,
            "total_tokens": usage.prompt + usage.completion,
            "input_token_details": {"text_tokens": usage.prompt - usage.audio_in, "audio_tokens": usage.audio_in},
        }

    def hear(self, document: Json) -> None:
        """Note what a document says of usage and of the model."""
        usage = document.get("usage")
        if isinstance(usage, dict):
            if "input_tokens" in usage:
                details = usage.get("input_token_details")
                usage = {
                    "prompt_tokens": usage["input_tokens"],
                    "completion_tokens": usage.get("output_tokens", 0),
                    "prompt_tokens_details": details,
                }
            self._told_ms = _milliseconds(usage.get("seconds") or usage.get("prompt_audio_seconds"))
        if self._told_ms is None:
            self._told_ms = _milliseconds(document.get("duration"))
        self._note({**document, "usage": usage if isinstance(usage, dict) else None})


def _milliseconds(seconds: Any) -> int | None:
    """Of a number or, as some send it, of one in words."""
    try:
        found = float(seconds)
    except (TypeError, ValueError):
        return None
    return int(found * 1000) if 0 <= found < 1e6 else None


_UNTOLD = frozenset({"usage", "model", "x_groq", "finish_reason", "object", "id", "service_tier"})


class WholeTranscript(Heard):
    """One document, or what is written from it."""

    _body = b""

    def __init__(self, label: Label, ask: Ask) -> None:
        super().__init__(label, ask)
        self._form = str(ask.prompt.fields["response_format"])
        self._words = "word" in (ask.prompt.fields.get(GRANULARITIES) or ())
        self._strict = ask.strict
        self._task = "transcribe" if ask.prompt.operation == "transcriptions" else "translate"

    def take(self, upstream: Json) -> list[bytes]:
        text = upstream.get("text")
        if not isinstance(text, str):
            raise UpstreamError(Failure.BAD_RESPONSE, "the answer has no text")
        self.text, self.characters, self.has_content = text, len(text), True
        self.hear(upstream)
        self._body = self._written(upstream)
        self._finished = True
        return []

    def end(self) -> list[bytes]:
        if not self._finished:
            raise UpstreamError(Failure.BAD_RESPONSE, "the body is empty")
        return [self._body]

    def _written(self, upstream: Json) -> bytes:
        match self._form:
            case "text":
                return (self.text + "\n").encode()
            case "srt" | "vtt":
                return subtitles(self._form, _segments(upstream, self.text, self.milliseconds)).encode()
        kept = {name: value for name, value in upstream.items() if name not in _UNTOLD and value is not None}
        if self._form == "verbose_json":
            kept = {"task": self._task, "duration": self.milliseconds / 1000, "language": "unknown", **kept}
            if self._words and self.text.strip() and "words" not in kept:
                self._lacks_words()
        return _encode({**kept, "usage": self.shown_usage(), "tresor": self._tresor})

    def _lacks_words(self) -> None:
        """The provider has passed over that they were asked for. Raises `UpstreamError` where that may not be."""
        if self._strict:
            raise UpstreamError(Failure.PARAMETER, f"{GRANULARITIES} would be dropped: {NO_WORDS}", param=GRANULARITIES)
        said = Adjustment(GRANULARITIES, "dropped", NO_WORDS)._asdict()
        self.label.tresor["adjustments"] = [*self.label.tresor.get("adjustments", ()), said]


def _segments(upstream: Json, text: str, milliseconds: int) -> Sequence[tuple[float, float, str]]:
    """What was said from when to when. Raises `UpstreamError` where a segment has an unknown shape."""
    try:
        found = [
            (float(each["start"]), float(each["end"]), str(each["text"])) for each in upstream.get("segments") or ()
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UpstreamError(Failure.BAD_RESPONSE, "a segment has an unknown shape") from error
    return found or ([(0.0, milliseconds / 1000, text)] if text.strip() else [])


def subtitles(form: str, segments: Iterable[tuple[float, float, str]]) -> str:
    """SubRip, or WebVTT."""
    comma = "," if form == "srt" else "."
    found = [] if form == "srt" else ["WEBVTT\n\n"]
    for number, (start, end, text) in enumerate(segments, 1):
        # A blank line ends a cue, and an arrow would begin another.
        words = " ".join(text.split()).replace("-->", "->")
        head = f"{number}\n" if form == "srt" else ""
        found.append(f"{head}{_moment(start, comma)} --> {_moment(end, comma)}\n{words}\n\n")
    return "".join(found)


def _moment(seconds: float, comma: str) -> str:
    whole, rest = divmod(max(0, round(seconds * 1000)), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{comma}{rest:03}"


class StreamedTranscript(Heard):
    """``transcript.text.delta`` events, and ``transcript.text.done`` with usage and what is ours."""

    def take(self, upstream: Json) -> list[bytes]:
        kind = upstream.get("type")
        if kind == "transcript.text.delta":
            return self._delta(upstream)
        if kind in ("transcript.text.done", None):
            return self._done(upstream)
        return [_encode(upstream)]

    def end(self) -> list[bytes]:
        if not self._finished:
            failure = Failure.TRUNCATED if self.has_content else Failure.BAD_RESPONSE
            raise UpstreamError(failure, "the transcript ended without its last event")
        return []

    def _delta(self, upstream: Json) -> list[bytes]:
        text = upstream.get("delta")
        if not isinstance(text, str):
            raise UpstreamError(Failure.BAD_STREAM, "a delta has no text")
        if not text:
            return []
        self.text += text
        self.characters += len(text)
        self.has_content = True
        return [_encode({name: value for name, value in upstream.items() if value is not None})]

    def _done(self, upstream: Json) -> list[bytes]:
        text = upstream.get("text")
        if not isinstance(text, str):
            raise UpstreamError(Failure.BAD_STREAM, "the transcript has no text")
        ready = self._delta({"type": "transcript.text.delta", "delta": text}) if not self.has_content else []
        self.text, self.characters, self.has_content, self._finished = text, len(text), True, True
        self.hear(upstream)
        done: Json = {"type": "transcript.text.done", "text": text, "usage": self.shown_usage()}
        if upstream.get("logprobs"):
            done["logprobs"] = upstream["logprobs"]
        return [*ready, _encode({**done, "tresor": self._tresor})]


def answer(label: Label, ask: Ask) -> Answer:
    """Of one attempt."""
    return StreamedTranscript(label, ask) if ask.prompt.stream else WholeTranscript(label, ask)
