"""Runs a Python module and notes every few milliseconds of its CPU time where its main thread is.

``python bench/sampled.py FILE MODULE ARGUMENTS…`` begins to note at SIGUSR1 and writes FILE when the module ends or
gets SIGTERM: one line for each stack, outermost function first and separated by semicolons, and how often it was seen.
That is the form that flame graphs are drawn from. Time inside C functions counts for the Python function that called
them; time that other threads take counts for wherever the main thread is.

It imports nothing of the bench, so that the program runs as it would alone.
"""

from __future__ import annotations

import collections
import runpy
import signal
import sys
from pathlib import Path
from types import CodeType, FrameType

INTERVAL = 0.002
"""Seconds; the kernel rounds up to its own tick, mostly 4 ms."""
stacks: collections.Counter[tuple[CodeType, ...]] = collections.Counter()


def begin(*_: object) -> None:
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)


def note(_: int, frame: FrameType | None) -> None:
    codes: list[CodeType] = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    stacks[tuple(codes)] += 1


def leave(*_: object) -> None:
    raise SystemExit(0)


def written() -> str:
    return "".join(f"{';'.join(map(_name, reversed(codes)))} {count}\n" for codes, count in stacks.most_common())


def _name(code: CodeType) -> str:
    return f"{'/'.join(Path(code.co_filename).parts[-2:])}:{code.co_qualname}"


def main() -> None:
    output, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    sys.path[0] = ""  # not this folder, whose modules have names that others may have too
    # A server that handles SIGTERM itself puts this handler back when it is done, and raises the signal again.
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGPROF, note)
    signal.signal(signal.SIGUSR1, begin)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(output).write_text(written())


if __name__ == "__main__":
    main()
