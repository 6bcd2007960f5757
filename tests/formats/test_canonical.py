"""Canonical JSON: the vectors of RFC 8785, agreement with another implementation, and strictness in reading."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sealgate.formats import canonical
from sealgate.formats.canonical import CanonicalError

# RFC 8785, appendix B: the bits of a double, and how ECMAScript writes it.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-canonical.LARGEST, canonical.LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_numbers_are_written_as_the_rfc_lists_them(bits: str, text: str) -> None:
    [value] = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical.number(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_is_written_as_the_judge_writes_it_and_reads_back(value: float) -> None:
    assert canonical.number(value).encode() == rfc8785.dumps(value)
    assert float(canonical.number(value)) == value


@given(values)
def test_any_document_is_written_as_the_judge_writes_it(value: Any) -> None:
    assert canonical.encode(value) == rfc8785.dumps(value)


@given(st.recursive(st.none() | st.booleans() | texts | st.integers(-canonical.LARGEST, canonical.LARGEST),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)))  # fmt: skip
def test_without_fractions_it_is_what_the_standard_library_writes_and_reads_back(value: Any) -> None:
    """But for the order of names beyond the BMP."""
    written = canonical.encode(value)
    assert canonical.encode(canonical.decode(written, floats=False)) == written
    plain = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(plain) == len(written)


def test_names_sort_by_utf16_and_not_by_code_point() -> None:
    """RFC 8785, section 3.2.3: a character beyond the BMP comes before U+FB33."""
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\xf6": 7}
    assert list(json.loads(canonical.encode(value))) == [
        "\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 2**53, -(2**53), "\ud800", {"\udfff": 1}, {1: 2}, b"bytes", {"a": object()}],
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(CanonicalError):
        canonical.encode(value)


def test_depth_without_end_is_refused_and_never_a_crash() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(CanonicalError):
        canonical.encode(deep)
    with pytest.raises(CanonicalError):
        canonical.decode(b"[" * 100_000)


@pytest.mark.parametrize(
    "data", [b'{"a":1,"a":2}', b"NaN", b"-Infinity", b"{", b"", b"\xff", b"1 2", b'{"a":{"b":1,"b":1}}', b"9" * 5000]
)
def test_reading_is_strict(data: bytes) -> None:
    with pytest.raises(CanonicalError):
        canonical.decode(data)


@pytest.mark.parametrize("data", [b"1.5", b'{"a":1.0}', b"1e2"])
def test_fractions_can_be_refused(data: bytes) -> None:
    assert canonical.decode(data) is not None
    with pytest.raises(CanonicalError):
        canonical.decode(data, floats=False)
