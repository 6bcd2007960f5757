"""Signatures of the one form: published vectors, three other libraries as judges, strictness."""

from __future__ import annotations

import base64
import hashlib
import json

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.jwk import ECKey

from sealgate.formats import jws
from sealgate.formats.jws import JwsError

# RFC 6979, appendix A.2.5: P-256 with SHA-256.
RFC6979 = {
    b"sample": (
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
    ),
    b"test": (
        "F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367",
        "019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083",
    ),
}
RFC6979_KEY = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721

KEY = ec.derive_private_key(1234567, ec.SECP256R1())
PUBLIC = jws.jwk(KEY.public_key())


def compact(payload: bytes = b"{}") -> str:
    head = jws.b64(jws.header("receipt+jwt", jws.thumbprint(PUBLIC)))
    signing_input = f"{head}.{jws.b64(payload)}"
    return f"{signing_input}.{jws.b64(jws.sign(KEY, hashlib.sha256(signing_input.encode()).digest()))}"


@pytest.mark.parametrize(("message", "wanted"), RFC6979.items())
def test_nonces_are_those_of_rfc_6979_and_s_is_the_lower_one(message: bytes, wanted: tuple[str, str]) -> None:
    r, s = (int(part, 16) for part in wanted)
    signature = jws.sign(ec.derive_private_key(RFC6979_KEY, ec.SECP256R1()), hashlib.sha256(message).digest())
    assert signature == r.to_bytes(32) + min(s, jws.ORDER - s).to_bytes(32)


def test_the_higher_s_is_a_second_valid_signature_here_as_everywhere() -> None:
    """Which is why the log commits to what was signed and not to the signature."""
    signature = jws.sign(KEY, hashlib.sha256(b"x").digest())
    twin = signature[:32] + (jws.ORDER - int.from_bytes(signature[32:])).to_bytes(32)
    assert jws.verify(KEY.public_key(), b"x", signature)
    assert jws.verify(KEY.public_key(), b"x", twin)
    assert not jws.verify(KEY.public_key(), b"y", signature)
    for wrong in (b"", signature[:63], signature + b"\0", bytes(64), b"\xff" * 64):
        assert not jws.verify(KEY.public_key(), b"x", wrong)


def test_joserfc_and_pyjwt_and_plain_cryptography_verify_it() -> None:
    token = compact(b'{"a":1}')
    public = {**PUBLIC, "alg": "ES256"}
    assert joserfc_jws.deserialize_compact(token, ECKey.import_key(public), algorithms=["ES256"]).payload == b'{"a":1}'
    assert jwt.api_jws.decode(token, jwt.PyJWK.from_dict(public).key, algorithms=["ES256"]) == b'{"a":1}'
    taken = jws.parse(token)
    der = encode_dss_signature(int.from_bytes(taken.signature[:32]), int.from_bytes(taken.signature[32:]))
    KEY.public_key().verify(der, taken.signing_input, ec.ECDSA(hashes.SHA256()))


def test_a_thumbprint_is_that_of_rfc_7638() -> None:
    assert jws.thumbprint({**PUBLIC, "kid": "other"}) == ECKey.import_key(PUBLIC).thumbprint()
    members = json.dumps(PUBLIC, sort_keys=True, separators=(",", ":")).encode()
    assert jws.unb64(jws.thumbprint(PUBLIC)) == hashlib.sha256(members).digest()


@given(st.binary(max_size=200))
def test_base64url_is_that_of_the_standard_library_without_padding(data: bytes) -> None:
    text = base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert jws.b64(data) == text
    assert jws.unb64(text) == data


@pytest.mark.parametrize("text", ["QQ==", "Q", "QR", "Q+", "Q/", "QQ\n", " QQ", "Q Q", "é", "QUJ="])
def test_other_spellings_of_base64url_are_refused(text: str) -> None:
    """``QR`` decodes to the same byte as ``QQ``: trailing bits that carry nothing must be zero."""
    with pytest.raises(JwsError):
        jws.unb64(text)


def _with_header(text: str) -> str:
    return ".".join([jws.b64(text.encode()), *compact().split(".")[1:]])


@pytest.mark.parametrize(
    "token",
    [
        "", "a.b", "a.b.c.d", compact() + "\n", " " + compact(), compact().replace(".", "..", 1),
        _with_header('{"alg":"ES256","alg":"none","kid":"k","typ":"t"}'), _with_header('{"typ":"t","alg":"ES256"}'),
        _with_header('{"alg": "ES256"}'), _with_header("[]"), _with_header("1"), _with_header("nonsense"),
        _with_header('{"a":1.0}'),
    ],
)  # fmt: skip
def test_row_h20_what_is_not_exactly_of_that_form_is_refused(token: str) -> None:
    with pytest.raises(JwsError):
        jws.parse(token)


@pytest.mark.parametrize(
    "key",
    [
        {}, {**PUBLIC, "kty": "RSA"}, {**PUBLIC, "crv": "P-384"}, {**PUBLIC, "x": PUBLIC["y"]}, {**PUBLIC, "x": "AA"},
        {**PUBLIC, "y": None}, {**PUBLIC, "x": PUBLIC["x"] + "="},
    ],
)  # fmt: skip
def test_what_is_no_key_of_p_256_is_refused(key: dict[str, str]) -> None:
    with pytest.raises(JwsError):
        jws.public_key(key)
