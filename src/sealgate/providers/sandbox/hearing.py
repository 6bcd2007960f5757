"""Whether the sandbox can hear, and what it hears: PocketSphinx in a process of its own, under bounds.

The process gets the file by standard input and is ended when the request is, or when it takes too long; one listens at
a time, so that the sandbox never takes more than one processor from the gateway.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from weakref import WeakKeyDictionary

import msgspec

from sealgate.formats.sound import Sound
from sealgate.providers.sandbox.recogniser import LONGEST, Segment

PATIENCE = 300.0
"""Seconds that one sound may take."""
ENGLISH = ("en", "eng", "english")
PROGRAM = (
    sys.executable,
    "-I",
    "-c",
    "from sealgate.providers.sandbox.recogniser import main; raise SystemExit(main())",
)

_decode = msgspec.json.Decoder(list[Segment]).decode
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def can_hear() -> bool:
    """Whether the optional extra ``speech`` is installed."""
    return importlib.util.find_spec("pocketsphinx") is not None


def deaf_to(found: Sound | None, language: str) -> str | None:
    """Why a sound is not listened to, as a sentence; None where it is."""
    if found is None or found.format != "wav":
        return "The sandbox hears WAV files only."
    if language and language.lower().partition("-")[0] not in ENGLISH:
        return "The sandbox understands English only."
    if (found.milliseconds or 0) > LONGEST * 1000:
        return f"The sandbox listens to {LONGEST // 60} minutes at most."
    return None


async def hear(file: bytes) -> list[Segment] | None:
    """What is said in a WAV file; None where its samples cannot be read, listening takes too long, or nobody can."""
    turn = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with turn:
        try:
            process = await asyncio.create_subprocess_exec(*PROGRAM, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env={})
        except OSError:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                said, _ = await process.communicate(file)
        except TimeoutError:
            return None
        finally:
            await _ended(process)
    try:
        return _decode(said) if process.returncode == 0 else None
    except msgspec.DecodeError:
        return None


async def _ended(process: Process) -> None:
    """Ends it where it still runs, and waits until it is gone."""
    if process.returncode is None:
        process.kill()
        await process.wait()
