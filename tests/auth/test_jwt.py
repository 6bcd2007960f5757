"""Tokens as bytes and sets of keys (rows B9 and B10), with another library as the judge."""

import base64
import json
from typing import Any

import jwt as judge
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk

from sealgate.auth.claims import Refused
from sealgate.auth.jwt import NO_KEYS, look_into, read_keys, verified
from sealgate.testing.issuer import compact, make_key, signed

ES256 = make_key("ES256", "one")
CLAIMS = {"iss": "https://id.corp.example/", "sub": "alice"}


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": [key if isinstance(key, dict) else key.as_dict(private=False) for key in keys]}).encode()


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value.reason


@pytest.mark.parametrize(
    "algorithm",
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
)
def test_what_another_library_signed_is_verified_by_every_algorithm(algorithm: str) -> None:
    kind = {"RS": "RS256", "PS": "RS256", "Ed": "EdDSA"}.get(algorithm[:2], algorithm)
    key = KEYS.setdefault(kind, make_key(kind, kind))
    public = {name: value for name, value in key.as_dict(private=False).items() if name != "alg"}
    keys = read_keys(document(public), [algorithm])
    if algorithm == "Ed25519":  # a name from RFC 9864 that the judge does not know
        token = signed({"alg": algorithm, "kid": kind}, CLAIMS, key).encode()
    else:
        token = judge.encode(CLAIMS, key.as_pem(private=True), algorithm, {"kid": kind}).encode()
    assert look_into(token)[:3] == (CLAIMS["iss"], algorithm, kind)
    assert verified(token, keys.find(kind), algorithm) == CLAIMS
    head, payload, signature = token.split(b".")
    for changed in (
        b".".join((head, _flip(payload), signature)),
        b".".join((_flip(head), payload, signature)),
        b".".join((head, payload, _flip(signature))),
        b".".join((head, payload, b"")),
        b".".join((head, payload, signature[:-4])),
    ):
        assert refused(verified, changed, keys.find(kind), algorithm) == "signature"


KEYS: dict[str, Any] = {}


def _flip(part: bytes) -> bytes:
    middle = len(part) // 2
    return part[:middle] + (b"A" if part[middle : middle + 1] != b"A" else b"B") + part[middle + 1 :]


@pytest.mark.parametrize(
    "token",
    [b"a.b.c", b"..", b"e30.e30", b"e30.e30.c.d", b"W10.e30.c", b"e30.W10.c", b"e30.bnVsbA.c", b"e30.e30.c.", b"A.A.A",
     base64.urlsafe_b64encode(b"[" * 9000).rstrip(b"=") + b".e30.c", b"eyJhIjoi-3_.e30.c"],
)  # fmt: skip
def test_what_is_no_token_is_refused(token: bytes) -> None:
    assert refused(look_into, token) in ("malformed", "algorithm")


@pytest.mark.parametrize(
    ("header", "reason"),
    [({"crit": []}, "crit"), ({"crit": ["exp"], "exp": 1}, "crit"), ({"b64": True}, "crit"), ({"alg": 7}, "algorithm"),
     ({"alg": None}, "algorithm"), ({"kid": 7}, "malformed"), ({"kid": "k" * 1025}, "malformed"),
     ({"typ": ["JWT"]}, "malformed")],
)  # fmt: skip
def test_a_header_that_asks_for_too_much_is_refused(header: dict[str, Any], reason: str) -> None:
    token = compact({"alg": "ES256", "kid": "one", **header}, CLAIMS, lambda _: b"x").encode()
    assert refused(look_into, token) == reason


def test_only_the_algorithm_that_was_asked_for_is_used() -> None:
    """Whatever the token's head says at the second look."""
    secret = ES256.as_pem(private=False)
    keys = read_keys(document(ES256), ["ES256"]).find("one")
    for header in ({"alg": "none"}, {"alg": "HS256"}, {"alg": "RS256"}):
        token = compact({**header, "kid": "one"}, CLAIMS, lambda data: _hmac(secret, data)).encode()
        assert refused(verified, token, keys, "ES256") == "signature"
    for algorithm in ("none", "HS256", "ES384", "ES512", "ES257", ""):
        assert refused(verified, signed({"alg": "ES256"}, CLAIMS, ES256).encode(), keys, algorithm) == "signature"


def _hmac(secret: bytes, data: bytes) -> bytes:
    import hmac

    return hmac.digest(secret, data, "sha256")


USELESS: dict[str, Any] = {
    "a shared secret": {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ", "kid": "x"},
    "a private key": ES256.as_dict(private=True),
    "a key for encryption": ES256.as_dict(private=False) | {"use": "enc"},
    "a key that may not verify": ES256.as_dict(private=False) | {"key_ops": ["sign"]},
    "a key for another algorithm": ES256.as_dict(private=False) | {"alg": "ES384"},
    "a key of another kind": jwk.OKPKey.generate_key("Ed25519").as_dict(private=False),
    "a key on another curve": jwk.ECKey.generate_key("P-384").as_dict(private=False),
    "a key for agreements": jwk.OKPKey.generate_key("X25519").as_dict(private=False),
    "a short RSA key": {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(b"\x80" + b"\1" * 127).decode()},
    "a point that is not on the curve": ES256.as_dict(private=False) | {"y": ES256.as_dict(private=False)["x"]},
    "a key without its parts": {"kty": "EC", "crv": "P-256"},
    "a key whose parts are no text": {"kty": "EC", "crv": "P-256", "x": 1, "y": [2]},
    "a kid that is no text": ES256.as_dict(private=False) | {"kid": 7},
    "operations that are no list": ES256.as_dict(private=False) | {"key_ops": 7},
    "no object": "key",
    "null": None,
}


@pytest.mark.parametrize("name", USELESS)
def test_a_key_that_cannot_be_used_is_passed_over(name: str) -> None:
    useless = json.dumps(USELESS[name])
    other = json.dumps(make_key("ES256", "good").as_dict(private=False))
    found = read_keys(f'{{"keys": [{useless}, {other}, {useless}]}}'.encode(), ["ES256", "ES512", "RS256"])
    assert list(found.by_kid) == ["good"]
    with pytest.raises(ValueError, match="none of its keys"):
        read_keys(f'{{"keys": [{useless}]}}'.encode(), ["ES256", "RS256"])


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b'{"keys": {}}', b'{"keys": null}', b"<html>", b"\xff"])
def test_what_is_no_set_of_keys_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="what came is not"):
        read_keys(data, ["ES256"])


def test_certificates_beside_a_key_need_not_be_sound() -> None:
    odd = ES256.as_dict(private=False) | {"x5c": "not a list", "x5t": 7, "own": {}, "key_ops": None}
    assert list(read_keys(document(odd), ["ES256"]).by_kid) == ["one"]


def test_a_kid_is_only_a_name() -> None:
    names = ["../../dev/null", "' OR 1=1 --", "https://evil.example/", "", "K", "k"]
    found = read_keys(document(*(make_key("ES256", name) for name in names if name)), ["ES256"])
    for name in names:
        assert [key.kid for key in found.find(name)] == ([name] if name else [])


def test_two_keys_of_one_name_are_both_tried() -> None:
    other = make_key("ES256", "one")
    keys = read_keys(document(other, ES256), ["ES256"]).find("one")
    for key in (ES256, other):
        assert verified(signed({"alg": "ES256", "kid": "one"}, CLAIMS, key).encode(), keys, "ES256") == CLAIMS


def test_a_token_without_a_kid_means_the_only_key() -> None:
    assert len(read_keys(document(ES256), ["ES256"]).find(None)) == 1
    assert read_keys(document(ES256, make_key("ES256", "two")), ["ES256"]).find(None) == ()
    assert NO_KEYS.find(None) == ()


def test_a_long_head_and_a_long_signature_are_read() -> None:
    """Real issuers put chains of certificates into the head."""
    token = signed({"alg": "ES256", "kid": "one", "x5c": ["A" * 4000]}, CLAIMS, ES256).encode()
    assert verified(token, read_keys(document(ES256), ["ES256"]).find("one"), "ES256") == CLAIMS


PART = st.binary(max_size=40).map(lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")) | st.sampled_from(
    [signed({"alg": "ES256", "kid": "one"}, CLAIMS, ES256).encode().split(b".")[index] for index in range(3)]
)
USED = read_keys(document(ES256), ["ES256"]).find("one")


@given(st.lists(PART, min_size=3, max_size=3))
def test_whatever_comes_is_read_or_refused(parts: list[bytes]) -> None:
    token = b".".join(parts)
    outcomes = []
    for call in (lambda: look_into(token), lambda: verified(token, USED, "ES256")):
        try:
            call()
        except Refused as caught:
            outcomes.append(caught.reason)
    assert set(outcomes) <= {"malformed", "algorithm", "issuer", "signature", "crit"}
