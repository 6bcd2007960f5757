"""How much memory the process may have, as control groups of both versions say it."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from sealgate.telemetry import memory

MIB = 1 << 20
MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def allowed(tmp_path: Path, groups: str, **limits: str) -> int:
    (tmp_path / "cgroup").write_text(groups)
    for file, text in limits.items():
        path = tmp_path / "fs" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return memory.allowed(tmp_path / "cgroup", tmp_path / "fs")


def test_the_least_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    found = allowed(
        tmp_path,
        "0::/system.slice/gate.service\n",
        **{"system.slice/gate.service/memory.max": f"{512 * MIB}\n", "system.slice/memory.max": f"{256 * MIB}\n"},
    )
    assert found == 256 * MIB


def test_a_group_without_a_limit_has_the_machine_s_memory(tmp_path: Path) -> None:
    assert allowed(tmp_path, "0::/gate\n", **{"gate/memory.max": "max\n"}) == MACHINE


def test_a_container_s_own_group_is_mounted_as_the_root(tmp_path: Path) -> None:
    found = allowed(tmp_path, "0::/docker/4f1d\n", **{"memory.max": f"{64 * MIB}\n"})
    assert found == 64 * MIB


def test_the_older_control_groups_are_understood(tmp_path: Path) -> None:
    groups = "9:name=systemd:/\n4:memory:/gate\n3:cpu,cpuacct:/gate\n"
    found = allowed(tmp_path, groups, **{"memory/gate/memory.limit_in_bytes": f"{128 * MIB}\n"})
    assert found == 128 * MIB


def test_without_control_groups_there_is_the_machine(tmp_path: Path) -> None:
    assert memory.allowed(tmp_path / "none", tmp_path) == MACHINE


def test_resident_memory_grows_with_what_is_held() -> None:
    before = memory.resident()
    with mmap.mmap(-1, 32 * MIB) as held:  # from the system, not from what the allocator may have left over
        held.write(b"x" * (32 * MIB))
        assert memory.resident() - before > 24 * MIB


def test_a_system_that_does_not_tell_has_nothing_in_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "STATM", tmp_path / "none")
    assert memory.resident() == 0
