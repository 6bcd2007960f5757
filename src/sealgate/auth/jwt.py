"""Tokens as bytes: taken apart, and their signatures checked. The one door to the library that does the cryptography.

Pure: no clock, no network. What a token may say of itself is the choice among the algorithms and keys that its issuer
has anyway; keys and addresses that it carries (``jwk``, ``jku``, ``x5c``, ``x5u``) are never looked at. What the claims
mean is `sealgate.auth.claims`.

Sources: RFC 7515, RFC 7517, RFC 7519 and RFC 8725.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from joserfc import jwk, jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel

from sealgate.auth.claims import Refused
from sealgate.config_tables import Algorithm

Key = jwk.RSAKey | jwk.ECKey | jwk.OKPKey

LONGEST_KID = 1024
LEAST_RSA_BITS = 2048
_KINDS: Mapping[str, type[Key]] = {"RSA": jwk.RSAKey, "EC": jwk.ECKey, "OKP": jwk.OKPKey}
_KIND_OF = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES = {
    "ES256": ("P-256",),
    "ES384": ("P-384",),
    "ES512": ("P-521",),
    "Ed25519": ("Ed25519",),
    "EdDSA": ("Ed25519", "Ed448"),
}


class _Registry(jws.JWSRegistry):
    """The library's checks with room for what real issuers send; the door has bounded the whole."""

    max_header_length = 16 * 1024
    max_signature_length = 4 * 1024

    def get_alg(self, name: str) -> JWSAlgModel:
        """The one algorithm that was asked for, and without the library's opinion on its age."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


class Token(NamedTuple):
    """What a token says of itself, before anything of it is believed."""

    issuer: str
    algorithm: str
    kid: str | None
    typ: str | None


class KeySet(NamedTuple):
    """The keys of an issuer that may sign tokens, by their ``kid``; those without one under None."""

    by_kid: Mapping[str | None, Sequence[Key]]
    prints: frozenset[tuple[str | None, str]]
    """Each key's ``kid`` and thumbprint (RFC 7638)."""

    def find(self, kid: str | None) -> Sequence[Key]:
        """The keys that a token with this ``kid`` may be signed by. Without one: the only key there is, if it is so."""
        if kid is not None:
            return self.by_kid.get(kid, ())
        found = [key for keys in self.by_kid.values() for key in keys]
        return found if len(found) == 1 else ()  # OpenID Connect Core, section 10.1


NO_KEYS = KeySet({}, frozenset())


def look_into(token: bytes) -> Token:
    """Read a token's own words. Raises `Refused` for what is no signed token, or asks for what is not understood."""
    header, payload, _ = _parts(token)
    said, claims = _object(header), _object(payload)
    issuer, algorithm, kid, typ = claims.get("iss"), said.get("alg"), said.get("kid"), said.get("typ")
    if "crit" in said or "b64" in said:
        raise Refused("crit")  # RFC 7515, 4.1.11: no extension is understood here
    if not isinstance(algorithm, str):
        raise Refused("algorithm")
    if not (kid is None or (isinstance(kid, str) and len(kid) <= LONGEST_KID)) or not isinstance(typ, str | None):
        raise Refused("malformed")
    if not isinstance(issuer, str):
        raise Refused("issuer")
    return Token(issuer, algorithm, kid, typ)


def verified(token: bytes, keys: Iterable[Key], algorithm: Algorithm | str) -> dict[str, Any]:
    """The claims of a token that one of these keys signed with this algorithm. Raises `Refused`."""
    registry = _Registry(algorithms=[algorithm], strict_check_header=False)
    for key in keys:
        if not _fits(key, algorithm):
            continue
        try:
            signed = jws.deserialize_compact(token, key, registry=registry)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        return _object(signed.payload or b"")
    raise Refused("signature")


def read_keys(document: bytes, algorithms: Iterable[str]) -> KeySet:
    """The keys of a JWK Set (RFC 7517, section 5) that can check one of these algorithms; others are passed over.

    Never among them: shared secrets, keys for encryption, private keys, and RSA keys of fewer than 2048 bits. Raises
    `ValueError` where it is no JWK Set, or holds no key that can be used.
    """
    try:
        listed = msgspec.json.decode(document, type=dict[str, Any]).get("keys")
    except msgspec.DecodeError as error:
        raise ValueError("what came is not a JSON object") from error
    if not isinstance(listed, list):
        raise ValueError("what came is not a set of keys")
    wanted = tuple(algorithms)
    by_kid: dict[str | None, list[Key]] = {}
    prints = set()
    for each in listed:
        if (key := _read_key(each, wanted)) is not None:
            by_kid.setdefault(key.kid, []).append(key)
            prints.add((key.kid, key.thumbprint()))
    if not by_kid:
        raise ValueError(f"none of its keys can check {' or '.join(wanted)}")
    return KeySet(by_kid, frozenset(prints))


def _read_key(said: Any, algorithms: Sequence[str]) -> Key | None:
    if not isinstance(said, dict) or "d" in said or not isinstance(said.get("kid"), str | None):
        return None
    kind = _KINDS.get(str(said.get("kty")))
    if kind is None or said.get("use", "sig") != "sig":
        return None
    # Only what makes the key: certificates and the like are not used, so they need not be sound either.
    names = ("kty", "kid", "alg", "n", "e", "crv", "x", "y")
    try:
        if "verify" not in (said.get("key_ops") or ["verify"]):
            return None
        key: Key = kind.import_key({name: said[name] for name in names if name in said})
        return key if any(_fits(key, algorithm) for algorithm in algorithms) else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def _fits(key: Key, algorithm: str) -> bool:
    """Whether a key may be used with an algorithm: of its kind and curve, long enough, and made for no other."""
    if key.key_type != _KIND_OF.get(algorithm[:2]) or key.get("alg", algorithm) != algorithm:
        return False
    if isinstance(key, jwk.RSAKey):
        return key.public_key.key_size >= LEAST_RSA_BITS
    return key.curve_name in _CURVES[algorithm]


def _parts(token: bytes) -> list[bytes]:
    parts = token.split(b".")
    if len(parts) != 3:
        raise Refused("malformed")
    try:
        return [base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True) for part in parts]
    except (binascii.Error, ValueError):
        raise Refused("malformed") from None


def _object(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused("malformed") from None
