"""The tables are what the migrations make, and queries of the hot and the later path have their index."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests.storage.conftest import Outside

from sealgate.storage.tables import metadata


def test_migrated_schema_and_declared_tables_are_the_same(outside: Outside) -> None:
    with outside.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": metadata}
        )
        assert compare_metadata(context, metadata) == []


def test_the_comparison_would_see_a_difference(outside: Outside) -> None:
    """A test of the test above: a column, an index and a nullability that are not declared are found."""
    outside.run("ALTER TABLE meta ADD COLUMN extra TEXT", "DROP INDEX ix_keys_lookup")
    try:
        with outside.engine.connect() as connection:
            found = compare_metadata(MigrationContext.configure(connection), metadata)
        assert sorted(difference[0] for difference in found) == ["add_index", "remove_column"]
    finally:
        outside.run("ALTER TABLE meta DROP COLUMN extra", "CREATE INDEX ix_keys_lookup ON keys (lookup)")


DEFINITIONS = {
    "sqlite": "SELECT sql FROM sqlite_master WHERE name = ?",
    "postgresql": "SELECT indexdef FROM pg_indexes WHERE indexname = %s",
}


def test_the_partial_indexes_are_partial_on_both_engines(outside: Outside) -> None:
    """Alembic does not compare their conditions."""
    conditions = {
        "ix_ledger_episode_id": "episode_id IS NOT NULL",
        "ix_ledger_request_id": "request_id",
        "ix_ledger_unlogged": "log_index IS NULL",
    }
    with outside.engine.connect() as connection:
        for name, condition in conditions.items():
            text = connection.exec_driver_sql(DEFINITIONS[connection.dialect.name], (name,)).scalar_one()
            assert condition in text.partition(" WHERE ")[2]


QUERIES = {
    "ix_ledger_customer_id_created_at": "customer_id = 'c' AND created_at > 5",
    "ix_ledger_episode_id": "customer_id = 'c' AND episode_id = 'e'",
    "ix_ledger_request_id": "customer_id = 'c' AND request_id = 'r' AND request_id != id",
}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_ledgers_questions_are_answered_from_an_index(outside: Outside) -> None:
    """Asked of SQLite alone: PostgreSQL decides by the size of the table."""
    with outside.engine.connect() as connection:
        for index, query in QUERIES.items():
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN SELECT * FROM ledger WHERE {query}").fetchall()
            assert index in str(plan)


def test_no_column_has_a_default_of_the_databases() -> None:
    """An insert leaves columns out that have no value, and they shall be NULL."""
    assert not [column for table in metadata.tables.values() for column in table.columns if column.server_default]
