"""Compact JSON Web Signatures with ES256 (RFC 7515, RFC 7518 section 3.4), and their keys (RFC 7517, RFC 7638).

Only what receipts need, and strict: one way to write each thing, so that no two texts are the same signature of the
same statement. Needs ``cryptography`` and the standard library: this file also ships to people without a server.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from . import canonical

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256's base point (FIPS 186-5, SP 800-186 section 3.2.1.3)."""

_ES256 = ec.ECDSA(hashes.SHA256())
_DETERMINISTIC = ec.ECDSA(Prehashed(hashes.SHA256()), deterministic_signing=True)


class JwsError(ValueError):
    """A text is not a signature of the one form that is taken here, or a key is none."""


class Jws(NamedTuple):
    """A compact signature taken apart. ``signing_input`` is what was signed: header and payload with the dot."""

    header: Mapping[str, Any]
    payload: bytes
    signature: bytes
    signing_input: bytes


def b64(data: bytes) -> str:
    """base64url without padding (RFC 7515, section 2)."""
    return b64url(data).decode()


def b64url(data: bytes) -> bytes:
    """The same as bytes."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_")


def unb64(text: str) -> bytes:
    """The bytes of a base64url text in its only canonical form. Raises `JwsError`."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:  # characters beyond ASCII too
        raise JwsError("a part is not base64url") from None
    if b64(data) != text:
        raise JwsError("a part is not canonical base64url")
    return data


def parse(text: str) -> Jws:
    """Take a compact signature apart, strictly; nothing is verified yet. Raises `JwsError`."""
    parts = text.split(".")
    if len(parts) != 3:
        raise JwsError("a compact JWS has three parts")
    head, payload, signature = map(unb64, parts)
    try:
        header = canonical.decode(head, floats=False)
        if canonical.encode(header) != head:
            raise JwsError("the header is not in canonical form")
    except canonical.CanonicalError as error:
        raise JwsError(f"the header cannot be read: {error}") from None
    if not isinstance(header, dict):
        raise JwsError("the header is not an object")
    return Jws(header, payload, signature, text.rpartition(".")[0].encode("ascii"))


def header(typ: str, kid: str) -> bytes:
    """The canonical bytes of a header with exactly the three members that are taken here."""
    return canonical.encode({"alg": "ES256", "kid": kid, "typ": typ})


def sign(key: ec.EllipticCurvePrivateKey, digest: bytes) -> bytes:
    """64 bytes, r then s, over the SHA-256 of a signing input.

    The nonce is RFC 6979's, and s the lower of the two that are valid.
    """
    der = key.sign(digest, _DETERMINISTIC)
    # Two integers in DER (RFC 3279, section 2.2.3), each behind its type and length: 30 len 02 len r 02 len s.
    middle = 4 + der[3]
    r, s = der[4:middle], int.from_bytes(der[middle + 2 :])
    return r[-32:].rjust(32, b"\0") + min(s, ORDER - s).to_bytes(32)


def verify(key: ec.EllipticCurvePublicKey, signing_input: bytes, signature: bytes) -> bool:
    """Whether the signature is this key's. The higher s is valid too, as everywhere."""
    if len(signature) != 64:
        return False
    der = encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    try:
        key.verify(der, signing_input, _ES256)
    except InvalidSignature:
        return False
    return True


def jwk(key: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """The members that make the key, in the order of their thumbprint."""
    point = key.public_numbers()
    return {"crv": "P-256", "kty": "EC", "x": b64(point.x.to_bytes(32)), "y": b64(point.y.to_bytes(32))}


def public_key(key: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    """The key that a JWK describes. Raises `JwsError`, also for a point that is not on the curve."""
    if key.get("kty") != "EC" or key.get("crv") != "P-256":
        raise JwsError("the key is not of type EC with curve P-256")
    x, y = (unb64(part) if isinstance(part := key.get(name), str) else b"" for name in ("x", "y"))
    if len(x) != 32 or len(y) != 32:
        raise JwsError("the key's coordinates are not 32 bytes long")
    try:
        return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), ec.SECP256R1()).public_key()
    except ValueError:
        raise JwsError("the key is no point of the curve") from None


def thumbprint(key: Mapping[str, Any]) -> str:
    """RFC 7638, SHA-256, base64url: what a key is called."""
    members = {name: key[name] for name in ("crv", "kty", "x", "y")}
    return b64(hashlib.sha256(canonical.encode(members)).digest())
