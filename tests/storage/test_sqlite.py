"""SQLite's own troubles: folders, modes, damaged and vanished files."""

import asyncio
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from tests.storage.conftest import NO_MOUNT, Outside, Start, mounted
from tests.storage.rows import make_row

from sealgate.errors import ConfigError, StorageError
from sealgate.storage import open_storage, sqlite
from sealgate.storage.tables import ledger


def opened(path: Path) -> None:
    open_storage(f"sqlite:///{path}").close()


def filled(path: Path, rows: int = 300) -> bytes:
    """A closed database with some rows, and its bytes."""
    storage = open_storage(f"sqlite:///{path}")
    for number in range(rows):
        storage.append_nowait(ledger, make_row(number))
    storage.close()
    return path.read_bytes()


def test_folder_and_file_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "sealgate.db"
    storage = open_storage(f"sqlite:///{path}")

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    storage.close()

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes["sealgate.db"] == 0o600
    assert set(modes.values()) == {0o600}


def test_a_relative_path_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    open_storage("sqlite:///data/a b%20#.db").close()

    assert (tmp_path / "data" / "a b%20#.db").stat().st_size


def test_a_closed_database_is_one_file(tmp_path: Path) -> None:
    filled(tmp_path / "a.db")

    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_the_database_is_in_wal_mode_and_synchronous(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/a.db")

    def pragmas(connection: object) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]  # type: ignore[attr-defined]

    assert asyncio.run(storage.write(pragmas)) == ["wal", 2, 1]
    storage.close()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    """Root may write everywhere, so the obstacle here is one for root too: a file where a folder should be."""
    (tmp_path / "file").write_text("x")

    with pytest.raises(ConfigError, match=r"file/folder/a\.db cannot be created: Not a directory\."):
        opened(tmp_path / "file" / "folder" / "a.db")


def test_a_path_that_is_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be"):
        opened(tmp_path)


READ_ONLY = """
import sys
from sealgate.errors import ConfigError
from sealgate.storage import open_storage
for name in ("old.db", "new.db"):
    try:
        open_storage(f"sqlite:///{sys.argv[1]}/{name}")
    except ConfigError as error:
        print(error)
"""


def test_a_read_only_file_system_is_a_clear_error(tmp_path: Path, start: Start) -> None:
    """A read-only mount stops root too; where this system does not let us make one there is nothing to see."""
    filled(tmp_path / "old.db")
    mount = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"'

    child = start(READ_ONLY, str(tmp_path), within=mounted(mount, tmp_path))

    out, err = child.communicate(timeout=30)
    if child.returncode == NO_MOUNT:
        pytest.skip("this system does not let us mount a folder read-only")
    assert not err
    old, new = out.splitlines()
    assert "old.db cannot be written" in old
    assert "new.db cannot be created: Read-only file system." in new


@pytest.mark.skipif(os.geteuid() == 0, reason="root ignores file modes")
def test_a_folder_without_write_permission_is_a_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    filled(folder / "old.db")
    folder.chmod(0o500)
    try:
        with pytest.raises(ConfigError, match="cannot be created: Permission denied"):
            opened(folder / "new.db")
        with pytest.raises(ConfigError, match="cannot be written"):
            opened(folder / "old.db")
    finally:
        folder.chmod(0o700)


def damage_header(data: bytes) -> bytes:
    return b"this is not a database" + data[22:]


def damage_page(data: bytes) -> bytes:
    return data[:8192] + os.urandom(4096) + data[12288:]


def cut_in_half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def cut_in_a_page(data: bytes) -> bytes:
    return data[:1000]


@pytest.mark.parametrize("damage", [damage_header, damage_page, cut_in_half, cut_in_a_page])
def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, damage: "type[bytes]") -> None:
    """Matrix row H5."""
    path = tmp_path / "a.db"
    path.write_bytes(damaged := damage(filled(path)))

    with pytest.raises(ConfigError, match=r"damaged or not a SQLite database.*left untouched"):
        opened(path)

    assert path.read_bytes() == damaged


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a process leaves that is killed before its log was folded into the database: its files while it runs."""
    path = tmp_path_factory.mktemp("running") / "a.db"
    storage = open_storage(f"sqlite:///{path}")
    for number in range(50):
        asyncio.run(storage.append(ledger, make_row(number)))
    there = tmp_path_factory.mktemp("crashed")
    for name in ("a.db", "a.db-wal"):
        shutil.copy(path.with_name(name), there)
    storage.close()
    assert (there / "a.db-wal").stat().st_size > 50_000
    return there / "a.db"


def copied(crashed: Path, tmp_path: Path) -> Path:
    for name in ("a.db", "a.db-wal"):
        shutil.copy(crashed.with_name(name), tmp_path)
    return tmp_path / "a.db"


def test_a_log_left_by_a_crash_is_read_at_the_next_start(crashed: Path, tmp_path: Path) -> None:
    path = copied(crashed, tmp_path)

    opened(path)

    assert Outside(f"sqlite:///{path}").count() == 50


@pytest.mark.parametrize("loss", ["missing", "empty"])
def test_a_log_without_its_database_is_refused_and_kept(crashed: Path, tmp_path: Path, loss: str) -> None:
    """SQLite would delete the log and begin anew."""
    path = copied(crashed, tmp_path)
    path.unlink()
    if loss == "empty":
        path.touch()
    log = path.with_name("a.db-wal")
    before = log.read_bytes()

    with pytest.raises(ConfigError, match=r"missing or empty, but its log a\.db-wal is not"):
        opened(path)

    assert log.read_bytes() == before


def test_a_damaged_file_with_a_log_is_left_as_it_is_with_its_log(crashed: Path, tmp_path: Path) -> None:
    path = copied(crashed, tmp_path)
    damaged = damage_header(path.read_bytes())
    path.write_bytes(damaged)
    log = path.with_name("a.db-wal").read_bytes()

    # The log may hold a good copy of the first page; then the database is whole, and opening it is right.
    try:
        opened(path)
    except ConfigError:
        assert path.read_bytes() == damaged
        assert path.with_name("a.db-wal").read_bytes() == log
    else:
        assert Outside(f"sqlite:///{path}").count() == 50


def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    """A start that was killed before its first write leaves one, and a restart needs no repair."""
    (tmp_path / "a.db").touch()

    opened(tmp_path / "a.db")

    assert Outside(f"sqlite:///{tmp_path}/a.db").count() == 0


def test_a_database_of_another_program_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('ab12');"
    )
    connection.close()

    with pytest.raises(ConfigError, match="schema ab12"):
        opened(path)


def test_a_file_locked_by_another_process_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "MIGRATION_SECONDS", 0.02)
    path = tmp_path / "a.db"
    filled(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(ConfigError, match="locked by another process"):
        open_storage(f"sqlite:///{path}", busy_seconds=0.02)

    other.close()


def test_a_file_that_vanished_is_never_made_again_silently(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    storage = open_storage(f"sqlite:///{path}")
    path.unlink()

    with pytest.raises(StorageError, match="unable to open"):
        asyncio.run(storage.append(ledger, make_row()))

    storage.close()
    assert not path.exists()


def test_an_old_sqlite_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "OLDEST", (99, 0, 0))

    with pytest.raises(ConfigError, match=r"SQLite 3\.[\d.]+ is too old"):
        opened(tmp_path / "a.db")
