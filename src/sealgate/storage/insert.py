"""The hot path's INSERT: compiled once per table, given to the driver without SQLAlchemy in between.

Several rows are one statement: SQLite's driver lets go of the interpreter's lock and takes it again for each statement
that it runs, and the event loop is in between each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import asdict, astuple
from sqlalchemy import Boolean, Dialect, Table

Values = tuple[Any, ...]
Row: TypeAlias = Mapping[str, Any] | Struct
"""Values by column. A struct whose fields are all columns in their order costs least."""

ROWS = 16
"""The most rows in one statement; SQLite allows 32 766 parameters, PostgreSQL 65 535."""


class Insert:
    """Inserts whole rows of one table."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        names = [column.name for column in table.columns]
        self.table = table.name
        self._order = tuple(names)
        self._names = frozenset(names)
        self._pick = itemgetter(*names)
        self._converters = _converters(table, dialect)
        self._statements = [_statement(table, dialect, rows) for rows in range(1, ROWS + 1)]

    def values(self, row: Row) -> Values:
        """A row as the driver wants it, columns not given as NULL. Raises `ValueError` for a column there is not."""
        values = self._of_struct(row) if isinstance(row, Struct) else self._of_mapping(row)
        if not self._converters:
            return values
        converted = list(values)
        for position, convert in self._converters:
            converted[position] = convert(converted[position])
        return tuple(converted)

    def run(self, cursor: Any, rows: Sequence[Values]) -> None:
        """Insert all rows, in order. One that fails leaves some of those before it inserted."""
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            cursor.execute(self._statements[len(some) - 1], tuple(chain.from_iterable(some)))

    def _of_struct(self, row: Struct) -> Values:
        return astuple(row) if row.__struct_fields__ == self._order else self._of_mapping(asdict(row))

    def _of_mapping(self, row: Mapping[str, Any]) -> Values:
        if row.keys() != self._names:
            row = self._completed(row)
        values: Values = self._pick(row)
        return values

    def _completed(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        if unknown := row.keys() - self._names:
            raise ValueError(f"the table {self.table} has no column {', '.join(sorted(unknown))}")
        return dict.fromkeys(self._names) | dict(row)


def _converters(table: Table, dialect: Dialect) -> list[tuple[int, Callable[[Any], Any]]]:
    """What a column's type does to a value before the driver sees it, by position; most types do nothing."""
    found: list[tuple[int, Callable[[Any], Any]]] = []
    for position, column in enumerate(table.columns):
        convert = column.type.dialect_impl(dialect).bind_processor(dialect)
        # Both drivers take a bool as it is; SQLAlchemy's check of it would be a third of the cost of `values`.
        if convert is not None and not isinstance(column.type, Boolean):
            found.append((position, convert))
    return found


def _statement(table: Table, dialect: Dialect, rows: int) -> str:
    quoted = dialect.identifier_preparer
    names = ", ".join(quoted.format_column(column) for column in table.columns)
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    row = f"({', '.join([mark] * len(table.columns))})"
    # Names come from our own Table and values are bound, so there is nothing of a caller's in this text.
    return f"INSERT INTO {quoted.format_table(table)} ({names}) VALUES {', '.join([row] * rows)}"  # noqa: S608
