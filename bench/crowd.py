"""How many callers one core can stream to at once, each reading 20 events a second: about the pace of a model.

The aim is 1 000 streams with 99 of 100 events less than 50 ms on their way. Where that is more than the core can carry,
the number that it can is looked for by halves. ``direct`` is the load generator at the canned upstream: what the
harness itself adds, with both on one core.
"""

from __future__ import annotations

from bench import shape
from bench.judge import Delays, WrongAnswerError
from bench.loadgen import Window, streams
from bench.measures import Bench, Figures
from bench.sampling import Load, Sample, percentile, sample
from bench.subjects import Subject

FULL = 1000
MOST_MS = 50.0
STEP = 50
"""How exactly the number is looked for."""
RAMP = 3.0
"""Seconds over which the streams begin."""
LIMIT = 60.0


async def measure_crowd(bench: Bench) -> Figures:
    """Per program the steps that were tried, the delays with `FULL` streams, and the most that were carried."""
    direct, *subjects = bench.with_direct
    step = await _step(bench, direct, FULL)
    found: Figures = {direct.name: {"steps": [step], "full": step, "carried": FULL if _carried(step) else 0}}
    found |= {subject.name: await _search(bench, subject) for subject in subjects}
    return {"pace_per_second": round(1 / shape.CROWD_PACE), "most_ms": MOST_MS, "subjects": found}


async def _search(bench: Bench, subject: Subject) -> Figures:
    steps = [full := await _step(bench, subject, FULL)]
    good, bad = (FULL, FULL) if _carried(full) else (0, FULL)
    while bad - good > STEP:
        middle = round((good + bad) / 2 / STEP) * STEP
        if middle in (good, bad):
            break
        steps.append(step := await _step(bench, subject, middle))
        good, bad = (middle, bad) if _carried(step) else (good, middle)
    return {"steps": steps, "full": full, "carried": good}


def _carried(step: Figures) -> bool:
    return "p99_ms" in step and step["p99_ms"] < MOST_MS


async def _step(bench: Bench, subject: Subject, number: int) -> Figures:
    try:
        return {"streams": number, **_figures(await sample(bench.stage, subject, _load(bench, number), limit=LIMIT))}
    except WrongAnswerError as error:
        if "status 503" not in str(error):
            raise
        return {"streams": number, "per_second": 0.0}


def _figures(one: Sample) -> Figures:
    delays: Delays = one.result
    values = [nanoseconds / 1e6 for nanoseconds in delays.content]
    return {
        "per_second": round(len(values) / one.wall),
        "p50_ms": round(percentile(values, 0.5), 3),
        "p99_ms": round(percentile(values, 0.99), 3),
        "max_ms": round(max(values), 3),
        "load": round(one.cpu / one.wall, 3),
        "others": round(one.others, 3),
    }


def _load(bench: Bench, number: int) -> Load:
    body = shape.request_body(stream=True, user=shape.CROWD)

    async def load(subject: Subject, window: Window) -> Delays:
        canned = bench.stage.canned
        return await streams(subject.target, canned, body, connections=number, count=number, spread=RAMP, window=window)

    return load
