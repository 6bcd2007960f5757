"""JSON in the one form that everybody hashes alike: the JSON Canonicalization Scheme (RFC 8785).

Standard library only: this file also ships to people who check receipts without a server.
"""

from __future__ import annotations

import json
import math
from typing import Any

LARGEST = 2**53 - 1
"""Beyond this, an integer is not the same number to everybody (RFC 7493, section 2.2)."""

MANY = 16
"""Items of a list that are worth a look at whether they are all of one kind."""

_string = json.encoder.encode_basestring
"""Escapes what RFC 8785, section 3.2.2.2 wants escaped, and nothing else."""


class CanonicalError(ValueError):
    """A value has no canonical form, or bytes are not the JSON they should be."""


def encode(value: Any) -> bytes:
    """The canonical bytes of what a JSON parser gives. Raises `CanonicalError`."""
    pieces: list[str] = []
    try:
        _write(value, pieces)
        return "".join(pieces).encode("utf-8")
    except UnicodeEncodeError:
        raise CanonicalError("a text has half of a surrogate pair") from None
    except RecursionError:
        raise CanonicalError("the value is nested too deeply") from None


def decode(data: bytes, *, floats: bool = True) -> Any:
    """Strictly one JSON document: no name twice, no NaN, no fraction unless ``floats``. Raises `CanonicalError`."""
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse,
            parse_float=None if floats else _refuse,
        )
    except RecursionError:
        raise CanonicalError("the document is nested too deeply") from None
    except ValueError as error:
        raise CanonicalError(str(error)) from None


def number(value: float) -> str:
    """A number as ECMAScript writes it (ECMA-262, section 6.1.6.1.20), which is what RFC 8785 prescribes."""
    # Python's repr has the same shortest digits; only where the point and the exponent stand differs, and mostly not.
    text = repr(value)
    if text[-2:] != ".0" and "e" not in text and "n" not in text:
        return text
    if not math.isfinite(value):
        raise CanonicalError(f"{value} is no JSON number")
    if value == 0:
        return "0"
    mantissa, _, exponent = text.removeprefix("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    significant = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(significant))
    return ("-" if value < 0 else "") + _placed(significant.rstrip("0"), point)


def _placed(digits: str, point: int) -> str:
    """``digits`` with the decimal point ``point`` places from their left."""
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"


def _write(value: Any, pieces: list[str]) -> None:
    if isinstance(value, str):
        pieces.append(_string(value))
    elif value is None:
        pieces.append("null")
    elif isinstance(value, bool):
        pieces.append("true" if value else "false")
    elif isinstance(value, int):
        pieces.append(_integer(value))
    elif isinstance(value, float):
        pieces.append(number(value))
    elif isinstance(value, dict):
        _write_object(value, pieces)
    elif isinstance(value, list | tuple):
        _write_list(value, pieces)
    else:
        raise CanonicalError(f"{type(value).__name__} is no JSON type")


def _integer(value: int) -> str:
    if not -LARGEST <= value <= LARGEST:
        raise CanonicalError("an integer is beyond 2^53 - 1")
    return str(value)


def _write_object(value: dict[Any, Any], pieces: list[str]) -> None:
    lead = "{"
    for name in sorted(value, key=_order):
        pieces.append(f"{lead}{_string(name)}:")
        _write(value[name], pieces)
        lead = ","
    pieces.append("}" if value else "{}")


def _write_list(value: list[Any] | tuple[Any, ...], pieces: list[str]) -> None:
    if len(value) > MANY and set(map(type, value)) == {float}:  # a vector
        pieces.append(f"[{','.join(map(number, value))}]")
        return
    lead = "["
    for item in value:
        pieces.append(lead)
        _write(item, pieces)
        lead = ","
    pieces.append("]" if value else "[]")


def _order(name: Any) -> bytes:
    """Names sort by their UTF-16 code units (RFC 8785, section 3.2.3)."""
    if not isinstance(name, str):
        raise CanonicalError("an object's names are texts")
    return name.encode("utf-16-be", "surrogatepass")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CanonicalError("an object has the same name twice")
    return found


def _refuse(text: str) -> Any:
    raise CanonicalError(f"the number {text[:40]} is not allowed here")
