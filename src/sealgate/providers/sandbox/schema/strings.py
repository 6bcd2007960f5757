"""Writes strings for what several schemas ask together: pattern, format, length, and a plausible look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.regex import compiled
from sealgate.providers.sandbox.grammar.writing import MAX_LENGTH, DeadEndError
from sealgate.providers.sandbox.hints import Hints
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.formats import FORMATS, holds
from sealgate.providers.sandbox.schema.values import likely_string
from sealgate.providers.sandbox.words import WORDS

TRIES = 30


def write_string(
    schemas: Sequence[dict[str, Any]], chance: Chance, name: str, hints: Hints, fits: Callable[[str], bool]
) -> str:
    """A string for all schemas that also ``fits``. Raises `DeadEndError`, `UnsupportedError` where it is too long."""
    low = max((int(schema.get("minLength", 0)) for schema in schemas), default=0)
    high = min((int(schema["maxLength"]) for schema in schemas if "maxLength" in schema), default=None)
    if high is not None and low > high:
        raise DeadEndError
    if low > MAX_LENGTH:
        raise UnsupportedError(f"a string of more than {MAX_LENGTH} characters")
    patterns = list(dict.fromkeys(schema["pattern"] for schema in schemas if "pattern" in schema))
    kinds = [schema["format"] for schema in schemas if schema.get("format") in FORMATS]

    def right(text: str) -> bool:
        return (
            low <= len(text)
            and (high is None or len(text) <= high)
            and all(holds(kind, text) for kind in kinds)
            and all(compiled(pattern).search(text, chance.budget) for pattern in patterns)
            and fits(text)
        )

    for attempt in range(TRIES):
        chance.budget.spend(5)
        text = _draft(patterns, kinds, low, high, chance, name, hints, attempt)
        if text is not None and right(text):
            return text
    raise DeadEndError


def _draft(
    patterns: list[str],
    kinds: list[str],
    low: int,
    high: int | None,
    chance: Chance,
    name: str,
    hints: Hints,
    attempt: int,
) -> str | None:
    """A string that is right in one respect and may be in the others; the respects take turns."""
    turn = attempt % (len(patterns) + len(kinds) + 1)
    if turn < len(patterns):
        return _by_pattern(patterns[turn], low, high, chance)
    if turn == len(patterns) + len(kinds) and patterns:
        return _joined(patterns, low, chance, attempt // (turn + 1))
    if turn < len(patterns) + len(kinds):
        return FORMATS[kinds[turn - len(patterns)]].write(chance)
    if not patterns and not kinds and attempt < TRIES // 2:
        return sized(likely_string(name, chance, hints), low, high, chance)
    return sized(chance.pick(WORDS), low, high, chance)


def _by_pattern(pattern: str, low: int, high: int | None, chance: Chance) -> str | None:
    """A text that the pattern matches as a whole."""
    known = compiled(pattern)
    try:
        return known.write(chance, low if known.high is None else min(low, known.high), high)
    except UnsupportedError:
        return None


def _joined(patterns: list[str], low: int, chance: Chance, attempt: int) -> str | None:
    """A text for each pattern, one after the other, with words before, between or behind them.

    A JSON Schema pattern need only be found in the string, so this may satisfy several, or a length.
    """
    try:
        parts = [compiled(pattern).write(chance) for pattern in patterns]
    except UnsupportedError:
        return None
    if attempt % 2:
        parts.reverse()
    words = chance.pick(WORDS)
    while len(words) < low - sum(map(len, parts)):
        words += chance.pick(WORDS)
    parts.insert((len(parts) - attempt) % (len(parts) + 1), words[: max(low - sum(map(len, parts)), 4)])
    return "".join(parts)


def sized(text: str, low: int, high: int | None, chance: Chance) -> str:
    """The text, cut to at most ``high`` or lengthened with words to at least ``low`` characters."""
    while len(text) < low:
        text += " " + chance.pick(WORDS)
        if len(text) >= low and (high is None or len(text) > high):
            text = text[: max(low, 1)]
    if high is not None and len(text) > high:
        text = text[:high].rstrip() if len(text[:high].rstrip()) >= low else text[:high]
    return text
