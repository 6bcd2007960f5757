"""JSON texts for schemas: what the constraints and the tools' arguments are made with."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from sealgate.providers.sandbox.budget import Budget
from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.regex import compiled
from sealgate.providers.sandbox.hints import Hints
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.schema.shape import Schema, Schemas
from sealgate.providers.sandbox.schema.write import Writer

_encode = msgspec.json.encode
_BLANK = re.compile(r"[ \t\r\n]*")


def json_writer(
    schema: Any, *, also: tuple[Schema, ...] = (), whitespace: str | None = None
) -> Callable[[Chance, Hints], str]:
    """What writes JSON texts that satisfy the schema and ``also``. Raises `UnsupportedError`, now or then.

    ``whitespace`` is a regular expression for the blanks between the JSON tokens; without it there are none.
    """
    schemas = Schemas(schema)
    blank = _blank(whitespace)

    def write(chance: Chance, hints: Hints) -> str:
        value = Writer(schemas, chance, hints).document(also)
        return _encode(value).decode() if not blank else _spaced(value, blank)

    return write


def _blank(pattern: str | None) -> str:
    """The blanks that a whitespace pattern wants; none where it allows none."""
    if pattern is None:
        return ""
    known, budget = compiled(pattern), Budget()
    if known.fullmatch("", budget):
        return ""
    text = next((blank for blank in (" ", "\n", "\t", "  ") if known.fullmatch(blank, budget)), None)
    text = known.write(Chance(0, budget)) if text is None else text
    if not _BLANK.fullmatch(text):
        raise UnsupportedError("the whitespace pattern does not match whitespace of JSON")
    return text


def _spaced(value: Any, blank: str) -> str:
    """JSON with the blank between all tokens of objects and arrays."""
    if isinstance(value, dict):
        inner = f"{blank},{blank}".join(
            f"{_encode(key).decode()}{blank}:{blank}{_spaced(item, blank)}" for key, item in value.items()
        )
        return f"{{{blank}{inner}{blank}}}" if value else f"{{{blank}}}"
    if isinstance(value, list):
        inner = f"{blank},{blank}".join(_spaced(item, blank) for item in value)
        return f"[{blank}{inner}{blank}]" if value else f"[{blank}]"
    return _encode(value).decode()
