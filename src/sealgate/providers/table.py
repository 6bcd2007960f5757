"""The provider table: one row for each kind. Those that speak OpenAI's wire are in `hosted` and `engines`.

What a row says of parameters is its provider's usual; where models differ, ``[models.NAME] capabilities`` says so.
Three things read it: the catalog (``kind = "…"`` in the configuration), the discovery of keys and local servers at
start, and the reference documentation.
"""

from __future__ import annotations

from functools import partial

from sealgate.providers import (
    anthropic,
    anthropic_models,
    anthropic_request,
    bedrock_request,
    gemini_request,
    params,
    sagemaker,
)
from sealgate.providers.anthropic_form import as_choice
from sealgate.providers.aws import EXTRA
from sealgate.providers.base import STREAMED, Kind
from sealgate.providers.bedrock import CLAUDE, CLAUDE_HOST, CONVERSE, CONVERSE_HOST
from sealgate.providers.bedrock_embeddings import INVOKED
from sealgate.providers.bedrock_models import abilities
from sealgate.providers.capabilities import ALL, CONTRACT, SAMPLING
from sealgate.providers.engines import ENGINE_ROWS
from sealgate.providers.gemini import GEMINI
from sealgate.providers.gemini_audio import GEMINI_SPEECH
from sealgate.providers.gemini_embeddings import STUDIO_EMBEDDINGS, VERTEX_EMBEDDINGS
from sealgate.providers.gemini_request import ENUM
from sealgate.providers.google import CLAUDE as CLAUDE_OF_VERTEX
from sealgate.providers.google import CLAUDE_ON_VERTEX, GEMINI_ON_VERTEX, OPEN_ON_VERTEX, STUDIO
from sealgate.providers.hosted import HOSTED_ROWS
from sealgate.providers.rows import (
    ALLOWED,
    ANY_ROLE,
    BOTH,
    COMPATIBLE,
    FORMATS,
    GUIDED_JSON,
    HOSTED,
    MAX_TOKENS,
    OF_ENGINES,
    OLDER_ROLES,
    TEXT,
    TOOLS,
    clone,
    tgi_regex,
)
from sealgate.providers.sagemaker import CARRIED, SAGEMAKER_HOST, TGI
from sealgate.providers.sagemaker_embeddings import CARRIED_EMBEDDINGS, INPUTS, TEXT_INPUTS


def _tgi_grammar(schema: object) -> dict[str, object]:
    return {"type": "json", "value": schema}


SIGNED = frozenset({"reasoning_details"})
"""Where providers' own signatures are."""

NEEDED = {"max_tokens": "demanded there; where the caller sets none, the model's own"}
IN_BODY = {"anthropic_version": "demanded there", **NEEDED}
"""What hosts that name the model in the address want in the body of the Messages API."""

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
    terms=anthropic_request.TERMS,
    depends=anthropic_request.DEPENDS,
    by_model=anthropic_models.abilities,
    replays=SIGNED,
    speaks_anthropic=True,
)
"""The Messages API, wherever it is spoken: ``claude(name=..., title=..., wire=..., host=...)``."""

gemini = partial(
    Kind,
    wire=GEMINI,
    capabilities=HOSTED | {"files", "audio"},
    hints=frozenset({"seed", "top_k", "reasoning_effort"}),
    params=GUIDED_JSON | {"guided_choice": ENUM, "messages": params.messages(unnamed=ANY_ROLE - {"function", "tool"})},
    only=CONTRACT | SAMPLING | {"messages", "top_logprobs", "seed", "top_k", "reasoning_effort"},
    terms=gemini_request.TERMS,
    depends=gemini_request.DEPENDS,
    adds={},
    array_streams=True,
    replays=SIGNED,
)
OPEN_MODELS = clone(
    name="vertex",
    title="Open models on Vertex AI, behind OpenAI's wire",
    host=OPEN_ON_VERTEX,
    source="docs.cloud.google.com/vertex-ai/generative-ai/docs/maas/use-open-models",
    capabilities=HOSTED,
    hints=frozenset({"seed", "user", "logit_bias", "parallel_tool_calls", "reasoning_effort", "top_k"}),
    params=MAX_TOKENS | OLDER_ROLES | ALLOWED | GUIDED_JSON,
)
CLAUDE_MODELS = claude(
    name="vertex",
    title="Claude on Vertex AI, behind Anthropic's wire",
    wire=CLAUDE_OF_VERTEX,
    host=CLAUDE_ON_VERTEX,
    # Pictures as base64 only, as on Bedrock (platform.claude.com/docs/en/build-with-claude/vision).
    media_by_url=False,
    adds=IN_BODY | STREAMED,
)
IN_PROJECT = "/v1/projects/{project}/locations/{location}"

CLAUDE_ON_BEDROCK = claude(
    name="bedrock",
    title="Claude on AWS Bedrock, behind Anthropic's wire",
    wire=CLAUDE,
    host=CLAUDE_HOST,
    media_by_url=False,
    adds=IN_BODY,
)
tgi = partial(
    Kind,
    name="sagemaker",
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
        "guided_regex": params.as_format(tgi_regex, "grammar"),
        "guided_choice": params.choice_as_regex(make=tgi_regex),
    },
    only=CONTRACT | {"messages", "temperature", "top_p", "frequency_penalty", "seed", "top_k", "repetition_penalty"},
    terms=sagemaker.TERMS,
    adds={"parameters.details": "for the reason of the end and the tokens", **STREAMED},
)
CARRIED_TGI = tgi(
    title="Text Generation Inference or Text Embeddings Inference on AWS SageMaker, behind their own wires",
    also={"embeddings": INPUTS},
)
CARRIED_JUMPSTART = tgi(
    title="SageMaker JumpStart's own containers: TGI's wire for text, `text_inputs` for embeddings",
    also={"embeddings": TEXT_INPUTS},
)
CARRIED_OPENAI = Kind(
    name="sagemaker",
    title="AWS SageMaker: OpenAI's wire inside; with `carries` also Hugging Face's own (`tgi`) and JumpStart's",
    wire=CARRIED,
    also={"embeddings": CARRIED_EMBEDDINGS},
    host=SAGEMAKER_HOST,
    source="docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointWithResponseStream.html",
    base_url="https://runtime.sagemaker.{aws_region}.amazonaws.com",
    media_by_url=False,
    # What vLLM's and TGI's containers have in common.
    capabilities=TOOLS | {"json_schema", "n", "logprobs", "images"},
    hints=OF_ENGINES,
    params=MAX_TOKENS | ALLOWED | GUIDED_JSON,
    reads=frozenset({"aws_region", "endpoint", "carries"}),
    variants={"carries": {"openai": None, "tgi": CARRIED_TGI, "jumpstart": CARRIED_JUMPSTART}},
    extra=EXTRA,
)

KINDS: dict[str, Kind] = {
    row.name: row
    for row in (
        *HOSTED_ROWS,
        *ENGINE_ROWS,
        claude(
            name="anthropic",
            title="Anthropic",
            wire=anthropic.MESSAGES,
            adds={"model": "its name there", **NEEDED, **STREAMED},
            host=anthropic.ANTHROPIC,
            headers=anthropic.version_header,
            reads=frozenset({"anthropic_version"}),
            base_url="https://api.anthropic.com/v1",
            key_variables=("ANTHROPIC_API_KEY",),
        ),
        Kind(
            name="bedrock",
            title="AWS Bedrock: Converse; with `api_model` also InvokeModel for Claude (`anthropic`)",
            wire=CONVERSE,
            also={"embeddings": INVOKED},
            host=CONVERSE_HOST,
            source="docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
            base_url="https://bedrock-runtime.{aws_region}.amazonaws.com",
            media_by_url=False,
            # What Claude and Nova do; what else is known of models says `bedrock_models`.
            capabilities=TOOLS | FORMATS | {"tools_with_format", "images", "files"},
            hints=frozenset({"top_k", "reasoning_effort", "parallel_tool_calls"}),
            params=ALLOWED
            | GUIDED_JSON
            | {
                "guided_choice": as_choice(),
                "messages": params.messages(unnamed=ANY_ROLE - {"function", "tool"}),
            },
            only=CONTRACT | {"messages", "temperature", "top_p", "top_k", "reasoning_effort", "parallel_tool_calls"},
            terms=bedrock_request.TERMS,
            depends=bedrock_request.DEPENDS,
            adds={},
            reads=frozenset({"aws_region", "api_model"}),
            variants={"api_model": {"anthropic": CLAUDE_ON_BEDROCK}},
            extra=EXTRA,
            by_model=abilities,
            replays=SIGNED,
        ),
        CARRIED_OPENAI,
        gemini(
            name="google",
            title="Google AI Studio (Gemini API)",
            host=STUDIO,
            also={"embeddings": STUDIO_EMBEDDINGS, **GEMINI_SPEECH},
            source="ai.google.dev/api/generate-content",
            base_url="https://generativelanguage.googleapis.com/v1beta",
            key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        ),
        gemini(
            name="vertex",
            title="Google Vertex AI: Gemini; with `api_model` also Claude (`anthropic`) and open models (`openai`)",
            host=GEMINI_ON_VERTEX,
            also={"embeddings": VERTEX_EMBEDDINGS, **GEMINI_SPEECH},
            source="docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
            base_url="https://{location}-aiplatform.googleapis.com" + IN_PROJECT,
            addresses={
                "global": "https://aiplatform.googleapis.com" + IN_PROJECT,
                "us": "https://aiplatform.us.rep.googleapis.com" + IN_PROJECT,
                "eu": "https://aiplatform.eu.rep.googleapis.com" + IN_PROJECT,
            },
            reads=frozenset({"project", "location", "api_model"}),
            variants={"api_model": {"google": None, "anthropic": CLAUDE_MODELS, "openai": OPEN_MODELS}},
            extra=("gcp", "google.auth"),
        ),
        COMPATIBLE,
        clone(
            name="sandbox",
            title="The built-in offline sandbox",
            also=BOTH,
            source="docs/sandbox.md",
            base_url="sandbox:",
            capabilities=ALL,
            reads=frozenset({"tokens_per_second"}),
            open_catalog=True,
        ),
    )
}
