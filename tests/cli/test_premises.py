"""What the doctor finds on this machine, and which settings it points out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sealgate.cli import premises
from sealgate.config import Auth, Provider, Secret, Server, Settings, Storage, Telemetry
from sealgate.storage import open_storage


def found(settings: Settings, now: float | None = None) -> dict[str, tuple[str, str]]:
    lines = premises.findings(settings, time.time() if now is None else now)
    return {each.check: (each.state, each.says) for each in lines}


def in_folder(folder: Path, **tables: object) -> Settings:
    return Settings(storage=Storage(data_dir=str(folder)), **tables)  # type: ignore[arg-type]


def test_a_database_that_is_there_is_written_to(tmp_path: Path) -> None:
    open_storage(f"sqlite:///{tmp_path}/sealgate.db").close()
    lines = found(in_folder(tmp_path))
    assert lines["database"] == ("ok", f"the SQLite file {tmp_path}/sealgate.db can be written")
    assert lines["data_dir"] == ("ok", f"{tmp_path} can be written")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sealgate.db"]


def test_a_folder_that_is_a_file_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    lines = found(in_folder(tmp_path / "file" / "data"))
    assert lines["data_dir"] == (
        "wrong", f"{tmp_path}/file/data cannot be written: {tmp_path}/file is not a folder",
    )  # fmt: skip
    assert lines["database"][0] == "wrong"


def test_a_database_that_cannot_be_reached_is_wrong_and_its_password_stays_hidden(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = "postgresql://sealgate:canary-password@127.0.0.1:1/sealgate"
    state, says = found(Settings(storage=Storage(url=url, data_dir=str(tmp_path))))["database"]
    assert state == "wrong"
    assert "canary-password" not in says


def test_a_clock_that_was_never_set_is_wrong(tmp_path: Path) -> None:
    assert found(in_folder(tmp_path), now=0.0)["clock"][0] == "wrong"


@pytest.mark.parametrize(
    ("limits", "connections", "state", "says"),
    [
        ((1024, 65536), 4096, "ok", "soft limit 1024, and a start takes 65536"),
        ((20000, 20000), 4096, "ok", "soft limit 20000"),
        ((1024, 4096), 4096, "note", "enough for 2040 of server.max_connections = 4096; raise the hard limit"),
        ((-1, -1), 4096, "ok", "soft limit -1"),
    ],
)
def test_file_descriptors_are_held_against_the_connections(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int],
    connections: int,
    state: str,
    says: str,
) -> None:
    monkeypatch.setattr(premises.resource, "getrlimit", lambda _: limits)
    lines = found(in_folder(tmp_path, server=Server(max_connections=connections)))
    assert lines["descriptors"][0] == state
    assert says in lines["descriptors"][1]


def test_settings_that_may_not_be_meant_are_noted(tmp_path: Path) -> None:
    plain = Provider(kind="compatible", base_url="http://llm.acme.example/v1", api_key=(Secret("canary"),))
    settings = in_folder(
        tmp_path,
        server=Server(host="0.0.0.0"),
        auth=Auth(required=False),
        providers={"acme": plain, "near": Provider(kind="vllm", base_url="http://127.0.0.1:9/v1")},
    )
    noted = {key for key, (state, _) in found(settings).items() if state == "note"}
    assert noted >= {"auth.required", "server.host", "telemetry.metrics", "providers.acme"}
    assert "providers.near" not in noted


def test_usual_settings_are_not_talked_about(tmp_path: Path) -> None:
    settings = in_folder(
        tmp_path,
        server=Server(host="0.0.0.0", trusted_proxies=("10.0.0.0/8",)),
        telemetry=Telemetry(metrics="key"),
    )
    assert found(settings).keys() == {"database", "data_dir", "clock", "descriptors"}
