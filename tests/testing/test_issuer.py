"""The issuer of the kit is an honest one, by the judgment of another library, unless it is told not to be."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt as judge
import pytest
import requests

from sealgate.testing import Issuer, error


def public_key(issuer: Issuer, token: str) -> Any:
    kid = judge.get_unverified_header(token)["kid"]
    return next(key for key in judge.PyJWKSet.from_dict(issuer.jwks()).keys if key.key_id == kid)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA"])
def test_its_tokens_are_good_for_another_library(algorithm: str) -> None:
    issuer = Issuer(algorithm=algorithm)
    token = issuer.token("alice", email="alice@app.example", aud=["sealgate", "other"])
    issuer.rotate()
    for each in (token, issuer.token("alice", email="alice@app.example")):
        said = judge.decode(each, public_key(issuer, each), [algorithm], audience="sealgate", issuer=issuer.url)
        assert (said["sub"], said["email"], said["exp"] - said["iat"]) == ("alice", "alice@app.example", 3600)


def test_what_it_forges_is_good_for_nobody() -> None:
    issuer = Issuer()
    for token in (issuer.forged(), issuer.forged(embed=True), issuer.unsigned(), issuer.confused()):
        with pytest.raises(judge.InvalidTokenError):
            judge.decode(token, public_key(issuer, token), ["ES256"], audience="sealgate")
    head = judge.get_unverified_header(issuer.forged(embed=True))
    assert head["jwk"] != issuer.jwks()["keys"][0]
    assert "d" not in head["jwk"]
    assert issuer.unsigned().endswith(".")


def test_claims_are_added_changed_and_left_out() -> None:
    issuer = Issuer(clock=lambda: 1_900_000_000.7)
    payload = issuer.token(None, aud=None, nbf=5, lasts=-1, header={"typ": "at+jwt"}).split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(payload + "=="))
    assert said == {"iss": issuer.url, "iat": 1_900_000_000, "exp": 1_899_999_999, "nbf": 5}


def test_it_publishes_what_it_is_told_to() -> None:
    with Issuer(max_age=7).in_thread() as issuer:
        issuer.metadata = {"issuer": "https://evil.example", "token_endpoint": None}
        issuer.extra_keys.append({"kty": "oct"})
        found = requests.get(issuer.url + "/.well-known/openid-configuration", timeout=30).json()
        assert found["issuer"] == "https://evil.example"
        assert "token_endpoint" not in found
        keys = requests.get(found["jwks_uri"], timeout=30)
        assert keys.headers["cache-control"] == "public, max-age=7"
        assert [key["kty"] for key in keys.json()["keys"]] == ["EC", "oct"]
        assert all("d" not in key for key in keys.json()["keys"])
        issuer.broken_keys = error(500)
        assert requests.get(issuer.jwks_url, timeout=30).status_code == 500
        issuer.broken = error(503)
        assert requests.get(issuer.url + "/.well-known/openid-configuration", timeout=30).status_code == 503
        assert issuer.fetches == 2


def test_rotation_keeps_the_old_keys_or_does_not() -> None:
    issuer = Issuer()
    first = issuer.kid
    issuer.rotate()
    assert [key["kid"] for key in issuer.jwks()["keys"]] == [first, issuer.kid]
    issuer.rotate(keep=False, kid="named")
    assert [key["kid"] for key in issuer.jwks()["keys"]] == ["named"] == [issuer.kid]
