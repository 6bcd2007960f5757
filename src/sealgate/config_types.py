"""What settings are made of: bounded numbers, names, secrets."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
MOST = 10**12
Most = Annotated[int, Meta(ge=1, le=MOST)]
"""How much may be asked; beyond that no store counts exactly, and nobody means it."""
ModelType = Literal["chat", "embedding", "transcription"]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]


class Secret:
    """A value that never shows itself: not in ``repr``, not in logs, not in JSON."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))
