"""What a provider is made of: a wire (the message format), a host (address and credentials), a kind (one table row).

A `Wire` is pure: it turns the caller's request, in OpenAI's shape, into a body, and what comes back into chunks or a
completion in OpenAI's shape. A `Host` says where a body goes and which headers carry the credential. A new provider
that speaks OpenAI's wire is one `Kind` in the table; a new wire is one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from sealgate.errors import UpstreamError
from sealgate.outward.client import Fixed, Request
from sealgate.providers.capabilities import HINTS

Json = dict[str, Any]
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
Operation = Literal["chat", "embeddings", "transcriptions", "translations"]
"""What is asked of a model, by the last word of OpenAI's path for it."""


class Native(NamedTuple):
    """A request as its caller wrote it, in Anthropic's dialect: for routes that speak it themselves."""

    body: Json
    """Without what names the model and the way of the answer. Never changed."""
    betas: tuple[str, ...] = ()
    """What of ``anthropic-beta`` may go on."""
    lost: Sequence[Adjustment] = ()
    """What of it the translation does not hold."""
    only: str | None = None
    """The first place in it that nobody else understands."""


class Prompt(msgspec.Struct, frozen=True):
    """What a wire needs of a request: the caller's fields in OpenAI's shape, without the gateway's own."""

    fields: Json
    stream: bool
    extra_body: Json
    extra_headers: Mapping[str, str]
    trace: Mapping[str, str]
    """``traceparent`` and ``tracestate`` as they came (W3C Trace Context)."""
    refused: frozenset[str] = frozenset()
    """Parameters that the model in question does not take; see `sealgate.providers.refused`."""
    operation: Operation = "chat"
    native: Native | None = None
    """The request in the dialect it came in, where that is not OpenAI's; ``fields`` are its translation."""


class Adjustment(NamedTuple):
    """One parameter that does not reach the upstream as the caller sent it."""

    param: str
    action: str
    detail: str


class Written(msgspec.Struct, frozen=True):
    """An upstream request's body, and what in it is not as the caller sent it."""

    body: bytes
    adjustments: Sequence[Adjustment]
    headers: Mapping[str, str] = NO_HEADERS
    """Besides those of the account."""
    reader: Callable[[bool], Reader] | None = None
    """Makes the reader of the answer, streamed or not, where it is not the wire's own: of a request that went out in
    the dialect it came in."""


class Reader(Protocol):
    """Reads one answer. ``feed`` takes the body's pieces; ``end`` says that the body has ended properly."""

    done: bool
    """Whether the answer's own end marker has come; what follows is not part of it."""

    def feed(self, piece: bytes) -> Iterable[Json]:
        """Chunks that this piece completed, in OpenAI's shape. Raises `UpstreamError`."""

    def end(self) -> Iterable[Json]:
        """What the end of the body completes: a whole answer, or nothing. Raises `UpstreamError`."""


class Wire(Protocol):
    """A message format. ``stream_type`` is the content type of its streams; a whole answer is JSON."""

    stream_type: str

    def write(self, account: Account, prompt: Prompt, model: str, max_output: int | None) -> Written:
        """The upstream request's body. ``prompt`` is not changed: another route may need it.

        ``max_output`` is the longest answer of the model in tokens, where it is configured: for wires that demand a
        limit.
        """

    def reader(self, fields: Json, *, stream: bool) -> Reader:
        """A reader for one answer to a request with these fields."""

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """What an answer that is not a success says about this route."""

    def holds(self, fields: Json, model: str) -> bool:
        """Whether the provider itself holds this model's answer to the form that these fields prescribe.

        Where it is only asked for, by a tool or in words, what comes has to be checked.
        """


class Unmet(NamedTuple):
    """What a route cannot honour of a request: the parameter, and why not, as the second half of a sentence."""

    param: str
    why: str


@runtime_checkable
class Choosy(Protocol):
    """A wire that does not take every request of its operation."""

    def unmet(self, fields: Json, model: str) -> Unmet | None:
        """What of these fields this model cannot be asked for; None where it can be asked."""


@runtime_checkable
class Batched(Protocol):
    """A wire of embeddings whose calls do not hold as many inputs as a request may have."""

    def parts(self, fields: Json, model: str) -> Sequence[Json]:
        """The request as several, in order: each has some of the inputs and all of the other fields."""


class Signer(Protocol):
    """Works out what a request must carry that changes from one to the next: signatures, tokens that expire."""

    async def sign(self, request: Request, key: int) -> Request:
        """The request with it. Raises `UpstreamError` with CREDENTIAL where there is no valid one."""


class Host(Protocol):
    """Where a provider lives."""

    def url(self, account: Account, model: str, *, stream: bool, operation: Operation = "chat") -> str: ...

    def credential(self, secret: str) -> dict[str, str]:
        """The headers that carry a key, where that is all it takes."""

    def signer(self, account: Account) -> Signer | None:
        """For accounts whose requests take more than a key in a header; made once for each account."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one parameter on its way to a provider.

    ``apply`` gets the parameter's name, the caller's fields and the fields that go out; it changes the latter and says
    what it did. A contract parameter that asks for something is never taken away. ``gives`` is a capability that exists
    by this change, wherever the capability ``needs`` does.
    """

    action: Literal["renamed", "emulated", "dropped"]
    detail: str
    apply: Callable[[str, Json, Json], Iterable[Adjustment]]
    gives: str | None = None
    needs: str | None = None


STREAMED = {"stream": "where the answer is streamed"}
OF_OPENAI_WIRE = {"model": "its name there", **STREAMED, "stream_options": "with streams, for their usage"}


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One row of the provider table: everything that sets a provider apart from OpenAI itself.

    ``base_url`` may hold a trailing path, and settings of the account in braces. ``key_variables`` are the environment
    variables under which its key is found without configuration. ``port`` is the usual port of a self-hosted server.
    ``asks_usage`` False is for providers that refuse ``stream_options`` and send usage anyway. ``media_by_url`` is the
    default of the ``media``
    setting. ``reads`` lists the settings beyond the common ones that mean something for it. ``source`` is the page
    these facts come from.

    ``capabilities`` are those of `sealgate.providers.capabilities` that it has by itself, ``hints`` those of the hints
    it knows (None: all), ``params`` what becomes of other parameters. ``only``, where it refuses what it does not know,
    is every field it takes, and every contract parameter, since those are never taken away. What none of these speak
    of goes out as it came.
    """

    name: str
    title: str
    wire: Wire
    host: Host
    source: str
    base_url: str | None = None
    addresses: Mapping[str, str] = field(default_factory=dict)
    """The ``base_url`` of the locations that do not follow the rule, by the account's ``location``."""
    key_variables: tuple[str, ...] = ()
    port: int | None = None
    asks_usage: bool = True
    media_by_url: bool = True
    array_streams: bool = False
    """Whether a stream may come as one JSON array, from a server or a proxy that knows no events."""
    capabilities: frozenset[str] = frozenset()
    hints: frozenset[str] | None = None
    params: Mapping[str, Change] = field(default_factory=dict)
    only: frozenset[str] | None = None
    terms: Mapping[str, str] = field(default_factory=dict)
    """Where the wire puts a parameter, if that is not the field of the same name: paths of the body, in backquotes."""
    depends: Mapping[str, str] = field(default_factory=dict)
    """What becomes of parameters whose fate is decided by the model or by the value."""
    adds: Mapping[str, str] = field(default_factory=lambda: OF_OPENAI_WIRE)
    """Fields of the body that no parameter asks for, and why they are sent."""
    reads: frozenset[str] = frozenset()
    headers: Callable[[Account], Mapping[str, str]] | None = None
    """Headers besides the credential that follow from the account's settings: a version of the API, for one."""
    open_catalog: bool = False
    """Whether any model name may be asked for under its routes, listed or not."""
    elsewhere: Kind | None = None
    """The row that holds at any address but its own, where the provider's API is spoken by others too."""
    variants: Mapping[str, Mapping[str, Kind | None]] = field(default_factory=dict)
    """Rows that hold instead where an account says so, by setting and value; None: this row."""
    extra: tuple[str, str] | None = None
    """The optional part of the installation that it needs, and a module by which that is known to be there."""
    by_model: Callable[[str, frozenset[str]], frozenset[str]] | None = None
    """What a model of that name has of these capabilities, or beyond them, where names tell models apart."""

    replays: frozenset[str] = frozenset()
    """The fields of an answer that its provider wants back beside the results of the tools it calls."""
    speaks_anthropic: bool = False
    """Whether it takes what only Anthropic's dialect can say, as it came; see `Native`."""
    also: Mapping[Operation, Wire] = field(default_factory=dict)
    """The wires of what it can do besides chat."""

    wires: Mapping[Operation, Wire] = field(init=False)
    """``wire``, which is chat's, and those of ``also``."""
    changes: Mapping[str, Change] = field(init=False)
    """What becomes of each parameter, the hints it does not know included."""
    abilities: frozenset[str] = field(init=False)
    """What it can do, by itself or by a change that loses nothing."""

    def __post_init__(self) -> None:
        unknown = () if self.hints is None else sorted(HINTS - self.hints)
        object.__setattr__(self, "changes", dict.fromkeys(unknown, UNKNOWN_HINT) | dict(self.params))
        object.__setattr__(self, "wires", {"chat": self.wire, **self.also})
        object.__setattr__(self, "abilities", self.with_emulated(self.capabilities))

    def native(self, model: str) -> frozenset[str]:
        """What a model of this name can do by itself."""
        return self.capabilities if self.by_model is None else self.by_model(model, self.capabilities)

    def with_emulated(self, native: frozenset[str]) -> frozenset[str]:
        """Capabilities, and those that follow from them by a change."""
        given = {each.gives for each in self.params.values() if each.gives and each.needs in native}
        return native | given

    def at(self, base_url: str) -> Kind:
        """The row that holds for a server at this address."""
        if self.elsewhere is None:
            return self
        own, here = urlsplit(self.base_url or "").hostname or "", urlsplit(base_url).hostname or ""
        return self if here == own or here.endswith("." + own) else self.elsewhere

    def chosen_by(self, account: Account) -> Kind:
        """The row that holds for an account with these settings."""
        kind = self.at(account.base_url)
        for setting, rows in kind.variants.items():
            kind = rows.get(getattr(account, setting)) or kind
        return kind


def leave_out(name: str, given: Json, body: Json) -> Iterable[Adjustment]:  # noqa: ARG001
    del body[name]
    return (Adjustment(name, "dropped", UNKNOWN_HINT.detail),)


UNKNOWN_HINT = Change("dropped", "the provider does not know it", leave_out)


@dataclass(frozen=True, slots=True)
class Account:
    """A configured provider: a kind, an address and a credential that never goes to another address."""

    table: str
    """Name of its table in the configuration, unique."""
    name: str
    """Middle part of its routes."""
    region: str
    kind: Kind
    base_url: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Its keys; the later ones are used while the earlier ones are out of quota or past their rate."""
    media_by_url: bool = True
    media_fetch: bool = False
    """Whether the gateway fetches media by URL for it, where it takes bytes."""
    retries: int = 0
    deployment: str | None = None
    api_version: str | None = None
    aws_region: str | None = None
    project: str | None = None
    location: str | None = None
    endpoint: str | None = None
    carries: str | None = None
    anthropic_version: str | None = None
    api_model: str | None = None
    allowed_headers: frozenset[str] = frozenset()
    evidence_headers: tuple[str, ...] = ()
    """Headers of its answers, in lower case, that receipts name by their digest."""

    fixed_headers: tuple[Mapping[bool, Mapping[str, str]], ...] = field(init=False, repr=False, compare=False)
    """Headers that are the same for every request with one of the keys, by whether it streams."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.kind.chosen_by(self))
        credential = self.kind.host.credential
        carried = [credential(secret) for secret in self.secrets] or [{}]
        accepted = self.kind.wire.stream_type
        own = {} if self.kind.headers is None else self.kind.headers(self)
        fixed = tuple(_fixed_headers({**own, **each}, accepted) for each in carried)
        object.__setattr__(self, "fixed_headers", fixed)

    def headers(self, prompt: Prompt, key: int = 0) -> Mapping[str, str]:
        """All headers of one request: fixed ones with the credential, the trace, what the operator lets callers add.

        ``key`` counts the account's ``secrets``.
        """
        fixed = self.fixed_headers[key][prompt.stream]
        if not prompt.trace and not prompt.extra_headers:
            return fixed
        allowed = {name: value for name, value in prompt.extra_headers.items() if name in self.allowed_headers}
        return {**allowed, **fixed, **prompt.trace}


def _fixed_headers(credential: Mapping[str, str], stream_type: str) -> Mapping[bool, Mapping[str, str]]:
    common = {
        **credential,
        "content-type": "application/json",
        "accept-encoding": "identity",
        "user-agent": "sealgate",
    }
    return {True: Fixed({**common, "accept": stream_type}), False: Fixed({**common, "accept": "application/json"})}
