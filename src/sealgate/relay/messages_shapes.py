"""The request of Anthropic's Messages API, field by field (platform.claude.com/docs/en/api/messages).

As `sealgate.relay.shapes` is for chats: bodies are checked against these types, and the OpenAPI document is made from
them. What is not declared here goes to providers of that API as it came.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from sealgate.relay.shapes import MAX_TOOLS, Directed, Failover, Int, Share, Text

MAX_TURNS = 100_000
"""As many as Anthropic takes."""

ToolId = Annotated[str, Meta(min_length=1, max_length=512)]


class TextBlock(Struct, tag_field="type", tag="text"):
    """A piece of text."""

    text: str


class Base64Source(Struct, tag_field="type", tag="base64"):
    """Bytes in base64."""

    media_type: Text
    data: Text


class UrlSource(Struct, tag_field="type", tag="url"):
    """An https URL."""

    url: Text


class FileSource(Struct, tag_field="type", tag="file"):
    """A file that the provider keeps."""

    file_id: Text


class TextSource(Struct, tag_field="type", tag="text"):
    """Plain text."""

    data: str
    media_type: str = "text/plain"


class ImageBlock(Struct, tag_field="type", tag="image"):
    """A picture."""

    source: Base64Source | UrlSource | FileSource


class ContentSource(Struct, tag_field="type", tag="content"):
    """A document made of blocks."""

    content: str | list[TextBlock | ImageBlock]


class DocumentBlock(Struct, tag_field="type", tag="document"):
    """A document: a PDF, or text."""

    source: Base64Source | UrlSource | FileSource | TextSource | ContentSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Struct, tag_field="type", tag="search_result"):
    """Something found, to be cited."""

    source: str
    title: str
    content: list[TextBlock]


class ThinkingBlock(Struct, tag_field="type", tag="thinking"):
    """What the model thought, as it came."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Struct, tag_field="type", tag="redacted_thinking"):
    """What the model thought, encrypted, as it came."""

    data: str


class ToolUseBlock(Struct, tag_field="type", tag="tool_use"):
    """A call of one of the tools."""

    id: ToolId
    name: Text
    input: dict[str, Any]


class ToolReferenceBlock(Struct, tag_field="type", tag="tool_reference"):
    """A tool that was found by searching for tools."""

    tool_name: Text


Inner = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock


class ToolResultBlock(Struct, tag_field="type", tag="tool_result"):
    """What a tool has answered."""

    tool_use_id: ToolId
    content: str | list[Inner] | None = None
    is_error: bool | None = None


class ServerToolUseBlock(Struct, tag_field="type", tag="server_tool_use"):
    """A call of one of the provider's own tools."""


class WebSearchResultBlock(Struct, tag_field="type", tag="web_search_tool_result"):
    """What the provider's search has found."""


class WebFetchResultBlock(Struct, tag_field="type", tag="web_fetch_tool_result"):
    """What the provider has fetched."""


class CodeExecutionResultBlock(Struct, tag_field="type", tag="code_execution_tool_result"):
    """What code has done that the provider ran."""


class BashResultBlock(Struct, tag_field="type", tag="bash_code_execution_tool_result"):
    """What a command has done that the provider ran."""


class EditorResultBlock(Struct, tag_field="type", tag="text_editor_code_execution_tool_result"):
    """What the provider's editor has done."""


class ToolSearchResultBlock(Struct, tag_field="type", tag="tool_search_tool_result"):
    """Tools that the provider has found."""


class UploadBlock(Struct, tag_field="type", tag="container_upload"):
    """A file for the provider's container."""


class McpToolUseBlock(Struct, tag_field="type", tag="mcp_tool_use"):
    """A call that the provider made to an MCP server."""


class McpToolResultBlock(Struct, tag_field="type", tag="mcp_tool_result"):
    """What an MCP server has answered to the provider."""


class CompactionBlock(Struct, tag_field="type", tag="compaction"):
    """What the provider has made of a long conversation."""


ProviderBlock = (
    ServerToolUseBlock
    | WebSearchResultBlock
    | WebFetchResultBlock
    | CodeExecutionResultBlock
    | BashResultBlock
    | EditorResultBlock
    | ToolSearchResultBlock
    | UploadBlock
    | McpToolUseBlock
    | McpToolResultBlock
    | CompactionBlock
)
"""Blocks that only providers of this API understand."""
ContentBlock = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ProviderBlock
)


class Turn(Struct):
    """One turn of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[ContentBlock]


class ToolOffer(Struct):
    """A tool of the caller's (without ``type``, or ``custom``), or one of the provider's own, by its type."""

    name: Text | None = None
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class AutoChoice(Struct, tag_field="type", tag="auto"):
    """The model decides."""

    disable_parallel_tool_use: bool | None = None


class AnyChoice(Struct, tag_field="type", tag="any"):
    """Some tool must be called."""

    disable_parallel_tool_use: bool | None = None


class ToolNamed(Struct, tag_field="type", tag="tool"):
    """This tool must be called."""

    name: Text
    disable_parallel_tool_use: bool | None = None


class NoneChoice(Struct, tag_field="type", tag="none"):
    """No tool may be called."""


class ThinkingEnabled(Struct, tag_field="type", tag="enabled"):
    """Think, for so many tokens."""

    budget_tokens: Annotated[int, Meta(ge=1024)]
    display: str | None = None


class ThinkingAdaptive(Struct, tag_field="type", tag="adaptive"):
    """Think as much as it takes."""

    display: str | None = None


class ThinkingDisabled(Struct, tag_field="type", tag="disabled"):
    """Do not think."""


class ThinkingBetween(Struct, tag_field="type", tag="between_tools"):
    """Think between calls of tools."""

    display: str | None = None


class SchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON by a schema."""

    schema: dict[str, Any]


class OutputConfig(Struct):
    """How the answer is to be."""

    effort: str | None = None
    format: SchemaFormat | None = None


class Metadata(Struct):
    """About the request."""

    user_id: str | None = None


class CountRequest(Directed, kw_only=True):
    """The body of ``POST /v1/messages/count_tokens``."""

    messages: Annotated[list[Turn], Meta(min_length=1, max_length=MAX_TURNS, description="The conversation so far.")]
    system: Annotated[str | list[TextBlock] | None, Meta(description="Instructions.")] = None
    tools: Annotated[
        Annotated[list[ToolOffer], Meta(max_length=MAX_TOOLS)] | None, Meta(description="Tools the model may call.")
    ] = None
    tool_choice: Annotated[
        AutoChoice | AnyChoice | ToolNamed | NoneChoice | None, Meta(description="Which tool to call.")
    ] = None
    thinking: Annotated[
        ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled | ThinkingBetween | None,
        Meta(description="Whether and how to think."),
    ] = None
    output_config: Annotated[OutputConfig | None, Meta(description="Effort, and the form of the answer.")] = None
    output_format: Annotated[SchemaFormat | None, Meta(description="`output_config.format` by its older name.")] = None


class MessagesRequest(CountRequest, kw_only=True):
    """The body of ``POST /v1/messages``."""

    max_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=2**53)],
        Meta(description="Most tokens to generate; 0 warms a cache, where the provider has one."),
    ]
    temperature: Annotated[Annotated[float, Meta(ge=0, le=1)] | None, Meta(description="Sampling temperature.")] = None
    top_p: Annotated[Share | None, Meta(description="Nucleus sampling.")] = None
    top_k: Annotated[Int | None, Meta(description="Sampling among the k likeliest tokens.")] = None
    stop_sequences: Annotated[list[Text] | None, Meta(description="Texts at which to stop.")] = None
    stream: Annotated[bool | None, Meta(description="Whether to answer as server-sent events.")] = None
    metadata: Annotated[Metadata | None, Meta(description="The caller's own user.")] = None
    failover: Failover = None
    session_id: Annotated[str | None, Meta(description="A session of the caller's.")] = None
    episode_id: Annotated[str | None, Meta(description="UUID of version 7 that groups inferences.")] = None

    @property
    def user(self) -> str | None:
        """The caller's own user, as every door names it."""
        return self.metadata.user_id if self.metadata is not None else None
