"""Rows of the provider table: the hosted providers that speak OpenAI's wire, and what sets each of them apart."""

from __future__ import annotations

from sealgate.errors import Failure
from sealgate.providers import mistral, params
from sealgate.providers.azure import AZURE
from sealgate.providers.base import OF_OPENAI_WIRE, Kind
from sealgate.providers.capabilities import CONTRACT, SAMPLING
from sealgate.providers.openai import WIRE, OpenAIWire
from sealgate.providers.openai_dialects import OPENROUTER
from sealgate.providers.rows import (
    ALLOWED,
    ANY_ROLE,
    BOTH,
    COMPATIBLE,
    FORMATS,
    GUIDED_JSON,
    HOSTED,
    MAX_TOKENS,
    OF_MISTRAL,
    OF_OPENAI,
    SPEECH,
    TEXT,
    TOOLS,
    VECTORS,
    clone,
)

REASONING = frozenset({"reasoning_content", "reasoning_details", "extra_content"})
"""What our own answers carry, and what OpenAI's messages have no place for."""
FOREIGN = frozenset({"reasoning_details", "extra_content"})
"""What other providers have signed, and what their calls carry. ``reasoning_content`` is text, and may be of use."""


THINKING_OFF = ("thinking", {"type": "disabled"})


def _fireworks(grammar: object) -> dict[str, object]:
    return {"type": "grammar", "grammar": grammar}


HOSTED_ROWS: tuple[Kind, ...] = (
    clone(
        name="openai",
        title="OpenAI; with another `base_url`: as `compatible`",
        also=BOTH,
        source="developers.openai.com/api/reference",
        base_url="https://api.openai.com/v1",
        key_variables=("OPENAI_API_KEY",),
        capabilities=HOSTED | {"custom_tools", "files", "audio"},
        hints=OF_OPENAI,
        # Reasoning models refuse max_tokens; all models take the newer name.
        params=GUIDED_JSON
        | {"max_tokens": params.renamed("max_completion_tokens"), "messages": params.messages(without=REASONING)},
        elsewhere=COMPATIBLE,
    ),
    Kind(
        name="azure",
        title="Azure OpenAI",
        wire=WIRE,
        host=AZURE,
        also=BOTH,
        source="learn.microsoft.com/azure/ai-services/openai/reference",
        capabilities=HOSTED,
        hints=OF_OPENAI,
        params=GUIDED_JSON | {"messages": params.messages(without=REASONING)},
        reads=frozenset({"deployment", "api_version"}),
    ),
    clone(
        name="together",
        title="Together AI",
        also=BOTH,
        source="docs.together.ai/reference/chat-completions",
        base_url="https://api.together.ai/v1",
        key_variables=("TOGETHER_API_KEY",),
        # A prompt that is too long for the model is a 403 there.
        wire=OpenAIWire({403: Failure.CONTEXT_LENGTH}),
        # tool_choice none and required are not obeyed.
        capabilities=HOSTED - {"tool_required"},
        hints=frozenset(
            {"seed", "logit_bias", "reasoning_effort", "top_k", "min_p", "repetition_penalty"}
            | {"chat_template_kwargs"}
        ),
        params=MAX_TOKENS
        | GUIDED_JSON
        | {
            "messages": params.messages(developer=True, without=FOREIGN),
            "stop": params.in_list(),
            "logprobs": params.counted_logprobs(),
            "top_logprobs": params.along("logprobs", "the number in `logprobs`"),
            "tool_choice": params.only_allowed(none=True),
            "reasoning_effort": params.effort(
                {"minimal": "low", "xhigh": "high", "max": "high"}, off=("reasoning", {"enabled": False})
            ),
        },
    ),
    clone(
        name="deepseek",
        title="DeepSeek",
        source="api-docs.deepseek.com/api/create-chat-completion",
        base_url="https://api.deepseek.com",
        key_variables=("DEEPSEEK_API_KEY",),
        capabilities=TOOLS | {"json_object", "tools_with_format", "logprobs"},
        hints=frozenset({"reasoning_effort"}),
        replays=frozenset({"reasoning_content"}),
        params=MAX_TOKENS
        | ALLOWED
        | {
            "messages": params.with_reasoning(params.messages(developer=True, without=FOREIGN), THINKING_OFF),
            "reasoning_effort": params.effort({"minimal": "low", "medium": "high", "xhigh": "max"}, off=THINKING_OFF),
        },
    ),
    clone(
        name="fireworks",
        title="Fireworks AI",
        also=BOTH,
        source="docs.fireworks.ai/api-reference/post-chatcompletions",
        base_url="https://api.fireworks.ai/inference/v1",
        key_variables=("FIREWORKS_API_KEY",),
        # 412: the account is suspended, or an adapter cannot be loaded.
        wire=OpenAIWire({412: Failure.QUOTA}),
        # response_format must not be combined with tools.
        capabilities=HOSTED - {"tools_with_format"} | {"guided_grammar"},
        hints=frozenset(
            {"seed", "user", "logit_bias", "parallel_tool_calls", "reasoning_effort", "metadata", "prediction"}
            | {"prompt_cache_key", "top_k", "min_p", "repetition_penalty", "ignore_eos"}
        ),
        params=ALLOWED
        | GUIDED_JSON
        | {
            "messages": params.messages(developer=True, without=FOREIGN),
            "guided_grammar": params.as_format(_fireworks, "grammar"),
            "guided_choice": params.choice_as_grammar(make=_fireworks),
            "reasoning_effort": params.effort({"minimal": "low", "xhigh": "high", "max": "high"}),
        },
    ),
    clone(
        name="mistral",
        title="Mistral AI",
        also=OF_MISTRAL,
        source="docs.mistral.ai/api",
        base_url="https://api.mistral.ai/v1",
        key_variables=("MISTRAL_API_KEY",),
        # 403: a guardrail of the account objects to the request.
        wire=OpenAIWire({403: Failure.INVALID_REQUEST}),
        # Usage comes with the last chunk unasked.
        asks_usage=False,
        capabilities=HOSTED | {"files", "audio"},
        hints=frozenset(
            {"seed", "parallel_tool_calls", "reasoning_effort", "metadata", "prediction", "prompt_cache_key"}
            | {"top_k", "repetition_penalty"}
        ),
        replays=frozenset({"reasoning_content", "reasoning_details"}),
        params=MAX_TOKENS
        | ALLOWED
        | GUIDED_JSON
        | {
            "seed": params.renamed("random_seed"),
            "messages": mistral.messages(),
        },
        # Fields it does not know are a 422 there.
        only=CONTRACT
        | SAMPLING
        | {"messages", "top_logprobs", "random_seed", "parallel_tool_calls", "reasoning_effort", "metadata"}
        | {"prediction", "prompt_cache_key", "top_k", "repetition_penalty", "min_tokens", "prompt_logprobs"}
        | {"safe_prompt", "prompt_mode", "guardrails"},
    ),
    clone(
        name="hyperbolic",
        title="Hyperbolic",
        source="docs.hyperbolic.xyz/reference",
        base_url="https://api.hyperbolic.xyz/v1",
        key_variables=("HYPERBOLIC_API_KEY",),
        # Tools, images and formats depend on the model, and none of them is proven.
        capabilities=TEXT | {"n"},
        hints=frozenset({"seed", "user", "top_k", "repetition_penalty"}),
        params=MAX_TOKENS
        | {
            "messages": params.messages(developer=True, without=FOREIGN),
            "tool_choice": params.only_allowed(none=True),
        },
    ),
    clone(
        name="xai",
        title="xAI",
        source="docs.x.ai/docs/api-reference",
        base_url="https://api.x.ai/v1",
        key_variables=("XAI_API_KEY",),
        # 403: no credit is left, or (known by its text) the content is objected to.
        wire=OpenAIWire({403: Failure.QUOTA}),
        capabilities=HOSTED,
        hints=frozenset({"seed", "user", "logit_bias", "parallel_tool_calls", "reasoning_effort"}),
        params=ALLOWED
        | GUIDED_JSON
        | {
            "messages": params.messages(developer=True, unnamed=ANY_ROLE - {"user"}, without=FOREIGN),
            "reasoning_effort": params.effort({"minimal": "low", "xhigh": "high", "max": "high"}),
        },
    ),
    clone(
        name="groq",
        title="Groq",
        also=SPEECH,
        source="console.groq.com/docs/openai",
        base_url="https://api.groq.com/openai/v1",
        key_variables=("GROQ_API_KEY",),
        # Answers 400 to logprobs, logit_bias, names in messages, and n other than 1.
        capabilities=TOOLS | FORMATS | {"images"},
        hints=frozenset({"seed", "user", "parallel_tool_calls", "reasoning_effort"}),
        params=ALLOWED
        | GUIDED_JSON
        | {"logprobs": params.idle(False), "messages": params.messages(unnamed=ANY_ROLE, without=REASONING)},
    ),
    clone(
        name="openrouter",
        title="OpenRouter",
        # With parameters that count, only providers that take them are asked: else some would pass them over.
        wire=OPENROUTER,
        also=VECTORS,
        source="openrouter.ai/docs/api-reference/parameters",
        base_url="https://openrouter.ai/api/v1",
        key_variables=("OPENROUTER_API_KEY",),
        capabilities=HOSTED - {"n"} | {"files"},
        hints=frozenset(
            {"seed", "user", "logit_bias", "parallel_tool_calls", "reasoning_effort", "verbosity", "metadata"}
            | {"prediction", "top_k", "min_p", "repetition_penalty"}
        ),
        replays=frozenset({"reasoning_details"}),
        params=ALLOWED | GUIDED_JSON,
        adds=OF_OPENAI_WIRE | {"provider.require_parameters": "where a parameter changes what the answer means"},
    ),
)
