"""How the cost of a whole answer grows: with the prompt, with the number of keys, with the number of models."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bench.measures import Bench, Figures, whole_load
from bench.sampling import Load, Rounds, others, ratio, rounds
from bench.subjects import Subject, start_sealgate

PROMPTS = {"1 KB": (1_000, 1500), "100 KB": (100_000, 300), "1 MB": (1_000_000, 60)}
"""Size to bytes and number of requests."""
MANY_KEYS = 100_000
MANY_MODELS = 1_000
FEW_CONNECTIONS = 8
"""Large prompts come from few callers, so that no gateway has to refuse any for its memory's sake."""
ROUNDS = 4
SECONDS = 6
COUNT = 2000


async def measure_growth(bench: Bench) -> Figures:
    return {
        "prompts": await _prompts(bench),
        "keys": {"count": MANY_KEYS, **await _beside(bench, keys=MANY_KEYS)},
        "models": {"count": MANY_MODELS, **await _beside(bench, models=MANY_MODELS)},
    }


async def _prompts(bench: Bench) -> Figures:
    """CPU milliseconds per answer by the prompt's size, and what one megabyte adds."""
    found: Figures = {subject.name: {} for subject in bench.subjects}
    for size, (prompt_bytes, count) in PROMPTS.items():
        taken = await _rounds(bench, whole_load(count, prompt_bytes, FEW_CONNECTIONS), bench.subjects)
        for name, samples in taken.samples.items():
            found[name][size] = round(statistics.median(one.cpu / count * 1e3 for one in samples), 3)
            found[name]["others"] = others(samples)
    for figures in found.values():
        figures["ms_per_mb"] = round((figures["1 MB"] - figures["1 KB"]) / 0.999, 3)
    return found


async def _beside(bench: Bench, **more: Any) -> Figures:
    """A second gateway with more of something, in alternating rounds with the first."""
    large = replace(await start_sealgate(bench.stage, **more), name="large")
    try:
        taken = await _rounds(bench, whole_load(COUNT), _pair(bench, large))
    finally:
        large.child.end()
    cost = {name: [one.cpu / COUNT * 1e6 for one in samples] for name, samples in taken.samples.items()}
    return {
        "small_us": round(statistics.median(cost["sealgate"]), 1),
        "large_us": round(statistics.median(cost["large"]), 1),
        "ratio": ratio(cost["large"], cost["sealgate"]),
        "others": others(taken.samples["large"]),
        "start_seconds": round(large.start.seconds, 3),
    }


async def _rounds(bench: Bench, load: Load, subjects: Sequence[Subject]) -> Rounds:
    return await rounds(bench.stage, subjects, load, count=ROUNDS, seconds=SECONDS)


def _pair(bench: Bench, large: Subject) -> tuple[Subject, Subject]:
    return next(subject for subject in bench.others if subject.name == "sealgate"), large
