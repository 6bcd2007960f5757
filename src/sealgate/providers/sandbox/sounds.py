"""The sandbox's transcripts: an honest description of the file, since nothing here can hear.

The words are those of the file's header: format, length, sample rate, channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from sealgate.formats import sound
from sealgate.formats.sound import Sound
from sealgate.providers.sandbox.refused import RefusedError

_encode = msgspec.json.encode


class Form(NamedTuple):
    """What was asked, and what the sandbox says to it."""

    fields: dict[str, str]
    sound: Sound | None
    text: str

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
        segment = {"id": 0, "start": 0.0, "end": form.seconds, "text": form.text}
        made |= {"task": task, "language": "english", "duration": form.seconds, "segments": [segment]}
    return _encode(made | ({"usage": form.usage} if form.usage else {}))


def events(form: Form) -> Iterator[bytes]:
    """The events of a stream, a word each."""
    for number, word in enumerate(form.text.split(" ")):
        yield _event({"type": "transcript.text.delta", "delta": word if not number else f" {word}"})
    yield _event({"type": "transcript.text.done", "text": form.text, "usage": form.usage})
    yield b"data: [DONE]\n\n"


def describe(found: Sound | None, size: int) -> str:
    """One sentence."""
    told = ["of an unknown format"] if found is None else [f"in the format {found.format}"]
    if found is not None and found.milliseconds:
        told.append(f"{found.milliseconds / 1000:.2f} seconds")
    if found is not None and found.rate:
        told.append(f"{found.rate} Hz")
    if found is not None and found.channels:
        told.append(f"{found.channels} channel{'s' if found.channels != 1 else ''}")
    return f"The sandbox cannot hear. It was given a sound {', '.join(told)}, {size:,} bytes."


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
            fields[name] = value[:-2].decode("utf-8", "replace")
    if file is None:
        raise RefusedError("The form has no file.", param="file")
    found = sound.look(file)
    return Form(fields, found, describe(found, len(file)))
