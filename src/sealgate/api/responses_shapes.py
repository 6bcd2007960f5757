"""What the Responses endpoint answers, as types: the OpenAPI document is made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from sealgate.api.shapes import Tresor

Status = Literal["in_progress", "completed", "incomplete"]


class OutputItem(Struct):
    """A piece of the answer, by its type."""

    type: Literal["message", "function_call", "custom_tool_call", "reasoning", "tool_search_call"]
    id: str
    status: Status | UnsetType = UNSET
    role: Literal["assistant"] | UnsetType = UNSET
    content: Annotated[
        list[dict[str, Any]] | UnsetType, Meta(description="Parts: `output_text`, `refusal`, `reasoning_text`.")
    ] = UNSET
    summary: list[dict[str, Any]] | UnsetType = UNSET
    encrypted_content: Annotated[
        str | UnsetType | None, Meta(description="What the provider wants back of its reasoning, where asked for.")
    ] = UNSET
    call_id: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    namespace: str | UnsetType = UNSET
    arguments: Any | UnsetType = UNSET
    execution: Literal["client"] | UnsetType = UNSET
    input: str | UnsetType = UNSET


class ResponseUsage(Struct):
    """Tokens of an answer, as the provider reported them; estimated where it reported none."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class ResponseObject(Struct):
    """An answer, whole or as far as it has come, with the fields of its request."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    background: bool
    completed_at: int | None
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    model: Annotated[str, Meta(description="As the request named it.")]
    output: list[OutputItem]
    usage: ResponseUsage | None
    service_tier: str | None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    store: Annotated[bool, Meta(description="Whether the gateway keeps it.")]
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float | None
    truncation: str
    user: str | None
    tresor: Tresor | UnsetType = UNSET
    episode_id: str | UnsetType = UNSET
    session_id: str | UnsetType = UNSET


class InputTokens(Struct):
    """How many tokens the input of a request has."""

    object: Literal["response.input_tokens"]
    input_tokens: int


class DeletedResponse(Struct):
    """A response that is gone."""

    id: str
    object: Literal["response"]
    deleted: bool


class InputItems(Struct):
    """A page of what was asked."""

    object: Literal["list"]
    data: Annotated[list[dict[str, Any]], Meta(description="Items, each with an id.")]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ResponseEvent(Struct):
    """One event of a stream; its name is its type."""

    type: str
    sequence_number: int
    response: ResponseObject | UnsetType = UNSET
    item: OutputItem | UnsetType = UNSET
    output_index: int | UnsetType = UNSET
    content_index: int | UnsetType = UNSET
    summary_index: int | UnsetType = UNSET
    item_id: str | UnsetType = UNSET
    delta: str | UnsetType = UNSET
    error: dict[str, Any] | UnsetType = UNSET
