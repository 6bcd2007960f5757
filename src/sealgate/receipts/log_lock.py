"""One writer per machine: a lock on a file that ends with the process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """A lock on a file that the system lets go of when the process dies, however it does."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._held: int | None = None

    def take(self) -> bool:
        """Whether it is ours, now or since before."""
        if self._held is None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            found = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(found)
                return False
            self._held = found
        return True

    def release(self) -> None:
        """Let another process take it."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
