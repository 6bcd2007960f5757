"""The rows behind API keys: the only SQL of this room. Every value a caller sent is a bound parameter.

Each function takes a connection inside a transaction that `Storage.read` or `Storage.write` opened, and runs in one of
the storage's threads. Times are Unix microseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import Connection, Row, bindparam, func, insert, literal, or_, select, text, update

from sealgate.auth import scope
from sealgate.auth.caller import Caller, KeySettings
from sealgate.auth.keyform import candidates
from sealgate.config_tables import LARGEST_BUDGET, Budget, Limits
from sealgate.config_types import MOST
from sealgate.errors import Problem, StorageError
from sealgate.formats import moments
from sealgate.storage import audit, bump, revision
from sealgate.storage.audit import SYSTEM, Actor
from sealgate.storage.tables import customers, keys, meta

KeyRow: TypeAlias = Row[Any]
"""A row of the table `keys`."""

REVISION = "keys"
SALTS = "key_import_prefixes"
"""Name of the `meta` row that holds the prefixes by which imported hashes were salted, as a JSON list."""
DAY = 86_400_000_000
"""In microseconds."""
MAX_SALTS = 4
"""Each one costs a hash on every request with an unknown key."""

_NOTE = text("INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")
_CUSTOMER = text("INSERT INTO customers (id, name, created_at) VALUES (:id, :id, :now) ON CONFLICT (id) DO NOTHING")

_LOOKUPS = 2 + MAX_SALTS
_ASKED = select(literal(1).label("one")).subquery("asked")
_LOOK_UP = select(keys).select_from(
    _ASKED.outerjoin(keys, keys.c.lookup.in_([bindparam(f"lookup{number}") for number in range(_LOOKUPS)]))
)
"""Built once: SQLAlchemy takes longer to build a statement than SQLite takes to answer this one."""


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A key as its owner may see it: everything but the key."""

    id: str
    key_prefix: str
    name: str
    customer_id: str
    is_admin: bool
    is_default: bool
    """Only where a customer's keys were looked at together: the one that was chosen, else the oldest active one."""
    is_active: bool
    """Neither revoked nor expired at the time of asking."""
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    models: tuple[str, ...] | None
    settings: KeySettings
    limits: Limits | None
    budget: Budget | None


class NewRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key to be stored."""

    id: str
    customer_id: str
    lookup: str
    digest: bytes
    key_prefix: str
    name: str
    is_admin: bool
    models: tuple[str, ...] | None
    settings: KeySettings
    created_at: int
    expires_at: int | None
    limits: Limits | None = None
    budget: Budget | None = None


class State(msgspec.Struct, frozen=True):
    """What every process must know about all keys: the revision that counts revocations, and the import prefixes."""

    revision: int
    salts: tuple[bytes, ...]


def state(connection: Connection) -> State:
    return State(revision(connection, REVISION), tuple(salt.encode() for salt in _salts(connection)))


def look_up(connection: Connection, lookups: Sequence[str]) -> Sequence[KeyRow]:
    """The rows under these look-up ids (at most ``2 + MAX_SALTS``), revoked and expired ones included.

    Where there is none, the result is one row of NULLs: the answer takes as long whether a look-up id is known or not.
    """
    padded = [*lookups, *[""] * (_LOOKUPS - len(lookups))]
    return connection.execute(_LOOK_UP, {f"lookup{number}": lookup for number, lookup in enumerate(padded)}).all()


def add(
    connection: Connection,
    row: NewRow,
    digests: Sequence[bytes],
    most_active: int | None = None,
    salt: str | None = None,
    *,
    actor: Actor = SYSTEM,
    act: Literal["key.created", "key.imported"] = "key.created",
    first: bool | None = None,
    ended_count: bool = False,
) -> KeyInfo:
    """Store a key, and its customer and the prefix its hash was salted by, where those are new.

    Raises `Problem` where a key with one of the digests is stored already, or where the customer has
    ``most_active`` active keys (None: no limit); with ``ended_count`` those count too that were active in the last day.
    """
    if salt is not None:
        add_salt(connection, salt)
    add_customer(connection, row.customer_id, row.created_at, actor)
    _refuse_known(connection, row.lookup, digests)
    if most_active is not None:
        _require_room(connection, row.customer_id, row.created_at, most_active, ended_count)
    values = msgspec.structs.asdict(row)
    values["models"] = None if row.models is None else _to_json(row.models)
    values["settings"] = None if row.settings == KeySettings() else _to_json(row.settings)
    values["limits"] = None if row.limits is None else _to_json(row.limits)
    values["budget"] = None if row.budget is None else _to_json(row.budget)
    connection.execute(insert(keys).values(**values, is_default=False))
    told = _told(row) | {"is_admin": row.is_admin, "models": row.models, "limits": row.limits, "budget": row.budget}
    told |= {"expires_at": None if row.expires_at is None else moments.iso(row.expires_at), "first": first}
    audit.record(connection, actor, act, at=row.created_at, customer=row.customer_id, about=row.id, detail=told)
    return next(each for each in listed(connection, row.customer_id, row.created_at) if each.id == row.id)


def add_salt(connection: Connection, salt: str) -> None:
    """Remember a prefix by which imported hashes were salted, and tell all processes."""
    if salt in _salts(connection):
        return
    bump(connection, REVISION)  # Locks its row until the commit: what is read after it stays as it is.
    known = _salts(connection)
    if len(known) >= MAX_SALTS:
        raise Problem(
            "invalid_parameter", f"There are {MAX_SALTS} import prefixes already, the most allowed.", param="prefix"
        )
    connection.execute(_NOTE, {"name": SALTS, "value": "[]"})
    connection.execute(update(meta).where(meta.c.name == SALTS).values(value=_to_json([*known, salt])))


def listed(connection: Connection, customer_id: str | None, now: int) -> list[KeyInfo]:
    """All keys, or those of one customer, oldest first. Of each customer's, the default one is marked."""
    query = select(keys).order_by(keys.c.created_at, keys.c.id)
    if customer_id is not None:
        query = query.where(keys.c.customer_id == customer_id)
    rows = connection.execute(query).all()
    defaults: dict[str, KeyRow] = {}
    for row in rows:
        if is_active(row, now) and (row.is_default or row.customer_id not in defaults):
            defaults[row.customer_id] = row
    return [info(row, now, is_default=defaults.get(row.customer_id) is row) for row in rows]


def default(connection: Connection, customer_id: str, now: int) -> KeyInfo | None:
    """The customer's default key: the active one that was chosen, else the oldest active one."""
    return next((each for each in listed(connection, customer_id, now) if each.is_default), None)


def set_default(
    connection: Connection,
    key_id: str,
    caller: Caller,
    now: int,
    actor: Actor = SYSTEM,
    usual: Limits | None = None,
) -> KeyInfo:
    """Choose the default key of the caller's customer; ``usual`` are the limits of who has none of its own.

    Raises `Problem` as `revoke_own`, ``key_not_active``, and ``scope_exceeds_caller`` where a user would widen what its
    own tokens may do.
    """
    _lock_customer(connection, caller.customer_id)
    row = _own(connection, key_id, caller)
    if row.id != caller.default_key_id:
        scope.require_choosable(caller, stored_limits(row), usual)
    return _choose(connection, row, now, actor)


def choose_default(
    connection: Connection, which: str, customer_id: str | None, now: int, actor: Actor = SYSTEM
) -> KeyInfo:
    """`set_default` for the operator, who names the key as in `revoke`."""
    row = _the_one(connection, which, customer_id, now)
    if row is None:
        raise Problem("not_found", "There is no such key.")
    _lock_customer(connection, row.customer_id)
    return _choose(connection, row, now, actor)


def _choose(connection: Connection, row: KeyRow, now: int, actor: Actor) -> KeyInfo:
    if not is_active(row, now):
        raise Problem("key_not_active")
    if not row.is_default:
        of_customer = update(keys).where(keys.c.customer_id == row.customer_id)
        connection.execute(of_customer.where(keys.c.is_default).values(is_default=False))
        connection.execute(of_customer.where(keys.c.id == row.id).values(is_default=True))
        bump(connection, REVISION)  # Users whose tokens go by the default key's limits have other ones now.
        _record(connection, actor, "key.default_set", row, now)
    return info(row, now, is_default=True)


def revoke_own(connection: Connection, key_id: str, caller: Caller, now: int, actor: Actor = SYSTEM) -> KeyInfo:
    """End a key of the caller's customer by its id; one that has ended already stays as it was.

    Raises `Problem` ``not_found``, alike for an unknown id and another customer's, and ``admin_key_required`` for an
    administrator's key where the caller is none.
    """
    return _end(connection, _own(connection, key_id, caller), now, actor)


def revoke(connection: Connection, which: str, customer_id: str | None, now: int, actor: Actor = SYSTEM) -> KeyInfo:
    """End a key for good, given its id, its shown prefix, its name, or the key itself.

    A key that is revoked already stays as it was. Raises `Problem` ``not_found`` where there is none (or none of this
    customer), and ``invalid_parameter`` where a name means several.
    """
    row = _the_one(connection, which, customer_id, now)
    if row is None:
        raise Problem("not_found", "There is no such key.")
    return _end(connection, row, now, actor)


def _end(connection: Connection, row: KeyRow, now: int, actor: Actor) -> KeyInfo:
    if row.revoked_at is None:
        one = (keys.c.id == row.id) & (keys.c.customer_id == row.customer_id)
        connection.execute(update(keys).where(one).values(revoked_at=now, is_default=False))
        bump(connection, REVISION)
        _record(connection, actor, "key.revoked", row, now)
        row = connection.execute(select(keys).where(one)).one()
    return info(row, now)


def _record(connection: Connection, actor: Actor, action: str, row: KeyRow, now: int) -> None:
    audit.record(connection, actor, action, at=now, customer=row.customer_id, about=row.id, detail=_told(row))


def _told(row: KeyRow | NewRow) -> dict[str, Any]:
    """What the audit trail says of a key: what every list shows of it."""
    return {"name": row.name, "key_prefix": row.key_prefix}


def _own(connection: Connection, key_id: str, caller: Caller) -> KeyRow:
    """A customer's key. Raises `Problem` ``not_found`` and ``admin_key_required``."""
    one = (keys.c.id == key_id) & (keys.c.customer_id == caller.customer_id)
    row = connection.execute(select(keys).where(one)).first() if key_id.isprintable() else None
    if row is None:
        raise Problem("not_found")
    if row.is_admin and not caller.is_admin:
        raise Problem("admin_key_required", "An administrator's key can be changed by an administrator's key only.")
    return row


def add_first(connection: Connection, row: NewRow) -> KeyInfo | None:
    """Store a key if there never was one, even where several processes try at once."""
    bump(connection, REVISION)  # Locks its row until the commit, on PostgreSQL too; a SELECT would not.
    return None if any_key(connection) else add(connection, row, [row.digest], first=True)


def any_key(connection: Connection) -> bool:
    """Whether a key was ever made; revoked keys stay in the table."""
    return connection.execute(select(keys.c.id).limit(1)).first() is not None


def noted(connection: Connection, name: str) -> str | None:
    """The value of a `meta` row."""
    return connection.execute(select(meta.c.value).where(meta.c.name == name)).scalar_one_or_none()


def note_once(connection: Connection, name: str, value: str) -> str:
    """Set a `meta` row where there is none; its value then, which is not ours if another process was faster."""
    connection.execute(_NOTE, {"name": name, "value": value})
    return noted(connection, name) or value


def info(row: KeyRow, now: int, *, is_default: bool = False) -> KeyInfo:
    return KeyInfo(
        id=row.id,
        key_prefix=row.key_prefix,
        name=row.name,
        customer_id=row.customer_id,
        is_admin=bool(row.is_admin),
        is_default=is_default,
        is_active=is_active(row, now),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        models=stored_models(row),
        settings=stored_settings(row),
        limits=stored_limits(row),
        budget=stored_budget(row),
    )


def is_active(row: KeyRow, now: int) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now)


def stored_models(row: KeyRow) -> tuple[str, ...] | None:
    """The allow list, None for all models. What cannot be read is an error, never "all"."""
    return None if row.models is None else _from_json(row.models, tuple[str, ...], row)


def stored_settings(row: KeyRow) -> KeySettings:
    return KeySettings() if row.settings is None else _from_json(row.settings, KeySettings, row)


def stored_limits(row: KeyRow) -> Limits | None:
    if row.limits is None:
        return None
    # Earlier versions took more than any store can count.
    said = _from_json(row.limits, dict[str, int | None], row)
    if not said.keys() <= set(Limits.__struct_fields__):
        raise StorageError(f"what is stored of key {row.key_prefix} cannot be read: it has limits of other kinds")
    return Limits(**{name: most if most is None else min(most, MOST) for name, most in said.items()})


def stored_budget(row: KeyRow) -> Budget | None:
    if row.budget is None:
        return None
    said = _from_json(row.budget, _StoredBudget, row)
    return Budget(min(said.amount, Decimal(LARGEST_BUDGET)), said.period, said.rolling)


def _the_one(connection: Connection, which: str, customer_id: str | None, now: int) -> KeyRow | None:
    if not which.isprintable():
        return None
    salts = [salt.encode() for salt in _salts(connection)]
    lookups = [candidate.lookup for candidate in candidates(which.encode(), salts)]
    exact = or_(keys.c.id == which, keys.c.key_prefix == which, keys.c.lookup.in_(lookups))
    for condition in (exact, keys.c.name == which):
        query = select(keys).where(condition).order_by(keys.c.created_at)
        if customer_id is not None:
            query = query.where(keys.c.customer_id == customer_id)
        rows = connection.execute(query).all()
        # A name is often given again after its key was revoked: it then means the key that is alive.
        alive = [row for row in rows if is_active(row, now)] or rows
        if len(alive) == 1:
            return alive[0]
        if alive:
            several = ", ".join(f"{row.key_prefix} ({row.id})" for row in alive[:5])
            raise Problem("invalid_parameter", f"'{which}' means {len(alive)} keys: {several}. Give the id of one.")
    return None


def add_customer(connection: Connection, customer_id: str, now: int, actor: Actor = SYSTEM) -> None:
    """Make a customer, if it is new."""
    if connection.execute(_CUSTOMER, {"id": customer_id, "now": now}).rowcount == 1:
        audit.record(connection, actor, "customer.created", at=now, customer=customer_id, about=customer_id)
    _lock_customer(connection, customer_id)


def _lock_customer(connection: Connection, customer_id: str) -> None:
    # Held until the commit, so that two processes cannot both make the last key that the customer may have,
    # or both choose its default key.
    connection.execute(select(customers.c.id).where(customers.c.id == customer_id).with_for_update())


def _refuse_known(connection: Connection, lookup: str, digests: Sequence[bytes]) -> None:
    """A key stored twice could be revoked once and still be good."""
    same = or_(keys.c.lookup == lookup, keys.c.digest.in_(digests))
    found = connection.execute(select(keys).where(same).limit(1)).first()
    if found is not None:
        state = "and revoked; a revoked key cannot come back" if found.revoked_at is not None else "already"
        raise Problem(
            "invalid_parameter", f"This key is known as '{found.name}' ({found.key_prefix}) {state}.", param="key"
        )


def _require_room(connection: Connection, customer_id: str, now: int, most: int, ended_count: bool) -> None:
    if _count_active(connection, customer_id, now) >= most:
        raise Problem("too_many_keys", f"There are {most} active keys, the most allowed. Revoke one first.")
    if ended_count and _count_active(connection, customer_id, now, lately=DAY) >= most:
        said = f"There were {most} keys in the last 24 hours, the most allowed where limits hold."
        raise Problem("too_many_keys", said)


def _count_active(connection: Connection, customer_id: str, now: int, lately: int = 0) -> int:
    """Keys that are active, or were in so many microseconds before now."""
    since = now - lately
    alive = or_(keys.c.expires_at.is_(None), keys.c.expires_at > since)
    alive &= or_(keys.c.revoked_at.is_(None), keys.c.revoked_at > since) if lately else keys.c.revoked_at.is_(None)
    query = select(func.count()).select_from(keys).where(keys.c.customer_id == customer_id, alive)
    return connection.execute(query).scalar_one()


def _salts(connection: Connection) -> list[str]:
    value = noted(connection, SALTS)
    return [] if value is None else msgspec.json.decode(value, type=list[str])


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class _StoredBudget(msgspec.Struct):
    amount: Decimal
    period: Literal["total", "day", "week", "month"] = "total"
    rolling: bool = False


def _from_json(text: str, kind: Any, row: KeyRow) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:  # ValidationError is one of these.
        raise StorageError(f"what is stored of key {row.key_prefix} cannot be read: {error}") from None
