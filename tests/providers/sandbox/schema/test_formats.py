"""String formats: written so that others accept them, told apart from what is none."""

from __future__ import annotations

import jsonschema
import pytest

from sealgate.providers.sandbox.chance import Chance
from sealgate.providers.sandbox.schema.formats import FORMATS, holds

JUDGE = jsonschema.Draft202012Validator.FORMAT_CHECKER


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_of_the_format(name: str) -> None:
    """By our own test, and by ``jsonschema``'s where it has one."""
    for seed in range(60):
        text = FORMATS[name].write(Chance(seed))
        assert holds(name, text)
        JUDGE.check(text, name)


WRONG = {
    "date": ["2024-13-01", "20240101", "2024-1-1", "2023-02-29", ""],
    "time": ["25:00:00Z", "12:00", "12:00:00"],
    "date-time": ["2024-01-01", "2024-01-01 10:00:00Z", "2024-01-01T10:00:00", "2024-02-30T10:00:00Z"],
    "duration": ["P", "PT", "1D", "P1H", "P1DT"],
    "email": ["a", "a@", "@b", "a b@c"],
    "hostname": ["-a.b", "a..b", "a b", "a" * 64, ""],
    "ipv4": ["1.2.3", "256.1.1.1", "01.2.3.4"],
    "ipv6": ["1::2::3", "fe80::1%eth0", "12345::"],
    "uri": ["/a", "a b:c", "http"],
    "uri-reference": ["a b", "é"],
    "uuid": ["1234", "x" * 36, "{12345678-1234-1234-1234-123456789012}"],
    "json-pointer": ["a", "/~2"],
    "relative-json-pointer": ["/a", "01/a", "-1"],
    "regex": ["(", "[a"],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_of_the_format_is_told(name: str) -> None:
    """A list of near misses."""
    assert [text for text in WRONG[name] if holds(name, text)] == []


def test_a_format_not_known_holds_everything() -> None:
    """Formats are annotations unless we know them."""
    assert holds("colour", "anything")
