"""What the endpoints of Anthropic's dialect answer, as types: the OpenAPI document is made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType


class ClaudeUsage(Struct):
    """Tokens. What a cache had, or was given, is no part of ``input_tokens``."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | UnsetType | None = UNSET
    cache_read_input_tokens: int | UnsetType | None = UNSET
    output_tokens_details: dict[str, Any] | UnsetType | None = UNSET


class ClaudeBlock(Struct):
    """A piece of the answer, by its type: ``text``, ``thinking``, ``redacted_thinking``, ``tool_use``, and others."""

    type: str
    text: str | UnsetType = UNSET
    thinking: str | UnsetType = UNSET
    signature: str | UnsetType = UNSET
    data: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    input: Any | UnsetType = UNSET


class ClaudeMessage(Struct):
    """A whole answer."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: Annotated[str, Meta(description="As the request named it.")]
    content: list[ClaudeBlock]
    stop_reason: str | None
    stop_sequence: str | None
    usage: ClaudeUsage


class ClaudeEvent(Struct):
    """One event of a stream; its name is its type."""

    type: Literal[
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    ]
    message: dict[str, Any] | UnsetType = UNSET
    index: int | UnsetType = UNSET
    content_block: ClaudeBlock | UnsetType = UNSET
    delta: dict[str, Any] | UnsetType = UNSET
    usage: dict[str, Any] | UnsetType = UNSET
    error: dict[str, Any] | UnsetType = UNSET
    request_id: str | UnsetType = UNSET


class TokenCount(Struct):
    """How long a conversation is."""

    input_tokens: int
