"""Run by Alembic: it applies the migrations on the connection, and in the transaction, that `migrate` opened."""

from alembic import context

from sealgate.storage.tables import metadata

# transactional_ddl: SQLite can roll back DDL too; Alembic only assumes that it cannot.
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
