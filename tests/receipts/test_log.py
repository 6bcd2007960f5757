"""The log enters each receipt once, survives, and seals itself where it would have two histories."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.receipts.log_house import NOW, ORIGIN, checked, jws, opened, put

from sealgate.config_log import ReceiptLog
from sealgate.errors import ConfigError
from sealgate.formats import leaves, merkle, note
from sealgate.receipts import keys, log_rows, tiles
from sealgate.receipts.keys import SigningKeys
from sealgate.receipts.log import Log
from sealgate.receipts.receipt import LogTerms
from sealgate.receipts.store import NOT_LOGGED
from sealgate.receipts.tiles import UnreadableError
from sealgate.storage import Storage, open_storage
from sealgate.storage.tables import checkpoints, ledger, log_entries

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]


async def test_what_waits_is_entered_once_in_order_and_shown(storage: Storage, tmp_path: Path) -> None:
    log = await opened(storage, tmp_path)
    assert log.terms == LogTerms(ORIGIN, 60)
    assert await log.checkpoint() is None
    await put(storage, 2, 1)
    await log.tick()
    await put(storage, 3)
    await log.tick()
    await log.tick()
    assert await checked(log, storage) == [leaves.of_jws(jws(number)) for number in (1, 2, 3)]
    await log.aclose()


async def test_a_log_of_several_tiles_proves_every_entry(storage: Storage, tmp_path: Path) -> None:
    log = await opened(storage, tmp_path)
    await put(storage, *range(300))
    await log.tick()
    entries = await checked(log, storage)
    assert len(entries) == 300
    assert not (log.files.folder / "tile/0/000.p").exists()
    for index in (0, 255, 256, 299):
        shown = await log.proof(ORIGIN, index)
        assert shown is not None
        proof = note.proof(shown)
        told = note.checkpoint(proof.note.text)
        merkle.verify_inclusion(merkle.leaf(entries[index]), index, told.size, proof.hashes, told.root)
    assert await log.proof(ORIGIN, 300) is None
    await log.aclose()


async def test_the_next_process_goes_on_where_the_last_one_ended(storage: Storage, tmp_path: Path) -> None:
    first = await opened(storage, tmp_path)
    await put(storage, *range(5))
    await first.tick()
    shown = await first.checkpoint()
    await first.aclose()

    second = await opened(storage, tmp_path)
    assert await second.checkpoint() == shown
    await put(storage, 5)
    await second.tick()
    assert len(await checked(second, storage)) == 6
    await second.aclose()


async def test_a_second_process_follows_and_takes_over(storage: Storage, tmp_path: Path) -> None:
    """Row H15: of two at one log only one enters; the other shows the same, in a folder of its own too."""
    first = await opened(storage, tmp_path, alone=False)
    shutil.copytree(tmp_path / "log-keys", tmp_path / "b" / "log-keys")
    second = await opened(storage, tmp_path / "b", alone=False)
    await put(storage, 1)
    await first.tick()
    await put(storage, 2)
    await second.tick()
    assert (first.writes, second.writes) == (True, False)
    assert len(await checked(second, storage)) == 1
    await first.aclose()
    await second.tick()
    assert second.writes
    assert len(await checked(second, storage)) == 2
    await second.aclose()


async def test_two_processes_in_one_folder_are_kept_apart_by_its_lock(storage: Storage, tmp_path: Path) -> None:
    first, second = await opened(storage, tmp_path), await opened(storage, tmp_path)
    await put(storage, 1)
    await first.tick()
    await put(storage, 2)
    await second.tick()
    assert (first.writes, second.writes) == (True, False)
    assert second.published == first.published
    await first.aclose()
    await second.tick()
    assert len(await checked(second, storage)) == 2
    await second.aclose()


async def test_an_altered_tile_seals_the_log_at_the_next_audit(storage: Storage, tmp_path: Path) -> None:
    """Row H17: receipts name no log from then on, and nothing is entered any more."""
    log = await opened(storage, tmp_path)
    sealed: list[str] = []
    log.on_seal = lambda: sealed.append("told")
    await put(storage, 1, 2)
    await log.tick()
    await log.audit()
    assert log.sealed is None
    tile = log.files.folder / "tile/entries/000.p/2"
    tile.write_bytes(tile.read_bytes().replace(b"receipt", b"deceipt"))
    await log.audit()
    assert log.sealed is not None
    assert (log.terms, log.state, sealed) == (None, "sealed", ["told"])
    await put(storage, 3)
    await log.tick()
    assert log.published is not None
    assert log.published.size == 2
    await log.aclose()

    again = await opened(storage, tmp_path)
    assert again.sealed == log.sealed
    assert await again.checkpoint() is not None
    await again.aclose()


async def test_an_altered_lowest_tile_seals_the_log_at_the_start(storage: Storage, tmp_path: Path) -> None:
    log = await opened(storage, tmp_path)
    await put(storage, 1, 2)
    await log.tick()
    await log.aclose()
    tile = log.files.folder / "tile/0/000.p/2"
    tile.write_bytes(bytes(64))
    again = await opened(storage, tmp_path)
    assert again.sealed is not None
    assert "root" in again.sealed
    await again.aclose()


async def test_a_restored_database_seals_the_log(tmp_path: Path) -> None:
    """Row H16, where the files are still there: they show more than the database knows."""
    storage = open_storage(f"sqlite:///{tmp_path}/a.db")
    log = await opened(storage, tmp_path)
    await put(storage, 1)
    await log.tick()
    await storage.aclose()
    shutil.copy(tmp_path / "a.db", tmp_path / "backup.db")
    storage = open_storage(f"sqlite:///{tmp_path}/a.db")
    await log.aclose()
    log = await opened(storage, tmp_path)
    await put(storage, 2)
    await log.tick()
    await log.aclose()
    await storage.aclose()
    shutil.copy(tmp_path / "backup.db", tmp_path / "a.db")
    storage = open_storage(f"sqlite:///{tmp_path}/a.db")
    log = await opened(storage, tmp_path)
    assert log.sealed is not None
    assert "older" in log.sealed
    fresh = await opened(storage, tmp_path, ReceiptLog(origin=ORIGIN + "b"))
    assert fresh.sealed is None
    await log.aclose()
    await fresh.aclose()
    await storage.aclose()


async def test_what_waits_when_a_log_ends_is_in_none(storage: Storage, tmp_path: Path) -> None:
    """Those receipts name that log; in another they would have the place of somebody else's."""
    log = await opened(storage, tmp_path)
    await put(storage, 1)
    await log.tick()
    await put(storage, 2)
    follower = await opened(storage, tmp_path, alone=False)
    await log.seal("for a test")
    await put(storage, 3)
    await follower.tick()
    assert await _places(storage) == [0, NOT_LOGGED, NOT_LOGGED]
    await put(storage, 4)
    fresh = await opened(storage, tmp_path, ReceiptLog(origin=ORIGIN + "b"))
    await put(storage, 5)
    await fresh.tick()
    assert await _places(storage) == [0, NOT_LOGGED, NOT_LOGGED, NOT_LOGGED, 0]
    again = await opened(storage, tmp_path, ReceiptLog(origin=ORIGIN + "b"))
    assert await again.proof(ORIGIN, 0) is not None, "the old log still proves what it has"
    for each in (log, follower, fresh, again):
        await each.aclose()


async def _places(storage: Storage) -> list[int | None]:
    return await storage.read(lambda c: list(c.execute(ledger.select().order_by(ledger.c.id)).scalars("log_index")))


async def test_lost_files_are_written_again_from_the_database(storage: Storage, tmp_path: Path) -> None:
    log = await opened(storage, tmp_path)
    await put(storage, *range(260))
    await log.tick()
    shown = await log.checkpoint()
    await log.aclose()
    shutil.rmtree(log.files.folder)
    again = await opened(storage, tmp_path)
    assert again.sealed is None
    assert await again.checkpoint() == shown
    assert len(await checked(again, storage)) == 260
    await again.aclose()


async def test_a_changed_entry_in_the_database_seals_the_log(storage: Storage, tmp_path: Path) -> None:
    log = await opened(storage, tmp_path)
    await put(storage, 1, 2)
    await log.tick()
    await log.aclose()
    shutil.rmtree(log.files.folder)
    await storage.write(lambda c: c.execute(log_entries.update().where(log_entries.c.position == 0).values(entry=b"x")))
    again = await opened(storage, tmp_path)
    assert again.sealed is not None
    await again.aclose()


async def test_what_was_signed_is_signed_once(storage: Storage, tmp_path: Path) -> None:
    """Row H14: a checkpoint that is recorded and not yet published is published as it is, to the byte."""
    log = await opened(storage, tmp_path)
    await put(storage, 1)
    await log.tick()
    await log.aclose()
    (log.files.folder / "checkpoint").unlink()
    marked = await storage.read(lambda c: c.execute(checkpoints.select()).one())
    again = await opened(storage, tmp_path)
    assert (log.files.folder / "checkpoint").read_text() == marked.note
    await again.aclose()


async def test_what_was_signed_before_a_key_was_revoked_comes_before_that_in_the_log(
    storage: Storage, tmp_path: Path
) -> None:
    """And the key set says where that is: ten seconds later, when no process signs with the key any more."""
    moment = [NOW]
    signing = SigningKeys(storage, tmp_path, clock=lambda: moment[0])
    await signing.prepare()
    old = signing.signer().kid
    log = await opened(storage, tmp_path, clock=lambda: moment[0])
    await put(storage, 1)
    await log.tick()
    await keys.revoke(storage, tmp_path, old, int(NOW * 1e6))
    moment[0] += 9
    await put(storage, 2)
    await log.tick()
    await signing._refresh()
    assert _revoked_at(signing, old) is None
    moment[0] += 1
    await put(storage, *range(3, 300))
    await log.tick()
    entries = await checked(log, storage)
    await signing._refresh()
    place = next(index for index, entry in enumerate(entries) if b'"st":"revoke"' in entry)
    assert _revoked_at(signing, old) == {ORIGIN: place}
    assert place == len(entries) - 1, "all receipts that waited are before it"
    assert json.loads(entries[place])["kid"] == old
    await put(storage, 300)
    await log.tick()
    assert (await checked(log, storage))[-1] == leaves.of_jws(jws(300))
    await log.aclose()


def _revoked_at(signing: SigningKeys, kid: str) -> Any:
    return next(each for each in signing.jwks()["keys"] if each["kid"] == kid).get("sealgate_revoked_at")


async def test_deleted_receipts_leave_their_entries(storage: Storage, tmp_path: Path) -> None:
    """Row H21."""
    log = await opened(storage, tmp_path)
    await put(storage, 1, 2)
    await log.tick()
    await storage.write(lambda c: c.execute(ledger.delete()))
    await log.audit()
    assert log.sealed is None
    assert len(await checked(log, storage)) == 2
    await log.aclose()


async def test_a_missing_log_key_refuses_the_start(storage: Storage, tmp_path: Path) -> None:
    log = await opened(storage, tmp_path)
    await log.aclose()
    (file,) = (tmp_path / "log-keys").iterdir()
    file.rename(tmp_path / "away")
    with pytest.raises(ConfigError, match="no log key file"):
        await opened(storage, tmp_path)
    shutil.copy(tmp_path / "away", file)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        await opened(storage, tmp_path)


async def test_without_a_name_the_log_keeps_the_one_of_its_first_start(storage: Storage, tmp_path: Path) -> None:
    first = await opened(storage, tmp_path, ReceiptLog())
    assert first.origin == "gw.example/receipts"
    await first.aclose()
    named = await opened(storage, tmp_path, ReceiptLog(origin="other.example"))
    await named.aclose()
    again = await opened(storage, tmp_path, ReceiptLog())
    assert again.origin == "other.example"
    await again.aclose()


async def test_old_checkpoints_are_forgotten(storage: Storage, tmp_path: Path) -> None:
    log = await opened(storage, tmp_path)
    for number in range(4):
        await put(storage, number)
        await log.tick()
    await storage.write(lambda c: log_rows.prune(c, log.log.id, kept=2))
    sizes = await storage.read(lambda c: list(c.execute(checkpoints.select()).scalars("size")))
    assert sorted(sizes) == [3, 4]
    await log.aclose()


def killed_at(url: str, folder: Path, steps: list[int], count: int) -> int:
    """Run rounds that are killed at these steps; how many were."""
    rounds = ",".join(map(str, steps))
    program = [sys.executable, "-m", "tests.receipts.log_killed", url, str(folder), rounds, str(count)]
    ran = subprocess.run(program, check=False, capture_output=True, text=True, cwd=ROOT, timeout=500)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return int(ran.stdout)


async def hold_together(url: str, folder: Path, count: int) -> None:
    """Nothing lost, nothing twice, one history: after any number of deaths."""
    storage = open_storage(url)
    log = await opened(storage, folder, alone=url.startswith("sqlite"), clock=lambda: NOW + 1e7)
    assert log.sealed is None
    await log.tick()
    entries = await checked(log, storage)
    assert sorted(entries) == sorted(leaves.of_jws(jws(number)) for number in range(count))
    signed = await storage.read(lambda c: c.execute(checkpoints.select()).all())
    for each in signed:
        root = merkle.root(each.size, merkle.of_hashes([merkle.leaf(entry) for entry in entries[: each.size]]))
        assert root == each.root
    await log.aclose()
    await storage.aclose()


async def test_killed_at_every_step_it_has_one_history(url: str, tmp_path: Path) -> None:
    """Rows H13 and H14, P27: SIGKILL after each transaction, each draft of a file and each move."""
    assert killed_at(url, tmp_path, [*range(1, 15), 0], 3) >= 12
    await hold_together(url, tmp_path, 45)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_killed_two_hundred_times_at_random_steps_it_has_one_history(url: str, tmp_path: Path) -> None:
    chance = random.Random(6962)
    assert killed_at(url, tmp_path, [chance.randint(1, 24) for _ in range(200)], 11) > 100
    await hold_together(url, tmp_path, 2200)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("shared", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_replicas_that_take_the_lease_from_each_other_have_one_history(
    storage: Storage, url: str, tmp_path: Path, shared: bool
) -> None:
    """Row H15, P27: three processes, a lease of 10 ms, folders of their own or one for all."""
    first = await opened(storage, tmp_path / "0", alone=False)
    await first.aclose()
    folders = [tmp_path / ("0" if shared else str(number)) for number in range(3)]
    for folder in folders[1:] if not shared else ():
        shutil.copytree(tmp_path / "0" / "log-keys", folder / "log-keys")
    count = 10
    programs = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.receipts.log_racing", url, str(folder), str(number), str(count),
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for number, folder in enumerate(folders)
    ]  # fmt: skip
    ran = [await each.communicate() for each in programs]
    assert [each.returncode for each in programs] == [0, 0, 0], [errors[-1500:] for _, errors in ran]
    told = [out.decode().splitlines()[-1].split(maxsplit=1) for out, _ in ran]  # the log is told before
    assert [sealed for _, sealed in told] == ["None"] * 3, ran
    assert sum(int(writes) for writes, _ in told) > 0
    for folder in dict.fromkeys(folders):
        log = await opened(storage, folder, alone=False, clock=lambda: NOW + 1e9)
        await log.tick()
        assert log.sealed is None
        entries = await checked(log, storage)
        assert sorted(entries) == sorted(leaves.of_jws(jws(number)) for number in range(3 * count))
        await log.aclose()


async def test_processes_that_begin_a_log_at_once_begin_one(url: str, tmp_path: Path) -> None:
    storages = [open_storage(url) for _ in range(3)]
    logs = await asyncio.gather(
        *(opened(each, tmp_path / "shared", ReceiptLog(), alone=False) for each in storages), return_exceptions=True
    )
    assert [type(each) for each in logs] == [Log] * 3, logs
    assert len({(each.log.id, each.log.vkey) for each in logs if isinstance(each, Log)}) == 1
    for log, each in zip(logs, storages, strict=True):
        assert isinstance(log, Log)
        await log.aclose()
        await each.aclose()


async def test_row_h19_a_clock_set_back_changes_no_order_and_stops_nobody(storage: Storage, tmp_path: Path) -> None:
    """Not the process that enters, nor the next one: a lease that ends in a far future is nobody's."""
    moment = [NOW]
    first = await opened(storage, tmp_path, alone=False, clock=lambda: moment[0])
    await put(storage, 1)
    await first.tick()
    moment[0] -= 600
    await put(storage, 2)
    await first.tick()
    assert first.writes
    second = await opened(storage, tmp_path, alone=False, clock=lambda: moment[0])
    await put(storage, 3)
    await second.tick()
    assert not second.writes, "the first one lives"
    moment[0] -= 7200
    await second.tick()
    assert second.writes, "it seems to have died two hours from now"
    assert await checked(second, storage) == [leaves.of_jws(jws(number)) for number in (1, 2, 3)]
    await first.aclose()
    await second.aclose()


async def test_row_h19_a_clock_set_back_is_said_once_and_a_small_difference_is_not(
    storage: Storage, tmp_path: Path
) -> None:
    """By whoever looks: the process that signed the last checkpoint, and one that starts later."""
    moment = [NOW]
    log = await opened(storage, tmp_path, alone=False, clock=lambda: moment[0])
    await put(storage, 1)
    await log.tick()
    with capture_logs() as said:
        moment[0] -= 50
        await log.tick()
        assert not said, "clocks of replicas differ by so much"
        moment[0] -= 550
        await log.tick()
        await log.tick()
        another = await opened(storage, tmp_path, alone=False, clock=lambda: moment[0])
        await another.tick()
    warned = [(each["event"], each["log_level"], each["seconds"]) for each in said]
    assert warned == [("clock_behind_log", "warning", 600)] * 2
    with capture_logs() as said:
        await put(storage, 2)
        await log.tick()  # signs by the clock as it is now, so that is where the log is from here on
        await log.tick()
        moment[0] -= 7200
        await log.tick()
    assert [each["seconds"] for each in said] == [7200]
    assert log.sealed is None
    await another.aclose()
    await log.aclose()


async def test_a_full_disk_delays_the_log_and_seals_nothing(storage: Storage, tmp_path: Path) -> None:
    """Row H3, for the log's own files: at whichever of them the space ends."""
    full_at, done = 0, 0

    def step(name: str) -> None:
        nonlocal done
        done += name == "drafted"
        if name == "drafted" and done == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    log = await opened(storage, tmp_path, step=step)
    failed = 0
    for full_at in range(1, 6):
        await put(storage, *range(full_at * 200, full_at * 200 + 200))
        done = 0
        try:
            await log.tick()
        except OSError:
            failed += 1
        assert log.sealed is None
    assert failed >= 4
    full_at = 0
    await log.tick()
    assert len(await checked(log, storage)) == 1000
    assert not [file for file in log.files.folder.rglob(".*-*") if file.is_file()], "drafts are cleared away"
    await log.aclose()
    again = await opened(storage, tmp_path)
    assert again.sealed is None
    await again.aclose()


async def test_files_that_cannot_be_read_at_the_moment_seal_nothing(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files, say, or a folder of another user: that is no other history."""
    log = await opened(storage, tmp_path)
    await put(storage, 1, 2)
    await log.tick()

    def refused(*_: Any) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refused)
        with pytest.raises(UnreadableError):
            await log.audit()
        with pytest.raises(ConfigError, match="cannot be compared with what was signed"):
            await opened(storage, tmp_path)
    assert log.sealed is None
    await log.audit()
    await log.aclose()
    again = await opened(storage, tmp_path)
    assert again.sealed is None
    assert len(await checked(again, storage)) == 2
    await again.aclose()


@pytest.fixture(scope="session")
def power(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is preloaded into a process whose machine will lose power."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    made = tmp_path_factory.mktemp("power") / "power.so"
    source = ROOT / "tests/storage/power.c"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"it cannot be compiled here: {done.stderr.decode()[:200]}")
    return made


async def test_row_h7_after_a_power_loss_nothing_that_was_acknowledged_is_missing(power: Path, tmp_path: Path) -> None:
    """Of database and log only what was synced is left: every acknowledged row is there, and the log goes on."""
    live, left = tmp_path / "live", tmp_path / "left"
    live.mkdir()
    environ = {**os.environ, "LD_PRELOAD": str(power), "POWER_FROM": str(live.resolve()), "POWER_TO": str(left)}
    program = [sys.executable, "-m", "tests.receipts.log_unplugged", str(live)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*program, cwd=ROOT, env=environ, stdout=pipe)
    assert process.stdout is not None
    told = [(await process.stdout.readline()).decode() for _ in range(150)]
    process.kill()
    told += (await process.stdout.read()).decode().splitlines(keepends=True)
    await process.wait()
    rows = {int(line.split()[1]) for line in told if line.startswith("row ") and line.endswith("\n")}
    sizes = [int(line.split()[1]) for line in told if line.startswith("log ") and line.endswith("\n")]
    assert len(rows) > 100
    assert (left / "sealgate.db-wal").exists(), "the shadow has what was synced"

    storage = open_storage(f"sqlite:///{left}/sealgate.db")
    found = await storage.read(lambda c: set(c.execute(ledger.select()).scalars("receipt")))
    assert {jws(number) for number in rows} <= found
    log = await opened(storage, left)
    assert log.sealed is None
    assert log.published is not None
    assert log.published.size >= max(sizes)
    await log.tick()
    assert len(await checked(log, storage)) == len(found)
    await log.aclose()
    await storage.aclose()


class UnpluggedError(Exception):
    """The process ends here, and later the machine."""


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("killed", [False, True])
async def test_rows_h4_h7_a_try_that_broke_off_leaves_nothing_unsynced_behind_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """Wherever a batch breaks off, what the next one publishes stands on files and folders that were all synced."""
    unsynced: set[Path] = set()
    until = 0

    def passed(*_: Any) -> None:
        nonlocal until
        until -= 1
        if until == 0:
            raise UnpluggedError if killed else OSError(errno.ENOSPC, "No space left on device")

    rename, mkdir, sync = Path.rename, Path.mkdir, tiles._sync

    def renamed(self: Path, to: Path) -> Path:
        unsynced.add(to)
        return rename(self, to)

    def made(self: Path, *arguments: Any, **named: Any) -> None:
        mkdir(self, *arguments, **named)
        unsynced.add(self)

    def synced(folder: Path) -> None:
        passed()
        sync(folder)
        unsynced.difference_update([path for path in unsynced if path.parent == folder])

    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(Path, "mkdir", made)
    monkeypatch.setattr(tiles, "_sync", synced)
    points = 0
    while True:
        points, until = points + 1, 0
        folder = tmp_path / str(points)
        folder.mkdir()
        storage = open_storage(f"sqlite:///{folder}/sealgate.db")
        log = await opened(storage, folder, step=passed)
        await put(storage, *range(300))
        unsynced.clear()
        until = points
        try:
            await log.tick()
        except (UnpluggedError, OSError):
            until = 0
        left, until = until, 0
        if killed:
            await log.aclose()
            log = await opened(storage, folder)
        await log.tick()
        assert log.published is not None
        assert log.published.size >= 300
        assert not {path for path in unsynced if log.files.folder / "tile" in (path, *path.parents)}, points
        await log.aclose()
        await storage.aclose()
        if left > 0:
            break
    assert points > 20, "it broke off at each step that there is"


async def test_the_shadow_of_a_power_loss_lacks_what_was_not_synced(power: Path, tmp_path: Path) -> None:
    """Else the test above would pass whatever happens."""
    live, left = tmp_path / "live", tmp_path / "left"
    live.mkdir()
    environ = {**os.environ, "LD_PRELOAD": str(power), "POWER_FROM": str(live.resolve()), "POWER_TO": str(left)}
    program = (
        "import os,sys; os.chdir(sys.argv[1])\n"
        "for name, sync in ('a', True), ('b', False):\n"
        "    f = open(name, 'w'); f.write('1'); f.flush(); sync and os.fsync(f.fileno()); f.write('2'); f.close()\n"
        "os.rename('a', 'c')"
    )
    ran = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(live), env=environ)
    assert await ran.wait() == 0
    assert sorted(each.name for each in live.iterdir()) == ["b", "c"]
    assert {each.name: each.read_text() for each in left.glob("?")} == {"a": "1"}
