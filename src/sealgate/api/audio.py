"""``POST /v1/audio/transcriptions`` and ``/v1/audio/translations``: what is said in a file, there in English."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from sealgate.api import multipart
from sealgate.api.call import Call
from sealgate.api.desk import HEADERS, OPENAI, Desk, OpenAIDialect, hold_to
from sealgate.api.forms import in_dialect
from sealgate.api.guard import Guard
from sealgate.api.routes import Route
from sealgate.api.shapes import Tresor
from sealgate.errors import Problem
from sealgate.providers.base import Operation
from sealgate.relay.hall import Hall
from sealgate.relay.transcripts import TranscriptionRequest, read_transcription

SECONDS = 600.0
"""A transcription may take so long, failover included."""
MAX_HELD = 512 * 1024 * 1024
"""Bytes of all uploads that are received or relayed at once; one customer may have half of them."""


class SpokenTokens(Struct, tag_field="type", tag="tokens"):
    """What was used, where the provider counts tokens."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpokenSeconds(Struct, tag_field="type", tag="duration"):
    """What was used, where it counts seconds."""

    seconds: float


class Transcript(Struct):
    """What was said. ``verbose_json`` has ``task``, ``duration``, ``language``, ``segments`` and ``words`` besides."""

    text: str
    usage: SpokenTokens | SpokenSeconds
    tresor: Tresor
    task: str | msgspec.UnsetType = msgspec.UNSET
    language: str | msgspec.UnsetType = msgspec.UNSET
    duration: float | msgspec.UnsetType = msgspec.UNSET
    segments: list[Any] | msgspec.UnsetType = msgspec.UNSET
    words: list[Any] | msgspec.UnsetType = msgspec.UNSET


class TranscriptEvent(Struct):
    """``transcript.text.delta`` with ``delta``, or at the end ``transcript.text.done`` with all the rest."""

    type: Literal["transcript.text.delta", "transcript.text.done"]
    delta: str | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    usage: SpokenTokens | SpokenSeconds | msgspec.UnsetType = msgspec.UNSET
    tresor: Tresor | msgspec.UnsetType = msgspec.UNSET


class PlainDialect(OpenAIDialect):
    """Whole answers that are text."""

    def __init__(self, content_type: bytes) -> None:
        self.content_type = content_type


DIALECTS = {
    "json": OPENAI,
    "verbose_json": OPENAI,
    "text": PlainDialect(b"text/plain; charset=utf-8"),
    "srt": PlainDialect(b"application/x-subrip; charset=utf-8"),
    "vtt": PlainDialect(b"text/vtt; charset=utf-8"),
}


def routes(hall: Hall, guard: Guard) -> list[Route]:
    header: Any = [each for each in HEADERS if each[0] != "X-Tresor-Timeout-Seconds"]
    held = Held()

    def route(operation: Operation, summary: str) -> Route:
        return Route(
            "POST",
            f"/audio/{operation}",
            "key",
            Audio(hall, guard, operation, held),
            summary,
            body=TranscriptionRequest,
            file="A sound: flac, m4a, mp3, mp4, mpeg, mpga, oga, ogg, wav or webm.",
            answer=Transcript,
            events=TranscriptEvent,
            header=tuple(header),
        )

    return [
        route("transcriptions", "Write down what is said in a file."),
        route("translations", "Write down in English what is said in a file."),
    ]


class Held:
    """How many bytes of uploads are in this process now, in all and for each customer."""

    def __init__(self) -> None:
        self.size = 0
        self._shares: Counter[str] = Counter()

    @contextmanager
    def room(self, customer_id: str, size: int) -> Iterator[None]:
        """Room for so many bytes. Raises `Problem` where there is none."""
        share = self._shares[customer_id]
        if (self.size and self.size + size > MAX_HELD) or (share and share + size > MAX_HELD // 2):
            raise Problem("overloaded", "Too many uploads at once.")
        self.size += size
        self._shares[customer_id] += size
        try:
            yield
        finally:
            self.size -= size
            self._shares[customer_id] -= size
            if not self._shares[customer_id]:
                del self._shares[customer_id]


class Audio:
    """The endpoints; they differ in what is asked of the provider."""

    def __init__(self, hall: Hall, guard: Guard, operation: Operation, held: Held) -> None:
        self._hall = hall
        self._desk = Desk(hall, guard, f"audio.{operation}", "transcription")
        self._operation = operation
        self._held = held

    async def __call__(self, call: Call) -> None:
        caller, controls = await self._desk.enter(call)
        if controls.timeout is not None:
            raise Problem("invalid_timeout_override", "X-Tresor-Timeout-Seconds is for chat completions only.")
        settings = self._hall.settings
        limit = settings.server.max_upload_bytes
        # The file lies in the spool; what goes to a provider is one copy of it in memory.
        size = min(limit, int(call.header(b"content-length") or limit))
        with self._held.room(caller.customer_id, size):
            async with multipart.form(call, Path(settings.data_dir) / "spool", limit) as form:
                with in_dialect(call):
                    ask = read_transcription(
                        self._operation,
                        form.fields,
                        form.file,
                        form.filename,
                        settings.server.default_model,
                        controls.trace,
                    )
                hold_to(ask, caller, controls)
                dialect = DIALECTS[ask.prompt.fields["response_format"]]
                await self._desk.answer(call, caller, controls, ask, form.body, dialect, SECONDS)
