"""What is measured, one function each: subjects in, a JSON-ready dictionary out."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench import machine, shape
from bench.judge import Delays
from bench.loadgen import Window, paced, streams, whole
from bench.sampling import Load, Rounds, Sample, others, percentile, ratio, rounds, sample, spread
from bench.subjects import Stage, Start, Subject

CONNECTIONS = 64
LOW_LOAD = 0.2
HALF_LOAD = 0.5

Figures = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much is done; nothing begins a new round when its ``seconds`` are over."""

    whole_rounds: int
    whole_count: int
    stream_rounds: int
    stream_count: int
    latency_rounds: int
    latency_seconds: float
    single_streams: int
    delay_rounds: int
    starts: int
    seconds: float
    total_seconds: float


FULL = Size(20, 1500, 10, 64, 12, 0.7, 1, 4, 3, seconds=22, total_seconds=240)
QUICK = Size(6, 600, 2, 64, 3, 0.5, 1, 1, 1, seconds=3, total_seconds=40)


@dataclass(frozen=True)
class Bench:
    """The stage, the floor and the programs that are compared to it."""

    stage: Stage
    size: Size
    floor: Subject
    others: tuple[Subject, ...]

    @property
    def subjects(self) -> tuple[Subject, ...]:
        return (self.floor, *self.others)

    @property
    def main(self) -> Subject:
        """The program whose load the timetables are made for."""
        return self.others[0] if self.others else self.floor

    @property
    def with_direct(self) -> tuple[Subject, ...]:
        """The canned upstream in front: what the harness itself costs."""
        return (replace(self.floor, name="direct", target=self.stage.canned), *self.subjects)

    async def pairs(self, load: Load, count: int) -> Rounds:
        """For what is compared with the floor."""
        return await rounds(self.stage, self.subjects, load, count=count, seconds=self.size.seconds)

    async def singles(self, load: Load, count: int) -> Rounds:
        """For what the clock on the wall measures."""
        everyone = self.with_direct
        return await rounds(self.stage, everyone, load, count=count, seconds=self.size.seconds, paired=False)


def whole_load(count: int, prompt_bytes: int | None = None, connections: int = CONNECTIONS, user: str = "") -> Load:
    body = shape.request_body(prompt_bytes=prompt_bytes, user=user)

    def load(subject: Subject, window: Window) -> Awaitable[list[int]]:
        return whole(subject.target, body, connections=connections, count=count, window=window)

    return load


def stream_load(bench: Bench, *, at_once: int, count: int, spread_seconds: float) -> Load:
    body = shape.request_body(stream=True)
    canned = bench.stage.canned

    def load(subject: Subject, window: Window) -> Awaitable[Delays]:
        return streams(
            subject.target, canned, body, connections=at_once, count=count, spread=spread_seconds, window=window
        )

    return load


def paced_load(rate: float, seconds: float) -> Load:
    body = shape.request_body()
    count = max(20, int(rate * seconds))

    def load(subject: Subject, window: Window) -> Awaitable[list[int]]:
        return paced(subject.target, body, connections=CONNECTIONS, rate=rate, count=count, seed=1, window=window)

    return load


async def warm(bench: Bench) -> None:
    for subject in bench.subjects:
        await sample(bench.stage, subject, whole_load(500), limit=30)


async def measure_whole(bench: Bench) -> Figures:
    """CPU microseconds per whole answer, 64 connections that always wait for one."""
    count = bench.size.whole_count
    taken = await bench.pairs(whole_load(count), bench.size.whole_rounds)
    found = {name: _cost(samples, count, 1e6, "cpu_us") for name, samples in taken.samples.items()}
    for name, samples in taken.samples.items():
        found[name]["per_second"] = round(statistics.median(count / one.wall for one in samples))
    return {"rounds": taken.taken, "subjects": _with_ratios(bench, found)}


async def measure_stream(bench: Bench) -> Figures:
    """CPU milliseconds per stream of 202 events 5 ms apart, 64 at a time."""
    count = bench.size.stream_count
    load = stream_load(bench, at_once=CONNECTIONS, count=count, spread_seconds=0.05)
    taken = await bench.pairs(load, bench.size.stream_rounds)
    found = {name: _cost(samples, count, 1e3, "cpu_ms") for name, samples in taken.samples.items()}
    return {"rounds": taken.taken, "subjects": _with_ratios(bench, found)}


def _cost(samples: Sequence[Sample], count: int, unit: float, name: str) -> Figures:
    values = [one.cpu / count * unit for one in samples]
    return {
        name: round(statistics.median(values), 3),
        "values": [round(value, 3) for value in values],
        "spread": spread(values),
        "others": others(samples),
    }


def _with_ratios(bench: Bench, found: Figures) -> Figures:
    floor = found[bench.floor.name]["values"]
    for subject in bench.others:
        found[subject.name]["ratio"] = ratio(found[subject.name]["values"], floor)
    return found


async def measure_latency(bench: Bench) -> Figures:
    """Milliseconds from due to answered at a rate that takes a fifth of the core; `added`: above the harness alone."""
    # A request that comes alone costs more than one of many, so the first guess is too high. It is never too low: where
    # it seems so, others have the core.
    guess = LOW_LOAD / await _cpu_of(bench, whole_load(1000), 1000)
    rate = guess * min(1, LOW_LOAD / await _load_of(bench, paced_load(guess, 0.5)))
    load = paced_load(rate, bench.size.latency_seconds)
    taken = await bench.singles(load, bench.size.latency_rounds)
    found = {name: _latency(samples) for name, samples in taken.samples.items()}
    for subject in bench.subjects:
        mine = found[subject.name]
        mine["added_p50_ms"], mine["added_p99_ms"] = (
            round(mine[name] - found["direct"][name], 3) for name in ("p50_ms", "p99_ms")
        )
    return {"per_second": round(rate), "rounds": taken.taken, "subjects": found}


def _latency(samples: Sequence[Sample]) -> Figures:
    took = [nanoseconds / 1e6 for one in samples for nanoseconds in one.result]
    return {
        "p50_ms": round(percentile(took, 0.5), 3),
        "p99_ms": round(percentile(took, 0.99), 3),
        "max_ms": round(max(took), 3),
        **_circumstances(samples),
    }


def _circumstances(samples: Sequence[Sample]) -> Figures:
    return {
        "load": round(sum(one.cpu for one in samples) / sum(one.wall for one in samples), 3),
        "others": others(samples),
        "used": len(samples),
    }


async def measure_delay(bench: Bench) -> Figures:
    """Milliseconds from the upstream's write of an event to the caller's read: one stream, and half the core busy."""
    single = stream_load(bench, at_once=1, count=bench.size.single_streams, spread_seconds=0)
    alone = await bench.singles(single, bench.size.delay_rounds)
    guess = HALF_LOAD * shape.STREAM_SECONDS / await _cpu_of(bench, _some_streams(bench, CONNECTIONS), CONNECTIONS)
    at_once = _sensible(guess * min(1, HALF_LOAD / await _load_of(bench, _some_streams(bench, _sensible(guess)))))
    busy = stream_load(bench, at_once=at_once, count=2 * at_once, spread_seconds=0.2)
    loaded = await bench.singles(busy, bench.size.delay_rounds)
    return {"one": _delay_part(1, alone), "half": _delay_part(at_once, loaded)}


def _delay_part(at_once: int, taken: Rounds) -> Figures:
    found = {name: _delays(samples) for name, samples in taken.samples.items()}
    return {"streams": at_once, "rounds": taken.taken, "subjects": found}


def _delays(samples: Sequence[Sample]) -> Figures:
    all_of = Delays()
    for one in samples:
        all_of.add(one.result)
    kinds = {"role": all_of.role, "content": all_of.content, "finish": all_of.finish, "end": all_of.end}
    return {**{kind: _delay(values) for kind, values in kinds.items()}, **_circumstances(samples)}


def _delay(nanoseconds: Sequence[int]) -> Figures:
    values = [one / 1e6 for one in nanoseconds]
    return {
        "events": len(values),
        "p50_ms": round(percentile(values, 0.5), 3),
        "p99_ms": round(percentile(values, 0.99), 3),
        "max_ms": round(max(values), 3),
        "late": sum(value > shape.PACE * 1e3 for value in values),
    }


def _some_streams(bench: Bench, number: int) -> Load:
    return stream_load(bench, at_once=number, count=number, spread_seconds=0.05)


def _sensible(streams_at_once: float) -> int:
    """Not more than load and upstream can do on their own core."""
    return max(1, min(160, round(streams_at_once)))


async def _cpu_of(bench: Bench, load: Load, count: int) -> float:
    """CPU seconds that the main program takes for one of ``count``, measured now."""
    return (await sample(bench.stage, bench.main, load, limit=30)).cpu / count


async def _load_of(bench: Bench, load: Load) -> float:
    """Share of its core that the main program takes, measured now."""
    one = await sample(bench.stage, bench.main, load, limit=30)
    return one.cpu / one.wall


Starter = Callable[[Stage], Awaitable[Subject]]


async def measure_memory(bench: Bench) -> Figures:
    """Megabytes after the start and one answer; called before any load."""
    await asyncio.sleep(1)
    return {"subjects": {subject.name: _memory(subject) for subject in bench.subjects}}


def _memory(subject: Subject) -> Figures:
    rss, pss = machine.memory(subject.child.pid)
    return {"rss_mb": round(rss, 1), "pss_mb": round(pss, 1)}


def memory_after(bench: Bench, found: Figures) -> None:
    """The same at the end of the run, beside the first figures."""
    for subject in bench.subjects:
        now = _memory(subject)
        found["subjects"][subject.name] |= {"rss_mb_after": now["rss_mb"], "pss_mb_after": now["pss_mb"]}


async def measure_start(bench: Bench, starters: dict[str, Starter]) -> Figures:
    """Seconds from starting the process to its first answer; files are in the page cache, the database exists.

    The programs were started before, so their bytecode is there, as it is after an installation.
    """
    taken: dict[str, list[Start]] = {subject.name: [] for subject in bench.subjects}
    for _ in range(bench.size.starts):
        for name, start in starters.items():
            again = await start(bench.stage)
            taken[name].append(again.start)
            again.child.end()
    return {"subjects": {name: _starts(values) for name, values in taken.items()}}


def _starts(taken: Sequence[Start]) -> Figures:
    values = [one.seconds for one in taken]
    return {
        "seconds": round(statistics.median(values), 3),
        "values": [round(value, 3) for value in values],
        "cpu_seconds": round(statistics.median(one.cpu for one in taken), 3),
        "others": round(statistics.fmean(one.others for one in taken), 3),
    }
