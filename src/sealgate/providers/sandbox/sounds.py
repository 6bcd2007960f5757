"""The sandbox's transcripts: what it hears, where it can; else an honest description of the file.

The words of a description are those of the file's header: format, length, sample rate, channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from sealgate.formats import sound
from sealgate.formats.sound import Sound
from sealgate.providers.sandbox import hearing
from sealgate.providers.sandbox.recogniser import Segment
from sealgate.providers.sandbox.refused import RefusedError

DEAF = "The sandbox cannot hear."
NOT_UNDERSTOOD = "The sandbox could not listen to this."

_encode = msgspec.json.encode


class Form(NamedTuple):
    """What was asked, and what the sandbox says to it."""

    fields: dict[str, str]
    sound: Sound | None
    text: str
    file: bytes = b""
    segments: Sequence[Segment] | None = None
    """What was heard, from when to when; None where nothing listened."""

    @property
    def seconds(self) -> float:
        return (self.sound.milliseconds or 0) / 1000 if self.sound is not None else 0.0

    @property
    def usage(self) -> dict[str, Any] | None:
        return {"type": "duration", "seconds": math.ceil(self.seconds)} if self.seconds else None


def answer(form: Form, task: str) -> bytes:
    """The body of a whole answer."""
    made: dict[str, Any] = {"text": form.text}
    if form.fields.get("response_format") == "verbose_json":
        made |= {"task": task, "language": "english", "duration": form.seconds, "segments": _segments(form)}
        if form.segments is not None and "word" in form.fields.get("timestamp_granularities[]", ""):
            made["words"] = [word for segment in form.segments for word in segment.words]
    return _encode(made | ({"usage": form.usage} if form.usage else {}))


def _segments(form: Form) -> list[dict[str, Any]]:
    if form.segments is None:
        return [{"id": 0, "start": 0.0, "end": form.seconds, "text": form.text}]
    return [
        {"id": number, "start": each.start, "end": each.end, "text": each.text}
        for number, each in enumerate(form.segments)
    ]


def events(form: Form) -> Iterator[bytes]:
    """The events of a stream, a word each."""
    for number, word in enumerate(form.text.split(" ")):
        yield _event({"type": "transcript.text.delta", "delta": word if not number else f" {word}"})
    yield _event({"type": "transcript.text.done", "text": form.text, "usage": form.usage})
    yield b"data: [DONE]\n\n"


async def heard(form: Form) -> Form:
    """With what is said in the sound, where the sandbox can hear and this is something for it."""
    if not hearing.can_hear():
        return form
    why = hearing.deaf_to(form.sound, form.fields.get("language", ""))
    found = None if why else await hearing.hear(form.file)
    if found is None:
        return form._replace(text=describe(form.sound, len(form.file), why or NOT_UNDERSTOOD))
    return form._replace(text=" ".join(each.text for each in found), segments=found)


def describe(found: Sound | None, size: int, why: str = DEAF) -> str:
    """Two sentences: why there is no transcript, and what there is."""
    told = ["of an unknown format"] if found is None else [f"in the format {found.format}"]
    if found is not None and found.milliseconds:
        told.append(f"{found.milliseconds / 1000:.2f} seconds")
    if found is not None and found.rate:
        told.append(f"{found.rate} Hz")
    if found is not None and found.channels:
        told.append(f"{found.channels} channel{'s' if found.channels != 1 else ''}")
    return f"{why} It was given a sound {', '.join(told)}, {size:,} bytes."


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + _encode(value) + b"\n\n"


def read(body: bytes, content_type: str) -> Form:
    """A form of our own making, which never has its boundary inside a part. Raises `RefusedError`."""
    mark = b"--" + content_type.partition("boundary=")[2].encode()
    fields: dict[str, str] = {}
    file = None
    for part in body.split(mark)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        if b"filename=" in head:
            file = value[:-2]
        else:
            said = value[:-2].decode("utf-8", "replace")
            fields[name] = f"{fields[name]},{said}" if name in fields else said
    if file is None:
        raise RefusedError("The form has no file.", param="file")
    found = sound.look(file)
    return Form(fields, found, describe(found, len(file)), file)
