"""Why an answer ended: upstreams' many words for it, as OpenAI's five, or as the failure that some of them are.

OpenAI has one word for an answer that was over and for one that came to a stop text of the caller's. Other dialects
have two, and some upstreams tell: `stopped_at` reads that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.base import Json

_WORDS = {
    "stop": ("stop", "eos", "eos_token", "end", "end_turn", "stop_sequence", "complete", "completed"),
    "length": ("length", "max_tokens", "model_length", "model_context_window_exceeded"),
    "tool_calls": ("tool_calls", "tool_use"),
    "function_call": ("function_call",),
    "content_filter": (
        "content_filter", "content_filtered", "guardrail_intervened", "refusal", "safety", "recitation", "blocklist",
        "prohibited_content", "spii",
    ),
}  # fmt: skip
REASONS = {word: reason for reason, words in _WORDS.items() for word in words}

BROKEN = frozenset(
    {
        "abort", "aborted", "cancelled", "canceled", "error", "failed", "insufficient_system_resource",
        "malformed_function_call", "malformed_model_output", "malformed_tool_use", "network_error", "timeout",
    }
)  # fmt: skip
"""Reasons that mean the upstream failed although it answered 200."""

STOPPED = "stop_sequence"
"""Where a choice says which stop text has ended it; and the word of some for that one has."""
_NATIVE = "native_finish_reason"
TELLING = (STOPPED, "stop_reason", "matched_stop", _NATIVE)
"""Fields of a choice that tell of stop texts: the one of our wires, vLLM's, SGLang's, OpenRouter's."""


def reason(value: Any, *, called: bool) -> str:
    """The public reason; a word that nobody knows counts as ``stop``. Raises `UpstreamError` for a failure."""
    found = REASONS.get(value) if type(value) is str else None
    if found is None:
        word = str(value).lower()
        if word in BROKEN:
            raise UpstreamError(Failure.SERVER_ERROR, f"the answer ended with {word}")
        found = REASONS.get(word, "stop")
    # Some upstreams say stop after a tool call; clients decide by the reason.
    return "tool_calls" if called and found == "stop" else found


def stopped_at(choice: Json, stops: Sequence[str]) -> Json:
    """``{"stop_sequence": …}`` where a choice ended at one of the caller's ``stops``, as far as its upstream tells.

    None is in there where the upstream tells that it was one of several, and not which.
    """
    if not stops:
        return {}
    said = {name: choice.get(name) for name in TELLING}
    for name, text in said.items():
        # OpenRouter's holds a reason alone, such as STOP, which may be a stop text of the caller's, too.
        if name != _NATIVE and isinstance(text, str) and text in stops:
            return {STOPPED: text}
    if STOPPED in (*said.values(), choice.get("finish_reason")):
        return {STOPPED: stops[0] if len(stops) == 1 else None}
    return {}
