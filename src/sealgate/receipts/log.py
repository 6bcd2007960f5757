"""The transparency log: receipts get their places in it, and what it is at each moment is signed once and published.

Order, in steps that each survive a crash::

    entered       what waits gets its positions, in one transaction of the database
    files         bundles of entries and tiles of hashes, whole or not at all
    checkpoint    size, root and signature, recorded once for each size; only then
    published     the file ``checkpoint``, and the endpoint

One process enters; others follow what it recorded. When what is there contradicts what was signed, nothing is repaired:
the log is sealed, for good, and says so.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import structlog

from sealgate.config_log import ReceiptLog
from sealgate.errors import ConfigError, StorageError
from sealgate.formats import merkle, note
from sealgate.receipts import log_rows as rows
from sealgate.receipts import statements, store
from sealgate.receipts.log_key import Identity, identify
from sealgate.receipts.log_lock import FileLock
from sealgate.receipts.log_rows import LogRow, Signed
from sealgate.receipts.receipt import LogTerms, Software
from sealgate.receipts.tiles import Edge, Files, FilesError, Step, UnreadableError
from sealgate.receipts.watch import Behind, ended, repeat
from sealgate.storage import Storage

TICK_SECONDS = 1.0
BATCH = 256
"""Receipts that get their places in one transaction."""
CHUNK = 4096
"""Entries that are read, and written to files, at once."""
MMD = 60
"""Seconds within which a receipt's entry is under a published checkpoint: what receipts promise."""
LEASE_SECONDS = 15.0
"""A writer that has not been heard of for so long has died."""
AUDIT_SECONDS = 3600.0
FOLDER = "log"

T = TypeVar("T")

_log = structlog.get_logger("sealgate.receipts")


class SealedError(Exception):
    """The log contradicts what was signed; the text says how."""


class NoLog:
    """There is no log."""

    terms: LogTerms | None = None
    sealed: str | None = None
    published: Signed | None = None
    witnessed: Signed | None = None
    state: Literal["off", "open", "sealed"] = "off"
    standing: Literal["unwitnessed", "witnessed"] = "unwitnessed"
    strict = False

    async def aclose(self) -> None:
        """Nothing runs."""

    def describes(self, _software: Software) -> None:
        """Nobody asks."""

    async def proof(self, _origin: str, _index: int) -> str | None:
        """Nothing is proved."""
        return None

    async def has_witnessed(self, _origin: str, _index: int) -> bool:
        """Nobody has seen anything."""
        return False


class Log:
    """The log of one running process.

    ``published`` is the largest checkpoint that was published, ``witnessed`` the largest one that a quorum signed.
    """

    def __init__(
        self,
        storage: Storage,
        data_dir: Path,
        identity: Identity,
        settings: ReceiptLog,
        *,
        alone: bool,
        step: Step = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``alone``: a lock on a file in ``data_dir`` says who enters, because the database is on this machine."""
        self.log: LogRow = identity.log
        self.key = note.key(identity.log.vkey)
        self.sealed: str | None = identity.log.sealed
        self.published: Signed | None = None
        self.witnessed: Signed | None = None
        self.writes = False
        """Whether this process is the one that enters."""
        self.on_seal: Callable[[], None] = lambda: None
        self.on_publish: Callable[[], None] = lambda: None
        self.ask_first: Callable[[], Awaitable[None]] | None = None
        """Asked once, before anything is signed: a backup may have been restored, and others may know of more."""
        self.settings = settings
        self.storage = storage
        self._sign = identity.sign
        self._step = step
        self._clock = clock
        self._me = uuid.uuid4().hex
        self._data_dir = data_dir
        self.files = Files(folder(data_dir, self.log.origin), step)
        self._lock = FileLock(self.files.folder / ".lock") if alone else None
        self._edge = Edge()
        self._software: Mapping[str, bytes] = {}
        self._entered: set[str] = set()
        self._behind = Behind(rows.SKEW)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def origin(self) -> str:
        return self.log.origin

    @property
    def terms(self) -> LogTerms | None:
        """What receipts promise; None while nothing is entered."""
        return None if self.sealed else LogTerms(self.log.origin, MMD)

    @property
    def state(self) -> Literal["off", "open", "sealed"]:
        return "sealed" if self.sealed else "open"

    @property
    def standing(self) -> Literal["unwitnessed", "witnessed"]:
        """Whether a quorum of witnesses has signed a checkpoint of this log."""
        return "unwitnessed" if self.witnessed is None else "witnessed"

    @property
    def strict(self) -> bool:
        return self.settings.strict

    @property
    def witness_keys(self) -> list[str]:
        return [witness.key for witness in self.settings.witnesses]

    def describes(self, software: Software) -> None:
        """This software runs from now on."""
        self._software = statements.of_software(software)

    async def start(self) -> None:
        """Compare what there is with what was signed, and begin. Raises `ConfigError`, `StorageError`."""
        await self.recover()
        self._tasks = [
            asyncio.create_task(repeat(self.tick, TICK_SECONDS, "log_failed"), name="log"),
            asyncio.create_task(repeat(self.audit, AUDIT_SECONDS, "log_audit_failed"), name="log-audit"),
        ]

    async def aclose(self) -> None:
        """Stop, and let another process enter."""
        for task in self._tasks:
            await ended(task)
        self._tasks = []
        if self.writes:
            with suppress(StorageError):
                await self.storage.write(partial(rows.release, log=self.log.id, writer=self._me))
        if self._lock is not None:
            self._lock.release()

    async def recover(self) -> None:
        """Read the tree from its files and compare it with what was published and with what was recorded.

        Raises `ConfigError` where files cannot be read, `StorageError`.
        """
        shown = await asyncio.to_thread(self._shown)  # first: what a replica publishes meanwhile is recorded before
        extent = await self.storage.read(partial(rows.extent, log=self.log.id))
        self.published = extent.last
        await self._refresh_witnessed()
        if self.sealed:
            return
        try:
            self._edge = await asyncio.to_thread(self._of_files, shown, extent)
            if extent.last is not None:
                await self._grow(extent.last.size)
                self._compare(extent.last)
                await self._publish(extent.last)
        except UnreadableError as error:
            raise ConfigError(f"the transparency log cannot be compared with what was signed: {error}") from None
        except (FilesError, SealedError) as error:
            await self.seal(str(error))

    def _shown(self) -> bytes | None:
        try:
            return self.files.find("checkpoint")
        except UnreadableError as error:
            raise ConfigError(f"the transparency log cannot be compared with what was signed: {error}") from None

    def _of_files(self, data: bytes | None, extent: rows.Extent) -> Edge:
        """The tree as far as this folder has published it."""
        if data is None:
            return Edge()
        try:
            told = note.parse(data.decode())
            seen = note.checkpoint(told.text)
            ours = note.signed_by(told, self.key) is not None
        except ValueError as error:
            raise SealedError(f"the published checkpoint cannot be read: {error}") from None
        if not ours:
            raise SealedError("the published checkpoint is not signed by this log's key")
        recorded = 0 if extent.last is None else extent.last.size
        if seen.size > recorded or extent.entries < recorded:
            raise SealedError(
                f"{seen.size} entries were published, and the database has {min(recorded, extent.entries)}: it is older"
            )
        edge = self.files.edge(seen.size)
        if edge.root() != seen.root:
            raise SealedError(f"the tiles have another root than was published at {seen.size} entries")
        return edge

    async def tick(self) -> None:
        """Enter what waits, and publish it."""
        if self.ask_first is not None and not self.sealed:
            await self.ask_first()
            self.ask_first = None
        if self.sealed:
            return
        look = await self.storage.read(partial(rows.look, log=self.log.id))
        self._behind.look(look.extent.signed_at, self._now())
        if look.extent.sealed:
            self._sealed_by(look.extent.sealed)
            await self.storage.write(store.abandon)
            return
        try:
            if await self._enter(look):
                await self._extend()
            else:
                await self._follow(look.extent.last)
        except SealedError as error:
            await self.seal(str(error))

    async def _enter(self, look: rows.Look) -> bool:
        """Give what waits its places; whether this process is the one that enters."""
        known = {**statements.of_keys(look.keys, self._now()), **self._software}
        fresh = {name: entry for name, entry in known.items() if name not in self._entered}
        behind = look.extent.last is None or look.extent.entries > look.extent.last.size
        if not (look.waits or fresh or (behind and look.extent.entries)):
            return False
        if self._lock is not None and not self._lock.take():
            self.writes = False
            return False
        now, until = self._now(), self._now() + int(LEASE_SECONDS * 1_000_000)
        # Whoever has the lock of the file is alone: who was the writer before has died.
        over = now if self._lock is None else until * 2
        claim = partial(rows.claim, log=self.log.id, writer=self._me, now=over, until=until)
        self.writes = await self.storage.write(claim)
        while self.writes:
            work = partial(rows.enter, log=self.log.id, writer=self._me, statements=fresh, limit=BATCH)
            placed = await self.storage.write(work)
            self._step("entered")
            if placed is None:
                self.writes = False
            elif placed < BATCH:
                break
        if self.writes:
            self._entered |= known.keys()
        return self.writes

    async def _extend(self) -> None:
        """Files, checkpoint, publication, up to the last entry that there is now."""
        while True:
            there = await self.storage.read(partial(rows.size, log=self.log.id))
            if there == self._edge.size and self.published is not None and self.published.size == there:
                return
            await self._grow(min(there, self._edge.size + 16 * CHUNK))
            self._step("tiled")
            await self._publish(await self._checkpoint())

    async def _grow(self, size: int) -> None:
        """Write the files of all entries up to that size."""
        while self._edge.size < size:
            limit = min(CHUNK, size - self._edge.size)
            work = partial(rows.entries, log=self.log.id, start=self._edge.size, limit=limit)
            added = await self.storage.read(work)
            if len(added) < limit:
                raise SealedError(f"the database has lost entries: {size} were entered")
            self._edge = await asyncio.to_thread(self.files.extend, self._edge, added)

    def empty(self) -> Signed:
        """What the log was before its first entry: for asking whether others know of more."""
        return self._signed(0, merkle.EMPTY)

    def _signed(self, size: int, root: bytes) -> Signed:
        return Signed(size, root, self._sign(str(note.Checkpoint(self.log.origin, size, root))))

    async def _checkpoint(self) -> Signed:
        made = self._signed(self._edge.size, self._edge.root())
        signed = await self.storage.write(partial(rows.sign, log=self.log.id, signed=made, now=self._now()))
        self._step("signed")
        self._compare(signed)
        return signed

    def _compare(self, signed: Signed) -> None:
        if self._edge.root() != signed.root or self._edge.size != signed.size:
            raise SealedError(f"another root was signed at {signed.size} entries than they have now")

    async def _publish(self, signed: Signed) -> None:
        shown = await self.note(signed)
        await asyncio.to_thread(self.files.write, "checkpoint", shown.encode())
        self._step("published")
        self.published = signed
        self.on_publish()

    async def _follow(self, last: Signed | None) -> None:
        """Show what another process entered."""
        shown = 0 if self.published is None else self.published.size
        if last is not None and last.size > shown and last.size >= self._edge.size:
            await self._grow(last.size)
            self._compare(last)
            await self._publish(last)
            await self._refresh_witnessed()

    async def note(self, signed: Signed) -> str:
        """A checkpoint's note with the signatures of witnesses."""
        work = partial(rows.cosigned, log=self.log.id, size=signed.size, witnesses=self.witness_keys)
        return signed.note + "".join(await self.storage.read(work))

    async def cosigned(self, signed: Signed, lines: Mapping[str, str]) -> None:
        """Keep what witnesses signed of a checkpoint, by their vkeys, and show it."""
        await self.storage.write(partial(rows.cosign, log=self.log.id, size=signed.size, lines=lines))
        await self._refresh_witnessed()
        if self.published == signed:
            shown = await self.note(signed)
            await asyncio.to_thread(self.files.write, "checkpoint", shown.encode())

    async def _refresh_witnessed(self) -> None:
        self.witnessed = await self._witnessed(self.log.id)

    async def _witnessed(self, log: int) -> Signed | None:
        work = partial(rows.witnessed, log=log, witnesses=self.witness_keys, quorum=self.settings.needed)
        return await self.storage.read(work)

    async def audit(self) -> None:
        """Read all files again, and compare them with each other and with what was published (row H17)."""
        published = self.published
        if self.sealed or published is None:
            return
        try:
            edge = await asyncio.to_thread(self.files.edge, published.size, deep=True, rest=_rest)
            if edge.root() != published.root:
                raise SealedError(f"the tiles have another root than was published at {published.size} entries")
        except UnreadableError:
            raise  # it is said, and looked at again the next time: too many open files are no other history
        except (FilesError, SealedError) as error:
            await self.seal(str(error))
        await self.storage.write(partial(rows.prune, log=self.log.id))

    async def seal(self, reason: str) -> None:
        """Enter nothing more. What was published stays, as it is."""
        self._sealed_by(reason)
        await self.storage.write(partial(rows.seal, log=self.log.id, reason=reason, now=self._now()))

    def _sealed_by(self, reason: str) -> None:
        if self.sealed is None:
            self.sealed = reason
            _log.error("log_sealed", reason=reason)
            self.on_seal()

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    async def proof(self, origin: str, index: int) -> str | None:
        """The proof that the entry at ``index`` is in the log ``origin``; None where it is not published yet."""
        if origin != self.log.origin:
            return await self._earlier(origin, index)
        signed = self.witnessed if self.witnessed is not None and index < self.witnessed.size else self.published
        return await self._proof(self.files, await self.note(signed), signed.size, index) if signed else None

    async def has_witnessed(self, origin: str, index: int) -> bool:
        """Whether a quorum has signed a checkpoint over that entry of the log ``origin``."""
        seen = self.witnessed
        if origin != self.log.origin:
            found = await self.storage.read(partial(rows.by_origin, origin=origin))
            seen = None if found is None else await self._witnessed(found.id)
        return seen is not None and index < seen.size

    async def _earlier(self, origin: str, index: int) -> str | None:
        """From a log that was before this one."""
        found = await self.storage.read(partial(rows.by_origin, origin=origin))
        last = None if found is None else await self.storage.read(partial(rows.last, log=found.id))
        if found is None or last is None:
            return None
        work = partial(rows.cosigned, log=found.id, size=last.size, witnesses=self.witness_keys)
        shown = last.note + "".join(await self.storage.read(work))
        return await self._proof(Files(folder(self._data_dir, origin)), shown, last.size, index)

    async def _proof(self, files: Files, shown: str, size: int, index: int) -> str | None:
        if index >= size:
            return None
        hashes = await asyncio.to_thread(merkle.inclusion, index, size, files.nodes(size))
        return str(note.Proof(index, hashes, note.parse(shown)))

    async def checkpoint(self) -> str | None:
        """The note that was published last."""
        return None if self.published is None else await self.note(self.published)


async def open_log(
    storage: Storage,
    data_dir: Path,
    settings: ReceiptLog,
    issuer: str,
    software: Software,
    *,
    alone: bool,
    step: Step = lambda _: None,
    clock: Callable[[], float] = time.time,
) -> Log:
    """The configured log, begun. Raises `ConfigError`, `StorageError`."""
    identity = await identify(storage, data_dir, settings.origin, issuer)
    log = Log(storage, data_dir, identity, settings, alone=alone, step=step, clock=clock)
    log.describes(software)
    await log.start()
    return log


def folder(data_dir: Path, origin: str) -> Path:
    """Where the files of a log are."""
    return data_dir / FOLDER / re.sub(r"[^A-Za-z0-9.-]", "_", origin).lstrip(".")


def _rest() -> None:
    """Between two tiles of an audit: it is in no hurry, and requests are."""
    time.sleep(0.002)
