"""The transparency log at the door: its checkpoint and tiles, who it is, and the proof that a receipt is in it."""

from __future__ import annotations

import asyncio

from sealgate.api.call import Call
from sealgate.api.guard import Guard
from sealgate.api.receipts import Own
from sealgate.api.routes import Route
from sealgate.api.shapes import LogIdentity
from sealgate.errors import Problem, StorageError
from sealgate.receipts import store, tiles
from sealgate.receipts.log import Log, NoLog
from sealgate.receipts.store import NOT_LOGGED
from sealgate.receipts.tiles import FilesError
from sealgate.relay.hall import Hall

TEXT = b"text/plain; charset=utf-8"
BINARY = b"application/octet-stream"
FOREVER = b"max-age=31536000, immutable"


def routes(hall: Hall, guard: Guard) -> list[Route]:
    log = hall.transparency
    shown = "The proof that a receipt is in the log (c2sp.org/tlog-proof@v1)."
    table = [Route("GET", "/receipts/{id}/proof", "key", Proofs(hall, guard), shown)]
    if isinstance(log, NoLog):
        return table
    files, prefix = LogFiles(log, guard), log.settings.prefix
    access = "public" if log.settings.public else "key"
    identity = Identity(hall, log)
    return [
        *table,
        Route("GET", "/.well-known/sealgate-log.json", "public", identity, "Who the transparency log is.",
              mounted=False, answer=LogIdentity),
        Route("GET", f"{prefix}/checkpoint", access, files.checkpoint,  # type: ignore[arg-type]
              "What the log says of itself, signed (c2sp.org/tlog-checkpoint).", mounted=False),
        Route("GET", f"{prefix}/tile/{{path}}", access, files.tile,  # type: ignore[arg-type]
              "Hashes, 256 a tile, and entries (c2sp.org/tlog-tiles).", mounted=False),
    ]  # fmt: skip


class Identity:
    """What has to be known, and pinned, to check a proof; also the policy that ``sealgate verify receipt`` reads."""

    def __init__(self, hall: Hall, log: Log) -> None:
        self._hall = hall
        self._log = log

    async def __call__(self, call: Call) -> None:
        log = self._log
        await call.json(
            {
                "origin": log.origin,
                "vkey": log.log.vkey,
                "url": self._hall.settings.issuer + log.settings.prefix,
                "public": log.settings.public,
                "witnesses": log.witness_keys,
                "quorum": log.settings.needed,
                "state": log.state,
                "standing": log.standing,
            }
        )


class LogFiles:
    """The log as files. What was never published is not there, whatever the folder holds."""

    def __init__(self, log: Log, guard: Guard) -> None:
        self._log = log
        self._guard = guard
        self._scope = b"public, " if log.settings.public else b"private, "

    async def checkpoint(self, call: Call) -> None:
        await self._admit(call)
        try:
            text = await self._log.checkpoint()
        except StorageError as error:
            raise Problem("storage_unavailable") from error
        if text is None:
            raise Problem("not_found", "Nothing has been logged yet.")
        await call.respond(200, text.encode(), TEXT, [(b"cache-control", b"no-cache")])

    async def tile(self, call: Call) -> None:
        await self._admit(call)
        tile, published = tiles.named(call.path_value), self._log.published
        if tile is None or published is None:
            raise Problem("not_found")
        if tile.number * tiles.WIDTH + tile.width > published.size >> 8 * (tile.level or 0):
            raise Problem("not_found")
        try:
            data = await asyncio.to_thread(self._log.files.read, tile.path)
        except FilesError as error:
            raise Problem("storage_unavailable") from error
        if data is None:
            raise Problem("not_found")  # of a partial tile that is full by now, as the specification has it
        await call.respond(200, data, BINARY, [(b"cache-control", self._scope + FOREVER)])

    async def _admit(self, call: Call) -> None:
        if not self._log.settings.public:
            await self._guard.caller(call)


class Proofs:
    """``GET /v1/receipts/{id}/proof``, for the receipt's own customer."""

    def __init__(self, hall: Hall, guard: Guard) -> None:
        self._hall = hall
        self._own = Own(hall, guard)

    async def __call__(self, call: Call) -> None:
        try:
            text = await self._proof(await self._own(call))
        except (StorageError, FilesError) as error:
            raise Problem("storage_unavailable", "Proofs cannot be made at the moment.") from error
        await call.respond(200, text.encode(), TEXT, [(b"cache-control", b"no-cache")])

    async def _proof(self, found: store.Stored) -> str:
        if found.log_index == NOT_LOGGED:
            raise Problem("not_found", "This receipt is in no log.")
        text = None
        if found.log_index is not None:
            text = await self._hall.transparency.proof(found.origin, found.log_index)
        if text is None:
            raise Problem("not_yet_logged")
        return text
