"""PostgreSQL's own troubles: a server that is away, restarts, cannot be written, or has no driver."""

import asyncio
import sys

import psycopg
import pytest
from sqlalchemy import text
from tests.postgres import PostgresServer
from tests.storage.conftest import Outside
from tests.storage.rows import make_row

from sealgate.errors import ConfigError, StorageError
from sealgate.storage import Storage, open_storage
from sealgate.storage.tables import ledger


@pytest.fixture(params=["postgresql"])
def url(database: str) -> str:
    from tests.storage.conftest import empty

    empty(database)
    return database


def count(storage: Storage) -> int:
    return int(asyncio.run(storage.read(lambda c: c.execute(text("SELECT count(*) FROM ledger")).scalar_one())))


def test_a_restart_of_the_server_between_two_rows_goes_unnoticed(storage: Storage, postgres: PostgresServer) -> None:
    asyncio.run(storage.append(ledger, make_row(1)))
    assert count(storage) == 1

    postgres.stop()
    postgres.start()

    asyncio.run(storage.append(ledger, make_row(2)))
    assert count(storage) == 2


def test_while_the_server_is_away_writes_and_reads_fail_and_then_work_again(
    storage: Storage, postgres: PostgresServer
) -> None:
    postgres.stop()
    try:
        with pytest.raises(StorageError):
            asyncio.run(storage.append(ledger, make_row(1)))
        with pytest.raises(StorageError):
            count(storage)
        with pytest.raises(StorageError):
            asyncio.run(storage.check())
    finally:
        postgres.start()

    asyncio.run(storage.append(ledger, make_row(2)))
    assert count(storage) == 1


def test_a_session_ended_by_the_administrator_is_replaced(storage: Storage, outside: Outside) -> None:
    asyncio.run(storage.append(ledger, make_row(1)))

    outside.run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = 'sealgate' AND datname = current_database()"
    )

    asyncio.run(storage.append(ledger, make_row(2)))
    assert outside.count() == 2


def test_a_session_that_ends_in_the_middle_of_a_batch_fails_that_batch_alone(storage: Storage) -> None:
    end = text("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(StorageError):
        asyncio.run(storage.write(lambda connection: connection.execute(end)))

    asyncio.run(storage.append(ledger, make_row(2)))
    assert count(storage) == 1


@pytest.mark.parametrize("address", ["127.0.0.1:1", "/?host=/nowhere"])
def test_a_server_that_cannot_be_reached_is_a_clear_error_without_the_password(address: str) -> None:
    with pytest.raises(ConfigError, match=r"the PostgreSQL database .* cannot be used") as caught:
        open_storage(f"postgresql://user:secret@{address}" + ("/db" if "?" not in address else ""), busy_seconds=1)

    assert "secret" not in str(caught.value)


def test_a_missing_driver_names_the_extra(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(ConfigError, match=r"pip install 'sealgate\[postgres\]'"):
        open_storage(url)


def test_a_database_that_is_read_only_is_a_clear_error(postgres: PostgresServer) -> None:
    url = postgres.create()
    name = url.partition("@/")[2].partition("?")[0]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    with pytest.raises(ConfigError, match="read-only"):
        open_storage(url)


def test_a_database_in_another_encoding_is_a_clear_error(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")

    with pytest.raises(ConfigError, match="encoding LATIN1; UTF8 is needed"):
        open_storage(postgres.url("latin"))


def test_the_scheme_postgres_works_too(url: str) -> None:
    open_storage(url.replace("postgresql://", "postgres://")).close()
