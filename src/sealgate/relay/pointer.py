"""TensorZero's list form of ``extra_body``: ``[{"pointer": "/a/b", "value": 1}]``.

Pointers are JSON Pointers (RFC 6901). A missing object on the way is made; arrays take existing indices and ``-``.
"""

from __future__ import annotations

import copy
from typing import Any

from sealgate.errors import Problem
from sealgate.providers.base import Json

PARAM = "tensorzero::extra_body"


def apply(patches: list[Json], body: Json) -> Json:
    """The top-level fields that the patches set, in their new form; ``body`` is not changed."""
    changed: Json = {}
    for patch in patches:
        path = patch.get("pointer")
        if not isinstance(path, str) or not path.startswith("/") or "value" not in patch:
            raise Problem("invalid_extra_body", "Each item needs a 'pointer' such as /a/b and a 'value'.", param=PARAM)
        first, *rest = (step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))
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
    elif isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    else:
        raise _nowhere(path)


def _step(target: Any, step: str, path: str) -> Any:
    if isinstance(target, dict):
        return target.setdefault(step, {})
    if isinstance(target, list) and step.isdigit() and int(step) < len(target):
        return target[int(step)]
    raise _nowhere(path)


def _nowhere(path: str) -> Problem:
    return Problem("invalid_extra_body", f"The pointer {path} leads nowhere.", param=PARAM)
