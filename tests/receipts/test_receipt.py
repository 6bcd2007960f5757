"""Receipts to the byte: vectors, and three other libraries that must agree."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import jwt
import pytest
import rfc8785
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.jwk import ECKey
from tests.receipts import golden

from sealgate.formats import canonical, jws, leaves
from sealgate.receipts import receipt

PUBLIC = golden.key_set()["keys"][0]


@pytest.mark.parametrize("vector", golden.FINAL, ids=lambda vector: vector["name"])
def test_p26_a_vector_gives_its_receipt_to_the_byte(vector: dict[str, Any]) -> None:
    made = golden.issued(vector)
    assert made == vector["jws"]
    assert leaves.of_jws(made).decode() == vector["leaf"]
    assert leaves.hash_of(vector["leaf"].encode()).hex() == vector["leaf_hash"]


@pytest.mark.parametrize("vector", golden.FINAL, ids=lambda vector: vector["name"])
def test_p26_other_libraries_verify_a_vector(vector: dict[str, Any]) -> None:
    """P26: signature by joserfc, PyJWT and plain cryptography, canonical form by rfc8785, digests by hashlib alone."""
    payload = joserfc_jws.deserialize_compact(vector["jws"], ECKey.import_key(PUBLIC), algorithms=["ES256"]).payload
    assert jwt.api_jws.decode(vector["jws"], jwt.PyJWK.from_dict(PUBLIC).key, algorithms=["ES256"]) == payload
    signed, _, encoded = vector["jws"].rpartition(".")
    x, y, signature = (base64.urlsafe_b64decode(part + "==") for part in (PUBLIC["x"], PUBLIC["y"], encoded))
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    point.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
    claims = json.loads(payload)
    assert rfc8785.dumps(claims) == payload
    salt = bytes.fromhex(vector["salt"])

    def digest(label: bytes, data: bytes) -> str:
        return jws.b64(hashlib.sha256(salt + label + b"\0" + data).digest())

    assert claims["request"]["wire"] == digest(b"request.wire", vector["request"].encode())
    assert claims["response"]["wire"] == digest(b"response.wire", vector["response"].encode())
    if vector["choices"] is not None:
        assert claims["request"]["jcs"] == digest(b"request.jcs", rfc8785.dumps(json.loads(vector["request"])))
        assert claims["response"]["content"] == digest(b"response.content", rfc8785.dumps(vector["choices"]))
        assert claims["forwarded"]["wire"] == digest(b"forwarded.wire", vector["sent"].encode())


def test_the_vector_of_the_older_form_holds_for_encoding_signature_and_entry() -> None:
    signer = golden.signer()
    assert signer.kid == "DXzns-NVJDMJKuOpGjQ5qJlM8NX-opSb9c74JW63p0k"
    assert (PUBLIC["x"], PUBLIC["y"]) == (
        "IMlH1QwUS_exJyldxgK0BFYtFNnMaRHDWZ630t0ZXiE", "XW78hJrydel1tU7Koy49FLdL3iZ-y7Ysou8qlh9DrXE",
    )  # fmt: skip
    assert len(golden.FIRST_PAYLOAD) == 965
    assert hashlib.sha256(golden.FIRST_PAYLOAD).hexdigest() == (
        "c7dea5067eeb744aa6db2e3b3aebe416807fe31e39711b76da701ce553d03a93"
    )
    assert canonical.encode(canonical.decode(golden.FIRST_PAYLOAD)) == golden.FIRST_PAYLOAD
    older = signer._replace(head=jws.b64(jws.header("gw-receipt+jwt", signer.kid)).encode() + b".")
    token = older.sign(golden.FIRST_PAYLOAD)
    signed, _, signature = token.rpartition(".")
    assert hashlib.sha256(signed.encode()).hexdigest() == (
        "efba7cc2da0c19e71b7f8bf85c9d58cf1f63864ff7007ed666d36c5cdff9191e"
    )
    assert signature == "OE3d1vW3Grqa0taTpIfaRsMvEeUVbqNMfjuI8EjDlRxIymrPG9Vrw1wuHgRbHiCYIyoMvaZzwtYtA-fIBttMcw"
    leaf = leaves.of_jws(token)
    assert leaf == b'{"rc":"77p8wtoMGecbf4v4XJ1Yzx9jhk_3AH7WZtNsXN_5GR4","t":"receipt","v":1}'
    assert leaves.hash_of(leaf).hex() == "ae92634eb78cb41a15ae3960bf31c2445445e55b68b0dbac2516a4b5ff184057"


@pytest.mark.parametrize(
    ("label", "place", "data"),
    [
        ("req.wire", ("req", "wire"), golden.FIRST_REQUEST),
        ("req.jcs", ("req", "jcs"), rfc8785.dumps(json.loads(golden.FIRST_REQUEST))),
        ("fwd.wire", ("fwd", "wire"), golden.FIRST_REQUEST),
        ("res.wire", ("res", "wire"), golden.FIRST_RESPONSE),
        ("res.content", ("res", "content"), rfc8785.dumps(golden.FIRST_CHOICES)),
    ],
)
def test_the_older_vectors_digests_are_made_as_today_but_for_their_labels(
    label: str, place: tuple[str, str], data: bytes
) -> None:
    part, name = place
    assert json.loads(golden.FIRST_PAYLOAD)[part][name] == receipt.digest(golden.FIRST_SALT, label, data)


numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1000, 1000)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
documents = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(documents)
def test_the_fast_way_to_canonical_bytes_is_the_slow_one(value: Any) -> None:
    try:
        wanted = rfc8785.dumps(value)
    except (rfc8785.IntegerDomainError, rfc8785.FloatDomainError):
        wanted = None
    assert receipt.canonical_or_none(value) == wanted


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_that_are_left_to_the_fast_encoder_are_written_alike(value: float) -> None:
    assert receipt.canonical_or_none([value]) == b"[%b]" % canonical.number(value).encode()


@given(st.lists(st.binary(max_size=40) | st.integers(0, 40_000).map(bytes), max_size=5))
def test_bytes_that_come_in_pieces_are_digested_as_if_they_came_at_once(pieces: list[bytes]) -> None:
    wire = receipt.Wire(golden.FIRST_SALT, "response.wire")
    for piece in pieces:
        wire.add(piece)
    whole = b"".join(pieces)
    assert (wire.size, wire.digest()) == (len(whole), receipt.digest(golden.FIRST_SALT, "response.wire", whole))
