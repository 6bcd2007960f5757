"""Structural tags: text with parts that follow a schema, an expression or a grammar between fixed marks.

Two forms: XGrammar's ``{"type": "structural_tag", "format": {…}}`` and the older ``{"structures": [{"begin",
"schema", "end"}], "triggers": […]}``. Source: https://xgrammar.mlc.ai/docs/ , "Structural Tag Usage". Formats at the
level of a model's own tokens are refused: the sandbox has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.regex import compiled
from sealgate.providers.sandbox.grammar.source import gbnf_writer
from sealgate.providers.sandbox.hints import Hints
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.json_text import json_writer
from sealgate.providers.sandbox.words import sentence

Write = Callable[[Chance, Hints], str]
Format = dict[str, Any]

MOST_TIMES = 1_000


def structural_writer(tag: Any) -> Write:
    """What writes texts for a structural tag. Raises `UnsupportedError`."""
    if isinstance(tag, str):
        try:
            tag = msgspec.json.decode(tag)
        except (msgspec.DecodeError, RecursionError):
            raise UnsupportedError("the structural tag is not valid JSON") from None
    if not isinstance(tag, dict):
        raise UnsupportedError("the structural tag must be an object")
    if "format" in tag:
        return _writer(tag["format"], ())
    if "structures" in tag:
        return _writer(_modern(tag), ())
    raise UnsupportedError("the structural tag has neither 'format' nor 'structures'")


def _modern(tag: Format) -> Format:
    """The older form in the newer words."""
    structures = _list(tag, "structures")
    tags = [
        {
            "type": "tag",
            "begin": each.get("begin"),
            "content": {"type": "json_schema", "json_schema": each.get("schema", True)},
            "end": each.get("end"),
        }
        for each in structures
        if isinstance(each, dict)
    ]
    return {"type": "triggered_tags", "triggers": tag.get("triggers"), "tags": tags}


def _writer(form: Any, ends: tuple[str, ...]) -> Write:
    """What writes one format; ``ends`` are the marks that must not come up in free text here."""
    kind = form.get("type") if isinstance(form, dict) else None
    make = _FORMATS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise UnsupportedError(f"the structural tag has a format of type {kind!r}, which the sandbox cannot write")
    return make(form, ends)


def _const(form: Format, _: tuple[str, ...]) -> Write:
    value = _string(form, "value")
    return lambda chance, hints: value  # noqa: ARG005


def _json(form: Format, _: tuple[str, ...]) -> Write:
    if form.get("style", "json") != "json":
        raise UnsupportedError("the structural tag asks for a style other than 'json'")
    return json_writer(form.get("json_schema", True))


def _regex(form: Format, _: tuple[str, ...]) -> Write:
    pattern = compiled(_string(form, "pattern"))
    return lambda chance, hints: pattern.write(chance)  # noqa: ARG005


def _grammar(form: Format, _: tuple[str, ...]) -> Write:
    write = gbnf_writer(_string(form, "grammar"))
    return lambda chance, hints: write(chance)  # noqa: ARG005


def _any_text(form: Format, ends: tuple[str, ...]) -> Write:
    excluded = (*ends, *_strings(form, "excludes", needed=False))
    most = min(
        (value for word in ("max_chars", "max_tokens") if isinstance(value := form.get(word), int)), default=None
    )
    return lambda chance, hints: _free(chance, excluded, most)  # noqa: ARG005


def _sequence(form: Format, ends: tuple[str, ...]) -> Write:
    parts = [_writer(each, ends) for each in _list(form, "elements")]
    return lambda chance, hints: "".join(part(chance, hints) for part in parts)


def _or(form: Format, ends: tuple[str, ...]) -> Write:
    parts = [_writer(each, ends) for each in _list(form, "elements")]
    return lambda chance, hints: chance.pick(parts)(chance, hints)


def _repeated(low: int, high: int | None) -> Callable[[Format, tuple[str, ...]], Write]:
    def make(form: Format, ends: tuple[str, ...]) -> Write:
        least, most = (low, high) if form["type"] != "repeat" else _range(form)
        part = _writer(form.get("content"), ends)
        spread = 3 if most is None else min(3, most - least + 1)

        def write(chance: Chance, hints: Hints) -> str:
            return "".join([part(chance, hints) for _ in range(least + chance.below(spread))])

        return write

    return make


def _range(form: Format) -> tuple[int, int | None]:
    low, high = form.get("min"), form.get("max")
    if (
        not isinstance(low, int)
        or not isinstance(high, int)
        or not 0 <= low <= MOST_TIMES
        or (high != -1 and high < low)
    ):
        raise UnsupportedError("the structural tag has a repeat with a wrong range")
    return low, None if high == -1 else high


def _tag(form: Format, _: tuple[str, ...]) -> Write:
    begin = _string(form, "begin")
    ends = _strings(form, "end")
    content = _writer(form.get("content"), tuple(end for end in ends if end))
    return lambda chance, hints: begin + content(chance, hints) + ends[0]


def _triggered(form: Format, ends: tuple[str, ...]) -> Write:
    triggers = _strings(form, "triggers")
    tags = _list(form, "tags")
    for each in tags:
        if not any(_string(each, "begin").startswith(trigger) for trigger in triggers):
            raise UnsupportedError("a tag of the structural tag begins with none of the triggers")
    writers = [_writer({**each, "type": "tag"}, ends) for each in tags]
    forbidden = (*ends, *triggers, *_strings(form, "excludes", needed=False))

    def write(chance: Chance, hints: Hints) -> str:
        made = chance.pick(writers)(chance, hints)
        return made if form.get("at_least_one") else _free(chance, forbidden, None, " ") + made

    return write


def _separated(form: Format, ends: tuple[str, ...]) -> Write:
    separator = _string(form, "separator")
    writers = [_writer({**each, "type": "tag"}, ends) for each in _list(form, "tags")]
    most = 1 if form.get("stop_after_first") else 2

    def write(chance: Chance, hints: Hints) -> str:
        return separator.join(chance.pick(writers)(chance, hints) for _ in range(1 + chance.below(most)))

    return write


_FORMATS: dict[str, Callable[[Format, tuple[str, ...]], Write]] = {
    "const_string": _const,
    "json_schema": _json,
    "regex": _regex,
    "grammar": _grammar,
    "any_text": _any_text,
    "sequence": _sequence,
    "or": _or,
    "optional": _repeated(0, 1),
    "plus": _repeated(1, None),
    "star": _repeated(0, None),
    "repeat": _repeated(0, 0),
    "tag": _tag,
    "triggered_tags": _triggered,
    "tags_with_separator": _separated,
}


def _free(chance: Chance, excluded: Sequence[str], most: int | None, after: str = "") -> str:
    """Free text in which none of the marks comes up; nothing where even that cannot be had."""
    for text in (sentence(chance) + after, "So: ", "ok ", "- "):
        if (most is None or len(text) <= most) and not any(mark in text for mark in excluded if mark):
            return text
    return ""


def _string(form: Any, name: str) -> str:
    value = form.get(name) if isinstance(form, dict) else None
    if not isinstance(value, str):
        raise UnsupportedError(f"the structural tag needs a string '{name}'")
    return value


def _strings(form: Format, name: str, *, needed: bool = True) -> tuple[str, ...]:
    value = form.get(name)
    if value is None and not needed:
        return ()
    found = (value,) if isinstance(value, str) else value
    if (
        not isinstance(found, list | tuple)
        or not all(isinstance(each, str) for each in found)
        or (needed and not found)
    ):
        raise UnsupportedError(f"the structural tag needs '{name}' as a string or a list of strings")
    return tuple(found)


def _list(form: Format, name: str) -> list[Any]:
    value = form.get(name)
    if not isinstance(value, list) or not value:
        raise UnsupportedError(f"the structural tag needs a list '{name}' with at least one element")
    return value
