"""The chat request, field by field (OpenAI's reference of chat completions).

Two things read these types, which is the point of their existing: `sealgate.relay.request` checks bodies against them,
and the OpenAPI document is generated from them. Fields that are not declared here are carried as they are.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

MAX_SAFE_INTEGER = 2**53
MAX_MESSAGES = 2048
MAX_TOOLS = 1024

Text = Annotated[str, Meta(min_length=1)]
Int = Annotated[int, Meta(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
Positive = Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Bias = Annotated[float, Meta(ge=-100, le=100)]
Identifier = Annotated[str, Meta(min_length=1, max_length=256)]


class TextPart(Struct, tag_field="type", tag="text"):
    """A piece of text."""

    text: str


class ImageUrl(Struct):
    """Where an image is: a data URL, or an https URL where the route takes media by reference."""

    url: Text
    detail: str | None = None


class ImagePart(Struct, tag_field="type", tag="image_url"):
    """An image."""

    image_url: ImageUrl


class InputAudio(Struct):
    """Base64 audio and its format."""

    data: Text
    format: Text


class AudioPart(Struct, tag_field="type", tag="input_audio"):
    """Audio."""

    input_audio: InputAudio


class File(Struct):
    """A file by its bytes, as a data URL, or by its id at the provider."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class FilePart(Struct, tag_field="type", tag="file"):
    """A file."""

    file: File


class RefusalPart(Struct, tag_field="type", tag="refusal"):
    """A refusal that an assistant message carried."""

    refusal: str


Part = TextPart | ImagePart | AudioPart | FilePart | RefusalPart
Content = str | list[Part]


class SystemMessage(Struct, tag_field="role", tag="system"):
    """Instructions that come before the conversation."""

    content: Content
    name: str | None = None


class DeveloperMessage(Struct, tag_field="role", tag="developer"):
    """Instructions, by the newer name."""

    content: Content
    name: str | None = None


class UserMessage(Struct, tag_field="role", tag="user"):
    """What the user says."""

    content: Content
    name: str | None = None


class CalledFunction(Struct):
    """The function that was called and its arguments as JSON text."""

    name: str
    arguments: str


class CalledCustom(Struct):
    """The custom tool that was called and its free-form input."""

    name: str
    input: str


class FunctionToolCall(Struct, tag_field="type", tag="function"):
    """A call of a function."""

    id: str
    function: CalledFunction


class CustomToolCall(Struct, tag_field="type", tag="custom"):
    """A call of a custom tool."""

    id: str
    custom: CalledCustom


class AssistantMessage(Struct, tag_field="role", tag="assistant"):
    """What the model said before."""

    content: Content | None = None
    name: str | None = None
    tool_calls: list[FunctionToolCall | CustomToolCall] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Any] | None = None
    function_call: CalledFunction | None = None


class ToolMessage(Struct, tag_field="role", tag="tool"):
    """The result of a tool call."""

    content: Content
    tool_call_id: str
    name: str | None = None


class FunctionMessage(Struct, tag_field="role", tag="function"):
    """The result of a function call, by the older name."""

    name: str
    content: str | None = None


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


class Function(Struct):
    """A function the model may call; ``parameters`` is a JSON Schema."""

    name: Text
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Struct, tag_field="type", tag="function"):
    """A function as a tool."""

    function: Function


class Custom(Struct):
    """A tool with free-form or grammar-bound input."""

    name: Text
    description: str | None = None
    format: dict[str, Any] | None = None


class CustomTool(Struct, tag_field="type", tag="custom"):
    """A custom tool."""

    custom: Custom


class Named(Struct):
    """A tool by its name."""

    name: Text


class FunctionChoice(Struct, tag_field="type", tag="function"):
    """This function must be called."""

    function: Named


class CustomChoice(Struct, tag_field="type", tag="custom"):
    """This custom tool must be called."""

    custom: Named


class AllowedTools(Struct):
    """A subset of the tools."""

    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class AllowedToolsChoice(Struct, tag_field="type", tag="allowed_tools"):
    """Only these tools may be called."""

    allowed_tools: AllowedTools


class TextFormat(Struct, tag_field="type", tag="text"):
    """Free text."""


class JsonObjectFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class JsonSchema(Struct):
    """A JSON Schema the answer must satisfy."""

    name: Text
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON by a schema."""

    json_schema: JsonSchema


class StreamOptions(Struct):
    """What a stream carries besides content."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


ToolChoice = Literal["none", "auto", "required"] | FunctionChoice | CustomChoice | AllowedToolsChoice


Failover = Annotated[
    Annotated[list[Identifier], Meta(max_length=5)] | None,
    Meta(description="Models to try when every route of the first has failed."),
]


class Directed(Struct, kw_only=True):
    """How every request says which model it wants, and where."""

    model: Annotated[
        Annotated[str, Meta(min_length=1, max_length=512)] | None,
        Meta(description="Model name, `region/provider/model`, or `provider::model`."),
    ] = None
    region: Annotated[Identifier | None, Meta(description="Only routes of this region.")] = None
    provider: Annotated[Identifier | None, Meta(description="Only routes at this provider.")] = None


class ChatRequest(Directed, kw_only=True):
    """The body of ``POST /v1/chat/completions``."""

    messages: Annotated[
        list[Message], Meta(min_length=1, max_length=MAX_MESSAGES, description="The conversation so far.")
    ]
    temperature: Annotated[Annotated[float, Meta(ge=0, le=2)] | None, Meta(description="Sampling temperature.")] = None
    top_p: Annotated[Share | None, Meta(description="Nucleus sampling.")] = None
    frequency_penalty: Annotated[Penalty | None, Meta(description="Penalty for frequent tokens.")] = None
    presence_penalty: Annotated[Penalty | None, Meta(description="Penalty for present tokens.")] = None
    max_tokens: Annotated[Positive | None, Meta(description="Most tokens to generate (the older name).")] = None
    max_completion_tokens: Annotated[
        Positive | None, Meta(description="Most tokens to generate; with both, the smaller wins.")
    ] = None
    n: Annotated[Annotated[int, Meta(ge=1, le=128)] | None, Meta(description="How many choices.")] = None
    stop: Annotated[
        Text | Annotated[list[Text], Meta(min_length=1, max_length=4)] | None, Meta(description="Where to stop.")
    ] = None
    seed: Annotated[Int | None, Meta(description="For repeatable sampling.")] = None
    user: Annotated[str | None, Meta(description="The caller's own user; usage can be grouped by it.")] = None
    logit_bias: Annotated[dict[str, Bias] | None, Meta(description="Bias by token id.")] = None
    logprobs: Annotated[bool | None, Meta(description="Whether to return log probabilities.")] = None
    top_logprobs: Annotated[
        Annotated[int, Meta(ge=0, le=20)] | None, Meta(description="Alternatives per token; needs logprobs.")
    ] = None
    response_format: Annotated[
        TextFormat | JsonObjectFormat | JsonSchemaFormat | None, Meta(description="The form of the answer.")
    ] = None
    tools: Annotated[
        Annotated[list[FunctionTool | CustomTool], Meta(max_length=MAX_TOOLS)] | None,
        Meta(description="Tools the model may call."),
    ] = None
    tool_choice: Annotated[ToolChoice | None, Meta(description="Which tool to call.")] = None
    parallel_tool_calls: Annotated[bool | None, Meta(description="Whether several tools may be called at once.")] = None
    stream: Annotated[bool | None, Meta(description="Whether to answer as server-sent events.")] = None
    stream_options: Annotated[StreamOptions | None, Meta(description="What a stream carries besides content.")] = None
    top_k: Annotated[Int | None, Meta(description="Sampling among the k likeliest tokens.")] = None
    min_p: Annotated[Share | None, Meta(description="Least probability relative to the likeliest token.")] = None
    repetition_penalty: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Penalty for repeated tokens, multiplicative.")
    ] = None
    ignore_eos: Annotated[bool | None, Meta(description="Go on past the end-of-sequence token.")] = None
    reasoning_effort: Annotated[str | None, Meta(description="How much to reason.")] = None
    chat_template: Annotated[str | None, Meta(description="A chat template, where the server allows it.")] = None
    chat_template_kwargs: Annotated[dict[str, Any] | None, Meta(description="Arguments of the chat template.")] = None
    mm_processor_kwargs: Annotated[dict[str, Any] | None, Meta(description="Arguments of the media processor.")] = None
    guided_json: Annotated[str | dict[str, Any] | None, Meta(description="JSON Schema the answer must satisfy.")] = None
    guided_regex: Annotated[Text | None, Meta(description="Regular expression the answer must match.")] = None
    guided_choice: Annotated[
        Annotated[list[str], Meta(min_length=1, max_length=1024)] | None,
        Meta(description="The answer is one of these."),
    ] = None
    guided_grammar: Annotated[Text | None, Meta(description="Grammar the answer must follow.")] = None
    structural_tag: Annotated[str | dict[str, Any] | None, Meta(description="Structural tags with their schemas.")] = (
        None
    )
    guided_decoding_backend: Annotated[str | None, Meta(description="Which decoding backend to use.")] = None
    guided_whitespace_pattern: Annotated[str | None, Meta(description="Whitespace allowed in guided JSON.")] = None
    failover: Failover = None
    session_id: Annotated[str | None, Meta(description="A session of the caller's.")] = None
    episode_id: Annotated[str | None, Meta(description="UUID of version 7 that groups inferences.")] = None
    tensorzero_episode_id: Annotated[str | None, msgspec.Meta(description="`episode_id` by its TensorZero name.")] = (
        msgspec.field(default=None, name="tensorzero::episode_id")
    )
    extra_body: Annotated[
        dict[str, Any] | list[dict[str, Any]] | None,
        Meta(description="Merged last into the upstream body: an object, or a list of `{pointer, value}`."),
    ] = msgspec.field(default=None, name="tensorzero::extra_body")
    extra_headers: Annotated[
        dict[str, str] | list[dict[str, Any]] | None,
        Meta(description="Upstream headers, of the names the operator allows."),
    ] = msgspec.field(default=None, name="tensorzero::extra_headers")
    variant_name: Annotated[str | None, Meta(description="Accepted; has no effect.")] = msgspec.field(
        default=None, name="tensorzero::variant_name"
    )
    dryrun: Annotated[bool | None, Meta(description="Accepted; has no effect.")] = msgspec.field(
        default=None, name="tensorzero::dryrun"
    )
    cache_options: Annotated[dict[str, Any] | None, Meta(description="Accepted; has no effect.")] = msgspec.field(
        default=None, name="tensorzero::cache_options"
    )


GATEWAY_FIELDS = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "region",
        "provider",
        "failover",
        "session_id",
        "episode_id",
        "tensorzero::episode_id",
        "tensorzero::extra_body",
        "tensorzero::extra_headers",
        "tensorzero::variant_name",
        "tensorzero::dryrun",
        "tensorzero::cache_options",
    }
)
"""Fields that are the gateway's own business and never go upstream as the caller sent them."""

OF_CHAT = "it belongs to chat completions"
"""Why other endpoints drop what is only a chat's."""

WITHOUT_EFFECT = ("tensorzero::variant_name", "tensorzero::dryrun", "tensorzero::cache_options")

WALLED_FIELDS = frozenset(
    {
        "model",
        "models",
        "messages",
        "provider",
        "route",
        "stream",
        "stream_options",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "service_tier",
        "plugins",
    }
)
"""What ``extra_body`` and undeclared fields may not set: it would break walls, prices and the receipt."""

CONSTRAINTS = ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structural_tag")
"""At most one of these may be set."""


def of_chat(name: str) -> bool:
    """Whether a field is the gateway's own and means something in chats alone: no provider's, and never sent on."""
    return name.startswith("tensorzero::") or name.partition("[")[0] in _OF_CHAT


_OF_CHAT = frozenset({"session_id", "episode_id", "extra_body", "extra_headers"})
