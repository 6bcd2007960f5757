"""What keys look like and what is kept of them. Pure: no database, no clock.

An own key is ``sk-sealgate-`` and 43 base64url characters of 32 random bytes; the first 12 of those are its *look-up
id*, which is stored and shown, so 184 secret bits remain. An imported key may look like anything; its look-up id is
the first 16 hex digits of its SHA-256. Of either, the database keeps HMAC-SHA-256(pepper, SHA-256(key)): without the
pepper, which is not in the database, a stolen copy of it proves no guess.

A source that salted by a prefix kept SHA-256(prefix + key). Such hashes can be imported as they are, because the
gateway can compute the same from the key that a caller sends, as long as it knows the prefix: a `Candidate` is made
for each registered prefix. A hash is all that can be checked of it: how many bits the key behind it has cannot.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sealgate.auth.credential import MAX_KEY_BYTES
from sealgate.errors import Problem

OWN_PREFIX = "sk-sealgate-"
LOOKUP_CHARACTERS = 12
MIN_BITS = 128
SHOWN_CHARACTERS = 14

_OWN = re.compile(rb"sk-sealgate-[A-Za-z0-9_-]{43}")
_HEX_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_SLOW_HASH = re.compile(r"\$(2[abxy]?|argon2(?:id|i|d)|scrypt|pbkdf2[^$]*|5|6|y)\$")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_LABELS = re.compile(r"([a-z]{2,12}[-_])*")
_MIXED_CASE = re.compile(r"[a-z].*[A-Z]|[A-Z].*[a-z]")
_ALPHABETS = [
    (re.compile(pattern), size)
    for pattern, size in (
        (r"[0-9]*", 10),
        (r"[0-9a-f]*|[0-9A-F]*", 16),
        (r"[a-z]*|[A-Z]*", 26),
        (r"[0-9a-z]*|[0-9A-Z]*", 36),
        (r"[0-9A-Za-z]*", 62),
        (r"[0-9A-Za-z_-]*", 64),
        (r".*", 94),
    )
]
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SALTED = "+"
"""Before the look-up ids of salted hashes: a caller who sends the prefix and the key in one does not send the key."""
_EMPTY = hashlib.sha256(b"").hexdigest()


class Candidate(NamedTuple):
    """One way a credential may stand in the database: its look-up id, and the hash that goes into the digest."""

    lookup: str
    sha256: bytes


class NewKey(NamedTuple):
    """A key just made or taken over; only the last three are stored."""

    key: str
    lookup: str
    sha256: bytes
    key_prefix: str


def own_key(random_bytes: bytes) -> NewKey:
    """The own key made of 32 random bytes."""
    body = base64.urlsafe_b64encode(random_bytes).rstrip(b"=").decode()
    key, lookup = OWN_PREFIX + body, body[:LOOKUP_CHARACTERS]
    return NewKey(key, lookup, hashlib.sha256(key.encode()).digest(), OWN_PREFIX + lookup)


def plain_key(key: str) -> NewKey:
    """A key of another system, given in plain. Raises `Problem` where it is unusable or too easy to guess."""
    if not _PRINTABLE.fullmatch(key) or len(key) > MAX_KEY_BYTES:
        raise _invalid(f"A key is 1 to {MAX_KEY_BYTES} printable ASCII characters without spaces, on one line.")
    refuse_slow_hash(key)
    if strength(key) < MIN_BITS:
        raise _invalid(
            f"The key is too short or too regular: keys need at least {MIN_BITS} bits, "
            "for example 32 random hex digits."
        )
    digest = hashlib.sha256(key.encode()).digest()
    return NewKey(key, _imported_lookup(digest), digest, _shown(key))


def hashed_key(hex_sha256: str, *, salted: bool = False) -> NewKey:
    """A key of another system of which only the hex SHA-256 is known; of a prefix and the key, if it was salted."""
    text = hex_sha256.strip()
    refuse_slow_hash(text)
    if not _HEX_SHA256.fullmatch(text):
        raise _invalid("A SHA-256 is 64 hex digits.")
    if text.lower() == _EMPTY:
        raise _invalid("This is the SHA-256 of nothing at all, not of a key.")
    digest = bytes.fromhex(text)
    lookup = _imported_lookup(digest)
    return NewKey("", _SALTED + lookup if salted else lookup, digest, f"sha256:{lookup[:12]}")


def refuse_slow_hash(text: str) -> None:
    """Raise for the hashes of passwords, which would have to be computed anew, slowly, on each request."""
    if found := _SLOW_HASH.match(text):
        name = "bcrypt" if found[1].startswith("2") else f"'{found[1]}'"
        raise _invalid(
            f"This is a {name} hash: keys known only by a slow hash cannot be imported. "
            "Import the plain key or its SHA-256, or make a new key."
        )


def candidates(credential: bytes, salts: Iterable[bytes]) -> list[Candidate]:
    """All ways in which a credential may stand in the database; the first is the one for own keys.

    The list is as long for a credential of any shape, so that the work does not tell the shapes apart: what is no own
    key gets a look-up id that no own key can have.
    """
    digest = hashlib.sha256(credential).digest()
    own = credential[len(OWN_PREFIX) :][:LOOKUP_CHARACTERS].decode() if _OWN.fullmatch(credential) else "-"
    return [Candidate(own, digest), *_imported(credential, digest, salts)]


def _imported(credential: bytes, digest: bytes, salts: Iterable[bytes]) -> Iterator[Candidate]:
    yield Candidate(_imported_lookup(digest), digest)
    for salt in salts:
        salted = hashlib.sha256(salt + credential).digest()
        yield Candidate(_SALTED + _imported_lookup(salted), salted)


def digest_of(pepper: bytes, sha256: bytes) -> bytes:
    """What the database keeps of a key: 32 bytes."""
    return hmac.digest(pepper, sha256, "sha256")


def strength(key: str) -> float:
    """An upper estimate of a key's random bits: the length of each part times the bits of the alphabet it is in.

    Leading lower-case words such as ``sk-osiris-`` count nothing, a UUID its 122 random bits, and a text of fewer
    than 8 different characters nothing. It finds keys that are too short; it cannot find those that were badly drawn.
    """
    drawn = _LABELS.sub("", key, count=1)
    if _UUID.search(drawn):
        return 122.0
    if len(set(drawn)) < 8:
        return 0.0
    return sum(len(part) * math.log2(_alphabet(part)) for part in _parts(drawn))


def _parts(drawn: str) -> Iterator[str]:
    """The runs written in one alphabet; only in base64url are ``-`` and ``_`` characters like any other."""
    for part in re.split(r"[.:]", drawn):
        if _MIXED_CASE.search(part):
            yield part
        else:
            yield from re.split(r"[-_]", part)


def _alphabet(part: str) -> int:
    """How many characters the smallest usual alphabet has that holds all of these."""
    return next(size for pattern, size in _ALPHABETS if pattern.fullmatch(part))


def _shown(key: str) -> str:
    """The head of an imported key by which its owner knows it again, leaving at least 112 bits unsaid."""
    length = SHOWN_CHARACTERS
    while length and strength(key[length:]) < MIN_BITS - 16:
        length -= 1
    return key[:length]


def _imported_lookup(digest: bytes) -> str:
    return digest[:8].hex()


def _invalid(message: str) -> Problem:
    return Problem("invalid_parameter", message, param="key")
