"""A program that is one of several replicas at one log: ``log_racing.py URL FOLDER NUMBER COUNT``.

It puts receipts in and ticks, with a lease so short that it is lost again and again, until all of its own are entered.
"""

import asyncio
import random
import sys
import time
from pathlib import Path

from tests.receipts.log_house import opened, put

from sealgate.receipts import log as module
from sealgate.receipts import log_rows
from sealgate.storage import open_storage
from sealgate.storage.tables import ledger

module.LEASE_SECONDS = 0.01
SECONDS = 120


async def main(url: str, folder: Path, number: int, count: int) -> None:
    chance = random.Random(number)
    storage = open_storage(url)
    log = await opened(storage, folder, alone=False, clock=time.time)
    mine = range(number * count, (number + 1) * count)
    until = time.monotonic() + SECONDS
    writes = 0
    for each in mine:
        await put(storage, each)
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * 0.02)  # the lease runs out
        await log.tick()
        writes += log.writes
    waiting = log_rows.select(ledger.c.id).where(ledger.c.log_index.is_(None))
    while time.monotonic() < until and await storage.read(lambda c: c.execute(waiting).first()):
        await log.tick()
        await asyncio.sleep(0.01)
    await log.aclose()
    await storage.aclose()
    sys.stdout.write(f"\n{writes} {log.sealed}\n")  # last: until the storage is closed, its log may say something


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
