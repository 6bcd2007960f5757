"""Many keys in a database, quicker than anybody could make them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def fill_keys(database: Path, count: int) -> None:
    """Copies of the one key in the database, until there are ``count``, each with an id, a look-up id and a digest
    of its own. Nobody knows these keys; they are there to be searched through."""
    own = {"id": "hex(randomblob(16))", "lookup": "substr(hex(randomblob(6)), 1, 12)", "digest": "randomblob(32)"}
    with closing(sqlite3.connect(database)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(keys)")]
        if not own.keys() <= set(columns):
            raise RuntimeError(f"the table of keys has other columns than the bench knows: {columns}")
        values = ", ".join(own.get(column, f"keys.{column}") for column in columns)
        connection.execute(
            "WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) "
            f"INSERT INTO keys ({', '.join(columns)}) SELECT {values} FROM numbers, "
            "(SELECT * FROM keys WHERE name = 'bench' LIMIT 1) AS keys",
            (count,),
        )
