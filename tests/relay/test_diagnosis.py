"""Whatever fails, an operator reads a sentence: what is wrong and what to do, and no secret."""

from __future__ import annotations

import pytest

from sealgate.config import Provider, Secret
from sealgate.errors import Failure, UpstreamError
from sealgate.relay.catalog import make_account
from sealgate.relay.diagnosis import sentence

ACCOUNT = make_account(
    "acme", Provider(kind="compatible", base_url="https://llm.acme.example/v1", api_key=(Secret("canary-1f"),))
)


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_has_a_sentence_without_secrets_and_holes(failure: Failure) -> None:
    for model in ("m{x}", None):
        for text in ("", "key canary-1f is {bad}, see https://acme.example/keys?k=1"):
            said = sentence(UpstreamError(failure, text, status=418), ACCOUNT, model)
            assert len(said.split()) > 3
            assert "canary-1f" not in said
            assert "acme.example/keys" not in said
            assert "{place}" not in said
            assert "{status}" not in said
            assert "418" in said


def test_the_certificate_of_another_name_is_told_from_one_that_nobody_signed() -> None:
    named = sentence(UpstreamError(Failure.TLS, "certificate not accepted: Hostname mismatch, …"), ACCOUNT)
    assert named.startswith("llm.acme.example shows the certificate of another name")
    assert "ca_file" in sentence(UpstreamError(Failure.TLS, "certificate not accepted: self-signed"), ACCOUNT)


def test_404_without_a_reason_may_be_the_address() -> None:
    said = sentence(UpstreamError(Failure.MODEL_GONE, status=404), ACCOUNT, "m")
    assert "check base_url" in said
    assert said.count("404") == 1
    assert sentence(UpstreamError(Failure.MODEL_GONE, "no such model", status=404), ACCOUNT, "m") == (
        "has no model 'm', or this key may not use it (404: no such model)"
    )
