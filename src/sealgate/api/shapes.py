"""What the API answers, as types.

They make the OpenAPI document, and tests hold real answers against them; the answers themselves are built as plain
objects where they come from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class CalledFunction(Struct):
    """The function to call and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(Struct):
    """A call the model wants made."""

    id: str
    type: Literal["function", "custom"]
    function: CalledFunction | UnsetType = UNSET
    custom: dict[str, Any] | UnsetType = UNSET


class Message(Struct):
    """The model's message."""

    role: Literal["assistant"]
    content: str | None
    tool_calls: list[ToolCall] | UnsetType = UNSET
    reasoning_content: Annotated[str | UnsetType, Meta(description="The model's reasoning, where it shows it.")] = UNSET
    reasoning_details: list[Any] | UnsetType = UNSET
    annotations: list[dict[str, Any]] | UnsetType = UNSET
    refusal: str | UnsetType = UNSET


class Choice(Struct):
    """One of the answers that were asked for."""

    index: int
    message: Message
    logprobs: dict[str, Any] | None
    finish_reason: FinishReason


class TokenDetails(Struct):
    """Parts of a token count."""

    cached_tokens: int | UnsetType = UNSET
    reasoning_tokens: int | UnsetType = UNSET


class Usage(Struct):
    """Tokens of an answer, as the provider reported them; estimated where it reported none."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: TokenDetails | UnsetType = UNSET
    completion_tokens_details: TokenDetails | UnsetType = UNSET


class AdjustmentNote(Struct):
    """A parameter that did not reach the provider as it was sent."""

    param: str
    action: Literal["renamed", "emulated", "dropped", "repaired"]
    detail: str


class Tresor(Struct):
    """What the gateway did."""

    requested_route: Annotated[str, Meta(description="The normalised route that was asked for.")]
    routed_model: Annotated[str, Meta(description="The route that served.")]
    failover: Annotated[bool, Meta(description="Whether a preferred route had to be left.")]
    receipt_id: Annotated[str | UnsetType, Meta(description="Of the signed receipt: `GET /v1/receipts/{id}`.")] = UNSET
    adjustments: list[AdjustmentNote] | UnsetType = UNSET
    inference_evidence: Annotated[
        dict[str, str] | UnsetType,
        Meta(
            description="Headers in which the provider spoke of its machine, unchecked; the receipt has their digest."
        ),
    ] = UNSET
    cost: Annotated[
        str | UnsetType | None,
        Meta(description="What the answer cost, a decimal string; null where the route has no price."),
    ] = UNSET


class ChatCompletion(Struct):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: Annotated[int, Meta(description="Unix seconds.")]
    model: Annotated[str, Meta(description="Exactly what the caller sent.")]
    choices: list[Choice]
    usage: Usage
    episode_id: str
    tresor: Tresor
    session_id: Annotated[str | UnsetType, Meta(description="The session that the request belongs to.")] = UNSET
    system_fingerprint: str | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET


class ToolCallDelta(Struct):
    """A piece of a tool call; id and name come with the first."""

    index: int
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    function: dict[str, Any] | UnsetType = UNSET
    custom: dict[str, Any] | UnsetType = UNSET


class Delta(Struct):
    """What one chunk adds."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    refusal: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChunkChoice(Struct):
    """One choice's part of a chunk."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None
    logprobs: dict[str, Any] | UnsetType = UNSET


class ChatCompletionChunk(Struct):
    """One event of a streamed answer. The finish chunk carries ``tresor``, ``episode_id`` and ``session_id``.

    What the answer cost stands where the usage stands: on the usage chunk, or on the finish chunk.
    """

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET
    episode_id: str | UnsetType = UNSET
    session_id: str | UnsetType = UNSET
    tresor: Tresor | UnsetType = UNSET
    system_fingerprint: str | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET


class PlannedRoute(Struct):
    """A route that would be asked."""

    route: str
    upstream_model: str
    key: int
    tries: int
    reason: str


class SkippedRoute(Struct):
    """A route that would not be asked."""

    route: str
    reason: str


class Unsent(Struct):
    """What would go to one route; ``error`` where nothing could."""

    route: str
    method: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    headers: Annotated[dict[str, str] | UnsetType, Meta(description="Without credentials.")] = UNSET
    body: Any | UnsetType = UNSET
    adjustments: list[AdjustmentNote] | UnsetType = UNSET
    fetched: Annotated[list[str] | UnsetType, Meta(description="Media that would be fetched.")] = UNSET
    error: str | UnsetType = UNSET


class DryRun(Struct):
    """What a request would do; the answer to ``dry_run=true``."""

    object: Literal["chat.completion.dry_run"]
    requested_route: str
    targets: list[PlannedRoute]
    skipped: list[SkippedRoute]
    requests: list[Unsent]


class Attempted(Struct):
    """One upstream call of a request that failed."""

    route: str
    outcome: str
    status: int | None


class Error(Struct):
    """What went wrong. ``code`` is stable."""

    message: str
    type: str
    param: str | None
    code: str
    status: int
    attempts: list[Attempted] | UnsetType = UNSET
    available: Annotated[
        str | UnsetType, Meta(description="With `insufficient_quota`: what is left of the budget.")
    ] = UNSET
    required: Annotated[str | UnsetType, Meta(description="With `insufficient_quota`: what the request may cost.")] = (
        UNSET
    )


class Place(Struct):
    """One wrong place in a request body."""

    loc: list[str | int]
    msg: str
    type: str


class ErrorEnvelope(Struct):
    """Every error. ``detail`` comes with 422 under ``/api/v1``."""

    error: Error
    detail: list[Place] | UnsetType = UNSET


class Pricing(Struct):
    """Prices of a route, as decimal strings."""

    input_per_mtok: str | None
    output_per_mtok: str | None
    billing_unit: Literal["token", "minute"]
    unit_amount: int
    currency: str
    cached_input_per_mtok: str | UnsetType = UNSET
    cache_write_per_mtok: str | UnsetType = UNSET
    reasoning_per_mtok: str | UnsetType = UNSET
    per_request: str | UnsetType = UNSET
    per_minute: str | UnsetType = UNSET
    minimum_charge: str | UnsetType = UNSET


class ModelDetail(Struct):
    """What is known of a model; region, provider and prices only for a single route."""

    model_key: str
    region: str | None
    provider: str | None
    type: Literal["chat", "embedding", "transcription"]
    pricing: Pricing | None
    capabilities: list[str]
    context_tokens: int | None
    max_output_tokens: int | None


class ModelEntry(Struct):
    """A name that can be used as ``model``."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    tresor: ModelDetail | UnsetType = UNSET


class ModelList(Struct):
    """All names that can be used."""

    object: Literal["list"]
    data: list[ModelEntry]


class RouteHealth(Struct):
    """How one route is doing, as this process knows it."""

    route: str
    state: Annotated[
        Literal["up", "cooling", "ejected"],
        Meta(description="cooling: past a limit of the provider's; ejected: failed several times in a row."),
    ]
    until: Annotated[str | None, Meta(description="ISO 8601; from then on it is tried again.")]
    last_error: Annotated[str | None, Meta(description="Class of its last failure; null once an answer was whole.")]
    refuses: Annotated[
        list[str], Meta(description="Parameters that its model does not take, as configured and as learned.")
    ]


class RouteHealthList(Struct):
    """All configured routes."""

    object: Literal["list"]
    data: list[RouteHealth]


class Health(Struct):
    """How the gateway is."""

    status: Literal["ok", "unavailable"]
    reasons: list[str] | UnsetType = UNSET
    version: str | UnsetType = UNSET
    log: LogState | UnsetType = UNSET


class LogPlace(Struct):
    """Where a receipt is in the transparency log."""

    state: Annotated[
        Literal["pending", "logged", "off"],
        Meta(description="pending: it waits for its place; off: it is in no log, and will be in none."),
    ]
    index: int | UnsetType = UNSET
    standing: Annotated[
        Literal["unwitnessed", "witnessed"] | UnsetType,
        Meta(description="witnessed: a quorum of witnesses signed a checkpoint that holds it."),
    ] = UNSET


class LogIdentity(Struct):
    """What to pin of the transparency log. `sealgate verify receipt --policy` takes this document as it is."""

    origin: str
    vkey: Annotated[str, Meta(description="The public key that signs its checkpoints (c2sp.org/signed-note).")]
    url: Annotated[str, Meta(description="Where its checkpoint and tiles are.")]
    public: Annotated[bool, Meta(description="Whether they can be read without a key.")]
    witnesses: Annotated[list[str], Meta(description="Public keys of those who are asked to sign its checkpoints.")]
    quorum: Annotated[int, Meta(description="How many of them make a checkpoint witnessed; 0: there are none.")]
    state: Annotated[Literal["open", "sealed"], Meta(description="sealed: nothing more is entered.")]
    standing: Literal["unwitnessed", "witnessed"]


class LogState(Struct):
    """How the transparency log is."""

    state: Literal["off", "open", "sealed"]
    standing: Literal["unwitnessed", "witnessed"] | UnsetType = UNSET
    reason: Annotated[str | UnsetType, Meta(description="Why it is sealed.")] = UNSET


class StoredReceipt(Struct):
    """A signed receipt. `sealgate verify receipt` takes this document as it is."""

    id: str
    receipt: Annotated[str, Meta(description="A compact JWS, ES256.")]
    log: LogPlace


class SigningKey(Struct):
    """A public key that receipts are signed with (RFC 7517)."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: str
    y: str
    kid: Annotated[str, Meta(description="Its thumbprint (RFC 7638).")]
    use: Literal["sig"]
    alg: Literal["ES256"]
    sealgate_status: Literal["next", "active", "retired", "revoked"]
    sealgate_revoked_at: Annotated[
        dict[str, int] | UnsetType,
        Meta(description="Of a revoked key: the entry that says so, by log. Receipts entered before it count."),
    ] = UNSET


class KeySet(Struct):
    """A JWK set."""

    keys: list[SigningKey]
