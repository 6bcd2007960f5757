"""TensorZero's list form of ``extra_body``: ``[{"pointer": "/a/b", "value": 1}]``.

Pointers are JSON Pointers (RFC 6901). A missing object on the way is made; arrays take existing indices and ``-``.
"""

from __future__ import annotations

import copy
from typing import Any

from sealgate.errors import Problem
from sealgate.providers.base import Json

PARAM = "tensorzero::extra_body"
MAX_STEPS = 32
"""A pointer makes what is missing on its way, so its length is a depth."""


def apply(patches: list[Json], body: Json) -> Json:
    """The top-level fields that the patches set, in their new form; ``body`` is not changed."""
    changed: Json = {}
    for patch in patches:
        path = patch.get("pointer")
        if not isinstance(path, str) or not path.startswith("/") or "value" not in patch:
            raise Problem("invalid_extra_body", "Each item needs a 'pointer' such as /a/b and a 'value'.", param=PARAM)
        first, *rest = (step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/", MAX_STEPS))
        if len(rest) == MAX_STEPS:
            raise Problem("invalid_extra_body", f"A pointer has at most {MAX_STEPS} steps.", param=PARAM)
        if rest and first not in changed:
            changed[first] = copy.deepcopy(body.get(first, {}))
        if rest:
            _set(changed[first], rest, patch["value"], path)
        else:
            changed[first] = patch["value"]
    return changed


def _set(target: Any, steps: list[str], value: Any, path: str) -> None:
    *way, last = steps
    for step in way:
        target = _step(target, step, path)
    if isinstance(target, dict):
        target[last] = value
    elif isinstance(target, list) and last == "-":
        target.append(value)
    elif (index := _index(target, last)) is not None:
        target[index] = value
    else:
        raise _nowhere(path)


def _step(target: Any, step: str, path: str) -> Any:
    if isinstance(target, dict):
        return target.setdefault(step, {})
    if (index := _index(target, step)) is not None:
        return target[index]
    raise _nowhere(path)


def _index(target: Any, step: str) -> int | None:
    """The place in a list that a step names, if there is one."""
    if not isinstance(target, list) or not (step.isascii() and step.isdigit() and len(step) < 10):
        return None
    return int(step) if int(step) < len(target) else None


def _nowhere(path: str) -> Problem:
    shown = path if len(path) <= 100 else path[:100] + "…"
    return Problem("invalid_extra_body", f"The pointer {shown} leads nowhere.", param=PARAM)
