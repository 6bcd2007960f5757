"""The string formats of JSON Schema (2020-12 validation, section 7.3): how to write one, and how to tell one.

Formats not listed are annotations, as the specification allows; ``url`` is not in it, but written all the same.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import uuid
from collections.abc import Callable
from typing import NamedTuple

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.grammar.regex import compiled
from sealgate.providers.sandbox.refused import UnsupportedError
from sealgate.providers.sandbox.words import WORDS


class Format(NamedTuple):
    """How a string of this format is written, and the test that tells one."""

    write: Callable[[Chance], str]
    holds: Callable[[str], bool]


def _word(chance: Chance) -> str:
    return chance.pick(WORDS)


def _date(chance: Chance) -> str:
    return f"20{chance.below(10) + 20}-{chance.below(12) + 1:02d}-{chance.below(28) + 1:02d}"


def _time(chance: Chance) -> str:
    return f"{chance.below(24):02d}:{chance.below(12) * 5:02d}:00Z"


def _duration(chance: Chance) -> str:
    return chance.pick((f"PT{chance.below(59) + 1}M", f"P{chance.below(13) + 1}D", f"P1DT{chance.below(23) + 1}H"))


def _uuid(chance: Chance) -> str:
    return str(uuid.UUID(int=chance.bits() << 64 | chance.bits(), version=4))


def _ipv4(chance: Chance) -> str:
    return f"192.0.2.{chance.below(254) + 1}"  # RFC 5737: addresses for documentation


def _ipv6(chance: Chance) -> str:
    return f"2001:db8::{chance.below(0xFFFE) + 1:x}"  # RFC 3849, the same


def _host(chance: Chance) -> str:
    return f"{_word(chance)}.example"


def _pointer(chance: Chance) -> str:
    return f"/{_word(chance)}/{chance.below(10)}"


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


def _succeeds(read: Callable[[str], object], pattern: str) -> Callable[[str], bool]:
    """A test by a reader of the standard library, and by a pattern where the reader takes too much."""
    form = re.compile(pattern)

    def holds(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return form.fullmatch(text) is not None

    return holds


def _is_regex(text: str) -> bool:
    try:
        compiled(text)
    except UnsupportedError:
        return False
    return True


_EMAIL = r"[^@\s]{1,64}@[^@\s]{1,255}"
_URI = r"[A-Za-z][A-Za-z0-9+.-]*:[!#-;=?-\[\]_a-z~%]*"
_REFERENCE = r"[!#-;=?-\[\]_a-z~%]*"
_HOST = (
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_POINTER = r"(?:/(?:[^~/]|~[01])*)*"
_DURATION = r"P(?:\d+W|(?=[\dT])(?:\d+Y)?(?:\d+M)?(?:\d+D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+S)?)?)"
_CLOCK = r"\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)"


def _clock(text: str) -> object:
    return datetime.time.fromisoformat(text.upper())


_uri = Format(lambda chance: f"https://example.com/{_word(chance)}", _matches(_URI))
_reference = Format(lambda chance: f"/{_word(chance)}/{_word(chance)}", _matches(_REFERENCE))
_email = Format(lambda chance: f"{_word(chance)}@example.com", _matches(_EMAIL))
_hostname = Format(_host, _matches(_HOST))

FORMATS: dict[str, Format] = {
    "date": Format(_date, _succeeds(datetime.date.fromisoformat, r"\d{4}-\d\d-\d\d")),
    "time": Format(_time, _succeeds(_clock, _CLOCK)),
    "date-time": Format(
        lambda chance: f"{_date(chance)}T{_time(chance)}",
        _succeeds(lambda text: datetime.datetime.fromisoformat(text.upper()), r"\d{4}-\d\d-\d\d[Tt]" + _CLOCK),
    ),
    "duration": Format(_duration, _matches(_DURATION)),
    "email": _email,
    "idn-email": _email,
    "hostname": _hostname,
    "idn-hostname": _hostname,
    "ipv4": Format(_ipv4, _succeeds(ipaddress.IPv4Address, r".*")),
    "ipv6": Format(_ipv6, _succeeds(ipaddress.IPv6Address, r"[^%]*")),
    "uri": _uri,
    "url": Format(_uri.write, lambda _: True),
    "iri": _uri,
    "uri-reference": _reference,
    "iri-reference": _reference,
    "uri-template": Format(lambda chance: f"https://example.com/{_word(chance)}/{{id}}", lambda text: " " not in text),
    "uuid": Format(_uuid, _succeeds(uuid.UUID, r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")),
    "json-pointer": Format(_pointer, _matches(_POINTER)),
    "relative-json-pointer": Format(
        lambda chance: f"{chance.below(3)}{_pointer(chance)}", _matches(r"(?:0|[1-9]\d*)(?:#|" + _POINTER + ")")
    ),
    "regex": Format(lambda chance: f"^{_word(chance)}[0-9]+$", _is_regex),
}


def holds(name: str, text: str) -> bool:
    """Whether the text is of that format; true for a format that is not known."""
    known = FORMATS.get(name)
    return known is None or known.holds(text)
