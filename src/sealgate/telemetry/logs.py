"""The log: one structured line per event, only declared fields, never content."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, BinaryIO

import msgspec
import structlog

from sealgate.telemetry.registry import LOG_FIELDS

Logger = Any
"""A structlog bound logger: ``log.info("event_name", field=value)``."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_encode = msgspec.json.Encoder().encode


def configure(level: str = "info", form: str = "auto", out: BinaryIO | None = None) -> Logger:
    """Send every structlog logger of the process to ``out`` (standard error): JSON lines, or text on a terminal."""
    stream = out or sys.stderr.buffer
    console = form == "console" or (form == "auto" and stream.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            only_declared,
            *([structlog.dev.ConsoleRenderer(), _to_bytes] if console else [_render_json]),
        ],
        logger_factory=structlog.BytesLoggerFactory(stream),
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    return structlog.get_logger().bind()


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
