"""A program that runs a log again and again and is killed at a step: ``log_killed.py URL FOLDER STEPS COUNT``.

Each round is a fork of this process that opens the database and the log like a fresh start, puts receipts in, ticks,
and kills itself with SIGKILL at the step of that number. A round without one runs to its end.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.receipts.log_house import NOW, opened, put

from sealgate.storage import open_storage


async def run(url: str, folder: Path, at: int, first: int, count: int) -> None:
    taken = 0

    def step(_name: str) -> None:
        nonlocal taken
        taken += 1
        if taken == at:
            os.kill(os.getpid(), signal.SIGKILL)

    storage = open_storage(url)
    await put(storage, *range(first, first + count))
    # Without a lock on a file, the lease of whoever was killed has to run out.
    clock, alone = float(NOW + 60 * first), url.startswith("sqlite")
    log = await opened(storage, folder, step=step, alone=alone, clock=lambda: clock)
    await log.tick()
    await log.aclose()
    await storage.aclose()


def main(url: str, folder: Path, steps: list[int], count: int) -> None:
    open_storage(url).close()  # what a round needs is loaded before it
    killed = 0
    for number, at in enumerate(steps):
        child = os.fork()
        if child == 0:
            asyncio.run(run(url, folder, at, number * count, count))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status):
            sys.exit(f"round {number} failed")
    sys.stdout.write(str(killed))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [int(each) for each in sys.argv[3].split(",")], int(sys.argv[4]))
