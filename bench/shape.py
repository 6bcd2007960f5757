"""What the canned upstream sends and the load generator expects: one exchange, in its two forms.

The request is 260 bytes, the whole answer about 750, a stream 202 events: the role, 198 contents, the finish, the usage
and ``[DONE]``. Each content carries the moment it was sent, the number of its stream and its place in it.
"""

from __future__ import annotations

import json
from typing import NamedTuple

MODEL = "bench"
"""The model's name as callers say it; every program under test must answer with it."""
UPSTREAM_KEY = "canned-key"
"""The only credential the canned upstream takes: a relay that passes the caller's key on fails the bench."""

CONTENTS = 198
EVENTS = CONTENTS + 4
PACE = 0.005
"""Seconds between two events of a stream. The last two, usage and ``[DONE]``, go out together."""
CROWD_PACE = 0.05
"""The same for a stream of a crowd, whose request says ``"user": "crowd"``."""
CROWD = "crowd"
SLOW = "slow"
"""A whole answer to a request that says this is its user waits for `SLOW_SECONDS`, as a model makes callers wait."""
SLOW_SECONDS = 0.1
STREAM_SECONDS = (EVENTS - 2) * PACE

PROMPT_TOKENS = 42
COMPLETION_TOKENS = CONTENTS
USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
}

TEXT = (
    "A canal lock lifts a boat by letting water in from above, and lowers it by letting water out below. "
    "The gates are held shut by the very weight of the water they hold back, which is why nobody can open them "
    "too early. It is a machine without an engine: the river does the work, and the keeper only decides when. "
)
"""The content of a whole answer."""
REQUEST_BYTES = 260


class Mark(NamedTuple):
    """What a content event says of itself."""

    sent_ns: int
    stream: int
    place: int


def content(sent_ns: int, stream: int, place: int) -> str:
    """The text of one content event: 32 characters, ``sent_ns`` on the clock of ``time.monotonic_ns``."""
    return f"@{sent_ns:017d}{stream:08d}{place:05d} "


def mark(text: str) -> Mark:
    """The reverse of `content`; raises ValueError for anything else."""
    if len(text) != 32 or text[0] != "@":
        raise ValueError(f"this content is not what was sent: {text[:60]!r}")
    return Mark(int(text[1:18]), int(text[18:26]), int(text[26:31]))


def request_body(*, stream: bool = False, prompt_bytes: int | None = None, user: str = "") -> bytes:
    """A chat request of `REQUEST_BYTES`, or with a prompt of ``prompt_bytes``; `CROWD` and `SLOW` are users."""
    asked: dict[str, object] = {"model": MODEL, "messages": [{"role": "user", "content": ""}]}
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    else:
        asked |= {"temperature": 0.7, "max_tokens": 256}
    if user:
        asked["user"] = user
    empty = len(json.dumps(asked, separators=(",", ":")))
    missing = REQUEST_BYTES - empty if prompt_bytes is None else prompt_bytes
    asked["messages"] = [{"role": "user", "content": (TEXT * (missing // len(TEXT) + 1))[:missing]}]
    return json.dumps(asked, separators=(",", ":")).encode()
