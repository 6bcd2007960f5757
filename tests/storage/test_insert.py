"""The compiled INSERT of the hot path."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Column, DateTime, Integer, MetaData, Table, Text
from sqlalchemy.dialects import postgresql, sqlite

from sealgate.storage.insert import ROWS, Insert
from sealgate.storage.tables import meta


class Cursor:
    """Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Sequence[object]]] = []

    def execute(self, statement: str, values: Sequence[object]) -> None:
        self.calls.append((statement, values))


def test_values_are_in_the_order_of_the_columns_whatever_the_order_of_the_row() -> None:
    assert Insert(meta, sqlite.dialect()).values({"value": "b", "name": "a"}) == ("a", "b")


def test_a_column_not_given_is_null() -> None:
    assert Insert(meta, sqlite.dialect()).values({"name": "a"}) == ("a", None)


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(ValueError, match="the table meta has no column colour, size"):
        Insert(meta, sqlite.dialect()).values({"name": "a", "size": 1, "colour": 2})


def test_each_driver_gets_its_own_marks_and_values_are_never_in_the_text() -> None:
    cursor = Cursor()

    Insert(meta, sqlite.dialect()).run(cursor, [("a", "b")])
    Insert(meta, postgresql.dialect()).run(cursor, [("a", "b")])

    assert cursor.calls == [
        ("INSERT INTO meta (name, value) VALUES (?, ?)", ("a", "b")),
        ("INSERT INTO meta (name, value) VALUES (%s, %s)", ("a", "b")),
    ]


def test_many_rows_are_few_statements_and_stay_in_order() -> None:
    cursor = Cursor()

    Insert(meta, sqlite.dialect()).run(cursor, [(f"n{number}", "v") for number in range(ROWS + 2)])

    (first, values), (second, rest) = cursor.calls
    assert first == "INSERT INTO meta (name, value) VALUES " + ", ".join(["(?, ?)"] * ROWS)
    assert second == "INSERT INTO meta (name, value) VALUES (?, ?), (?, ?)"
    assert [*values, *rest][::2] == [f"n{number}" for number in range(ROWS + 2)]


def test_a_name_that_is_a_word_of_sql_is_quoted() -> None:
    cursor = Cursor()
    table = Table("order", MetaData(), Column("select", Integer), Column("plain", Text))

    Insert(table, sqlite.dialect()).run(cursor, [(1, "x")])

    assert cursor.calls[0][0] == 'INSERT INTO "order" ("select", plain) VALUES (?, ?)'


def test_a_type_that_needs_converting_is_converted() -> None:
    import datetime

    table = Table("t", MetaData(), Column("at", DateTime), Column("n", Integer))

    values = Insert(table, sqlite.dialect()).values({"at": datetime.datetime(2026, 1, 2), "n": 3})

    assert values == ("2026-01-02 00:00:00.000000", 3)


def test_a_column_is_named_from_its_first_value_on() -> None:
    cursor = Cursor()
    table = Table("t", MetaData(), Column("id", Text, primary_key=True), Column("a", Text), Column("b", Integer))
    insert = Insert(table, sqlite.dialect())

    insert.run(cursor, [("1", None, None)])
    insert.run(cursor, [("2", None, None), ("3", None, 0)])
    insert.run(cursor, [("4", None, None)])
    insert.run(cursor, [("5", "x", None)])

    assert cursor.calls == [
        ("INSERT INTO t (id) VALUES (?)", ("1",)),
        ("INSERT INTO t (id, b) VALUES (?, ?), (?, ?)", ("2", None, "3", 0)),
        ("INSERT INTO t (id, b) VALUES (?, ?)", ("4", None)),
        ("INSERT INTO t (id, a, b) VALUES (?, ?, ?)", ("5", "x", None)),
    ]
