"""Providers, models and their routes, as the operator writes them, and what may be asked of a model."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct

from sealgate.config_types import Count, ModelType, Most, Name, Positive, Secret
from sealgate.formats import addresses


class Limits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much may be asked in sliding windows and at once; what is not set is not limited."""

    requests_per_minute: Annotated[Most | None, Meta(description="Requests in any 60 seconds.")] = None
    requests_per_day: Annotated[Most | None, Meta(description="Requests in any 24 hours.")] = None
    tokens_per_minute: Annotated[Most | None, Meta(description="Prompt and answer tokens in any 60 seconds.")] = None
    concurrency: Annotated[Most | None, Meta(description="Requests at the same time.")] = None


EvidenceHeader = Annotated[
    str, Meta(pattern="^(?![Ss][Ee][Tt]-[Cc][Oo][Oo][Kk][Ii][Ee]$)[A-Za-z0-9-]{1,64}$", description="A header's name.")
]


class Provider(Struct, frozen=True, forbid_unknown_fields=True):
    """One provider account or server; the table's name is the middle part of ``region/provider/model``."""

    kind: Annotated[str, Meta(description="A row of the provider table.")]
    name: Annotated[Name | None, Meta(description="Middle part of its routes, where two tables share one.")] = None
    region: Annotated[Name, Meta(description="First part of its routes.")] = "global"
    base_url: Annotated[str | None, Meta(description="Root of its API, where it is not the kind's own.")] = None
    api_key: Annotated[tuple[Secret, ...], Meta(description="env::NAME, path::FILE, none, or the key itself.")] = ()
    proxy: Annotated[str | None, Meta(description="HTTP proxy to reach it through.")] = None
    ca_file: Annotated[str | None, Meta(description="PEM file of the authorities to trust for it.")] = None
    client_cert: Annotated[str | None, Meta(description="PEM file with certificate and key to show to it.")] = None
    media: Annotated[
        Literal["pass", "data"] | None, Meta(description="Media by https URL: pass on, or take data URLs only.")
    ] = None
    media_fetch: Annotated[
        bool,
        Meta(description="Fetch media by https URL for it, where it takes data URLs only; public addresses only."),
    ] = False
    retries: Annotated[int, Meta(ge=0, le=5, description="More attempts on the same route before the next.")] = 0
    deployment: Annotated[str | None, Meta(description="Azure: deployment used for every model.")] = None
    api_version: Annotated[str | None, Meta(description="Azure: the api-version parameter of the older API.")] = None
    aws_region: Annotated[
        str | None,
        Meta(description="Bedrock, SageMaker: the AWS region; with another base_url, for the signature."),
    ] = None
    project: Annotated[str | None, Meta(description="Vertex: the project.")] = None
    location: Annotated[str | None, Meta(description="Vertex: the location.")] = None
    endpoint: Annotated[str | None, Meta(description="SageMaker: the endpoint; unset: the route's model names it.")] = (
        None
    )
    carries: Annotated[
        Literal["openai", "tgi", "jumpstart"] | None,
        Meta(description="SageMaker: the wire inside, OpenAI's, Hugging Face's own or JumpStart's; unset: openai."),
    ] = None
    anthropic_version: Annotated[
        str | None,
        Meta(description="Anthropic: the API version to send; unset: 2023-06-01."),
    ] = None
    api_model: Annotated[
        str | None,
        Meta(description="Vertex, Bedrock: which publisher's wire; unset: Gemini's, Converse."),
    ] = None
    extra_headers: Annotated[
        tuple[str, ...], Meta(description="Header names a caller may set by tensorzero::extra_headers.")
    ] = ()
    tokens_per_second: Annotated[Positive | None, Meta(description="Sandbox: its pace; unset: as fast as it can.")] = (
        None
    )
    evidence_url: Annotated[
        str | None,
        Meta(
            description="Where it shows evidence of the machines that answer: fetched without a credential, named in "
            "receipts by its digest as the provider's word, checked by nobody."
        ),
    ] = None
    evidence_headers: Annotated[
        tuple[EvidenceHeader, ...],
        Meta(
            max_length=8,
            description="Headers of its answers that speak of the machine that answered: shown to the caller, named in "
            "the answer's receipt by their digest as the provider's word, checked by nobody.",
        ),
    ] = ()
    evidence_type: Annotated[
        Name | None, Meta(description="What that is, such as tdx; unset: document, or headers.")
    ] = None

    def __post_init__(self) -> None:
        if self.evidence_url is not None:
            addresses.secure_url(self.evidence_url)
            if self.evidence_headers:
                raise ValueError("evidence is at an evidence_url or in evidence_headers: a receipt names one of them")
        elif self.evidence_type is not None and not self.evidence_headers:
            raise ValueError("evidence_type is for an evidence_url or for evidence_headers")


Policy = Literal["order", "weighted", "latency", "price"]


class Route(Struct, frozen=True, forbid_unknown_fields=True):
    """One place where a model runs."""

    provider: Annotated[str, Meta(description="Name of a table under [providers].")]
    model: Annotated[str, Meta(min_length=1, description="The provider's own name of the model.")]
    weight: Annotated[
        float, Meta(ge=0, description="Share of the requests, where the model's policy is `weighted`; 0: last of all.")
    ] = 1
    input_per_mtok: Annotated[Decimal | None, Meta(description="Price of a million prompt tokens.")] = None
    output_per_mtok: Annotated[Decimal | None, Meta(description="Price of a million completion tokens.")] = None
    cached_input_per_mtok: Annotated[
        Decimal | None, Meta(description="Of a million prompt tokens read from a cache; unset: as other prompt tokens.")
    ] = None
    cache_write_per_mtok: Annotated[
        Decimal | None,
        Meta(description="Of a million prompt tokens written to a cache; unset: as other prompt tokens."),
    ] = None
    reasoning_per_mtok: Annotated[
        Decimal | None, Meta(description="Of a million reasoning tokens; unset: as other completion tokens.")
    ] = None
    per_request: Annotated[Decimal | None, Meta(description="Price of each answer, besides its tokens.")] = None
    per_minute: Annotated[Decimal | None, Meta(description="Price of a minute of transcribed sound.")] = None
    minimum_charge: Annotated[Decimal | None, Meta(description="The least that an answer costs.")] = None
    currency: Annotated[
        str | None, Meta(description="Currency of the prices; must be that of [billing], which it is where unset.")
    ] = None
    refuses: Annotated[
        tuple[str, ...],
        Meta(
            description="Parameters that this model answers with an error: hints are left out, `max_tokens` is sent as "
            "`max_completion_tokens` or the other way round, `stream_options` is not asked for. The log names them."
        ),
    ] = ()


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """A model callers can name; the table's name is its key."""

    routes: Annotated[tuple[Route, ...], Meta(min_length=1, description="Where it runs, the preferred one first.")]
    policy: Annotated[
        Policy | None,
        Meta(
            description="Which route is asked first: `order` as written, `weighted` by chance, `latency` the fastest, "
            "`price` the cheapest. Unset: `weighted` where a route has a weight, else `order`."
        ),
    ] = None
    type: Annotated[ModelType, Meta(description="What it does.")] = "chat"
    aliases: Annotated[tuple[str, ...], Meta(description="Other names for it.")] = ()
    capabilities: Annotated[
        tuple[str, ...] | None,
        Meta(
            description="All that its routes can do, by the names under docs/reference/providers.md. "
            "Unset: what their providers usually can."
        ),
    ] = None
    context_tokens: Annotated[Count | None, Meta(description="Longest prompt and answer together.")] = None
    max_output_tokens: Annotated[Count | None, Meta(description="Longest answer.")] = None
    limits: Annotated[
        Limits | None, Meta(description="What each caller may ask of this model, besides the caller's own limits.")
    ] = None
