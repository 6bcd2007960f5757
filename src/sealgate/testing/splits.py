"""Splitting an answer's bytes where readers trip: a piece of bytes arrives in the pieces the network chose.

>>> from sealgate.testing import answer, at_random, split
>>> behaviour = split(answer("Grüße"), at_random(seed=7))

A *cutter* is a function of the bytes that says at which offsets to cut; write your own as you like.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TypeAlias

from sealgate.testing.received import Received
from sealgate.testing.script import Behaviour, Chunk, Send, Sleep, Step, Yield, resolve

Cutter: TypeAlias = Callable[[bytes], Iterable[int]]


def every(size: int = 1) -> Cutter:
    """Cut after each ``size`` bytes."""
    if size < 1:
        raise ValueError("size must be at least 1")
    return lambda data: range(size, len(data), size)


def at(*offsets: int) -> Cutter:
    """Cut at these offsets, counted from the response's first byte; those beyond its end are ignored."""
    return lambda _: offsets


def at_random(seed: int, share: float = 0.1) -> Cutter:
    """Cut at a ``share`` of all offsets, the same ones for the same seed and bytes."""

    def cut(data: bytes) -> list[int]:
        rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
        return [offset for offset in range(1, len(data)) if rng.random() < share]

    return cut


_AWKWARD = re.compile(
    rb"(?<=[\x80-\xff])(?=[\x80-\xbf])"  # inside a UTF-8 character
    rb"|(?<=\r)(?=\n)"  # inside a line end
    rb"|(?<=\n)(?=\n)|(?<=\r)(?=\r)"  # inside the blank line that ends an event
    rb"|(?<=d)(?=ata:)|(?<=data)(?=:)|(?<=data:)(?= )"  # inside a field name, around its colon
    rb"|(?<=\\)(?=[\"\\/bfnrtu])"  # inside a JSON escape
)


def awkward(data: bytes) -> list[int]:
    """Cut inside each UTF-8 character, CRLF pair, blank line, ``data:`` prefix and JSON escape."""
    return [match.start() for match in _AWKWARD.finditer(data)]


def split(behaviour: Behaviour, cutter: Cutter = awkward, *, gap: float = 0.0, rechunk: bool = False) -> Behaviour:
    """The same bytes, written in the pieces that ``cutter`` says.

    Every piece is a write of its own. A reader on the same event loop sees each alone; for one in another thread or
    process the kernel may glue neighbours together unless ``gap`` (seconds between pieces) is larger than its
    reading pace. With ``rechunk=True`` the pieces of a chunked body become chunks of their own, which no proxy on
    the way glues together; heads stay whole, and offsets count body bytes. The whole script is read first: not for
    endless ones.
    """

    def script(received: Received) -> Iterator[Step]:
        steps = list(resolve(behaviour, received))
        whole = b"".join(_payload(step, rechunk) or b"" for step in steps)
        marks = set(cutter(whole))
        cuts = sorted(marks)
        start = 0
        for step in steps:
            data = _payload(step, rechunk)
            if data is None:
                yield step
                continue
            end = start + len(data)
            inner = cuts[bisect_right(cuts, start) : bisect_left(cuts, end)]
            for left, right in pairwise([start, *inner, end]):
                if left in marks:
                    yield Sleep(gap) if gap else Yield()
                piece = whole[left:right]
                yield Chunk(piece) if rechunk else Send(piece)
            start = end

    return script


def _payload(step: Step, rechunk: bool) -> bytes | None:
    """The bytes of a step that may be cut; None where the step is played as it is."""
    if rechunk:
        return step.data if isinstance(step, Chunk) else None
    return step.wire if isinstance(step, Send | Chunk) else None


def glued(behaviour: Behaviour) -> Behaviour:
    """The same bytes with neighbouring writes joined into one: many events in one piece.

    Pauses and endings stay where they are, and still separate writes.
    """

    def script(received: Received) -> Iterator[Step]:
        held = bytearray()
        for step in resolve(behaviour, received):
            if isinstance(step, Send | Chunk):
                held += step.wire
                continue
            if held:
                yield Send(bytes(held))
                held.clear()
            yield step
        if held:
            yield Send(bytes(held))

    return script
