"""What the two engines have in common: the little that `Storage`, its writer and the migrations need to know."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

READERS = 4
"""Threads, and connections, that serve reads."""

MIGRATION_SECONDS = 30.0
"""How long a start waits for another process that is migrating the same database, or has it locked."""


class Backend(Protocol):
    """A database that has been found usable."""

    name: str
    """The database in words, without its password."""
    writer: Engine
    """Gives the writer's connection, never pooled."""
    reader: Engine
    """Gives connections on which writes are refused."""
    begin: str | None
    """The statement that opens the writer's transaction, where the driver does not do it by itself."""

    def exclusive(self) -> AbstractContextManager[Connection]:
        """A transaction in which no other process migrates; commits at the end."""

    def stale(self, driver_connection: Any, /) -> bool:
        """Whether an idle connection is known to be dead. Costs no round trip."""

    def ruined(self, error: BaseException, /) -> bool:
        """Whether the disk may have lost what it had taken, so that no later commit could be believed."""


def reason(error: BaseException) -> str:
    """The driver's own sentence, without SQLAlchemy's statement and parameters.

    Of an error about a value only the kind is told: the sentence may quote the value, and this text goes to logs.
    """
    cause = of_driver(error)
    kinds = {kind.__name__ for kind in type(cause).__mro__}
    if "Error" not in kinds or "DataError" in kinds:  # names of PEP 249
        return type(cause).__name__
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)


def of_driver(error: BaseException) -> BaseException:
    """The driver's own error, where SQLAlchemy has wrapped it."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
