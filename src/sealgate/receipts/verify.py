"""Checking a receipt: pure, offline, in a fixed order, and plain about what was not checked.

Imports nothing but `sealgate.formats`, relatively: the same files make the small package ``sealgate-verify``, for
people who have no server. What comes in is distrusted; whatever it holds, the outcome is a list of checks and never an
error.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from ..formats import blocks, canonical, choices, jws, leaves, outputs

TYP = "receipt+jwt"
SLACK = 300
"""Seconds by which clocks may differ."""
LEVELS = ("signed", "logged", "witnessed", "attested gateway", "attested upstream")
"""What a receipt's levels L0 to L4 are called; each includes those before it."""
USABLE = ("active", "retired", "next")
"""States of a key whose signatures count. ``next``: a copy of the key set may be older than the receipt."""

TERMINAL = ("message_stop", "response.completed", "response.incomplete", "response.failed")
"""Types of events that end a stream, in dialects without ``[DONE]``."""
DONE = b"data: [DONE]"

Mark = Literal["PASS", "FAIL", "----"]


class Check(NamedTuple):
    """One line of the outcome; ``----`` is what was not checked."""

    name: str
    mark: Mark
    text: str


class Expected(NamedTuple):
    """What the caller knows of the receipt beforehand; None is not compared. ``now`` is unix seconds."""

    issuer: str | None = None
    id: str | None = None
    nonce: str | None = None
    now: float | None = None


class Documents(NamedTuple):
    """What the caller sent and got, as bytes: each exactly as it was, or written anew from an SDK's objects."""

    request: bytes | None = None
    response: bytes | None = None


NOTHING_EXPECTED = Expected()
NO_DOCUMENTS = Documents()


class Verdict(NamedTuple):
    """The outcome. ``claims`` are the receipt's, and None unless they were signed by a key that counts or may count."""

    checks: Sequence[Check]
    claims: Mapping[str, Any] | None
    level: int | None
    """None: the signature does not count, or only with a proof that it was entered ``before``."""
    leaf: bytes | None
    """The receipt's entry in the transparency log."""
    before: Mapping[str, int] | None = None
    """Of a revoked key: the entry that says so, by log. What was entered before it was signed before it was known."""

    @property
    def ok(self) -> bool:
        """Whether the signature counts and nothing that was checked failed."""
        return self.level is not None and all(check.mark != "FAIL" for check in self.checks)


class _WrongError(Exception):
    """A check failed, and with it everything that builds on it."""


def verify(
    text: str,
    key_set: Any,
    expected: Expected = NOTHING_EXPECTED,
    documents: Documents = NO_DOCUMENTS,
) -> Verdict:
    """Check a compact receipt against pinned keys, and against what was sent and got where that is given."""
    checks: list[Check] = []
    try:
        token, claims, before = _signed(text, key_set, checks)
    except _WrongError:
        return Verdict(checks, None, None, None)
    checks += _identity(claims, expected)
    checks += _request(claims, documents.request)
    checks += _response(claims, documents.response)
    checks += _beyond(claims)
    return Verdict(checks, claims, 0 if before is None else None, leaves.receipt(token.signing_input), before)


# Steps 1 to 4: form, key, signature, canonical payload.


def _signed(text: str, key_set: Any, checks: list[Check]) -> tuple[jws.Jws, dict[str, Any], Mapping[str, int] | None]:
    """The receipt taken apart, its claims, and `Verdict.before`. Raises `_WrongError` at the first step that fails."""
    token = _step(checks, "form", lambda: _form(text), "compact JWS of exactly three header members")
    kid = str(token.header["kid"])
    key, before = _step(checks, "key", lambda: _key(kid, key_set), f"{kid} is in the key set and not revoked")
    if before is not None:
        checks[-1] = Check("key", "FAIL", f"{kid} is revoked; what was logged before that counts, with --proof")
    _step(checks, "signature", lambda: _signature(key, token), "ES256 over header and payload")
    claims = _step(checks, "payload", lambda: _claims(token.payload), "canonical JSON with all members of a receipt")
    return token, claims, before


def _step(checks: list[Check], name: str, work: Any, passed: str) -> Any:
    try:
        found = work()
    except ValueError as error:
        checks.append(Check(name, "FAIL", str(error)))
        raise _WrongError from None
    checks.append(Check(name, "PASS", passed))
    return found


def _form(text: str) -> jws.Jws:
    token = jws.parse(text)
    if token.header.keys() != {"alg", "kid", "typ"}:
        raise ValueError("the header has other members than alg, kid and typ")
    if token.header["alg"] != "ES256" or token.header["typ"] != TYP or not isinstance(token.header["kid"], str):
        raise ValueError(f"the header is not that of a receipt: alg ES256, typ {TYP}")
    return token


def _key(kid: str, key_set: Any) -> tuple[Any, Mapping[str, int] | None]:
    """The key, and where it was revoked, if it is and that is known."""
    keys = key_set.get("keys") if isinstance(key_set, dict) else None
    if not isinstance(keys, list):
        raise ValueError("no key set was given to check with")
    found = [each for each in keys if isinstance(each, dict) and each.get("kid") == kid]
    if not found:
        raise ValueError(f"the key {kid} is not in the key set")
    if len(found) > 1:
        raise ValueError(f"the key set has the key {kid} more than once")
    told = found[0]
    status, before = told.get("sealgate_status", "active"), None
    if status == "revoked":
        before = _revoked_at(told.get("sealgate_revoked_at"))
    if status not in USABLE and not before:
        raise ValueError(f"the key {kid} is {status}")
    if told.get("use", "sig") != "sig" or told.get("alg", "ES256") != "ES256":
        raise ValueError(f"the key set has the key {kid} for something else than ES256 signatures")
    key = jws.public_key(told)
    if jws.thumbprint(told) != kid:
        raise ValueError(f"the key set calls a key {kid} that has another thumbprint")
    return key, before


def _revoked_at(told: Any) -> dict[str, int]:
    """The entries that say so, by log; empty where the key set has none."""
    if not isinstance(told, dict):
        return {}
    return {origin: index for origin, index in told.items() if type(index) is int and index >= 0}


def _signature(key: Any, token: jws.Jws) -> None:
    if not jws.verify(key, token.signing_input, token.signature):
        raise ValueError("the signature is not this key's over these bytes")


_COUNT = (int, type(None))
_TEXT = (str, type(None))
_PART = (dict, type(None))
_MEMBERS: Mapping[str, Any] = {
    "schema_version": str, "receipt_type": str, "iss": str, "jti": str, "iat": int, "nonce": _TEXT, "salt": str,
    "requested_route": str, "routed_model": _TEXT, "failover": bool, "prompt_tokens": _COUNT,
    "completion_tokens": _COUNT, "usage_source": _TEXT, "request": dict, "forwarded": _PART, "response": dict,
    "attempts": list, "adjustments": list, "router_attestation": _PART, "inference_attestation": _PART,
    "software": dict, "log": _PART,
}  # fmt: skip
_INNER: Mapping[str, Mapping[str, Any]] = {
    "request": {"endpoint": str, "model": str, "wire": str, "jcs": _TEXT},
    "forwarded": {"wire": str, "rewritten": bool},
    "response": {"status": _COUNT, "outcome": str, "bytes": _COUNT, "wire": _TEXT, "content": _TEXT},
    "log": {"origin": str, "mmd": int},
}


_WORDS: Mapping[str, Sequence[str | None]] = {
    "receipt_type": ("message", "transcription", "embedding"), "usage_source": ("upstream", "estimated", None),
}  # fmt: skip
_OUTCOMES = (
    "complete", "refused", "error", "truncated_upstream", "timeout", "client_disconnected", "client_stalled",
    "shutdown", "unknown",
)  # fmt: skip


def _claims(payload: bytes) -> dict[str, Any]:
    claims = canonical.decode(payload, floats=False)
    if canonical.encode(claims) != payload:
        raise ValueError("the payload is not in canonical form")
    if not isinstance(claims, dict):
        raise ValueError("the payload is not an object")
    if not str(claims.get("schema_version")).startswith("1."):
        raise ValueError(f"receipts of version {claims.get('schema_version')!r} are not known here")
    _require(claims, _MEMBERS, "")
    for name, members in _INNER.items():
        if claims[name] is not None:
            _require(claims[name], members, f"{name}.")
    if len(jws.unb64(claims["salt"])) != 32:
        raise ValueError("the salt is not 32 bytes long")
    _meaningful(claims)
    return claims


def _meaningful(claims: Mapping[str, Any]) -> None:
    """Words of closed lists, and counts that can be: whoever reads them may rely on that."""
    response = claims["response"]
    for name, words in _WORDS.items():
        if claims[name] not in words:
            raise ValueError(f"the member {name} has a value that is not known here")
    if response["outcome"] not in _OUTCOMES:
        raise ValueError("the member response.outcome has a value that is not known here")
    counts = (claims["iat"], claims["prompt_tokens"], claims["completion_tokens"], response["bytes"])
    if any(count is not None and count < 0 for count in counts):
        raise ValueError("a count is below zero")


def _require(given: Mapping[str, Any], members: Mapping[str, Any], at: str) -> None:
    for name, kind in members.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if name not in given or type(given[name]) not in kinds:
            raise ValueError(f"the member {at}{name} is missing or of another type")


# Step 5: whose it is, and when it was made.


def _identity(claims: Mapping[str, Any], expected: Expected) -> list[Check]:
    found = [
        _compared("issuer", claims["iss"], expected.issuer),
        _compared("id", claims["jti"], expected.id),
        _compared("nonce", claims["nonce"], expected.nonce),
    ]
    if expected.now is not None and claims["iat"] > expected.now + SLACK:
        found.append(Check("time", "FAIL", "it was issued in the future"))
    return found


def _compared(name: str, claimed: str | None, expected: str | None) -> Check:
    if expected is None:
        return Check(name, "----", f"{claimed or 'none'}; not compared, nothing was given to compare it with")
    if claimed == expected:
        return Check(name, "PASS", f"{claimed}")
    return Check(name, "FAIL", f"the receipt says {claimed or 'none'}, expected was {expected}")


# Step 6: the digests.


def digest(claims: Mapping[str, Any], label: str, data: bytes) -> str:
    """A digest as the receipt has it: SHA-256 over its salt, the label, a zero byte and the bytes."""
    salt = jws.unb64(claims["salt"])
    return jws.b64(hashlib.sha256(salt + label.encode("ascii") + b"\0" + data).digest())


def _request(claims: Mapping[str, Any], body: bytes | None) -> list[Check]:
    if body is None:
        return [Check("request", "----", "not checked, no request was given")]
    told = claims["request"]
    if digest(claims, "request.wire", body) == told["wire"]:
        return [Check("request", "PASS", "these bytes were received")]
    try:
        same = digest(claims, "request.jcs", canonical.encode(canonical.decode(body))) == told["jcs"]
    except ValueError as error:
        return [Check("request", "FAIL", f"other bytes were received, and these are no JSON document: {error}")]
    if same:
        return [Check("request", "PASS", "this document was received (request.jcs), written in other bytes")]
    return [Check("request", "FAIL", "another request was received")]


def _response(claims: Mapping[str, Any], body: bytes | None) -> list[Check]:
    told, outcome = claims["response"], claims["response"]["outcome"]
    if body is None:
        return [Check("response", "----", f"not checked, no response was given; the outcome was {outcome}")]
    if told["wire"] is None:
        return [Check("response", "----", f"not checked, the signer does not know what was sent; it ended {outcome}")]
    found: list[Check] = []
    documents = _documents(body)
    named = [each["tresor"]["receipt_id"] for each in documents or () if _names_receipt(each)]
    if any(each != claims["jti"] for each in named):
        found.append(Check("response", "FAIL", f"it names another receipt: {named[-1]}"))
    before, end = _before_end(body)
    if end and not outputs.agree(documents or ()):
        return [*found, Check("response", "FAIL", "its last event says something else than the events before it")]
    if len(before) == told["bytes"] and digest(claims, "response.wire", before) == told["wire"]:
        if end and documents and not _agrees(documents):
            return [*found, Check("response", "FAIL", "the event that ended it says something else than was sent")]
        return [*found, _same_bytes(before, end, outcome)]
    read = _FORMS.get(claims["request"]["endpoint"].rpartition("/v1")[2])
    if read is None:
        return [*found, Check("response", "FAIL", "other bytes were sent")]
    try:
        said = [canonical.encode(each) for each in read(documents or ())] if documents is not None else []
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, struct.error):
        said = []
    if not said:
        return [*found, Check("response", "FAIL", "other bytes were sent, and these are no answer of this endpoint")]
    if any(digest(claims, "response.content", each) == told["content"] for each in said):
        text = f"this answer was sent (response.content), written in other bytes; the outcome was {outcome}"
        return [*found, Check("response", "PASS", text)]
    return [*found, Check("response", "FAIL", "another answer was sent")]


def _agrees(documents: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last event, where it repeats the answer, repeats what the events before it have said."""
    try:
        return documents[-1].get("type") not in TERMINAL or outputs.agree(documents)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return False


def _same_bytes(before: bytes, end: bytes, outcome: str) -> Check:
    """The bytes agree; what ended them, unless it says nothing but that, is in no digest."""
    if not end or end.strip() == DONE or _documents(end) == [{"type": "message_stop"}]:
        return Check("response", "PASS", f"these bytes were sent; the outcome was {outcome}")
    if before:
        text = f"these bytes were sent before the event that ended them, which was not checked; it ended {outcome}"
        return Check("response", "PASS", text)
    return Check("response", "----", f"not checked, the text of an error is in no digest; the outcome was {outcome}")


def said_in(documents: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What a whole completion, or a stream's chunks, say: the form that ``response.content`` is a digest of."""
    if len(documents) == 1 and documents[0].get("object") != "chat.completion.chunk":
        return choices.of_completion(documents[0]["choices"])
    return choices.of_chunks(documents)


def blocks_in(documents: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What a whole message of Anthropic's dialect, or its events, say."""
    if len(documents) == 1 and documents[0].get("type") == "message":
        return blocks.of_message(documents[0]["content"])
    return blocks.of_events(documents)


def items_in(documents: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What a whole response, or a stream's events, say."""
    if len(documents) == 1 and documents[0].get("object") == "response":
        return outputs.of_output(documents[0]["output"])
    if not outputs.agree(documents):
        raise ValueError("the last event says something else than the events before it")
    return outputs.of_events(documents)


def vectors_in(documents: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """What an embeddings answer says, as it is, and as it was before an SDK unpacked it."""
    found = choices.of_vectors(documents[0]["data"])
    return [found, choices.packed(found)]


Read = Callable[[Sequence[Mapping[str, Any]]], list[list[Any]]]
_FORMS: Mapping[str, Read] = {
    "/chat/completions": lambda documents: [said_in(documents)],
    "/messages": lambda documents: [blocks_in(documents)],
    "/responses": lambda documents: [items_in(documents)],
    "/embeddings": vectors_in,
    "/audio/transcriptions": lambda documents: [choices.of_transcript(documents)],
    "/audio/translations": lambda documents: [choices.of_transcript(documents)],
}
"""How what was said is read, by the endpoint under its mount: one form, or all that it may have had."""


def _documents(body: bytes) -> list[dict[str, Any]] | None:
    """The JSON objects of an answer: the one it is, or those that its events carry.

    None where one has the same name twice or is no JSON at all: then it reads differently to different people.
    """
    pieces = [body] if not _is_stream(body) else [each for each in _events(body) if each != b"[DONE]"]
    try:
        found = [canonical.decode(piece) for piece in pieces]
    except canonical.CanonicalError:
        return None
    return [each for each in found if isinstance(each, dict)]


def _is_stream(body: bytes) -> bool:
    return body.startswith((b"data:", b"event:", b":"))


def _events(body: bytes) -> list[bytes]:
    """What the events of a stream carry."""
    lines = body.replace(b"\r\n", b"\n").split(b"\n")
    return [line[5:].strip() for line in lines if line.startswith(b"data:")]


def _before_end(body: bytes) -> tuple[bytes, bytes]:
    """The bytes before the terminal event, and the event. An error, as an event or as the whole answer, is one."""
    if not _is_stream(body):
        whole: Sequence[Mapping[str, Any]] = _documents(body) or ({},)
        return (b"", body) if isinstance(whole[0].get("error"), dict) and "choices" not in whole[0] else (body, b"")
    start = body.rstrip(b"\n").rfind(b"\n\n") + 2 if b"\n\n" in body.rstrip(b"\n") else 0
    last = _documents(body[start:]) or ()
    ends = body[start:].strip() == DONE or (len(last) == 1 and _is_end(last[0]))
    return (body[:start], body[start:]) if ends else (body, b"")


def _is_end(event: Mapping[str, Any]) -> bool:
    return "choices" not in event and (isinstance(event.get("error"), dict) or event.get("type") in TERMINAL)


def _names_receipt(document: Mapping[str, Any]) -> bool:
    tresor = document.get("tresor")
    return isinstance(tresor, dict) and "receipt_id" in tresor


# Steps 7 to 9: what a signature alone cannot give.


def _beyond(claims: Mapping[str, Any]) -> list[Check]:
    log = claims["log"]
    logged = "not logged: the receipt names no transparency log"
    if log is not None:
        logged = f"not checked, no proof was given; {log['origin']} promised an entry within {log['mmd']} s"
    attested = [
        Check(title, "----", _evidence(claims[name]))
        for title, name in (("gateway", "router_attestation"), ("upstream", "inference_attestation"))
    ]
    return [Check("log", "----", logged), Check("witnesses", "----", "unwitnessed"), *attested]


def _evidence(named: Mapping[str, Any] | None) -> str:
    """Step 9. Nothing here reads evidence, so it never passes."""
    if named is None:
        return "not attested"
    said = [str(named[name]) for name in ("result", "source") if named.get(name) is not None]
    signer = f"; the signer says of it: {', '.join(said)}" if said else ""
    return f"not checked, nothing here reads evidence of type {named.get('type')!r}{signer}"
