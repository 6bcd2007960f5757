"""Entries of the transparency log, as bytes. Standard library only: also ships to people without a server.

An entry commits to what was signed, never to the signature: to each ES256 signature there is a second valid one, and
whoever presents that must not be able to say that the receipt is not in the log.
"""

from __future__ import annotations

import binascii
import hashlib

LONGEST = 65_535
"""Bytes; the length of an entry is written in 16 bits (C2SP tlog-tiles)."""


_TO_URL = bytes.maketrans(b"+/", b"-_")


def receipt(signing_input: bytes) -> bytes:
    """The entry of a receipt; it says nothing of whose it is, nor when or on what."""
    digest = binascii.b2a_base64(hashlib.sha256(signing_input).digest(), newline=False).rstrip(b"=").translate(_TO_URL)
    return b'{"rc":"%b","t":"receipt","v":1}' % digest


def of_jws(compact: str) -> bytes:
    """The entry of a receipt as it is stored."""
    return receipt(compact[: compact.rindex(".")].encode("ascii"))


def hash_of(entry: bytes) -> bytes:
    """The entry's hash in the tree (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\0" + entry).digest()
