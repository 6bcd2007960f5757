"""Content that is kept for a while: encrypted, and found again only by who has everything it was kept under.

The keys are derived from the pepper, which is outside the database (HKDF, RFC 5869). Each piece of content is encrypted
by AES-256-GCM under a key of its own, derived with a random salt, so no nonce is ever used twice however much is kept.
"""

from __future__ import annotations

import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY = 32
NONCE = 12
SALT = 16


class Seal:
    """Seals for one ``purpose``; what is sealed for another is foreign to it."""

    def __init__(self, pepper: bytes, purpose: str) -> None:
        derived = hkdf(pepper, b"sealgate seal " + purpose.encode(), 2 * KEY)
        self._naming, self._sealing = derived[:KEY], derived[KEY:]

    def name(self, context: bytes) -> bytes:
        """32 bytes under which content of this context is kept; they tell nobody without the pepper what it is."""
        return hmac.digest(self._naming, context, "sha256")

    def close(self, content: bytes, context: bytes) -> bytes:
        """The content, encrypted and bound to its context."""
        salt = secrets.token_bytes(SALT)
        cipher, nonce = self._cipher(salt)
        return salt + cipher.encrypt(nonce, content, context)

    def open(self, sealed: bytes, context: bytes) -> bytes | None:
        """The content; None where it was sealed under another context, by another pepper, or changed since."""
        cipher, nonce = self._cipher(sealed[:SALT])
        try:
            return cipher.decrypt(nonce, sealed[SALT:], context)
        except InvalidTag:
            return None

    def _cipher(self, salt: bytes) -> tuple[AESGCM, bytes]:
        found = hmac.digest(self._sealing, salt, "sha512")
        return AESGCM(found[:KEY]), found[KEY : KEY + NONCE]


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with SHA-256 and no salt. The library's own takes 50 ms to load, which every start would wait for."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    found = block = b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(extracted, block + info + bytes([number]), "sha256")
        found += block
    return found[:length]


def context(*parts: str) -> bytes:
    """Texts as one, so that no two lists of them come to the same."""
    encoded = (part.encode("utf-8", "surrogatepass") for part in parts)
    return b"".join(len(each).to_bytes(4) + each for each in encoded)
