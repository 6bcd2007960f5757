"""Runs a Python module and notes every few milliseconds of its CPU time where its main thread is.

``python bench/sampled.py FILE MODULE ARGUMENTS…`` writes FILE when the module ends or gets SIGTERM: one line for each
stack, outermost function first and separated by semicolons, and how often it was seen. That is the form that flame
graphs are drawn from. Time inside C functions counts for the Python line that called them.

It imports nothing of the bench, so that the program runs as it would alone.
"""

from __future__ import annotations

import collections
import runpy
import signal
import sys
from pathlib import Path
from types import FrameType

INTERVAL = 0.002
stacks: collections.Counter[str] = collections.Counter()


def note(_: int, frame: FrameType | None) -> None:
    names: list[str] = []
    while frame is not None:
        code = frame.f_code
        names.append(f"{_short(code.co_filename)}:{code.co_qualname}")
        frame = frame.f_back
    stacks[";".join(reversed(names))] += 1


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:])


def leave(*_: object) -> None:
    raise SystemExit(0)


def main() -> None:
    output, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    sys.path[0] = ""  # not this folder, whose modules have names that others may have too
    # A server that handles SIGTERM itself puts this handler back when it is done, and raises the signal again.
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGPROF, note)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(output).write_text("".join(f"{stack} {count}\n" for stack, count in stacks.most_common()))


if __name__ == "__main__":
    main()
