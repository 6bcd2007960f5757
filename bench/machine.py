"""What the kernel tells: cores and pinning, CPU time and memory of a process tree, and what machine this is."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import sealgate

ROOT = Path(__file__).resolve().parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")
_PACKAGES = ("uvicorn", "uvloop", "httptools", "aiohttp", "msgspec", "sqlalchemy")


class Cores(NamedTuple):
    """Where things run; the same number twice where there is one core only."""

    test: int
    load: int

    @property
    def shared(self) -> bool:
        return self.test == self.load

    def describe(self) -> str:
        if self.shared:
            return "one core for everything: latencies and requests per second mean little here, CPU times still do"
        kin = (
            " (threads of one physical core: CPU times are higher than alone)"
            if self.load in _siblings(self.test)
            else ""
        )
        return f"program under test on core {self.test}, load and canned upstream on core {self.load}{kin}"


def choose_cores() -> Cores:
    """The last core that may be used, and the first that shares no silicon with it if there is one."""
    cores = sorted(os.sched_getaffinity(0))
    test = cores[-1]
    apart = [core for core in cores if core not in _siblings(test)]
    return Cores(test, (apart or cores)[0])


def _siblings(core: int) -> set[int]:
    """Hardware threads of the physical core that ``core`` belongs to, itself included."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
    except OSError:
        return {core}
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def tree(pid: int) -> list[int]:
    """The process and everything below it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += parents.get(member, [])
    return found


def cpu_ns(pid: int) -> int:
    """User and system time of a process tree, its ended threads included, in nanoseconds.

    The sum of /proc/PID/stat has the same source but counts in hundredths of a second; the CPU clock of another
    process (clock_getcpuclockid(3)) is exact.
    """
    return sum(process_ns(member) for member in tree(pid))


def process_ns(pid: int) -> int:
    """The same of one process alone."""
    return time.clock_gettime_ns((~pid << 3) | 2)


def thread_seconds(pid: int) -> list[float]:
    """CPU seconds of a process's living threads, the main thread first (/proc/PID/task/TID/schedstat)."""
    tasks = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: int(task.name))
    return [int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks]


class Memory(NamedTuple):
    """Megabytes (10^6 bytes) of a process tree: resident, and with shared pages divided by their users."""

    rss: float
    pss: float


def memory(pid: int) -> Memory:
    rss = pss = 0
    for member in tree(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            name, *values = line.split()
            rss += int(values[0]) if name == "Rss:" else 0
            pss += int(values[0]) if name == "Pss:" else 0
    return Memory(rss * 1024 / 1e6, pss * 1024 / 1e6)


def core_seconds(core: int) -> float:
    """Seconds since boot in which a core was busy, or taken away by the hypervisor."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _wait, irq, soft, stolen = (int(tick) for tick in ticks[:8])
            return (user + nice + system + irq + soft + stolen) / _TICKS
    raise RuntimeError(f"/proc/stat knows no core {core}")


def facts(cores: Cores) -> dict[str, Any]:
    """The machine as far as it bears on the figures; nothing that names it."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "pinning": cores.describe(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {"sealgate": sealgate.__version__} | {name: metadata.version(name) for name in _PACKAGES},
        "commit": commit(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Short name of the commit, with ``-dirty`` where files of the program differ from it; "nogit" without git."""
    try:
        short = _git("rev-parse", "--short", "HEAD")
        return short + ("-dirty" if _git("status", "--porcelain", "--", "src", "bench/*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return "nogit"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
