"""The storage, on both engines, for the tests of this room's rows."""

from tests.storage.conftest import database, storage, url

__all__ = ["database", "storage", "url"]
