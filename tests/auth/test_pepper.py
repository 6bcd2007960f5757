"""Where the pepper comes from, and when a start is refused because of it (row H12 for keys)."""

import stat
import threading
from pathlib import Path

import pytest

from sealgate.auth import pepper
from sealgate.auth.pepper import load_pepper
from sealgate.config import Secret
from sealgate.errors import ConfigError
from sealgate.storage import Storage, open_storage

pytestmark = pytest.mark.anyio
GIVEN = Secret("given-in-the-configuration-0123456789")


async def test_the_first_start_makes_a_file_that_only_its_owner_can_read(storage: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"

    made = await load_pepper(storage, folder)

    file = folder / "pepper"
    assert len(made) == 43
    assert file.read_bytes() == made + b"\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["pepper"]


async def test_later_starts_read_the_same_pepper(storage: Storage, tmp_path: Path) -> None:
    made = await load_pepper(storage, tmp_path)

    assert await load_pepper(storage, tmp_path) == made


async def test_the_files_content_may_be_given_as_the_setting(storage: Storage, tmp_path: Path) -> None:
    made = await load_pepper(storage, tmp_path)

    assert await load_pepper(storage, tmp_path / "elsewhere", Secret((tmp_path / "pepper").read_text())) == made


async def test_a_given_pepper_makes_no_file(any_storage: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "data"

    assert await load_pepper(any_storage, folder, GIVEN) == GIVEN.reveal().encode()
    assert await load_pepper(any_storage, folder, GIVEN) == GIVEN.reveal().encode()
    assert not folder.exists()


async def test_a_lost_pepper_is_not_made_again(storage: Storage, tmp_path: Path) -> None:
    await load_pepper(storage, tmp_path)
    (tmp_path / "pepper").unlink()

    with pytest.raises(ConfigError, match=r"none in .*pepper: put the file back or set auth\.pepper"):
        await load_pepper(storage, tmp_path)
    assert not (tmp_path / "pepper").exists()


async def test_another_pepper_than_the_recorded_one_is_refused(storage: Storage, tmp_path: Path) -> None:
    await load_pepper(storage, tmp_path)

    with pytest.raises(ConfigError, match=r"^auth\.pepper is not the pepper that this database"):
        await load_pepper(storage, tmp_path, GIVEN)
    (tmp_path / "pepper").write_text("x" * 43)
    with pytest.raises(ConfigError, match="pepper is not the pepper that this database"):
        await load_pepper(storage, tmp_path)


async def test_a_crash_between_file_and_record_is_repaired_by_the_next_start(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "pepper"
    file.write_text("p" * 43 + "\n")
    file.chmod(0o600)

    assert await load_pepper(storage, tmp_path) == b"p" * 43
    file.unlink()
    with pytest.raises(ConfigError):
        await load_pepper(storage, tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
async def test_a_file_that_others_can_read_is_refused(storage: Storage, tmp_path: Path, mode: int) -> None:
    await load_pepper(storage, tmp_path)
    (tmp_path / "pepper").chmod(mode)

    with pytest.raises(ConfigError, match=f"mode {mode:04o}.*chmod 600"):
        await load_pepper(storage, tmp_path)


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 43])
async def test_a_file_without_a_usable_pepper_is_refused_and_kept(
    storage: Storage, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "pepper"
    file.write_bytes(content)
    file.chmod(0o600)

    with pytest.raises(ConfigError, match=r"pepper.* (too short|cannot be read)"):
        await load_pepper(storage, tmp_path)
    assert file.read_bytes() == content


async def test_a_setting_too_short_to_be_a_pepper_is_refused_without_showing_it(
    storage: Storage, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"^auth\.pepper is too short") as caught:
        await load_pepper(storage, tmp_path, Secret("hunter2"))
    assert "hunter2" not in str(caught.value)


async def test_a_data_folder_that_cannot_be_made_is_one_sentence(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="cannot be made"):
        await load_pepper(storage, tmp_path / "file" / "folder")


def test_processes_that_start_at_once_agree_on_one_pepper(tmp_path: Path) -> None:
    """Only one file is ever linked into place, and the others read it whole."""
    made: list[bytes] = []
    gate = threading.Barrier(8)

    def start() -> None:
        gate.wait()
        made.append(pepper._make(tmp_path / "pepper"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 8
    assert {(tmp_path / "pepper").read_bytes().strip()} == set(made)
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]


async def test_replicas_with_different_peppers_cannot_share_a_database(any_url: str, tmp_path: Path) -> None:
    one, two = open_storage(any_url), open_storage(any_url)

    await load_pepper(one, tmp_path, GIVEN)
    with pytest.raises(ConfigError, match="is not the pepper"):
        await load_pepper(two, tmp_path / "other", Secret("x" * 40))

    await one.aclose()
    await two.aclose()


def test_the_fingerprint_is_short_and_differs() -> None:
    assert len(pepper.fingerprint(b"a" * 43)) == 16
    assert pepper.fingerprint(b"a" * 43) != pepper.fingerprint(b"b" * 43)
