"""A log without a gateway: receipts put into a ledger, and the log over them, for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.storage.rows import make_row

from sealgate.config_log import ReceiptLog
from sealgate.formats import leaves, merkle, note
from sealgate.receipts import log_rows
from sealgate.receipts.log import Log, open_log
from sealgate.receipts.receipt import Software
from sealgate.storage import Storage
from sealgate.storage.tables import ledger

ORIGIN = "gw.example/receipts/2026"
SOFTWARE = Software("0.1.0", None, None)
NOW = 1_795_000_000.0


def jws(number: int) -> str:
    return f"head.payload{number}.signature"


async def put(storage: Storage, *numbers: int) -> None:
    """Receipts that wait for the log."""
    for number in numbers:
        await storage.append(ledger, make_row(number, receipt=jws(number), receipt_id=f"{number:032x}"))


async def opened(storage: Storage, folder: Path, settings: ReceiptLog | None = None, **options: Any) -> Log:
    """The log, which ticks when it is told to."""
    options.setdefault("alone", True)
    log = await open_log(
        storage, folder, settings or ReceiptLog(origin=ORIGIN), "http://gw.example", SOFTWARE,
        clock=options.pop("clock", lambda: NOW), **options,
    )  # fmt: skip
    for task in log._tasks:
        task.cancel()
    return log


async def checked(log: Log, storage: Storage) -> list[bytes]:
    """The entries, when everything that the log shows agrees: files, checkpoint, proofs, the ledger's places."""
    published = log.published
    assert published is not None
    shown = await log.checkpoint()
    assert shown is not None
    told = note.parse(shown)
    assert note.signed_by(told, log.key) is not None
    size = note.checkpoint(told.text).size
    found = [entry for number, width in widths(size) for entry in log.files.entries(number, width)]
    hashes = [merkle.leaf(entry) for entry in found]
    assert merkle.root(size, merkle.of_hashes(hashes)) == note.checkpoint(told.text).root
    assert log.files.edge(size, deep=True).root() == published.root
    rows = await storage.read(lambda c: c.execute(log_rows.select(ledger.c.receipt, ledger.c.log_index)).all())
    for receipt, index in rows:
        if index is not None:
            assert found[index] == leaves.of_jws(receipt)
    places = [index for _, index in rows if index is not None]
    assert len(places) == len(set(places))
    return found


def widths(size: int) -> list[tuple[int, int]]:
    full = [(number, 256) for number in range(size // 256)]
    return [*full, (size // 256, size % 256)] if size % 256 else full
