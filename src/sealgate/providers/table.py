"""The provider table: one row for each kind. To add a provider that speaks OpenAI's wire, add its row here.

Three things read it: the catalog (``kind = "…"`` in the configuration), the discovery of keys and local servers at
start, and the reference documentation.
"""

from __future__ import annotations

from functools import partial

from sealgate.providers.azure import AZURE
from sealgate.providers.base import Kind
from sealgate.providers.openai import BEARER, WIRE

TEXT = frozenset({"stream", "stop", "max_tokens"})
TOOLS = TEXT | {"tools", "tool_choice"}
HOSTED = TOOLS | {"n", "json_object", "json_schema", "logprobs", "images"}
GUIDED = frozenset({"guided_json", "guided_regex", "guided_choice", "guided_grammar"})
"""What the kinds declare of the contract parameters, shown by ``/v1/models?detail=true``."""

clone = partial(Kind, wire=WIRE, host=BEARER)

KINDS: dict[str, Kind] = {
    row.name: row
    for row in (
        clone(
            name="openai",
            title="OpenAI, and any server that speaks its API",
            source="developers.openai.com/api/reference",
            base_url="https://api.openai.com/v1",
            key_variables=("OPENAI_API_KEY",),
            capabilities=HOSTED | {"files", "audio"},
        ),
        Kind(
            name="azure",
            title="Azure OpenAI",
            wire=WIRE,
            host=AZURE,
            source="learn.microsoft.com/azure/ai-services/openai/reference",
            capabilities=HOSTED,
            reads=frozenset({"deployment", "api_version"}),
        ),
        clone(
            name="together",
            title="Together AI",
            source="docs.together.ai/reference/chat-completions",
            base_url="https://api.together.ai/v1",
            key_variables=("TOGETHER_API_KEY",),
            max_tokens="max_tokens",
            capabilities=HOSTED,
        ),
        clone(
            name="deepseek",
            title="DeepSeek",
            source="api-docs.deepseek.com",
            base_url="https://api.deepseek.com",
            key_variables=("DEEPSEEK_API_KEY",),
            max_tokens="max_tokens",
            capabilities=TOOLS | {"json_object", "logprobs"},
        ),
        clone(
            name="fireworks",
            title="Fireworks AI",
            source="docs.fireworks.ai/api-reference/post-chatcompletions",
            base_url="https://api.fireworks.ai/inference/v1",
            key_variables=("FIREWORKS_API_KEY",),
            capabilities=HOSTED,
        ),
        clone(
            name="mistral",
            title="Mistral AI",
            source="docs.mistral.ai/api",
            base_url="https://api.mistral.ai/v1",
            key_variables=("MISTRAL_API_KEY",),
            # Unknown fields are a 422 there; usage comes with the last chunk unasked.
            asks_usage=False,
            max_tokens="max_tokens",
            capabilities=TOOLS | {"n", "json_object", "json_schema", "images"},
        ),
        clone(
            name="hyperbolic",
            title="Hyperbolic",
            source="docs.hyperbolic.xyz/reference",
            base_url="https://api.hyperbolic.xyz/v1",
            key_variables=("HYPERBOLIC_API_KEY",),
            max_tokens="max_tokens",
            capabilities=TEXT | {"n"},
        ),
        clone(
            name="xai",
            title="xAI",
            source="docs.x.ai/docs/api-reference",
            base_url="https://api.x.ai/v1",
            key_variables=("XAI_API_KEY",),
            capabilities=HOSTED,
        ),
        clone(
            name="groq",
            title="Groq",
            source="console.groq.com/docs/api-reference",
            base_url="https://api.groq.com/openai/v1",
            key_variables=("GROQ_API_KEY",),
            capabilities=TOOLS | {"json_object", "json_schema", "images"},
        ),
        clone(
            name="openrouter",
            title="OpenRouter",
            source="openrouter.ai/docs/api-reference",
            base_url="https://openrouter.ai/api/v1",
            key_variables=("OPENROUTER_API_KEY",),
            capabilities=HOSTED | {"files"},
        ),
        clone(
            name="vllm",
            title="vLLM",
            source="docs.vllm.ai/en/latest/serving/openai_compatible_server",
            base_url="http://127.0.0.1:8000/v1",
            port=8000,
            media_by_url=False,
            capabilities=HOSTED | GUIDED,
        ),
        clone(
            name="sglang",
            title="SGLang",
            source="docs.sglang.ai/backend/openai_api_completions",
            base_url="http://127.0.0.1:30000/v1",
            port=30000,
            media_by_url=False,
            capabilities=HOSTED,
        ),
        clone(
            name="tgi",
            title="Text Generation Inference",
            source="huggingface.co/docs/text-generation-inference/messages_api",
            base_url="http://127.0.0.1:8080/v1",
            media_by_url=False,
            capabilities=TOOLS | {"logprobs", "images"},
        ),
        clone(
            name="llamacpp",
            title="llama.cpp server",
            source="github.com/ggml-org/llama.cpp/tree/master/tools/server",
            base_url="http://127.0.0.1:8080/v1",
            port=8080,
            schema_in_json_object=True,
            media_by_url=False,
            capabilities=TOOLS | {"json_object", "json_schema", "logprobs"},
        ),
        clone(
            name="ollama",
            title="Ollama",
            source="docs.ollama.com/openai",
            base_url="http://127.0.0.1:11434/v1",
            port=11434,
            media_by_url=False,
            capabilities=TOOLS | {"json_object", "json_schema", "images"},
        ),
        clone(
            name="lmstudio",
            title="LM Studio",
            source="lmstudio.ai/docs/developer/openai-compat",
            base_url="http://127.0.0.1:1234/v1",
            port=1234,
            media_by_url=False,
            capabilities=TOOLS | {"json_schema", "images"},
        ),
        clone(
            name="sandbox",
            title="The built-in offline sandbox",
            source="docs/sandbox.md",
            base_url="sandbox:",
            capabilities=HOSTED | GUIDED | {"files", "audio", "structural_tag"},
            reads=frozenset({"tokens_per_second"}),
            open_catalog=True,
        ),
    )
}
