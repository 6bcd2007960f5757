"""Migrations: all or nothing, one process at a time, never from a newer schema."""

import shutil
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect
from tests.postgres import PostgresServer
from tests.storage.conftest import Outside, Start
from tests.storage.rows import make_row

from sealgate.errors import ConfigError
from sealgate.storage import Storage, open_storage
from sealgate.storage.migrate import FOLDER, HEAD, migrate, version
from sealgate.storage.tables import ledger

NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    op.create_table("added", sa.Column("id", sa.Text(), primary_key=True))
    op.execute("INSERT INTO added VALUES ('x')")
    op.execute("DELETE FROM ledger")
    {last}
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that nobody has migrated."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sealgate.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create()


def with_next(tmp_path: Path, last: str) -> Path:
    """Our migrations and one more."""
    folder = tmp_path / "100%" / "migrations"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "9999_next.py").write_text(NEXT.format(last=last, head=HEAD))
    return folder


def tables(outside: Outside) -> set[str]:
    with outside.engine.connect() as connection:
        return set(inspect(connection).get_table_names())


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))

    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_migration_that_fails_leaves_the_database_as_it_was(fresh_url: str, tmp_path: Path) -> None:
    """Matrix row I7: the old version still starts and has all its rows."""
    storage = open_storage(fresh_url)
    storage.append_nowait(ledger, make_row())
    storage.close()
    storage = open_storage(fresh_url)
    outside = Outside(fresh_url)
    before = tables(outside)

    with pytest.raises(ConfigError, match="nowhere"):
        migrate(storage._backend, with_next(tmp_path, 'op.execute("INSERT INTO nowhere VALUES (1)")'), "9999")

    storage.close()
    open_storage(fresh_url).close()
    assert tables(outside) == before
    assert outside.count() == 1


def test_a_migration_that_raises_leaves_the_database_as_it_was(fresh_url: str, tmp_path: Path) -> None:
    storage = open_storage(fresh_url)
    outside = Outside(fresh_url)
    before = tables(outside)

    with pytest.raises(ZeroDivisionError):
        migrate(storage._backend, with_next(tmp_path, "1 / 0"), "9999")

    storage.close()
    assert tables(outside) == before


def test_a_missing_migration_is_applied(fresh_url: str, tmp_path: Path) -> None:
    storage = open_storage(fresh_url)

    migrate(storage._backend, with_next(tmp_path, ""), "9999")

    storage.close()
    outside = Outside(fresh_url)
    assert "added" in tables(outside)
    with outside.engine.connect() as connection:
        assert version(connection) == "9999"


def test_a_newer_database_is_refused_and_untouched(fresh_url: str, tmp_path: Path) -> None:
    storage = open_storage(fresh_url)
    migrate(storage._backend, with_next(tmp_path, ""), "9999")
    storage.close()
    outside = Outside(fresh_url)
    before = tables(outside)

    with pytest.raises(ConfigError, match=r"schema 9999.*newer version"):
        open_storage(fresh_url)

    assert tables(outside) == before


OPEN_AT_ONCE = """
import os, sys
import alembic.command, psycopg
from sealgate.storage import open_storage

def child(url, gate):
    try:
        os.read(gate, 1)  # returns in all of them when the other end is closed
        open_storage(url).close()
    except BaseException as error:
        print(repr(error), flush=True)
    os._exit(0)

for url in sys.argv[1:]:
    gate, lock = os.pipe()
    children = []
    for _ in range(4):
        children.append(pid := os.fork())
        if not pid:
            os.close(lock)
            child(url, gate)
    os.close(lock)
    for pid in children:
        os.waitpid(pid, 0)
print("done")
"""


def test_processes_that_start_at_once_on_a_new_database_all_succeed(
    tmp_path: Path, postgres: PostgresServer, start: Start
) -> None:
    urls = [*(f"sqlite:///{tmp_path}/{number}/sealgate.db" for number in range(5)), postgres.create()]

    out, err = start(OPEN_AT_ONCE, *urls).communicate(timeout=30)

    assert (out, err) == ("done\n", "")
    assert [Outside(url).count() for url in urls] == [0] * 6


def test_a_storage_opens_again_on_what_it_made(storage: Storage, url: str) -> None:
    open_storage(url).close()
