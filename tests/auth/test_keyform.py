"""What keys look like, how strong they are taken to be, and what is kept of them."""

import base64
import hashlib
import hmac
import random
import string

import pytest

from sealgate.auth import keyform
from sealgate.errors import Problem

HEX = "0123456789abcdef"


def drawn(length: int, alphabet: str = HEX, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


SEED_FORMATS = ["tr-" + drawn(96), "sk-osiris-" + drawn(32), "sk-Xy3Zw9." + drawn(64)]
WORDS = string.ascii_letters + string.digits


def refusal(key: str) -> str:
    with pytest.raises(Problem) as caught:
        keyform.plain_key(key)
    assert caught.value.code.name == "invalid_parameter"
    return caught.value.message


def test_an_own_key_is_its_prefix_and_43_characters_of_which_12_are_shown() -> None:
    made = keyform.own_key(bytes(range(32)))

    assert made.key == "sk-sealgate-" + base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("=")
    assert len(made.key) == 12 + 43
    assert made.lookup == made.key[12:24]
    assert made.key_prefix == made.key[:24]
    assert made.sha256 == hashlib.sha256(made.key.encode()).digest()


def test_an_own_key_is_looked_for_by_its_look_up_id_first() -> None:
    made = keyform.own_key(bytes(32))

    first, *others = keyform.candidates(made.key.encode(), [])
    assert first == (made.lookup, made.sha256)
    assert [other.lookup for other in others] == [made.sha256.hex()[:16]]


@pytest.mark.parametrize("key", SEED_FORMATS)
def test_keys_of_the_known_formats_are_found_by_their_hash(key: str) -> None:
    made = keyform.plain_key(key)

    assert made.lookup == hashlib.sha256(key.encode()).hexdigest()[:16]
    assert (made.lookup, made.sha256) in keyform.candidates(key.encode(), [])


def test_every_shape_of_credential_gives_as_many_candidates() -> None:
    shapes = [keyform.own_key(bytes(32)).key.encode(), b"tr-" + b"a" * 96, b"", b"' OR 1=1 --", b"a.b.c" * 3000]

    assert {len(keyform.candidates(shape, [b"one", b"two"])) for shape in shapes} == {4}


def test_no_other_credential_can_have_the_look_up_id_of_an_own_key() -> None:
    almost = [b"sk-sealgate-" + b"k" * 42, b"sk-sealgate-" + b"k" * 44, b"SK-sealgate-" + b"k" * 43]

    assert {keyform.candidates(credential, [])[0].lookup for credential in almost} == {"-"}


def test_a_salted_hash_is_matched_by_hashing_the_prefix_before_the_key() -> None:
    salted = hashlib.sha256(b"acme:" + b"the-key").hexdigest()
    made = keyform.hashed_key(salted.upper(), salted=True)

    assert (made.lookup, made.sha256) in keyform.candidates(b"the-key", [b"other", b"acme:"])
    assert (made.lookup, made.sha256) not in keyform.candidates(b"the-key", [b"other"])
    assert (made.lookup, made.sha256) not in keyform.candidates(b"acme:the-key", [b"other", b"acme:"])


def test_the_digest_is_an_hmac_of_the_hash_under_the_pepper() -> None:
    sha256 = hashlib.sha256(b"key").digest()

    assert keyform.digest_of(b"pepper", sha256) == hmac.new(b"pepper", sha256, "sha256").digest()


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [
        (SEED_FORMATS[0], 384, 384),
        (SEED_FORMATS[1], 128, 128),
        (SEED_FORMATS[2], 256, 300),
        ("sk-proj-" + drawn(156, WORDS + "-_"), 900, 940),
        (drawn(22, WORDS), 128, 132),
        ("AIza" + drawn(35, WORDS), 200, 240),
    ],
)
def test_the_strength_of_usual_keys(key: str, least: float, most: float) -> None:
    assert least <= keyform.strength(key) <= most


@pytest.mark.parametrize(
    "key",
    [
        "hunter2",
        "sk-osiris-" + drawn(31),
        drawn(21, WORDS),
        drawn(38, string.digits),
        "a" * 400,
        "abab" * 100,
        "sk-test-key-for-the-development-server-only",
        "0b8f3c1e-7a4d-4f7e-9d2a-6c5b4a392817",
        "tr-0b8f3c1e-7a4d-4f7e-9d2a-6c5b4a392817",
    ],
)
def test_keys_that_could_be_guessed_are_refused(key: str) -> None:
    assert "at least 128 bits" in refusal(key)


@pytest.mark.parametrize("key", ["", "two words" * 10, "line\nbreak" * 10, "schlüssel" * 10, "k" * 513])
def test_what_cannot_be_sent_as_a_credential_is_no_key(key: str) -> None:
    assert "printable ASCII" in refusal(key)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("$2b$12$LQv3c1yqBWVHxkd0LHAkCOYz6TtxMQJqhN8/LewKyNiAYMyzJ/I1K", "bcrypt"),
        ("$2y$10$LQv3c1yqBWVHxkd0LHAkCOYz6TtxMQJqhN8/LewKyNiAYMyzJ/I1K", "bcrypt"),
        ("$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$hashhashhashhash", "'argon2id'"),
        ("$pbkdf2-sha256$29000$N2YMIWQsBWBMae09x1jrPQ$1t8iyB2A", "'pbkdf2-sha256'"),
    ],
)
def test_slow_hashes_are_refused_by_name_wherever_they_are_given(text: str, name: str) -> None:
    assert name in refusal(text)
    with pytest.raises(Problem, match=name):
        keyform.hashed_key(text)


@pytest.mark.parametrize("text", ["", "12ab", "g" * 64, "a" * 65, "sha256:" + "a" * 64])
def test_a_hash_is_64_hex_digits(text: str) -> None:
    with pytest.raises(Problem, match="64 hex digits"):
        keyform.hashed_key(text)


def test_the_hash_of_nothing_is_refused() -> None:
    with pytest.raises(Problem, match="nothing at all"):
        keyform.hashed_key(hashlib.sha256(b"").hexdigest())


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (SEED_FORMATS[0], SEED_FORMATS[0][:14]),
        (SEED_FORMATS[1], SEED_FORMATS[1][:14]),
        (SEED_FORMATS[2], SEED_FORMATS[2][:14]),
        (drawn(32), drawn(32)[:4]),
    ],
)
def test_an_imported_key_is_shown_by_a_head_that_leaves_112_bits_unsaid(key: str, shown: str) -> None:
    assert keyform.plain_key(key).key_prefix == shown
    assert keyform.strength(key[len(shown) :]) >= 112


def test_a_key_known_by_its_hash_is_shown_by_the_head_of_the_hash() -> None:
    assert keyform.hashed_key("AB" * 32).key_prefix == "sha256:" + "ab" * 6
