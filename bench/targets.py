"""What is to be reached, and the gate. Absolute times are for people to read; only ratios can fail a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.sampling import CALM

GATE = {"whole": 1.8, "stream": 1.8}
"""The most that Sealgate may cost in relation to the bare relay of the same run, by the median of the rounds."""

MAIN = "sealgate"
GATED = "sealgate without receipts"
"""With key check, plan, health and ledger. What receipts add has an aim of its own."""
Path = tuple[str, ...]


@dataclass(frozen=True)
class Aim:
    """One figure of the results and the most it should be."""

    name: str
    path: Path
    most: float
    unit: str


def _of(measure: str, *rest: str) -> Path:
    return (measure, "subjects", GATED if measure in GATE else MAIN, *rest)


AIMS = (
    Aim("CPU per whole answer", _of("whole", "cpu_us"), 180, "µs"),
    Aim("CPU per whole answer, times the bare relay", _of("whole", "ratio", "median"), GATE["whole"], "times"),
    Aim("CPU per 202-event stream", _of("stream", "cpu_ms"), 7, "ms"),
    Aim("CPU per 202-event stream, times the bare relay", _of("stream", "ratio", "median"), GATE["stream"], "times"),
    Aim("added latency at 20 % load, p50", _of("latency", "added_p50_ms"), 0.7, "ms"),
    Aim("added latency at 20 % load, p99", _of("latency", "added_p99_ms"), 3, "ms"),
    Aim(
        "delay of a content event at 50 % load, p99", ("delay", "half", "subjects", MAIN, "content", "p99_ms"), 5, "ms"
    ),
    Aim(
        "delay of a content event of one stream, p99", ("delay", "one", "subjects", MAIN, "content", "p99_ms"), 5, "ms"
    ),
    Aim("delay of an event of 1 000 streams, p99", ("crowd", "subjects", MAIN, "full", "p99_ms"), 50, "ms"),
    Aim("memory after the start, resident", _of("memory", "rss_mb"), 110, "MB"),
    Aim("start to first answer", _of("start", "seconds"), 1.5, "s"),
    Aim("CPU per megabyte of prompt", ("growth", "prompts", MAIN, "ms_per_mb"), 4, "ms"),
    Aim("100 000 keys, times 1 key", ("growth", "keys", "ratio", "median"), 1.2, "times"),
    Aim("CPU of a receipt, times the bare relay", ("receipts", "subjects", "signed", "per_floor"), 60 / 91, "times"),
    Aim("1 000 models, times 1 model", ("growth", "models", "ratio", "median"), 1.2, "times"),
)


def figure(measures: dict[str, Any], path: Path) -> float | None:
    """The figure at ``path``, None where it was not measured."""
    found: Any = measures
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def aims(measures: dict[str, Any]) -> list[tuple[Aim, float, str]]:
    """Every aim that was measured: its figure, and whether it is reached."""
    measured = ((aim, figure(measures, aim.path)) for aim in AIMS)
    return [(aim, found, _verdict(measures, aim, found)) for aim, found in measured if found is not None]


def _verdict(measures: dict[str, Any], aim: Aim, found: float) -> str:
    if found <= aim.most:
        return "yes"
    # What surrounds the figure: the subject's other figures, one or two steps up.
    others = max(figure(measures, (*aim.path[:steps], "others")) or 0 for steps in (-1, -2))
    return "**no**" if others <= CALM else f"no, but others had {others:.0%} of a core"


def broken(measures: dict[str, Any]) -> list[str]:
    """What the gate has against this run; a gated figure that is missing counts too."""
    complaints = []
    for measure, most in GATE.items():
        found = figure(measures, _of(measure, "ratio", "median"))
        if found is None:
            complaints.append(f"{measure}: not measured")
        elif found > most:
            complaints.append(f"{measure}: {found:.2f} times the bare relay, at most {most} is allowed")
    return complaints
