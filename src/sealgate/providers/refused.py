"""Parameters that one model refuses: read from the provider's own words, and left out or renamed before they are sent.

Only hints are ever left out. Of the two names of the answer's limit, one stands for the other without loss.

What providers write was collected from their references and from answers that they gave: OpenAI and those who speak its
wire, pydantic's validators (vLLM, Mistral, Fireworks), serde's, Anthropic, Google, AWS Bedrock, xAI, Groq.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from sealgate.errors import Failure, UpstreamError
from sealgate.providers.base import Adjustment, Json, Prompt
from sealgate.providers.capabilities import HINTS, SAMPLING

LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Each name of the answer's limit, and the name under which it is sent instead."""
USAGE = "stream_options"
"""What the gateway itself adds to streams, to learn what was used."""
LEFT_OUT = HINTS | SAMPLING
"""What is left out, and the caller told."""
REFUSABLE = LEFT_OUT | LIMITS.keys() | {USAGE}
NOTHING: frozenset[str] = frozenset()

MAX_TEXT = 2000
"""As much of an error is read; it may repeat the caller's own words without end."""
_REFUSALS = (Failure.INVALID_REQUEST, Failure.UNPROCESSABLE)

_QUOTES = "`'\"\\[\\]\\\\"
_NAME = rf"[{_QUOTES}]*+[a-z_][\w.]*+[{_QUOTES}]*+"
_NAMES = rf"(?<![\w.])({_NAME}(?:(?:, | and |, and ){_NAME}){{0,8}}+)"
_SORT = r"(?:parameter|argument|field|key|property|propertie|name|input|keyword argument)s?"
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?:unsupported|unknown|unrecognized|unexpected|extraneous|extra|disallowed) (?:request )?{_SORT}(?:\(s\))?"
        rf"(?: supplied| provided| found)?:? {_NAMES}",
        rf"{_SORT} (?:is |are )?not (?:supported|allowed|permitted)[^:]{{0,40}}: {_NAMES}",
        rf"extra inputs are not permitted, fields?: {_NAMES}",
        rf"additional properties are not allowed \({_NAMES}",
        rf"unsupported value: {_NAMES} does not support .{{0,80}}? with this model\. only the default",
        rf"{_NAMES}(?: {_SORT})?(?:: extra inputs)? (?:is|are) (?:unsupported|deprecated|disabled|unknown|unexpected"
        r"|no longer supported|not (?:currently |yet )?(?:supported|allowed|permitted|available|enabled|recognized))",
        rf"(?:does not|doesn't|do not|don't) (?:support|accept|allow|take|recognize) (?:the )?(?:{_SORT} )?{_NAMES}"
        r"(?! levels?| values?| of)",
    )
)
_IN_A_LIST = re.compile(
    r"""["']loc["']: ?[\[(]([^\])]{0,200}+)[\])], ?["']msg["']: ?["']extra (?:inputs are not permitted|fields)""",
    re.IGNORECASE,
)
"""An entry of a validator's list, as JSON or as Python writes it."""
_SIGN = re.compile(
    r"not (?:supported|permitted|allowed)|unsupported|unknown|unrecognized|unexpected|deprecated|doesn't support"
    r"|does not support",
    re.IGNORECASE,
)
_OF_A_VALUE = re.compile(r"\bvalues?\b|\blevels?\b|\bmust be\b|\bshould be\b", re.IGNORECASE)
_WORDS = re.compile(r"[a-z_][\w.]*", re.IGNORECASE)
_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")

_CONTAINERS = frozenset(
    {"body", "request", "parameters", "generation_config", "inference_config", "additional_model_request_fields"}
)
"""What stands before a field's own name in a path."""
_EFFORT = ("reasoning_effort",)
_USER = ("safety_identifier", "user")
_SENT_AS = {
    "random_seed": ("seed",),
    "repeat_penalty": ("repetition_penalty",),
    "k": ("top_k",),
    "penalty": ("presence_penalty", "frequency_penalty"),
    "disable_parallel_tool_use": ("parallel_tool_calls",),
    "tool_choice.disable_parallel_tool_use": ("parallel_tool_calls",),
    "metadata.user_id": _USER,
    "user_id": _USER,
    "metadata": _USER,
    "output_config.effort": _EFFORT,
    **dict.fromkeys(("effort", "thinking", "thinking_config", "thinking_level", "thinking_budget"), _EFFORT),
    **dict.fromkeys(("reasoning", "reasoning_config"), _EFFORT),
}
"""Names in providers' own formats, and the parameters that are sent under them."""


def refused_by(error: UpstreamError, prompt: Prompt) -> frozenset[str]:
    """The parameters of this request that an error says are not taken, as far as something can be done about it.

    ``prompt.refused`` was left out or renamed already. What the caller wrote into ``extra_body`` stays.
    """
    if error.failure not in _REFUSALS:
        return NOTHING
    fields = prompt.fields
    sent = {name for name in fields if name in LEFT_OUT}
    if not LIMITS.keys().isdisjoint(fields) and LIMITS.keys().isdisjoint(prompt.refused):
        sent |= LIMITS.keys()
    if prompt.stream:
        sent.add(USAGE)
    sent -= prompt.refused | prompt.extra_body.keys()
    return frozenset(name for said in _said(error) for name in _meant(said, sent)) if sent else NOTHING


def _said(error: UpstreamError) -> Iterator[str]:
    """Names that an error says are not taken, in the provider's spelling."""
    text = error.text[:MAX_TEXT]
    places = _IN_A_LIST.findall(text)
    for place in places:
        yield ".".join(_WORDS.findall(place))
    if places or "'loc'" in text or '"loc"' in text:
        return
    for pattern in _PATTERNS:
        for found in pattern.finditer(text):
            yield from _WORDS.findall(found[1])
    if error.param and _SIGN.search(text) and not _OF_A_VALUE.search(text):
        yield error.param


def _meant(said: str, sent: Iterable[str]) -> Iterator[str]:
    """What the caller calls it, of the parameters that were sent."""
    parts = _HUMP.sub(r"_\1", said).lower().strip(".").split(".")
    while len(parts) > 1 and parts[0] in _CONTAINERS:
        del parts[0]
    name = ".".join(parts)
    if name in sent:
        yield name
        return
    meanings = _SENT_AS.get(name) or (_EFFORT if parts[0] == "thinking" else ())
    yield from (each for each in meanings if each in sent)


def refusable(names: Iterable[str]) -> frozenset[str]:
    """These names. Raises `ValueError` for one that cannot be done without."""
    for name in names:
        if name not in REFUSABLE:
            close = difflib.get_close_matches(name, REFUSABLE, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else f"; it may be {', '.join(sorted(REFUSABLE))}"
            raise ValueError(f"'{name}' is never left out{hint}")
    return frozenset(names)


# Sending without them


def without(prompt: Prompt, refused: frozenset[str]) -> tuple[Prompt, list[Adjustment]]:
    """The request as a model gets it that refuses these; what a wire adds itself is told to it by ``refused``."""
    gone = sorted(LEFT_OUT & refused & prompt.fields.keys())
    fields = {name: value for name, value in prompt.fields.items() if name not in gone} if gone else prompt.fields
    said = [Adjustment(name, "dropped", "this model refuses it") for name in gone]
    return replace(prompt, fields=fields, refused=refused), said


def limited(
    fields: Json, said: Sequence[Adjustment], given: Json, refused: frozenset[str]
) -> tuple[Json, Sequence[Adjustment]]:
    """The answer's limit by the name that a model takes. ``fields`` go out, ``given`` are the caller's."""
    name = next((each for each in LIMITS if each in refused and each in fields), None)
    if name is None:
        return fields, said
    other = LIMITS[name]
    renamed = {other if each == name else each: value for each, value in fields.items()}
    said = [each for each in said if each.param not in LIMITS]
    return renamed, said if other in given else [*said, Adjustment(name, "renamed", f"sent as {other}")]
