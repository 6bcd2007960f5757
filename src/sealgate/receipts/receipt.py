"""What a receipt says: its payload's members, its salted digests, its signature. Pure.

A receipt is a compact JWS (ES256) whose payload is JSON in canonical form (RFC 8785). It holds no content, only
digests: ``base64url(SHA-256(salt ‖ label ‖ 0x00 ‖ bytes))``. The salt is the receipt's own; without it the digest of a
short text could be found by trying texts.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from sealgate.formats import canonical, jws
from sealgate.formats.canonical import LARGEST

SCHEMA = "1.0.0"
TYP = "receipt+jwt"
SALT_BYTES = 32

_SMALL = 16 * 1024
"""Bytes that are copied in less time than a second call takes."""

Kind = Literal["message", "transcription", "embedding"]
Json = dict[str, Any]

_encode = msgspec.json.Encoder(order="deterministic").encode


class Outcome(enum.StrEnum):
    """How a request ended, in the words of receipts. Closed: whoever checks receipts may count on it."""

    COMPLETE = "complete"
    """The whole answer was had from a provider; a model that declines to answer has answered."""
    REFUSED = "refused"
    """The plan or a provider refused the request."""
    ERROR = "error"
    """No route gave any content, or the gateway itself failed."""
    TRUNCATED_UPSTREAM = "truncated_upstream"
    """The answer broke off after its first content."""
    TIMEOUT = "timeout"
    CLIENT_DISCONNECTED = "client_disconnected"
    CLIENT_STALLED = "client_stalled"
    SHUTDOWN = "shutdown"
    UNKNOWN = "unknown"
    """A crash came between the provider's answer and its record."""


class LogTerms(NamedTuple):
    """What a receipt promises of the transparency log: the entry will be in a published checkpoint in ``mmd`` s."""

    origin: str
    mmd: int


class Software(NamedTuple):
    """What ran: its version, a digest of its installed files, one of its routing policy without secrets."""

    version: str
    build: str | None
    config: str | None


class Told(Struct, gc=False):
    """What the house knows of a request that has ended; nothing in it is content but ``choices``."""

    outcome: Outcome
    status: int | None
    """The HTTP status that was sent; None where nothing was."""
    requested_route: str
    attempts: Sequence[Mapping[str, Any]]
    """``route``, ``outcome`` and ``status`` of each, in order."""
    adjustments: Sequence[Mapping[str, Any]] = ()
    routed_model: str | None = None
    failover: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    usage_source: Literal["upstream", "estimated"] | None = None
    choices: Callable[[], Sequence[Json] | bytes] | None = None
    """Gives the answer in the form of `sealgate.formats.choices`, or the canonical bytes of that; None where there was
    none."""
    inference_attestation: Mapping[str, str | None] | None = None
    """What the provider that answered showed of itself: ``type``, ``result``, ``source``, ``evidence_sha256``."""


class Digests(Struct, gc=False):
    """The salted digests of one request, base64url, and the size of what went out in bytes."""

    request_wire: str
    request_jcs: str | None
    forwarded: str | None = None
    rewritten: bool = False
    response_wire: str | None = None
    """None, as the size, where nobody knows what went out."""
    response_bytes: int | None = None
    response_content: str | None = None


class About(Struct, array_like=True, gc=False):
    """What is fixed before the answer's head goes out."""

    id: str
    """A UUID in its dashed form."""
    kind: Kind
    issuer: str
    nonce: str | None
    salt: bytes
    endpoint: str
    model: str
    software: Software
    log: LogTerms | None
    router_attestation: Mapping[str, str] | None = None
    """``type``, ``evidence_sha256`` and, where the evidence is bound to one, ``statement_sha256``."""


def begun(salt: bytes, label: str) -> Any:
    """A SHA-256 that has taken in what comes before the bytes; ``update`` it with them."""
    return sha256(b"%b%b\0" % (salt, label.encode()))


def digest(salt: bytes, label: str, data: bytes | memoryview) -> str:
    """One salted digest."""
    if len(data) < _SMALL:
        return jws.b64(sha256(b"".join((salt, label.encode(), b"\0", data))).digest())
    hashed = begun(salt, label)
    hashed.update(data)
    return jws.b64(hashed.digest())


class Wire(Struct, gc=False):
    """A salted digest of bytes on their way, and how many they are.

    A first piece that is not large waits, for mostly it is the only one: a digest costs least beside others.
    """

    salt: bytes
    label: str
    size: int = 0
    _first: bytes = b""
    _hashed: Any = None

    def add(self, data: bytes) -> None:
        if self._hashed is not None:
            self._hashed.update(data)
        elif not self.size and len(data) < _SMALL:
            self._first = data
        else:
            self._hashed = begun(self.salt, self.label)
            self._hashed.update(self._first)
            self._hashed.update(data)
            self._first = b""
        self.size += len(data)

    def digest(self) -> str:
        return digest(self.salt, self.label, self._first) if self._hashed is None else jws.b64(self._hashed.digest())


def canonical_or_none(value: Any) -> bytes | None:
    """The canonical bytes of a parsed document, or None where it has none: an integer beyond 2^53."""
    if _is_plain(value):
        return _encode(value)
    try:
        return canonical.encode(value)
    except canonical.CanonicalError:
        return None


def _is_plain(value: Any) -> bool:
    """Whether the fast encoder writes this canonically: ASCII names, and numbers that everybody writes alike."""
    waiting = [value]
    for each in waiting:
        kind = type(each)
        if kind is str or each is None or kind is bool:
            continue
        if kind is dict:
            if not "".join(each).isascii():
                return False
            waiting += each.values()
        elif kind is list:
            waiting += each
        elif not (-LARGEST <= each <= LARGEST if kind is int else _is_plain_fraction(each)):
            return False
    return True


def _is_plain_fraction(value: Any) -> bool:
    return type(value) is float and 1e-4 < abs(value) < 1e15 and not value.is_integer()


class _Request(Struct, gc=False):
    endpoint: str
    jcs: str | None
    model: str
    wire: str


class _Forwarded(Struct, gc=False):
    rewritten: bool
    wire: str


class _Response(Struct, gc=False):
    bytes: int | None
    content: str | None
    outcome: Outcome
    status: int | None
    wire: str | None


class _Payload(Struct, gc=False):
    """The members of a receipt in canonical order, which is that of their names; so are those of its parts."""

    adjustments: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]
    completion_tokens: int | None
    failover: bool
    forwarded: _Forwarded | None
    iat: int
    inference_attestation: Mapping[str, str | None] | None
    iss: str
    jti: str
    log: msgspec.Raw
    nonce: str | None
    prompt_tokens: int | None
    receipt_type: str
    request: _Request
    requested_route: str
    response: _Response
    routed_model: str | None
    router_attestation: Mapping[str, str] | None
    salt: str
    schema_version: str
    software: msgspec.Raw
    usage_source: str | None


@lru_cache(16)
def _standing(value: LogTerms | Software | None) -> msgspec.Raw:
    """A part that is the same in one receipt after the other, as it is written."""
    return msgspec.Raw(_encode(value and value._asdict()))


def payload(about: About, told: Told, digests: Digests, now: int) -> bytes:
    """The canonical bytes of a receipt's payload; ``now`` is unix seconds."""
    forwarded = digests.forwarded
    return _encode(
        _Payload(
            told.adjustments,
            told.attempts,
            told.completion_tokens,
            told.failover,
            None if forwarded is None else _Forwarded(digests.rewritten, forwarded),
            now,
            told.inference_attestation,
            about.issuer,
            about.id,
            _standing(about.log),
            about.nonce,
            told.prompt_tokens,
            about.kind,
            _Request(about.endpoint, digests.request_jcs, about.model, digests.request_wire),
            told.requested_route,
            _Response(
                digests.response_bytes, digests.response_content, told.outcome, told.status, digests.response_wire
            ),
            told.routed_model,
            about.router_attestation,
            jws.b64(about.salt),
            SCHEMA,
            _standing(about.software),
            told.usage_source,
        )
    )


class Unsigned(Struct, gc=False):
    """A receipt that has everything but its signature."""

    key: Any
    signing_input: bytes
    digest: bytes

    def sign(self) -> str:
        """The compact JWS."""
        return b".".join((self.signing_input, jws.b64url(jws.sign(self.key, self.digest)))).decode()


class Signer(NamedTuple):
    """A signing key, ready: ``head`` is the encoded header with the dot behind it."""

    kid: str
    key: Any
    head: bytes

    def takes(self, content: bytes) -> Unsigned:
        """A payload, up to the step that is this key's alone."""
        signing_input = self.head + jws.b64url(content)
        return Unsigned(self.key, signing_input, sha256(signing_input).digest())

    def sign(self, content: bytes) -> str:
        """The compact JWS over a payload."""
        return self.takes(content).sign()


def signer(kid: str, key: Any) -> Signer:
    """``key`` is the private key of P-256 whose thumbprint ``kid`` is."""
    return Signer(kid, key, jws.b64(jws.header(TYP, kid)).encode("ascii") + b".")
