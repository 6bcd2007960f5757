"""Why an answer ended: upstreams' many words for it, as OpenAI's five, or as the failure that some of them are."""

from __future__ import annotations

from typing import Any

from sealgate.errors import Failure, UpstreamError

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


def reason(value: Any, *, called: bool) -> str:
    """The public reason; a word that nobody knows counts as ``stop``. Raises `UpstreamError` for a failure."""
    word = str(value).lower()
    if word in BROKEN:
        raise UpstreamError(Failure.SERVER_ERROR, f"the answer ended with {word}")
    found = REASONS.get(word, "stop")
    # Some upstreams say stop after a tool call; clients decide by the reason.
    return "tool_calls" if called and found == "stop" else found
