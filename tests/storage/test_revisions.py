"""Revision counters, on both engines."""

import pytest

from sealgate.errors import Problem
from sealgate.storage import Storage, bump, revision

pytestmark = pytest.mark.anyio


async def test_a_topic_never_changed_has_revision_zero(storage: Storage) -> None:
    assert await storage.read(lambda connection: revision(connection, "keys")) == 0


async def test_each_bump_counts_one_and_topics_are_apart(storage: Storage) -> None:
    for expected in (1, 2, 3):
        assert await storage.write(lambda connection: bump(connection, "keys")) == expected
    await storage.write(lambda connection: bump(connection, "prices"))

    assert await storage.read(lambda connection: revision(connection, "keys")) == 3
    assert await storage.read(lambda connection: revision(connection, "prices")) == 1


async def test_a_change_that_is_undone_leaves_the_revision(storage: Storage) -> None:
    def change(connection: object) -> None:
        bump(connection, "keys")  # type: ignore[arg-type]
        raise Problem("not_found")

    with pytest.raises(Problem):
        await storage.write(change)

    assert await storage.read(lambda connection: revision(connection, "keys")) == 0
