"""Coverage-guided fuzzing of how answers are parsed.

``python -m tests.outward.fuzz_connection CORPUS -max_total_time=60``

It needs Atheris (https://github.com/google/atheris), which nothing else here does, and a folder for its corpus. The
rules are `judge`'s; the suite holds Hypothesis's bytes to them too.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sealgate.outward.connection", "sealgate.outward.head"]):
    from tests.outward.test_connection import SEEDS, judge

CUTS = 6
"""So many bytes of an input say where the rest is cut; the one before them says how it ends."""

_loop = asyncio.new_event_loop()


def one(data: bytes) -> None:
    """One input of the fuzzer."""
    raw = data[CUTS + 1 :]
    # By proportion, so that cuts far into the bytes are as likely as those near the front.
    cuts = [byte * (len(raw) + 1) // 256 for byte in data[1 : CUTS + 1]]
    _loop.run_until_complete(judge(raw, cuts, reset=bool(data[:1] and data[0] & 1)))


if __name__ == "__main__":
    for number, seed in enumerate(SEEDS):
        Path(sys.argv[1], f"seed-{number}").write_bytes(bytes(range(0, 36 * (CUTS + 1), 36)) + seed)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
