"""The ready-made faults by name: a request chooses one by the model it asks for.

Used by ``python -m sealgate.testing``, and by anyone who would rather write a model's name than a script.
"""

from __future__ import annotations

import re

from sealgate.testing import faults
from sealgate.testing.openai_wire import Answer, tool
from sealgate.testing.received import Received
from sealgate.testing.refusals import SHAPES, error, error_first, error_mid, quota
from sealgate.testing.script import Behaviour, delayed
from sealgate.testing.splits import awkward, every, split

CATALOGUE: dict[str, Behaviour] = {
    "slow": Answer(delay=0.25),
    "late": delayed(2.0, Answer()),
    "tools": Answer(tool_calls=[tool("get_weather", {"city": "Paris"})]),
    "reasoning": Answer(reasoning="Let me think about that for a moment."),
    "refusal": Answer(refusal="I cannot help with that."),
    "length": Answer(finish_reason="length"),
    "content-filter": Answer(finish_reason="content_filter"),
    "no-usage": Answer(usage=None),
    "bytewise": split(Answer(), every(1), rechunk=True),
    "awkward": split(Answer("Grüße, 世界! 👋"), awkward, rechunk=True),
    "dressed": faults.dressed(),
    "quota": quota(),
    "cut": faults.cut_after(3),
    "reset": faults.cut_after(3, rst=True),
    "reset-at-once": faults.reset(),
    "role-only": faults.role_only_then_cut(),
    "truncated": faults.truncated(),
    "no-done": faults.no_done(),
    "after-done": faults.after_done(),
    "silent": faults.silent(),
    "silent-after-head": faults.silent(after_head=True),
    "stall": faults.stall_after(3),
    "endless": faults.endless(base=Answer(delay=0.01)),
    "html": faults.html(),
    "empty": faults.empty(),
    "redirect": faults.redirect(),
    "status-204": faults.status_204(),
    "interim": faults.with_1xx(),
    "wrong-content-type": faults.wrong_content_type(),
    "not-json": faults.not_json(),
    "short-body": faults.short_body(),
    "bad-chunk": faults.bad_chunk(),
    "gzip": faults.gzip_body(),
    "huge-head": faults.huge_head(),
    "huge-line": faults.huge_line(),
    "shifting-ids": faults.shifting_ids(),
    "odd-indexes": faults.odd_indexes(),
    **{f"error-first-{shape}": error_first(shape) for shape in SHAPES},
    **{f"error-mid-{shape}": error_mid(shape) for shape in SHAPES},
}
"""Model name to behaviour; besides these, ``fail-STATUS`` answers with any status from 400 to 599."""


def by_model_name(received: Received) -> Behaviour | None:
    """A handler for `ScriptedUpstream` that looks the model up here; None for a name that is not listed."""
    name = received.model or ""
    failing = re.fullmatch(r"fail-([45]\d\d)", name)
    if failing:
        status = int(failing[1])
        return error(status, headers={"retry-after": "2"} if status in (429, 503) else None)
    return CATALOGUE.get(name)
