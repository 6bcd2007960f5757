"""The request of OpenAI's Responses API, field by field (``openai/types/responses`` of the official Python SDK).

As `sealgate.relay.shapes` is for chats: bodies are checked against these types, and the OpenAPI document is made from
them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from sealgate.relay.shapes import MAX_MESSAGES, MAX_TOOLS, Directed, Failover, InputAudio, Positive, Share, Text

CallId = Annotated[str, Meta(min_length=1, max_length=512)]
Includable = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


class InputText(Struct, tag_field="type", tag="input_text"):
    """A piece of text."""

    text: str


class InputImage(Struct, tag_field="type", tag="input_image"):
    """A picture, by a data URL or an https URL."""

    image_url: str | None = None
    file_id: str | None = None
    detail: str | None = None


class InputFile(Struct, tag_field="type", tag="input_file"):
    """A file by its bytes, as a data URL, or by its id at the provider."""

    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None


class InputSound(Struct, tag_field="type", tag="input_audio"):
    """Sound."""

    input_audio: InputAudio


class OutputText(Struct, tag_field="type", tag="output_text"):
    """A piece of what the model said."""

    text: str


class OutputRefusal(Struct, tag_field="type", tag="refusal"):
    """A refusal of the model's."""

    refusal: str


class MessageItem(Struct, tag_field="type", tag="message"):
    """A message. Its ``type`` may be left out."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[InputText | InputImage | InputFile | InputSound | OutputText | OutputRefusal]
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class FunctionCallItem(Struct, tag_field="type", tag="function_call"):
    """A call of a function, as the model made it."""

    call_id: CallId
    name: Text
    arguments: str
    namespace: str | None = None


class FunctionOutputItem(Struct, tag_field="type", tag="function_call_output"):
    """What a function has answered."""

    call_id: CallId
    output: str | list[InputText | InputImage | InputFile]


class CustomCallItem(Struct, tag_field="type", tag="custom_tool_call"):
    """A call of a custom tool, as the model made it."""

    call_id: CallId
    name: Text
    input: str
    namespace: str | None = None


class CustomOutputItem(Struct, tag_field="type", tag="custom_tool_call_output"):
    """What a custom tool has answered."""

    call_id: CallId
    output: str | list[InputText | InputImage | InputFile]


class SummaryText(Struct, tag_field="type", tag="summary_text"):
    """A part of a summary."""

    text: str


class ReasoningText(Struct, tag_field="type", tag="reasoning_text"):
    """A part of what the model thought."""

    text: str


class ReasoningItem(Struct, tag_field="type", tag="reasoning"):
    """What the model thought, as it came."""

    summary: list[SummaryText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None


class FunctionOffer(Struct, tag_field="type", tag="function"):
    """A function the model may call; ``parameters`` is a JSON Schema."""

    name: Text
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FreeText(Struct, tag_field="type", tag="text"):
    """Any text."""


class Grammar(Struct, tag_field="type", tag="grammar"):
    """Text by a grammar."""

    syntax: Literal["lark", "regex"]
    definition: Text


class CustomOffer(Struct, tag_field="type", tag="custom"):
    """A tool with free-form or grammar-bound input."""

    name: Text
    description: str | None = None
    format: FreeText | Grammar | None = None


class NamespaceOffer(Struct, tag_field="type", tag="namespace"):
    """Functions and custom tools that belong together."""

    name: Text
    tools: Annotated[list[FunctionOffer | CustomOffer], Meta(max_length=MAX_TOOLS)]
    description: str | None = None


class SearchCallItem(Struct, tag_field="type", tag="tool_search_call"):
    """A search for tools, as the model asked for it."""

    call_id: CallId
    arguments: Any


class SearchOutputItem(Struct, tag_field="type", tag="tool_search_output"):
    """The tools that were found; they may be called from then on."""

    call_id: CallId
    tools: Annotated[list[FunctionOffer | CustomOffer | NamespaceOffer], Meta(max_length=MAX_TOOLS)]


InputItem = (
    MessageItem
    | FunctionCallItem
    | FunctionOutputItem
    | CustomCallItem
    | CustomOutputItem
    | ReasoningItem
    | SearchCallItem
    | SearchOutputItem
)


Items = Annotated[list[InputItem], Meta(max_length=MAX_MESSAGES)]


class SearchOffer(Struct, tag_field="type", tag="tool_search"):
    """A search for further tools that the caller carries out."""

    execution: Literal["client"]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class FunctionNamed(Struct, tag_field="type", tag="function"):
    """This function must be called."""

    name: Text


class CustomNamed(Struct, tag_field="type", tag="custom"):
    """This custom tool must be called."""

    name: Text


class AllowedNames(Struct, tag_field="type", tag="allowed_tools"):
    """Only these tools may be called."""

    mode: Literal["auto", "required"]
    tools: list[FunctionNamed | CustomNamed]


class PlainForm(Struct, tag_field="type", tag="text"):
    """Free text."""


class JsonForm(Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class SchemaForm(Struct, tag_field="type", tag="json_schema"):
    """JSON by a schema."""

    name: Text
    schema: dict[str, Any]
    strict: bool | None = None
    description: str | None = None


class TextConfig(Struct):
    """How the text of the answer is to be."""

    format: PlainForm | JsonForm | SchemaForm | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(Struct):
    """How much to reason, and whether to show it."""

    effort: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class EventOptions(Struct):
    """What a stream carries besides content."""

    include_obfuscation: bool | None = None


class ResponsesRequest(Directed, kw_only=True):
    """The body of ``POST /v1/responses``."""

    input: Annotated[str | Items, Meta(description="What is asked: a text, or the items of the conversation so far.")]
    instructions: Annotated[str | None, Meta(description="Instructions that come before the conversation.")] = None
    tools: Annotated[
        Annotated[list[FunctionOffer | CustomOffer | NamespaceOffer | SearchOffer], Meta(max_length=MAX_TOOLS)] | None,
        Meta(description="Tools the model may call."),
    ] = None
    tool_choice: Annotated[
        Literal["none", "auto", "required"] | FunctionNamed | CustomNamed | AllowedNames | None,
        Meta(description="Which tool to call."),
    ] = None
    parallel_tool_calls: Annotated[bool | None, Meta(description="Whether several tools may be called at once.")] = None
    max_tool_calls: Annotated[
        Positive | None, Meta(description="Most calls of a provider's own tools; there are none here.")
    ] = None
    text: Annotated[TextConfig | None, Meta(description="The form of the answer.")] = None
    reasoning: Annotated[ReasoningConfig | None, Meta(description="How much to reason, and whether to show it.")] = None
    max_output_tokens: Annotated[Positive | None, Meta(description="Most tokens to generate.")] = None
    temperature: Annotated[Annotated[float, Meta(ge=0, le=2)] | None, Meta(description="Sampling temperature.")] = None
    top_p: Annotated[Share | None, Meta(description="Nucleus sampling.")] = None
    top_logprobs: Annotated[Annotated[int, Meta(ge=0, le=20)] | None, Meta(description="Alternatives per token.")] = (
        None
    )
    include: Annotated[list[Includable] | None, Meta(description="What the answer is to hold besides.")] = None
    metadata: Annotated[
        Annotated[dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)]
        | None,
        Meta(description="Up to 16 texts by name; they come back with the answer."),
    ] = None
    user: Annotated[str | None, Meta(description="The caller's own user; usage can be grouped by it.")] = None
    safety_identifier: Annotated[str | None, Meta(description="The caller's own user, by the newer name.")] = None
    prompt_cache_key: Annotated[str | None, Meta(description="What the provider's cache goes by.")] = None
    prompt_cache_retention: Annotated[str | None, Meta(description="How long the provider's cache keeps.")] = None
    prompt_cache_options: Annotated[dict[str, Any] | None, Meta(description="How the provider's cache works.")] = None
    service_tier: Annotated[str | None, Meta(description="Callers may not set it; left out.")] = None
    truncation: Annotated[Literal["auto", "disabled"] | None, Meta(description="`disabled`; `auto` is left out.")] = (
        None
    )
    store: Annotated[bool | None, Meta(description="Whether to keep the answer, where the gateway keeps any.")] = None
    previous_response_id: Annotated[
        Text | None, Meta(description="The answer that the conversation goes on from, where the gateway keeps any.")
    ] = None
    stream: Annotated[bool | None, Meta(description="Whether to answer as server-sent events.")] = None
    stream_options: Annotated[EventOptions | None, Meta(description="What a stream carries besides content.")] = None
    failover: Failover = None
    session_id: Annotated[str | None, Meta(description="A session of the caller's.")] = None
    episode_id: Annotated[str | None, Meta(description="UUID of version 7 that groups inferences.")] = None


class InputTokensRequest(ResponsesRequest, kw_only=True):
    """The body of ``POST /v1/responses/input_tokens``: of one without ``input`` the rest is counted."""

    input: Annotated[
        str | Items | None, Meta(description="What is to be counted: a text, or the items of the conversation so far.")
    ] = None  # type: ignore[assignment]


FIELDS = frozenset(field.encode_name for field in msgspec.structs.fields(ResponsesRequest))
