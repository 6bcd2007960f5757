"""Who wants sessions to be made without asking for them, and how long these last.

The settings of all who have switched this on are in memory: a request of anybody else costs one look into an empty, or
nearly empty, table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from sealgate.errors import Problem

Who: TypeAlias = tuple[str, str | None]
"""A customer; and a user, where several of them share one customer."""

SHORTEST = 60
LONGEST = 86_400
USUAL = 3600
"""Seconds."""


class Settings(msgspec.Struct, kw_only=True):
    """What somebody has set. Times are Unix microseconds, the duration is in seconds."""

    is_enabled: bool = False
    session_duration: int = USUAL
    created_at: int
    updated_at: int


def require_duration(seconds: int | None, param: str) -> None:
    """Raises `Problem` for a duration that no session can have."""
    if seconds is not None and not SHORTEST <= seconds <= LONGEST:
        said = f"The session duration must be between {SHORTEST} and {LONGEST} seconds."
        raise Problem("invalid_parameter", said, param=param)


class Automation:
    """The settings of all who have switched it on."""

    def __init__(self) -> None:
        self._on: dict[Who, int] = {}

    def __bool__(self) -> bool:
        """Whether anybody has."""
        return bool(self._on)

    def seconds(self, who: Who) -> int | None:
        """How long the sessions last that are made for them; None where none are."""
        return self._on.get(who)

    def take(self, told: Iterable[tuple[Who, Settings]]) -> None:
        """Note settings as they are now."""
        for who, settings in told:
            if settings.is_enabled:
                self._on[who] = settings.session_duration
            else:
                self._on.pop(who, None)
