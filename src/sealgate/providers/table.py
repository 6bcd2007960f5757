"""The provider table: one row for each kind. To add a provider that speaks OpenAI's wire, add its row here.

What a row says of parameters is its provider's usual; where models differ, ``[models.NAME] capabilities`` says so.
Three things read it: the catalog (``kind = "…"`` in the configuration), the discovery of keys and local servers at
start, and the reference documentation.
"""

from __future__ import annotations

from functools import partial

from sealgate.providers import anthropic, params
from sealgate.providers.anthropic_form import as_choice
from sealgate.providers.aws import EXTRA
from sealgate.providers.azure import AZURE
from sealgate.providers.base import Kind
from sealgate.providers.bedrock import CLAUDE, CLAUDE_HOST, CONVERSE, CONVERSE_HOST
from sealgate.providers.capabilities import ALL, CONTRACT, GUIDED, HINTS, schema_in
from sealgate.providers.openai import BEARER, WIRE
from sealgate.providers.sagemaker import CARRIED, SAGEMAKER_HOST, TGI

TEXT = frozenset({"stop", "max_tokens"})
CHOICE = frozenset({"tool_required", "tool_choice"})
TOOLS = TEXT | CHOICE | {"tools"}
FORMATS = frozenset({"json_object", "json_schema"})
HOSTED = TOOLS | FORMATS | {"tools_with_format", "n", "logprobs", "images"}

SAMPLING = frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"})
OF_OPENAI = HINTS - {
    "top_k", "min_p", "repetition_penalty", "ignore_eos", "chat_template", "chat_template_kwargs",
    "mm_processor_kwargs", "guided_decoding_backend", "guided_whitespace_pattern",
}  # fmt: skip
"""Hints of OpenAI's own API, which answers 400 to names it does not know."""
OF_ENGINES = frozenset(
    {"seed", "logit_bias", "parallel_tool_calls", "reasoning_effort", "top_k", "min_p", "repetition_penalty"}
    | {"ignore_eos", "chat_template_kwargs"}
)  # fmt: skip
"""Hints that both vLLM and SGLang know (their ``protocol.py``)."""

MAX_TOKENS = {"max_completion_tokens": params.renamed("max_tokens")}
ALLOWED = {"tool_choice": params.only_allowed()}
OLDER_ROLES = {"messages": params.messages(developer=True)}
GUIDED_JSON = {"guided_json": params.guided_json()}
ANY_ROLE = frozenset({"system", "developer", "user", "assistant", "tool", "function"})

IN_OBJECT = "json_object with the schema"


def _llamacpp(schema: object) -> dict[str, object]:
    return {"type": "json_object", "schema": schema}


def _tgi(schema: object) -> dict[str, object]:
    return {"type": "json_object", "value": schema}


def _tgi_grammar(schema: object) -> dict[str, object]:
    return {"type": "json", "value": schema}


def _tgi_regex(pattern: object) -> dict[str, object]:
    return {"type": "regex", "value": pattern}


def _fireworks(grammar: object) -> dict[str, object]:
    return {"type": "grammar", "grammar": grammar}


VLLM_FIELDS = {
    "guided_json": params.structured("json"),
    "guided_regex": params.structured("regex"),
    "guided_choice": params.structured("choice"),
    "guided_grammar": params.structured("grammar"),
    "structural_tag": params.structured("structural_tag", as_text=True),
    "guided_whitespace_pattern": params.only_with("guided_json", params.structured("whitespace_pattern")),
}
"""vLLM 0.12 took the older names out (its pull request 29326) and answers 200 to them, unconstrained."""

claude = partial(
    Kind,
    source="platform.claude.com/docs/en/api/messages",
    # Where the model or the host has no form for answers, a tool that must be called prescribes it.
    capabilities=TOOLS | FORMATS | {"tools_with_format", "images", "files"},
    hints=anthropic.HINTS,
    params=ALLOWED
    | GUIDED_JSON
    | {
        "guided_choice": as_choice(),
        "logprobs": params.idle(False),
        "messages": params.messages(unnamed=ANY_ROLE - {"tool", "function"}),
    },
    only=CONTRACT | anthropic.HINTS | {"messages", "temperature", "top_p"},
)
"""The Messages API, wherever it is spoken: ``claude(name=..., title=..., wire=..., host=...)``."""

clone = partial(Kind, wire=WIRE, host=BEARER)

COMPATIBLE = clone(
    name="compatible",
    title="Any server that speaks OpenAI's API, by its `base_url`",
    # Nothing is known of it, so everything goes out as it came.
    source="developers.openai.com/api/reference",
    capabilities=ALL,
)

CLAUDE_ON_BEDROCK = claude(
    name="bedrock",
    title="Claude on AWS Bedrock, behind Anthropic's wire",
    wire=CLAUDE,
    host=CLAUDE_HOST,
    media_by_url=False,
)
CARRIED_TGI = Kind(
    name="sagemaker",
    title="Text Generation Inference on AWS SageMaker, behind its own wire",
    wire=TGI,
    host=SAGEMAKER_HOST,
    source="huggingface.co/docs/text-generation-inference/reference/api_reference",
    media_by_url=False,
    capabilities=TEXT | {"json_schema", "guided_regex"},
    hints=frozenset({"seed", "top_k", "repetition_penalty"}),
    params=MAX_TOKENS
    | {
        "response_format": params.schema_format(_tgi_grammar, "grammar"),
        "guided_json": params.guided_json(_tgi_grammar, "grammar"),
        "guided_regex": params.as_format(_tgi_regex, "grammar"),
        "guided_choice": params.choice_as_regex(make=_tgi_regex),
    },
    only=CONTRACT | {"messages", "temperature", "top_p", "frequency_penalty", "seed", "top_k", "repetition_penalty"},
)
CARRIED_OPENAI = Kind(
    name="sagemaker",
    title="AWS SageMaker: OpenAI's wire inside; with `carries` also TGI's own (`tgi`)",
    wire=CARRIED,
    host=SAGEMAKER_HOST,
    source="docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointWithResponseStream.html",
    base_url="https://runtime.sagemaker.{aws_region}.amazonaws.com",
    media_by_url=False,
    # What vLLM's and TGI's containers have in common.
    capabilities=TOOLS | {"json_schema", "n", "logprobs", "images"},
    hints=OF_ENGINES,
    params=MAX_TOKENS | ALLOWED | GUIDED_JSON,
    reads=frozenset({"aws_region", "endpoint", "carries"}),
    variants={"carries": {"openai": None, "tgi": CARRIED_TGI}},
    extra=EXTRA,
)

KINDS: dict[str, Kind] = {
    row.name: row
    for row in (
        clone(
            name="openai",
            title="OpenAI; with another `base_url`: as `compatible`",
            source="developers.openai.com/api/reference",
            base_url="https://api.openai.com/v1",
            key_variables=("OPENAI_API_KEY",),
            capabilities=HOSTED | {"custom_tools", "files", "audio"},
            hints=OF_OPENAI,
            # Reasoning models refuse max_tokens; all models take the newer name.
            params=GUIDED_JSON | {"max_tokens": params.renamed("max_completion_tokens")},
            elsewhere=COMPATIBLE,
        ),
        Kind(
            name="azure",
            title="Azure OpenAI",
            wire=WIRE,
            host=AZURE,
            source="learn.microsoft.com/azure/ai-services/openai/reference",
            capabilities=HOSTED,
            hints=OF_OPENAI,
            params=GUIDED_JSON,
            reads=frozenset({"deployment", "api_version"}),
        ),
        claude(
            name="anthropic",
            title="Anthropic",
            wire=anthropic.MESSAGES,
            host=anthropic.ANTHROPIC,
            headers=anthropic.version_header,
            reads=frozenset({"anthropic_version"}),
            base_url="https://api.anthropic.com/v1",
            key_variables=("ANTHROPIC_API_KEY",),
        ),
        clone(
            name="together",
            title="Together AI",
            source="docs.together.ai/reference/chat-completions",
            base_url="https://api.together.ai/v1",
            key_variables=("TOGETHER_API_KEY",),
            # Its log probabilities have another form; tool_choice none and required are not obeyed.
            capabilities=HOSTED - {"logprobs", "tool_required"},
            hints=frozenset(
                {"seed", "logit_bias", "reasoning_effort", "top_k", "min_p", "repetition_penalty"}
                | {"chat_template_kwargs"}
            ),
            params=MAX_TOKENS
            | OLDER_ROLES
            | GUIDED_JSON
            | {
                "stop": params.in_list(),
                "logprobs": params.idle(False),
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
            params=MAX_TOKENS
            | OLDER_ROLES
            | ALLOWED
            | {
                "reasoning_effort": params.effort(
                    {"minimal": "low", "medium": "high", "xhigh": "max"}, off=("thinking", {"type": "disabled"})
                ),
            },
        ),
        clone(
            name="fireworks",
            title="Fireworks AI",
            source="docs.fireworks.ai/api-reference/post-chatcompletions",
            base_url="https://api.fireworks.ai/inference/v1",
            key_variables=("FIREWORKS_API_KEY",),
            # response_format must not be combined with tools.
            capabilities=HOSTED - {"tools_with_format"} | {"guided_grammar"},
            hints=frozenset(
                {"seed", "user", "logit_bias", "parallel_tool_calls", "reasoning_effort", "metadata", "prediction"}
                | {"prompt_cache_key", "top_k", "min_p", "repetition_penalty", "ignore_eos"}
            ),
            params=OLDER_ROLES
            | ALLOWED
            | GUIDED_JSON
            | {
                "guided_grammar": params.as_format(_fireworks, "grammar"),
                "guided_choice": params.choice_as_grammar(make=_fireworks),
                "reasoning_effort": params.effort({"minimal": "low", "xhigh": "high", "max": "high"}),
            },
        ),
        clone(
            name="mistral",
            title="Mistral AI",
            source="docs.mistral.ai/api",
            base_url="https://api.mistral.ai/v1",
            key_variables=("MISTRAL_API_KEY",),
            # Usage comes with the last chunk unasked.
            asks_usage=False,
            capabilities=HOSTED,
            hints=frozenset(
                {"seed", "parallel_tool_calls", "reasoning_effort", "metadata", "prediction", "prompt_cache_key"}
                | {"top_k", "repetition_penalty"}
            ),
            params=MAX_TOKENS
            | ALLOWED
            | GUIDED_JSON
            | {
                "seed": params.renamed("random_seed"),
                "messages": params.messages(developer=True, unnamed=ANY_ROLE - {"tool"}),
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
            params=MAX_TOKENS | OLDER_ROLES | {"tool_choice": params.only_allowed(none=True)},
        ),
        clone(
            name="xai",
            title="xAI",
            source="docs.x.ai/docs/api-reference",
            base_url="https://api.x.ai/v1",
            key_variables=("XAI_API_KEY",),
            capabilities=HOSTED,
            hints=frozenset({"seed", "user", "logit_bias", "parallel_tool_calls", "reasoning_effort"}),
            params=OLDER_ROLES
            | ALLOWED
            | GUIDED_JSON
            | {"reasoning_effort": params.effort({"minimal": "low", "xhigh": "high", "max": "high"})},
        ),
        clone(
            name="groq",
            title="Groq",
            source="console.groq.com/docs/openai",
            base_url="https://api.groq.com/openai/v1",
            key_variables=("GROQ_API_KEY",),
            # Answers 400 to logprobs, logit_bias, names in messages, and n other than 1.
            capabilities=TOOLS | FORMATS | {"images"},
            hints=frozenset({"seed", "user", "parallel_tool_calls", "reasoning_effort"}),
            params=ALLOWED
            | GUIDED_JSON
            | {"logprobs": params.idle(False), "messages": params.messages(unnamed=ANY_ROLE)},
        ),
        clone(
            name="openrouter",
            title="OpenRouter",
            source="openrouter.ai/docs/api-reference/parameters",
            base_url="https://openrouter.ai/api/v1",
            key_variables=("OPENROUTER_API_KEY",),
            capabilities=HOSTED - {"n"} | {"files"},
            hints=frozenset(
                {"seed", "user", "logit_bias", "parallel_tool_calls", "reasoning_effort", "verbosity", "metadata"}
                | {"prediction", "top_k", "min_p", "repetition_penalty"}
            ),
            params=ALLOWED | GUIDED_JSON,
        ),
        clone(
            name="vllm",
            title="vLLM, from 0.12",
            source="docs.vllm.ai/en/latest/serving/openai_compatible_server",
            base_url="http://127.0.0.1:8000/v1",
            port=8000,
            media_by_url=False,
            capabilities=HOSTED | GUIDED | {"structured_outputs"},
            # The backend is a flag of the server now.
            hints=OF_ENGINES | {"chat_template", "mm_processor_kwargs", "guided_whitespace_pattern"},
            params=ALLOWED | VLLM_FIELDS,
        ),
        clone(
            name="vllm-legacy",
            title="vLLM before 0.12, which knows the `guided_*` names",
            source="docs.vllm.ai/en/v0.9.2/serving/openai_compatible_server",
            base_url="http://127.0.0.1:8000/v1",
            media_by_url=False,
            capabilities=HOSTED | GUIDED,
            hints=OF_ENGINES
            | {"chat_template", "mm_processor_kwargs", "guided_whitespace_pattern", "guided_decoding_backend"},
            params=ALLOWED,
        ),
        clone(
            name="sglang",
            title="SGLang",
            source="docs.sglang.ai/backend/openai_api_completions",
            base_url="http://127.0.0.1:30000/v1",
            port=30000,
            media_by_url=False,
            capabilities=HOSTED | {"guided_regex", "guided_grammar", "structural_tag"},
            hints=OF_ENGINES | {"user"},
            params=ALLOWED
            | GUIDED_JSON
            | {
                "guided_regex": params.renamed("regex"),
                "guided_grammar": params.renamed("ebnf"),
                "guided_choice": params.choice_as_regex("regex"),
                "structural_tag": params.as_format(
                    lambda tag: {**tag, "type": "structural_tag"}, "structural_tag", schema_in
                ),
            },
        ),
        clone(
            name="tgi",
            title="Text Generation Inference",
            source="huggingface.co/docs/text-generation-inference/messages_api",
            base_url="http://127.0.0.1:8080/v1",
            media_by_url=False,
            # response_format or tools, not both; it takes n and logit_bias and does nothing with them.
            capabilities=TOOLS | {"json_schema", "guided_regex", "logprobs", "images"},
            hints=frozenset({"seed"}),
            params=MAX_TOKENS
            | ALLOWED
            | {
                "response_format": params.schema_format(_tgi, IN_OBJECT),
                "guided_json": params.guided_json(_tgi, IN_OBJECT),
                "guided_regex": params.as_format(_tgi_regex, "regex"),
                "guided_choice": params.choice_as_regex(make=_tgi_regex),
            },
        ),
        clone(
            name="llamacpp",
            title="llama.cpp server",
            source="github.com/ggml-org/llama.cpp/tree/master/tools/server",
            base_url="http://127.0.0.1:8080/v1",
            port=8080,
            media_by_url=False,
            # tool_choice is auto, required or none there; a grammar and tools together are refused.
            capabilities=TEXT | FORMATS | {"tools", "tool_required", "guided_grammar", "logprobs"},
            hints=OF_ENGINES,
            params=MAX_TOKENS
            | ALLOWED
            | {
                # The only form that its Python server takes.
                "response_format": params.schema_format(_llamacpp, IN_OBJECT),
                "guided_json": params.guided_json(_llamacpp, IN_OBJECT),
                "guided_grammar": params.renamed("grammar"),
                "guided_choice": params.choice_as_grammar("grammar"),
                "repetition_penalty": params.renamed("repeat_penalty"),
            },
        ),
        clone(
            name="ollama",
            title="Ollama",
            source="docs.ollama.com/openai",
            base_url="http://127.0.0.1:11434/v1",
            port=11434,
            media_by_url=False,
            # Fields that its request does not have are passed over in silence, tool_choice among them.
            capabilities=TEXT | FORMATS | {"tools", "images"},
            hints=frozenset({"seed", "reasoning_effort"}),
            params=MAX_TOKENS | GUIDED_JSON | {"tool_choice": params.only_allowed(none=True)},
        ),
        clone(
            name="lmstudio",
            title="LM Studio",
            source="lmstudio.ai/docs/developer/openai-compat",
            base_url="http://127.0.0.1:1234/v1",
            port=1234,
            media_by_url=False,
            # tool_choice is auto, required or none there.
            capabilities=TEXT | {"json_schema", "tools", "tool_required", "images"},
            hints=frozenset({"seed", "logit_bias", "top_k", "repetition_penalty"}),
            params=MAX_TOKENS | ALLOWED | GUIDED_JSON | {"repetition_penalty": params.renamed("repeat_penalty")},
        ),
        Kind(
            name="bedrock",
            title="AWS Bedrock: Converse; with `api_model` also InvokeModel for Claude (`anthropic`)",
            wire=CONVERSE,
            host=CONVERSE_HOST,
            source="docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
            base_url="https://bedrock-runtime.{aws_region}.amazonaws.com",
            media_by_url=False,
            # What Claude and Nova do; a schema together with tools only by the newest models.
            capabilities=TOOLS | FORMATS | {"images", "files"},
            hints=frozenset({"top_k", "reasoning_effort", "parallel_tool_calls"}),
            params=ALLOWED | GUIDED_JSON | {"messages": params.messages(unnamed=ANY_ROLE - {"function", "tool"})},
            only=CONTRACT | {"messages", "temperature", "top_p", "top_k", "reasoning_effort", "parallel_tool_calls"},
            reads=frozenset({"aws_region", "api_model"}),
            variants={"api_model": {"anthropic": CLAUDE_ON_BEDROCK}},
            extra=EXTRA,
        ),
        CARRIED_OPENAI,
        COMPATIBLE,
        clone(
            name="sandbox",
            title="The built-in offline sandbox",
            source="docs/sandbox.md",
            base_url="sandbox:",
            capabilities=ALL,
            reads=frozenset({"tokens_per_second"}),
            open_catalog=True,
        ),
    )
}
