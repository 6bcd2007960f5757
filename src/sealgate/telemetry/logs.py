"""The log: one structured line per event, only declared fields, never content."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
import traceback
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple

import msgspec
import structlog

from sealgate.telemetry.registry import LOG_FIELDS

Logger = Any
"""A structlog bound logger: ``log.info("event_name", field=value)``."""

FLUSH_SECONDS = 0.1

_OF_THE_LINE = ("level", "timestamp")
"""Fields that structlog adds by itself."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_encode = msgspec.json.Encoder().encode


class Access(msgspec.Struct, omit_defaults=True, tag_field="event", tag="request", gc=False):
    """The one line that each request has. Fields are those of the registry; what is None is left out."""

    request_id: str
    level: str = ""
    timestamp: str | None = None
    method: str | None = None
    route: str | None = None
    status: int | None = None
    code: str | None = None
    seconds: float | None = None
    client: str | None = None
    customer: str | None = None
    key: str | None = None
    user: str | None = None
    reason: str | None = None
    routed_model: str | None = None
    outcome: str | None = None
    attempts: int | None = None
    stream: bool | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Logs(NamedTuple):
    """``log`` is for everything; ``access`` writes a request's line, past structlog's machinery."""

    log: Logger
    access: Callable[[Access], None]
    flush: Callable[[], None]
    """Writes what waits: for the end of the process."""


def configure(level: str = "info", form: str = "auto", out: BinaryIO | None = None) -> Logs:
    """Send every structlog logger of the process to ``out`` (standard error): JSON lines, or text on a terminal."""
    stream = out or sys.stderr.buffer
    sink = Sink(stream)
    console = form == "console" or (form == "auto" and stream.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_declared,
            *([structlog.dev.ConsoleRenderer(), _to_bytes] if console else [_render_json]),
        ],
        logger_factory=lambda *_: sink,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    log = structlog.get_logger().bind()

    moment = Moment()

    def as_json(line: Access) -> None:
        line.level, line.timestamp = "info", moment(time.time_ns())
        sink.info(_encode(line))

    def as_event(line: Access) -> None:
        fields = {name: getattr(line, name) for name in line.__struct_fields__ if name not in _OF_THE_LINE}
        log.info("request", **{name: value for name, value in fields.items() if value is not None})

    return Logs(log, as_event if console or _LEVELS[level] > logging.INFO else as_json, sink.flush)


class Moment:
    """Moments in ISO 8601, in UTC: the text of a second is made once."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, nanoseconds: int) -> str:
        second, rest = divmod(nanoseconds, 1_000_000_000)
        if second != self._second:
            self._second, self._text = second, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        # A number's own digits behind a leading one: a format with a width takes twice as long.
        return f"{self._text}{str(1_000_000 + rest // 1000)[1:]}Z"


class Sink:
    """Lines on their way out. What is routine is written a few times a second, what is wrong at once."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._lines: list[bytes] = []

    def info(self, line: bytes) -> None:
        """Write soon, or now where no event loop runs."""
        self._lines.append(line)
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
            except RuntimeError:
                self.flush()

    debug = info

    def warning(self, line: bytes) -> None:
        """Write now, after what waits."""
        self._lines.append(line)
        self.flush()

    error = critical = warning

    def flush(self) -> None:
        """Write what waits. A log that cannot be written must not stop the gateway."""
        lines, self._lines = self._lines, []
        if lines:
            with suppress(OSError, ValueError):
                self._out.write(b"\n".join(lines) + b"\n")
                self._out.flush()


def only_declared(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop every field that the registry does not know, so that nothing can slip into a log by accident."""
    for name in fields.keys() - LOG_FIELDS.keys():
        del fields[name]
    return fields


def where(error: BaseException) -> str:
    """An exception's way through the code without any value: a message could hold what a caller sent."""
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-12:])


def _render_json(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> bytes:
    return _encode(fields)


def _to_bytes(_logger: Any, _method: str, text: str) -> bytes:
    return text.encode()
