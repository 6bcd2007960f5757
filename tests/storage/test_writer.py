"""How batches are formed, how one bad job leaves the others alone, and that what was acknowledged survives."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text
from structlog.testing import capture_logs
from tests.storage.conftest import NO_MOUNT, Gate, Outside, Start, hold, mounted
from tests.storage.rows import make_row

from sealgate.errors import Problem, StorageError
from sealgate.storage import Storage, open_storage
from sealgate.storage.tables import customers, ledger, meta

anyio = pytest.mark.anyio


async def one_batch(storage: Storage, gate: Gate, *calls: Awaitable[Any]) -> list[Any]:
    """Make all calls while the writer is held, so that they share one transaction; results or exceptions."""
    held = await hold(storage, gate)
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    assert storage.pending == len(tasks)
    before = storage.commits
    gate.opened.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await held
    assert storage.commits - before <= 2  # the gate's own, and ours
    return results


@anyio
async def test_a_row_can_be_made_by_the_writer_and_one_that_cannot_be_made_fails_alone(
    storage: Storage, outside: Outside
) -> None:
    """In its thread, before the transaction begins; nobody's fault reaches another's row, awaited or not."""
    threads: list[str] = []

    def made() -> dict[str, Any]:
        threads.append(threading.current_thread().name)
        return make_row(1)

    def unmade() -> dict[str, Any]:
        raise RuntimeError("no key")

    def strange() -> dict[str, Any]:
        return make_row(9, unknown=1)

    storage.append_nowait(ledger, unmade)
    results = await one_batch(
        storage,
        Gate(),
        storage.append(ledger, made),
        storage.append(ledger, unmade),
        storage.append(ledger, strange),
        storage.append(ledger, make_row(2)),
    )
    assert [type(each) for each in results] == [type(None), StorageError, StorageError, type(None)]
    assert outside.ids() == {make_row(1)["id"], make_row(2)["id"]}
    assert threads == ["sealgate-writer"]
    assert storage.lost_appends == 1


def add_customer(connection: Connection, id_: str) -> None:
    connection.execute(insert(customers).values(id=id_, name=id_, created_at=1))


def kinds(results: list[Any]) -> list[type]:
    return [type(result) for result in results]


@anyio
async def test_rows_that_wait_together_share_a_commit(storage: Storage, outside: Outside) -> None:
    await asyncio.gather(*[storage.append(ledger, make_row(number)) for number in range(200)])

    assert outside.count() == 200
    assert storage.commits <= 10


@anyio
async def test_a_batch_has_a_bound(storage: Storage, gate: Gate, outside: Outside) -> None:
    held = await hold(storage, gate)
    for number in range(2500):
        storage.append_nowait(ledger, make_row(number))
    gate.opened.set()
    await held
    await storage.write(lambda _: None)

    assert outside.count() == 2500
    assert storage.commits == 4  # the gate, 1000, 1000, and 500 with the last write


@anyio
async def test_a_bad_row_fails_alone(storage: Storage, gate: Gate, outside: Outside) -> None:
    results = await one_batch(
        storage,
        gate,
        storage.append(ledger, make_row(1)),
        storage.append(ledger, make_row(1)),
        storage.append(ledger, make_row(2, model=None)),
        storage.append(ledger, make_row(3, end_user="\udc80")),
        storage.append(ledger, make_row(4)),
    )

    assert kinds(results) == [type(None), StorageError, StorageError, StorageError, type(None)]
    assert outside.ids() == {make_row(1)["id"], make_row(4)["id"]}


@anyio
async def test_rows_beside_another_are_in_its_commit_however_the_writer_takes_them(
    storage: Storage, outside: Outside
) -> None:
    for number in range(50):
        await storage.append(ledger, make_row(number), beside=[(meta, {"name": str(number), "value": "v"})])
        assert outside.count(meta) == number + 1

    assert storage.commits == 50


@anyio
async def test_a_row_beside_another_that_is_refused_is_lost_alone(storage: Storage, outside: Outside) -> None:
    twice = (meta, {"name": "a", "value": "b"})
    await storage.append(ledger, make_row(1), beside=[twice, twice, (meta, {"name": "c", "value": "d"})])

    assert (outside.count(), outside.count(meta), storage.lost_appends) == (1, 2, 1)


@anyio
async def test_rows_and_functions_in_one_batch_fail_apart(storage: Storage, gate: Gate, outside: Outside) -> None:
    def refuse(connection: Connection) -> None:
        add_customer(connection, "never")
        raise Problem("not_found")

    results = await one_batch(
        storage,
        gate,
        storage.append(ledger, make_row(1)),
        storage.write(lambda connection: add_customer(connection, "acme")),
        storage.write(refuse),
        storage.append(ledger, make_row(1)),
        storage.append(ledger, make_row(2)),
        storage.write(lambda connection: add_customer(connection, "acme")),
        storage.append(meta, {"name": "a", "value": "b"}),
        storage.append(meta, {"name": "a", "value": "c"}),
    )

    none = type(None)
    assert kinds(results) == [none, none, Problem, StorageError, none, StorageError, none, StorageError]
    assert outside.ids() == {make_row(1)["id"], make_row(2)["id"]}
    assert (outside.count(customers), outside.count(meta)) == (1, 1)


@anyio
async def test_a_commit_that_fails_fails_everyone_in_it_and_no_one_after(
    storage: Storage, gate: Gate, outside: Outside
) -> None:
    """A deferred constraint speaks up at the commit, which neither engine does otherwise on demand."""
    outside.run("CREATE TABLE late (id TEXT REFERENCES customers (id) DEFERRABLE INITIALLY DEFERRED)")

    with capture_logs() as logs:
        results = await one_batch(
            storage,
            gate,
            storage.append(ledger, make_row(1)),
            storage.write(lambda connection: connection.execute(text("INSERT INTO late VALUES ('nobody')")) and None),
            storage.append(ledger, make_row(2)),
        )
        assert outside.count() == 0
        await storage.append(ledger, make_row(3))

    assert kinds(results) == [StorageError] * 3
    assert len({id(result) for result in results}) == 3
    assert [line["event"] for line in logs] == ["storage_write_failed", "storage_works_again"]
    assert outside.ids() == {make_row(3)["id"]}


@anyio
async def test_while_commits_fail_the_storage_says_so_until_they_work_again(
    storage: Storage, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matrix rows H3 and H4: nobody needs to write for that, and what the writer tries is nobody's row."""
    monkeypatch.setattr("sealgate.storage.writer.PROBE_SECONDS", 0.01)
    assert not storage.failing
    with outside.lock():
        with pytest.raises(StorageError):
            await storage.append(ledger, make_row(1))
        assert storage.failing
        with pytest.raises(StorageError, match="the last write failed"):
            await storage.check()

    async with asyncio.timeout(5):
        while storage.failing:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
    await storage.check()
    assert (outside.count(), storage.lost_appends) == (0, 0)


@anyio
async def test_a_cancelled_waiter_is_skipped_and_its_row_is_written(
    storage: Storage, gate: Gate, outside: Outside
) -> None:
    held = await hold(storage, gate)
    leaver = asyncio.create_task(storage.append(ledger, make_row(1)))
    stayer = asyncio.create_task(storage.append(ledger, make_row(2)))
    await asyncio.sleep(0)
    leaver.cancel()
    gate.opened.set()

    await asyncio.gather(held, stayer)

    assert leaver.cancelled()
    assert outside.count() == 2


def test_an_event_loop_that_is_gone_does_not_stop_the_writer(storage: Storage, gate: Gate, outside: Outside) -> None:
    async def leave() -> None:
        asyncio.get_running_loop().create_task(storage.write(gate))
        asyncio.get_running_loop().create_task(storage.append(ledger, make_row(1)))
        await asyncio.sleep(0)

    asyncio.run(leave())
    gate.opened.set()
    asyncio.run(storage.append(ledger, make_row(2)))

    assert outside.count() == 2


@anyio
async def test_a_row_that_nobody_waits_for_is_counted_and_logged_when_lost(storage: Storage) -> None:
    await storage.append(ledger, make_row(1))

    with capture_logs() as logs:
        storage.append_nowait(ledger, make_row(1))
        storage.append_nowait(ledger, make_row(1))
        await storage.write(lambda _: None)

    assert storage.lost_appends == 2
    assert [(line["event"], line["log_level"]) for line in logs] == [("storage_row_lost", "error")]


@anyio
async def test_a_row_whose_waiter_left_is_counted_when_its_commit_fails_and_an_act_is_not(
    storage: Storage, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who submits an act sees its future, and tries it again or counts it."""
    commit, failed = storage._writer._commit, list[bool]()

    def fails_twice() -> None:
        """Of the gate, and of what came meanwhile."""
        if len(failed) == 2:
            return commit()
        failed.append(True)
        raise OSError("the disk is full")

    held = await hold(storage, gate)
    row = asyncio.create_task(storage.append(ledger, make_row(1)))
    await asyncio.sleep(0)
    act = storage.submit_direct(lambda _: None)
    row.cancel()
    act.cancel()
    with pytest.raises(asyncio.CancelledError):
        await row
    monkeypatch.setattr(storage._writer, "_commit", fails_twice)
    gate.opened.set()
    await asyncio.gather(held, return_exceptions=True)
    with suppress(StorageError):
        await storage.write(lambda _: None)
    await storage.write(lambda _: None)
    assert storage.lost_appends == 1


APPEND_UNTIL_KILLED = """
import asyncio, itertools, os, sys
import psycopg
from sealgate.storage import open_storage
from sealgate.storage.tables import ledger
from tests.storage.rows import make_row

async def main(url, first):
    storage = open_storage(url)
    numbers = itertools.count(first)
    async def client():
        for number in numbers:
            await storage.append(ledger, make_row(number))
            os.write(1, b"%d\\n" % number)
    await asyncio.gather(*[client() for _ in range(20)])

for line in sys.stdin:  # one forked child a round, so that the imports are paid once
    child = os.fork()
    if not child:
        asyncio.run(main(sys.argv[1], int(line)))
    os.write(1, b"pid %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"dead\\n")
"""


def kill_and_compare(url: str, start: Start, rounds: int) -> None:
    """Kill a process in the middle of its appends; every row it acknowledged before must be there afterwards."""
    open_storage(url).close()
    parent = start(APPEND_UNTIL_KILLED, url)
    acknowledged: set[str] = set()
    for number in range(1, rounds + 1):
        numbers = run_and_kill(parent, number * 1_000_000, random.randint(1, 600))
        assert numbers, "the child wrote nothing"
        acknowledged |= {make_row(number)["id"] for number in numbers}

        open_storage(url).close()
        there = Outside(url).ids()
        assert acknowledged <= there
        # Each round leaves at most one row of each of the 20 clients that is there without having been acknowledged.
        assert len(there - acknowledged) <= 20 * number


def run_and_kill(parent: "subprocess.Popen[str]", first: int, enough: int) -> list[int]:
    """One child: kill it when it has acknowledged enough rows, and return all that it acknowledged."""
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(f"{first}\n")
    parent.stdin.flush()
    numbers: list[int] = []
    child = 0
    while (line := parent.stdout.readline()) != "dead\n":
        if line.startswith("pid "):
            child = int(line.removeprefix("pid "))
        else:
            numbers.append(int(line))
        if child and len(numbers) >= enough:
            os.kill(child, signal.SIGKILL)
            child = 0  # once: its number may soon be nobody's
    return numbers


def test_every_acknowledged_row_survives_kill_9(url: str, start: Start) -> None:
    """Matrix row H2, three rounds."""
    kill_and_compare(url, start, 3)
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_acknowledged_row_survives_kill_9_again_and_again(url: str, start: Start) -> None:
    kill_and_compare(url, start, 60)


FILL_THE_DISK = """
import asyncio, os, resource, shutil, sys
from sealgate.errors import StorageError
from sealgate.storage import open_storage
from sealgate.storage.tables import ledger
from tests.storage.rows import make_row

async def main(path, way, keep=None):
    storage = open_storage("sqlite:///" + path)
    if way == "limit":
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    good, ready = [], True
    for start in range(0, 20_000, 20):
        rows = [make_row(start + n, end_user="x" * 200) for n in range(20)]
        results = await asyncio.gather(*[storage.append(ledger, row) for row in rows], return_exceptions=True)
        assert all(result is None or type(result) is StorageError for result in results), results
        good += [row["id"] for row, result in zip(rows, results) if result is None]
        if None in results:
            continue
        try:  # reopening the file can free a little space: go on until not even the check finds any
            await storage.check()
        except StorageError as error:
            print("not ready:", error, file=sys.stderr)
            ready = False
            break
    assert not ready, "the disk never became full"
    if way == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    else:
        os.unlink(os.path.join(os.path.dirname(path), "ballast"))
    while storage.failing:  # the writer notices by itself
        await asyncio.sleep(0.02)
    await storage.check()
    await storage.append(ledger, make_row(99_999))
    await storage.aclose()
    assert not os.path.exists(path + "-wal"), "a connection of the failed batches is still open"
    if keep:
        shutil.copy(path, keep)
    print(*good)

asyncio.run(main(*sys.argv[1:]))
"""


def rows_after_a_full_disk(path: Path, done: tuple[str, str]) -> None:
    out, err = done
    assert "not ready:" in err, err
    acknowledged = set(out.splitlines()[-1].split()) | {make_row(99_999)["id"]}
    there = Outside(f"sqlite:///{path}").ids()
    assert len(acknowledged) > 20
    assert acknowledged <= there
    assert len(there - acknowledged) <= 20  # the rows of a commit that failed may still turn up
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_write_the_system_refuses_fails_its_waiters_and_the_next_works(tmp_path: Path, start: Start) -> None:
    """Matrix rows H3 and H6: with a limit on file sizes, writes fail as on a broken disk (an I/O error)."""
    path = tmp_path / "a.db"

    child = start(FILL_THE_DISK, str(path), "limit")

    done = child.communicate(timeout=100)
    assert child.returncode == 0, done[1]
    rows_after_a_full_disk(path, done)


def test_a_full_disk_fails_its_waiters_and_is_forgotten_when_there_is_space(tmp_path: Path, start: Start) -> None:
    """Matrix row H3, on a real file system of two megabytes, of which the ballast is a quarter."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = 'mount -t tmpfs -o size=2m none "$1" && head -c 500000 /dev/zero > "$1/ballast"'

    child = start(FILL_THE_DISK, str(folder / "a.db"), "space", str(tmp_path), within=mounted(mount, folder))

    done = child.communicate(timeout=100)
    if child.returncode == NO_MOUNT:
        pytest.skip("this system does not let us mount a small file system")
    assert child.returncode == 0, done[1]
    assert "full" in done[1]
    rows_after_a_full_disk(tmp_path / "a.db", done)
