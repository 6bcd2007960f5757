"""``python -m bench``: starts everything, measures, prints tables, stores the results, ends everything."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from bench import machine, measures, tables, targets
from bench.accounts import measure_accounts
from bench.children import Children
from bench.crowd import measure_crowd
from bench.growth import measure_growth
from bench.judge import WrongAnswerError
from bench.limits import measure_limits
from bench.log import measure_log
from bench.measures import FULL, QUICK, Bench, Figures
from bench.peers import start_peers
from bench.profile import profile
from bench.receipts import measure_receipts
from bench.report import RESULTS
from bench.subjects import NotStartedError, Stage, Subject, start_bare, start_canned, start_sealgate

MEASURES = ("start", "memory", "whole", "stream", "latency", "delay")
GROWTH = "growth"
CROWD = "crowd"
LIMITS = "limits"
RECEIPTS = "receipts"
LOG = "log"
ACCOUNTS = "accounts"
EXTRA = (GROWTH, CROWD, LIMITS, RECEIPTS, LOG, ACCOUNTS)
"""Measured only where asked for."""
LOADS: dict[str, Callable[[Bench], Awaitable[Figures]]] = {
    "whole": measures.measure_whole,
    "stream": measures.measure_stream,
    "latency": measures.measure_latency,
    "delay": measures.measure_delay,
    GROWTH: measure_growth,
    CROWD: measure_crowd,
    LIMITS: measure_limits,
    RECEIPTS: measure_receipts,
    LOG: measure_log,
    ACCOUNTS: measure_accounts,
}


def arguments() -> argparse.Namespace:
    reader = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks on loopback, on pinned cores.")
    reader.add_argument("--quick", action="store_true", help="fewer rounds: at most 40 seconds instead of 4 minutes")
    reader.add_argument("--only", type=_names, default=MEASURES, help="of " + ",".join((*MEASURES, *EXTRA)))
    reader.add_argument("--growth", action="store_true", help="also how cost grows with prompts, keys and models")
    reader.add_argument("--peers", action="store_true", help="also other programs that are installed, such as nginx")
    reader.add_argument("--json", type=Path, metavar="FILE", help="where the results go, instead of bench/results")
    reader.add_argument(
        "--gate", action="store_true", help="whole and stream only; exit 1 if a ratio is above its limit"
    )
    reader.add_argument("--noise", action="store_true", help="the bare relay against itself: how far 1.00 strays here")
    reader.add_argument("--profile", action="store_true", help="where Sealgate's CPU time goes, instead of measuring")
    given = reader.parse_args()
    if given.gate:
        given.only = tuple(targets.GATE)
    if given.growth and GROWTH not in given.only:
        given.only = (*given.only, GROWTH)
    if given.noise and {GROWTH, LIMITS, RECEIPTS, ACCOUNTS} & set(given.only):
        reader.error("--noise runs without Sealgate, so there is nothing that could grow or be limited")
    return given


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in (*MEASURES, *EXTRA)]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join((*MEASURES, *EXTRA))}")
    return names


async def run(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All that was asked for; whatever happens, no child is left."""
    cores = machine.choose_cores()
    os.sched_setaffinity(0, {cores.load})
    _say(cores.describe())
    with Children(folder) as children:
        stage = await start_canned(children, cores)
        if given.profile:
            print(await profile(stage, Path(tempfile.gettempdir())))
            return {}
        bench, absent = await assemble(stage, given)
        begun = time.monotonic()
        found = await measure(bench, given)
        return {"seconds": round(time.monotonic() - begun, 1), "measures": found, "absent": absent}


async def assemble(stage: Stage, given: argparse.Namespace) -> tuple[Bench, dict[str, str]]:
    floor = await start_bare(stage)
    main = replace(await start_bare(stage), name="bare again") if given.noise else await start_sealgate(stage)
    peers, absent = await start_peers(stage) if given.peers else ([], {})
    for name, why in absent.items():
        _say(f"{name}: {why}")
    return Bench(stage, QUICK if given.quick else FULL, floor, (main, *peers)), absent


async def measure(bench: Bench, given: argparse.Namespace) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    if "memory" in given.only:  # before any load
        found["memory"] = await measures.measure_memory(bench)
    if "start" in given.only:
        starters = {"bare": start_bare} if given.noise else {"bare": start_bare, "sealgate": _start_default}
        found["start"] = await measures.measure_start(bench, starters)
    gated = bench if given.noise else replace(bench, others=(*bench.others, await _start_gated(bench.stage)))
    await measures.warm(gated)
    for name in (name for name in given.only if name in LOADS):
        begun = time.monotonic()
        found[name] = await LOADS[name](gated if name in targets.GATE else bench)
        _say(f"{name}: {time.monotonic() - begun:.1f} s")
    if "memory" in found:
        measures.memory_after(bench, found["memory"])
    return found


async def _start_gated(stage: Stage) -> Subject:
    return replace(await start_sealgate(stage, tables="[receipts]\nenabled = false"), name=targets.GATED)


async def _start_default(stage: Stage) -> Subject:
    return await start_sealgate(stage)


def store(results: dict[str, Any], given: argparse.Namespace) -> None:
    """A full run goes to bench/results; anything less only where ``--json`` says."""
    full = set(given.only) >= set(MEASURES) and not given.quick and not given.noise
    if not full and given.json is None:
        return
    file = given.json or RESULTS / f"{results['date'][:10]}-{results['machine']['commit']}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    _say(f"results in {file}")


async def bounded(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    task = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)  # type: ignore[union-attr]
    async with asyncio.timeout((QUICK if given.quick else FULL).total_seconds):
        return await run(given, folder)


def main() -> int:
    given = arguments()
    began = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine.facts(machine.choose_cores())}
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sealgate-bench-") as folder,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            results = {**began, **runner.run(bounded(given, Path(folder)))}
    except (NotStartedError, WrongAnswerError) as error:
        return _fail(str(error))
    except TimeoutError:
        return _fail("the run took longer than it may; no results")
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _fail("ended before it was done")
    if "measures" not in results:
        return 0
    print(f"{tables.machine(results)}\n\n{tables.everything(results)}")
    store(results, given)
    return _judge(results["measures"]) if given.gate else 0


def _judge(found: dict[str, Any]) -> int:
    complaints = targets.broken(found)
    for complaint in complaints:
        _say(f"gate: {complaint}")
    if not complaints:
        _say("gate: passed")
    return int(bool(complaints))


def _fail(why: str) -> int:
    _say(f"bench failed: {why}")
    return 2


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
