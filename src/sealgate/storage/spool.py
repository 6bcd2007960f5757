"""Files without a name, in which an upload waits until its answer is there.

A file loses its name before anything is written into it (or never has one: O_TMPFILE), so nothing is left behind
however the process ends, and nothing that a caller says becomes a path. Only its owner may read it (mode 0600).
"""

from __future__ import annotations

import asyncio
import mmap
import tempfile
from pathlib import Path
from typing import IO

from sealgate.errors import StorageError

PIECE = 1024 * 1024
"""Bytes that are gathered before they are written."""


class Spool:
    """One upload.

    `write` adds to it, `read` gives all of it, after which nothing may be written. `close` gives the space back, unless
    somebody still holds what was read: then it goes with that.
    """

    def __init__(self, folder: Path) -> None:
        """Raises `StorageError`."""
        self._pieces: list[bytes] = []
        self._waiting = 0
        self.size = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise StorageError(f"the spool {folder} cannot be written: {error.strerror}") from error

    async def write(self, data: bytes) -> None:
        """Raises `StorageError`, where the disk is full for one."""
        self._pieces.append(data)
        self._waiting += len(data)
        self.size += len(data)
        if self._waiting >= PIECE:
            await self._flush()

    async def read(self) -> memoryview:
        """All that was written, as memory that the operating system may take back and read again."""
        await self._flush()
        if not self.size:
            return memoryview(b"")
        try:
            return memoryview(mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ))
        except OSError as error:
            raise StorageError(f"the spool cannot be read: {error.strerror}") from error

    def close(self) -> None:
        self._pieces.clear()
        self._file.close()

    async def _flush(self) -> None:
        data, self._pieces, self._waiting = b"".join(self._pieces), [], 0
        if data:
            await asyncio.to_thread(self._put, data)

    def _put(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise StorageError(f"the spool cannot be written: {error.strerror}") from error
