"""Files that hold a secret beside the database: written whole or not at all, for their owner only, never over another.

What they belong to is recorded in the database, so a missing one is noticed at the start instead of made anew.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from sealgate.errors import ConfigError


def read(file: Path, what: str) -> str:
    """The file's text. Raises `ConfigError` where it cannot be read, or can be by others; ``what`` it is, in words."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the {what} {file} cannot be read: {error}") from None
    if mode & 0o077:
        raise ConfigError(f"the {what} {file} can be read by others (mode {mode:04o}): run chmod 600 {file}")
    return text


def make(file: Path, content: bytes, what: str) -> bool:
    """Write a new file; False where there is one already, which stays as it is. Raises `ConfigError`."""
    draft = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(draft, content)
        try:
            os.link(draft, file)  # Fails where the file exists: another process was faster, and its file counts.
        finally:
            draft.unlink()
        _sync_folder(file.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise ConfigError(f"the {what} {file} cannot be made: {error}") from None
    return True


def _write(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
