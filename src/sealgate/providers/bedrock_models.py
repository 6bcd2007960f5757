"""What sets Bedrock's models apart on Converse, by their ids: whose names they are, what they take, what they lack.

Source: the Bedrock user guide (supported models and features of Converse, structured output, inference parameters). An
id that says nothing (the ARN of a profile or of one's own model) is taken for one that can do what the kind can.
"""

from __future__ import annotations

import re

from sealgate.providers.anthropic_models import facts

CLAUDE = re.compile(r"anthropic\.|claude")
NOVA = re.compile(r"amazon\.nova|nova-(?:micro|lite|pro|premier)")
GPT = re.compile(r"gpt-oss")
REASONING_NOVA = re.compile(r"nova-2")
EFFORT = re.compile(r"claude-(?:opus-4-[5-9]|sonnet-4-[6-9]|[a-z]+-[5-9])")
"""Models that take Converse's own ``effort``."""
SCHEMAS = re.compile(
    r"claude-(?:[a-z]+-4-[5-9]|[a-z]+-[5-9])|gpt-oss|qwen3|deepseek\.v3|gemma-3|minimax|kimi|nemotron"
    r"|mistral-large-3|ministral|magistral|voxtral"
)
"""Models that take a schema for their answer, and ``strict`` tools."""
TOP_K = ((CLAUDE, "top_k"), (re.compile(r"mistral\."), "top_k"), (re.compile(r"cohere\."), "k"))
"""Names of ``top_k``, beside Nova's."""

_NO_TOOLS = re.compile(
    r"amazon\.titan|deepseek\.r1|meta\.llama2|llama3-\d+b|llama3-2-[13]b|mistral-7b|mixtral|cohere\.command-(?:text|light)"
    r"|ai21\.j2|jamba-instruct|claude-(?:v2|instant)"
)
_NO_CHOICE = re.compile(r"meta\.llama|cohere\.|ai21\.|writer\.|mistral-small|pixtral")
"""Models whose tools are theirs to call or not."""
_NO_IMAGES = re.compile(
    r"amazon\.titan|nova-micro|deepseek|meta\.llama2|llama3-\d+b|llama3-[13]-|llama3-2-[13]b|mistral-(?:7b|large-24|small)"
    r"|mixtral|cohere\.|ai21\.|gpt-oss|qwen3-(?!vl)|claude-(?:v2|instant)"
)
_TOOLS = frozenset({"tools", "tool_required", "tool_choice"})
_BY_A_TOOL = frozenset({"json_object", "json_schema", "tools_with_format"})


def abilities(model: str, usual: frozenset[str]) -> frozenset[str]:
    """What a model of this id has of the usual capabilities."""
    found = usual
    if not SCHEMAS.search(model):
        if _NO_TOOLS.search(model):
            found -= _TOOLS | _BY_A_TOOL
        elif _NO_CHOICE.search(model):
            found -= {"tool_required", "tool_choice"} | _BY_A_TOOL
    if not facts(model).forces:
        found -= {"tool_required", "tool_choice"}
    return found - {"images"} if _NO_IMAGES.search(model) else found
