"""Where the gateway's CPU time goes: it runs under `bench.sampled` and gets each load once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.loadgen import streams, whole
from bench.machine import thread_seconds
from bench.measures import CONNECTIONS
from bench.shape import request_body
from bench.subjects import Stage, Subject, start_sealgate

LINES = 35
WHOLE = 20_000
STREAMS = 512
WARM = 500
"""Whole answers before anything is noted."""


async def profile(stage: Stage, folder: Path) -> str:
    """Two tables, for whole answers and for streams; the stacks themselves go to ``folder``."""
    return "\n".join([await _one(stage, folder, name, load) for name, load in LOADS.items()])


async def _one(stage: Stage, folder: Path, name: str, load: Callable[[Stage, Subject], Awaitable[Any]]) -> str:
    file = folder / f"sealgate-profile-{name}.txt"
    file.unlink(missing_ok=True)
    gateway = await start_sealgate(stage, launcher=(str(Path(__file__).with_name("sampled.py")), str(file)))
    await whole(gateway.target, request_body(), connections=CONNECTIONS, count=WARM)
    os.kill(gateway.child.pid, signal.SIGUSR1)
    before = thread_seconds(gateway.child.pid)
    await load(stage, gateway)
    spent = [now - then for now, then in zip(thread_seconds(gateway.child.pid), before, strict=False)]
    gateway.child.end(10)
    if not file.exists():
        raise RuntimeError(f"the profiled gateway left no profile:\n{gateway.child.tail()}")
    threads = ", ".join(f"{seconds:.2f}" for seconds in spent)
    return (
        f"\n{name} (stacks in {file})\nCPU seconds by thread, the main one first: {threads}\n{table(file.read_text())}"
    )


async def _whole(_: Stage, gateway: Subject) -> None:
    await whole(gateway.target, request_body(), connections=CONNECTIONS, count=WHOLE)


async def _streams(stage: Stage, gateway: Subject) -> None:
    body = request_body(stream=True)
    await streams(gateway.target, stage.canned, body, connections=CONNECTIONS, count=STREAMS, spread=0.5)


LOADS = {"whole": _whole, "stream": _streams}


def table(text: str) -> str:
    """Functions by the share of samples in which they ran themselves, and in which they were on the stack."""
    own: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        names = stack.split(";")
        own[names[-1]] += int(count)
        within.update(dict.fromkeys(names, int(count)))
    total = own.total() or 1
    rows = [f"{count / total:6.1%} {within[name] / total:6.1%}  {name}" for name, count in own.most_common(LINES)]
    return "\n".join([f"{total} samples", "   own within  function", *rows])
