"""Witnesses are asked, believed where they contradict, and never waited for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.receipts.log_house import ORIGIN, opened, put

from sealgate import config_log
from sealgate.config_log import ReceiptLog
from sealgate.formats import note
from sealgate.receipts.log import Log
from sealgate.receipts.witness import Witness, WitnessKey
from sealgate.receipts.witnesses import Witnesses
from sealgate.storage import Storage, open_storage
from sealgate.storage.tables import checkpoints

pytestmark = pytest.mark.anyio
KEYS = [
    WitnessKey(f"w{number}.example", Ed25519PrivateKey.from_private_bytes(bytes([number] * 32))) for number in (1, 2)
]


class Reply(NamedTuple):
    status: int
    data: bytes


class Village:
    """Witnesses that live in this process; ``broken`` maps a name to what it does instead of answering."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broken: dict[str, Reply | Exception] = {}
        self.witnesses: dict[str, Witness] = {}
        self.questions: list[bytes] = []

    def meet(self, log: Log) -> Witnesses:
        for key in KEYS:
            if key.name not in self.witnesses:
                self.witnesses[key.name] = Witness(key, [log.key], self.folder / f"{key.name}.json")
        return Witnesses(log, self.post)

    async def post(self, url: str, body: bytes) -> Reply:
        name = url.removeprefix("https://").removesuffix("/add-checkpoint")
        self.questions.append(body)
        if (strange := self.broken.get(name)) is not None:
            if isinstance(strange, Exception):
                raise strange
            return strange
        answer = self.witnesses[name].add_checkpoint(body)
        return Reply(answer.status, answer.body)


def settings(quorum: int | None = None) -> ReceiptLog:
    known = tuple(config_log.Witness(url=f"https://{key.name}/", key=str(key.public)) for key in KEYS)
    return ReceiptLog(origin=ORIGIN, witnesses=known, quorum=quorum)


@pytest.fixture
def village(tmp_path: Path) -> Village:
    (tmp_path / "village").mkdir()
    return Village(tmp_path / "village")


async def test_with_a_quorum_a_checkpoint_is_witnessed(storage: Storage, tmp_path: Path, village: Village) -> None:
    log = await opened(storage, tmp_path, settings())
    witnesses = village.meet(log)
    await put(storage, *range(3))
    await log.tick()
    assert log.standing == "unwitnessed"
    await witnesses.ask()
    assert log.standing == "witnessed"
    shown = note.parse(await log.checkpoint() or "")
    assert [note.signed_by(shown, key.public) is not None for key in KEYS] == [True, True]
    assert (log.files.folder / "checkpoint").read_text() == str(shown)
    await put(storage, 3)
    await log.tick()
    await witnesses.ask()
    assert village.questions[-1].startswith(b"old 3\n")
    assert log.witnessed == log.published
    await witnesses.ask()
    assert len(village.questions) == 6, "both, when it began and for each of two checkpoints"
    await log.aclose()


@pytest.mark.parametrize(
    "strange",
    [
        TimeoutError("slow"),
        Reply(500, b""),
        Reply(404, b""),
        Reply(200, b"garbage"),
        Reply(200, b"\xff"),
        Reply(409, b"garbage"),
        Reply(200, str(note.cosign("w2.example", KEYS[0].private, "x\n", 1)).encode()),
        Reply(200, str(note.cosign("w1.example", KEYS[0].private, "x\n", 1)).encode()),
    ],
)
async def test_row_h18_one_that_is_down_slow_or_wrong_leaves_its_signature_out(
    storage: Storage, tmp_path: Path, village: Village, strange: Reply | Exception
) -> None:
    log = await opened(storage, tmp_path, settings())
    witnesses = village.meet(log)
    village.broken["w1.example"] = strange
    await put(storage, 1)
    await log.tick()
    await witnesses.ask()
    assert (log.sealed, log.standing) == (None, "unwitnessed")
    shown = note.parse(await log.checkpoint() or "")
    assert [each.name for each in shown.signatures] == [ORIGIN, "w2.example"]
    village.broken.clear()
    await witnesses.ask()
    assert log.standing == "witnessed"
    await log.aclose()


async def test_a_quorum_of_one_needs_only_one(storage: Storage, tmp_path: Path, village: Village) -> None:
    log = await opened(storage, tmp_path, settings(quorum=1))
    witnesses = village.meet(log)
    village.broken["w2.example"] = TimeoutError()
    await put(storage, 1)
    await log.tick()
    await witnesses.ask()
    assert log.standing == "witnessed"
    await put(storage, 2)
    await log.tick()
    shown = note.proof(await log.proof(ORIGIN, 0) or "")
    assert note.checkpoint(shown.note.text).size == 1, "what is witnessed proves more than what is newer"
    assert note.checkpoint(note.proof(await log.proof(ORIGIN, 1) or "").note.text).size == 2
    await log.aclose()


async def test_a_witness_whose_answer_was_lost_is_asked_again_from_where_it_is(
    storage: Storage, tmp_path: Path, village: Village
) -> None:
    log = await opened(storage, tmp_path, settings())
    witnesses = village.meet(log)
    await put(storage, 1, 2)
    await log.tick()
    signed = log.published
    assert signed is not None
    village.witnesses["w1.example"].add_checkpoint(f"old 0\n\n{signed.note}".encode())
    await put(storage, 3)
    await log.tick()
    await witnesses.ask()
    assert log.standing == "witnessed"
    await log.aclose()


@pytest.mark.parametrize("more", [0, 1, 2, 5])
async def test_row_h16_a_restored_backup_is_sealed_by_what_a_witness_saw(
    tmp_path: Path, village: Village, more: int
) -> None:
    """P27: whatever is waiting then, no second root is ever signed for a size; they are asked before that."""
    place = tmp_path / "gateway"
    storage = open_storage(f"sqlite:///{place}/a.db")
    log = await opened(storage, place, settings())
    await put(storage, 1)
    await log.tick()
    await village.meet(log).ask()
    await log.aclose()
    await storage.aclose()
    shutil.copytree(place, tmp_path / "backup")

    storage = open_storage(f"sqlite:///{place}/a.db")
    log = await opened(storage, place, settings())
    await put(storage, 2, 3)
    await log.tick()
    await village.meet(log).ask()
    assert log.standing == "witnessed"
    await log.aclose()
    await storage.aclose()
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "backup", place)

    storage = open_storage(f"sqlite:///{place}/a.db")
    log = await opened(storage, place, settings())
    village.meet(log)
    assert log.sealed is None
    shown = log.published
    assert shown is not None
    await put(storage, *range(10, 10 + more))
    await log.tick()
    assert log.sealed is not None
    assert "w1.example has seen 3 entries, and there are 1" in log.sealed
    assert log.published == shown
    assert await storage.read(lambda c: list(c.execute(checkpoints.select()).scalars("size"))) == [1]
    assert (log.files.folder / "checkpoint").read_text().startswith(shown.note.partition("\n\n")[0])
    await log.aclose()
    await storage.aclose()


async def test_row_h16_a_database_from_before_the_first_entry_is_sealed_too(tmp_path: Path, village: Village) -> None:
    place = tmp_path / "gateway"
    storage = open_storage(f"sqlite:///{place}/a.db")
    await (await opened(storage, place, settings())).aclose()
    await storage.aclose()
    shutil.copytree(place, tmp_path / "backup")

    storage = open_storage(f"sqlite:///{place}/a.db")
    log = await opened(storage, place, settings())
    witnesses = village.meet(log)
    await put(storage, 1)
    await log.tick()
    await witnesses.ask()
    assert log.standing == "witnessed"
    await log.aclose()
    await storage.aclose()
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "backup", place)

    storage = open_storage(f"sqlite:///{place}/a.db")
    log = await opened(storage, place, settings())
    village.meet(log)
    await put(storage, 2)
    await log.tick()
    assert log.sealed is not None
    assert "has seen 1 entries, and there are 0" in log.sealed
    assert log.published is None
    await log.aclose()
    await storage.aclose()


async def test_what_is_witnessed_of_one_log_says_nothing_of_another(
    storage: Storage, tmp_path: Path, village: Village
) -> None:
    old = await opened(storage, tmp_path, ReceiptLog(origin="old.example"))
    await put(storage, 1)
    await old.tick()
    await old.aclose()
    log = await opened(storage, tmp_path, settings())
    witnesses = village.meet(log)
    await put(storage, 2)
    await log.tick()
    await witnesses.ask()
    told = [await log.has_witnessed(origin, 0) for origin in (ORIGIN, "old.example", "unknown.example")]
    assert told == [True, False, False]
    await log.aclose()


@pytest.mark.parametrize("strange", [Reply(422, b""), Reply(400, b""), TimeoutError("slow")])
async def test_witnesses_that_do_not_know_an_empty_log_do_not_hinder_its_beginning(
    storage: Storage, tmp_path: Path, village: Village, strange: Reply | Exception
) -> None:
    log = await opened(storage, tmp_path, settings())
    village.broken = dict.fromkeys(("w1.example", "w2.example"), strange)
    village.meet(log)
    await put(storage, 1)
    await log.tick()
    assert log.sealed is None
    assert log.published is not None
    await log.aclose()


async def test_another_replica_that_went_on_is_no_other_history(
    storage: Storage, tmp_path: Path, village: Village
) -> None:
    """What a witness has seen more of is in the database by then."""
    first = await opened(storage, tmp_path, settings(), alone=False)
    witnesses = village.meet(first)
    await put(storage, 1)
    await first.tick()
    shutil.copytree(tmp_path / "log-keys", tmp_path / "b" / "log-keys")
    second = await opened(storage, tmp_path / "b", settings(), alone=False)
    village.meet(second)
    await put(storage, 2)
    await first.tick()
    await witnesses.ask()
    await second.tick()
    assert second.sealed is None
    assert second.published == first.published
    await first.aclose()
    await second.aclose()


async def test_a_witness_that_contradicts_its_own_signature_seals_nothing(
    storage: Storage, tmp_path: Path, village: Village
) -> None:
    log = await opened(storage, tmp_path, settings())
    witnesses = village.meet(log)
    await put(storage, 1)
    await log.tick()
    await witnesses.ask()
    await put(storage, 2)
    await log.tick()
    village.broken["w1.example"] = Reply(422, b"")
    await witnesses.ask()
    assert log.sealed is None
    await log.aclose()
