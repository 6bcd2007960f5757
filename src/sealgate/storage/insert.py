"""The hot path's INSERT: its text is kept, and given to the driver without SQLAlchemy in between.

Several rows are one statement: SQLite's driver lets go of the interpreter's lock and takes it again for each statement
that it runs, and the event loop is in between each time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import asdict, astuple
from sqlalchemy import Boolean, Dialect, Table

Values = tuple[Any, ...]
Row: TypeAlias = Mapping[str, Any] | Struct
"""Values by column. A struct whose fields are all columns in their order costs least."""

ROWS = 32
"""The most rows in one statement; SQLite allows 32 766 parameters, PostgreSQL 65 535."""


class Insert:
    """Inserts whole rows of one table.

    Statements name only the columns that had a value in any row so far: what an installation never uses costs nothing,
    and since columns only join, a few statements soon serve all rows.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        names = [column.name for column in table.columns]
        self._order = tuple(names)
        self._names = frozenset(names)
        self._pick = itemgetter(*names)
        self._converters = _converters(table, dialect)
        self._table, self._dialect = table, dialect
        self._alike: type[Struct] | None = None
        """The struct whose fields are the columns, in their order, once one has come: to compare names takes long."""
        self._name([column.name for column in table.columns if not column.nullable] or names)

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
        """Insert all rows, in order. One that fails leaves some of those before it inserted. Not from two threads."""
        self._widen(rows)
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            statement = self._statements.get(len(some)) or self._statement(len(some))
            cursor.execute(statement, tuple(chain.from_iterable(map(self._named, some))))

    def _widen(self, rows: Sequence[Values]) -> None:
        """Name the columns too that have their first value here."""
        empty = self._empty
        for row in rows:
            if self._unnamed(row) != empty:
                named = [name for name, value in zip(self._order, row, strict=True) if value is not None]
                self._name([*self._columns, *named])
                empty = self._empty

    def _name(self, columns: Collection[str]) -> None:
        self._columns = tuple(name for name in self._order if name in columns)
        self._named = _picker([at for at, name in enumerate(self._order) if name in columns])
        self._unnamed = _picker([at for at, name in enumerate(self._order) if name not in columns])
        self._empty = (None,) * (len(self._order) - len(self._columns))
        self._statements: dict[int, str] = {}
        """By the number of rows."""

    def _statement(self, rows: int) -> str:
        statement = self._statements[rows] = _statement(self._table, self._columns, self._dialect, rows)
        return statement

    def _of_struct(self, row: Struct) -> Values:
        kind = type(row)
        if kind is not self._alike and kind.__struct_fields__ == self._order:
            self._alike = kind
        return astuple(row) if kind is self._alike else self._of_mapping(asdict(row))

    def _of_mapping(self, row: Mapping[str, Any]) -> Values:
        if row.keys() != self._names:
            row = self._completed(row)
        values: Values = self._pick(row)
        return values

    def _completed(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        if unknown := row.keys() - self._names:
            raise ValueError(f"the table {self._table.name} has no column {', '.join(sorted(unknown))}")
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


def _picker(places: Sequence[int]) -> Callable[[Values], Values]:
    """Takes the values at these places, always as a tuple, which `itemgetter` does not where there is one."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda row: tuple(row[at] for at in places)


def _statement(table: Table, columns: Sequence[str], dialect: Dialect, rows: int) -> str:
    quoted = dialect.identifier_preparer
    names = ", ".join(quoted.format_column(table.columns[name]) for name in columns)
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    row = f"({', '.join([mark] * len(columns))})"
    # Names come from our own Table and values are bound, so there is nothing of a caller's in this text.
    return f"INSERT INTO {quoted.format_table(table)} ({names}) VALUES {', '.join([row] * rows)}"  # noqa: S608
