"""What the network does to a good answer, whatever wire it is in: cut, stalled, cut into bytes, compressed, replaced.

A good answer is a script as the dialects make it: a head, then one `Chunk` for each event of a stream, or one `Send`
with the whole body.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from sealgate.testing import faults
from sealgate.testing.received import Received
from sealgate.testing.script import LAST_CHUNK, Chunk, Fin, Hang, Rst, Script, Send, Step, head, resolve, whole
from sealgate.testing.splits import every, split

EVENTS = 3
"""How many events of a stream come before it breaks, unless something else is said."""
Strike: TypeAlias = Callable[[Received, list[Step], int], Script]


def broken_off(script: Iterable[Step], events: int, *end: Step) -> Iterator[Step]:
    """The script up to its first ``events`` chunks, or half of its one body, then ``end``."""
    for place, step in enumerate(script):
        if isinstance(step, Chunk):
            if events == 0:
                break
            events -= 1
        elif step is LAST_CHUNK:
            break
        elif isinstance(step, Send) and place and b"HTTP/1.1 " not in step.data[:9]:
            yield Send(step.data[: len(step.data) // 2])
            break
        yield step
    yield from end


def _cut(_: Received, script: list[Step], events: int) -> Script:
    return broken_off(script, events, Fin())


def _reset(_: Received, script: list[Step], events: int) -> Script:
    return broken_off(script, events, Rst())


def _stall(_: Received, script: list[Step], events: int) -> Script:
    return broken_off(script, events, Hang())


def _silent(_: Received, script: list[Step], events: int) -> Script:  # noqa: ARG001
    return [Hang()]


def _truncated(_: Received, script: list[Step], events: int) -> Script:
    """The body ends in order, and too early."""
    if any(isinstance(step, Chunk) for step in script):
        return broken_off(script, events, LAST_CHUNK)
    body = _body(script)
    return whole(body[: len(body) // 2], _content_type(script))


def _empty(_: Received, script: list[Step], events: int) -> Script:  # noqa: ARG001
    return whole(b"", _content_type(script))


def _html(received: Received, script: list[Step], events: int) -> Script:  # noqa: ARG001
    return resolve(faults.html(), received)


def _not_json(_: Received, script: list[Step], events: int) -> Script:
    """An event, or a body, in which nobody can read anything."""
    if not any(isinstance(step, Chunk) for step in script):
        return whole(b'{"id": oops', _content_type(script))
    return broken_off(script, events, Chunk(b'data: {"id": oops\n\n'), LAST_CHUNK)


def _bytewise(received: Received, script: list[Step], events: int) -> Script:  # noqa: ARG001
    streamed = any(isinstance(step, Chunk) for step in script)
    return resolve(split(script, every(1), rechunk=streamed), received)


def _gzip(_: Received, script: list[Step], events: int) -> Script:  # noqa: ARG001
    packed = gzip.compress(_body(script), mtime=0)
    coded = {"content-type": _content_type(script), "content-encoding": "gzip"}
    return [head(200, coded, length=len(packed)), Send(packed)]


STRIKES: dict[str, Strike] = {
    "cut": _cut, "reset": _reset, "stall": _stall, "silent": _silent, "empty": _empty, "html": _html,
    "truncated": _truncated, "not_json": _not_json, "bytewise": _bytewise, "gzip": _gzip,
}  # fmt: skip


def struck(name: str, received: Received, script: Iterable[Step], after: int | None = None) -> Script:
    """The script as it arrives."""
    return STRIKES[name](received, list(script), EVENTS if after is None else after)


def _body(script: Iterable[Step]) -> bytes:
    """The payload, without head and framing."""
    parts = [step.data for step in script if isinstance(step, Send | Chunk) and step is not LAST_CHUNK]
    return b"".join(parts[1:])


def _content_type(script: Iterable[Step]) -> str:
    first = next(step for step in script if isinstance(step, Send))
    found = re.search(rb"\r\ncontent-type: ([^\r]+)", first.data)
    return found[1].decode() if found else "application/json"
