"""A stream as short as it can be, for tests that cut it at each of its bytes."""

from __future__ import annotations

from typing import Any

from sealgate.testing.openai_wire import Answer
from sealgate.testing.received import Received


class Spare(Answer):
    """An answer whose stream says what does not change in its first event, and leaves out what is null."""

    def chunks(self, received: Received) -> list[dict[str, Any]]:
        first, *rest = super().chunks(received)
        return [first, *map(bare, rest)]


def bare(chunk: dict[str, Any]) -> dict[str, Any]:
    """What is its own of a chunk: its choices, and its usage where it has one."""
    choices = [{name: value for name, value in each.items() if value is not None} for each in chunk["choices"]]
    usage = chunk.get("usage")
    return {"choices": choices, **({"usage": usage} if usage else {})}
