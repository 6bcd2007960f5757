"""Bring a database to this program's schema, in one transaction, while no other process does the same."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from sealgate.errors import ConfigError
from sealgate.storage.backend import Backend

HEAD = "0013"
"""The newest migration. Said here so that a start that finds it does not import Alembic (a test compares)."""

FOLDER = Path(__file__).with_name("migrations")


def migrate(backend: Backend, folder: Path = FOLDER, head: str = HEAD) -> None:
    """Apply what is missing. A migration that fails leaves the database exactly as it was (matrix row I7).

    Raises `ConfigError` where the database is newer than this program, or not usable.
    """
    with backend.exclusive() as connection:
        found = version(connection)
        if found != head:
            _upgrade(backend, connection, folder, found)


def version(connection: Connection) -> str | None:
    """The migration the database is at, None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(backend: Backend, connection: Connection, folder: Path, found: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise ConfigError(
            f"{backend.name} has the schema {found}, which this version of Sealgate does not know. "
            "It was made by a newer version or by another program; nothing was changed."
        )
    command.upgrade(config, "head")
