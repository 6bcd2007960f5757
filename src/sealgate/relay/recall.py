"""The reasoning state of open tool loops, kept for clients that do not send it back.

It is written with the ledger's row of the answer it came with, encrypted, under everything that must be the same when
it is asked for: the customer, the account and model that made it, the text that opened the loop, and the id of the
call. It is never an error where none is found.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from sealgate.auth.seal import Seal, context
from sealgate.errors import Failure, StorageError, UpstreamError
from sealgate.providers.base import Adjustment, Json, Prompt
from sealgate.relay import reasoning_records
from sealgate.relay.catalog import Route
from sealgate.relay.reasoning import OpenLoop, Thoughts, digest, lacking, open_loop
from sealgate.storage import NewRow, Storage
from sealgate.storage.tables import reasoning_state
from sealgate.telemetry.logs import Logger

PURPOSE = "reasoning"
MAX_CALLS = 1024
"""Calls of one request that are looked up; of a longer loop none are, since a part of it is worse than nothing."""
MAX_BYTES = 2 * 1024 * 1024
"""The longest reasoning that is kept."""
CACHE_BYTES = 16 * 1024 * 1024
CACHE_ENTRIES = 10_000
LOOKUP_SECONDS = 1.0
"""A database that takes longer is not waited for: the request goes on without."""
SWEEP_SECONDS = 60.0
PUT_BACK = "put back as it was kept, where the client had left it out"
SWEEP_ROWS = 200
"""Rows deleted in one transaction, for which all other writes wait."""

_REFUSALS = (Failure.INVALID_REQUEST, Failure.UNPROCESSABLE)
_OF_REASONING = re.compile(r"signature|thinking|thought|reasoning", re.IGNORECASE)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Loop:
    """One request's part in a tool loop of which nothing is kept."""

    said: Sequence[Adjustment] = ()
    """What was put back, for the caller."""

    def turn_to(self, route: Route) -> bool:  # noqa: ARG002
        """This route is asked next. Whether the conversation lacks what its provider may want back."""
        return False

    async def complete(self, prompt: Prompt) -> Prompt:
        """The prompt for the route that was turned to, with what was found."""
        return prompt

    def gives_up(self, error: UpstreamError) -> bool:  # noqa: ARG002
        """Whether an error refuses what was put back, so that the same target is asked without it."""
        return False

    def watch(self) -> Thoughts | None:
        """What gathers the reasoning of an answer from the route that was turned to, where it is worth it."""
        return None

    def rows(self, thoughts: Thoughts | None) -> Sequence[NewRow]:  # noqa: ARG002
        """What is to be written in the commit of the answer's own row."""
        return ()


NO_LOOP = Loop()


class Kept(NamedTuple):
    begun_at: int
    """When the first reasoning of its loop was kept: the parts of a loop are forgotten together."""
    sealed: bytes | None
    """None: the answer is known to have come without reasoning."""


class Recall:
    """What is kept, for all requests. ``now`` gives Unix microseconds; ``keep_seconds`` 0 is off."""

    def __init__(self, storage: Storage, pepper: bytes, log: Logger, now: Callable[[], int], keep_seconds: int) -> None:
        self.keep_seconds = keep_seconds
        self.now = now
        self.seal = Seal(pepper, PURPOSE)
        self._storage = storage
        self._log = log
        self._cache: dict[bytes, Kept] = {}
        self._cached_bytes = 0
        self._sweeper: asyncio.Task[None] | None = None

    def loop(self, customer_id: str, prompt: Prompt) -> Loop:
        """For one request."""
        if not self.keep_seconds or prompt.operation != "chat" or _is_no_loop(prompt.fields):
            return NO_LOOP
        return KeptLoop(self, customer_id, prompt)

    def start(self) -> None:
        """Begin to delete what is too old."""
        self._sweeper = asyncio.create_task(self._keep_sweeping(), name="reasoning-sweep")

    async def aclose(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
            self._sweeper = None

    # One piece

    def cached(self, name: bytes) -> Kept | None:
        found = self._cache.get(name)
        return found if found is not None and found.begun_at > self._since() else None

    def remember(self, name: bytes, kept: Kept) -> None:
        """For the next request of the same loop, which usually comes to the same replica."""
        self._forget(name)
        self._cache[name] = kept
        self._cached_bytes += len(kept.sealed or b"")
        while self._cached_bytes > CACHE_BYTES or len(self._cache) > CACHE_ENTRIES:
            self._forget(next(iter(self._cache)))

    async def find(self, names: Sequence[bytes]) -> dict[bytes, Kept]:
        """Those of them that are kept, from the database."""
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                rows = await self._storage.read(partial(reasoning_records.find, names=names, since=self._since()))
        except (StorageError, TimeoutError) as error:
            self._log.warning("reasoning_not_found", error=str(error) or type(error).__name__)
            return {}
        found = {name: Kept(*row) for name, row in rows.items()}
        for name, kept in found.items():
            self.remember(name, kept)
        return found

    def refused(self, route: Route) -> None:
        """Tell the operator that a provider does not take its own reasoning back."""
        self._log.warning("reasoning_refused", provider=route.provider, routed_model=route.id)

    def _forget(self, name: bytes) -> None:
        gone = self._cache.pop(name, None)
        if gone is not None:
            self._cached_bytes -= len(gone.sealed or b"")

    def _since(self) -> int:
        return self.now() - self.keep_seconds * 1_000_000

    # What is too old

    async def sweep(self) -> int:
        """Delete what is too old, here and in the database; returns how many rows. Raises `StorageError`."""
        until = self._since()
        for name in [name for name, kept in self._cache.items() if kept.begun_at <= until]:
            self._forget(name)
        count = 0
        # Most times there is nothing to delete, and then nothing is written either.
        while await self._storage.read(partial(reasoning_records.any_old, until=until)):
            count += await self._storage.write(partial(reasoning_records.delete_old, until=until, most=SWEEP_ROWS))
        return count

    async def _keep_sweeping(self) -> None:
        while True:
            try:
                await self.sweep()
            except StorageError as error:
                self._log.warning("reasoning_not_deleted", error=str(error))
            await asyncio.sleep(SWEEP_SECONDS)


def _is_no_loop(fields: Json) -> bool:
    """Whether it offers no tools, and ends with the user's own word: see `open_loop`."""
    messages = fields["messages"]
    is_last_word = messages[-1]["role"] == "user" and (len(messages) == 1 or messages[-2]["role"] != "tool")
    return is_last_word and "tools" not in fields


class KeptLoop(Loop):
    """One request's part in a tool loop: what was kept is put back, and what comes is kept."""

    def __init__(self, recall: Recall, customer_id: str, prompt: Prompt) -> None:
        self._recall = recall
        self._customer = customer_id
        self._fields = prompt.fields
        self._loop: OpenLoop | None = None
        self._opening: str | None = None
        self._route: Route | None = None
        self._begun_at: int | None = None
        self._put_back: list[bytes] = []
        """Names of what the route that was turned to gets."""
        self._given_up = False

    def turn_to(self, route: Route) -> bool:
        self._route, self._begun_at, self.said = route, None, ()
        needs = route.account.kind.replays
        if not needs or self._given_up:
            return False
        return bool(lacking(self._fields["messages"], self._opened().calls, needs))

    async def complete(self, prompt: Prompt) -> Prompt:
        assert self._route is not None
        needs, messages = self._route.account.kind.replays, list(prompt.fields["messages"])
        wanted = {
            index: {self._recall.seal.name(under): under for under in self._contexts(messages[index])}
            for index in lacking(messages, self._opened().calls, needs)
        }
        if sum(map(len, wanted.values())) > MAX_CALLS:
            return prompt
        kept = await self._kept(wanted.values())
        self._put_back = []
        for index, contexts in wanted.items():
            if (state := self._state(contexts, kept)) is not None:
                messages[index] = {**messages[index], **state}
        if self._begun_at is None:
            return prompt
        self.said = [Adjustment(f"messages[].{name}", "repaired", PUT_BACK) for name in sorted(needs)]
        return replace(prompt, fields={**prompt.fields, "messages": messages}, native=None)

    async def _kept(self, wanted: Iterable[dict[bytes, bytes]]) -> dict[bytes, Kept]:
        """What is kept under these names: from memory, else all the rest at once from the database."""
        recall, found, unknown = self._recall, dict[bytes, Kept](), list[bytes]()
        for names in wanted:
            cached = {name: kept for name in names if (kept := recall.cached(name)) is not None}
            found |= cached
            if not cached:
                unknown += names
        return found | await recall.find(unknown) if unknown else found

    def _state(self, contexts: dict[bytes, bytes], kept: dict[bytes, Kept]) -> Json | None:
        """The fields to put back into one message; each is put back once, at the latest place of its call."""
        for name, under in contexts.items():
            found = kept.pop(name, None)
            if found is None or found.sealed is None:
                continue
            content = self._recall.seal.open(found.sealed, under)
            if content is not None:
                self._begun_at = min(found.begun_at, self._begun_at or found.begun_at)
                self._put_back.append(name)
                return _decode(content)
        return None

    def gives_up(self, error: UpstreamError) -> bool:
        """Providers may bind signatures to more than is known: to the organisation of one of an account's keys, say."""
        refused = error.failure in _REFUSALS and _OF_REASONING.search(error.text or "")
        if self._begun_at is None or not refused or self._route is None:
            return False
        for name in self._put_back:
            self._recall.remember(name, Kept(self._begun_at, None))
        self._recall.refused(self._route)
        self._given_up = True
        return True

    def watch(self) -> Thoughts | None:
        assert self._route is not None
        needs = self._route.account.kind.replays
        return Thoughts(needs) if needs and "tools" in self._fields else None

    def rows(self, thoughts: Thoughts | None) -> Sequence[NewRow]:
        if thoughts is None:
            return ()
        rows: list[NewRow] = []
        recall, now = self._recall, self._recall.now()
        begun_at = self._begun_at or now
        for call, state in thoughts.states():
            under = self._context(call)
            name = recall.seal.name(under)
            content = _encode(state) if state else b""
            sealed = recall.seal.close(content, under) if 0 < len(content) <= MAX_BYTES else None
            recall.remember(name, Kept(begun_at, sealed))
            if sealed is not None:
                rows.append((reasoning_state, reasoning_records.row(name, now, begun_at, sealed)))
        return rows

    def _opened(self) -> OpenLoop:
        if self._loop is None:
            self._loop = open_loop(self._fields["messages"])
        return self._loop

    def _contexts(self, message: Json) -> Iterable[bytes]:
        return (self._context(call["id"]) for call in message["tool_calls"])

    def _context(self, call: str) -> bytes:
        """All that must be the same when the reasoning behind this call is put back."""
        assert self._route is not None
        account = self._route.account
        if self._opening is None:
            self._opening = digest(self._opened().opener)
        return context(
            self._customer, account.kind.name, account.api_model or "", account.table, account.base_url,
            self._route.upstream_model, self._opening, call,
        )  # fmt: skip
