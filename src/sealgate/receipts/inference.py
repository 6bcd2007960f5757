"""Evidence of the machines at providers: taken where the operator says, named in receipts, believed by nobody here.

A provider may publish a document about the machines that answer for it, or send one in the headers of each answer. What
is here fetches the one, picks out the other, and says whose word it is (``provider_asserted``), that nobody here has
checked it (``not_checked``), or that there was none (``unavailable``).
Never run against evidence of real hardware by this project.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple, Protocol

import structlog

from sealgate.config_routes import Provider
from sealgate.formats import canonical
from sealgate.outward.head import joined
from sealgate.receipts.watch import ended

REFRESH_SECONDS = 600.0
AGAIN_SECONDS = 30.0
"""After which a document that did not come is asked for again."""
SOURCE: Literal["provider_asserted"] = "provider_asserted"

Result = Literal["not_checked", "unavailable"]
Claim = Mapping[str, str | None]

_log = structlog.get_logger("sealgate.receipts")


MAX_HEADERS = 8 * 1024
"""Characters of evidence in the headers of one answer; more of it is as none."""


class Document(Protocol):
    """What came from an address."""

    @property
    def data(self) -> bytes: ...


Fetch = Callable[[str], Awaitable[Document]]
"""Gets the document at a URL. Raises any `Exception` whose text says what went wrong."""


class Held(NamedTuple):
    """What is known of one provider's machines. ``fetched_at``: unix seconds."""

    provider: str
    type: str
    evidence: bytes | None = None
    fetched_at: int | None = None

    @property
    def result(self) -> Result:
        return "unavailable" if self.evidence is None else "not_checked"

    @property
    def sha256(self) -> str | None:
        return None if self.evidence is None else hashlib.sha256(self.evidence).hexdigest()

    def claim(self) -> Claim:
        """What receipts say."""
        return {"type": self.type, "result": self.result, "source": SOURCE, "evidence_sha256": self.sha256}


def picked(headers: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """The evidence in an answer's headers; both have their names in lower case. Lines of one name are joined."""
    found = {name: joined(headers[name]) for name in names if name in headers}
    return found if sum(map(len, found.values())) <= MAX_HEADERS else {}


def sent(claim: Claim, evidence: Mapping[str, str]) -> Claim:
    """What a receipt says of evidence that came with the answer: its digest is over canonical JSON (RFC 8785)."""
    digest = hashlib.sha256(canonical.encode(dict(evidence))).hexdigest()
    return {**claim, "result": "not_checked", "evidence_sha256": digest}


class NoInference:
    """No provider's evidence is asked for."""

    def claim(self, _table: str) -> Claim | None:
        return None

    def held(self) -> list[Held]:
        return []

    def configure(self, providers: Mapping[str, Provider]) -> None:
        """Nobody asks."""

    async def aclose(self) -> None:
        """Nothing runs."""


class Inference:
    """Of one process. Providers are known by the names of their tables."""

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._urls: dict[str, str] = {}
        self._held: dict[str, Held] = {}
        self._claims: dict[str, Claim] = {}
        self._failing: set[str] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def configure(self, providers: Mapping[str, Provider]) -> None:
        """Ask these from now on, as far as they say where. What is known of others is forgotten."""
        wanted = {name: row for name, row in providers.items() if row.evidence_url is not None}
        urls = {name: str(row.evidence_url) for name, row in wanted.items()}
        kept = {name: self._held[name] for name in urls if self._urls.get(name) == urls[name]}
        self._urls = urls
        self._held = {
            name: kept[name]._replace(type=_type(row)) if name in kept else Held(name, _type(row))
            for name, row in wanted.items()
        }
        by_header = {name: row.evidence_type or "headers" for name, row in providers.items() if row.evidence_headers}
        self._claims = {name: each.claim() for name, each in self._held.items()} | {
            name: Held(name, kind).claim() for name, kind in by_header.items()
        }
        self._changed.set()

    def claim(self, table: str) -> Claim | None:
        """What a receipt says of the provider that answered; None where nothing is asked of it.

        Of one whose evidence is in its headers: what it says where they had none; see `sent`.
        """
        return self._claims.get(table)

    def held(self) -> list[Held]:
        return list(self._held.values())

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._run(), name="provider-evidence")

    async def aclose(self) -> None:
        """Stop asking."""
        await ended(self._task)
        self._task = None

    async def refresh(self) -> None:
        """Ask every provider once."""
        await asyncio.gather(*(self._one(name, url) for name, url in self._urls.items()))

    async def _one(self, name: str, url: str) -> None:
        try:
            data = (await self._fetch(url)).data
            failure = None if data else "it is empty"
        except Exception as error:  # a provider may fail in any way; then there is no evidence of it
            data, failure = b"", str(error) or type(error).__name__
        held = self._held.get(name)
        if held is None or self._urls.get(name) != url:
            return  # another configuration came meanwhile
        if failure is None:
            found = held._replace(evidence=data, fetched_at=int(self._clock()))
        else:
            found = held._replace(evidence=None, fetched_at=None)
        self._held[name], self._claims[name] = found, found.claim()
        self._say(name, failure)

    def _say(self, name: str, failure: str | None) -> None:
        if failure is not None and name not in self._failing:
            _log.warning("provider_evidence_unavailable", provider=name, error=failure)
        (self._failing.discard if failure is None else self._failing.add)(name)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            await self.refresh()
            missing = any(each.evidence is None for each in self._held.values())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), AGAIN_SECONDS if missing else REFRESH_SECONDS)


def _type(row: Provider) -> str:
    return row.evidence_type or "document"
