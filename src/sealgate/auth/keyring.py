"""The public keys of one issuer: found, fetched, kept, and fetched again before they are too old (rows B11 and B13).

An issuer is asked at most once in `INTERVAL` seconds, whoever wants what: the keys are fetched before their age says
that they must be, and again when a token names a key that is not among them. While one fetch runs, everybody waits
for that one. An issuer that cannot be asked is done without: its last good keys go on for `LAST_GOOD` seconds.

Sources: OpenID Connect Discovery, sections 3 and 4; RFC 7517, section 5.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

import msgspec
import structlog

from sealgate.auth.jwt import NO_KEYS, Key, read_keys
from sealgate.config_tables import Issuer
from sealgate.errors import Problem
from sealgate.formats.addresses import secure_url
from sealgate.outward.documents import Document, DocumentError

Fetch: TypeAlias = Callable[[str], Awaitable[Document]]
"""Gets the document at an address. Raises `DocumentError`."""

INTERVAL = 30.0
"""Seconds between two fetches, whatever they are for."""
FRESH = (300.0, 86_400.0)
"""Keys are kept for as long as their issuer says, within these seconds; for the first where it says nothing."""
EARLY = 0.75
"""They are fetched again after this share of that time."""
LAST_GOOD = 86_400.0

_log = structlog.get_logger("sealgate.auth")


class Metadata(NamedTuple):
    """What an issuer says of itself, as far as it is used here."""

    jwks_url: str
    authorization_url: str | None
    token_url: str | None


class Keyring:
    """The keys of the issuer that the configuration calls ``name``. ``monotonic`` gives seconds."""

    def __init__(
        self, name: str, rules: Issuer, fetch: Fetch, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.rules = rules
        self.generation = 0
        """Counts how often a key was gone: what was verified in an earlier one has to be verified again."""
        self.metadata: Metadata | None = None
        self.fetches: Counter[str] = Counter()
        """How many fetches there were by outcome, ``ok`` or ``failed``."""
        self._fetch = fetch
        self._monotonic = monotonic
        self._keys = NO_KEYS
        self._asked = self._got = -math.inf
        self._fresh = 0.0
        self._failing = False
        self._running: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to fetch, and to keep fresh what was fetched."""
        self._keeper = asyncio.create_task(self._keep(), name="issuer-keys")

    def takes(self, rules: Issuer) -> bool:
        """Go by other rules, if the keys are found by these as they were; whether that is so."""
        old = self.rules
        if (old.issuer, old.jwks_url, old.algorithms) != (rules.issuer, rules.jwks_url, rules.algorithms):
            return False
        if old != rules:
            self.rules = rules
            self.generation += 1
        return True

    def retire(self) -> None:
        """Fetch no more. Who waits for a fetch is still answered."""
        self.generation += 1
        if self._keeper is not None:
            self._keeper.cancel()

    async def aclose(self) -> None:
        for task in (self._keeper, self._running):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def find(self, kid: str | None) -> Sequence[Key]:
        """The keys that a token with this ``kid`` may be signed by; none where the issuer has no such key.

        Raises `Problem` ``auth_unavailable`` where that cannot be known, because the issuer does not answer.
        """
        found = self._known(kid)
        if found or (kid is None and self._usable()):
            return found
        await self._refresh()
        found = self._known(kid)
        if not found and (self._failing or not self._usable()):
            wait = max(1, math.ceil(self._asked + INTERVAL - self._monotonic()))
            raise Problem("auth_unavailable", retry_after=wait)
        return found

    def _known(self, kid: str | None) -> Sequence[Key]:
        return self._keys.find(kid) if self._usable() else ()

    def _usable(self) -> bool:
        return self._monotonic() - self._got <= LAST_GOOD

    async def _keep(self) -> None:
        while True:
            due = self._asked + max(INTERVAL, 0.0 if self._failing else self._fresh * EARLY)
            if (wait := due - self._monotonic()) > 0:
                await asyncio.sleep(wait)
            else:
                await self._refresh()

    async def _refresh(self) -> None:
        """Fetch the keys if that may be done now, or wait for the fetch that runs. Never raises."""
        if self._running is None:
            now = self._monotonic()
            if now - self._asked < INTERVAL:
                return
            self._asked = now
            self._running = asyncio.create_task(self._run(), name="issuer-fetch")
        # Whoever waits may leave; the fetch is everybody's.
        await asyncio.shield(self._running)

    async def _run(self) -> None:
        try:
            await self._take()
        except Exception as error:  # Whatever it is: keys that are never fetched again would be worse.
            self.fetches["failed"] += 1
            if not self._failing:
                said = str(error) if isinstance(error, DocumentError | ValueError) else type(error).__name__
                _log.error("issuer_unavailable", issuer=self.name, error=said)
            self._failing, self.metadata = True, None
        else:
            self.fetches["ok"] += 1
            if self._failing:
                _log.info("issuer_available_again", issuer=self.name)
            self._failing = False
        finally:
            self._running = None

    async def _take(self) -> None:
        url = self.rules.jwks_url
        if url is None:
            if self.metadata is None:
                self.metadata = await self._discover()
            url = self.metadata.jwks_url
        document = await self._fetch(url)
        keys = read_keys(document.data, self.rules.algorithms)
        if self._keys.prints - keys.prints:
            self.generation += 1
        least, most = FRESH
        self._fresh = min(max(document.max_age or 0.0, least), most)
        self._keys, self._got = keys, self._asked

    async def _discover(self) -> Metadata:
        issuer = self.rules.issuer
        document = await self._fetch(discovery(issuer))
        return read_metadata(document.data, issuer)


def discovery(issuer: str) -> str:
    """Where an issuer's metadata are (OpenID Connect Discovery, section 4)."""
    return issuer.removesuffix("/") + "/.well-known/openid-configuration"


def read_metadata(document: bytes, issuer: str) -> Metadata:
    """An issuer's metadata (OpenID Connect Discovery, section 3). Raises `ValueError` for another issuer's.

    Its keys must lie on its own host: who can change this document shall not be able to name other keys elsewhere.
    """
    try:
        said = msgspec.json.decode(document, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError("its metadata are not a JSON object") from error
    if said.get("issuer") != issuer:
        raise ValueError(f"its metadata are those of the issuer {said.get('issuer')!r}, and not of {issuer!r}")
    url = said.get("jwks_uri")
    if not isinstance(url, str):
        raise ValueError("its metadata name no jwks_uri")
    secure_url(url)
    if _origin(url) != _origin(issuer):
        raise ValueError(f"its keys are on another host, at {url!r}; set jwks_url to that if it is right")
    return Metadata(url, _address(said.get("authorization_endpoint")), _address(said.get("token_endpoint")))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _address(value: Any) -> str | None:
    try:
        return secure_url(value) if isinstance(value, str) else None
    except ValueError:
        return None
