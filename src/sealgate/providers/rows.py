"""What the rows of the provider table are written with: groups of capabilities, hints and changes that many share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from sealgate.providers import params
from sealgate.providers.audio import TRANSCRIPTIONS, TRANSLATIONS, VOXTRAL
from sealgate.providers.base import Kind, Operation, Wire
from sealgate.providers.capabilities import ALL, HINTS
from sealgate.providers.embeddings import EMBEDDINGS
from sealgate.providers.openai import BEARER, WIRE

TEXT = frozenset({"stop", "max_tokens"})
CHOICE = frozenset({"tool_required", "tool_choice"})
TOOLS = TEXT | CHOICE | {"tools"}
FORMATS = frozenset({"json_object", "json_schema"})
HOSTED = TOOLS | FORMATS | {"tools_with_format", "n", "logprobs", "images"}

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


def tgi_schema(schema: object) -> dict[str, object]:
    return {"type": "json_object", "value": schema}


def tgi_regex(pattern: object) -> dict[str, object]:
    return {"type": "regex", "value": pattern}


VECTORS: Mapping[Operation, Wire] = {"embeddings": EMBEDDINGS}
SPEECH: Mapping[Operation, Wire] = {"transcriptions": TRANSCRIPTIONS, "translations": TRANSLATIONS}
BOTH: Mapping[Operation, Wire] = {**VECTORS, **SPEECH}
OF_MISTRAL: Mapping[Operation, Wire] = {**VECTORS, "transcriptions": VOXTRAL}

clone = partial(Kind, wire=WIRE, host=BEARER)

COMPATIBLE = clone(
    name="compatible",
    title="Any server that speaks OpenAI's API, by its `base_url`",
    # Nothing is known of it, so everything goes out as it came.
    source="developers.openai.com/api/reference",
    also=BOTH,
    capabilities=ALL,
)
