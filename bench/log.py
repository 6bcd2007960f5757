"""How the transparency log grows: entering, proving and signing in a log of a million entries and in a small one.

Both are real logs, with a database and files of their own, in this process; rounds alternate between them. Their first
entries are put into the database at once; the log writes its files from there, as it does where they were lost.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from bench.measures import Bench, Figures
from bench.sampling import ratio
from sealgate.config_log import ReceiptLog
from sealgate.formats import leaves
from sealgate.receipts.log import Log
from sealgate.receipts.log_key import identify
from sealgate.storage import Storage, open_storage
from sealgate.storage.tables import ledger, log_entries

SIZES = {"small": 10_000, "large": 1_000_000}
ROUNDS = 30
BATCH = 100
"""Receipts that are entered at once."""
PROOFS = 20
ORIGIN = "bench.example/receipts"
CHUNK = 20_000


@dataclass
class House:
    """A log with its database."""

    storage: Storage
    log: Log
    entered: int
    chance: Random


async def measure_log(_bench: Bench) -> Figures:
    """Milliseconds of each piece of work in a small and in a large log, and the ratios of neighbouring rounds."""
    with tempfile.TemporaryDirectory(prefix="sealgate-log-") as folder:
        houses = {name: await _filled(Path(folder) / name, size) for name, size in SIZES.items()}
        taken: dict[str, dict[str, list[float]]] = {work: {name: [] for name in SIZES} for work in WORKS}
        for turn in range(ROUNDS + 1):
            for name, house in houses.items():
                for work, run in WORKS.items():
                    seconds = await run(house)
                    if turn:  # the first round opens files
                        taken[work][name].append(seconds * 1e3)
        for house in houses.values():
            await house.log.aclose()
            await house.storage.aclose()
    return {
        "sizes": SIZES,
        "rounds": ROUNDS,
        "work": {
            work: {
                **{f"{name}_ms": round(statistics.median(values), 3) for name, values in by_name.items()},
                "ratio": ratio(by_name["large"], by_name["small"]),
            }
            for work, by_name in taken.items()
        },
    }


async def _filled(folder: Path, size: int) -> House:
    await asyncio.to_thread(folder.mkdir)
    storage = open_storage(f"sqlite:///{folder}/bench.db")
    log = Log(storage, folder, await identify(storage, folder, ORIGIN, ""), ReceiptLog(origin=ORIGIN), alone=True)
    for start in range(0, size, CHUNK):
        rows = [
            {"log": log.log.id, "position": place, "entry": leaves.receipt(b"%d" % place)}
            for place in range(start, min(size, start + CHUNK))
        ]
        await storage.write(lambda c, rows=rows: c.execute(log_entries.insert(), rows))
    house = House(storage, log, size, Random(6962))
    await log.recover()
    await _enter(house)
    return house


async def _enter(house: House) -> float:
    """Receipts get their places, files and a checkpoint; only the log's own work is timed."""
    for _ in range(BATCH):
        await house.storage.append(ledger, _row(house.entered))
        house.entered += 1
    return await _timed(house.log.tick)


async def _checkpoint(house: House) -> float:
    """The root over all entries, signed; and what is shown of it."""

    async def work() -> None:
        house.log._sign(str(house.log._edge.root()))
        await house.log.checkpoint()

    return await _timed(work)


async def _recent(house: House) -> float:
    published = house.log.published
    assert published is not None
    return await _proved(house, [published.size - 1 - house.chance.randrange(BATCH) for _ in range(PROOFS)])


async def _anywhere(house: House) -> float:
    published = house.log.published
    assert published is not None
    return await _proved(house, [house.chance.randrange(published.size) for _ in range(PROOFS)])


async def _proved(house: House, places: list[int]) -> float:
    async def work() -> None:
        for place in places:
            assert await house.log.proof(ORIGIN, place) is not None

    return await _timed(work) / PROOFS


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


WORKS: dict[str, Callable[[House], Awaitable[float]]] = {
    f"{BATCH} receipts entered, tiled, signed": _enter,
    "a checkpoint signed and shown": _checkpoint,
    "a recent receipt proved": _recent,
    "any receipt proved": _anywhere,
}


def _row(number: int) -> dict[str, Any]:
    return {
        "id": f"{number:032x}", "request_id": f"{number:032x}", "customer_id": "bench", "endpoint": "chat.completions",
        "stream": False, "created_at": number, "model": "m", "outcome": "ok", "status": 200, "attempts": 1,
        "failover": False, "duration_us": 1, "receipt": f"head.{number}.signature" + "x" * 1400,
        "receipt_id": f"{number:032x}",
    }  # fmt: skip
