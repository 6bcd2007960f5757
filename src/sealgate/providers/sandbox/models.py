"""The sandbox's models, declared once: the table that the documentation is generated from, and what a name means."""

from __future__ import annotations

import re
from typing import NamedTuple

MODELS: dict[str, str] = {
    "echo": "The default: says what it is and what you wrote. Every name not in this table behaves so.",
    "think": "As `echo`, with `reasoning_content` before the answer.",
    "refuse": "Refuses: the answer is in `refusal`, `content` is null.",
    "filter": "Stops early with `finish_reason` `content_filter`.",
    "slow": "Half a second to the first token, then 20 tokens a second; `slow-5` means 5 tokens a second.",
    "fail-<status>": "Fails with that status, 300 to 599, and OpenAI's error body; 429 and 503 carry `Retry-After`.",
    "fail-quota": "429 `insufficient_quota` without `Retry-After`: the account is empty.",
    "cut": "The connection breaks after some content; a whole answer ends short of its length.",
    "truncate": "Ends cleanly after some content, without `finish_reason` or `[DONE]`; a whole answer is half a JSON.",
    "silent": "Sends 200 and headers, then never a byte.",
    "empty": "200 with no content and no usage.",
    "html": "200 with a web page instead of an answer.",
    "error-first": "200 whose first event is an error; a whole answer is an error body with status 200.",
    "error-mid": "An error event after some content; a whole answer carries a part of the text and an `error`.",
    "not-json": "An event that is not JSON after some content; a whole answer is not JSON.",
}
"""Model name (after ``sandbox/``) to what it does, one line each."""

FIRST_TOKEN_SECONDS = 0.5
"""How long ``slow`` waits before its first token."""


class Pace(NamedTuple):
    """How fast an answer comes: seconds before the first token, seconds between two tokens."""

    first: float = 0.0
    gap: float = 0.0


class Behaviour(NamedTuple):
    """What a model name asks for. ``kind`` is a name from the table; ``status`` belongs to ``fail``."""

    kind: str = "echo"
    status: int = 0
    pace: Pace | None = None


_ECHO = Behaviour()
_NAMED = {name: Behaviour(name) for name in MODELS if "<" not in name and name != "slow"}
_NAMED["slow"] = Behaviour(pace=Pace(FIRST_TOKEN_SECONDS, 1 / 20))
_FAIL = re.compile(r"fail-([345]\d\d)")
_SLOW = re.compile(r"slow-([1-9]\d{0,3})")


def behaviour(model: str) -> Behaviour:
    """What the model of that name does; a name that says nothing behaves as ``echo``."""
    known = _NAMED.get(model)
    if known is not None:
        return known
    if failing := _FAIL.fullmatch(model):
        return Behaviour("fail", int(failing[1]))
    if slow := _SLOW.fullmatch(model):
        return Behaviour(pace=Pace(FIRST_TOKEN_SECONDS, 1 / int(slow[1])))
    return _ECHO
