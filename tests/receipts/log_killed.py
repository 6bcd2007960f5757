"""A program that runs a log again and again and is killed at a step each time: ``log_killed.py FOLDER STEPS``.

Each round is a fork of this process that opens the database and the log like a fresh start, puts receipts in, ticks,
and kills itself with SIGKILL at the step of that number. A round without one runs to its end.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.receipts.log_house import opened, put

from sealgate.storage import open_storage


async def run(folder: Path, at: int, first: int, count: int) -> None:
    taken = 0

    def step(_name: str) -> None:
        nonlocal taken
        taken += 1
        if taken == at:
            os.kill(os.getpid(), signal.SIGKILL)

    storage = open_storage(f"sqlite:///{folder}/sealgate.db")
    await put(storage, *range(first, first + count))
    log = await opened(storage, folder, step=step)
    await log.tick()
    await log.aclose()
    await storage.aclose()


def main(folder: Path, steps: list[int], count: int) -> None:
    open_storage(f"sqlite:///{folder}/sealgate.db").close()  # what a round needs is loaded before it
    killed = 0
    for number, at in enumerate(steps):
        child = os.fork()
        if child == 0:
            asyncio.run(run(folder, at, number * count, count))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status):
            sys.exit(f"round {number} failed")
    sys.stdout.write(str(killed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(each) for each in sys.argv[2].split(",")], int(sys.argv[3]))
