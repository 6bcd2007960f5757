"""A database can be tried before a start, and is as it was afterwards."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.postgres import PostgresServer

from sealgate.errors import ConfigError
from sealgate.storage import open_storage, trial
from sealgate.storage.trial import missing_file, try_database


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sealgate.db"
    open_storage(f"sqlite:///{path}").close()
    return path


def schema(path: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()


def test_a_file_that_is_not_there_is_said_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sealgate.db"
    assert missing_file(f"sqlite:///{path}") == path
    assert not path.parent.exists()
    assert missing_file("postgresql://db.example/sealgate") is None


def test_a_good_database_is_written_to(file: Path) -> None:
    assert missing_file(f"sqlite:///{file}") is None
    assert try_database(f"sqlite:///{file}") == f"the SQLite file {file} can be written"


def test_an_older_schema_stays_and_is_said(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    before = schema(file)
    assert "has the schema 0001" in try_database(f"sqlite:///{file}")
    assert schema(file) == before


def test_an_empty_file_stays_empty_of_tables(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    assert "the first start makes its tables" in try_database(f"sqlite:///{path}")
    assert schema(path) == []


def test_a_database_that_another_process_keeps_locked_is_not_waited_for_long(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "PATIENCE", 0.05)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigError, match="cannot be written: database is locked"):
            try_database(f"sqlite:///{file}")


def test_postgresql_is_tried_too(postgres: PostgresServer) -> None:
    url = postgres.create()
    assert "the first start makes its tables" in try_database(url)
    open_storage(url).close()
    assert try_database(url).endswith(" can be written")


def test_a_database_that_cannot_be_used_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "noise.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(ConfigError, match="is damaged or not a SQLite database"):
        try_database(f"sqlite:///{path}")
    with pytest.raises(ConfigError, match=r"storage\.url must begin"):
        try_database("mysql://x")
