"""`sealgate.storage.spool`: uploads in files without a name."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from sealgate.errors import StorageError
from sealgate.storage.spool import PIECE, Spool


@pytest.mark.anyio
async def test_what_was_written_is_read_while_no_file_can_be_seen(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    pieces = [b"a" * 10, b"b" * PIECE, b"c" * 5]
    for piece in pieces:
        await spool.write(piece)
    found = await spool.read()

    assert found == b"".join(pieces)
    assert list((tmp_path / "spool").iterdir()) == []
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    assert os.fstat(spool._file.fileno()).st_mode & 0o777 == 0o600
    spool.close()
    assert found[-5:] == b"ccccc"
    del found
    gc.collect()


@pytest.mark.anyio
async def test_an_empty_upload_is_empty(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert await spool.read() == b""
    spool.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(StorageError, match="spool"):
        Spool(tmp_path / "spool")
