"""What the operator can set: every table and key, declared once.

Three things read the declarations, which is the point of their existing: the loader in `sealgate.config` (types,
ranges, defaults), the reference documentation (the descriptions), and the environment overrides.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from sealgate.config_log import ReceiptLog
from sealgate.config_routes import Limits as Limits
from sealgate.config_routes import Model, Provider
from sealgate.config_types import Count, Name, Seconds, Secret
from sealgate.formats import addresses


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens and how it treats callers."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 takes a free one.")] = 3000
    public_url: Annotated[
        str | None,
        Meta(description="The address callers use, where it is not host and port; receipts are issued in its name."),
    ] = None
    default_model: Annotated[str | None, Meta(description="Model for requests that name none.")] = None
    hosts: Annotated[
        tuple[str, ...], Meta(description="Host names this server answers for; empty means any (row A9).")
    ] = ()
    tls_cert: Annotated[
        str | None,
        Meta(description="PEM file of the certificate and its chain; unset: plain HTTP. SIGHUP reads it again."),
    ] = None
    tls_key: Annotated[str | None, Meta(description="PEM file of the certificate's key, without a passphrase.")] = None
    require_https: Annotated[bool, Meta(description="Answer 426 to plain HTTP from elsewhere than this machine.")] = (
        False
    )
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Addresses or networks (CIDR) whose X-Forwarded-For and X-Forwarded-Proto are believed."),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        Meta(description='Origins whose web pages may call (CORS), as https://app.example; "*" means any.'),
    ] = ()
    max_body_bytes: Annotated[int, Meta(ge=1024, description="Largest request body, in bytes.")] = 32 * 1024 * 1024
    max_upload_bytes: Annotated[int, Meta(ge=1024, description="Largest file to transcribe, bytes.")] = 25 * 1024 * 1024
    max_connections: Annotated[int, Meta(ge=1, description="Open connections before new ones get 503.")] = 4096
    max_in_flight: Annotated[
        int, Meta(ge=1, description="Model requests at once; then 503 for those who hold more than their share.")
    ] = 1000
    usage_on_finish_chunk: Annotated[
        bool, Meta(description="Streamed usage rides on the finish chunk instead of a chunk without choices.")
    ] = False
    models_public: Annotated[bool, Meta(description="Whether /v1/models answers without a key.")] = True
    discover: Annotated[
        bool | None,
        Meta(
            description="Offer the sandbox, providers whose keys are in the environment, and local model servers. "
            "Unset: only where no provider is configured."
        ),
    ] = None

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together, and only one of them is set")
        for key, check in (("trusted_proxies", addresses.network), ("cors_origins", addresses.origin)):
            for value in getattr(self, key):
                try:
                    check(value)
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from None


class Storage(Struct, frozen=True, forbid_unknown_fields=True):
    """Where keys and the ledger live."""

    url: Annotated[
        str | None, Meta(description="sqlite:///FILE or postgresql://…; unset: a SQLite file in data_dir.")
    ] = None
    data_dir: Annotated[str, Meta(description="Folder for the database, key files and the spool.")] = ".sealgate"


class SharedLimits(Limits, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where limits are counted, and those of callers that have none of their own; off unless set."""

    url: Annotated[
        Secret | None,
        Meta(
            description="redis://, rediss:// or unix:// of a Redis or Valkey in which replicas count together; read at "
            "the start. Unset: each process counts alone."
        ),
    ] = None

    @property
    def own(self) -> Limits | None:
        """The limits of callers without any of their own."""
        found = {name: getattr(self, name) for name in Limits.__struct_fields__}
        return Limits(**found) if any(value is not None for value in found.values()) else None


LARGEST_BUDGET = 10**9
"""In nano-units that is less than the largest integer of either database."""


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """How much money may be spent, in the currency of the prices."""

    amount: Annotated[Decimal, Meta(description="The most that may be spent in a period; a decimal string.")]
    period: Annotated[
        Literal["total", "day", "week", "month"],
        Meta(description="When it begins anew, by the calendar in UTC; total: never."),
    ] = "total"
    rolling: Annotated[bool, Meta(description="The last 24 hours, 7 days or 30 days instead of the calendar's.")] = (
        False
    )

    def __post_init__(self) -> None:
        if not (self.amount.is_finite() and 0 <= self.amount <= LARGEST_BUDGET):
            raise ValueError(f"the amount of a budget is a number from 0 up to {LARGEST_BUDGET}")


class Billing(Struct, frozen=True, forbid_unknown_fields=True):
    """What prices and budgets are counted in."""

    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$", description="Of all prices and budgets (ISO 4217).")] = "USD"


Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]  # fmt: skip
"""How a token may be signed (RFC 7518, section 3.1; RFC 9864). Never by a shared secret, never not at all."""

_FAMILIES = {"RS": "RSA", "PS": "RSA-PSS", "ES": "ECDSA", "Ed": "EdDSA"}


class Issuer(Struct, frozen=True, forbid_unknown_fields=True):
    """An OpenID Connect issuer whose access tokens (JWT) are accepted wherever an API key is."""

    issuer: Annotated[str, Meta(min_length=1, description="The exact `iss` of its tokens, and where it is.")]
    audience: Annotated[
        tuple[str, ...], Meta(min_length=1, description="Accepted audiences: a token must be made for one of them.")
    ]
    audience_claim: Annotated[
        Literal["aud", "client_id", "azp"], Meta(description="The claim that says for whom a token was made.")
    ] = "aud"
    clients: Annotated[
        tuple[str, ...], Meta(description="Accepted `azp` (where there is none: `client_id`); empty means any.")
    ] = ()
    algorithms: Annotated[
        tuple[Algorithm, ...], Meta(min_length=1, description="Accepted signatures, all of one family.")
    ] = ("RS256",)
    typ: Annotated[
        str | None, Meta(description="The `typ` its tokens must have, such as at+jwt (RFC 9068); unset: any.")
    ] = None
    jwks_url: Annotated[
        str | None, Meta(description="Where its keys are; unset: discovered, and then on the issuer's own host.")
    ] = None
    leeway: Annotated[
        float, Meta(ge=0, le=60, description="Seconds its clock may be ahead of ours, for `nbf` and `iat`.")
    ] = 60
    create_users: Annotated[
        bool, Meta(description="Whether a `sub` seen for the first time becomes a user; else it is refused.")
    ] = False
    customer: Annotated[
        str | None, Meta(description="The customer of all its users; unset: each user is a customer.")
    ] = None
    models: Annotated[tuple[str, ...] | None, Meta(description="Models its users may use; unset: all.")] = None
    limits: Annotated[Limits | None, Meta(description="Limits of a user whose default key has none.")] = None
    budget: Annotated[Budget | None, Meta(description="Budget of a user whose default key has none.")] = None

    def __post_init__(self) -> None:
        families = {_FAMILIES[name[:2]] for name in self.algorithms}
        if len(families) > 1:
            raise ValueError(f"algorithms must be of one family, and these are {' and '.join(sorted(families))}")
        url = self.issuer if self.jwks_url is None else self.jwks_url
        try:
            addresses.secure_url(url)
        except ValueError as error:
            raise ValueError(f"{'issuer' if self.jwks_url is None else 'jwks_url'}: {error}") from None
        if self.customer is not None and not (0 < len(self.customer) <= 128 and self.customer.isprintable()):
            raise ValueError("customer: a name is 1 to 128 printable characters")


class Auth(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may call."""

    required: Annotated[bool, Meta(description="Whether a key is needed. May be false only on a loopback address.")] = (
        True
    )
    pepper: Annotated[
        Secret | None,
        Meta(description="Key for the key digests, shared by replicas; unset: a file in data_dir made at first start."),
    ] = None
    max_active_keys: Annotated[
        Count, Meta(description="Active keys a customer can have by its own doing; `sealgate keys` goes beyond.")
    ] = 10
    issuers: Annotated[dict[str, Issuer], Meta(description="OpenID Connect issuers by a free name.")] = field(
        default_factory=dict
    )


class Timeouts(Struct, frozen=True, forbid_unknown_fields=True):
    """All limits on time, in seconds."""

    header: Annotated[Seconds, Meta(description="To receive a request's head.")] = 10
    body: Annotated[Seconds, Meta(description="To receive a request's body.")] = 60
    idle: Annotated[Seconds, Meta(description="An idle keep-alive connection is closed after this.")] = 75
    write_stall: Annotated[Seconds, Meta(description="A caller that stops reading is cut after this.")] = 60
    keep_alive: Annotated[Seconds, Meta(description="Silence on a stream before a comment line is sent.")] = 15
    connect: Annotated[Seconds, Meta(description="To connect to a provider, TLS included.")] = 5
    first_content: Annotated[
        Seconds, Meta(description="Silence of a provider before its first content, while another route is left.")
    ] = 60
    gap: Annotated[Seconds, Meta(description="Silence of a provider in the middle of a stream.")] = 180
    total: Annotated[Seconds, Meta(description="A whole answer, failover included.")] = 180
    max_total: Annotated[Seconds, Meta(description="Upper bound of X-Tresor-Timeout-Seconds.")] = 600
    drain: Annotated[Seconds, Meta(description="Running requests may finish for this long after SIGTERM.")] = 120


class Reasoning(Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of the reasoning behind tool calls, for clients that do not send it back with the results."""

    keep_seconds: Annotated[
        int,
        Meta(ge=0, le=3600, description="How long it is kept, encrypted, from the beginning of a loop; 0: not at all."),
    ] = 3600


class Responses(Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of the Responses API, so that conversations can go on by `previous_response_id`."""

    keep_days: Annotated[
        int,
        Meta(ge=0, le=3650, description="How long answers are kept, encrypted, with what was asked; 0: not at all."),
    ] = 0


class Receipts(Struct, frozen=True, forbid_unknown_fields=True):
    """Signed receipts of what the gateway did."""

    enabled: Annotated[bool, Meta(description="Issue a receipt for every answer, unless its caller declines.")] = True
    log: ReceiptLog = ReceiptLog()


class Attestation(Struct, frozen=True, forbid_unknown_fields=True):
    """Evidence of the machine that the gateway runs on. Never run on hardware by this project."""

    mode: Annotated[
        Literal["none", "file", "tsm"],
        Meta(description="none; a file that the operator had made; or reports of Linux on a confidential machine."),
    ] = "none"
    file: Annotated[
        str | None, Meta(description="File with the evidence, at most 32 KiB; it is read again when it changes.")
    ] = None

    def __post_init__(self) -> None:
        if (self.mode == "file") != (self.file is not None):
            raise ValueError('file is for mode = "file", and needed there')


class Retention(Struct, frozen=True, forbid_unknown_fields=True):
    """How long records are kept; 0: for good. Read at the start."""

    ledger_days: Annotated[
        int, Meta(ge=0, description="Rows of the ledger, receipts with them; sessions that have ended.")
    ] = 400
    receipt_days: Annotated[int, Meta(ge=0, description="Receipts; 0: as long as their rows of the ledger.")] = 400

    def __post_init__(self) -> None:
        if self.ledger_days and self.receipt_days > self.ledger_days:
            raise ValueError("receipt_days is more than ledger_days, but a receipt goes with its row of the ledger")


class Telemetry(Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator sees."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least level that is logged.")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="Log form; auto: console on a terminal, JSON lines elsewhere."),
    ] = "auto"
    access_log: Annotated[bool, Meta(description="One line per request, without content.")] = True
    metrics: Annotated[
        Literal["public", "key", "off"], Meta(description="/metrics for everyone, for admin keys, or for nobody.")
    ] = "public"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything the operator can set; each table is optional."""

    server: Server = Server()
    storage: Storage = Storage()
    auth: Auth = Auth()
    limits: SharedLimits = SharedLimits()
    timeouts: Timeouts = Timeouts()
    billing: Billing = Billing()
    retention: Retention = Retention()
    reasoning: Reasoning = Reasoning()
    responses: Responses = Responses()
    receipts: Receipts = Receipts()
    attestation: Attestation = Attestation()
    telemetry: Telemetry = Telemetry()
    providers: dict[Name, Provider] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        return Path(self.storage.data_dir)

    @property
    def database_url(self) -> str:
        """The database's URL with the default filled in."""
        return self.storage.url or f"sqlite:///{self.storage.data_dir}/sealgate.db"

    @property
    def issuer(self) -> str:
        """The gateway's address, in whose name receipts are issued."""
        server = self.server
        if server.public_url:
            return server.public_url.rstrip("/")
        host = f"[{server.host}]" if ":" in server.host else server.host
        return f"{'https' if server.tls_cert else 'http'}://{host}" + (f":{server.port}" if server.port else "")

    @property
    def discovers(self) -> bool:
        return not self.providers if self.server.discover is None else self.server.discover
