"""One lock for whoever must not be overtaken by another replica: taken first, held until the commit.

SQLite has one writer. On PostgreSQL all take the same lock, whatever they do with it: the writer carries out many jobs
in one transaction, and with two locks two replicas could wait for each other in a circle.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from sealgate.storage.direct import Direct

LOCK = 0x5EA1_B1D6
"""An advisory lock of PostgreSQL's."""

LOCKED = f"SELECT pg_advisory_xact_lock({LOCK})"
_LOCK = text(LOCKED)


def shared(connection: Connection) -> bool:
    """Whether other processes may be at work on this database."""
    return connection.dialect.name != "sqlite"


def alone(connection: Connection) -> None:
    """From here to the commit, no other replica does anything that also asks for this."""
    if shared(connection):
        connection.execute(_LOCK)


def alone_direct(direct: Direct) -> None:
    """The same for whoever needs the driver alone. Of many jobs in one transaction the first one asks."""
    if direct.shared and not direct.locked:
        direct.first(LOCKED)
        direct.locked = True
