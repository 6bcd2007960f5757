"""Which credential a request's headers carry, and which headers are refused (rows B1 and B2)."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealgate.auth.credential import credential_in, is_token_shaped, require_form
from sealgate.errors import Problem

KEY = b"sk-sealgate-" + b"k" * 43
TOKEN = b"eyJhbGciOiJFUzI1NiJ9." + b"p" * 9000 + b".c2ln"


def credential(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    found = credential_in(headers, dict(reversed(headers)))
    require_form(found)
    return found


def refusal(*headers: tuple[bytes, bytes]) -> str:
    with pytest.raises(Problem) as caught:
        credential(headers)
    assert caught.value.status == 401
    return caught.value.code.name


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer " + KEY,
        b"bearer " + KEY,
        b"BEARER " + KEY,
        b"Bearer   " + KEY + b"  ",
        b"Bearer\t" + KEY,
        KEY,
        b" " + KEY + b" ",
    ],
)
def test_a_bearer_credential_is_taken_in_any_case_and_without_its_scheme(value: bytes) -> None:
    assert credential([(b"host", b"x"), (b"authorization", value), (b"accept", b"*/*")]) == KEY


def test_an_anthropic_client_sends_x_api_key() -> None:
    assert credential([(b"x-api-key", KEY)]) == KEY


def test_both_headers_are_taken_if_they_agree() -> None:
    assert credential([(b"x-api-key", KEY), (b"authorization", b"Bearer " + KEY)]) == KEY


def test_both_headers_are_refused_if_they_differ() -> None:
    assert refusal((b"x-api-key", KEY), (b"authorization", b"Bearer other")) == "invalid_api_key"


@pytest.mark.parametrize("empty", [b"", b" ", b"Bearer", b"Bearer ", b"bearer\t"])
def test_a_header_without_a_credential_counts_as_none(empty: bytes) -> None:
    assert refusal((b"authorization", empty)) == "missing_api_key"
    assert credential([(b"authorization", empty), (b"x-api-key", KEY)]) == KEY


def test_no_header_is_a_missing_key() -> None:
    assert refusal() == "missing_api_key"
    assert refusal((b"host", b"x"), (b"x-api-key", b" ")) == "missing_api_key"


@pytest.mark.parametrize(
    "value",
    [
        b"Basic " + KEY,
        b"Token " + KEY,
        b"Bearer: " + KEY,
        b"Bearer Bearer " + KEY,
        b"Bearer " + KEY + b" " + KEY,
        b"Bearer " + KEY + b", Bearer " + KEY,
        b"Bearer k\xc3\xa9y",
        b"k\x00ey",
        b"k\x7fey",
        b"k\xa0ey",
        b"Bearer " + b"k" * 513,
        b"k" * 513,
        b"a." + b"b" * 600,
        b"a.b." + b"c" * 16384,
        b"a.b.c." + b"d" * 600,
        b"a.b!.c" + b"d" * 600,
    ],
)
def test_malformed_credentials_are_invalid(value: bytes) -> None:
    assert refusal((b"authorization", value)) == "invalid_api_key"


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key"])
def test_a_header_sent_twice_is_refused_even_if_both_are_equal(name: bytes) -> None:
    assert refusal((name, KEY), (b"host", b"x"), (name, KEY)) == "invalid_api_key"


def test_a_key_may_have_512_bytes_and_a_token_16_kib() -> None:
    longest = b"k" * 512
    token = b"a.b." + b"c" * (16 * 1024 - 4)

    assert credential([(b"authorization", b"Bearer " + longest)]) == longest
    assert credential([(b"authorization", b"Bearer " + token)]) == token
    assert credential([(b"authorization", TOKEN)]) == TOKEN


def test_a_token_has_three_base64url_parts_and_may_be_unsigned() -> None:
    assert is_token_shaped(TOKEN)
    assert is_token_shaped(b"a.b.")
    assert not is_token_shaped(KEY)
    assert not is_token_shaped(b".b.c")
    assert not is_token_shaped(b"a.b.c\n")


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"host"]), st.binary(max_size=40))))
def test_whatever_is_sent_gives_a_clean_credential_or_a_401(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        found = credential(headers)
    except Problem as problem:
        outcome = problem.code.name
    else:
        outcome = "taken" if found and all(0x21 <= byte <= 0x7E for byte in found) else "dirty"
    assert outcome in ("missing_api_key", "invalid_api_key", "taken")
