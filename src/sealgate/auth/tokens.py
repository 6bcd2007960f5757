"""Access tokens (JWT) of the configured issuers: checked once, remembered until they expire (rows B9 to B14).

A token is remembered under the SHA-256 of all of it, never of a part, and only as long as everything holds that was
concluded with it: its expiry, the keys of its issuer, and, because its user has the limits of an API key, the keys of
this gateway. A token never makes an administrator, whatever it says.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from sealgate.auth import records, users
from sealgate.auth.caller import Caller
from sealgate.auth.claims import Identity, Refused, identity
from sealgate.auth.keys import ASK_SECONDS, ASKING_AT_ONCE, KeyStore
from sealgate.auth.records import KeyRow
from sealgate.auth.users import User
from sealgate.config_tables import Issuer
from sealgate.errors import Problem, StorageError
from sealgate.formats.ids import uuid7_hex
from sealgate.storage import Storage

if TYPE_CHECKING:  # What checks signatures is loaded with the first issuer: most gateways have none.
    from sealgate.auth.keyring import Fetch, Keyring

KEYLESS_SECONDS = 60
"""After so long a user without an API key is looked up again: the first one may have been made meanwhile."""


class TokenProblem(Problem):
    """401 ``invalid_token``, always with the same body. ``reason`` is for the operator's eyes."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__("invalid_token")


class Login(NamedTuple):
    """Where people get the tokens of one issuer. The last two are known once the issuer has said so."""

    name: str
    discovery_url: str
    authorization_url: str | None
    token_url: str | None


class _Seen(NamedTuple):
    """A token that was good, and what that rests on."""

    caller: Caller
    until: float
    """Unix seconds."""
    epoch: int
    ring: Keyring
    generation: int


class Tokens:
    """Makes callers of the tokens of all issuers; ``issuers`` by the names of their tables, at first maybe none.

    ``clock`` gives Unix seconds and decides about expiry; ``monotonic`` gives the seconds by which issuers' keys age.
    Memory holds at most ``capacity`` tokens, the ones used last.
    """

    def __init__(
        self,
        storage: Storage,
        keys: KeyStore,
        issuers: Mapping[str, Issuer],
        fetch: Fetch,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        capacity: int = 100_000,
    ) -> None:
        self._storage = storage
        self._keys = keys
        self._clock = clock
        self._half = max(1, capacity // 2)
        self._young: dict[bytes, _Seen] = {}
        self._old: dict[bytes, _Seen] = {}
        self._turn = asyncio.Semaphore(ASKING_AT_ONCE)
        self._fetch = fetch
        self._monotonic = monotonic
        self.rings = {rules.issuer: self._ring(name, rules) for name, rules in issuers.items()}

    def start(self) -> None:
        """Begin to fetch the issuers' keys."""
        for ring in self.rings.values():
            ring.start()

    async def aclose(self) -> None:
        """Stop fetching."""
        for ring in self.rings.values():
            await ring.aclose()
        self._young, self._old = {}, {}

    def configure(self, issuers: Mapping[str, Issuer]) -> None:
        """Take other issuers, or other rules of the same ones; what was concluded by the old ones is void.

        An issuer whose keys are found as before keeps those that are known.
        """
        before, self.rings = self.rings, {}
        for name, rules in issuers.items():
            ring = before.get(rules.issuer)
            if ring is not None and ring.name == name and ring.takes(rules):
                del before[rules.issuer]
            else:
                ring = self._ring(name, rules)
                ring.start()
            self.rings[rules.issuer] = ring
        for ring in before.values():
            ring.retire()
        self._young, self._old = {}, {}

    def _ring(self, name: str, rules: Issuer) -> Keyring:
        from sealgate.auth.keyring import Keyring

        return Keyring(name, rules, fetch=self._fetch, monotonic=self._monotonic)

    @property
    def logins(self) -> Sequence[Login]:
        """Where tokens come from."""
        return [_login(ring) for ring in self.rings.values() if ring.rules.issuer.startswith("http")]

    @property
    def fetches(self) -> Mapping[tuple[str, ...], int]:
        """How often the issuers' keys were fetched, by issuer and outcome."""
        return {(ring.name, outcome): count for ring in self.rings.values() for outcome, count in ring.fetches.items()}

    # The part that runs on each request.

    def cached(self, credential: bytes) -> Caller | None:
        """The caller with this token, if that is known already; None: ask `find`."""
        digest = sha256(credential).digest()
        seen = self._young.get(digest) or self._from_old(digest)
        if seen is None:
            return None
        caller, until, epoch, ring, generation = seen
        keys = self._keys
        good = until > self._clock() and epoch == keys.epoch and generation == ring.generation and keys.trusted
        return caller if good else None

    # The part that runs once for each token.

    async def find(self, credential: bytes) -> Caller:
        """The caller with this token. Raises `TokenProblem`, or `Problem` ``auth_unavailable``."""
        if (caller := self.cached(credential)) is not None:
            return caller
        if not self.rings:
            raise TokenProblem("no_issuers")
        try:
            return await self._check(credential)
        except Refused as refused:
            raise TokenProblem(refused.reason) from None

    async def _check(self, credential: bytes) -> Caller:
        from sealgate.auth import jwt

        token = jwt.look_into(credential)
        ring = self.rings.get(token.issuer)
        if ring is None:
            raise Refused("issuer")
        if token.algorithm not in ring.rules.algorithms:
            raise Refused("algorithm")
        keys = await ring.find(token.kid)
        if self.rings.get(token.issuer) is not ring:
            raise Refused("issuer")
        if not keys:
            raise Refused("kid")
        rules = ring.rules  # as they are now: they may have changed while the issuer was asked
        epoch, generation = self._keys.epoch, ring.generation
        claims = jwt.verified(credential, keys, token.algorithm)
        who = identity(claims, rules, token.typ, self._clock())
        user, key = await self._standing(who, rules)
        caller = _caller(who, user, key, rules)
        until = min(who.expires_at / 1_000_000, self._lasts(key))
        self._remember(sha256(credential).digest(), _Seen(caller, until, epoch, ring, generation))
        return caller

    def _lasts(self, key: KeyRow | None) -> float:
        """Until when this is the default key, as far as it is known today: Unix seconds."""
        if key is None:
            return self._clock() + KEYLESS_SECONDS
        return math.inf if key.expires_at is None else key.expires_at / 1_000_000

    async def _standing(self, who: Identity, rules: Issuer) -> tuple[User, KeyRow | None]:
        """The user and the default key. Raises `Refused`, and `Problem` where the database cannot be asked."""
        customer = rules.customer or users.customer_of(who.issuer, who.sub)
        ask = partial(users.standing, issuer=who.issuer, sub=who.sub, customer_id=customer, now=self._now())
        try:
            async with asyncio.timeout(ASK_SECONDS), self._turn:
                user, key = await self._storage.read(ask)
                if user is None and not rules.create_users:
                    raise Refused("unknown_user")
                if user is None or users.differs(user, who, customer):
                    now, new_id = self._now(), uuid7_hex(self._now() * 1000)
                    enter = partial(users.enter, who=who, new_id=new_id, customer_id=customer, now=now)
                    user = await self._storage.write(enter)
                return user, key
        except (StorageError, TimeoutError) as error:
            raise Problem("auth_unavailable") from error

    def _from_old(self, digest: bytes) -> _Seen | None:
        seen = self._old.get(digest)
        if seen is not None:
            self._remember(digest, seen)
        return seen

    def _remember(self, digest: bytes, seen: _Seen) -> None:
        # Two generations: when the young one is full, it becomes the old one, and what was not used since goes.
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[digest] = seen

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)


def _caller(who: Identity, user: User, key: KeyRow | None, rules: Issuer) -> Caller:
    """Limits and budget are the default key's, and where it has none or there is none, the issuer's."""
    limits = None if key is None else records.stored_limits(key)
    budget = None if key is None else records.stored_budget(key)
    return Caller(
        customer_id=user.customer_id,
        key_id=None,
        user_id=user.id,
        default_key_id=None if key is None else key.id,
        models=None if rules.models is None else frozenset(rules.models),
        limits=limits or rules.limits,
        limits_key_id=None if key is None or limits is None else key.id,
        budget=budget or rules.budget,
        budget_key_id=None if key is None or budget is None else key.id,
        expires_at=who.expires_at,
    )


def _login(ring: Keyring) -> Login:
    from sealgate.auth.keyring import discovery

    told = ring.metadata
    discovery_url = discovery(ring.rules.issuer)
    if told is None:
        return Login(ring.name, discovery_url, None, None)
    return Login(ring.name, discovery_url, told.authorization_url, told.token_url)
