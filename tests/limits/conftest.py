"""The ledger is tried on both engines, as the storage is."""

from tests.storage.conftest import database, storage, url

__all__ = ["database", "storage", "url"]
