"""How much memory this process has, of how much it may have: a control group's limit, or the machine's memory.

Linux tells both; elsewhere the share in use is taken to be nothing. Sources: cgroups(7), proc(5).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
STATM = Path("/proc/self/statm")


def resident() -> int:
    """Bytes that are in memory; 0 where the system does not tell."""
    try:
        return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def allowed(membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> int:
    """Bytes that the process may have: the least of the limits above it and of the machine's memory."""
    try:
        groups = membership.read_text()
    except OSError:
        groups = ""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *(limit for file in _files(groups, cgroups) if (limit := _limit(file)) is not None)])


def _files(groups: str, cgroups: Path) -> Iterator[Path]:
    """Where limits may be written, of both versions of control groups, from the process's own group to the root's.

    In a container a group is often named as the machine sees it and mounted as the root; walking up finds it.
    """
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (cgroups / "memory", "memory.limit_in_bytes") if controllers else (cgroups, "memory.max")
        path = PurePosixPath(group.strip("/"))
        yield from (root / parent / name for parent in (path, *path.parents))


def _limit(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # there is no such group, or its limit is "max"
        return None
