"""A small witness (https://c2sp.org/tlog-witness): signs a log's checkpoints as long as the log only grows.

What it signed last is stored before it is said, and is compared and replaced in one step, so it never signs two
histories, also when it is killed. One process at a time has the state.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealgate.errors import ConfigError
from sealgate.formats import merkle, note
from sealgate.formats.merkle import ProofError
from sealgate.formats.note import Key, NoteError
from sealgate.receipts.log_lock import FileLock
from sealgate.storage import secretfile

LARGEST = 64 * 1024
"""Bytes of a question."""
_WHAT = "witness key file"
_PREFIX = "PRIVATE+KEY+"


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    content_type: str
    body: bytes


class Seen(NamedTuple):
    """What was signed last of a log: size and root."""

    size: int
    root: bytes


class WitnessKey(NamedTuple):
    """A witness's name and its key."""

    name: str
    private: Ed25519PrivateKey

    @property
    def public(self) -> Key:
        return note.public(self.name, note.WITNESS, self.private)


class Witness:
    """Answers ``add-checkpoint``. ``logs`` are those it signs for; ``state`` is the file of what it signed."""

    def __init__(
        self, key: WitnessKey, logs: Sequence[Key], state: Path, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Raises `ConfigError` where the state cannot be read, or another process has it."""
        self.key = key
        self._logs = {each.name: each for each in logs}
        self._state = state
        self._clock = clock
        self._lock = FileLock(state.with_name(state.name + ".lock"))
        if not self._lock.take():
            raise ConfigError(f"another witness runs with the state {state}")
        try:
            self._seen = _read(state)
        except ConfigError:
            self._lock.release()
            raise

    def close(self) -> None:
        """Let another process have the state."""
        self._lock.release()

    def add_checkpoint(self, body: bytes) -> Answer:
        """The answer to a question. Blocks while the state is written."""
        try:
            old, proof, asked = _question(body)
            told = note.checkpoint(asked.text)
        except (NoteError, UnicodeDecodeError) as error:
            return _refused(400, str(error))
        log = self._logs.get(told.origin)
        if log is None:
            return _refused(404, f"this witness does not know the log {told.origin}")
        try:
            signed = note.signed_by(asked, log)
        except NoteError:
            signed = None
        if signed is None:
            return _refused(403, "the checkpoint is not signed with the log's key")
        if old > told.size:
            return _refused(400, "the old size is larger than the checkpoint's")
        return self._judged(told, old, proof, asked)

    def _judged(self, told: note.Checkpoint, old: int, proof: Sequence[bytes], asked: note.Note) -> Answer:
        seen = self._seen.get(told.origin, Seen(0, merkle.EMPTY))
        if old != seen.size or (told.size == seen.size and told.root != seen.root):
            return Answer(409, "text/x.tlog.size", b"%d\n" % seen.size)
        try:
            merkle.verify_consistency(old, told.size, proof, seen.root, told.root)
        except ProofError as error:
            return _refused(422, str(error))
        self._keep(told)
        line = note.cosign(self.key.name, self.key.private, asked.text, int(self._clock()))
        return Answer(200, "text/plain; charset=utf-8", str(line).encode())

    def _keep(self, told: note.Checkpoint) -> None:
        """Nothing runs between the comparison and this: one thread, one process."""
        kept = {**self._seen, told.origin: Seen(told.size, told.root)}
        _write(self._state, {origin: [each.size, each.root.hex()] for origin, each in kept.items()})
        self._seen = kept


def _question(body: bytes) -> tuple[int, list[bytes], note.Note]:
    head, gap, rest = body.decode("utf-8").partition("\n\n")
    first, *lines = head.split("\n")
    if not gap or not first.startswith("old "):
        raise NoteError("a question is the old size, a proof, an empty line and a checkpoint")
    if len(lines) > merkle.LONGEST_PROOF:
        raise NoteError("the proof is too long")
    return note.number(first.removeprefix("old "), "the old size"), note.hashes(lines), note.parse(rest)


def _refused(status: int, why: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{why}\n".encode())


def _read(state: Path) -> dict[str, Seen]:
    """Raises `ConfigError`: a witness that forgot would sign two histories."""
    if not state.exists():
        return {}
    try:
        found = json.loads(state.read_bytes())
        return {str(origin): Seen(int(size), bytes.fromhex(root)) for origin, (size, root) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"the state {state} cannot be read: {error}; put it back from where it is whole") from None


def _write(state: Path, content: dict[str, list[object]]) -> None:
    draft = state.with_name(f".{state.name}-{secrets.token_hex(6)}")
    with draft.open("xb") as file:
        file.write(json.dumps(content, sort_keys=True).encode())
        file.flush()
        os.fsync(file.fileno())
    draft.rename(state)
    descriptor = os.open(state.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_key(file: Path, name: str | None) -> WitnessKey:
    """The key in a file, made under ``name`` where there is none yet. Raises `ConfigError`.

    The form is that of Go's notes, ``PRIVATE+KEY+NAME+ID+KEY``, so the name stays with the key.
    """
    if not file.exists():
        if name is None:
            raise ConfigError(f"there is no {_WHAT} {file}; give the witness a --name, and it is made")
        _make(file, name)
    found = _parsed(secretfile.read(file, _WHAT).strip(), file)
    if name is not None and name != found.name:
        raise ConfigError(f"the {_WHAT} {file} is of {found.name}, not of {name}")
    return found


def _make(file: Path, name: str) -> None:
    private = Ed25519PrivateKey.generate()
    try:
        public = note.public(name, note.WITNESS, private)
    except NoteError as error:
        raise ConfigError(str(error)) from None
    material = note.b64(bytes([note.WITNESS]) + private.private_bytes_raw())
    secretfile.make(file, f"{_PREFIX}{name}+{public.id.hex()}+{material}\n".encode(), _WHAT)


def _parsed(text: str, file: Path) -> WitnessKey:
    parts = text.removeprefix(_PREFIX).split("+", 2)
    try:
        data = note.unb64(parts[2], "the key")
        found = WitnessKey(parts[0], Ed25519PrivateKey.from_private_bytes(data[1:]))
        if text.startswith(_PREFIX) and data[0] == note.WITNESS and found.public.id.hex() == parts[1]:
            return found
    except (IndexError, ValueError):
        pass
    raise ConfigError(f"the {_WHAT} {file} holds no witness's key")
