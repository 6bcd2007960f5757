"""Token counts of one answer: read from what the upstream said, or estimated and marked so (rows F12, F13)."""

from __future__ import annotations

from typing import Any

import msgspec

from sealgate.providers.base import Json

LARGEST = 10**12
BYTES_PER_TOKEN = 4
"""A coarse average for text; only used where an upstream reports nothing."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer. ``cached`` is a part of ``prompt``, ``reasoning`` a part of ``completion``."""

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0
    source: str = "reported"

    def render(self) -> Json:
        """The ``usage`` object of OpenAI's API."""
        found: Json = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }
        if self.cached:
            found["prompt_tokens_details"] = {"cached_tokens": self.cached}
        if self.reasoning:
            found["completion_tokens_details"] = {"reasoning_tokens": self.reasoning}
        return found


def read(usage: Any) -> Usage | None:
    """OpenAI's ``usage`` object, or None where it is missing or absurd."""
    if not isinstance(usage, dict):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens", 0))
    if prompt is None or completion is None:
        return None
    cached = _inner(usage, "prompt_tokens_details", "cached_tokens")
    reasoning = _inner(usage, "completion_tokens_details", "reasoning_tokens")
    return Usage(prompt, completion, min(cached, prompt), min(reasoning, completion))


def estimate(request_bytes: int, answer_characters: int) -> Usage:
    """A guess from sizes, marked as one."""
    return Usage(
        prompt=max(1, request_bytes // BYTES_PER_TOKEN),
        completion=-(-answer_characters // BYTES_PER_TOKEN),
        source="estimated",
    )


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
        return None
    return value


def _inner(usage: Json, table: str, name: str) -> int:
    details = usage.get(table)
    return (_count(details.get(name)) or 0) if isinstance(details, dict) else 0
