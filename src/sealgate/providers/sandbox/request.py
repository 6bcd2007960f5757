"""A request body, read once and defensively: whatever is malformed becomes a `RefusedError`, never an exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from sealgate.providers.sandbox import tokens
from sealgate.providers.sandbox.conversation import Conversation, read_messages
from sealgate.providers.sandbox.guided import Guide, read_guide
from sealgate.providers.sandbox.refused import RefusedError
from sealgate.providers.sandbox.tools import Toolbox, read_tools

Json = dict[str, Any]

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
MOST_CHOICES = 128
MOST_STOPS = 4


class Ask(NamedTuple):
    """What a request asks for. ``top`` is None without logprobs; ``limit`` is in tokens, reasoning included."""

    model: str
    talk: Conversation
    stream: bool
    include_usage: bool
    limit: int | None
    n: int
    stops: tuple[str, ...]
    seed: int
    top: int | None
    ignore_eos: bool
    effort: str | None
    guide: Guide | None
    toolbox: Toolbox | None
    prompt_tokens: int


def decode(body: bytes) -> Json:
    """The body as an object. Raises `RefusedError`."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        raise RefusedError("The body is not valid JSON.", code="invalid_json") from None
    if not isinstance(found, dict):
        raise RefusedError("The body must be a JSON object.", code="invalid_type")
    return found


def model_name(body: Json) -> str:
    """The model's name. Raises `RefusedError`."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RefusedError("A model name is required.", param="model", code="missing_required_parameter")
    return model


def read(body: Json) -> Ask:
    """The whole request. Raises `RefusedError`."""
    for name, value in body.items():
        rule = _RANGES.get(name)
        if rule is not None and value is not None and not rule[0](value):
            raise RefusedError(f"'{name}' must be {rule[1]}.", param=name)
    talk = read_messages(body.get("messages"))
    options = body.get("stream_options") or {}
    limits = [body[name] for name in ("max_tokens", "max_completion_tokens") if body.get(name) is not None]
    offered = body.get("tools") or body.get("functions")
    return Ask(
        model=model_name(body),
        talk=talk,
        stream=body.get("stream") or False,
        include_usage=options.get("include_usage") is True,
        limit=min(limits, default=None),
        n=body.get("n") or 1,
        stops=_stops(body.get("stop")),
        seed=body.get("seed") or 0,
        top=_top(body),
        ignore_eos=body.get("ignore_eos") or False,
        effort=_effort(body),
        guide=read_guide(body),
        toolbox=read_tools(body),
        prompt_tokens=talk.tokens + (tokens.count(msgspec.json.encode(offered).decode()) if offered else 0),
    )


def _stops(stop: Any) -> tuple[str, ...]:
    if stop is None:
        return ()
    found = [stop] if isinstance(stop, str) else stop
    if not isinstance(found, list) or len(found) > MOST_STOPS or not all(isinstance(s, str) and s for s in found):
        raise RefusedError(f"'stop' must be a string or up to {MOST_STOPS} strings, none of them empty.", param="stop")
    return tuple(found)


def _top(body: Json) -> int | None:
    top: int | None = body.get("top_logprobs")
    if not body.get("logprobs"):
        if top:
            raise RefusedError("'top_logprobs' needs 'logprobs'.", param="top_logprobs")
        return None
    return top or 0


def _effort(body: Json) -> str | None:
    """How much reasoning is wished for; a template's ``enable_thinking`` counts as ``medium``."""
    effort: str | None = body.get("reasoning_effort")
    if effort is not None:
        return None if effort == "none" else effort
    template = body.get("chat_template_kwargs")
    return "medium" if isinstance(template, dict) and template.get("enable_thinking") is True else None


def _whole(low: int, high: float) -> tuple[Callable[[Any], bool], str]:
    bounds = f"a whole number of at least {low}" if high == float("inf") else f"a whole number from {low} to {high:g}"
    return lambda value: type(value) is int and low <= value <= high, bounds


def _between(low: float, high: float) -> tuple[Callable[[Any], bool], str]:
    return lambda value: type(value) in (int, float) and low <= value <= high, f"a number from {low} to {high}"


def _is_bias(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(each) in (int, float) and -100 <= each <= 100 for each in value.values()
    )


_FLAG: tuple[Callable[[Any], bool], str] = (lambda value: isinstance(value, bool), "true or false")
_OBJECT: tuple[Callable[[Any], bool], str] = (lambda value: isinstance(value, dict), "an object")
_ANY_COUNT = _whole(1, float("inf"))

_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "stream": _FLAG,
    "stream_options": _OBJECT,
    "max_tokens": _ANY_COUNT,
    "max_completion_tokens": _ANY_COUNT,
    "n": _whole(1, MOST_CHOICES),
    "seed": (lambda value: type(value) is int, "a whole number"),
    "temperature": _between(0, 2),
    "top_p": _between(0, 1),
    "frequency_penalty": _between(-2, 2),
    "presence_penalty": _between(-2, 2),
    "logit_bias": (_is_bias, "an object of numbers from -100 to 100"),
    "logprobs": _FLAG,
    "top_logprobs": _whole(0, 20),
    "ignore_eos": _FLAG,
    "reasoning_effort": (lambda value: value in EFFORTS, f"one of {', '.join(EFFORTS)}"),
}
