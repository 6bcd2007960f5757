"""One load on one program, metered; many of them in alternating rounds; and what the figures of the rounds come to."""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench import machine
from bench.judge import WrongAnswerError
from bench.loadgen import Window
from bench.subjects import Stage, Subject

SETTLE = 0.03
"""Seconds after the last answer in which a program may finish what it still has to do for it."""
CALM = 0.1
"""Share of a core that others may have in a round that counts. Not only latencies suffer: where events have to wait,
they are read several at a time, which is cheaper, and a stream costs less than it should."""

FEW = 3
"""Calm rounds without which all rounds count: a median of one or two says less than one of many disturbed rounds."""


class Meter(Window):
    """CPU time of a process tree, and what others took of the cores, from the first request to the last answer."""

    def __init__(self, stage: Stage, pid: int) -> None:
        self._cores = stage.cores
        self._pid = pid
        self._helpers = (os.getpid(), stage.canned_child.pid)

    def start(self) -> None:
        self._begun = time.monotonic()
        self._from = self._read()

    async def stop(self) -> None:
        self.wall = time.monotonic() - self._begun
        await asyncio.sleep(SETTLE)
        tested, helped, on_test, on_load = (now - then for now, then in zip(self._read(), self._from, strict=True))
        self.cpu = tested
        known = (tested + helped,) * 2 if self._cores.shared else (tested, helped)
        self.others = max(0.0, on_test - known[0], on_load - known[1]) / (self.wall + SETTLE)

    def _read(self) -> tuple[float, ...]:
        """Seconds: of the program under test, of our own helpers, and of the two cores in all."""
        return (
            machine.cpu_ns(self._pid) / 1e9,
            sum(map(machine.process_ns, self._helpers)) / 1e9,
            machine.core_seconds(self._cores.test),
            machine.core_seconds(self._cores.load),
        )


@dataclass(frozen=True)
class Sample:
    """One load on one program."""

    cpu: float
    """Seconds of user and system time."""
    wall: float
    """Seconds from the first request to the last answer."""
    others: float
    """Share that others had of one of the two cores, whichever is more: other programs, the kernel, the hypervisor."""
    result: Any


Load = Callable[[Subject, Window], Awaitable[Any]]


async def sample(stage: Stage, subject: Subject, load: Load, limit: float) -> Sample:
    """Raises `WrongAnswerError` for a wrong answer, and where the load takes more than ``limit`` seconds."""
    meter = Meter(stage, subject.child.pid)
    try:
        async with asyncio.timeout(limit):
            result = await load(subject, meter)
    except WrongAnswerError as error:
        raise WrongAnswerError(f"{subject.name}: {error}\n{subject.child.tail()}") from None
    except TimeoutError:
        raise WrongAnswerError(f"{subject.name}: not done in {limit:.0f} s\n{subject.child.tail()}") from None
    return Sample(meter.cpu, meter.wall, meter.others, result)


@dataclass(frozen=True)
class Rounds:
    """The samples that count, by subject, and how many rounds there were in all."""

    samples: dict[str, list[Sample]]
    taken: int


async def rounds(
    stage: Stage, subjects: Sequence[Subject], load: Load, *, count: int, seconds: float, paired: bool = True
) -> Rounds:
    """A B B A …, until ``count`` rounds were calm, at most twice as many, and no new one (but two) after ``seconds``.

    A round is calm if others had at most `CALM` of either core in all its parts. Only calm rounds count; where there
    are fewer than `FEW`, all do, and the figures say how disturbed they are. Not ``paired``, for what is not compared
    round by round, each part of a round counts or not by itself, and one calm part is enough.
    """
    taken: list[dict[str, Sample]] = []
    begun = time.monotonic()
    while not _enough(taken, count) and (len(taken) < min(2, count) or time.monotonic() - begun < seconds):
        order = subjects[:: -1 if len(taken) % 2 else 1]  # nobody always comes after the same one
        taken.append({one.name: await sample(stage, one, load, limit=max(10.0, seconds)) for one in order})
    calm = [one for one in taken if all(map(_is_calm, one.values()))]
    counted = calm if paired and len(calm) >= min(FEW, count) else taken
    used = {subject.name: [one[subject.name] for one in counted] for subject in subjects}
    return Rounds(used if paired else {name: _calm(samples) for name, samples in used.items()}, len(taken))


def _enough(taken: Sequence[dict[str, Sample]], count: int) -> bool:
    return len(taken) >= 2 * count or sum(all(map(_is_calm, one.values())) for one in taken) >= count


def _calm(samples: list[Sample]) -> list[Sample]:
    return [one for one in samples if _is_calm(one)] or samples


def _is_calm(one: Sample) -> bool:
    return one.others <= CALM


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratio(values: Sequence[float], floor: Sequence[float]) -> dict[str, float]:
    """Median, least and most of the ratios of neighbouring rounds: what disturbs the machine disturbs both."""
    pairs = [ours / theirs for ours, theirs in zip(values, floor, strict=True)]
    return {"median": round(statistics.median(pairs), 3), "min": round(min(pairs), 3), "max": round(max(pairs), 3)}


def spread(values: Sequence[float]) -> float:
    """How far the rounds lie apart: (most - least) / median."""
    return round((max(values) - min(values)) / statistics.median(values), 3)


def others(samples: Sequence[Sample]) -> float:
    """Mean over the rounds."""
    return round(statistics.fmean(one.others for one in samples), 3)
