"""API keys: made once, checked on each request, ended within a second everywhere (rows B2-B8, B17).

A request's credential is looked for in memory first (`KeyStore.cached`), under the SHA-256 of all of it, and in the
database only if it is not there (`KeyStore.find`). Memory holds good keys alone, so no flood of bad ones can fill it,
and it is believed only as long as the database says at each poll that no key was revoked since.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2s

import structlog
from msgspec import structs

from sealgate.auth import keyform, records
from sealgate.auth.caller import DEFAULT_CUSTOMER, Caller, KeySettings
from sealgate.auth.keyform import Candidate, NewKey, candidates, digest_of
from sealgate.auth.records import KeyInfo, KeyRow, NewRow, State
from sealgate.config_tables import Budget, Limits
from sealgate.errors import Problem, StorageError
from sealgate.formats.ids import uuid7_hex
from sealgate.storage import Storage
from sealgate.storage.audit import SYSTEM, Actor

ASK_SECONDS = 5.0
"""How long the database may take to say who somebody is; after that it counts as gone."""
ASKING_AT_ONCE = 16
"""Look-ups in the storage's queue at a time, so that a flood of unknown keys cannot delay the poll for revocations."""
MAX_ACTIVE_KEYS = 10
YEAR_10000 = 253_402_300_800_000_000
"""In Unix microseconds: the first moment that ISO 8601 cannot write with four digits."""

_log = structlog.get_logger("sealgate.auth")


class CreatedKey(KeyInfo, frozen=True, kw_only=True):
    """A key at the one moment when it is known in plain."""

    key: str

    def __repr__(self) -> str:
        return f"CreatedKey({self.key_prefix}…)"


class KeyStore:
    """All API keys of one database.

    ``clock`` gives Unix seconds and decides about expiry; ``monotonic`` gives the seconds by which memory ages.
    A revocation anywhere is noticed after ``poll_seconds``; a database that cannot be asked is done without for
    ``grace_seconds``, for keys in memory only. Memory holds at most ``capacity`` keys, the ones used last.
    A customer has at most ``max_active_keys``, unless the operator says otherwise for a key.
    """

    def __init__(
        self,
        storage: Storage,
        pepper: bytes,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        poll_seconds: float = 0.5,
        grace_seconds: float = 60.0,
        capacity: int = 200_000,
        max_active_keys: int = MAX_ACTIVE_KEYS,
    ) -> None:
        self._storage = storage
        self._pepper = pepper
        self._clock = clock
        self._monotonic = monotonic
        self._poll_seconds = poll_seconds
        self._grace = grace_seconds
        self._half = max(1, capacity // 2)
        self.max_active = max_active_keys
        self._young: dict[bytes, Caller] = {}
        self._old: dict[bytes, Caller] = {}
        self._trusted_until = float("-inf")
        self._state: State | None = None
        self.epoch = 0
        """Counts the changes of keys that were noticed: what was concluded from keys in an earlier one is void."""
        self._turn = asyncio.Semaphore(ASKING_AT_ONCE)
        self._poller: asyncio.Task[None] | None = None
        self._nobody = os.urandom(32)

    async def start(self) -> None:
        """Begin to watch for revocations. Raises `StorageError` where the database cannot be asked."""
        await self._poll()
        self._poller = asyncio.create_task(self._keep_polling(), name="keys-poll")

    async def aclose(self) -> None:
        """Stop watching, and forget everything that watching made believable."""
        self._trusted_until = float("-inf")
        if self._poller is not None:
            self._poller.cancel()
            with suppress(asyncio.CancelledError):
                await self._poller
            self._poller = None

    # Who is it: the part that runs on each request.

    @property
    def trusted(self) -> bool:
        """Whether the database said so lately that what is in memory still holds."""
        return self._monotonic() <= self._trusted_until

    def cached(self, credential: bytes) -> Caller | None:
        """The caller with this credential, if that is known without asking the database; None: ask `find`."""
        digest = blake2s(credential).digest()  # the cache's own: it costs a third of what OpenSSL's hashes do
        caller = self._young.get(digest) or self._from_old(digest)
        if caller is None or not self.trusted:
            return None
        if caller.expires_at is not None and caller.expires_at <= self._now():
            return None
        return caller

    async def find(self, credential: bytes) -> Caller:
        """The caller with this credential.

        Raises `Problem` ``invalid_api_key`` for an unknown, revoked, expired or malformed one, after the same work
        and with the same body; ``auth_unavailable`` where the database cannot be asked.
        """
        if (caller := self.cached(credential)) is not None:
            return caller
        epoch = self.epoch
        try:
            async with asyncio.timeout(ASK_SECONDS), self._turn:
                caller = await self._ask(credential)
        except (StorageError, TimeoutError) as error:
            raise Problem("auth_unavailable") from error
        if caller is None:
            raise Problem("invalid_api_key")
        if epoch == self.epoch:  # Else a revocation was noticed while we asked, maybe of this very key.
            self._remember(blake2s(credential).digest(), caller)
        return caller

    async def _ask(self, credential: bytes) -> Caller | None:
        state = self._state or await self._refresh()
        found = candidates(credential, state.salts)
        lookups = [candidate.lookup for candidate in found]
        rows = await self._storage.read(partial(records.look_up, lookups=lookups))
        row = self._match(found, rows)
        return None if row is None else _caller(row)

    def _match(self, found: Sequence[Candidate], rows: Sequence[KeyRow]) -> KeyRow | None:
        """The row that this credential proves, if it may be used. The same steps whatever the rows hold."""
        match, refused, now = None, False, self._now()
        for candidate in found:
            digest = digest_of(self._pepper, candidate.sha256)
            for row in rows:
                same = hmac.compare_digest(digest, row.digest or self._nobody)
                match = row if same else match
                refused |= same & (not records.is_active(row, now))
        return None if refused else match

    def _from_old(self, digest: bytes) -> Caller | None:
        caller = self._old.get(digest)
        if caller is not None:
            self._remember(digest, caller)
        return caller

    def _remember(self, digest: bytes, caller: Caller) -> None:
        # Two generations: when the young one is full, it becomes the old one, and what was not used since goes.
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[digest] = caller

    # Revocations by others: the part that runs twice a second.

    async def _keep_polling(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self._poll()
            except Exception as error:  # Whatever it is: a poll that ended for good would be worse.
                if not failing:
                    said = str(error) if isinstance(error, StorageError) else type(error).__name__
                    _log.error("keys_unavailable", error=said, seconds=self._grace)
                failing = True
            else:
                if failing:
                    _log.info("keys_available_again")
                failing = False

    async def _poll(self) -> None:
        asked = self._monotonic()
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await self._refresh()
        except TimeoutError as error:
            raise StorageError(f"the database did not answer in {ASK_SECONDS:.0f} s") from error
        self._trusted_until = asked + self._grace

    async def _refresh(self) -> State:
        state = await self._storage.read(records.state)
        if state != self._state:
            self._forget()
            self._state = state
        return state

    def _forget(self) -> None:
        self.epoch += 1
        self._young, self._old = {}, {}

    # Making and ending keys.

    async def create(
        self,
        *,
        name: str,
        customer: str = DEFAULT_CUSTOMER,
        admin: bool = False,
        expires_at: int | None = None,
        models: Iterable[str] | None = None,
        settings: KeySettings | None = None,
        limits: Limits | None = None,
        budget: Budget | None = None,
        beyond_limit: bool = False,
        ended_count: bool = False,
        actor: Actor = SYSTEM,
    ) -> CreatedKey:
        """Make a key, and the customer if it is new. ``expires_at`` in Unix microseconds.

        Raises `Problem` ``invalid_parameter`` for what cannot be, and ``too_many_keys`` where the customer has as many
        active keys as it may have, which ``beyond_limit`` lifts: the operator's command line does. With ``ended_count``
        keys that ended in the last 24 hours count as well.
        """
        new = keyform.own_key(os.urandom(32))
        row = self._row(new, name, customer, expires_at, models, settings, admin)
        row = structs.replace(row, limits=limits, budget=budget)
        most = None if beyond_limit else self.max_active
        info = await self._storage.write(
            partial(records.add, row=row, digests=[row.digest], most_active=most, ended_count=ended_count, actor=actor)
        )
        return _created(info, new)

    async def create_first(self) -> CreatedKey | None:
        """Make the administrator's key of the customer ``default``, if no key was ever made; else None."""
        if await self._storage.read(records.any_key):
            return None
        new = keyform.own_key(os.urandom(32))
        row = self._row(new, "first", DEFAULT_CUSTOMER, None, None, None, admin=True)
        info = await self._storage.write(partial(records.add_first, row=row))
        return None if info is None else _created(info, new)

    async def import_plain(
        self,
        key: str,
        *,
        name: str,
        customer: str = DEFAULT_CUSTOMER,
        expires_at: int | None = None,
        models: Iterable[str] | None = None,
        actor: Actor = SYSTEM,
    ) -> KeyInfo:
        """Take over a key of another system, so that its callers need no new one. It is not kept in plain.

        Raises `Problem` ``invalid_parameter`` where it has fewer than 128 bits or is known already.
        """
        new = keyform.plain_key(key)
        row = self._row(new, name, customer, expires_at, models)
        # The same key may be known in another form: as an own key, or by a salted hash. Asked anew, since a poll that
        # began before a prefix was stored may have ended after it.
        state = await self._refresh()
        forms = [digest_of(self._pepper, form.sha256) for form in candidates(key.encode(), state.salts)]
        return await self._take_over(row, forms, actor)

    async def import_hash(
        self,
        hex_sha256: str,
        *,
        name: str,
        prefix: str | None = None,
        customer: str = DEFAULT_CUSTOMER,
        expires_at: int | None = None,
        models: Iterable[str] | None = None,
        actor: Actor = SYSTEM,
    ) -> KeyInfo:
        """Take over a key of which only the SHA-256 is known; of ``prefix`` and the key, where the source salted so.

        A prefix not used before is known to other processes at their next poll. At most 4 different ones.
        Raises `Problem` ``invalid_parameter``.
        """
        if prefix is not None:
            _check_text(prefix, "prefix", 128)
        new = keyform.hashed_key(hex_sha256, salted=prefix is not None)
        row = self._row(new, name, customer, expires_at, models)
        info = await self._take_over(row, [row.digest], actor, salt=prefix)
        self._state = None  # The prefixes are read again with the next question.
        return info

    async def list(self, customer: str | None = None) -> list[KeyInfo]:
        """All keys, or those of one customer, oldest first; revoked and expired ones included."""
        return await self._storage.read(partial(records.listed, customer_id=customer, now=self._now()))

    async def revoke(self, which: str, customer: str | None = None) -> KeyInfo:
        """End a key for good, given its id, its shown prefix, its name or itself; with ``customer``, of that one only.

        Raises `Problem` ``not_found``, and ``invalid_parameter`` where a name means several keys.
        """
        info = await self._storage.write(partial(records.revoke, which=which, customer_id=customer, now=self._now()))
        self._forget()
        return info

    async def revoke_own(self, key_id: str, caller: Caller, actor: Actor = SYSTEM) -> KeyInfo:
        """End a key of the caller's customer, by its id alone. A second time changes nothing.

        Raises `Problem` ``not_found``, alike for unknown ids and those of others, and ``admin_key_required``.
        """
        info = await self._storage.write(
            partial(records.revoke_own, key_id=key_id, caller=caller, now=self._now(), actor=actor)
        )
        self._forget()
        return info

    async def default(self, customer: str) -> KeyInfo:
        """The customer's default key. Raises `Problem` ``not_found`` where no key is active."""
        found = await self._storage.read(partial(records.default, customer_id=customer, now=self._now()))
        if found is None:
            raise Problem("not_found")
        return found

    async def set_default(
        self, key_id: str, caller: Caller, actor: Actor = SYSTEM, usual: Limits | None = None
    ) -> KeyInfo:
        """Choose the default key of the caller's customer. Raises `Problem` as `records.set_default`."""
        info = await self._storage.write(
            partial(records.set_default, key_id=key_id, caller=caller, now=self._now(), actor=actor, usual=usual)
        )
        self._forget()
        return info

    async def _take_over(self, row: NewRow, digests: Sequence[bytes], actor: Actor, salt: str | None = None) -> KeyInfo:
        return await self._storage.write(
            partial(records.add, row=row, digests=digests, salt=salt, actor=actor, act="key.imported")
        )

    def _row(
        self,
        new: NewKey,
        name: str,
        customer: str,
        expires_at: int | None,
        models: Iterable[str] | None,
        settings: KeySettings | None = None,
        admin: bool = False,
    ) -> NewRow:
        now = self._now()
        if expires_at is not None and not now < expires_at < YEAR_10000:
            when = "in the past" if expires_at <= now else "too far in the future"
            raise Problem("invalid_parameter", f"The expiry is {when}.", param="expires_at")
        return NewRow(
            id=uuid7_hex(now * 1000),
            customer_id=_check_text(customer, "customer", 128),
            lookup=new.lookup,
            digest=digest_of(self._pepper, new.sha256),
            key_prefix=new.key_prefix,
            name=_check_text(name, "name", 128),
            is_admin=admin,
            models=None if models is None else _check_models(models),
            settings=settings or KeySettings(),
            created_at=now,
            expires_at=expires_at,
        )

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)


async def ensure_first_key(store: KeyStore) -> CreatedKey | None:
    """For the first start: the administrator's key of the customer ``default``, only if no key was ever made.

    Safe where several replicas start at once: one of them gets the key.
    """
    return await store.create_first()


def _caller(row: KeyRow) -> Caller:
    models = records.stored_models(row)
    return Caller(
        customer_id=row.customer_id,
        key_id=row.id,
        is_admin=bool(row.is_admin),
        models=None if models is None else frozenset(models),
        settings=records.stored_settings(row),
        limits=records.stored_limits(row),
        budget=records.stored_budget(row),
        expires_at=row.expires_at,
    )


def _created(info: KeyInfo, new: NewKey) -> CreatedKey:
    return CreatedKey(**{name: getattr(info, name) for name in KeyInfo.__struct_fields__}, key=new.key)


def _check_text(value: str, param: str, longest: int) -> str:
    if not 0 < len(value) <= longest or not value.isprintable() or value != value.strip():
        raise Problem(
            "invalid_parameter",
            f"The {param} must be 1 to {longest} printable characters, not {value!r}.",
            param=param,
        )
    return value


def _check_models(models: Iterable[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(_check_text(model, "model", 256) for model in models))
    if not names:
        raise Problem("invalid_parameter", "A list of models must name at least one.", param="models")
    return names
