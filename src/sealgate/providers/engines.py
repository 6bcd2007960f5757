"""Rows of the provider table: servers that one runs oneself, and that speak OpenAI's wire."""

from __future__ import annotations

from sealgate.providers import params
from sealgate.providers.base import Kind
from sealgate.providers.capabilities import GUIDED, schema_in
from sealgate.providers.openai_dialects import TGI
from sealgate.providers.rows import (
    ALLOWED,
    BOTH,
    FORMATS,
    GUIDED_JSON,
    HOSTED,
    IN_OBJECT,
    MAX_TOKENS,
    OF_ENGINES,
    TEXT,
    TOOLS,
    VECTORS,
    clone,
    tgi_regex,
    tgi_schema,
)

VLLM_FIELDS = {
    "guided_json": params.structured("json"),
    "guided_regex": params.structured("regex"),
    "guided_choice": params.structured("choice"),
    "guided_grammar": params.structured("grammar"),
    "structural_tag": params.structured("structural_tag", as_text=True),
    "guided_whitespace_pattern": params.only_with("guided_json", params.structured("whitespace_pattern")),
}
"""vLLM 0.12 took the older names out (its pull request 29326) and answers 200 to them, unconstrained."""


def _llamacpp(schema: object) -> dict[str, object]:
    return {"type": "json_object", "schema": schema}


ENGINE_ROWS: tuple[Kind, ...] = (
    clone(
        name="vllm",
        title="vLLM, from 0.12",
        also=BOTH,
        source="docs.vllm.ai/en/latest/serving/openai_compatible_server",
        base_url="http://127.0.0.1:8000/v1",
        port=8000,
        media_by_url=False,
        capabilities=HOSTED | GUIDED | {"structured_outputs", "audio"},
        # The backend is a flag of the server now.
        hints=OF_ENGINES | {"chat_template", "mm_processor_kwargs", "guided_whitespace_pattern"},
        params=ALLOWED | VLLM_FIELDS,
    ),
    clone(
        name="vllm-legacy",
        title="vLLM before 0.12, which knows the `guided_*` names",
        also=BOTH,
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
        also=VECTORS,
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
        wire=TGI,
        source="huggingface.co/docs/text-generation-inference/messages_api",
        base_url="http://127.0.0.1:8080/v1",
        media_by_url=False,
        # response_format or tools, not both; it takes n and logit_bias and does nothing with them.
        capabilities=TOOLS | {"json_schema", "guided_regex", "logprobs", "images"},
        hints=frozenset({"seed"}),
        params=MAX_TOKENS
        | ALLOWED
        | {
            "response_format": params.schema_format(tgi_schema, IN_OBJECT),
            "guided_json": params.guided_json(tgi_schema, IN_OBJECT),
            "guided_regex": params.as_format(tgi_regex, "regex"),
            "guided_choice": params.choice_as_regex(make=tgi_regex),
        },
    ),
    clone(
        name="llamacpp",
        title="llama.cpp server",
        also=VECTORS,
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
        also=VECTORS,
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
        also=VECTORS,
        source="lmstudio.ai/docs/developer/openai-compat",
        base_url="http://127.0.0.1:1234/v1",
        port=1234,
        media_by_url=False,
        # tool_choice is auto, required or none there.
        capabilities=TEXT | {"json_schema", "tools", "tool_required", "images"},
        hints=frozenset({"seed", "logit_bias", "top_k", "repetition_penalty"}),
        params=MAX_TOKENS | ALLOWED | GUIDED_JSON | {"repetition_penalty": params.renamed("repeat_penalty")},
    ),
)
