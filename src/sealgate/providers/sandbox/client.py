"""`SandboxClient`: the sandbox behind the seam through which every upstream request goes, without a network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

from sealgate.errors import Failure, UpstreamError
from sealgate.outward.client import Limits, Request
from sealgate.providers.sandbox.models import Pace
from sealgate.providers.sandbox.reply import Reply, embeddings, models, reply, transcript, unknown

Sleep = Callable[[float], Awaitable[None]]

BREATH = 16
"""Events after which a stream without a pace lets others run once: it never waits, so it would never let go."""

_OTHER_PATHS = ("/responses",)
_TASKS = {"/audio/transcriptions": "transcribe", "/audio/translations": "translate"}


class SandboxClient:
    """Answers `POST …/chat/completions` (and `GET …/models`) as a good OpenAI-compatible server would.

    ``tokens_per_second`` sets the pace of answers (None: as fast as they are read), ``first_token_seconds`` the wait
    before the first token. A model name that has a pace of its own (``slow``) goes before both. ``sleep`` and
    ``clock`` (seconds since 1970) are for tests and simulations.
    """

    def __init__(
        self,
        tokens_per_second: float | None = None,
        first_token_seconds: float = 0.0,
        *,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pace = Pace(first_token_seconds, 1 / tokens_per_second if tokens_per_second else 0.0)
        self._sleep = sleep
        self._clock = clock
        self._serial = 0

    async def send(self, request: Request, limits: Limits) -> SandboxResponse:
        """Answer the request. A whole answer is waited for before its head, as with a real server.

        Raises `UpstreamError` with TIMEOUT where that takes longer than ``limits.silence``.
        """
        silence = min(limits.silence, limits.until - asyncio.get_running_loop().time())
        found = await self._transcript(request, silence) or self._reply(request)
        pace = found.pace or self._pace
        if found.tokens:
            await self._wait(pace.first + pace.gap * (found.tokens - 1), silence)
            pace = Pace()
        return SandboxResponse(found, pace, silence, self._sleep)

    async def aclose(self) -> None:
        """Nothing to close."""

    async def _transcript(self, request: Request, silence: float) -> Reply | None:
        """The reply to a sound; None where there is none."""
        path = request.url.partition("?")[0]
        task = next((task for ending, task in _TASKS.items() if path.endswith(ending)), None)
        if task is None:
            return None
        try:
            async with asyncio.timeout(silence):
                return await transcript(request.body, request.headers.get("content-type", ""), task)
        except TimeoutError:
            raise UpstreamError(Failure.TIMEOUT, "listening took longer than the time allowed") from None

    def _reply(self, request: Request) -> Reply:
        created = int(self._clock())
        path = request.url.partition("?")[0]
        if request.method == "GET" and path.endswith("/models"):
            return models(created)
        if path.endswith(_OTHER_PATHS):
            return unknown(path)
        if path.endswith("/embeddings"):
            return embeddings(request.body)
        self._serial += 1
        return reply(request.body, created, self._serial)

    async def _wait(self, seconds: float, silence: float) -> None:
        if seconds > silence:
            await self._sleep(silence)
            raise UpstreamError(Failure.TIMEOUT, "the sandbox's pace is slower than the time allowed")
        if seconds > 0:
            await self._sleep(seconds)


class SandboxResponse:
    """One answer: its head, and a body read piece by piece, one event each."""

    def __init__(self, found: Reply, pace: Pace, silence: float, sleep: Sleep) -> None:
        self.status = found.status
        self.headers: Mapping[str, str] = found.headers
        self._pieces: Iterator[bytes] = iter(found.pieces)
        self._ending = found.ending
        self._silent = found.silent
        self._pace = pace
        self._silence = silence
        self._sleep = sleep
        self._count = 0
        self._closed = False

    async def read(self) -> bytes:
        """The next piece, ``b""`` at the end.

        Raises `UpstreamError` with RESET or TRUNCATED where the model is told to break off, with STALLED where nothing
        comes for the time allowed, and with RESET after `close`.
        """
        if self._closed:
            raise UpstreamError(Failure.RESET, "the response is closed")
        if self._silent:
            await self._stall()
        piece = next(self._pieces, b"")
        if not piece:
            if self._ending is not None:
                raise UpstreamError(self._ending, "the sandbox was told to break off here")
            return b""
        self._count += 1
        pause = self._pace.first if self._count == 1 else self._pace.gap
        if pause > self._silence:
            await self._stall()
        if pause > 0 or self._count % BREATH == 0:
            await self._sleep(pause)
        return piece

    def set_silence(self, seconds: float) -> None:
        """Change the longest wait between two pieces from now on."""
        self._silence = seconds

    def close(self) -> None:
        """Stop now."""
        self._closed = True
        self._pieces = iter(())

    async def _stall(self) -> None:
        await self._sleep(self._silence)
        raise UpstreamError(Failure.STALLED, "the sandbox was told to keep silent")
