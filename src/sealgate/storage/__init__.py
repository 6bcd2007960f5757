"""Where keys and the ledger live: one `Storage` over SQLite or PostgreSQL, durable and never blocking the event loop.

Rooms above bring their own queries as functions of a SQLAlchemy `Connection`; the tables are in
`sealgate.storage.tables`. Everything else here (engines, writer thread, migrations) stays inside this room.
"""

from sealgate.storage.revisions import bump, revision
from sealgate.storage.store import Appended, NewRow, Storage, open_storage

__all__ = ["Appended", "NewRow", "Storage", "bump", "open_storage", "revision"]
