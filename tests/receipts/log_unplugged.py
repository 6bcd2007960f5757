"""A program whose machine will lose power: ``log_unplugged.py FOLDER``.

It says on standard output what it has acknowledged: ``row N`` for a request's row, ``log N`` for a published size.
"""

import asyncio
import sys
from pathlib import Path

from tests.receipts.log_house import opened, put

from sealgate.storage import open_storage


async def main(folder: Path) -> None:
    storage = open_storage(f"sqlite:///{folder}/sealgate.db")
    log = await opened(storage, folder)
    for number in range(100_000):
        await put(storage, number)
        sys.stdout.write(f"row {number}\n")
        if number % 7 == 0:
            await log.tick()
            assert log.published is not None
            sys.stdout.write(f"log {log.published.size}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
