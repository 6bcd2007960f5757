"""Token counts of one answer: read from what the upstream said, or estimated and marked so (rows F12, F13).

Providers draw the lines differently: what one counts inside a number, another counts beside it. `read` brings them to
one record in which every part lies inside its whole, and in which the whole is what is paid for.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sealgate.providers.base import Json

LARGEST = 10**12
BYTES_PER_TOKEN = 4
"""A coarse average for text; only used where an upstream reports nothing."""

_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens")
"""Where `prompt_tokens_details` does not say it: DeepSeek, Together, Mistral, proxies of Anthropic's models."""
_WRITTEN = ("cache_write_tokens", "cache_creation_input_tokens")


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer. ``prompt`` and ``completion`` are all there is; the rest are parts of them.

    Of the prompt: read from a cache, written to one, sound. Of the completion: reasoning, sound.
    """

    prompt: int
    completion: int
    cached: int = 0
    reasoning: int = 0
    source: str = "reported"
    cache_write: int = 0
    audio_in: int = 0
    audio_out: int = 0

    @property
    def uncached(self) -> int:
        """The prompt but for what a cache had, or was given."""
        return self.prompt - self.cached - self.cache_write

    @property
    def text_out(self) -> int:
        """The completion but for reasoning and sound."""
        return self.completion - self.reasoning - self.audio_out

    def render(self) -> Json:
        """The ``usage`` object of OpenAI's API, with the details that say something."""
        found: Json = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }
        if self.cached or self.cache_write or self.audio_in:
            found["prompt_tokens_details"] = _said(
                cached_tokens=self.cached, cache_write_tokens=self.cache_write, audio_tokens=self.audio_in
            )
        if self.reasoning or self.audio_out:
            found["completion_tokens_details"] = _said(reasoning_tokens=self.reasoning, audio_tokens=self.audio_out)
        return found


def read(usage: Any) -> Usage | None:
    """OpenAI's ``usage`` object in any provider's form of it, or None where it is missing or absurd."""
    if not isinstance(usage, dict):
        return None
    if len(usage) == 3 and (plain := _plain(usage)) is not None:
        return plain
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens", 0))
    if prompt is None or completion is None:
        return None
    total = _count(usage.get("total_tokens"))
    inside, outside = _details(usage, "prompt_tokens_details"), _details(usage, "completion_tokens_details")
    heard, reasoning = _part(inside, "audio_tokens"), _part(outside, "reasoning_tokens")
    if total is not None and (beside := total - prompt - completion) > 0:
        # The sum has more than its parts: something is counted beside them. Sound in the prompt (Mistral), or else
        # reasoning, told (xAI) or untold (Gemini under OpenAI's names).
        if "prompt_audio_seconds" in usage or (beside == heard and beside != reasoning):
            prompt += beside
        else:
            completion += beside
            reasoning = reasoning or beside
    cached = _part(inside, "cached_tokens") or _first(usage, _CACHED)
    cached = min(cached, prompt)
    written = min(_part(inside, "cache_write_tokens") or _first(usage, _WRITTEN), prompt - cached)
    reasoning = min(reasoning, completion)
    spoken = min(_part(outside, "audio_tokens"), completion - reasoning)
    return Usage(prompt, completion, cached, reasoning, "reported", written, min(heard, prompt), spoken)


def _plain(usage: Json) -> Usage | None:
    """Of the three counts and nothing else, which is what most servers say; None where it is not these, or they are
    not plainly right."""
    prompt, completion, total = usage.get("prompt_tokens"), usage.get("completion_tokens"), usage.get("total_tokens")
    if type(prompt) is not int or type(completion) is not int or prompt < 0 or completion < 0:
        return None
    return Usage(prompt, completion) if total == prompt + completion and total <= LARGEST else None


def estimate(request_bytes: int, answer_characters: int) -> Usage:
    """A guess from sizes, marked as one."""
    return Usage(
        prompt=max(1, request_bytes // BYTES_PER_TOKEN),
        completion=-(-answer_characters // BYTES_PER_TOKEN),
        source="estimated",
    )


def with_begun(guess: Usage, begun: Usage | None) -> Usage:
    """An estimate for an answer that broke, with the prompt as its start has counted it. It stays an estimate."""
    if begun is None:
        return guess
    return msgspec.structs.replace(begun, completion=max(begun.completion, guess.completion), source=guess.source)


def _said(**counts: int) -> Json:
    return {name: count for name, count in counts.items() if count}


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= LARGEST else None


def _details(usage: Json, name: str) -> Json:
    found = usage.get(name)
    return found if isinstance(found, dict) else {}


def _part(details: Json, name: str) -> int:
    return _count(details.get(name)) or 0


def _first(usage: Json, names: tuple[str, ...]) -> int:
    return next((count for name in names if (count := _count(usage.get(name)))), 0)
