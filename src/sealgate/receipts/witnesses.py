"""Asking witnesses to sign checkpoints (https://c2sp.org/tlog-witness), and believing what they say of other histories.

A witness signs only what continues what it signed before. So one that has seen more than we have, or something else,
says that this log has been set back: from a backup, most likely. Then the log is sealed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

import structlog

from sealgate.config_log import Witness
from sealgate.formats import merkle, note
from sealgate.receipts import log_rows as rows
from sealgate.receipts.log import Log
from sealgate.receipts.log_rows import Signed
from sealgate.receipts.watch import ended

PACE_SECONDS = 5.0
"""Between two questions: a busy log signs each second, and no witness needs to see all of it."""
AGAIN_SECONDS = 60.0
"""After which witnesses that did not sign are asked again, where nothing new was published."""
ROUNDS = 3

_log = structlog.get_logger("sealgate.receipts")


class Answer(Protocol):
    """What a witness answered."""

    @property
    def status(self) -> int: ...

    @property
    def data(self) -> bytes: ...


Post = Callable[[str, bytes], Awaitable[Answer]]
"""Sends a body to a URL. Raises any `Exception` whose text says what went wrong."""


class RefusedError(Exception):
    """A witness did not sign; the text says why."""


class Contradiction(NamedTuple):
    """A witness knows another history: what it said."""

    witness: Witness
    size: int
    text: str


class Witnesses:
    """Asks for signatures whenever something new was published, in the process that enters."""

    def __init__(self, log: Log, post: Post) -> None:
        self._log = log
        self._post = post
        self._new = asyncio.Event()
        self._failures: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        log.on_publish = self._new.set
        if log.settings.witnesses:
            log.ask_first = self.look

    def start(self) -> None:
        """Begin to ask."""
        if self._log.settings.witnesses:
            self._new.set()
            self._task = asyncio.create_task(self._run(), name="witnesses")

    async def aclose(self) -> None:
        """Stop asking."""
        await ended(self._task)
        self._task = None

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._new.wait(), AGAIN_SECONDS)
            self._new.clear()
            try:
                await self.ask()
            except Exception as error:  # whatever it is: without this task the log would stay unwitnessed
                _log.error("witnesses_failed", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(PACE_SECONDS)

    async def look(self) -> None:
        """Ask all whether they have seen more than there is; for this, what was signed last is shown to them again.

        Later would be too late: the first checkpoint after a restored backup may have a size that was signed before.
        """
        signed = self._log.published or self._log.empty()
        said = await asyncio.gather(*(self._one(each, signed, signed.size) for each in self._log.settings.witnesses))
        for answer in said:
            if isinstance(answer, Contradiction):
                await self._contradicted(answer)

    async def ask(self) -> None:
        """Ask all that have not signed what was published last."""
        log = self._log
        signed = log.published
        if signed is None or log.sealed:
            return
        seen = await log.storage.read(partial(rows.seen_by, log=log.log.id, witnesses=log.witness_keys))
        asked = [each for each in log.settings.witnesses if seen.get(each.key, 0) < signed.size]
        said = await asyncio.gather(*(self._one(each, signed, seen.get(each.key, 0)) for each in asked))
        lines = {each.key: answer for each, answer in zip(asked, said, strict=True) if isinstance(answer, str)}
        if lines:
            await log.cosigned(signed, lines)
        for answer in said:
            if isinstance(answer, Contradiction):
                await self._contradicted(answer)

    async def _one(self, witness: Witness, signed: Signed, old: int) -> str | Contradiction | None:
        """The line that it signed, what it knows better, or None."""
        try:
            answer = await self._asked(witness, signed, old)
        except Exception as error:  # a witness may fail in any way; it only leaves its signature out (row H18)
            self._complain(witness, str(error) or type(error).__name__)
            return None
        if self._failures.pop(witness.key, None) is not None:
            _log.info("witness_works_again", address=witness.url)
        return answer

    async def _asked(self, witness: Witness, signed: Signed, old: int) -> str | Contradiction | None:
        for _ in range(ROUNDS):
            answer = await self._post(f"{witness.url.rstrip('/')}/add-checkpoint", await self._question(signed, old))
            if answer.status == 200:
                return _line(witness, signed, answer.data)
            if answer.status == 422 and old:  # of no entries there is one history only
                return Contradiction(witness, old, f"has seen another history of the first {old} entries")
            if answer.status != 409:
                raise RefusedError(f"it answered {answer.status}")
            told = note.number(answer.data[:32].decode("ascii", "replace").rstrip("\n"), "the size that it told")
            if told == old == signed.size:
                return Contradiction(witness, old, f"has seen another history of the first {old} entries")
            if told > signed.size:
                return await self._larger(witness, told)
            old = told
        raise RefusedError("it named one size after the other")

    async def _question(self, signed: Signed, old: int) -> bytes:
        nodes = self._log.files.nodes(signed.size)
        proof = await asyncio.to_thread(merkle.consistency, old, signed.size, nodes)
        return f"old {old}\n{note.lines(proof)}\n{signed.note}".encode()

    async def _larger(self, witness: Witness, told: int) -> Contradiction | None:
        """It has signed more than this: what was published since, or what this log does not have."""
        last = await self._log.storage.read(partial(rows.last, log=self._log.log.id))
        if last is not None and told <= last.size:
            return None
        return Contradiction(witness, told, f"has seen {told} entries, and there are {last.size if last else 0}")

    async def _contradicted(self, said: Contradiction) -> None:
        """Seal, unless we hold its own signature of what it now says it has not seen."""
        witness = note.key(said.witness.key)
        log = self._log
        held = await log.storage.read(
            partial(rows.cosigned, log=log.log.id, size=said.size, witnesses=[said.witness.key])
        )
        if held:
            self._complain(said.witness, f"it {said.text}, but signed that history itself")
        else:
            await log.seal(f"the witness {witness.name} {said.text}")

    def _complain(self, witness: Witness, text: str) -> None:
        if self._failures.get(witness.key) != text:
            _log.warning("witness_failed", address=witness.url, error=text)
        self._failures[witness.key] = text


def _line(witness: Witness, signed: Signed, data: bytes) -> str:
    """The witness's own line of its answer, which must hold. Raises `NoteError`, `RefusedError`."""
    text = note.parse(signed.note).text
    found = note.signed_by(note.Note(text, note.signatures(data.decode("utf-8"))), note.key(witness.key))
    if found is None:
        raise RefusedError("it signed with another key")
    return str(found)
