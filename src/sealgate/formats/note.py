"""Signed notes, checkpoints, cosignatures and proofs as the C2SP specifications write them.

https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint, https://c2sp.org/tlog-cosignature and
https://c2sp.org/tlog-proof, all at version 1. Pure; needs ``cryptography`` and the standard library, and ships to
people without a server too. Base64 is standard and canonical, numbers are decimal without leading zeros.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LOG, WITNESS = 0x01, 0x04
"""Kinds of keys: Ed25519 over a note's text, and Ed25519 over a cosignature's message."""
PROOF = "c2sp.org/tlog-proof@v1"
LARGEST = 1 << 20
"""Bytes of a note or a proof that are looked at."""

_NAME = re.compile(r"[^\s+]{1,255}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_MOST_SIGNATURES = 100


class NoteError(ValueError):
    """A text is not what it should be; the message says in which way."""


class Key(NamedTuple):
    """A public key that signs notes: its name, its kind (`LOG` or `WITNESS`), and the 32 bytes of it."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        return key_id(self.name, self.kind, self.public)

    def __str__(self) -> str:
        """The key as a vkey, the one line in which such keys are handed around."""
        return f"{self.name}+{self.id.hex()}+{b64(bytes([self.kind]) + self.public)}"


class Signature(NamedTuple):
    """A line of signature: whose it says it is, and the bytes behind the key's id."""

    name: str
    id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"\u2014 {self.name} {b64(self.id + self.signature)}\n"


class Note(NamedTuple):
    """A text, with its last newline, and the signatures on it."""

    text: str
    signatures: Sequence[Signature]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"


class Checkpoint(NamedTuple):
    """What a log says of itself at one moment."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"


class Proof(NamedTuple):
    """That an entry is in a log: its index there, the hashes from its sibling upwards, the checkpoint they lead to."""

    position: int
    hashes: Sequence[bytes]
    note: Note

    def __str__(self) -> str:
        return f"{PROOF}\nindex {self.position}\n{lines(self.hashes)}\n{self.note}"


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """Four bytes by which a signature names its key."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:4]


def key(text: str) -> Key:
    """The key that a vkey describes. Raises `NoteError`, also for kinds of keys that are not known here."""
    name, _, rest = text.strip().partition("+")
    told, _, material = rest.partition("+")
    if not _NAME.fullmatch(name):
        raise NoteError("a vkey is NAME+ID+KEY")
    data = unb64(material, "the vkey's key")
    if len(data) != 33 or data[0] not in (LOG, WITNESS):
        raise NoteError(f"the vkey of {name} is of a kind that is not known here (Ed25519 is)")
    found = Key(name, data[0], data[1:])
    if told != found.id.hex():
        raise NoteError(f"the vkey of {name} has the id {told}, but its key's is {found.id.hex()}")
    return found


def public(name: str, kind: int, private: Ed25519PrivateKey) -> Key:
    """The public half of a key under a name. Raises `NoteError` for a name that notes cannot have."""
    if not _NAME.fullmatch(name):
        raise NoteError(f"{name!r} cannot be a key's name: it has no spaces and no plus sign")
    return Key(name, kind, private.public_key().public_bytes_raw())


def sign(name: str, private: Ed25519PrivateKey, text: str) -> Signature:
    """A log's signature of a note's text."""
    return Signature(name, public(name, LOG, private).id, private.sign(text.encode()))


def cosign(name: str, private: Ed25519PrivateKey, text: str, time: int) -> Signature:
    """A witness's signature of a checkpoint's text at ``time`` (unix seconds)."""
    stamp = time.to_bytes(8)
    return Signature(name, public(name, WITNESS, private).id, stamp + private.sign(_cosigned(text, time)))


def signed_by(note: Note, by: Key) -> Signature | None:
    """The first signature of this key, which must hold. Raises `NoteError` where it does not; None: it signed not."""
    for each in note.signatures:
        if each.name == by.name and each.id == by.id:
            _check(note.text, each, by)
            return each
    return None


def cosigned_at(signature: Signature) -> int:
    """When a witness signed (unix seconds), of a signature that was checked."""
    return int.from_bytes(signature.signature[:8])


def _check(text: str, signature: Signature, by: Key) -> None:
    message, data = text.encode(), signature.signature
    if by.kind == WITNESS:
        if len(data) != 72:
            raise NoteError(f"the cosignature of {by.name} is not 72 bytes long")
        message, data = _cosigned(text, int.from_bytes(data[:8])), data[8:]
    try:
        Ed25519PublicKey.from_public_bytes(by.public).verify(data, message)
    except (InvalidSignature, ValueError):
        raise NoteError(f"the signature of {by.name} does not hold") from None


def _cosigned(text: str, time: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % time + text.encode()


def parse(text: str) -> Note:
    """A note taken apart; nothing is verified yet. Raises `NoteError`."""
    if len(text) > LARGEST:
        raise NoteError("the note is too long")
    if any(ord(each) < 0x20 and each != "\n" for each in text):
        raise NoteError("a note holds no control characters")
    body, gap, rest = text.rpartition("\n\n")
    if not gap or not body:
        raise NoteError("a note is a text, an empty line, and lines of signatures")
    return Note(body + "\n", signatures(rest))


def signatures(text: str) -> list[Signature]:
    """Lines of signatures, one at least. Raises `NoteError`."""
    if not text.endswith("\n"):
        raise NoteError("a line of signature ends in a newline")
    found = [_signature(line) for line in text[:-1].split("\n")]
    if len(found) > _MOST_SIGNATURES:
        raise NoteError("the note has too many signatures")
    return found


def _signature(line: str) -> Signature:
    parts = _SIGNATURE.fullmatch(line)
    if parts is None:
        raise NoteError("a line of signature is \u2014 NAME BASE64")
    data = unb64(parts[2], "a signature")
    if len(data) < 5:
        raise NoteError("a signature is too short")
    return Signature(parts[1], data[:4], data[4:])


def checkpoint(text: str) -> Checkpoint:
    """What a note's text says of a log; lines behind the first three are not read. Raises `NoteError`."""
    parts = text.split("\n")
    if len(parts) < 4 or parts[-1] or not parts[0] or not all(parts[3:-1]):
        raise NoteError("a checkpoint is an origin, a size and a root, a line each")
    root = unb64(parts[2], "the root")
    if len(root) != 32:
        raise NoteError("the root is not 32 bytes long")
    return Checkpoint(parts[0], number(parts[1], "the size"), root)


def proof(text: str) -> Proof:
    """A proof taken apart; nothing is verified yet. Raises `NoteError`."""
    if len(text) > LARGEST:
        raise NoteError("the proof is too long")
    head, gap, rest = text.partition("\n\n")
    parts = head.split("\n")
    if not gap or parts[0] != PROOF:
        raise NoteError(f"a proof begins with {PROOF}")
    if len(parts) > 1 and parts[1].startswith("extra "):
        del parts[1]  # for applications; nobody signed it
    if len(parts) < 2 or not parts[1].startswith("index "):
        raise NoteError("a proof names its entry's index")
    position = number(parts[1].removeprefix("index "), "the index")
    return Proof(position, hashes(parts[2:]), parse(rest))


def hashes(encoded: Iterable[str]) -> list[bytes]:
    """Hashes, a line each. Raises `NoteError`."""
    found = [unb64(each, "a hash") for each in encoded]
    if any(len(each) != 32 for each in found):
        raise NoteError("a hash is not 32 bytes long")
    return found


def lines(found: Iterable[bytes]) -> str:
    """Hashes as they are written: base64, each with its newline."""
    return "".join(f"{b64(each)}\n" for each in found)


def number(text: str, what: str) -> int:
    """A decimal number without leading zeros, below 2**63. Raises `NoteError`."""
    if not _NUMBER.fullmatch(text) or (found := int(text)) >= 1 << 63:
        raise NoteError(f"{what} is no decimal number")
    return found


def b64(data: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str, what: str) -> bytes:
    """The bytes of standard base64 in its only canonical form. Raises `NoteError`, which says ``what`` it was."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise NoteError(f"{what} is not base64") from None
    if b64(data) != text:
        raise NoteError(f"{what} is not canonical base64")
    return data
