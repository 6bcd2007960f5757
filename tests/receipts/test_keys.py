"""Signing keys: made once, never made anew, rotated with an overlap, revoked at once, watched by every process."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.gateway import Running, Serve

from sealgate.errors import ConfigError, StorageError
from sealgate.receipts import keys, store
from sealgate.receipts.keys import FOLDER, OVERLAP, SigningKeys
from sealgate.receipts.store import KeyRow
from sealgate.receipts.verify import verify
from sealgate.storage import Storage, open_storage
from sealgate.testing import answer

NOW = 1_795_000_000


class Clock:
    """Seconds that stand still until they are moved."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now

    @property
    def us(self) -> int:
        return int(self.now * 1e6)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[Storage]:
    """A database without any signing key."""
    storage = open_storage(f"sqlite:///{tmp_path}/sealgate.db")
    yield storage
    storage.close()


@asynccontextmanager
async def prepared(storage: Storage, folder: Path, clock: Clock) -> AsyncIterator[SigningKeys]:
    """The keys of one process, as far as it signs."""
    found = SigningKeys(storage, folder, clock=clock)
    await found.prepare()
    await found.start()
    yield found
    await found.aclose()


def states(key_set: dict[str, Any]) -> dict[str, str]:
    return {each["kid"]: each["sealgate_status"] for each in key_set["keys"]}


@pytest.mark.anyio
async def test_the_first_start_makes_a_key_for_its_owner_only_and_the_next_one_takes_it(
    lone: Storage, tmp_path: Path, clock: Clock
) -> None:
    async with prepared(lone, tmp_path, clock) as first:
        kid = first.signer().kid
    [file] = (tmp_path / FOLDER).iterdir()
    assert (file.name, file.stat().st_mode & 0o777) == (f"{kid}.pem", 0o600)
    assert (tmp_path / FOLDER).stat().st_mode & 0o777 == 0o700
    async with prepared(lone, tmp_path, clock) as second:
        assert second.signer().kid == kid
        assert states(second.jwks()) == {kid: "active"}


@pytest.mark.anyio
async def test_processes_that_start_at_once_agree_on_one_key(lone: Storage, tmp_path: Path, clock: Clock) -> None:
    both = [SigningKeys(lone, tmp_path, clock=clock) for _ in range(3)]
    await asyncio.gather(*(each.prepare() for each in both))
    assert len({each.signer().kid for each in both}) == 1


def _spoilt(file: Path, how: str) -> None:
    if how == "missing":
        file.unlink()
    elif how == "open to the group":
        file.chmod(0o640)
    elif how == "a folder":
        file.unlink()
        file.mkdir(0o700)
    elif how == "no key":
        file.write_text("no key")
    else:
        other = keys.make(file.parent, 0)
        shutil.copy(file.with_name(f"{other.kid}.pem"), file)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "put it back from a backup"), ("open to the group", "chmod 600"), ("a folder", "cannot be read"),
        ("no key", "holds no key"), ("another key", "another key than its name says"),
    ],
)  # fmt: skip
async def test_row_h12_a_key_that_is_not_at_hand_is_never_made_anew(
    lone: Storage, tmp_path: Path, clock: Clock, how: str, said: str
) -> None:
    async with prepared(lone, tmp_path, clock):
        pass
    [file] = (tmp_path / FOLDER).iterdir()
    _spoilt(file, how)
    with pytest.raises(ConfigError, match=said) as refused:
        await SigningKeys(lone, tmp_path, clock=clock).prepare()
    assert file.name in str(refused.value)
    assert len((await lone.read(store.all_keys))[1]) == 1


@pytest.mark.anyio
async def test_row_h12_a_gateway_refuses_to_start_without_its_key(serve: Serve) -> None:
    folder = serve._template.folder
    serve._template = type(serve._template)(
        Path(shutil.copytree(folder, serve._folder / "begun")), serve._template.admin_key, serve._template.key
    )
    async with serve({"acme": answer()}) as gateway:
        used = Path(gateway.hall.settings.data_dir)
    shutil.rmtree(used / FOLDER)
    serve._template = type(serve._template)(used, serve._template.admin_key, serve._template.key)
    with pytest.raises(ConfigError, match="but there is no file"):
        async with serve({"acme": answer()}):
            pass


@pytest.mark.anyio
async def test_row_h11_a_new_key_is_published_for_twice_the_age_of_a_copy_before_it_signs(
    lone: Storage, tmp_path: Path, clock: Clock
) -> None:
    async with prepared(lone, tmp_path, clock) as running:
        old = running.signer().kid
        made = await keys.rotate(lone, tmp_path, clock.us)
        await running._refresh()
        assert states(running.jwks()) == {old: "active", made.kid: "next"}
        assert [each["kid"] for each in running.jwks()["keys"]] == [old, made.kid]
        clock.now += OVERLAP - 1
        assert running.signer().kid == old
        clock.now += 1
        assert running.signer().kid == made.kid
        assert states(running.jwks()) == {old: "retired", made.kid: "active"}
    assert keys.OVERLAP >= 2 * keys.MAX_AGE


@pytest.mark.anyio
async def test_one_rotation_at_a_time(lone: Storage, tmp_path: Path, clock: Clock) -> None:
    async with prepared(lone, tmp_path, clock):
        await keys.rotate(lone, tmp_path, clock.us)
        with pytest.raises(ConfigError, match="is waiting already"):
            await keys.rotate(lone, tmp_path, clock.us)


@pytest.mark.anyio
async def test_a_retired_keys_file_may_go(lone: Storage, tmp_path: Path, clock: Clock) -> None:
    async with prepared(lone, tmp_path, clock) as running:
        old = running.signer().kid
    await keys.rotate(lone, tmp_path, clock.us)
    clock.now += OVERLAP
    (tmp_path / FOLDER / f"{old}.pem").unlink()
    async with prepared(lone, tmp_path, clock) as running:
        assert states(running.jwks())[old] == "retired"


@pytest.mark.anyio
@pytest.mark.parametrize("waiting", [False, True])
async def test_when_the_active_key_is_revoked_another_signs_at_once(
    lone: Storage, tmp_path: Path, clock: Clock, waiting: bool
) -> None:
    async with prepared(lone, tmp_path, clock) as running:
        old = running.signer().kid
        if waiting:
            await keys.rotate(lone, tmp_path, clock.us)
        successor = await keys.revoke(lone, tmp_path, old, clock.us)
        await running._refresh()
        assert successor is not None
        assert running.signer().kid == successor.kid
        assert states(running.jwks()) == {successor.kid: "active", old: "revoked"}


@pytest.mark.anyio
async def test_revoking_another_key_leaves_the_active_one(lone: Storage, tmp_path: Path, clock: Clock) -> None:
    async with prepared(lone, tmp_path, clock) as running:
        old = running.signer().kid
        made = await keys.rotate(lone, tmp_path, clock.us)
        assert await keys.revoke(lone, tmp_path, made.kid, clock.us) is None
        await running._refresh()
        clock.now += OVERLAP
        assert running.signer().kid == old
        with pytest.raises(ConfigError, match="records no signing key"):
            await keys.revoke(lone, tmp_path, "unknown", clock.us)


@pytest.mark.anyio
async def test_a_running_process_notices_and_goes_on_with_what_it_has(
    lone: Storage, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new key whose file has not come yet is no reason to stop signing with the old one."""
    monkeypatch.setattr(keys, "POLL_SECONDS", 0.01)
    async with prepared(lone, tmp_path, clock) as running:
        old = running.signer().kid
        made = await keys.rotate(lone, tmp_path / "elsewhere", clock.us)
        async with asyncio.timeout(5):
            while made.kid not in states(running.jwks()):  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.005)
        clock.now += OVERLAP
        assert running.signer().kid == old


@pytest.mark.anyio
async def test_without_any_key_nothing_is_signed(lone: Storage, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no signing key"):
        SigningKeys(lone, tmp_path).signer()


@pytest.mark.anyio
async def test_keys_are_recorded_alike_on_both_engines(storage: Storage) -> None:
    row = KeyRow(kid="k", public={"crv": "P-256", "kty": "EC", "x": "x", "y": "y"}, created_at=1, active_from=2)

    before, _ = await storage.read(store.all_keys)
    await storage.write(lambda connection: store.add_first(connection, row))
    await storage.write(lambda connection: store.add_first(connection, KeyRow(**{**_plain(row), "kid": "late"})))
    await storage.write(lambda connection: store.revoke(connection, "k", 3, KeyRow(**{**_plain(row), "kid": "n"})))
    revision, found = await storage.read(store.all_keys)
    assert [(each.kid, each.revoked_at) for each in found] == [("k", 3), ("n", None)]
    assert found[0].public == row.public
    assert revision > before


def _plain(row: KeyRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


async def _receipt(gateway: Running) -> str:
    reply = await gateway.chat(headers={"x-tresor-receipt": "true"})
    return reply.headers["x-tresor-receipt"]


@pytest.mark.anyio
async def test_p28_after_five_rotations_under_load_every_receipt_is_checked_with_the_present_key_set(
    serve: Serve,
) -> None:
    """P28."""
    async with serve({"acme": answer()}) as gateway:
        found: list[str] = []
        signing = gateway.gateway.signing_keys
        for turn in range(6):
            asking = [asyncio.create_task(_receipt(gateway)) for _ in range(3)]
            if turn:
                await keys.rotate(gateway.hall.storage, gateway.hall.settings.data_dir, signing._now(), overlap=0)
                await signing._refresh()
            found += await asyncio.gather(*asking, _receipt(gateway))
        key_set = (await gateway.get("/.well-known/jwks.json", {})).json
    assert sorted(states(key_set).values()) == ["active", *["retired"] * 5]
    assert len({token.partition(".")[0] for token in found}) == 6
    assert all(verify(token, key_set).ok for token in found)
