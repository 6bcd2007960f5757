"""Content that is kept: it opens with all it was kept under, and with nothing else."""

import itertools

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealgate.auth.seal import SALT, Seal, context, hkdf

PEPPER = b"a pepper for tests, of 32 or more characters"
SEAL = Seal(PEPPER, "tests")


@pytest.mark.parametrize("content", [b"", b"x", bytes(100_000)])
def test_what_was_sealed_opens_again_in_another_process_too(content: bytes) -> None:
    sealed = SEAL.close(content, b"here")

    assert Seal(PEPPER, "tests").open(sealed, b"here") == content
    assert len(sealed) == len(content) + SALT + 16


@pytest.mark.parametrize(
    ("seal", "under"),
    [
        (SEAL, b"there"),
        (SEAL, b""),
        (Seal(PEPPER, "other"), b"here"),
        (Seal(PEPPER[:-1] + b"!", "tests"), b"here"),
    ],
)
def test_it_does_not_open_for_another_context_purpose_or_pepper(seal: Seal, under: bytes) -> None:
    assert seal.open(SEAL.close(b"content", b"here"), under) is None


def test_no_byte_of_it_can_be_changed_and_none_left_out() -> None:
    sealed = SEAL.close(b"content", b"here")
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        assert SEAL.open(changed, b"here") is None
        assert SEAL.open(sealed[:place], b"here") is None


def test_the_same_content_looks_different_each_time() -> None:
    assert len({SEAL.close(b"content", b"here") for _ in range(100)}) == 100


def test_a_name_is_the_same_for_the_same_context_and_tells_nothing_of_it() -> None:
    name = SEAL.name(b"a customer's secret")

    assert name == Seal(PEPPER, "tests").name(b"a customer's secret")
    assert len(name) == 32
    assert len({name, SEAL.name(b"another"), Seal(PEPPER, "other").name(b"a customer's secret")}) == 3


def test_no_two_lists_of_texts_are_the_same_context() -> None:
    parts = ["", "a", "b", "ab", "\0", "\x00\x00\x00\x01a", "ä", "\udc80"]
    lists = [found for length in range(4) for found in itertools.product(parts, repeat=length)]

    assert len({context(*found) for found in lists}) == len(lists)


@pytest.mark.parametrize("length", [1, 32, 33, 64, 100])
def test_keys_are_derived_as_the_rfc_says(length: int) -> None:
    assert hkdf(PEPPER, b"info", length) == HKDF(SHA256(), length, salt=None, info=b"info").derive(PEPPER)
    # RFC 5869, appendix A.3
    okm = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert hkdf(bytes([0x0B]) * 22, b"", 42).hex() == okm
