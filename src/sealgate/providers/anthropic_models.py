"""What sets Claude models apart on the Messages API: sampling, thinking, effort, prescribed forms, usual lengths.

Read from the model's name, which says family and version in every spelling in use: ``claude-sonnet-4-5-20250929``,
``claude-opus-4-5@20251101`` (Vertex), ``us.anthropic.claude-3-7-sonnet-20250219-v1:0`` (Bedrock), ``claude-4.7-opus``.
A Claude that is not known is taken for a new one; a model that is no Claude for one that takes everything.

Sources: platform.claude.com/docs (models, adaptive thinking, effort, structured outputs, migration guides).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Version = tuple[int, int]

_FAMILY_FIRST = re.compile(r"claude-(opus|sonnet|haiku|fable|mythos)-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)", re.IGNORECASE)
_VERSION_FIRST = re.compile(r"claude-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)(?:-(opus|sonnet|haiku))?", re.IGNORECASE)
_NEWEST: Version = (99, 0)
_UNFORCED: dict[str, Version] = {"opus": (5, 5), "sonnet": (5, 5), "fable": (5, 1), "mythos": (5, 1)}
"""From which version on a family's models answer 400 where a tool is demanded."""
_LEVELS = ("low", "medium", "high", "xhigh", "max")


class Model(NamedTuple):
    """What one model takes."""

    sampling: bool = True
    """``temperature``, ``top_p`` and ``top_k``; newer models answer 400 to any of them."""
    sampling_together: bool = True
    """``temperature`` beside ``top_p``."""
    thinking: Literal["never", "budget", "adaptive"] = "budget"
    """How thinking is asked for: a number of tokens, or an effort."""
    thinks_unasked: bool = False
    still: Literal["disabled", "between_tools"] | None = "disabled"
    """The kind of ``thinking`` that asks for as little as there is; None where it always thinks as it likes."""
    forces: bool = True
    """Whether a tool can be demanded (``tool_choice`` any, or a named one)."""
    efforts: tuple[str, ...] = ()
    """The values of ``output_config.effort`` that it takes."""
    formats: bool = False
    """Whether ``output_config.format`` and strict tools are there."""
    usual_tokens: int = 8192
    """``max_tokens`` where neither the caller nor the configuration says one; every such model takes it."""


@lru_cache(maxsize=256)
def facts(name: str) -> Model:
    """What is known of a model by its name at the provider."""
    family, version = _named(name)
    if version is None:
        return Model()
    newer = version >= (5, 0)
    adaptive = version >= (4, 6)
    return Model(
        sampling=not (newer or (family == "opus" and version >= (4, 7))),
        sampling_together=version < (4, 1),
        thinking="adaptive" if adaptive else "budget" if version >= (3, 7) else "never",
        thinks_unasked=newer,
        still=_still(family, version),
        forces=version == _NEWEST or version < _UNFORCED.get(family, _NEWEST),
        efforts=() if not adaptive else _LEVELS if version > (4, 6) else ("low", "medium", "high", "max"),
        formats=version >= (4, 5),
        usual_tokens=32_000 if version >= (3, 7) else 8192 if version >= (3, 5) else 4096,
    )


def _still(family: str, version: Version) -> Literal["disabled", "between_tools"] | None:
    if family in ("fable", "mythos") or (family == "opus" and version >= (5, 5)):
        return None
    return "between_tools" if family == "sonnet" and version >= (5, 5) else "disabled"


def abilities(name: str, usual: frozenset[str]) -> frozenset[str]:
    """What a model of this name has of the usual capabilities.

    The oldest know neither tools nor media, the newest cannot be made to call a tool.
    """
    version = _named(name)[1]
    if not facts(name).forces:
        return usual - {"tool_required", "tool_choice"}
    if version is None or version >= (3, 5):
        return usual
    return usual - {"files"} if version >= (3, 0) else usual & {"stop", "max_tokens"}


def _named(name: str) -> tuple[str, Version | None]:
    if found := _FAMILY_FIRST.search(name):
        return found[1].lower(), (int(found[2]), int(found[3] or 0))
    if found := _VERSION_FIRST.search(name):
        return (found[3] or "").lower(), (int(found[1]), int(found[2] or 0))
    if "claude" not in name.lower():
        return "", None
    return ("fable" if "fable" in name.lower() else "mythos" if "mythos" in name.lower() else ""), _NEWEST
