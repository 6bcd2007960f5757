"""Control headers: rows A13, C21, C22, C25 and C26."""

from collections.abc import Iterable

import pytest

from sealgate.api import controls
from sealgate.api.controls import Controls
from sealgate.errors import Problem


def read(*headers: tuple[str, str]) -> Controls:
    return of((n.encode(), v.encode("latin-1")) for n, v in headers)


def of(headers: Iterable[tuple[bytes, bytes]]) -> Controls:
    sent = list(headers)
    return controls.read(sent, dict(reversed(sent)), 600)


def test_nothing_said_is_nothing_wanted() -> None:
    assert read(("content-type", "application/json"), ("host", "x")) == controls.NONE


def test_every_control_is_read() -> None:
    found = read(
        ("x-tresor-receipt", "True"), ("x-tresor-nonce", "n 1"), ("x-tresor-timeout-seconds", "30"),
        ("x-sealgate-strict", "true"), ("x-stainless-read-timeout", "45.5"), ("idempotency-key", "k"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    )  # fmt: skip
    assert (found.receipt, found.nonce, found.timeout, found.strict, found.client_seconds) == (
        True, "n 1", 30, True, 45.25,
    )  # fmt: skip
    assert found.trace == {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "abc", "", "1e2", " 5", "+5", "٣"])
def test_row_c21_a_timeout_that_is_no_whole_positive_number(value: str) -> None:
    with pytest.raises(Problem, match="invalid_timeout_override"):
        of([(controls.TIMEOUT, value.encode())])


@pytest.mark.parametrize(
    ("value", "seconds"), [("600", 600), ("601", 600), ("10000", 600), ("9" * 40, 600), ("007", 7)]
)
def test_row_c22_a_long_timeout_is_clamped(value: str, seconds: float) -> None:
    assert read(("x-tresor-timeout-seconds", value)).timeout == seconds


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("x-tresor-receipt", "true", "duplicate_header"),
        ("x-sealgate-strict", "true", "duplicate_header"),
        ("x-tresor-nonce", "n", "invalid_nonce"),
        ("x-tresor-timeout-seconds", "5", "invalid_timeout_override"),
        ("idempotency-key", "k", "invalid_idempotency_key"),
    ],
)
def test_row_a13_a_control_sent_twice_is_refused_even_if_equal(name: str, value: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        read((name, value), (name, value))
    assert caught.value.code.name == code


@pytest.mark.parametrize("value", ["", "x" * 129, "a\tb", "ü"])
def test_row_c25_nonces(value: str) -> None:
    with pytest.raises(Problem, match="invalid_nonce"):
        read(("x-tresor-nonce", value))


@pytest.mark.parametrize("value", ["", "k" * 256, "ü"])
def test_row_c26_idempotency_keys_have_a_form(value: str) -> None:
    with pytest.raises(Problem, match="invalid_idempotency_key"):
        read(("idempotency-key", value))


@pytest.mark.parametrize("value", ["yes", "1", ""])
def test_a_receipt_is_wanted_or_not(value: str) -> None:
    with pytest.raises(Problem, match="invalid_receipt_header"):
        read(("x-tresor-receipt", value))


@pytest.mark.parametrize("value", ["None", "nan", "inf", "-3", "0"])
def test_an_sdk_without_a_read_timeout_sets_none(value: str) -> None:
    assert read(("x-stainless-read-timeout", value)).client_seconds is None
    assert read(("x-stainless-timeout", "20")).client_seconds == 19.75


@pytest.mark.parametrize("value", [b"\xff\xfe", b"a\tb", b""])
def test_a_trace_that_cannot_be_sent_on_is_left_out(value: bytes) -> None:
    assert of([(b"traceparent", value), (b"tracestate", b"a=b")]).trace == {"tracestate": "a=b"}
