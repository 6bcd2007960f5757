"""What receipts cost a whole answer: three gateways side by side, without receipts, with them, and with the log too.

Each is the default configuration but for the table ``[receipts]``. The log enters once a second, so each is still
watched for a while after its last answer: all of the log's work is in the figures.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import replace

from bench.loadgen import Window
from bench.measures import Bench, Figures, whole_load
from bench.sampling import Load, Sample, others, ratio, rounds
from bench.subjects import Stage, Subject, start_sealgate

COUNT = 2500
CONNECTIONS = 16
ROUNDS = 10
SECONDS = 120
AFTER = 1.5
"""Seconds for which a gateway is watched after its last answer."""

WITHOUT = "without"
TABLES = {
    WITHOUT: "[receipts]\nenabled = false",
    "signed": "[receipts.log]\nenabled = false",
    "signed and logged": "",
}


async def measure_receipts(bench: Bench) -> Figures:
    """CPU microseconds per whole answer, and what receipts add to it in neighbouring rounds.

    ``per_floor`` is what they add as a share of what the bare relay costs per answer in the same rounds: the figure
    that can be compared between machines.
    """
    subjects = [await _with(bench.stage, name, tables) for name, tables in TABLES.items()]
    try:
        load = _watched(whole_load(COUNT, connections=CONNECTIONS))
        taken = await rounds(bench.stage, [bench.floor, *subjects], load, count=ROUNDS, seconds=SECONDS)
    finally:
        for subject in subjects:
            subject.child.end()
    cost = {name: _cost(samples) for name, samples in taken.samples.items()}
    floor, without = cost[bench.floor.name], cost[WITHOUT]
    found: Figures = {}
    for name, values in cost.items():
        added = [ours - theirs for ours, theirs in zip(values, without, strict=True)]
        found[name] = {"cpu_us": round(statistics.median(values), 1), "others": others(taken.samples[name])}
        if name in TABLES and name != WITHOUT:
            found[name] |= {
                "added_us": round(statistics.median(added), 1),
                "per_floor": round(statistics.median(a / b for a, b in zip(added, floor, strict=True)), 3),
                "ratio": ratio(values, without),
            }
    return {"rounds": taken.taken, "used": len(floor), "subjects": found}


class _Longer(Window):
    """A window that closes some time after the last answer."""

    def __init__(self, window: Window) -> None:
        self._window = window

    def start(self) -> None:
        self._window.start()

    async def stop(self) -> None:
        await asyncio.sleep(AFTER)
        await self._window.stop()


def _watched(load: Load) -> Load:
    return lambda subject, window: load(subject, _Longer(window))


def _cost(samples: Sequence[Sample]) -> list[float]:
    return [one.cpu / COUNT * 1e6 for one in samples]


async def _with(stage: Stage, name: str, tables: str) -> Subject:
    return replace(await start_sealgate(stage, tables=tables), name=name)
