"""The rows behind the transparency log: the only SQL of it. Each function runs in a transaction.

Two processes can never make two histories of these rows: a position and a size are primary keys, the next position is
read before what is put there, and both are in one transaction. Times are unix microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, count, repeat
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Row, Select, delete, func, insert, or_, select, update

from sealgate.receipts import statements as statement
from sealgate.receipts import store
from sealgate.storage import bump
from sealgate.storage.alone import alone
from sealgate.storage.direct import read, write
from sealgate.storage.tables import checkpoints, cosignatures, log_statements, logs

SKEW = 60_000_000
"""By how much the clocks of replicas may differ, in microseconds; beyond that they take the place from each other."""
KEPT = 1000
"""Checkpoints that stay recorded; older ones say nothing that the later ones do not."""


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """A log as the database knows it; ``sealed`` is why nothing more is entered."""

    id: int
    origin: str
    vkey: str
    sealed: str | None = None


class Signed(NamedTuple):
    """A checkpoint that was signed: its size, its root, and the note with the log's own signature."""

    size: int
    root: bytes
    note: str


class Extent(NamedTuple):
    """How far a log has come: its entries, its last checkpoint and when that was signed, why it is sealed, if it is."""

    entries: int
    last: Signed | None
    signed_at: int | None
    sealed: str | None


class Look(NamedTuple):
    """What the database says at one moment: the log's extent, whether a receipt waits, and the signing keys."""

    extent: Extent
    waits: bool
    keys: Sequence[store.KeyRow]


def latest(connection: Connection) -> LogRow | None:
    """The log that was begun last."""
    row = connection.execute(_LOG.order_by(logs.c.id.desc()).limit(1)).first()
    return None if row is None else LogRow(**row._mapping)


def by_origin(connection: Connection, origin: str) -> LogRow | None:
    row = connection.execute(_LOG.where(logs.c.origin == origin)).first()
    return None if row is None else LogRow(**row._mapping)


_LOG = select(logs.c.id, logs.c.origin, logs.c.vkey, logs.c.sealed)


def begin(connection: Connection, origin: str, vkey: str, now: int) -> LogRow:
    """The log of that name, begun now unless another process was faster."""
    alone(connection)
    found = by_origin(connection, origin)
    if found is None:
        number = connection.execute(select(func.coalesce(func.max(logs.c.id), 0) + 1)).scalar_one()
        connection.execute(insert(logs).values(id=number, origin=origin, vkey=vkey, created_at=now))
        if number > 1:
            store.abandon(connection)  # they name the log before this one
        found = LogRow(id=number, origin=origin, vkey=vkey)
    return found


def seal(connection: Connection, log: int, reason: str, now: int) -> None:
    """Enter nothing more, nor what waits; the first reason stays."""
    alone(connection)
    store.abandon(connection)
    connection.execute(
        update(logs).where(logs.c.id == log, logs.c.sealed.is_(None)).values(sealed=reason, sealed_at=now)
    )


def claim(connection: Connection, log: int, writer: str, now: int, until: int) -> bool:
    """Be the one process that enters, until then, unless another one is.

    One that says it is until long after that has died before the clock was set back (row H19).
    """
    alone(connection)
    there = logs.c.writer_until
    free = or_(logs.c.writer == writer, logs.c.writer.is_(None), there < now, there > until + SKEW)
    claimed = update(logs).where(logs.c.id == log, free).values(writer=writer, writer_until=until)
    return connection.execute(claimed).rowcount == 1


def release(connection: Connection, log: int, writer: str) -> None:
    """Let another process enter."""
    alone(connection)
    mine = update(logs).where(logs.c.id == log, logs.c.writer == writer)
    connection.execute(mine.values(writer=None, writer_until=None))


def is_writer(connection: Connection, log: int, writer: str) -> bool:
    """Whether this process may enter; keeps others from becoming it until the transaction ends."""
    return write(connection, _STILL_WRITER, (writer, log, writer)) == 1


_STILL_WRITER = "UPDATE logs SET writer = ? WHERE id = ? AND writer = ? AND sealed IS NULL"


def enter(connection: Connection, log: int, writer: str, statements: Mapping[str, bytes], limit: int) -> int | None:
    """Give what waits its places; how many got one. None: not the writer.

    New statements come before the receipts, but for those that end a key.
    """
    alone(connection)
    if not is_writer(connection, log, writer):
        return None
    fresh = _fresh(connection, log, statements)
    waiting = store.pending(connection, limit)
    # What was signed before a key was revoked comes before that in the log; so whatever waits now goes first.
    before = [name for name in fresh if not statement.ends_key(name)]
    behind = [name for name in fresh if statement.ends_key(name)] if len(waiting) < limit else []
    added = [*(statements[name] for name in before), *(each.leaf for each in waiting),
             *(statements[name] for name in behind)]  # fmt: skip
    if not added:
        return 0
    first = size(connection, log)
    values = chain.from_iterable(zip(repeat(log), count(first), added, strict=False))
    write(connection, _insert(len(added)), tuple(values))
    middle = first + len(before)
    told = [*enumerate(before, first), *enumerate(behind, middle + len(waiting))]
    if told:
        connection.execute(
            insert(log_statements), [{"log": log, "name": name, "position": place} for place, name in told]
        )
    if behind:
        bump(connection, store.REVISION)
    if waiting:
        store.place(connection, [each.ledger_id for each in waiting], middle)
    return len(added)


def _insert(entries: int) -> str:
    """One statement for all: at each one the driver lets others have the interpreter, and must get it back."""
    return f"INSERT INTO log_entries (log, position, entry) VALUES {', '.join(['(?, ?, ?)'] * entries)}"  # noqa: S608


def _fresh(connection: Connection, log: int, statements: Mapping[str, bytes]) -> list[str]:
    if not statements:
        return []
    known = select(log_statements.c.name).where(log_statements.c.log == log, log_statements.c.name.in_(statements))
    there = set(connection.execute(known).scalars())
    return [name for name in statements if name not in there]


def revocations(connection: Connection) -> dict[str, dict[str, int]]:
    """Where each log says that a key is revoked: the key's ``kid`` to the log's origin to the entry's position."""
    query = select(log_statements.c.name, logs.c.origin, log_statements.c.position).where(
        log_statements.c.log == logs.c.id, log_statements.c.position.is_not(None), log_statements.c.name.like("key:%")
    )
    found: dict[str, dict[str, int]] = {}
    for name, origin, position in connection.execute(query.order_by(logs.c.id)):
        if statement.ends_key(name):
            found.setdefault(statement.kid(name), {})[origin] = int(position)
    return found


def size(connection: Connection, log: int) -> int:
    """How many entries there are."""
    (found,) = read(connection, _LAST, (log,))[0]
    return 0 if found is None else int(found) + 1


_LAST = "SELECT max(position) FROM log_entries WHERE log = ?"


def entries(connection: Connection, log: int, start: int, limit: int) -> list[bytes]:
    """Entries from a position on."""
    return [bytes(entry) for (entry,) in read(connection, _ENTRIES, (log, start, start + limit))]


_ENTRIES = "SELECT entry FROM log_entries WHERE log = ? AND position >= ? AND position < ? ORDER BY position"


def extent(connection: Connection, log: int) -> Extent:
    """How far the log has come."""
    sealed = connection.execute(select(logs.c.sealed).where(logs.c.id == log)).scalar_one_or_none()
    newest = connection.execute(_LATEST.where(checkpoints.c.log == log)).first()
    signed_at = None if newest is None else newest.signed_at
    return Extent(size(connection, log), _of_row(newest), signed_at, sealed)


def look(connection: Connection, log: int) -> Look:
    """What there may be to do."""
    _, keys = store.all_keys(connection)
    return Look(extent(connection, log), bool(store.pending(connection, 1)), keys)


def last(connection: Connection, log: int) -> Signed | None:
    """The largest checkpoint."""
    return _signed(connection, log, _LATEST)


_CHECKPOINT = select(checkpoints.c.size, checkpoints.c.root, checkpoints.c.note, checkpoints.c.signed_at)
_LATEST = _CHECKPOINT.order_by(checkpoints.c.size.desc()).limit(1)


def _signed(connection: Connection, log: int, query: Select[Any]) -> Signed | None:
    return _of_row(connection.execute(query.where(checkpoints.c.log == log)).first())


def _of_row(row: Row[*tuple[Any, ...]] | None) -> Signed | None:
    return None if row is None else Signed(row.size, bytes(row.root), row.note)


def checkpoint(connection: Connection, log: int, size: int) -> Signed | None:
    """The checkpoint of that size."""
    return _signed(connection, log, _CHECKPOINT.where(checkpoints.c.size == size))


def sign(connection: Connection, log: int, signed: Signed, now: int) -> Signed:
    """Record a checkpoint, unless there is one of its size: that one counts. What counts is returned."""
    alone(connection)
    found = checkpoint(connection, log, signed.size)
    if found is not None:
        return found
    connection.execute(insert(checkpoints).values(log=log, signed_at=now, **signed._asdict()))
    return signed


def prune(connection: Connection, log: int, kept: int = KEPT) -> None:
    """Forget old checkpoints and what was cosigned of them."""
    oldest = select(checkpoints.c.size).where(checkpoints.c.log == log).order_by(checkpoints.c.size.desc())
    bound = connection.execute(oldest.offset(kept - 1).limit(1)).scalar()
    witnessed = select(func.max(cosignatures.c.size)).where(cosignatures.c.log == log).group_by(cosignatures.c.witness)
    seen = list(connection.execute(witnessed).scalars())
    if bound is None:
        return
    bound = min([bound, *seen])
    connection.execute(delete(checkpoints).where(checkpoints.c.log == log, checkpoints.c.size < bound))
    connection.execute(delete(cosignatures).where(cosignatures.c.log == log, cosignatures.c.size < bound))


def cosign(connection: Connection, log: int, size: int, lines: Mapping[str, str]) -> None:
    """Record what witnesses signed of a checkpoint, by their vkeys."""
    alone(connection)
    for witness, line in lines.items():
        there = (cosignatures.c.log == log, cosignatures.c.size == size, cosignatures.c.witness == witness)
        connection.execute(delete(cosignatures).where(*there))
        connection.execute(insert(cosignatures).values(log=log, size=size, witness=witness, line=line))


def seen_by(connection: Connection, log: int, witnesses: Sequence[str]) -> dict[str, int]:
    """The largest size that each of these witnesses signed."""
    query = select(cosignatures.c.witness, func.max(cosignatures.c.size)).where(
        cosignatures.c.log == log, cosignatures.c.witness.in_(witnesses)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query.group_by(cosignatures.c.witness))}


def cosigned(connection: Connection, log: int, size: int, witnesses: Sequence[str]) -> list[str]:
    """The lines of these witnesses under a checkpoint."""
    query = select(cosignatures.c.line).where(
        cosignatures.c.log == log, cosignatures.c.size == size, cosignatures.c.witness.in_(witnesses)
    )
    return list(connection.execute(query.order_by(cosignatures.c.witness)).scalars())


def witnessed(connection: Connection, log: int, witnesses: Sequence[str], quorum: int) -> Signed | None:
    """The largest checkpoint that a quorum of these witnesses signed."""
    if not quorum:
        return None
    counted = select(cosignatures.c.size).where(cosignatures.c.log == log, cosignatures.c.witness.in_(witnesses))
    enough = counted.group_by(cosignatures.c.size).having(func.count() >= quorum)
    found = connection.execute(enough.order_by(cosignatures.c.size.desc()).limit(1)).scalar()
    return None if found is None else checkpoint(connection, log, found)
