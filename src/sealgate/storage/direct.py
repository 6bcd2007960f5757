"""What happens on each request and is more than an insert: the driver's cursor, without SQLAlchemy in between.

Through SQLAlchemy the few statements of a budget cost more than all the rest of a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table

from sealgate.storage.insert import ROWS, Insert, Row, Values

_WRITTEN: dict[str, str] = {}


class Direct:
    """The writer's transaction, for functions given to `Storage.submit_direct`.

    Statements are written with ``?`` for each value, in SQL that both engines know, and without any other ``?`` or
    ``%``. There are a few of them, all constants.
    """

    __slots__ = ("_cursor", "_dialect", "_gone", "_inserts", "_qmark", "_rows", "_sums", "locked", "shared", "together")

    def __init__(self, cursor: Any, dialect: Dialect) -> None:
        self.shared = dialect.name != "sqlite"
        """Whether other processes may be at work on this database."""
        self._cursor = cursor
        self._dialect = dialect
        self._inserts: dict[Table, Insert] = {}
        self._rows: dict[Table, list[Values]] = {}
        self._sums: dict[tuple[str, tuple[Any, ...]], int] = {}
        self._gone: dict[str, list[str]] = {}
        self.locked = False
        """Whether this transaction has `sealgate.storage.alone`'s lock."""
        self.together = False
        """Whether the jobs of a batch are carried out together; where one raises, all are, one by one."""
        self._qmark = dialect.paramstyle == "qmark"

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """How many rows it changed. What waits to be written is not written first."""
        self._cursor.execute(statement if self._qmark else percents(statement), values)
        changed: int = self._cursor.rowcount
        return changed

    def first(self, statement: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row that it finds."""
        self.flush()
        self._cursor.execute(statement if self._qmark else percents(statement), values)
        found: tuple[Any, ...] | None = self._cursor.fetchone()
        return found

    def all(self, statement: str, values: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        """All rows that it finds."""
        self.flush()
        self._cursor.execute(statement if self._qmark else percents(statement), values)
        found: Sequence[tuple[Any, ...]] = self._cursor.fetchall()
        return found

    def insert(self, table: Table, row: Row) -> None:
        """One row; columns not given are NULL. It is written with those of others, before anything is looked for."""
        insert = self._inserts.get(table)
        if insert is None:
            insert = self._inserts[table] = Insert(table, self._dialect)
        self._rows.setdefault(table, []).append(insert.values(row))

    def add(self, statement: str, amount: int, key: tuple[Any, ...]) -> None:
        """Add to one number of one row: of many jobs the amounts for one key become one statement.

        Its values are the amount, then the key. It is run when rows are written.
        """
        named = statement, key
        self._sums[named] = self._sums.get(named, 0) + amount

    def remove(self, statement: str, name: str) -> None:
        """Delete one row that is there: those of many jobs become one statement, which ends in ``IN``.

        It is run when rows are written. Where one is missing it raises `LookupError`: it is for jobs that are carried
        out `together`, and look themselves when they are alone.
        """
        self._gone.setdefault(statement, []).append(name)

    def flush(self) -> None:
        """Write what waits. Raises `LookupError`."""
        if self._rows:
            rows, self._rows = self._rows, {}
            for table, values in rows.items():
                self._inserts[table].run(self._cursor, values)
        if self._gone:
            gone, self._gone = self._gone, {}
            for statement, names in gone.items():
                for start in range(0, len(names), ROWS):
                    some = names[start : start + ROWS]
                    if self.run(f"{statement} ({', '.join('?' * len(some))})", some) != len(some):
                        raise LookupError("a row that was to be deleted is missing")
        if self._sums:
            sums, self._sums = self._sums, {}
            for (statement, key), amount in sums.items():
                if amount:
                    self.run(statement, (amount, *key))

    def forget(self) -> None:
        """Drop what waits: it belongs to a transaction that is undone, and the lock is let go with it."""
        self._rows, self._gone, self._sums, self.locked = {}, {}, {}, False


def read(connection: Connection, statement: str, values: tuple[Any, ...]) -> Sequence[Any]:
    """All rows that such a statement finds, for a reader."""
    qmark = connection.dialect.paramstyle == "qmark"
    return connection.exec_driver_sql(statement if qmark else percents(statement), values).all()


def write(connection: Connection, statement: str, values: tuple[Any, ...] | list[tuple[Any, ...]]) -> int:
    """Run such a statement for a function of the writer, or once for each of several values; how many rows changed."""
    qmark = connection.dialect.paramstyle == "qmark"
    changed: int = connection.exec_driver_sql(statement if qmark else percents(statement), values).rowcount
    return changed


def percents(statement: str) -> str:
    """The statement as PostgreSQL's driver wants it."""
    written = _WRITTEN.get(statement)
    if written is None:
        written = _WRITTEN[statement] = statement.replace("?", "%s")
    return written
