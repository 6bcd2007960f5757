"""What Gemini's answers are made of, as far as any of it is read; null and absence are the same.

Source: ``google-genai`` (``types.GenerateContentResponse``).
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class FunctionCall(Struct, rename="camel"):
    """``args`` is an object; ``id`` is missing from older models."""

    name: str | None = None
    args: Any = None
    id: str | None = None


class Blob(Struct, rename="camel"):
    """Base64 and its type."""

    mime_type: str | None = None
    data: str | None = None


class Part(Struct, rename="camel"):
    """One piece of content; exactly one of its kinds is set."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None


class Content(Struct, rename="camel"):
    parts: list[Part] | None = None


class Token(Struct, rename="camel"):
    """One token, and how likely it was."""

    token: str | None = None
    log_probability: float | None = None


class TopTokens(Struct, rename="camel"):
    candidates: list[Token] | None = None


class Logprobs(Struct, rename="camel"):
    """The chosen tokens, and for each the likeliest ones where they were asked for."""

    chosen_candidates: list[Token] | None = None
    top_candidates: list[TopTokens] | None = None


class Source(Struct, rename="camel"):
    """A page, or a passage of one that the text repeats; offsets count UTF-8 bytes."""

    uri: str | None = None
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class Citations(Struct, rename="camel"):
    """AI Studio has the one list, Vertex the other."""

    citation_sources: list[Source] | None = None
    citations: list[Source] | None = None


class GroundingChunk(Struct, rename="camel"):
    web: Source | None = None


class Segment(Struct, rename="camel"):
    """A stretch of the text, in UTF-8 bytes."""

    start_index: int | None = None
    end_index: int | None = None
    text: str | None = None


class Support(Struct, rename="camel"):
    segment: Segment | None = None
    grounding_chunk_indices: list[int] | None = None


class Grounding(Struct, rename="camel"):
    """Which stretches of the text rest on which pages."""

    grounding_chunks: list[GroundingChunk] | None = None
    grounding_supports: list[Support] | None = None


class Candidate(Struct, rename="camel"):
    """One choice, or what an event adds to it."""

    index: int | None = None
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    logprobs_result: Logprobs | None = None
    grounding_metadata: Grounding | None = None
    citation_metadata: Citations | None = None


class Feedback(Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class Modality(Struct, rename="camel"):
    modality: str | None = None
    token_count: int | None = None


class Counts(Struct, rename="camel"):
    """Tokens so far. ``promptTokenCount`` has the cached ones in it."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: list[Modality] | None = None
    candidates_tokens_details: list[Modality] | None = None


class Response(Struct, rename="camel"):
    """``GenerateContentResponse``, or an error in its place."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Counts | None = None
    model_version: str | None = None
    error: Any = None
